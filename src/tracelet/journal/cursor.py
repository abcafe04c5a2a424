"""A backend's cursor: how far it has come in each log, what became of every event up to there, and its own state.

It is one small file with two slots, of which the older is overwritten with the next record and its check, so that there
is always a whole one, and the counts and the positions they belong to can't disagree. (Replacing the file by renaming
would do the same; but a file system that flushes what is renamed over another takes a millisecond for it.)
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path
from struct import Struct
from zlib import crc32

import msgspec

from tracelet.backend import State
from tracelet.journal.process import call_in_forked_children
from tracelet.journal.reader import Position

_SLOT = 1 << 20  # bytes between the slots, most of them a hole in the file
_HEAD = Struct("<IIQ")  # CRC-32 of the record seeded with the generation, its length, the generation
_LOCK_TRIES, _LOCK_PAUSE = 4, 0.002
_READS = 3  # attempts, should both slots be overwritten between reading one and the other


class LogCount(msgspec.Struct):
    """What became of the events of one log; they add up to the position's sequence number."""

    position: Position = Position()
    delivered: int = 0
    dropped: dict[str, int] = {}
    dead_lettered: int = 0
    degraded: int = 0


class WriterEnd(msgspec.Struct, frozen=True):
    """How a process ended that logged to the run.

    Attributes:
        time: in seconds since the epoch; 0 if it is not known.
        last_event: the time of the last thing it said, likewise.
    """

    outcome: str
    time: float
    last_event: float


class CursorRecord(msgspec.Struct):
    """The content of a cursor file.

    Attributes:
        state: the backend's own, see `backend.State`.
        phase: how delivery is going: "starting", "running", "retrying", "paused", "hung", "failed", "closed".
        closed: the outcome that the backend was told; None until it was.
        ends: how each writer ended, as the backend was told.
    """

    state: State | None = None
    url: str | None = None
    phase: str = "starting"
    closed: str | None = None
    ends: dict[str, WriterEnd] = {}
    retries: int = 0
    last_error: str | None = None
    logs: dict[str, LogCount] = {}


class Cursor:
    """A cursor held for writing: one process at a time, guarded by a lock that the kernel releases at its death."""

    def __init__(self, path: Path, lock: int) -> None:
        self._lock = lock
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._path = path
        self.record, self._generation = _read(self._file, path)
        call_in_forked_children(self.release)  # a child that outlives us must not keep the lock

    @classmethod
    def acquire(cls, path: Path) -> Cursor | None:
        """The cursor at `path`, created if need be; None if another process holds it. Raises OSError."""
        path.parent.mkdir(exist_ok=True)  # but not the run's directory, which may have been removed just now
        lock = os.open(_lock_path(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        if not _try_lock(lock):
            os.close(lock)
            return None
        try:
            os.ftruncate(lock, 0)
            os.pwrite(lock, str(os.getpid()).encode(), 0)
            return cls(path, lock)
        except BaseException:
            os.close(lock)
            raise

    def __enter__(self) -> Cursor:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def save(self) -> None:
        """Write the record. Raises OSError, also if the file was deleted."""
        os.stat(self._path)
        body = msgspec.json.encode(self.record)
        if len(body) > _SLOT - _HEAD.size:
            raise OSError(errno.EFBIG, f"the cursor has {len(body):,} bytes and may have {_SLOT:,}", str(self._path))
        generation = self._generation + 1
        head = _HEAD.pack(crc32(body, generation), len(body), generation)
        os.pwrite(self._file, head + body, generation % 2 * _SLOT)
        self._generation = generation

    def log(self, key: str) -> LogCount:
        """The counts of one log, from nothing if it is new."""
        return self.record.logs.setdefault(key, LogCount())

    def restart(self) -> None:
        """Say that delivery begins anew, whatever became of the last attempt. Raises OSError."""
        self.record.phase = "starting"
        self.save()

    def fail(self, reason: str) -> None:
        """Say that delivery is not possible. Raises OSError."""
        self.record.phase = "failed"
        self.record.last_error = reason.encode("utf-8", "backslashreplace").decode()  # paths need not be UTF-8
        self.save()

    def release(self) -> None:
        """Let another process have it."""
        for fd in self._file, self._lock:
            if fd >= 0:
                os.close(fd)
        self._file = self._lock = -1


def read_cursor(path: Path) -> CursorRecord:
    """What a cursor file says; a fresh record, so that all is delivered again, if there is none or it is damaged."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return CursorRecord()
    try:
        return _read(file, path)[0]
    finally:
        os.close(file)


def _read(file: int, path: Path) -> tuple[CursorRecord, int]:
    """The latest whole record, and its generation."""
    for _ in range(_READS):
        slots = sorted(filter(None, (_read_slot(file, slot) for slot in (0, 1))), reverse=True)
        for generation, body in slots:
            try:
                return msgspec.json.decode(body, type=CursorRecord), generation
            except msgspec.MsgspecError:
                continue
        if os.fstat(file).st_size == 0:
            return CursorRecord(), 0
    return CursorRecord(last_error=f"the cursor {path} was damaged: delivering from the start again"), 0


def _read_slot(file: int, slot: int) -> tuple[int, bytes] | None:
    head = os.pread(file, _HEAD.size, slot * _SLOT)
    if len(head) < _HEAD.size:
        return None
    crc, length, generation = _HEAD.unpack(head)
    body = os.pread(file, min(length, _SLOT), slot * _SLOT + _HEAD.size)
    return (generation, body) if length and crc32(body, generation) == crc else None


def damaged_slots(path: Path) -> int:
    """How many of the two records of a cursor file are damaged; one that was never written is not."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        heads = [os.pread(file, _HEAD.size, slot * _SLOT) for slot in (0, 1)]
        return sum(bool(head.strip(b"\0")) and _read_slot(file, slot) is None for slot, head in enumerate(heads))
    finally:
        os.close(file)


def holder(path: Path) -> int | None:
    """The process id of who holds the cursor; None if nobody does. It needs no right to write."""
    try:
        lock = os.open(_lock_path(path), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: on NFS the other kind takes a right to write
    except BlockingIOError:
        return int(os.pread(lock, 20, 0) or b"0")
    else:
        return None
    finally:
        os.close(lock)


def _try_lock(lock: int) -> bool:
    for _ in range(_LOCK_TRIES):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOCK_PAUSE)  # it may have been `holder`, which takes it for an instant
        else:
            return True
    return False


def _lock_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")
