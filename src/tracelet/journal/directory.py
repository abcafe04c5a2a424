"""A run's directory: what lies where, which writers it has, and what `run.json` says of it."""

from __future__ import annotations

import fcntl
import itertools
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from tracelet.events import Lane
from tracelet.journal.cursor import WriterEnd
from tracelet.journal.process import Process, alive
from tracelet.journal.reader import Tally, tally
from tracelet.journal.segment import REMOVED, SEALED, SPARE, read_header, segment_numbers, segment_path

R = TypeVar("R")

IGNORE_FILE = ".gitignore"

_IGNORE_ALL = "*\n"
_ATTEMPTS = 10
_LATE_START = 30.0  # seconds that the start of a launch's ranks may be apart


class RunRecord(msgspec.Struct, kw_only=True):
    """What is needed to go on with a run's delivery in a process that knows nothing else of it.

    Attributes:
        created: in seconds since the epoch.
        backends: per backend its options, resolved and without credentials.
        version: of the Tracelet that wrote it.
        parent: the id of the run that this one is a child of, whose directory is beside this one's.
    """

    id: str
    name: str
    project: str
    created: float
    backends: dict[str, dict[str, Any]]
    version: str
    parent: str | None = None


class WriterRecord(msgspec.Struct, frozen=True):
    """One process that logs to the run.

    Attributes:
        rank: among those that a launcher started; the others' end is not the run's.
        ranks: how many of them log to the run.
    """

    process: Process
    created: float
    rank: int = 0
    ranks: int = 1


class RunDirectory:
    """The paths of a run, and the records in them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.blobs = path / "blobs"
        self._journal = path / "journal"

    @property
    def id(self) -> str:
        return self.path.name

    def beside(self, run_id: str) -> RunDirectory:
        """Another run's directory, in the same place."""
        return RunDirectory(self.path.with_name(run_id))

    def cursor(self, backend: str) -> Path:
        return self.path / "cursors" / file_name(backend)

    def dead_letters(self, backend: str) -> Path:
        return self.path / "dead" / f"{file_name(backend)}.jsonl"

    def delivery_log(self, backend: str) -> Path:
        return self.path / f"delivery-{file_name(backend)}.log"

    def log(self, writer: str, lane: Lane) -> Path:
        """The directory of one lane's segments of one writer."""
        return self._journal / writer / lane.value

    def essentials(self, writer: str) -> list[Path]:
        """The files, and the folders with their names, without which nobody finds a writer's log."""
        record = self._writer_record(writer)
        return [self.path / "run.json", record, record.parent, self._journal, self.path, *list(self.path.parents)[:3]]

    def read_record(self) -> RunRecord:
        """Raises FileNotFoundError, or msgspec.MsgspecError if it is damaged."""
        return msgspec.json.decode((self.path / "run.json").read_bytes(), type=RunRecord)

    def write_record(self, record: RunRecord) -> None:
        write_atomically(self.path / "run.json", msgspec.json.format(msgspec.json.encode(record)))

    def make_record(self, make: Callable[[RunRecord | None], RunRecord]) -> RunRecord | None:
        """Write the record that is made of what is there, while no other process does.

        Returns:
            What was there; None if that was nothing.

        Raises:
            OSError: it can't be written.
            msgspec.MsgspecError: the one that is there is damaged.
        """

        def write() -> RunRecord | None:
            try:
                earlier = self.read_record()
            except FileNotFoundError:
                earlier = None
            self.write_record(make(earlier))
            return earlier

        return self._while_claimed(write)

    def add_writer(self, rank: int = 0, ranks: int = 1) -> str:
        """Make a place for this process's logs; its name is the next number. See `WriterRecord`."""
        return self._while_claimed(lambda: self._add_writer(rank, ranks))

    def _while_claimed(self, do: Callable[[], R]) -> R:
        """Do it while nobody else claims the run, whose directory is made if it is not there."""
        for attempt in itertools.count(1):
            try:
                self._journal.mkdir(parents=True, exist_ok=True)
                with self.claimed(wait=True) as there:
                    if there:
                        return do()
            except (FileExistsError, FileNotFoundError):  # it is being removed at this moment
                if attempt == _ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    def _add_writer(self, rank: int, ranks: int) -> str:
        number = len(os.listdir(self._journal))
        while True:
            place = self._journal / f"{number:04}"
            try:
                place.mkdir()
            except FileExistsError:
                number += 1
                continue
            break
        record = WriterRecord(process=Process.current(), created=time.time(), rank=rank, ranks=ranks)
        write_atomically(self._writer_record(place.name), msgspec.json.encode(record))
        return place.name

    @contextmanager
    def claimed(self, *, wait: bool = False) -> Iterator[bool]:
        """Keep the run from getting a writer, or from being removed, for so long. Gives whether that is sure.

        Args:
            wait: until nobody else claims it; else it is not sure then.

        Raises:
            FileNotFoundError: there is no such run.
        """
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            except OSError:
                pass  # a file system without locks
            try:
                there = os.path.samestat(os.fstat(fd), os.stat(self.path))
            except FileNotFoundError:
                there = False  # removed while this waited
            yield there
        finally:
            os.close(fd)

    @property
    def live(self) -> bool:
        """Whether a process logs to the run; one that has finished the run and goes on with other things does not."""
        return any(self.writer_alive(writer) and not self.finished(writer) for writer in self.writers())

    def writers(self) -> list[str]:
        """The names of the writers, in the order they began; one is there once its record is."""
        try:
            names = sorted((name for name in os.listdir(self._journal) if name.isdecimal()), key=int)
        except FileNotFoundError:
            return []
        return [name for name in names if self._writer_record(name).exists()]

    def writer_record(self, writer: str) -> WriterRecord | None:
        """Who the writer is; None if that is not known."""
        try:
            return msgspec.json.decode(self._writer_record(writer).read_bytes(), type=WriterRecord)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def writer_alive(self, writer: str) -> bool:
        """Whether the writer's process still runs."""
        record = self.writer_record(writer)
        return record is not None and alive(record.process, self._writer_record(writer))

    def all_began(self) -> bool:
        """Whether every rank that is to log to the run has begun to, or has had the time for it since rank 0 did."""
        records = list(filter(None, map(self.writer_record, self.writers())))
        first = [record for record in records if record.rank == 0]
        if len(records) >= sum(record.ranks for record in first):
            return True
        return time.time() - max(record.created for record in first) > _LATE_START

    def run_end(self, ends: Mapping[str, WriterEnd]) -> WriterEnd | None:
        """How the run ended, by how its writers did: as the one whose last event is the latest, of those of rank 0.

        That is the writer that went on longest, of several at a time, and the latest one, of several in turn. The last
        sign of a killed one does not decide, because copying a run's directory renews it.
        """
        records = {writer: self.writer_record(writer) for writer in ends}
        leading = [writer for writer, record in records.items() if record is None or record.rank == 0]
        last = max(leading or ends, key=lambda writer: (ends[writer].last_event, int(writer)), default=None)
        return None if last is None else ends[last]

    def finished(self, writer: str) -> bool:
        """Whether the writer has said all it had to say, and sealed its stream."""
        log = self.log(writer, Lane.STREAM)
        numbers = segment_numbers(log)
        while _all_sealed(log, numbers):
            # A segment is sealed only after the next one is in use, which may have been made since the list was.
            before, numbers = numbers, segment_numbers(log)
            if numbers[-1:] == before[-1:]:
                return True
        return False

    def last_sign(self, writer: str) -> float:
        """When the writer last showed that it lived, within `HEARTBEAT`, in seconds since the epoch; 0 if unknown."""
        try:
            return self._writer_record(writer).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def beat(self, writer: str) -> None:
        """Tell readers on other hosts that the writer lives. Raises FileNotFoundError if its directory is gone."""
        os.utime(self._writer_record(writer))

    def tallies(self, known: Mapping[str, Tally]) -> dict[str, Tally]:
        """How many events each log holds, by log key; those that are `known` are not counted again."""
        result = dict(known)
        for writer in self.writers():
            final: bool | None = None
            for lane in Lane:
                key = log_key(writer, lane)
                if key not in result:
                    final = not self.writer_alive(writer) if final is None else final
                    result[key] = tally(self.log(writer, lane), final=final)
        return result

    def _writer_record(self, writer: str) -> Path:
        return self._journal / writer / "writer.json"


