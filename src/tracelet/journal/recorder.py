"""The recorder: one process's two logs of a run, and what has to be done for them off the caller's path."""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

from tracelet.codec import decode
from tracelet.events import FileLogged, Kind, Lane
from tracelet.journal.blobs import copy_in, copy_tree, files_in, measured, sync_file, write_in
from tracelet.journal.directory import RunDirectory, log_key
from tracelet.journal.process import HEARTBEAT, call_in_forked_children
from tracelet.journal.reader import Tally
from tracelet.journal.reclaim import all_have, delete_file, reclaim
from tracelet.journal.room import Room, size_on_disk
from tracelet.journal.supply import SMALLEST_SIZE
from tracelet.journal.writer import FIRST_SIZE, LARGEST_SIZE, LogWriter

_BULK_SIZE = 1 << 16
_MOST_LOSSES = 64  # that are remembered by their reason; all are counted
_LONGEST_SUFFIX = 20
_POLL = 0.05  # seconds between two looks for room
_RECLAIM = 0.2  # and between two attempts to have some, when there was nothing to give back
_TURN = 1.0  # that a call waits for another process's or thread's attempt to end
_MOST_FILES = 1 << 28  # bytes that a segment's events refer to, where there is no quota

DELETED = "the run's directory was deleted"


class Recorder:
    """Adds this process as a writer to a run.

    Args:
        directory: the run's.
        on_rotate: called when a segment is full; see `LogWriter`.
        rank, ranks: see `WriterRecord`.
        quota, min_free: see `Room`.
        patient: wait for room, instead of losing what is `EXPENDABLE`.

    Raises:
        OSError: the journal can't be created.
    """

    def __init__(
        self,
        directory: RunDirectory,
        on_rotate: Callable[[], object],
        rank: int = 0,
        ranks: int = 1,
        *,
        quota: int | None = None,
        min_free: int = 0,
        patient: bool = False,
    ) -> None:
        self.directory = directory
        self.writer = directory.add_writer(rank, ranks)
        self.detached = False
        """Whether this is a forked child's copy, which must not touch the parent's journal."""
        self.losses: deque[str] = deque(maxlen=_MOST_LOSSES)
        """Why single events were lost, the latest; whoever tells the user takes them out."""
        self._on_rotate = on_rotate
        # Who waits for room has what is delivered removed for it, also where the disk alone is the limit.
        self._room = Room(directory.path, quota, max(min_free, SMALLEST_SIZE) if patient else min_free)
        self._room.measure()  # an earlier writer may have used it up
        self._largest = LARGEST_SIZE if quota is None else min(max(quota // 16 & -4096, SMALLEST_SIZE), LARGEST_SIZE)
        self.patient = patient
        """Whether calls wait for room instead of losing events."""
        self._waiting_for: str | None = None
        self._next_reclaim = 0.0
        self._making_room = threading.Lock()
        self._ends: dict[str, int] = {}  # of the logs when somebody began to wait, by log key; none if nobody does
        self._granted = 0  # by then, see `Room`
        self.room_problem: str | None = None
        """Why the last attempt to make room failed; None if it did not."""
        self._stream = self._log(Lane.STREAM, FIRST_SIZE)
        self._bulk: LogWriter | None = None
        self._most_files = _MOST_FILES if quota is None else quota // 16
        self._files = 0  # bytes taken in since the bulk log's segment in use began
        self._models = False  # whether that segment is one for models
        self._lock = threading.RLock()
        self._sync_lock = threading.RLock()
        self._blob_numbers = itertools.count()
        self._unsynced = directory.essentials(self.writer)  # and blobs
        self._next_beat = 0.0
        self.append = self._stream.appender()
        """Record an event of the stream lane: (word, payload) -> whether it is in the journal."""
        call_in_forked_children(self.detach)

    def _log(self, lane: Lane, first_size: int) -> LogWriter:
        return LogWriter(
            self.directory.log(self.writer, lane),
            first_size=min(first_size, self._largest),
            largest_size=self._largest,
            on_rotate=self._on_rotate,
            room=self._room if self._room.limited else None,
            patient=self.patient,
        )

    def append_bulk(self, word: int, payload: bytes) -> bool:
        """Record an event of the bulk lane."""
        with self._lock:
            if self._bulk is None and not self._stream.closed:
                try:
                    self._bulk = self._log(Lane.BULK, _BULK_SIZE)
                except OSError as error:
                    self._stream.lose(error.strerror or str(error))
                    return False
        bulk = self._bulk
        if bulk is None:
            return False
        if self._room.limited:
            bulk.relax()  # room may have been made for its file just now
            self._separate(bulk, models=word & 0xFF == Kind.MODEL_LOGGED)
        taken = bulk.appender()(word, payload)
        if not taken:
            self._delete_file(word, payload)
        files = self._files
        if files >= self._most_files and bulk.rotate():  # a segment is full of events late, whatever their files take
            self._files -= files
        return taken

    def _separate(self, bulk: LogWriter, models: bool) -> None:
        """Have models, which keep their segment from being removed, in others than what is no model."""
        if models != self._models and bulk.rotate():
            self._models = models

    def _delete_file(self, word: int, payload: bytes) -> None:
        """Delete what nobody would ever find: the file of an event that is lost."""
        event = decode(word, payload)
        if isinstance(event, FileLogged):
            with suppress(OSError):
                self._room.take(-delete_file(self.directory, event))

    def copy_in(self, source: Path, *, expendable: bool = False) -> Path:
        """Copy a file or folder into the run's directory; returns the path relative to that.

        Args:
            expendable: whether it is refused when the quota is used up.

        Raises:
            OSError: it can't be read, or there is no room, and none could be made.
        """
        if self._room.limited:
            files = files_in(source, runs=self.directory.path.parent) if source.is_dir() else ()
            self._await_room(measured(source, files)[0], expendable)
        name = self._blob_name(source.suffix)
        if source.is_dir():
            place = copy_tree(source, self.directory.blobs, name)
            self._unsynced += list(place.rglob("*"))
        else:
            place = copy_in(source, self.directory.blobs, name)
        return self._added(place)

    def write_in(self, content: bytes | Callable[[IO[bytes]], object], suffix: str) -> Path:
        """Write a medium's file into the run's directory; returns the path relative to that.

        Raises:
            OSError: the disk refuses, or the quota is used up; or whatever a function as the content raises.
        """
        self._await_room(len(content) if isinstance(content, bytes) else 0, expendable=True)
        place = write_in(content, self.directory.blobs, self._blob_name(f".{suffix}"))
        added = self._added(place)
        if not isinstance(content, bytes):
            try:
                self._await_room(0, expendable=True, written=size_on_disk(place))  # which is known only now
            except BaseException:
                self._taken_back(place)
                raise
        return added

    def _added(self, place: Path) -> Path:
        """A blob's path relative to the run's directory; it is to be synced, and so are the folders with its name."""
        self._unsynced += [place, self.directory.blobs, self.directory.path]
        if self._room.limited:
            size = size_on_disk(place)
            self._room.take(size)
            self._files += size
        return place.relative_to(self.directory.path)

    def _taken_back(self, place: Path) -> None:
        size = size_on_disk(place)
        place.unlink(missing_ok=True)
        self._room.take(-size)
        self._files -= size

    def _await_room(self, size: int, expendable: bool, written: int = 0) -> None:
        """Make room for a file of that size, if there is not enough.

        Args:
            written: bytes of it that are there already.

        Raises:
            OSError: there is none, and for a patient recorder none to come.
        """
        if not self._room.limited:
            return
        needed = size + SMALLEST_SIZE if expendable else size  # its event may begin a segment
        quota = self._room.quota
        if expendable and quota is not None and needed + written > quota:  # and nothing is removed for it
            raise OSError(self._room.refusal(needed + written))
        tight = self._room.over(needed) and time.monotonic() >= self._next_reclaim
        if tight or self._room.refusal(needed, expendable=expendable) is not None:
            with suppress(OSError):  # there is room, or there is not
                self._make_room(needed, _TURN)
        try:
            while (reason := self._room.refusal(needed, expendable=expendable)) is not None:
                if not self.patient or self._stream.closed or not self._room.may_come(needed):
                    raise OSError(reason)
                self._waiting_for = reason
                time.sleep(_POLL)
        finally:
            self._waiting_for = None
        if expendable:
            self._room.admit()

    def _blob_name(self, suffix: str) -> str:
        plain = "".join(char for char in suffix if char == "." or (char.isascii() and char.isalnum()))
        return f"{self.writer}-{next(self._blob_numbers):06}{plain[:_LONGEST_SUFFIX]}"

    def lose(self, reason: str) -> None:
        """Count an event that can't be recorded."""
        self._stream.lose(reason)
        self.losses.append(reason)

    @property
    def loss_reason(self) -> str | None:
        """Why events are being lost right now; None if they are not."""
        return next((log.loss_reason for log in self._logs().values() if log.loss_reason), None)

    @property
    def waiting_for(self) -> str | None:
        """Why calls wait right now; None if they don't."""
        return self._waiting_for or next((log.waiting_for for log in self._logs().values() if log.waiting_for), None)

    def tallies(self) -> dict[str, Tally]:
        """How many events each log has, by log key."""
        return {log_key(self.writer, lane): Tally(log.sequence, log.lost) for lane, log in self._logs().items()}

    def tend(self, *, sync: bool) -> None:
        """What the keeper thread does again and again.

        Args:
            sync: also make what was recorded survive a loss of power.

        Raises:
            OSError: the disk refuses.
        """
        now = time.monotonic()
        if now >= self._next_beat:
            self._next_beat = now + HEARTBEAT
            self.directory.beat(self.writer)
        if self._room.limited and now >= self._next_reclaim:
            self._look_for_room()
        for log in self._logs().values():
            log.prepare()
        if sync:
            self.sync()
        if sync and self.gone:
            raise FileNotFoundError(str(self.directory.path))

    @property
    def gone(self) -> bool:
        """Whether the run's directory was deleted, or this writer's part of it."""
        return not self.directory.log(self.writer, Lane.STREAM).is_dir()

    def _look_for_room(self) -> None:
        """Make room where it is short, and end the waiting for what never comes."""
        asked = self._room.asked()
        try:
            last = self._all_had_been_there(asked)
            if not self._make_room(asked) and last and self._room.over(asked):
                self._room.despair(asked)
            self.room_problem = None
        except BlockingIOError:
            pass  # another process makes some
        except OSError as error:
            self.room_problem = str(error)

    def _make_room(self, wanted: int, patience: float = 0.0) -> bool:
        """Give back what all of the run's backends have, if room is short; returns whether it is not, then.

        Args:
            wanted: bytes for which somebody waits.
            patience: seconds, see `reclaim`.

        Raises:
            OSError: space can't be given back, or another one is at it.
        """
        if not self._making_room.acquire(timeout=patience):
            raise BlockingIOError
        try:
            self._room.measure()
            short = self._room.shortage(2 * self._largest, wanted)
            if not short:
                return True
            self._next_reclaim = time.monotonic() + _RECLAIM
            freed = reclaim(self.directory, short, patience)
            self._room.take(-freed)
            if freed >= short:
                self._next_reclaim = 0.0
            return freed >= short
        finally:
            self._making_room.release()

    def _all_had_been_there(self, asked: int) -> bool:
        """Whether all backends have what was there when the waiting began, and nobody has got room since."""
        if not asked:
            self._ends = {}
        elif not self._ends or self._granted != self._room.granted:
            found = self.directory.tallies(self.tallies())
            self._ends, self._granted = {key: one.recorded for key, one in found.items()}, self._room.granted
        else:
            return all_have(self.directory, self._ends)
        return False

    def sync(self) -> None:
        """Make what was recorded survive a loss of power, files included. Raises OSError."""
        with self._sync_lock:  # as in `LogWriter.sync`
            count = len(self._unsynced)  # others may add to it meanwhile
            for place in dict.fromkeys(self._unsynced[:count]):
                with suppress(FileNotFoundError):  # removed meanwhile, by this process or another
                    sync_file(place)
            del self._unsynced[:count]
        for log in self._logs().values():
            log.sync()

    def give_up(self, reason: str, delivered: Mapping[str, int]) -> None:
        """Record nothing more, and count as lost what is not known to be delivered, by log key."""
        for lane, log in self._logs().items():
            log.give_up(reason, delivered.get(log_key(self.writer, lane), 0))

    def finish(self, word: int, payload: bytes) -> None:
        """`end`, make the logs survive a loss of power, and `close`.

        Raises:
            OSError: the disk refuses; the logs are sealed all the same.
        """
        self.end(word, payload)
        try:
            for log in self._logs().values():
                log.sync()
        finally:
            self.close()

    def end(self, word: int, payload: bytes) -> None:
        """Record the last event and seal the logs: the bulk log first, so that its end is known by the stream's.

        Waits for no disk: that is left to `sync`, and the files to `close`.

        Raises:
            OSError: see `LogWriter.end`.
        """
        try:
            if self._bulk is not None:
                if self._room.quota is not None and self._files:
                    self._bulk.rotate()  # so that a process that goes on with the run can remove these, too
                self._bulk.end()
        finally:
            self._stream.end((word, payload))

    def close(self) -> None:
        """After `end`: let go of the logs' files."""
        for log in self._logs().values():
            log.close()

    def detach(self) -> None:
        """Forget everything, in a forked child."""
        self.detached = True
        self._lock = threading.RLock()
        self._sync_lock = threading.RLock()
        self._making_room = threading.Lock()
        for log in self._logs().values():
            log.detach()

    def _logs(self) -> dict[Lane, LogWriter]:
        logs = {Lane.STREAM: self._stream}
        return logs if self._bulk is None else {**logs, Lane.BULK: self._bulk}
