"""How the delivery of one run stands, as all commands show it."""

from __future__ import annotations

import os
from typing import Any

import msgspec

from tracelet.cli._output import BAD, FAINT, GOOD, Part
from tracelet.cli._runs import Found
from tracelet.codec import decode
from tracelet.events import Lane
from tracelet.journal import CursorRecord, LogReader, Position, RunDirectory, holder, log_key, read_cursor
from tracelet.status import BackendStatus, RunStatus, read_status

_TROUBLE = ("paused", "hung", "failed")


class Standing(msgspec.Struct, kw_only=True):
    """A run's account, and who is at work on it.

    Attributes:
        delivered_by: the process that delivers, by backend; None if none does.
    """

    status: RunStatus
    delivered_by: dict[str, int | None]

    def state(self, backend: str) -> tuple[str, str]:
        """How it stands, in a word with its style; what was under way when its process ended is so no more."""
        account = self.status.backends[backend]
        if account.outcome is not None and not account.pending:
            return "closed", GOOD
        if account.state in _TROUBLE:
            return account.state, BAD
        if self.delivered_by[backend] is None:
            return "waiting", "yellow" if account.pending else ""
        return account.state, "yellow" if account.state == "retrying" else ""

    def in_short(self, backend: str) -> Part:
        """How it stands, in a few words, for a list of runs."""
        account = self.status.backends[backend]
        state, style = self.state(backend)
        notes = [] if state == "closed" else [state]
        notes += [f"{account.pending:,} pending"] if account.pending else []
        notes += [f"{sum(account.dropped.values()):,} dropped"] if account.dropped else []
        notes += [f"{account.dead_lettered:,} refused"] if account.dead_lettered else []
        return f"{backend}: {', '.join(notes) or 'delivered'}", style


def stand(found: Found) -> Standing | None:
    """How the delivery of a run stands; None if that can't be told, and then `found.problem` says why."""
    if found.problem is not None:
        return None
    try:
        status = read_status(found.directory)
        return Standing(
            status=status, delivered_by={name: holder(found.directory.cursor(name)) for name in status.backends}
        )
    except (OSError, msgspec.MsgspecError) as error:
        found.problem = f"its account can't be read: {error}"
        return None


def settled(found: Found) -> bool:
    """Whether every backend was told the end of everything that was logged: then nothing is pending.

    It looks only at who logged and at the cursors, and so is quicker than the account of a run. Of what is no run
    there is nothing to be delivered.
    """
    if found.record is None:
        return found.foreign
    directory = found.directory
    try:
        writers = set(os.listdir(directory.path / "journal"))
        return all(_told(read_cursor(directory.cursor(name)), writers) for name in found.record.backends)
    except OSError:
        return False


def _told(cursor: CursorRecord, writers: set[str]) -> bool:
    return cursor.closed is not None and cursor.phase == "closed" and writers <= cursor.ends.keys()


def oldest_pending(directory: RunDirectory, backend: str) -> float | None:
    """When the oldest event that the backend has not had was said, in seconds since the epoch; None if it has all.

    Raises:
        OSError: the journal can't be read.
    """
    logs = read_cursor(directory.cursor(backend)).logs
    times: list[float] = []
    for writer in directory.writers():
        for lane in Lane:
            count = logs.get(log_key(writer, lane))
            with LogReader(directory.log(writer, lane), Position() if count is None else count.position) as reader:
                frames = reader.read(1, 1, final=False)
            try:
                times += [decode(word, data).time for word, data in zip(frames.words, frames.payloads, strict=True)]
            except msgspec.DecodeError:
                continue
    return min(times, default=None)


def account_of(standing: Standing, name: str) -> dict[str, Part]:
    """All there is to say of one backend."""
    backend: BackendStatus = standing.status.backends[name]
    text, style = standing.state(name)
    process = standing.delivered_by[name]
    dropped: dict[str, Part] = {
        f"dropped ({reason})": (f"{number:,}", BAD) for reason, number in backend.dropped.items()
    }
    return {
        "emitted": f"{backend.emitted:,}",
        "delivered": f"{backend.delivered:,}",
        **(dropped or {"dropped": "0"}),
        "dead-lettered": (f"{backend.dead_lettered:,}", BAD if backend.dead_lettered else ""),
        "pending": (f"{backend.pending:,}", "yellow" if backend.pending else ""),
        "degraded": f"{backend.degraded:,}",
        "retries": f"{backend.retries:,}",
        "state": (text if process is None else f"{text}, delivered by process {process}", style),
        "outcome": backend.outcome or "-",
        "last error": backend.last_error or "-",
        "url": backend.url or "-",
    }


def as_json(found: Found, standing: Standing | None) -> dict[str, Any]:
    """One flat record; what is not known is left out."""
    known: dict[str, Any] = {"id": found.id, "directory": str(found.directory.path), "started": found.started}
    if standing is None:
        return known | {"problem": found.problem}
    account: dict[str, Any] = msgspec.to_builtins(standing.status)
    for name, backend in account["backends"].items():
        backend["delivered_by"] = standing.delivered_by[name]
    return known | account


def problem_part(found: Found) -> Part:
    """What is wrong with it."""
    return str(found.problem), FAINT if found.foreign else BAD
