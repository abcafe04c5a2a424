"""What the commands write: text that has style on a terminal and is plain, and never cut, anywhere else."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import TypeAlias

from rich.console import Console
from rich.text import Text

Part: TypeAlias = str | tuple[str, str]
"""A piece of text, or one with its rich style."""

console = Console(highlight=False)
_errors = Console(highlight=False, stderr=True)

_NUMBER = re.compile(r"[\d,.]*\d|-")

GOOD, BAD, FAINT = "green", "red", "dim"


def show(*parts: Part) -> None:
    """Write one line."""
    console.print(Text.assemble(*parts), soft_wrap=True)


def show_table(heading: Sequence[str], rows: Sequence[Sequence[Part]], indent: str = "") -> None:
    """Write aligned columns; columns of numbers are aligned to the right."""
    texts = [[cell if isinstance(cell, str) else cell[0] for cell in row] for row in rows]
    columns = list(zip(heading, *texts, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [all(map(_NUMBER.fullmatch, column[1:])) for column in columns]
    for row in [[(title, FAINT) for title in heading], *rows]:
        cells: list[Part] = [indent]
        for cell, width, numeric in zip(row, widths, right, strict=True):
            text, style = (cell, "") if isinstance(cell, str) else cell
            cells.append(((text.rjust if numeric else text.ljust)(width) + "  ", style))
        line = Text.assemble(*cells)
        line.rstrip()
        console.print(line, soft_wrap=True)


def count(number: int, noun: str = "event") -> str:
    """`1 event`, `1,234 events`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def moment(seconds: float) -> str:
    """A time in the local zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def show_error(text: str) -> None:
    """Write one line to standard error."""
    _errors.print(Text(text, "bold red"), soft_wrap=True)
