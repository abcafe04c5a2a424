"""The writing side of a log: one lane's events of one writer process, appended to mapped segments.

`LogWriter.append` is the one place that every event passes. It makes no system call, takes no lock and survives
SIGKILL: the page cache belongs to the kernel.
"""

from __future__ import annotations

import mmap
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias
from zlib import crc32

from tracelet.journal.room import AWAITED, EXPENDABLE, Room
from tracelet.journal.segment import (
    ACTIVE,
    HEADER_SIZE,
    LOST,
    RECORD,
    SEALED,
    Segment,
    frame_packer,
    pack_count,
    pack_record,
)
from tracelet.journal.supply import RESERVE, RETRY_SPACE, Supply

FIRST_SIZE = 1 << 20
LARGEST_SIZE = 1 << 24

_POLL = 0.02  # seconds between two looks for room
_AGAIN: Any = object()  # in place of what `append` returns: the event may have room now

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
        room: how much may be taken; None is as much as there is. Where that says no, events of `EXPENDABLE` kinds are
            lost, and others recorded all the same.
        patient: wait for room instead of losing events.

    Raises:
        OSError: the directory or its first segment can't be created.
    """

    __slots__ = (
        "__weakref__",
        "_current",
        "_first",
        "_given_up",
        "_lock",
        "_lost",
        "_on_rotate",
        "_patient",
        "_retired",
        "_spurned",
        "_state",
        "_supply",
        "_sync_lock",
        "_synced",
        "loss_reason",
        "waiting_for",
    )

    def __init__(
        self,
        directory: Path,
        *,
        first_size: int = FIRST_SIZE,
        largest_size: int = LARGEST_SIZE,
        on_rotate: Callable[[], object] = bool,
        room: Room | None = None,
        patient: bool = False,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._on_rotate = on_rotate
        self._patient = patient
        self._lock = threading.RLock()
        self._sync_lock = threading.RLock()
        self._supply = Supply(directory, largest_size, room)
        self._retired: list[tuple[Segment, int]] = []  # and where their frames end
        self._lost = 0
        self._synced = 0
        self._given_up = False
        self._spurned = 0.0  # until when expendable events are not worth another look for room
        self.loss_reason: str | None = None
        """Why events are being lost right now; None if they are not."""
        self.waiting_for: str | None = None
        """Why events wait to be recorded right now; None if they don't."""
        self._current, granted = self._supply.first(first_size)
        self._first = 0
        self._current.map[RECORD] = pack_record(ACTIVE, 0)
        # The next frame's number and offset, the map it goes into, and where ordinary frames end there. With a limit of
        # 0 each event is looked at, for there is no room; one below 0 is that of a log that takes nothing any more.
        # Always replaced as one.
        limit = self._current.size - RESERVE if granted else 0
        self._state: _State = (0, HEADER_SIZE, self._current.map, limit)

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

    def append(self, word: int, payload: bytes) -> bool | None:
        """Record one event; True once it is in the journal, False if it is lost (and counted) or the log is closed.

        Args:
            word: kind and flags, see `codec`.
            payload: the encoded event.

        Returns:
            None, of a patient log alone, if the event has to wait for room.
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
                taken = self._append_slowly(word, payload, size)
                if taken is _AGAIN:
                    continue
                return taken  # type: ignore[no-any-return]
            frame = pack(crc32(payload, word ^ sequence), length, word, sequence, payload)
            place = slice(start, end)
            following = (sequence + 1, end, room, limit)
            # A compare-and-swap: from here to the last store CPython runs no other Python code, for there is no call,
            # no allocation of a container, no loop and no `with` at which it would switch threads, run a signal handler
            # or collect garbage. So either nothing was appended since the state was read, and both stores happen, or
            # neither does.
            # On one line, because a debugger's trace function is called, and threads are switched, between lines.
            if self._state is state: room[place], self._state = frame, following; return True  # fmt: skip # noqa: E701, E702

    def append_locked(self, word: int, payload: bytes) -> bool | None:
        """`append` for interpreters without a GIL."""
        with self._lock:
            return self.append(word, payload)

    def appender(self) -> Callable[[int, bytes], bool]:
        """`append`, in the form that this interpreter needs, and waiting for room if the log is patient."""
        gil = getattr(sys, "_is_gil_enabled", lambda: True)()
        append = self.append if gil else self.append_locked
        return partial(_append_patiently, append) if self._patient else append  # type: ignore[return-value]

    def _append_slowly(self, word: int, payload: bytes, size: int) -> Any:
        """What `append` does, and returns, where the segment in use takes no more, or not from everybody."""
        with self._lock:
            state = self._state
            limit = state[3]
            if limit < 0:
                self._lost += self._given_up
                return False
            if state[1] + size <= limit:
                return _AGAIN  # another thread, or a signal handler, made room
            kind = word & 0xFF
            vital = kind not in EXPENDABLE
            if limit > 0:
                if self._switch(size) or self._ration() or (vital and self._switch(size, vital=True)):
                    return _AGAIN
                return self._refuse(kind)
            if time.monotonic() >= self._spurned:
                self._spurned = time.monotonic() + RETRY_SPACE
                if self._relax():
                    return _AGAIN
            return self._append_vital(word, payload, size) if vital else self._refuse(kind)

    def _refuse(self, kind: int) -> bool | None:
        """What becomes of an event for which there is no room."""
        if self._patient and kind in AWAITED:
            waits = self._supply.may_pass()
            self.waiting_for = self._supply.problem if waits else None
            if waits:
                return None
        return self._lose()

    def _lose(self) -> bool:
        if not self.closed:  # else a signal handler has ended it just now
            self.loss_reason = self._supply.problem
            self._lost += 1
            self._current.map[LOST] = pack_count(self._lost)
        return False

    # A signal handler may come between any two lines of these, and append, switch, or seal. So each looks at the state
    # anew, does nothing about one that is not what it is for, and leaves it to `append` to look again.

    def _append_vital(self, word: int, payload: bytes, size: int) -> Any:
        """Append although there is no room for other events."""
        current, state = self._current, self._state
        sequence, start, room, limit = state
        if limit != 0:
            return _AGAIN
        end = start + size
        if end > current.size - RESERVE:
            return _AGAIN if self._switch(size, vital=True) else self._lose()
        pack, size = frame_packer(len(payload))
        frame = pack(crc32(payload, word ^ sequence), len(payload), word, sequence, payload)
        place, following = slice(start, end), (sequence + 1, end, room, limit)
        # As in `append`.
        if self._state is state: room[place], self._state = frame, following; return True  # fmt: skip # noqa: E701, E702
        return _AGAIN

    def _ration(self) -> bool:
        """From now on look at each event; False if it is the disk that refuses, and nobody can be preferred."""
        if not self._supply.rations():
            return False
        state = self._state
        rationed = (*state[:3], 0)
        if state[3] > 0 and self._state is state:
            self._state = rationed
        return True

    def _relax(self) -> bool:
        """Take all events again, if there is room."""
        if not self._supply.replenished(self._current):
            return False
        current, state = self._current, self._state
        relaxed = (*state[:3], current.size - RESERVE)
        if state[3] == 0 and self._state is state:
            self._state = relaxed
        self.loss_reason = self.waiting_for = None
        return True

    def _switch(self, size: int, *, vital: bool = False, early: bool = False) -> bool:
        """Switch to a segment with room for `size` bytes, if that is still needed; False if there is none.

        Args:
            vital: whether it is for events that are recorded although there is no room for others.
            early: also if there is room in this one.
        """
        with self._lock:
            old, state = self._current, self._state
            sequence, tail, _, limit = state
            if limit < 0 or (tail == HEADER_SIZE if early else tail + size <= limit):
                return True
            fresh = self._supply.after(old, size, vital=vital)
            if fresh is None:
                return False
            sealed = pack_record(SEALED, self._first, tail, sequence)
            active = pack_record(ACTIVE, sequence)
            fresh_map = fresh.map
            fresh_map[LOST] = pack_count(self._lost)
            switched = (sequence, HEADER_SIZE, fresh_map, limit and fresh.size - RESERVE)
            # As in `append`: all of these stores, or none. A reader must find the new segment in use before it finds
            # the old one sealed, or it would take that for the end of the log.
            if self._state is state:
                fresh_map[RECORD] = active
                old.map[RECORD] = sealed
                self._first = sequence
                self._current = fresh
                self._state = switched
            else:
                # Something was appended meanwhile: look again.
                self._supply.discard(fresh) if self.closed else self._supply.keep(fresh)
                return True
            self._retired.append((old, tail))
            if limit > 0:
                self.loss_reason = self.waiting_for = None
        self._on_rotate()
        return True

    # What the keeper thread does, or who logs files, off the path of the other events.

    def rotate(self) -> bool:
        """Have what follows in another segment than what is there; False if there is no space for one."""
        return self._switch(0, early=True) or self._switch(0, early=True, vital=True)

    def relax(self) -> None:
        """Take all events again, if there is room."""
        with self._lock:
            if self._state[3] == 0:
                self._relax()

    def prepare(self) -> None:
        """Have the next segment ready, and take all events if there is room."""
        with self._lock:
            if self.closed:
                return
            if self._state[3] == 0:
                self._relax()
            if self._state[3] > 0:
                self._supply.prepare(self._current)

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
            for segment, end in retired:
                os.fdatasync(segment.fd)
                self._supply.cut(segment, end)
                self._retired.remove((segment, end))
                segment.close()
            self._synced = sequence

    # How a log ends.

    def seal(self, last: tuple[int, bytes] | None = None) -> None:
        """`end` it, `sync` it, and let go of its files. Raises OSError if the disk refuses to sync."""
        self.end(last)
        try:
            self.sync()
        finally:
            self.close()

    def end(self, last: tuple[int, bytes] | None = None) -> None:
        """Say in the journal that nothing will follow. Waits for no disk: that is left to `sync`. Idempotent.

        Args:
            last: the word and payload of a last event, appended in the same instant.

        Raises:
            OSError: what was prepared can't be removed; the log is sealed all the same.
        """
        with self._lock:
            sealed = self._seal(last)
            if sealed is not None:
                self._retired.append(sealed)
                self._supply.discard_all()

    def close(self) -> None:
        """After `end`: let go of the files, also of what could not be synced."""
        with self._sync_lock:
            retired, self._retired = self._retired, []
            for segment, end in retired:
                with suppress(OSError):  # of a disk that refuses, and takes the whole segment
                    self._supply.cut(segment, end)
                segment.close()

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
                    if not self._switch(size, vital=True):
                        self._lose()
                        last = None
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
        segments, self._retired = [self._current, *(segment for segment, _ in self._retired)], []
        self._supply.close()
        for segment in segments:
            segment.close()


def _append_patiently(append: Callable[[int, bytes], bool | None], word: int, payload: bytes) -> bool:
    """Append, and wait for room for as long as it takes, holding no lock; what a signal handler raises ends it."""
    while (taken := append(word, payload)) is None:
        time.sleep(_POLL)
    return taken


def _packer(length: int) -> tuple[Callable[[int, int, int, int, bytes], bytes], int]:
    packer = frame_packer(length)
    if length < _LONGEST_PACKER:
        _packers[length] = packer
    return packer
