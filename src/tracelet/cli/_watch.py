"""`tracelet status --watch`: how delivery gets on, again and again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from time import sleep
from typing import Any

import msgspec
from rich.live import Live
from rich.text import Text

from tracelet.cli._delivery import Standing, oldest_pending, settled, stand
from tracelet.cli._ends import RUNNING, read_ending
from tracelet.cli._output import BAD, FAINT, console, count, on_terminal, show
from tracelet.cli._runs import Found, all_runs, look_at
from tracelet.cli._watch_view import Row, line, table
from tracelet.status import LOST, sync_command

INTERRUPTED = 130

_ON_TERMINAL, _ELSEWHERE = 1.0, 10.0  # seconds between two looks
_NOBODY = 10.0  # seconds without anybody at work, after which nobody is expected
_SMOOTHED = 5.0  # seconds over which a rate is taken
_AGAIN = 10.0  # seconds between two looks at runs with nothing to be delivered

_Stamp = tuple[int, int]


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
        self._stamp: _Stamp | None = None
        self._passed: dict[str, list[tuple[float, int]]] = {}

    @property
    def over(self) -> bool:
        """Whether the run has ended and every backend has been told."""
        return self.outcome != RUNNING and all(row.state == "closed" for row in self.rows)

    @property
    def deserted(self) -> bool:
        """Whether nobody logs to the run or delivers it any more."""
        return time.monotonic() - self.busy > _NOBODY

    @property
    def gone(self) -> bool:
        """Whether the run was removed."""
        return not os.path.lexists(self.found.directory.path)

    @property
    def stale(self) -> bool:
        """Whether there may be something new."""
        return not self.over or self._stamp != _stamp(self.found.directory.path)

    def look(self) -> None:
        """Bring the rows up to date; they stay as they are while the run can't be read, which may pass."""
        self._stamp = _stamp(self.found.directory.path)
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
            rate=self._rate(name, account.emitted - account.pending - account.dropped.get(LOST, 0)),
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


def _stamp(run: Path) -> _Stamp:
    """What changes when a run that is over goes on, or gets another backend."""
    return _changed(run / "run.json"), _changed(run / "journal")


def _changed(path: Path) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def watch_one(place: Path, interval: float | None, *, in_json: bool) -> int:
    """Show how a run gets on until it is over and delivered, or over and nobody delivers it; returns the exit code."""
    watched = _Watched(look_at(place))
    if watched.found.problem is not None:
        show((f"{place}: {watched.found.problem}", BAD))
        return 1

    def step() -> tuple[list[Row], bool]:
        watched.look()
        return watched.rows, watched.over or watched.deserted or watched.gone

    def nothing() -> str:
        return watched.problem or "the run has no backend, and is watched until it is over"

    if not _watch(step, interval, in_json, nothing):
        return INTERRUPTED
    if not in_json:
        _show_end(watched)
    return 0 if watched.over and not watched.gone else 1


def watch_runs(runs: Path, interval: float | None, *, in_json: bool) -> int:
    """Show how the runs get on that are live or not delivered, and those that begin, until Ctrl-C."""
    watched: dict[str, _Watched] = {}
    passed: dict[str, _Stamp] = {}  # those with nothing to be delivered
    again = 0.0

    def step() -> tuple[list[Row], bool]:
        nonlocal again
        paths = {path.name: path for path in all_runs(runs)}
        for name in watched.keys() - paths.keys():
            del watched[name]
        due = time.monotonic() >= again
        again = time.monotonic() + _AGAIN if due else again
        for name, path in paths.items():
            if name in watched or (name in passed and not due):
                continue
            stamp = _stamp(path)
            if passed.get(name) == stamp:
                continue
            found = look_at(path)
            if found.record is None:
                continue  # it may be one that begins
            if found.record.backends and not settled(found):
                watched[name] = _Watched(found)
            else:
                passed[name] = stamp
        for one in watched.values():
            if one.stale:
                one.look()
        newest = sorted(watched.values(), key=lambda one: one.found.started, reverse=True)
        return [row for one in newest for row in one.rows], False

    nothing = f"nothing is live or pending in {runs.parent}; new runs appear here"
    _watch(step, interval, in_json, lambda: nothing)
    return INTERRUPTED


def _watch(
    step: Callable[[], tuple[list[Row], bool]], interval: float | None, in_json: bool, nothing: Callable[[], str]
) -> bool:
    """Show what each step gives, or that it is nothing, until one is the last (True), or Ctrl-C (False)."""
    live = on_terminal() and not in_json
    pause = interval if interval is not None else _ON_TERMINAL if live else _ELSEWHERE
    try:
        if live:
            with Live(console=console, auto_refresh=False) as view:
                for rows in _steps(step, pause):
                    view.update(table(rows) if rows else Text(f"{nothing()} (Ctrl-C ends it)", FAINT), refresh=True)
        else:
            before: list[Row] | None = None
            for rows in _steps(step, pause):
                _write(rows, in_json, "" if before == [] else nothing())
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
            show(*line(row, at))
    if nothing and not rows and not in_json:
        show(f"{time.strftime('%H:%M:%S', time.localtime(at))}  {nothing}")
    console.file.flush()


def _show_end(watched: _Watched) -> None:
    if watched.gone:
        show(("the run was removed", BAD))
    elif watched.over and not watched.rows:
        show(f"the run is {watched.outcome}; it has no backend")
    elif watched.over:
        gone = "; ".join(f"{row.backend} {', '.join(row.missing)}" for row in watched.rows if row.missing)
        text = f"the run is {watched.outcome}, and everything is delivered{f' except: {gone}' if gone else ''}"
        show((text, "yellow" if gone else ""))
    elif watched.problem is not None:
        show((watched.problem, BAD))
    else:
        pending = max((row.pending for row in watched.rows), default=0)
        unclosed = ", ".join(row.backend for row in watched.rows if row.state != "closed")
        left = f"nobody delivers {count(pending)}; deliver" if pending else f"not closed in {unclosed}; close it"
        show((f"the run is {watched.outcome}, and {left} with: {sync_command(watched.found.directory.path)}", BAD))
