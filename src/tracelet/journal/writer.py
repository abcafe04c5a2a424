"""The writing side of a log: one lane's events of one writer process, appended to mapped segments.

`LogWriter.append` is the one place that every event passes. It makes no system call, takes no lock and survives
SIGKILL: the page cache belongs to the kernel.
"""

from __future__ import annotations

import itertools
import mmap
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias
from zlib import crc32

from tracelet.journal.segment import (
    ACTIVE,
    HEADER_SIZE,
    LOST,
    RECORD,
    SEALED,
    SPARE,
    Segment,
    frame_packer,
    pack_count,
    pack_record,
    read_header,
    segment_numbers,
    segment_path,
)

FIRST_SIZE = 1 << 20
LARGEST_SIZE = 1 << 24
RESERVE = 4096
"""Bytes at the end of a segment that are kept for a log's last event, should no further segment be had."""

_RETRY_SPACE = 1.0  # seconds between two attempts to get a segment from a full disk

_State: TypeAlias = tuple[int, int, mmap.mmap, int]
_NOWHERE: Any = memoryview(b"")  # in place of the map of a log that takes nothing any more

_LONGEST_PACKER = 512
_packers: dict[int, tuple[Callable[[int, int, int, int, bytes], bytes], int]] = {}
"""`frame_packer` for the lengths that were met, of the short ones."""


