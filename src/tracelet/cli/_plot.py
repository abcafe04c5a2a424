"""Curves in a terminal, drawn with braille characters: each holds two dots by four."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

_BRAILLE = 0x2800
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # by row and column of a character
_WIDE_RANGE = 50.0  # from this ratio on, positive values are shown on a logarithmic scale

Point = tuple[float, float]


def plot(values: Sequence[float], width: int, height: int = 8, *, ascii_only: bool = False) -> Iterator[str]:
    """Lines of text with a curve on a logarithmic scale.

    Args:
        values: at least one, evenly spaced; ones that have no logarithm are left out.
        width, height: in characters, the labels included.
        ascii_only: draw stars, one a character.
    """
    logs = [value for value in values if 0.0 < value < math.inf]
    yield from curve([(float(x), y) for x, y in enumerate(logs)], width, height, log=True, ascii_only=ascii_only)


def fits_log(points: Sequence[Point]) -> bool:
    """Whether a curve says more on a logarithmic scale: all values are positive, and far apart."""
    values = [value for _, value in points]
    return bool(values) and min(values) > 0.0 and max(values) / _WIDE_RANGE >= min(values)


def curve(
    points: Sequence[Point],
    width: int,
    height: int,
    *,
    log: bool,
    axis: bool = False,
    ascii_only: bool = False,
    label: Callable[[float], str] = "{:.4g}".format,
) -> Iterator[str]:
    """Lines of text with a curve; nothing if there are no points.

    Args:
        points: x and y, finite, by x; y positive if `log`.
        width, height: in characters, the labels included; the axis takes two more lines.
        log: whether the scale of y is logarithmic.
        axis: whether to draw that of x, with the first and the last x.
        ascii_only: draw stars, one a character.
        label: what stands beside the least and the greatest y.
    """
    if not points:
        return
    ys = [math.log10(y) if log else y for _, y in points]
    low, high = label(min(y for _, y in points)), label(max(y for _, y in points))
    if not math.isfinite(max(ys) - min(ys)):
        ys = [y / 8 for y in ys]  # their differences have to be floats
    margin = max(len(low), len(high))
    across, down = (1, 1) if ascii_only else (2, 4)
    cells = max(width - margin - 2, 1)
    columns, rows = cells * across, height * down
    dots = _dots(_squeezed([x for x, _ in points], ys, columns), rows)
    for row in range(height):
        name = low if row == height - 1 else high if row == 0 else ""
        line = "".join(_cell(dots, row * down, column, ascii_only=ascii_only) for column in range(0, columns, across))
        yield f"{name:>{margin}} {'|' if ascii_only else '┤' if name else '│'}{line}".rstrip()
    if axis:
        yield f"{'':{margin}} {'+' if ascii_only else '└'}{('-' if ascii_only else '─') * cells}"
        first, last = (f"{x:.0f}" if abs(x) < 1e15 else f"{x:.3g}" for x in (points[0][0], points[-1][0]))
        gap = cells + 1 - len(last)
        yield f"{'':{margin}} {first:<{gap}}{last}" if gap > len(first) else f"{'':{margin}} {first}"


def _squeezed(xs: Sequence[float], ys: Sequence[float], columns: int) -> list[float]:
    """One mean for each column; a column between two points has what lies on the line between them."""
    first, span = xs[0], xs[-1] - xs[0]
    sums: dict[int, list[float]] = {}
    for x, y in zip(xs, ys, strict=True):
        column = round((x / span - first / span) * (columns - 1)) if 0.0 < span < math.inf else 0
        held = sums.setdefault(column, [0.0, 0.0])
        held[0] += 1.0
        held[1] += y
    known = [(column, total / count) for column, (count, total) in sorted(sums.items())]
    line = [known[0][1]]
    for (left, before), (right, here) in pairwise(known):
        line += [before + (here - before) * ((at - left) / (right - left)) for at in range(left + 1, right + 1)]
    return line


def _dots(values: Sequence[float], rows: int) -> set[tuple[int, int]]:
    """Which (row, column) are drawn: the values, and what joins each to the one before it."""
    low, span = min(values), (max(values) - min(values)) or 1.0
    heights = [round((rows - 1) * (1 - (value - low) / span)) for value in values]
    dots: set[tuple[int, int]] = set()
    for column, (before, here) in enumerate(pairwise([heights[0], *heights])):
        step = 1 if here >= before else -1
        dots.update((row, column) for row in range(before + step if before != here else here, here + step, step))
    return dots


def _cell(dots: set[tuple[int, int]], row: int, column: int, *, ascii_only: bool) -> str:
    if ascii_only:
        return "*" if (row, column) in dots else " "
    bits = sum(
        bit
        for down, line in enumerate(_DOTS)
        for across, bit in enumerate(line)
        if (row + down, column + across) in dots
    )
    return chr(_BRAILLE + bits) if bits else " "
