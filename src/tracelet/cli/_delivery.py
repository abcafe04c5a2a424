"""How the delivery of one run stands, as all commands show it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import msgspec

from tracelet.backend import Outcome
from tracelet.cli._output import BAD, FAINT, GOOD, Part
from tracelet.cli._runs import Found
from tracelet.codec import decode
from tracelet.events import Lane
from tracelet.journal import CursorRecord, LogReader, Position, RunDirectory, holder, log_key, read_cursor
from tracelet.status import LOST, BackendStatus, RunStatus, read_status, sync_command

_TROUBLE = ("paused", "hung", "failed")


class Standing(msgspec.Struct, kw_only=True):
    """A run's account, and who is at work on it.

    Attributes:
        delivered_by: the process that delivers, by backend; None if none does.
        not_closed: the backends that have everything of a run that is over, and were not told how it ended.
    """

    status: RunStatus
    delivered_by: dict[str, int | None]
    not_closed: list[str]

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do, but for what a run that goes on is going to say."""
        return not self.status.pending and not self.not_closed

    def state(self, backend: str) -> tuple[str, str]:
        """How it stands, in a word with its style; what was under way when its process ended is so no more."""
        account = self.status.backends[backend]
        warning = "yellow" if account.dropped or account.dead_lettered else ""
        if account.outcome is not None and not account.pending:
            return "closed", warning or GOOD
        if account.state in _TROUBLE:
            return account.state, BAD
        if self.delivered_by[backend] is None:
            if backend in self.not_closed:
                return "not closed", "yellow"
            return "waiting", "yellow" if account.pending else warning
        return account.state, "yellow" if account.state == "retrying" else warning

    def missing(self, backend: str) -> list[str]:
        """What the backend will not have, in words; what was not even recorded is the run's, see `lost`."""
        account = self.status.backends[backend]
        return missing(account.dropped, account.dead_lettered)

    def in_short(self, backend: str) -> Part:
        """How it stands, in a few words, for a list of runs."""
        account = self.status.backends[backend]
        state, style = self.state(backend)
        notes = ["delivered" if state == "closed" else state]
        notes += [f"{account.pending:,} pending"] if account.pending else []
        return f"{backend}: {', '.join([*notes, *self.missing(backend)])}", style


def missing(dropped: Mapping[str, int], dead_lettered: int, *, also_lost: bool = False) -> list[str]:
    """What a backend will not have, in words.

    Args:
        also_lost: whether that includes what was not even recorded.
    """
    not_recorded = dropped.get(LOST, 0)
    numbers = {
        "dropped": sum(dropped.values()) - not_recorded,
        "refused": dead_lettered,
        "lost": not_recorded if also_lost else 0,
    }
    return [f"{number:,} {word}" for word, number in numbers.items() if number]


def lost(number: int) -> list[tuple[str, str]]:
    """How many events of a run could not be recorded, for a list of runs; nothing if all were."""
    return [(f"{number:,} lost", BAD)] if number else []


def stand(found: Found) -> Standing | None:
    """How the delivery of a run stands; None if that can't be told, and then `found.problem` says why."""
    if found.problem is not None:
        return None
    try:
        over = bool(found.directory.writers()) and not found.directory.live  # from before what is read of it
        status = read_status(found.directory)
        return Standing(
            status=status,
            delivered_by={name: holder(found.directory.cursor(name)) for name in status.backends},
            not_closed=[name for name, account in status.backends.items() if over and _is_open(account)],
        )
    except (OSError, msgspec.MsgspecError) as error:
        found.problem = f"its account can't be read: {error}"
        return None


def _is_open(account: BackendStatus) -> bool:
    return account.outcome is None and not account.pending


def advice(found: Found, standing: Standing) -> str | None:
    """What to do about what is left; None if nothing is, or somebody is at it."""
    pending = standing.status.pending
    left = [name for name in (*pending, *standing.not_closed) if standing.delivered_by[name] is None]
    if not left:
        return None
    what = "Deliver what is pending" if any(name in pending for name in left) else "Close it"
    return f"{what} with: {sync_command(found.directory.path)}"


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
        return all(_told(directory, read_cursor(directory.cursor(name)), writers) for name in found.record.backends)
    except OSError:
        return False


def _told(directory: RunDirectory, cursor: CursorRecord, writers: set[str]) -> bool:
    if cursor.closed is None or cursor.phase != "closed" or not writers <= cursor.ends.keys():
        return False
    # One that was taken for dead (its host did not show it for a while) may have gone on.
    taken_for_dead = (writer for writer in writers if cursor.ends[writer].outcome == Outcome.KILLED)
    return all(directory.last_sign(writer) <= cursor.ends[writer].time for writer in taken_for_dead)


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
