"""A subscription: one backend's way through the journal of one run, from opening to closing."""

from __future__ import annotations

import logging
import os
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import anyio
import msgspec

from tracelet._batches import divide, joined, upload_time
from tracelet._blocking import LaneThreads, current_lane
from tracelet._discovery import Target
from tracelet._log_ends import log_ends, writer_end
from tracelet._retry import retrying
from tracelet._secrets import public
from tracelet._sources import Portion, Source
from tracelet.backend import Backend, Batch, Outcome, ParentRun, RunInfo, State
from tracelet.errors import Denied, Hung, Transient, Undelivered
from tracelet.events import Event, Lane, RunFinished
from tracelet.journal import Cursor, RunDirectory, WriterEnd, log_key, read_cursor
from tracelet.status import UNDELIVERED, read_status

T = TypeVar("T")
log = logging.getLogger("tracelet.delivery")

_RELEASE = 5.0  # seconds that a backend has to let go
_PARENT_PATIENCE, _PARENT_POLL = 5.0, 0.05  # seconds


class Subscription:
    """Reads a run's journal and hands it to one backend.

    Args:
        target: the backend.
        directory: the run's.
        cursor: held by this process.
        follow: go on until every writer has finished or died, and then close the backend; else stop, with the run
            left open, when there is nothing more to read.
        blocking: threads for the backend's blocking calls; None starts them.
    """

    def __init__(
        self,
        target: Target,
        directory: RunDirectory,
        cursor: Cursor,
        *,
        follow: bool = True,
        blocking: LaneThreads | None = None,
    ) -> None:
        self.name = target.name
        self.cursor = cursor
        self.last_progress = time.monotonic()
        """When something was last acknowledged, on the monotonic clock."""
        self._target = target
        self._directory = directory
        self._follow = follow
        self._blocking = blocking or LaneThreads(target.name)
        self._handled = frozenset[type[Event]]()
        self._sources: dict[str, Source] = {}
        self._finished: dict[str, RunFinished] = {}  # by writer
        self._over = False  # whether all has been read, and the run is to be closed
        self._wake = anyio.Event()
        self._wakes = 0
        self._warned: set[str] = set()

    def wake(self) -> None:
        """Look for new events, and try again what waits to be, now."""
        self._wakes += 1
        self._wake.set()
        self._wake = anyio.Event()

    async def run(self) -> None:
        """Deliver everything. What goes wrong ends in the cursor's record and the log, never in an exception."""
        try:
            if self._follow and self._settled():
                self._phase("closed")
            else:
                await self._deliver()
        except Hung as error:
            self._fail("hung", error)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the isolation boundary
            self._fail("failed", error)
            log.error("%s: delivery ended\n%s", self.name, public(traceback.format_exc()))
        finally:
            self._blocking.stop()
            for source in self._sources.values():
                source.close()

    def _settled(self) -> bool:
        """Whether another process has delivered everything and closed the backend already."""
        status = read_status(self._directory, [self.name]).backends[self.name]
        return status.outcome is not None and status.pending == 0

    # From opening to closing.

    async def _deliver(self) -> None:
        await self._attempt("open", self._await_parent)
        backend = self._create()
        try:
            await self._open(backend)
            await self._drain_lanes(backend)
            if self._follow:
                await self._finish(backend)
        except Hung:
            raise  # and never touch it again
        except BaseException:
            await self._release(backend)
            raise
        await self._release(backend)

    async def _drain_lanes(self, backend: Backend) -> None:
        errors: list[BaseException] = []
        drained: set[Lane] = set()
        async with anyio.create_task_group() as lanes:

            async def drain(*own: Lane) -> None:
                try:
                    await self._drain(backend, own)
                except (Exception, SystemExit) as error:  # noqa: BLE001 - raised again below, where the lanes have met
                    errors.append(error)
                    lanes.cancel_scope.cancel()
                else:
                    drained.update(own)
                    self.wake()

            if self._target.delivery.lanes == 1:
                lanes.start_soon(drain, *Lane)
            else:
                for lane in Lane:
                    lanes.start_soon(drain, lane)
        if errors:
            raise errors[0]
        if drained != set(Lane):  # a task that raises the event loop's cancellation ends without a word
            raise RuntimeError("the backend cancelled its own delivery")

    def _create(self) -> Backend:
        record = self._directory.read_record()
        info = RunInfo(
            id=record.id,
            name=record.name,
            project=record.project,
            directory=self._directory.path,
            started=record.created,
            blocking=self._blocking,
            save_state=self._save_state,
            parent=None if record.parent is None else self._parent(record.parent),
        )
        backend = self._target.create(info)
        self._handled = frozenset(backend.handles)
        return backend

    async def _await_parent(self) -> None:
        """Wait for the run's parent to be opened in this backend, if it is to be.

        Raises:
            Transient: it takes long.
            Denied: something has to be done about it.
        """
        parent = self._directory.read_record().parent
        if parent is None:
            return
        directory = self._directory.beside(parent)
        deadline = time.monotonic() + _PARENT_PATIENCE
        while True:
            try:
                wanted = self.name in directory.read_record().backends
                record = read_cursor(directory.cursor(self.name))
            except (OSError, msgspec.MsgspecError):
                if not directory.path.is_dir() or time.monotonic() > deadline:
                    return  # its directory is gone: it will never be opened from here
                await self._rest(_PARENT_POLL)  # of a child of a further rank: rank 0 is about to begin it
                continue
            if not wanted or record.state is not None:
                return
            if record.phase in ("paused", "failed", "hung"):
                raise Denied(f"the parent run {parent} can't be opened: {record.last_error}")
            if time.monotonic() > deadline:
                raise Transient(f"the parent run {parent} is not there yet")
            await self._rest(_PARENT_POLL)

    def _parent(self, run_id: str) -> ParentRun:
        directory = self._directory.beside(run_id)
        try:
            name = directory.read_record().name
            state = read_cursor(directory.cursor(self.name)).state
        except (OSError, msgspec.MsgspecError):
            name, state = run_id, None
        return ParentRun(run_id, name, state)

    async def _open(self, backend: Backend) -> None:
        opened = await self._attempt("open", lambda: backend.open(self.cursor.record.state))
        self._require("url must be a str or None", opened.url, str | None)
        self.cursor.record.url = None if opened.url is None else public(opened.url)
        self.cursor.record.closed = None
        self._phase("running")
        self._save_state(opened.state)

    async def _finish(self, backend: Backend) -> None:
        outcome, at = await self._attempt("read the journal", self._ending)
        try:
            await self._attempt("finish", lambda: backend.finish(outcome, at))
        except Undelivered as error:
            self._take_back(error)
        for writer in self._finished:
            count = self.cursor.log(log_key(writer, Lane.STREAM))
            count.position = self._sources[log_key(writer, Lane.STREAM)].position
            count.delivered += 1
        self.cursor.record.closed = outcome.value
        self._phase("closed")

    def _take_back(self, error: Undelivered) -> None:
        """Count as dropped what the backend's SDK took and lost."""
        for (writer, lane), number in error.counts.items():
            count = self.cursor.log(log_key(writer, Lane(lane)))
            lost = min(number, count.delivered)
            count.delivered -= lost
            count.dropped[UNDELIVERED] = count.dropped.get(UNDELIVERED, 0) + lost
        self.cursor.record.last_error = _describe(error)
        log.error("%s: %s", self.name, _describe(error))

    async def _ending(self) -> tuple[Outcome, float]:
        """How and when the run ended, see `RunDirectory.run_end`; a writer that was killed, with its last sign.

        Raises:
            Transient: the journal can't be read.
        """
        ends = self.cursor.record.ends
        for writer in {source.writer for source in self._sources.values()}:  # one that has come since is the next's
            finished = self._finished.get(writer)
            if finished is not None:
                ends[writer] = WriterEnd(finished.outcome, finished.time, finished.time)
            elif writer not in ends:
                with _reading():
                    ends[writer] = writer_end(self._directory, writer, log_ends(self._directory, writer, final=True))
        end = self._directory.run_end(ends)
        return (Outcome.KILLED, time.time()) if end is None else (Outcome(end.outcome), end.time or time.time())

    async def _release(self, backend: Backend) -> None:
        with anyio.move_on_after(_RELEASE, shield=True):
            try:
                await backend.close()
            except (Exception, SystemExit) as error:  # noqa: BLE001 - everything is delivered; it can cost nothing more
                log.warning("%s: close failed: %s", self.name, _describe(error))

    def _save_state(self, state: State) -> None:
        self._require("state must be a dict[str, str]", state, dict[str, str] | None)
        self.cursor.record.state = state
        self._save()

    def _require(self, wanted: str, found: object, kind: Any) -> None:
        """Raise TypeError for what could be saved, but not read."""
        try:
            msgspec.json.decode(msgspec.json.encode(found), type=kind)
        except (TypeError, ValueError, msgspec.MsgspecError) as error:
            raise TypeError(f"the plugin of {self.name} is at fault: its {wanted}, found {found!r:.200}") from error

    # Reading.

    async def _drain(self, backend: Backend, lanes: tuple[Lane, ...]) -> None:
        """Deliver some lanes of all writers until all lanes have ended; without `follow`, what there is by now."""
        current_lane.set(lanes[0].value)
        goal = {} if self._follow else self._directory.tallies({})
        while True:
            more, wakes = False, self._wakes
            for writer in self._directory.writers():
                for lane in lanes:
                    source = self._source(writer, lane)
                    if not source.ended:
                        portion = await self._next(source)
                        if not portion.empty:
                            await self._handle(backend, source, portion)
                        reached = source.key in goal and portion.position.sequence >= goal[source.key].recorded
                        more |= portion.full and not reached
                        if source.ended:
                            self.wake()  # the other lane may wait for it
            if self._follow:
                self._over = self._over or self._all_ended()
            if self._over or (not more and not self._follow):
                return
            if not more and wakes == self._wakes:  # else somebody wants what came after this was read
                await self._rest(self._target.delivery.linger)

    def _all_ended(self) -> bool:
        """Whether nothing more is to come, in any lane: only then no lane is needed for a writer that comes later."""
        keys = [log_key(writer, lane) for writer in self._directory.writers() for lane in Lane]
        ended = all(key in self._sources and self._sources[key].ended for key in keys)
        return ended and self._directory.all_began()

    def _source(self, writer: str, lane: Lane) -> Source:
        key = log_key(writer, lane)
        if key not in self._sources:
            self._sources[key] = Source(self._directory, writer, lane, self.cursor.log(key).position)
        return self._sources[key]

    async def _next(self, source: Source) -> Portion:
        """What comes next; a journal that can't be read is tried again."""
        with suppress(OSError):
            return self._read(source)

        async def again() -> Portion:
            with _reading():
                return self._read(source)

        portion = await self._attempt("read the journal", again)
        self._phase("running")
        return portion

    def _read(self, source: Source) -> Portion:
        delivery, now = self._target.delivery, time.time()
        portion = source.read(delivery, self._handled, final=False, now=now)
        if portion.empty and not source.ended and self._complete(source):
            portion = source.read(delivery, self._handled, final=True, now=now)
        return portion

    def _complete(self, source: Source) -> bool:
        """Whether nothing more can be added to a log."""
        if source.lane is Lane.BULK:
            stream = self._sources.get(log_key(source.writer, Lane.STREAM))
            if stream is not None and stream.ended:
                return True  # a writer seals its bulk log before it finishes its stream
        return not self._directory.writer_alive(source.writer)

    async def _rest(self, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await self._wake.wait()

    # Delivering.

    async def _handle(self, backend: Backend, source: Source, portion: Portion) -> None:
        """Have the backend take a portion, and acknowledge it."""
        dead = {sequence: (event, reason) for sequence, event, reason in portion.rejected}
        degraded = dict(portion.degraded)
        if portion.events:
            batch = Batch(source.writer, source.lane, portion.events, portion.sequences)
            await self._export(backend, batch, dead, degraded)
        for sequence, (event, reason) in sorted(dead.items()):
            self._bury(source, sequence, event, reason)
        count = self.cursor.log(source.key)
        count.delivered += portion.delivered + len(portion.sequences) - len(dead.keys() & set(portion.sequences))
        count.dead_lettered += len(dead)
        count.degraded += len(degraded.keys() - dead.keys())
        for reason, number in portion.dropped.items():
            count.dropped[reason] = count.dropped.get(reason, 0) + number
            self._warn(f"dropped ({reason})", f"{self.name}: {number} events dropped: {reason}")
        for reason in degraded.values():
            self._warn(reason, f"{self.name}: degraded: {reason}")
        count.position = portion.position
        if portion.finished is not None:
            self._finished[source.writer] = portion.finished
        self.last_progress = time.monotonic()
        self._phase("running")

    async def _export(
        self, backend: Backend, batch: Batch, dead: dict[int, tuple[Event, str]], degraded: dict[int, str]
    ) -> None:
        """Export a batch; if the backend finds fault with it, find the events at fault and export the others."""
        pending = [batch]
        while pending:
            part = pending.pop()
            try:
                allowance = upload_time(part) if part.lane is Lane.BULK else 0.0
                await self._attempt("export", lambda: backend.export(part), allowance)  # noqa: B023 - awaited at once
            except Hung:
                raise
            except (Exception, SystemExit) as error:
                if isinstance(error, RuntimeError) and not threading.main_thread().is_alive():
                    raise  # the interpreter is ending, and no longer starts threads: that is nobody's fault
                bad, rest = divide(part, error)
                pending.extend(reversed(rest))
                for sequence, event in bad:
                    dead[sequence] = (joined(dead.get(sequence), event), _describe(error))
            else:
                degraded.update(part.degraded)

    async def _attempt(self, what: str, call: Callable[[], Awaitable[T]], allowance: float = 0.0) -> T:
        """Call the backend within its timeout and `allowance`, again and again while it asks for that."""
        timeout = self._target.delivery.timeout + allowance

        async def once() -> T:
            with anyio.move_on_after(timeout) as scope:
                return await call()
            assert scope.cancelled_caught
            if self._blocking.busy():
                raise Hung(f"{self.name}: a blocking call of {what}", timeout)
            raise TimeoutError(f"{what}: no answer within {timeout:g} s")

        async def sleep(seconds: float) -> None:
            # A flush may cut a wait short, but not one that the server asked for.
            await (anyio.sleep(seconds) if obedient else self._rest(seconds))

        obedient = False

        def note(error: BaseException, wait: float) -> None:
            nonlocal obedient
            obedient = isinstance(error, Transient) and error.retry_after is not None
            self.cursor.record.retries += 1
            self.cursor.record.last_error = _describe(error)
            self._phase("paused" if isinstance(error, Denied) else "retrying")
            log.warning("%s: %s failed, next attempt in %.1f s: %s", self.name, what, wait, _describe(error))

        return await retrying(sleep, note)(once)

    # Keeping the record.

    def _bury(self, source: Source, sequence: int, event: Event, reason: str) -> None:
        """Keep a dead letter, before the cursor moves past it."""
        path = self._directory.dead_letters(self.name)
        path.parent.mkdir(exist_ok=True)
        letter = {
            "writer": source.writer,
            "lane": source.lane.value,
            "sequence": sequence,
            "reason": reason,
            "kind": type(event).__name__,
            "event": msgspec.structs.asdict(event),
        }
        line = msgspec.json.encode(letter, enc_hook=repr) + b"\n"
        with path.open("a+b") as file:
            if file.tell() and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n":
                line = b"\n" + line  # a crash has torn the letter before
            file.write(line)
        self.cursor.record.last_error = reason
        self._warn(reason, f"{self.name}: dead-lettered, see {path}: {reason}")

    def _phase(self, phase: str) -> None:
        self.cursor.record.phase = phase
        self._save()

    def _save(self) -> None:
        try:
            self.cursor.save()
        except OSError as error:
            if not self._directory.path.is_dir():
                raise
            # A full disk: delivery is what goes on; at worst, after a crash, some of it is done again.
            self._warn("cursor", f"{self.name}: the cursor can't be saved: {error}")

    def _fail(self, phase: str, error: BaseException) -> None:
        log.error("%s: %s: %s", self.name, phase, _describe(error))
        self.cursor.record.last_error = _describe(error)
        try:
            self._phase(phase)
        except OSError as problem:
            log.error("%s: the run's directory is gone: %s", self.name, problem)

    def _warn(self, key: str, message: str) -> None:
        if key not in self._warned:
            self._warned.add(key)
            log.warning("%s", message)


@contextmanager
def _reading() -> Iterator[None]:
    """What a disk refuses now, it may give later."""
    try:
        yield
    except OSError as error:
        raise Transient(f"the journal can't be read: {error}") from error


def _describe(error: BaseException) -> str:
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return public(text.encode("utf-8", "backslashreplace").decode())[:2_000]
