"""What `tracelet sync` shows while it delivers: bars on a terminal, a line at each beginning and end elsewhere."""

from __future__ import annotations

import logging
from types import TracebackType
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import rich.progress

from tracelet._secrets import public
from tracelet.cli._output import BAD, FAINT, GOOD, Part, console, count, on_terminal, show

if TYPE_CHECKING:
    from tracelet.host.sync import Backlog

_REFRESH = 0.1


class Progress:
    """Watches backlogs. As a context manager it also shows the warnings of delivery, and those of the backends' SDKs,
    each on a line of its own and without secrets.

    Args:
        as_json: whether to write how each ended to standard output, as a line of JSON.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        self._as_json = as_json
        self._bars = rich.progress.Progress(
            rich.progress.TextColumn("{task.description}", markup=False),
            rich.progress.BarColumn(),
            rich.progress.MofNCompleteColumn(),
            rich.progress.TextColumn("{task.fields[state]}", markup=False),
            console=console,
            disable=not on_terminal(),
            transient=True,
        )
        self._at_work: dict[rich.progress.TaskID, Backlog] = {}
        self._warnings = _Warnings(logging.WARNING)
        self._others = _OtherWarnings(logging.WARNING)

    def __enter__(self) -> Progress:
        logger = logging.getLogger("tracelet")
        logger.addHandler(self._warnings)
        logger.propagate = False
        logging.getLogger().addHandler(self._others)
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._bars.stop()
        logger = logging.getLogger("tracelet")
        logger.propagate = True
        logger.removeHandler(self._warnings)
        logging.getLogger().removeHandler(self._others)

    def began(self, backlog: Backlog) -> None:
        pending = backlog.status.pending
        description = f"{backlog.run.name} → {backlog.backend}"
        self._at_work[self._bars.add_task(description, total=pending, state="")] = backlog
        if not on_terminal():
            show(f"{_label(backlog)}: {count(pending)} to deliver")

    def ended(self, backlog: Backlog) -> None:
        for task in [task for task, other in self._at_work.items() if other is backlog]:
            del self._at_work[task]
            self._bars.remove_task(task)
        if self._as_json:
            print(msgspec.json.encode(_result(backlog)).decode(), flush=True)  # noqa: T201
        else:
            show(f"{_label(backlog)}: ", *_ending(backlog))

    async def refresh(self) -> None:
        """Keep the bars up to date, until it is cancelled."""
        while True:
            for task, backlog in self._at_work.items():
                self._bars.update(task, completed=backlog.done, state=backlog.phase)
            await anyio.sleep(_REFRESH)


class _Warnings(logging.Handler):
    """Delivery's log, without the tracebacks, which are for the logs of delivery processes."""

    def emit(self, record: logging.LogRecord) -> None:
        if not record.exc_info:
            show((record.getMessage(), FAINT))


class _OtherWarnings(logging.Handler):
    """What the backends' SDKs log, which has no other place in a command."""

    def emit(self, record: logging.LogRecord) -> None:
        show((public(f"{record.name}: {record.getMessage()}"), FAINT))


def _result(backlog: Backlog) -> dict[str, Any]:
    status = backlog.status
    return {
        "id": backlog.run.id,
        "name": backlog.run.name,
        "directory": str(backlog.directory.path),
        "backend": backlog.backend,
        "complete": backlog.complete,
        "live": backlog.live,
        "newly_delivered": backlog.delivered,
        "pending": status.pending,
        "dropped": status.dropped,
        "dead_lettered": status.dead_lettered,
        "outcome": status.outcome,
        "problem": backlog.problem,
        "url": status.url,
    }


def _label(backlog: Backlog) -> str:
    return f"{backlog.run.name} {backlog.directory.id} → {backlog.backend}"


def _ending(backlog: Backlog) -> list[Part]:
    status = backlog.status
    if backlog.left:
        return [str(backlog.problem)]
    parts = [f"{count(backlog.delivered)} delivered"]
    if status.outcome is not None:
        parts.append(f"the run is closed as {status.outcome}")
    parts += [f"{number:,} dropped ({reason})" for reason, number in status.dropped.items()]
    if status.dead_lettered:
        parts.append(f"{status.dead_lettered:,} refused so far, kept in {backlog.directory.path / 'dead'}")
    text = ", ".join(parts)
    if not backlog.complete:
        return [text, ", ", (f"{status.pending:,} pending: {backlog.problem}", BAD)]
    note = backlog.problem or ("the training goes on" if backlog.live else None)
    style = "yellow" if status.dropped or status.dead_lettered else GOOD
    return [(text, style), f", {note}" if note else "", f" · {status.url}" if status.url else ""]