class LogWriter:
    """Appends frames to a log. Safe to use from threads and from signal handlers, also ones that raise.

    Args:
        directory: the log's own, created here.
        first_size, largest_size: of segments, in bytes; each is twice the one before, up to the largest.
        on_rotate: called, rarely and on the caller's path, when a spare segment was used up.

    Raises:
        OSError: the directory or its first segment can't be created.
    """

    __slots__ = (
        "__weakref__",
        "_current",
        "_directory",
        "_first",
        "_full_until",
        "_given_up",
        "_largest_size",
        "_lock",
        "_lost",
        "_on_rotate",
        "_problem",
        "_retired",
        "_spare",
        "_state",
        "_sync_lock",
        "_synced",
        "loss_reason",
    )

    def __init__(
        self,
        directory: Path,
        *,
        first_size: int = FIRST_SIZE,
        largest_size: int = LARGEST_SIZE,
        on_rotate: Callable[[], object] = bool,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._largest_size = largest_size
        self._on_rotate = on_rotate
        self._lock = threading.RLock()
        self._sync_lock = threading.RLock()
        self._spare: Segment | None = None
        self._retired: list[Segment] = []
        self._lost = 0
        self._full_until = 0.0
        self._synced = 0
        self._given_up = False
        self._problem: str | None = None  # why there was no segment to be had the last time
        self.loss_reason: str | None = None
        """Why events are being lost right now; None if they are not."""
        self._current = Segment(directory, 0, first_size)
        self._first = 0
        self._current.map[RECORD] = pack_record(ACTIVE, 0)
        # The next frame's number and offset, the map it goes into, and where ordinary frames end there; a limit below 0
        # is that of a log that takes nothing any more. Always replaced as one.
        self._state: _State = (0, HEADER_SIZE, self._current.map, first_size - RESERVE)

    @property
    def lost(self) -> int:
        """How many events could not be recorded; see `loss_reason`."""
        return self._lost

    @property
    def sequence(self) -> int:
        """The number that the next frame gets."""
        return self._state[0]

    @property
    def closed(self) -> bool:
        """Whether the log was sealed or given up."""
        return self._state[3] < 0

    def append(self, word: int, payload: bytes) -> bool:
        """Record one event; True once it is in the journal, False if it is lost (and counted) or the log is closed.

        Args:
            word: kind and flags, see `codec`.
            payload: the encoded event.
        """
        length = len(payload)
        try:
            pack, size = _packers[length]
        except KeyError:
            pack, size = _packer(length)
        while True:
            state = self._state
            sequence, start, room, limit = state
            end = start + size
            if end > limit:
                if self._make_room(size):
                    continue
                return False
            frame = pack(crc32(payload, word ^ sequence), length, word, sequence, payload)
            place = slice(start, end)
            following = (sequence + 1, end, room, limit)
            # A compare-and-swap: from here to the last store CPython runs no other Python code, for there is no call,
            # no allocation of a container, no loop and no `with` at which it would switch threads, run a signal handler
            # or collect garbage. So either nothing was appended since the state was read, and both stores happen, or
            # neither does.
            # On one line, because a debugger's trace function is called, and threads are switched, between lines.
            if self._state is state: room[place], self._state = frame, following; return True  # fmt: skip # noqa: E701, E702

    def append_locked(self, word: int, payload: bytes) -> bool:
        """`append` for interpreters without a GIL."""
        with self._lock:
            return self.append(word, payload)

    def appender(self) -> Callable[[int, bytes], bool]:
        """`append`, in the form that this interpreter needs."""
        gil = getattr(sys, "_is_gil_enabled", lambda: True)()
        return self.append if gil else self.append_locked

    def _make_room(self, size: int) -> bool:
        """Switch to a segment with room for `size` bytes; False if there is none, after counting the loss."""
        with self._lock:
            old, state = self._current, self._state
            sequence, tail, _, limit = state
            if limit < 0:
                self._lost += self._given_up
                return False
            if tail + size <= limit:
                return True  # another thread, or a signal handler, made room
            fresh = self._take_spare(old, size)
            if fresh is None:
                self.loss_reason = self._problem
                self._lost += 1
                old.map[LOST] = pack_count(self._lost)
                return False
            sealed = pack_record(SEALED, self._first, tail, sequence)
            active = pack_record(ACTIVE, sequence)
            fresh_map = fresh.map
            fresh_map[LOST] = pack_count(self._lost)
            switched = (sequence, HEADER_SIZE, fresh_map, fresh.size - RESERVE)
            # As in `append`: all of these stores, or none. A reader must find the new segment in use before it finds
            # the old one sealed, or it would take that for the end of the log.
            if self._state is state:
                fresh_map[RECORD] = active
                old.map[RECORD] = sealed
                self._first = sequence
                self._current = fresh
                self._state = switched
            else:
                self._spare = fresh  # something was appended meanwhile: look again
                return True
            self._retired.append(old)
            self.loss_reason = None
        self._on_rotate()
        return True

    def _take_spare(self, old: Segment, size: int) -> Segment | None:
        spare, self._spare = self._spare, None
        if spare is not None and (spare.number <= old.number or spare.size < size + HEADER_SIZE + RESERVE):
            spare.discard()
            spare = None
        return spare or self._create(old, size)

    def _create(self, old: Segment, size: int = 0) -> Segment | None:
        if time.monotonic() < self._full_until:
            return None
        wanted = max(min(old.size * 2, self._largest_size), (size + HEADER_SIZE + RESERVE + 4095) & -4096)
        for number in itertools.count(old.number + 1):
            try:
                return Segment(self._directory, number, wanted)
            except FileExistsError:
                continue  # left by a signal handler that came between creating a segment and using it
            except OSError as error:
                self._full_until = time.monotonic() + _RETRY_SPACE
                self._problem = error.strerror or str(error)
                return None
        raise AssertionError("unreachable")

    # What the keeper thread does, off the caller's path.

    def prepare(self) -> None:
        """Have the next segment ready."""
        with self._lock:
            if self._spare is None and not self.closed:
                self._spare = self._create(self._current)

    def sync(self) -> None:
        """Make what was appended so far survive a loss of power. Raises OSError if the disk can't."""
        with self._sync_lock:  # whoever comes second must not return before the first one is through
            with self._lock:
                retired, sequence = list(self._retired), self.sequence
                current = None if self.closed or sequence == self._synced else os.dup(self._current.fd)
            if current is not None:
                try:
                    os.fdatasync(current)
                finally:
                    os.close(current)
            for segment in retired:
                os.fdatasync(segment.fd)
                self._retired.remove(segment)
                segment.close()
            self._synced = sequence

    # How a log ends.

    def seal(self, last: tuple[int, bytes] | None = None) -> None:
        """Say in the journal that nothing will follow, and give back the space that is not used. Idempotent.

        Args:
            last: the word and payload of a last event, appended in the same instant.

        Raises:
            OSError: the disk refuses to sync; the log is sealed all the same.
        """
        with self._lock:
            sealed = self._seal(last)
            if sealed is not None:
                self._discard_spares()
        if sealed is not None:  # not within the lock: a sync that is under way may be waiting for that
            current, end = sealed
            try:
                self.sync()
                os.fdatasync(current.fd)
            finally:
                current.close((end + 4095) & -4096)

    def _seal(self, last: tuple[int, bytes] | None) -> tuple[Segment, int] | None:
        """The segment that was sealed, and where its frames end; None if none was left to seal."""
        while not self.closed:
            current, state = self._current, self._state
            sequence, end, room, _ = state
            following, frame, place = sequence, b"", slice(end, end)
            if last is not None:
                word, payload = last
                pack, size = frame_packer(len(payload))
                if end + size > current.size:
                    if not self._make_room(size):
                        last = None  # it is counted as lost
                    continue
                frame = pack(crc32(payload, word ^ sequence), len(payload), word, sequence, payload)
                following, place, end = sequence + 1, slice(end, end + size), end + size
            sealed = pack_record(SEALED, self._first, end, following)
            over = (following, end, _NOWHERE, -1)
            # As in `append`: all of these stores, or none.
            if self._state is state:
                room[place] = frame
                room[RECORD] = sealed
                self._state = over
                return current, end
        return None

    def lose(self, reason: str) -> None:
        """Count an event that could not be recorded for a reason outside this log."""
        with self._lock:
            self.loss_reason = reason
            self._lost += 1
            if not self.closed:
                self._current.map[LOST] = pack_count(self._lost)

    def give_up(self, reason: str, delivered: int) -> None:
        """Record nothing more: the directory is gone.

        Args:
            reason: see `loss_reason`.
            delivered: how many of the events are known to have been read; the others count as lost, as do later ones.
        """
        with self._lock:
            if self.closed:
                return
            self.loss_reason = reason
            self._given_up = True
            self._lost += self.sequence - delivered
            self._state = (delivered, 0, _NOWHERE, -1)
            self._close_all()

    def detach(self) -> None:
        """Forget the log in a forked child: it belongs to the parent."""
        self._lock = threading.RLock()  # the parent's may be held by a thread that does not exist here
        self._sync_lock = threading.RLock()
        if not self.closed:
            self._state = (self.sequence, 0, _NOWHERE, -1)
            self._close_all()

    def _close_all(self) -> None:
        """Let go of the files, as they are."""
        segments = [self._current, *self._retired, *([] if self._spare is None else [self._spare])]
        self._spare, self._retired = None, []
        for segment in segments:
            segment.close()

    def _discard_spares(self) -> None:
        spare, self._spare = self._spare, None
        if spare is not None:
            spare.discard()
        for number in segment_numbers(self._directory):
            path = segment_path(self._directory, number)
            header = read_header(path)
            if header is not None and header.state == SPARE:
                path.unlink(missing_ok=True)


def _packer(length: int) -> tuple[Callable[[int, int, int, int, bytes], bytes], int]:
    packer = frame_packer(length)
    if length < _LONGEST_PACKER:
        _packers[length] = packer
    return packer
