"""What the commands write: text that has style on a terminal and is plain, and never cut, anywhere else."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

Part: TypeAlias = str | tuple[str, str]
"""A piece of text, or one with its rich style."""

console = Console(highlight=False)
_errors = Console(highlight=False, stderr=True)

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_NUMBER = re.compile(r"-?[\d,.]*\d(e[+-]?\d+)?( [kMGT]?B(/s)?)?|-|nan|-?inf")

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))

GOOD, BAD, FAINT = "green", "red", "dim"


def on_terminal() -> bool:
    """Whether there is a terminal that can move its cursor and has colours: `TERM=dumb` says that it can't."""
    return console.is_terminal and not console.is_dumb_terminal


def show(*parts: Part) -> None:
    """Write one line; see `printable`."""
    console.print(Text.assemble(*map(_printable, parts)), soft_wrap=True)


@contextmanager
def notes_on_stderr(wanted: bool) -> Iterator[None]:
    """If that is wanted, what is shown within the block goes to standard error; standard output is for a script."""
    before, console.stderr = console.stderr, wanted or console.stderr
    try:
        yield
    finally:
        console.stderr = before


def show_table(
    heading: Sequence[str], rows: Sequence[Sequence[Part]], indent: str = "", optional: Sequence[str] = ()
) -> None:
    """Write aligned columns; columns of numbers are aligned to the right.

    Args:
        optional: titles of columns that are left out, in this order, where a terminal is too narrow for all.
    """
    printable_rows = [[_printable(cell) for cell in row] for row in rows]
    texts = [[cell if isinstance(cell, str) else cell[0] for cell in row] for row in printable_rows]
    columns = list(zip(heading, *texts, strict=True))
    widths = [max(map(cell_len, column)) for column in columns]
    room = console.width - len(indent) + 2 if on_terminal() else None
    left_out = too_many(dict(zip(heading, widths, strict=True)), optional, room)
    right = [all(map(_NUMBER.fullmatch, column[1:])) for column in columns]
    titles: list[Part] = [(title, FAINT) for title in heading]
    for row in [titles, *printable_rows]:
        cells: list[Part] = [indent]
        for title, cell, width, numeric in zip(heading, row, widths, right, strict=True):
            if title in left_out:
                continue
            text, style = (cell, "") if isinstance(cell, str) else cell
            space = " " * (width - cell_len(text))
            cells.append((f"{space}{text}  " if numeric else f"{text}{space}  ", style))
        line = Text.assemble(*cells)
        line.rstrip()
        console.print(line, soft_wrap=True)


def too_many(widths: Mapping[str, int], optional: Sequence[str], room: int | None) -> set[str]:
    """The columns to leave out.

    Args:
        widths: of all columns, by title; between two of them are two spaces.
        optional: the titles of those that may be left out, in this order.
        room: how wide all of it may be, two spaces at the end included; None is no limit.
    """
    left_out: set[str] = set()
    excess = 0 if room is None else sum(width + 2 for width in widths.values()) - room
    for title in optional:
        if excess > 0 and title in widths:
            left_out.add(title)
            excess -= widths[title] + 2
    return left_out


def show_fields(fields: Mapping[str, Part], width: int = 24) -> None:
    """Write names with their values, a line each."""
    for name, value in fields.items():
        show((f"  {name:<{width}}", FAINT), value)


def printable(text: str) -> str:
    """What somebody logged, with what would move a terminal's cursor or change its colours written out."""
    if text.isprintable():
        return text
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def _printable(part: Part) -> Part:
    return printable(part) if isinstance(part, str) else (printable(part[0]), part[1])


def count(number: int, noun: str = "event") -> str:
    """`1 event`, `1,234 events`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def moment(seconds: float) -> str:
    """A time in the local zone; one that no calendar has, in seconds since the epoch."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (OSError, OverflowError, ValueError):
        return f"{seconds:g}"


def duration(seconds: float) -> str:
    """A length of time, in two units at most: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`, `4 d 1 h`."""
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    larger = next(index for index, (_, size) in enumerate(_UNITS) if whole >= size)
    (unit, size), (smaller, part) = _UNITS[larger], _UNITS[larger + 1]
    rest = whole % size // part
    return f"{whole // size} {unit} {rest} {smaller}" if rest else f"{whole // size} {unit}"


def bytes_of(size: float) -> str:
    """A size: `512 B`, `1.5 kB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def show_error(text: str) -> None:
    """Write one line to standard error."""
    _errors.print(Text(text, "bold red"), soft_wrap=True)
