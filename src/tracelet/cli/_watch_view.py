"""How a watch is shown: as a table that fits the terminal, or as lines."""

from __future__ import annotations

import time

import msgspec
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tracelet.cli._delivery import missing
from tracelet.cli._output import BAD, FAINT, Part, console, count, duration, printable, too_many

_NUMBERS = ("delivered", "pending", "lag", "events/s", "retries")
_OPTIONAL = ("retries", "events/s", "delivered")
_LONGEST_NAME, _SHORTEST_NAME = 24, 8


class Row(msgspec.Struct, kw_only=True):
    """How one backend of one run gets on.

    Attributes:
        outcome: of the run, "running" while it goes on.
        lag: how old the oldest event is that the backend has not had, in seconds; None if it has all.
        rate: events per second that were dealt with lately; None at first.
        dropped, dead_lettered: what the backend will not have, as in `tracelet.status.BackendStatus`.
    """

    run: str
    name: str
    backend: str
    outcome: str
    delivered: int
    pending: int
    lag: float | None
    rate: float | None
    retries: int
    state: str
    last_error: str | None
    dropped: dict[str, int]
    dead_lettered: int
    style: str = ""

    @property
    def missing(self) -> list[str]:
        """What the backend will not have, in words."""
        return missing(self.dropped, self.dead_lettered, also_lost=True)

    @property
    def state_in_full(self) -> str:
        return ", ".join([self.state, *self.missing])


def table(rows: list[Row]) -> RenderableType:
    """All of it; where the terminal is too narrow, with shorter names, and then without some columns."""
    columns = _columns(rows)
    widths = {title: max(map(cell_len, [title, *map(str, cells)])) for title, cells in columns.items()}
    least = min(widths["run"], _SHORTEST_NAME)
    left_out = too_many({**widths, "run": least}, _OPTIONAL, console.width + 2)
    others = sum(width + 2 for title, width in widths.items() if title != "run" and title not in left_out)
    for name in columns["run"]:
        name.truncate(max(least, console.width - others), overflow="ellipsis")
    drawn = Table(box=None, pad_edge=False, header_style=FAINT, padding=(0, 2, 0, 0))
    shown = [title for title in columns if title not in left_out]
    for title in shown:
        drawn.add_column(title, justify="right" if title in _NUMBERS else "left", no_wrap=title != "state")
    for cells in zip(*(columns[title] for title in shown), strict=True):
        drawn.add_row(*cells)
    return Group(drawn, *_troubles(rows))


def _columns(rows: list[Row]) -> dict[str, list[Text]]:
    """The cells, by title. A run's name stands at the first of its backends."""
    first = [number == 0 or rows[number - 1].run != row.run for number, row in enumerate(rows)]
    names = [Text(printable(row.name) if new else "", "bold") for row, new in zip(rows, first, strict=True)]
    for name in names:
        name.truncate(_LONGEST_NAME, overflow="ellipsis")
    return {
        "run": names,
        "backend": [Text(row.backend) for row in rows],
        "delivered": [Text(f"{row.delivered:,}") for row in rows],
        "pending": [Text(f"{row.pending:,}", "yellow" if row.pending else FAINT) for row in rows],
        "lag": [Text("-" if row.lag is None else duration(row.lag)) for row in rows],
        "events/s": [Text("-" if row.rate is None else f"{row.rate:,.0f}") for row in rows],
        "retries": [Text(f"{row.retries:,}") for row in rows],
        "state": [Text(row.state_in_full, row.style) for row in rows],
    }


def _troubles(rows: list[Row]) -> list[Text]:
    """The last errors, a line each."""
    return [
        Text(printable(f"{row.name} → {row.backend}: {row.last_error}"), BAD, no_wrap=True, overflow="ellipsis")
        for row in rows
        if row.last_error and row.state != "closed"
    ]


def line(row: Row, at: float) -> list[Part]:
    """One backend, at a time in seconds since the epoch."""
    parts = [time.strftime("%H:%M:%S", time.localtime(at)), row.run, row.name, row.backend]
    parts += [f"{row.delivered:,} delivered, {row.pending:,} pending"]
    parts += [f"lag {duration(row.lag)}"] if row.lag is not None else []
    parts += [f"{row.rate:,.0f} events/s"] if row.rate is not None else []
    parts += [f"{count(row.retries, 'attempt')} repeated"] if row.retries else []
    parts += [row.state_in_full]
    parts += [row.last_error] if row.last_error else []
    return ["  ".join(parts)]
