"""Delivery after the fact: what a run's backends have not had, from a process that is not the training's."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import anyio
import msgspec

from tracelet._bus import Bus
from tracelet._discovery import Target, find, public_options
from tracelet._redaction import without_logins
from tracelet._secrets import learn_environment, public
from tracelet._settings import options_of
from tracelet.errors import TraceletError
from tracelet.journal import Cursor, LogCount, RunDirectory, RunRecord, holder, read_cursor
from tracelet.status import BackendStatus, read_status

_TICK = 0.1
_LOCK_PATIENCE = 1.0  # `holder` takes the lock for a moment, so being refused once means nothing
_TAKEOVER = 10.0
_STUCK = ("retrying", "paused", "hung", "failed")


class Backlog:
    """What one backend has not had of one run, and what becomes of it.

    Attributes:
        run: the run's record.
        directory: the run's.
        backend: its name.
        live: whether the training goes on.
        status: the account at the start, and once `deliver` has returned, at the end.
        left: whether it is left to the training's own delivery.
        problem: why something is left; None if nothing is.
    """

    def __init__(self, directory: RunDirectory, run: RunRecord, backend: str) -> None:
        self.directory = directory
        self.run = run
        self.backend = backend
        self.live = directory.live
        self._there = directory.tallies({})
        self.status = read_status(directory, [backend], self._there).backends[backend]
        self.left = False
        self.problem: str | None = None
        self._before = self.status.delivered
        self._cursor = directory.cursor(backend)
        self._start = self._passed()

    @property
    def due(self) -> bool:
        """Whether there is anything to do, or to be said."""
        if self.status.pending:
            return True
        if self.live:
            return holder(self._cursor) is not None
        return self.status.outcome is None and bool(self.directory.writers())

    @property
    def complete(self) -> bool:
        """Whether the backend has all that was there at the start, and, of a run that is over, knows how it ended."""
        if self.live:
            logs = read_cursor(self._cursor).logs
            return all(_reached(logs.get(key)) >= tally.recorded for key, tally in self._there.items())
        return not self.status.pending and self.status.outcome is not None

    @property
    def done(self) -> int:
        """How many events were dealt with since the start."""
        return self._passed() - self._start

    @property
    def delivered(self) -> int:
        """How many events the backend was given since the start, as of `status`; by others, if it is left to them."""
        return 0 if self.left else self.status.delivered - self._before

    @property
    def phase(self) -> str:
        """What delivery is doing now."""
        return read_cursor(self._cursor).phase

    def account(self) -> BackendStatus:
        """The account as it is now."""
        return read_status(self.directory, [self.backend]).backends[self.backend]

    async def deliver(self, timeout: float, *, retry: bool = True) -> None:
        """Deliver what is pending, and close the run in the backend if its training is over.

        What goes wrong is in `problem` afterwards.

        Args:
            timeout: how long to try again without anything getting through, in seconds.
            retry: whether to try again after the first failure.
        """
        try:
            self.live = self.directory.live  # a while may have passed
            self.problem = self._left_to()
            if self.problem is None:
                target = find(self.backend, self._options())
                await self._take_over(timeout)
                await self._serve(target, timeout if retry else 0.0)
        except (TraceletError, OSError) as error:
            self.problem = public(str(error))
        try:
            self.status = self.account()
        except (OSError, msgspec.MsgspecError) as error:
            self.problem = f"it was removed meanwhile, or damaged: {error}"
            return
        if not self.complete and self.problem is None:
            self.problem = self.status.last_error or self.status.state

    def _options(self) -> dict[str, Any]:
        """What the run was begun with; the secrets, which are not kept with it, from pyproject.toml."""
        project, kept = options_of(self.backend), self.run.backends[self.backend]
        same = {key: value for key, value in project.items() if without_logins(value) == kept.get(key, value)}
        return {**kept, **same}

    def _left_to(self) -> str | None:
        """Who is to be left alone with it; None if nobody is."""
        pid = holder(self._cursor)
        if pid is None:
            return None
        if self.live:
            self.left = True
            return f"left to the training's own delivery (process {pid})"
        return None if self._is_delivery_process(pid) else f"left to process {pid}, which is at it"

    async def _take_over(self, timeout: float) -> None:
        """Wait for a delivery process that outlived the training while it gets on; end one that does not."""
        pid = holder(self._cursor)
        if pid is not None:
            await self._watch_process(pid, timeout)
            if holder(self._cursor) == pid:
                await self._end_process(pid)

    def _is_delivery_process(self, pid: int) -> bool:
        """Whether it is the process that the training left behind, not another sync or one of another container."""
        try:
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            command, place, backend = arguments[-4:-1]
            return (command, backend) == (b"deliver", self.backend.encode()) and os.path.samefile(
                self.directory.path, place
            )
        except (OSError, ValueError):
            return False

    async def _watch_process(self, pid: int, timeout: float) -> None:
        passed, since = self._passed(), time.monotonic()
        while holder(self._cursor) == pid and read_cursor(self._cursor).phase not in _STUCK:
            if self._passed() != passed:
                passed, since = self._passed(), time.monotonic()
            if time.monotonic() - since > timeout:
                return
            await anyio.sleep(_TICK)

    async def _end_process(self, pid: int) -> None:
        with suppress(ProcessLookupError):  # it may have ended by itself just now
            if pid:  # one that takes the cursor just now has not said its number yet; and 0 would be ourselves
                os.kill(pid, signal.SIGTERM)
        with anyio.move_on_after(_TAKEOVER):
            while holder(self._cursor) == pid:  # noqa: ASYNC110 - the kernel releases the lock, and tells nobody
                await anyio.sleep(_TICK)

    async def _serve(self, target: Target, timeout: float) -> None:
        cursor = Cursor.acquire(self._cursor)
        if cursor is not None:
            with cursor:
                cursor.restart()
        bus = Bus(self.directory, [target], follow=not self.live, patience=_LOCK_PATIENCE)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_give_up, bus, timeout, tasks.cancel_scope)
            await bus.run()
            tasks.cancel_scope.cancel()
        if bus.held:
            self.problem = f"process {holder(self._cursor) or 'unknown'} holds its cursor"

    def _passed(self) -> int:
        return sum(map(_reached, read_cursor(self._cursor).logs.values()))


class Watcher(Protocol):
    """Is told how `deliver` gets on."""

    def began(self, backlog: Backlog) -> None: ...

    def ended(self, backlog: Backlog) -> None: ...


def find_backlogs(directory: RunDirectory, only: Collection[str] = ()) -> list[Backlog]:
    """The backends of a run that are due.

    Args:
        only: these backends; none means all of the run's.

    Raises:
        FileNotFoundError: there is no such run.
        msgspec.MsgspecError: its record is damaged.
    """
    run = directory.read_record()
    backlogs = [Backlog(directory, run, backend) for backend in run.backends if not only or backend in only]
    return [backlog for backlog in backlogs if backlog.due]


def add_backend(directory: RunDirectory, name: str) -> None:
    """Have a run delivered to one more backend, with the options of pyproject.toml and of the environment.

    Raises:
        UnknownBackend, BrokenBackend, InvalidOptions: it can't be used.
        FileNotFoundError, msgspec.MsgspecError: there is no such run, or its record is damaged.
        OSError: the record can't be written.
    """
    if name in directory.read_record().backends:
        return
    options = public_options(find(name, options_of(name)))
    with directory.claimed(wait=True):  # others may add one, too
        record = directory.read_record()
        if name not in record.backends:
            record.backends[name] = options
            directory.write_record(record)


async def deliver(backlogs: Sequence[Backlog], timeout: float, watcher: Watcher) -> None:
    """Deliver backlogs: the backends side by side, the runs of a backend one by one, as SDKs have one at a time.

    Where a backend took nothing of one run within `timeout`, its other runs are not tried again once they fail.

    Args:
        timeout: see `Backlog.deliver`.
    """
    learn_environment()
    queues: dict[str, list[Backlog]] = {}
    for backlog in backlogs:
        queues.setdefault(backlog.backend, []).append(backlog)
    for queue in queues.values():
        queue.sort(key=_depths(queue))  # a child is not opened before its parent is

    async def work_off(queue: list[Backlog]) -> None:
        retry = True
        for backlog in queue:
            watcher.began(backlog)
            await backlog.deliver(timeout, retry=retry)
            watcher.ended(backlog)
            retry = backlog.complete or backlog.done > 0 or backlog.status.state != "retrying"

    async with anyio.create_task_group() as tasks:
        for queue in queues.values():
            tasks.start_soon(work_off, queue)


def _depths(queue: Sequence[Backlog]) -> Callable[[Backlog], int]:
    """How many of a backlog's ancestors are in the queue."""
    parents = {backlog.run.id: backlog.run.parent for backlog in queue}

    def depth(backlog: Backlog) -> int:
        count, parent = 0, backlog.run.parent
        while parent in parents and count < len(parents):
            count, parent = count + 1, parents[parent]
        return count

    return depth


def _reached(count: LogCount | None) -> int:
    return 0 if count is None else count.position.sequence


async def _give_up(bus: Bus, timeout: float, scope: anyio.CancelScope) -> None:
    """Cancel when more attempts are no use: credentials are refused, or nothing gets through for too long.

    An attempt that is under way, an upload for instance, has the backend's own `Delivery.timeout`.
    """
    while True:
        for subscription in bus.subscriptions:
            phase, waited = subscription.cursor.record.phase, time.monotonic() - subscription.last_progress
            if phase == "paused" or (phase == "retrying" and waited > timeout):
                scope.cancel()
        await anyio.sleep(_TICK)
