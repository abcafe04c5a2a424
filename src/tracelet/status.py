"""How a run's delivery is going, from what lies in its directory: exact, and the same from every process."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import msgspec

from tracelet.journal import RunDirectory, Tally, holder, read_cursor

LOST = "not recorded"
"""The reason under which events are counted that could not be written to the journal (a full disk)."""


UNDELIVERED = "undelivered"
"""The reason under which events are counted that a backend's SDK took and lost."""


class BackendStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One backend's account: emitted = delivered + dropped + dead-lettered + pending.

    Attributes:
        emitted: events said so far, the run's start and end included.
        delivered: taken by the backend.
        dropped: given up, by reason: "unsupported" by the backend, "damaged" in the journal, "removed" from it for
            space before this backend came, "not recorded" for want of space, "undelivered" if the backend's SDK took
            and lost them, "behind" by the user's policy, "unknown kind" and "undecodable" for this version.
        dead_lettered: refused by the backend and kept in the run's directory.
        degraded: delivered, but other than they were said.
        pending: in the journal, and still to be delivered.
        retries: attempts that failed and were repeated.
        state: "starting", "running", "retrying", "paused" (credentials), "hung", "failed" or "closed".
        last_error: in words; None if there was none.
        url: where the run can be seen.
        outcome: how the run ended, as the backend was told; None until it was.
    """

    emitted: int
    delivered: int
    dropped: dict[str, int]
    dead_lettered: int
    degraded: int
    pending: int
    retries: int
    state: str
    last_error: str | None
    url: str | None
    outcome: str | None


class RunStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A run's account.

    Attributes:
        emitted: events said so far.
        lost: how many of them could not be recorded at all.
        backends: per backend.
    """

    id: str
    name: str
    project: str
    emitted: int
    lost: int
    backends: dict[str, BackendStatus]

    @property
    def pending(self) -> dict[str, int]:
        """The backends that have not had everything, with how many events they have not had."""
        return {name: backend.pending for name, backend in self.backends.items() if backend.pending}


def read_status(
    directory: RunDirectory, backends: Collection[str] | None = None, own: Mapping[str, Tally] | None = None
) -> RunStatus:
    """The status of a run.

    Args:
        backends: which; None for those in its record.
        own: the counts of this process's logs, by log key, where they are known exactly.

    Raises:
        FileNotFoundError: there is no such run.
        msgspec.MsgspecError: its record is damaged.
    """
    record = directory.read_record()
    tallies = directory.tallies(known=own or {})
    return RunStatus(
        id=record.id,
        name=record.name,
        project=record.project,
        emitted=sum(tally.recorded + tally.lost for tally in tallies.values()),
        lost=sum(tally.lost for tally in tallies.values()),
        backends={
            name: _backend_status(directory, name, tallies)
            for name in (record.backends if backends is None else backends)
        },
    )


def _backend_status(directory: RunDirectory, backend: str, tallies: Mapping[str, Tally]) -> BackendStatus:
    record = read_cursor(directory.cursor(backend))
    delivered = dead_lettered = degraded = passed = recorded = lost = 0
    dropped: dict[str, int] = {}
    for key, count in record.logs.items():
        delivered += count.delivered
        dead_lettered += count.dead_lettered
        degraded += count.degraded
        passed += count.position.sequence
        recorded += max(tallies.get(key, Tally()).recorded, count.position.sequence)
        for reason, number in count.dropped.items():
            dropped[reason] = dropped.get(reason, 0) + number
    for key, tally in tallies.items():
        recorded += tally.recorded if key not in record.logs else 0
        lost += tally.lost
    if lost:
        dropped[LOST] = lost
    return BackendStatus(
        emitted=recorded + lost,
        delivered=delivered,
        dropped=dropped,
        dead_lettered=dead_lettered,
        degraded=degraded,
        pending=recorded - passed,
        retries=record.retries,
        state=record.phase,
        last_error=record.last_error,
        url=record.url,
        outcome=record.closed,
    )


def summary(
    status: RunStatus, directory: Path, *, goes_on: bool = False, starting: Collection[str] = ()
) -> Iterator[str]:
    """The last lines of a run: where each backend stands, and what to do about what it has not got.

    Args:
        goes_on: whether another process logs to the run.
        starting: the backends that have a delivery process, also if that has not got as far as to take the cursor.
    """
    if status.lost:
        yield f"{status.lost:,} of {status.emitted:,} events could not be recorded and are lost"
    for name, backend in status.backends.items():
        parts = [f"{backend.delivered:,} of {backend.emitted:,} events delivered"]
        parts += [f"{number:,} dropped ({reason})" for reason, number in backend.dropped.items()]
        if backend.dead_lettered:
            parts.append(f"{backend.dead_lettered:,} refused (kept in {directory / 'dead'})")
        if backend.degraded:
            parts.append(f"{backend.degraded:,} degraded")
        yield f"{name}: {', '.join(parts)}{' · ' + backend.url if backend.url else ''}"
        if UNDELIVERED in backend.dropped:
            yield f"{name}: {backend.last_error}"
        if backend.pending:
            pid = holder(RunDirectory(directory).cursor(name))
            why = _why(backend, at_work=pid is not None or name in starting)
            command = sync_command(directory)
            advice = f"deliver with: {command}"
            if goes_on:
                advice = "the run goes on in another process"
            elif pid and pid != os.getpid():  # what delivers in this process ends with it
                advice = f"process {pid} goes on with it; should that give up: {command}"
            elif name in starting:
                advice = f"a delivery process is starting and goes on with it; should that give up: {command}"
            yield f"{name}: {counted(backend.pending)} pending in {directory} ({why}); {advice}"


def counted(number: int) -> str:
    """A number of events, in words."""
    return f"{number:,} {'event' if number == 1 else 'events'}"


def sync_command(directory: Path) -> str:
    """The command that delivers what is pending of a run, for a shell."""
    return f"tracelet sync {shlex.quote(str(directory))}"


def _why(backend: BackendStatus, *, at_work: bool) -> str:
    """Why something is pending. An error that delivery has got over is no reason, nor is a start that never was."""
    if backend.state == "starting":
        return "starting, the backend was not reached yet" if at_work else "nobody delivers it yet"
    if backend.state == "running" or not backend.last_error:
        return backend.state
    return f"{backend.state}: {backend.last_error}"
