"""A delivery process: serves one backend of one run until the run is over and delivered."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import anyio
import msgspec

from tracelet._bus import Bus
from tracelet._discovery import Target, find
from tracelet._secrets import learn_environment, public
from tracelet.errors import TraceletError
from tracelet.host.log import keep_log
from tracelet.host.process import DONE, GAVE_UP, HUNG, Hello
from tracelet.journal import Cursor, RunDirectory
from tracelet.status import read_status

PATIENCE = 300.0
"""How long, in seconds, delivery goes on without success when the training is over; `tracelet sync` takes it up."""

LAST_EFFORT = 20.0
"""How long, in seconds, a process that was asked to end (SIGTERM) goes on while things get through."""

_STALL = 4.0  # seconds without success that end such a process, well before `tracelet sync` has waited enough for it
_STUCK = ("retrying", "paused", "hung", "failed")
_TERMINATED = 143  # the exit code of SIGTERM: another process takes over, if the training goes on
_TICK = 0.25
_NICENESS = 19
_GRACE = 5.0

log = logging.getLogger("tracelet.delivery")


def main(directory: Path, backend: str) -> None:
    """Serve a backend; ends the process, without waiting for threads that may hang.

    Where a whole job is told to end (SIGTERM to all its processes, SIGKILL some seconds later), that is when the last
    events come: so the process goes on for a while if it gets on, see `LAST_EFFORT`.
    """
    learn_environment()
    keep_log()
    _give_way()
    code = _serve(RunDirectory(directory), backend)
    logging.shutdown()
    os._exit(code)


def _give_way() -> None:
    """Take only the processor time that the training leaves.

    As the leader of a session the process is a scheduling group of its own where the kernel groups by session, and then
    its niceness counts for nothing and the group's for everything (see "autogroup" in sched(7)).
    """
    with suppress(OSError):
        os.nice(_NICENESS)
        Path("/proc/self/autogroup").write_text(str(_NICENESS))


def _serve(directory: RunDirectory, backend: str) -> int:
    hello = _read_hello()
    sys.path.extend(entry for entry in hello.path if entry not in sys.path)
    try:
        target = find(backend, {**hello.options, "delivery": hello.delivery})
    except TraceletError as error:
        log.error("%s", error)
        cursor = Cursor.acquire(directory.cursor(backend))
        if cursor is not None:
            cursor.fail(public(str(error)))
        return GAVE_UP
    os.set_blocking(0, False)
    return anyio.run(_deliver, directory, target)


def _read_hello() -> Hello:
    def exactly(count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = os.read(0, count - len(data))
            if not part:
                raise EOFError("the training process ended before it said what to deliver")
            data += part
        return data

    return msgspec.json.decode(exactly(int.from_bytes(exactly(4), "big")), type=Hello)


async def _deliver(directory: RunDirectory, target: Target) -> int:
    bus = Bus(directory, [target], control=0)
    watchdog = _Watchdog(bus, target.delivery.timeout + _GRACE)
    signal.signal(signal.SIGTERM, watchdog.terminate)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_attend, bus, directory, watchdog, tasks.cancel_scope)
        await bus.run()
        tasks.cancel_scope.cancel()
    phases = {subscription.cursor.record.phase for subscription in bus.subscriptions}
    if phases == {"closed"}:
        return DONE
    if watchdog.terminated is not None:
        return _TERMINATED
    return HUNG if "hung" in phases else GAVE_UP


async def _attend(bus: Bus, directory: RunDirectory, watchdog: _Watchdog, scope: anyio.CancelScope) -> None:
    """Show that the loop lives; and give up, for now, when nobody is left to wait and nothing gets through."""
    orphaned: float | None = None
    while True:
        watchdog.last_tick = time.monotonic()
        if any(directory.writer_alive(writer) for writer in directory.writers()):
            orphaned = None
        else:
            orphaned = orphaned or time.monotonic()
            progress = max([orphaned, *(subscription.last_progress for subscription in bus.subscriptions)])
            if time.monotonic() - progress > PATIENCE:
                log.warning("nothing got through for %g s; `tracelet sync` goes on from here", PATIENCE)
                scope.cancel()
        if watchdog.terminated is not None and had_its_time(bus, directory, watchdog.terminated):
            log.warning("terminated; what is left goes on from here")
            scope.cancel()
        await anyio.sleep(_TICK)


def had_its_time(bus: Bus, directory: RunDirectory, terminated: float) -> bool:
    """Whether a process that was asked to end at that time has to do so now."""
    now = time.monotonic()
    if now - terminated > LAST_EFFORT or not bus.subscriptions:
        return True
    if any(subscription.cursor.record.phase in _STUCK for subscription in bus.subscriptions):
        return True
    progress = max([terminated, *(subscription.last_progress for subscription in bus.subscriptions)])
    return now - progress > _STALL and bool(read_status(directory, [s.name for s in bus.subscriptions]).pending)


class _Watchdog:
    """Ends a process whose event loop a backend has blocked, so that it is replaced."""

    def __init__(self, bus: Bus, limit: float) -> None:
        self.last_tick = time.monotonic()
        self.terminated: float | None = None
        """When the process was asked to end, on the monotonic clock."""
        self._bus = bus
        self._limit = limit
        threading.Thread(target=self._watch, name="tracelet watchdog", daemon=True).start()

    def terminate(self, *_: object) -> None:
        """The handler of SIGTERM; the second one ends the process at once."""
        if self.terminated is not None:
            os._exit(_TERMINATED)
        self.terminated = time.monotonic()
        self._limit = min(self._limit, _STALL)

    def _watch(self) -> None:
        while (late := time.monotonic() - self.last_tick) < self._limit:
            time.sleep(min(1.0, max(0.0, self._limit - late)))
        log.error("the backend blocked the event loop for %.0f s", late)
        try:
            for subscription in self._bus.subscriptions:
                record = subscription.cursor.record
                record.phase, record.last_error = "hung", f"blocked the event loop for {late:.0f} s"
                subscription.cursor.save()
        finally:
            os._exit(HUNG)
