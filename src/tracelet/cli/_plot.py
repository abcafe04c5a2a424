"""A curve in a terminal, drawn with braille characters: each holds two dots by four."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

_BRAILLE = 0x2800
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # by row and column of a character


def plot(values: Sequence[float], width: int, height: int = 8, *, ascii_only: bool = False) -> Iterator[str]:
    """Lines of text with a curve on a logarithmic scale.

    Args:
        values: at least one, evenly spaced; ones that have no logarithm are left out.
        width, height: in characters, the labels included.
        ascii_only: draw stars, one a character.
    """
    logs = [math.log10(value) for value in values if 0.0 < value < math.inf]
    if not logs:
        return
    low, high = f"{10 ** min(logs):.3g}", f"{10 ** max(logs):.3g}"
    margin = max(len(low), len(high))
    across, down = (1, 1) if ascii_only else (2, 4)
    columns, rows = max(width - margin - 2, 1) * across, height * down
    dots = _dots(_squeezed(logs, columns), rows)
    for row in range(height):
        label = high if row == 0 else low if row == height - 1 else ""
        cells = (_cell(dots, row * down, column, ascii_only=ascii_only) for column in range(0, columns, across))
        yield f"{label:>{margin}} {'|' if ascii_only else '┤' if label else '│'}{''.join(cells)}".rstrip()


def _squeezed(values: Sequence[float], columns: int) -> list[float]:
    """The values as one mean per column; fewer than there are columns are stretched."""
    bounds = [round(index * len(values) / columns) for index in range(columns + 1)]
    groups = (values[min(a, len(values) - 1) : max(b, a + 1)] for a, b in pairwise(bounds))
    return [sum(group) / len(group) for group in groups]


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
