"""`tracelet status --watch`: how delivery gets on, again and again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from time import sleep
from typing import Any

import msgspec
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tracelet.cli._delivery import Standing, missing, oldest_pending, settled, stand
from tracelet.cli._ends import RUNNING, read_ending
from tracelet.cli._output import BAD, FAINT, Part, console, count, duration, printable, show
from tracelet.cli._runs import Found, all_runs, look_at

INTERRUPTED = 130

_ON_TERMINAL, _ELSEWHERE = 1.0, 10.0  # seconds between two looks
_NOBODY = 10.0  # seconds without anybody at work, after which nobody is expected
_SMOOTHED = 5.0  # seconds over which a rate is taken
_NUMBERS = ("delivered", "pending", "lag", "events/s", "retries")
_TITLES = ("run", "backend", *_NUMBERS, "state")
_LONGEST_NAME = 24


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


class _Watched:
    """One run, looked at again and again.

    Attributes:
        outcome: of the run, "running" while it goes on or nothing is known of it.
        busy: when the run went on or somebody was at work on it, at last, on the monotonic clock.
        problem: why it can't be read; None if it can.
    """

    def __init__(self, found: Found) -> None:
        self.found = found
        self.rows: list[Row] = []
        self.outcome = RUNNING
        self.busy = time.monotonic()
        self.problem: str | None = None
        self._passed: dict[str, list[tuple[float, int]]] = {}

    @property
    def over(self) -> bool:
        """Whether the run has ended and every backend has been told."""
        return self.outcome != RUNNING and all(row.state == "closed" for row in self.rows)

    @property
    def deserted(self) -> bool:
        """Whether nobody logs to the run or delivers it any more."""
        return time.monotonic() - self.busy > _NOBODY

    def look(self) -> None:
        """Bring the rows up to date; they stay as they are while the run can't be read, which may pass."""
        standing = stand(self.found)
        self.problem, self.found.problem = self.found.problem, None
        if standing is None:
            return
        try:
            self.outcome = read_ending(self.found.directory).outcome
            self.rows = [self._row(standing, name) for name in standing.status.backends]
        except OSError as error:
            self.problem = str(error)
            return
        if self.outcome == RUNNING or any(standing.delivered_by.values()):
            self.busy = time.monotonic()

    def _row(self, standing: Standing, name: str) -> Row:
        account = standing.status.backends[name]
        oldest = oldest_pending(self.found.directory, name) if account.pending else None
        state, style = standing.state(name)
        return Row(
            run=self.found.id,
            name=standing.status.name,
            backend=name,
            outcome=self.outcome,
            delivered=account.delivered,
            pending=account.pending,
            lag=None if oldest is None else max(time.time() - oldest, 0.0),
            rate=self._rate(name, account.emitted - account.pending),
            retries=account.retries,
            state=state,
            last_error=account.last_error,
            dropped=account.dropped,
            dead_lettered=account.dead_lettered,
            style=style,
        )

    def _rate(self, name: str, passed: int) -> float | None:
        now = time.monotonic()
        seen = self._passed.setdefault(name, [])
        seen.append((now, passed))
        while len(seen) > 2 and now - seen[1][0] > _SMOOTHED:
            del seen[0]
        since, before = seen[0]
        return (passed - before) / (now - since) if now - since > 1e-3 else None


def watch_one(place: Path, interval: float | None, *, in_json: bool) -> int:
    """Show how a run gets on until it is over and delivered, or over and nobody delivers it; returns the exit code."""
    watched = _Watched(look_at(place))
    if watched.found.problem is not None:
        show((f"{place}: {watched.found.problem}", BAD))
        return 1

    def step() -> tuple[list[Row], bool]:
        watched.look()
        return watched.rows, watched.over or watched.deserted

    if not _watch(step, interval, in_json, ""):
        return INTERRUPTED
    if not in_json:
        _show_end(watched)
    return 0 if watched.over else 1


def watch_runs(runs: Path, interval: float | None, *, in_json: bool) -> int:
    """Show how the runs get on that are live or not delivered, and those that begin, until Ctrl-C."""
    watched: dict[str, _Watched] = {}
    passed: set[str] = set()  # those with nothing to be delivered

    def step() -> tuple[list[Row], bool]:
        for path in all_runs(runs):
            if path.name not in watched and path.name not in passed:
                found = look_at(path)
                if found.record is None:
                    continue  # it may be one that begins
                if found.record.backends and not settled(found):
                    watched[path.name] = _Watched(found)
                else:
                    passed.add(path.name)
        for one in watched.values():
            if not one.over:
                one.look()
        newest = sorted(watched.values(), key=lambda one: one.found.started, reverse=True)
        return [row for one in newest for row in one.rows], False

    _watch(step, interval, in_json, f"nothing is live or pending in {runs.parent}; new runs appear here")
    return INTERRUPTED


