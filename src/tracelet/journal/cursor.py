"""A backend's cursor: how far it has come in each log, what became of every event up to there, and its own state.

It is one small file, replaced atomically, so that the counts and the positions they belong to can't disagree.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import msgspec

from tracelet.backend import State
from tracelet.journal.directory import write_atomically
from tracelet.journal.reader import Position


class LogCount(msgspec.Struct):
    """What became of the events of one log; they add up to the position's sequence number."""

    position: Position = Position()
    delivered: int = 0
    dropped: dict[str, int] = {}
    dead_lettered: int = 0
    degraded: int = 0


class CursorRecord(msgspec.Struct):
    """The content of a cursor file.

    Attributes:
        state: the backend's own, see `backend.State`.
        phase: how delivery is going: "starting", "running", "retrying", "paused", "hung", "failed", "closed".
        closed: the outcome that the backend was told; None until it was.
        outcomes: how each writer ended, as the backend was told.
    """

    state: State | None = None
    url: str | None = None
    phase: str = "starting"
    closed: str | None = None
    outcomes: dict[str, str] = {}
    retries: int = 0
    last_error: str | None = None
    logs: dict[str, LogCount] = {}


class Cursor:
    """A cursor held for writing: one process at a time, guarded by a lock that the kernel releases at its death."""

    def __init__(self, path: Path, lock: int) -> None:
        self._path = path
        self._lock = lock
        self.record = read_cursor(path)

    @classmethod
    def acquire(cls, path: Path) -> Cursor | None:
        """The cursor at `path`, created if need be; None if another process holds it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(_lock_path(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        return cls(path, lock)

    def save(self) -> None:
        """Write the record. Raises OSError."""
        write_atomically(self._path, msgspec.json.encode(self.record))

    def log(self, key: str) -> LogCount:
        """The counts of one log, from nothing if it is new."""
        return self.record.logs.setdefault(key, LogCount())

    def restart(self) -> None:
        """Say that delivery begins anew, whatever became of the last attempt. Raises OSError."""
        self.record.phase = "starting"
        self.save()

    def fail(self, reason: str) -> None:
        """Say that delivery is not possible. Raises OSError."""
        self.record.phase, self.record.last_error = "failed", reason
        self.save()

    def release(self) -> None:
        """Let another process have it."""
        os.close(self._lock)


def read_cursor(path: Path) -> CursorRecord:
    """What a cursor file says; a fresh record, so that all is delivered again, if there is none or it is damaged."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=CursorRecord)
    except FileNotFoundError:
        return CursorRecord()
    except msgspec.MsgspecError as error:
        return CursorRecord(last_error=f"the cursor {path} was damaged ({error}): delivering from the start again")


def holder(path: Path) -> int | None:
    """The process id of who holds the cursor; None if nobody does."""
    try:
        lock = os.open(_lock_path(path), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return int(os.pread(lock, 20, 0) or b"0")
    else:
        return None
    finally:
        os.close(lock)


def _lock_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")