def _all_sealed(log: Path, numbers: Sequence[int]) -> bool:
    """Whether there are segments in use, and nothing will be added to any of them."""
    used = False
    for path in (segment_path(log, number) for number in numbers):
        header = read_header(path)
        if header is None:
            if path.exists():
                return False  # it is being made, or its header changed, right now
        elif header.state in (SEALED, REMOVED):
            used = True
        elif header.state != SPARE:
            return False
    return used


def make_store(folder: Path) -> None:
    """Make the folder in which runs are kept, if it is not there; git ignores all that is in it. Raises OSError."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        return
    (folder / IGNORE_FILE).write_text(_IGNORE_ALL)


def ignore_file(folder: Path) -> Path | None:
    """The file by which git ignores all that is in the folder, as `make_store` writes it, if there is one."""
    path = folder / IGNORE_FILE
    try:
        return path if path.read_text() == _IGNORE_ALL else None
    except (OSError, UnicodeDecodeError):
        return None


def log_key(writer: str, lane: Lane) -> str:
    """The name of one lane of one writer in cursors."""
    return f"{writer}/{lane.value}"


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file's content so that a reader, or a crash, sees the old or the new one whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        fresh.write_bytes(data)
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


def new_run_id() -> str:
    """A UUID of version 7 (RFC 9562): sortable by the time it was made, in milliseconds."""
    value = int(time.time() * 1000) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 7 << 76
    value = value & ~(0x3 << 62) | 2 << 62
    digits = f"{value:032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def file_name(backend: str) -> str:
    """A backend's name as part of a file's."""
    return "".join(char if char.isalnum() or char in "._-" else "-" for char in backend)
