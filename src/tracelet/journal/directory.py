"""A run's directory: what lies where, which writers it has, and what `run.json` says of it."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from tracelet.events import Lane
from tracelet.journal.process import Process, alive
from tracelet.journal.reader import Tally, tally
from tracelet.journal.segment import SEALED, SPARE, read_header, segment_numbers, segment_path


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
    """One process that logs to the run."""

    process: Process
    created: float


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

    def add_writer(self) -> str:
        """Make a place for this process's logs; its name is the next number."""
        self._journal.mkdir(parents=True, exist_ok=True)
        number = len(os.listdir(self._journal))
        while True:
            place = self._journal / f"{number:04}"
            try:
                place.mkdir()
            except FileExistsError:
                number += 1
                continue
            break
        record = WriterRecord(process=Process.current(), created=time.time())
        write_atomically(self._writer_record(place.name), msgspec.json.encode(record))
        return place.name

    def writers(self) -> list[str]:
        """The names of the writers, in the order they began; one is there once its record is."""
        try:
            names = sorted(name for name in os.listdir(self._journal) if name.isdecimal())
        except FileNotFoundError:
            return []
        return [name for name in names if self._writer_record(name).exists()]

    def writer_alive(self, writer: str) -> bool:
        """Whether the writer's process still runs."""
        path = self._writer_record(writer)
        try:
            record = msgspec.json.decode(path.read_bytes(), type=WriterRecord)
        except (FileNotFoundError, msgspec.DecodeError):
            return False
        return alive(record.process, path)

    def finished(self, writer: str) -> bool:
        """Whether the writer has said all it had to say, and sealed its stream."""
        log = self.log(writer, Lane.STREAM)
        headers = [read_header(segment_path(log, number)) for number in segment_numbers(log)]
        used = [header for header in headers if header is not None and header.state != SPARE]
        # Read from the first on: a segment is sealed only after the next one is in use.
        return bool(used) and all(header.state == SEALED for header in used)

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