def _watch(step: Callable[[], tuple[list[Row], bool]], interval: float | None, in_json: bool, nothing: str) -> bool:
    """Show what each step gives, or that it is nothing, until one is the last (True), or Ctrl-C (False)."""
    live = console.is_terminal and not in_json
    pause = interval if interval is not None else _ON_TERMINAL if live else _ELSEWHERE
    try:
        if live:
            with Live(console=console, auto_refresh=False) as view:
                for rows in _steps(step, pause):
                    view.update(_table(rows) if rows else Text(f"{nothing} (Ctrl-C ends it)", FAINT), refresh=True)
        else:
            before: list[Row] | None = None
            for rows in _steps(step, pause):
                _write(rows, in_json, "" if before == [] else nothing)
                before = rows
    except KeyboardInterrupt:
        return False
    return True


def _steps(step: Callable[[], tuple[list[Row], bool]], pause: float) -> Iterator[list[Row]]:
    """What the steps give, with pauses between them."""
    while True:
        rows, last = step()
        yield rows
        if last:
            return
        sleep(pause)


def _write(rows: list[Row], in_json: bool, nothing: str) -> None:
    at = time.time()
    for row in rows:
        if in_json:
            known: dict[str, Any] = {"time": at} | msgspec.to_builtins(row)
            del known["style"]
            print(msgspec.json.encode(known).decode())  # noqa: T201
        else:
            show(*_line(row, at))
    if nothing and not rows and not in_json:
        show(f"{time.strftime('%H:%M:%S', time.localtime(at))}  {nothing}")
    console.file.flush()


def _line(row: Row, at: float) -> list[Part]:
    parts = [time.strftime("%H:%M:%S", time.localtime(at)), row.run, row.name, row.backend]
    parts += [f"{row.delivered:,} delivered, {row.pending:,} pending"]
    parts += [f"lag {duration(row.lag)}"] if row.lag is not None else []
    parts += [f"{row.rate:,.0f} events/s"] if row.rate is not None else []
    parts += [f"{count(row.retries, 'attempt')} repeated"] if row.retries else []
    parts += [row.state_in_full]
    parts += [row.last_error] if row.last_error else []
    return ["  ".join(parts)]


def _table(rows: list[Row]) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style=FAINT, padding=(0, 2, 0, 0))
    for title in _TITLES:
        table.add_column(title, justify="right" if title in _NUMBERS else "left", no_wrap=True)
    troubles: list[Text] = []
    before = ""
    for row in rows:
        name = Text(printable(row.name) if row.run != before else "", "bold")
        name.truncate(_LONGEST_NAME, overflow="ellipsis")
        table.add_row(
            name,
            Text(row.backend),
            Text(f"{row.delivered:,}"),
            Text(f"{row.pending:,}", "yellow" if row.pending else FAINT),
            Text("-" if row.lag is None else duration(row.lag)),
            Text("-" if row.rate is None else f"{row.rate:,.0f}"),
            Text(f"{row.retries:,}"),
            Text(row.state_in_full, row.style),
        )
        if row.last_error and row.state != "closed":
            trouble = f"{row.name} → {row.backend}: {row.last_error}"
            troubles.append(Text(printable(trouble), BAD, no_wrap=True, overflow="ellipsis"))
        before = row.run
    return Group(table, *troubles)


def _show_end(watched: _Watched) -> None:
    if watched.over:
        gone = "; ".join(f"{row.backend} {', '.join(row.missing)}" for row in watched.rows if row.missing)
        text = f"the run is {watched.outcome}, and everything is delivered{f' except: {gone}' if gone else ''}"
        show((text, "yellow" if gone else ""))
    elif watched.problem is not None:
        show((watched.problem, BAD))
    else:
        left = count(max((row.pending for row in watched.rows), default=0))
        place = watched.found.directory.path
        show((f"the run is {watched.outcome}, and nobody delivers {left}; deliver with: tracelet sync {place}", BAD))
