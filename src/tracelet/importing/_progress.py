"""How far an import of a run has come: one record in the run's directory, which a crash leaves whole."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

import msgspec

from tracelet.errors import TraceletError
from tracelet.events import Lane
from tracelet.importing._roles import Role
from tracelet.journal import RunDirectory, log_key
from tracelet.journal.blobs import sync_file
from tracelet.tensorboard._summaries import Remembered

RECORD = "import.json"
MARKS = "import.marks"

EMBEDDING = "\0"
"""Between the file that describes embeddings and the name of one, in the key of that."""


class Portion(msgspec.Struct, array_like=True):
    """What is to be read of one file: from one offset to another. An embedding is (its key, 0, 1)."""

    file: str
    start: int
    stop: int


class Progress(msgspec.Struct):
    """What was imported.

    What a run says is made of the files alone. So an import that was killed goes on from here: it makes the events of
    each portion behind its offset again, and leaves out as many of them as the journal has. How many these are is told
    by the marks (see `ProgressFile.mark`), for each portion by itself: files that changed meanwhile, went or came back
    change nothing for the others.

    Attributes:
        source: the log directory.
        offsets: by file, up to where it is imported.
        skipped: by file, how many damaged bytes were passed over.
        roles: what a log directory is, once that is known.
        remembered: by log directory, what later events take for granted.
        counts: by file and lane, how many events were made of its portion up to the offset.
        owed: by file and lane, how many events behind the offset the journal has, of files that could not be read when
            an import went on.
        writers: the journal's writers that imported.
        portions: what is being read; none between two imports. What grows meanwhile is for the next one.
        first, latest: when the first event was written, and the latest, in seconds since the epoch.
    """

    source: str
    offsets: dict[str, int] = {}
    skipped: dict[str, int] = {}
    roles: dict[str, Role] = {}
    remembered: dict[str, Remembered] = {}
    counts: dict[str, dict[Lane, int]] = {}
    owed: dict[str, dict[Lane, int]] = {}
    writers: list[str] = []
    portions: list[Portion] = []
    first: float = 0.0
    latest: float = 0.0


class Busy(TraceletError):
    """Raised when another process imports into a run."""

    def __init__(self, pid: int) -> None:
        super().__init__(f"process {pid} is importing it")


class ProgressFile:
    """The record, held by one process at a time; the kernel lets go of it at that process's death.

    Raises:
        Busy: another process holds it.
        OSError: the run's directory can't be created.
    """

    def __init__(self, run: RunDirectory) -> None:
        run.path.mkdir(parents=True, exist_ok=True)
        self._path = run.path / RECORD
        self._marks = run.path / MARKS
        self._place = run.path / "import.lock"
        self._lock = os.open(self._place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = int(os.pread(self._lock, 20, 0) or b"0")
            os.close(self._lock)
            raise Busy(pid) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, str(os.getpid()).encode(), 0)

    def close(self, *, keep: bool) -> None:
        """Let another process have it.

        Args:
            keep: else there is no run: its directory goes, if nothing else is in it.
        """
        if not keep and not self._path.exists():
            with suppress(OSError):
                self._place.unlink()
                self._path.parent.rmdir()
        os.close(self._lock)

    def read(self, source: Path) -> Progress:
        """The record, a fresh one if there is none. Raises msgspec.MsgspecError if it is damaged."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Progress)
        except FileNotFoundError:
            return Progress(str(source))

    def mark(self, portion: int, events: dict[Lane, int]) -> None:
        """Note that a portion begins where the journal has so many events. Raises OSError."""
        line = " ".join(map(str, (portion, *(events[lane] for lane in Lane))))
        with self._marks.open("ab", buffering=0) as file:
            file.write(f"{line}\n".encode())
            os.fdatasync(file.fileno())  # before the portion's first event

    def marks(self) -> list[tuple[int, dict[Lane, int]]]:
        """What was marked, in that order. Raises OSError."""
        try:
            lines = self._marks.read_bytes().split(b"\n")[:-1]  # what has no end was not written whole
        except FileNotFoundError:
            return []
        rows = [[int(number) for number in line.split()] for line in lines]
        return [(portion, dict(zip(Lane, events, strict=True))) for portion, *events in rows]

    def forget_marks(self) -> None:
        """Begin with other portions. Raises OSError."""
        self._marks.unlink(missing_ok=True)

    def write(self, progress: Progress) -> None:
        """Replace the record, so that a crash or a loss of power leaves the old or the new one. Raises OSError."""
        fresh = self._path.with_suffix(".fresh")
        fresh.write_bytes(msgspec.json.encode(progress))
        sync_file(fresh)
        fresh.replace(self._path)


def files_of(run: RunDirectory) -> set[str]:
    """The files that are being imported into a run, or were; none if that can't be told."""
    try:
        progress = msgspec.json.decode((run.path / RECORD).read_bytes(), type=Progress)
    except (OSError, msgspec.MsgspecError):
        return set()
    return {*progress.offsets, *progress.owed, *(portion.file for portion in progress.portions)}


def recorded(run: RunDirectory, writers: list[str]) -> dict[Lane, int]:
    """How many events these writers recorded, without the start and the end of each. They must all have ended."""
    tallies = run.tallies({})
    found = dict.fromkeys(Lane, 0)
    for writer in writers:
        for lane in Lane:
            tally = tallies.get(log_key(writer, lane))
            found[lane] += tally.recorded if tally is not None else 0
        stream = tallies.get(log_key(writer, Lane.STREAM))
        if stream is not None and stream.recorded:
            found[Lane.STREAM] -= 2 if run.finished(writer) else 1
    return found
