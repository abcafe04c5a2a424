"""What the points of one metric come to, and their curve: in bounded memory, however many there are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from tracelet.events import Context, Number

MOST_BUCKETS = 512
"""How finely a curve is kept at most: more than a terminal has dots."""

_FEWEST_BUCKETS = 32
_ALL_BUCKETS = 200_000  # of all series together
_FAR = 1 << 1000  # steps beyond it are no floats


class Series:
    """The points of one name and context, in the order in which they were said.

    Attributes:
        first, last: values; None until there is a point.
        low, high: the least and the greatest value, NaN and the infinities left out; None if there is none.
        last_step: the step of the last point.
        first_step: the smallest step, and
        top_step: the greatest.
        back: how often a step was smaller than the one before it.
        nan, infinite: how many values were that.
    """

    def __init__(self, name: str, context: Context) -> None:
        self.name = name
        self.context = context
        self.points = 0
        self.first: Number | None = None
        self.last: Number | None = None
        self.low: Number | None = None
        self.high: Number | None = None
        self.first_step = self.top_step = self.last_step = 0
        self.back = 0
        self.nan = 0
        self.infinite = 0
        self.values: list[Number] = []
        """Points that `take` has not been called for yet, and
        """
        self.steps: list[int] = []
        """their steps."""
        self._width = 0  # a bucket holds 2 ** _width steps
        self._buckets: dict[int, list[float]] = {}  # by step >> _width: how many values, and their sum

    def take(self, buckets: int = MOST_BUCKETS) -> None:
        """Count the points that were put into `values` and `steps`, and forget them.

        Args:
            buckets: how finely the curve is to be kept.
        """
        values, steps = self.values, self.steps
        if not values:
            return
        if not self.points:
            self.first, self.last_step = values[0], steps[0]
            self.first_step = self.top_step = steps[0]
        self.points += len(values)
        self.back += sum(before > here for before, here in pairwise((self.last_step, *steps)))
        self.last, self.last_step = values[-1], steps[-1]
        self.first_step, self.top_step = min(self.first_step, *steps), max(self.top_step, *steps)
        values, steps = self._finite(values, steps)
        if values:
            low, high = min(values), max(values)
            self.low = low if self.low is None else min(self.low, low)
            self.high = high if self.high is None else max(self.high, high)
            self._add(values, steps, buckets)
        self.values.clear()
        self.steps.clear()

    def curve(self) -> list[tuple[float, float]]:
        """The middle step and the mean of each bucket, by step. Steps too large for a float are left out."""
        half = ((1 << self._width) - 1) / 2 if self._width else 0.0
        found = []
        for key in sorted(self._buckets):
            count, total = self._buckets[key]
            step = key << self._width
            if abs(step) < _FAR and math.isfinite(total):
                found.append((step + half, total / count))
        if found and self._width:  # the ends are where they are, not in the middle of a bucket
            found[0] = float(max(self.first_step, -_FAR)), found[0][1]
        if len(found) > 1 and self._width:
            found[-1] = float(min(self.top_step, _FAR)), found[-1][1]
        return found

    def _finite(self, values: list[Number], steps: list[int]) -> tuple[list[Number], list[int]]:
        """The points whose values are numbers; the others are counted."""
        try:
            if all(map(math.isfinite, values)):
                return values, steps
        except OverflowError:
            pass  # an integer larger than any float is a number all the same
        kept: list[tuple[Number, int]] = []
        for value, step in zip(values, steps, strict=True):
            if isinstance(value, int) or math.isfinite(value):
                kept.append((value, step))
            elif math.isnan(value):
                self.nan += 1
            else:
                self.infinite += 1
        return [value for value, _ in kept], [step for _, step in kept]

    def _add(self, values: Sequence[Number], steps: Sequence[int], most: int) -> None:
        width, buckets = self._width, self._buckets
        for value, step in zip(values, steps, strict=True):
            bucket = buckets.get(step >> width)
            if bucket is None:
                bucket = buckets[step >> width] = [0.0, 0.0]
            bucket[0] += 1.0
            try:
                bucket[1] += value
            except OverflowError:
                bucket[1] = math.inf  # it has no place in a curve
        while len(self._buckets) > most:
            self._width += 1
            wider: dict[int, list[float]] = {}
            for key, (count, total) in self._buckets.items():
                bucket = wider.setdefault(key >> 1, [0.0, 0.0])
                bucket[0] += count
                bucket[1] += total
            self._buckets = wider


def fineness(series: int) -> int:
    """How many buckets each series may have if there are so many."""
    return max(_FEWEST_BUCKETS, min(MOST_BUCKETS, _ALL_BUCKETS // max(series, 1)))
