"""Looking a run over: whether its journal, its cursors and its files are whole. It changes nothing.

Beside a live writer it takes for damage only what is. What may still change is read in the order in which it is
written, backwards: cursors before the logs that they refer to, logs before the files that their events refer to.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from tracelet.codec import decode
from tracelet.events import EVENT_TYPES, FileLogged, Lane
from tracelet.journal.cursor import CursorRecord, damaged_slots, read_cursor
from tracelet.journal.directory import RunDirectory, RunRecord, log_key
from tracelet.journal.reader import LogReader, Position, tally
from tracelet.journal.segment import (
    ACTIVE,
    REMOVED,
    SEALED,
    SPARE,
    Header,
    is_half_made,
    read_header,
    segment_numbers,
    segment_path,
    used_header,
    without_tail,
)

T = TypeVar("T")

_AT_ONCE, _BYTES_AT_ONCE = 10_000, 1 << 22
_TRIES, _PAUSE = 5, 0.01  # for what a live writer may be changing right now
_SHOWN = 5  # gaps, names of files
_BEGINNING = 30.0  # seconds that a run has for its first writer, and a writer for its first segment


class Finding(msgspec.Struct, frozen=True):
    """Something about a run.

    Attributes:
        level: "note" (as it should be), "warning" (it costs nothing more), or "damage".
        what: what it is about: a file, or a log's key.
        text: in words, with exact numbers.
    """

    level: Literal["note", "warning", "damage"]
    what: str
    text: str


class LogFound(msgspec.Struct, kw_only=True):
    """One log, counted.

    Attributes:
        recorded: how many events its writer recorded.
        found: how many of them are there, and whole.
        damaged, removed: how many are not, for which reason.
        lost: how many its writer could not record.
        segments: how many are in use; spares do not count.
        size: how many bytes were read.
    """

    recorded: int = 0
    found: int = 0
    damaged: int = 0
    removed: int = 0
    lost: int = 0
    segments: int = 0
    spares: int = 0
    size: int = 0


class RunFound(msgspec.Struct, kw_only=True):
    """A run, looked over.

    Attributes:
        live: whether a process logs to it.
        seconds: how long that took.
    """

    id: str
    directory: str
    live: bool
    logs: dict[str, LogFound] = {}
    findings: list[Finding] = []
    seconds: float = 0.0

    @property
    def damaged(self) -> bool:
        return any(finding.level == "damage" for finding in self.findings)

    @property
    def size(self) -> int:
        """How many bytes of events were read."""
        return sum(log.size for log in self.logs.values())


def look_over(directory: RunDirectory) -> RunFound:
    """Check all there is of a run.

    Raises:
        OSError: a file can't be read.
    """
    start = time.monotonic()
    found = RunFound(id=directory.id, directory=str(directory.path), live=directory.live)
    _Check(directory, found).all()
    found.seconds = time.monotonic() - start
    return found


class _Check:
    """The checks of one run, and what they know of each other."""

    def __init__(self, directory: RunDirectory, found: RunFound) -> None:
        self._directory = directory
        self._found = found
        self._record: RunRecord | None = None
        self._cursors: dict[str, CursorRecord] = {}
        self._blobs: dict[str, int] = {}  # files that events refer to, with the event's number

    def all(self) -> None:
        self._check_record()
        for name in self._backends():
            self._check_cursor(name)
        blobs = self._present_blobs()
        alive = {writer: self._directory.writer_alive(writer) for writer in self._directory.writers()}
        self._check_writers(alive)
        for writer, lives in alive.items():
            for lane in Lane:
                self._check_log(writer, lane, final=not lives)
        self._compare()
        for name in self._cursors:
            self._check_letters(name)
        self._check_blobs(blobs, alive)

    def _say(self, level: Literal["note", "warning", "damage"], what: str, text: str) -> None:
        self._found.findings.append(Finding(level, what, text))

    # What is beside the logs.

    def _check_record(self) -> None:
        try:
            self._record = self._directory.read_record()
        except FileNotFoundError:
            self._say("damage", "run.json", "it is missing: the run has its events, but no name and no backends")
        except msgspec.MsgspecError as error:
            self._say("damage", "run.json", f"it can't be read: {error}")

    def _backends(self) -> list[str]:
        return [] if self._record is None else list(self._record.backends)

    def _check_cursor(self, backend: str) -> None:
        path = self._directory.cursor(backend)
        damaged = _patiently(lambda: damaged_slots(path), lambda found: not found)
        if damaged == 1:
            self._say("warning", f"cursor of {backend}", "one of its two records is damaged; the other one holds")
        elif damaged:
            self._say("damage", f"cursor of {backend}", "both records are damaged: delivery begins anew")
        record = self._cursors[backend] = read_cursor(path)
        for key, count in record.logs.items():
            counted = count.delivered + sum(count.dropped.values()) + count.dead_lettered
            if counted != count.position.sequence:
                text = f"it counts {counted:,} events up to number {count.position.sequence:,}"
                self._say("damage", f"cursor of {backend}, {key}", text)

    def _check_writers(self, alive: dict[str, bool]) -> None:
        paths = list(_entries(self._directory.path / "journal"))
        if not paths and self._record is not None and not self._just_made():
            self._say("damage", "journal", "it has no writers: whatever was recorded is gone")
        for path in paths:
            if path.name not in alive and any(path.rglob("*.seg")):
                text = "writer.json is missing: nobody reads its events"
                self._say("damage", f"writer {path.name}", text)

    def _check_letters(self, backend: str) -> None:
        path = self._directory.dead_letters(backend)
        try:
            lines = path.read_bytes().splitlines()
        except FileNotFoundError:
            lines = []
        there: set[tuple[object, ...]] = set()
        for number, line in enumerate(lines):
            try:
                letter = msgspec.json.decode(line)
                there.add((letter["writer"], letter["lane"], letter["sequence"]))
            except (msgspec.DecodeError, KeyError, TypeError):
                last = number == len(lines) - 1
                text = f"line {number + 1} can't be read" + (": it was cut off" if last else "")
                self._say("warning" if last else "damage", f"dead letters of {backend}", text)
        counted = sum(count.dead_lettered for count in self._cursors[backend].logs.values())
        if len(there) < counted:
            text = f"{counted - len(there):,} of {counted:,} are missing"
            self._say("damage", f"dead letters of {backend}", text)

    # The logs.

    def _check_log(self, writer: str, lane: Lane, *, final: bool) -> None:
        log, key = self._directory.log(writer, lane), log_key(writer, lane)
        if lane is Lane.STREAM and not segment_numbers(log) and (final or not self._just_began(writer)):
            self._say("damage", key, "it has no segments: whatever its writer recorded there is gone")
        if not log.is_dir():
            return
        found = self._found.logs[key] = LogFound()
        last = self._check_segments(log, key, found, final=final)
        enough = None if final else tally(log, final=False).recorded  # a live writer may be faster than this
        gaps: list[tuple[int, int]] = []
        with LogReader(log) as reader:
            while True:
                before = reader.position.sequence
                frames = reader.read(_AT_ONCE, _BYTES_AT_ONCE, final=final)
                expected = before
                for sequence in frames.sequences if frames.damaged or frames.removed else ():
                    if sequence > expected:
                        gaps.append((expected, sequence - 1))
                    expected = sequence + 1
                if (frames.damaged or frames.removed) and frames.position.sequence > expected:
                    gaps.append((expected, frames.position.sequence - 1))
                found.found += len(frames.sequences)
                found.size += frames.size
                found.damaged += frames.damaged
                found.removed += frames.removed
                if lane is Lane.BULK:
                    for sequence, word, payload in zip(frames.sequences, frames.words, frames.payloads, strict=True):
                        self._note_blob(sequence, word, payload)
                if not (frames.sequences or frames.damaged or frames.removed):
                    break
                if enough is not None and frames.position.sequence >= enough:
                    break
            position = reader.position
        found.recorded = position.sequence
        counts = tally(log, final=final)
        found.lost = counts.lost
        if found.damaged:
            shown = ", ".join(f"{a:,}-{b:,}" if a < b else f"{a:,}" for a, b in gaps[:_SHOWN])
            more = f" and {len(gaps) - _SHOWN:,} more gaps" if len(gaps) > _SHOWN else ""
            self._say("damage", key, f"{found.damaged:,} of {found.recorded:,} events can't be read: {shown}{more}")
        if found.removed:
            self._say(
                "note", key, f"{found.removed:,} events were removed for space, after all backends were done with them"
            )
        if found.lost:
            self._say("warning", key, f"{found.lost:,} events could not be recorded")
        if final and last is not None and last[1].state == ACTIVE:
            torn = _behind(segment_path(log, last[0]), position)
            cut = f"; {torn:,} bytes of a half-written event were cut" if torn else ""
            self._say("note", key, f"its writer was killed{cut}")

    def _just_made(self) -> bool:
        return time.time() - (self._directory.path / "run.json").stat().st_mtime < _BEGINNING

    def _just_began(self, writer: str) -> bool:
        record = self._directory.writer_record(writer)
        return record is not None and time.time() - record.created < _BEGINNING

    def _check_segments(self, log: Path, key: str, found: LogFound, *, final: bool) -> tuple[int, Header] | None:
        """Read the headers; returns the number and the header of the last segment in use."""
        last: tuple[int, Header] | None = None
        for number in segment_numbers(log):
            path = segment_path(log, number)
            place = f"{key}, {path.name}"
            header = _patiently(lambda path=path: read_header(path), lambda header: header is not None)  # type: ignore[misc]
            half_made = header is None and is_half_made(path)
            if header is None and not half_made:
                if path.exists():
                    self._say("damage", place, "its header is damaged; what it holds is read all the same")
                header = used_header(path, final=final)
                if header is None:
                    continue
            if header is None or header.state == SPARE:
                found.spares += 1
                if final:
                    self._say(
                        "note", f"{key}, {path.name}", "a spare of a writer that was killed: tracelet gc removes it"
                    )
                continue
            found.segments += 1
            if header.state == SEALED and not _long_enough(path, header):
                self._say("damage", place, f"it ends before its last event, at byte {header.end:,}")
            last = (number, header)
        return last

    def _compare(self) -> None:
        """Whether the cursors refer to what is there."""
        for backend, record in self._cursors.items():
            for key, count in record.logs.items():
                log = self._found.logs.get(key)
                recorded = 0 if log is None else log.recorded
                if count.position.sequence > recorded:
                    text = f"it stands behind event {count.position.sequence:,}, and the log ends with {recorded:,}"
                    self._say("damage", f"cursor of {backend}, {key}", text)

    # The files of events.

    def _note_blob(self, sequence: int, word: int, payload: bytes) -> None:
        event_type = EVENT_TYPES.get(word & 0xFF)
        if event_type is None or not issubclass(event_type, FileLogged):
            return
        try:
            event = decode(word, payload)
        except msgspec.DecodeError:
            return  # what can't be decoded is counted when it is delivered
        if isinstance(event, FileLogged) and event.copied:
            self._blobs[event.path] = sequence

    def _present_blobs(self) -> list[str]:
        return [path.name for path in _entries(self._directory.blobs)]

    def _check_blobs(self, present: list[str], alive: dict[str, bool]) -> None:
        missing = [path for path in self._blobs if not (self._directory.path / path).exists()]
        if missing and self._found.live:
            missing = self._still_missing(missing)
        if missing:
            shown = ", ".join(missing[:_SHOWN]) + (" …" if len(missing) > _SHOWN else "")
            self._say(
                "damage", "blobs", f"{len(missing):,} of {len(self._blobs):,} files of events are missing: {shown}"
            )
        referred = {Path(path).name for path in self._blobs}
        busy = {writer for writer, lives in alive.items() if lives and not self._directory.finished(writer)}
        idle = [name for name in present if name not in referred and name.partition("-")[0] not in busy]
        if idle:
            self._say("warning", "blobs", f"{len(idle):,} of {len(present):,} files belong to no event: {_some(idle)}")

    def _still_missing(self, missing: list[str]) -> list[str]:
        """Those that are not missing because their events were removed meanwhile."""
        self._blobs.clear()
        for writer in self._directory.writers():
            log = self._directory.log(writer, Lane.BULK)
            enough = tally(log, final=False).recorded
            with LogReader(log) as reader:
                while reader.position.sequence < enough:
                    frames = reader.read(_AT_ONCE, _BYTES_AT_ONCE, final=False)
                    if not (frames.sequences or frames.removed or frames.damaged):
                        break
                    for sequence, word, payload in zip(frames.sequences, frames.words, frames.payloads, strict=True):
                        self._note_blob(sequence, word, payload)
        return [path for path in missing if path in self._blobs]


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")


def _long_enough(path: Path, header: Header) -> bool:
    try:
        if path.stat().st_size >= header.end:
            return True
    except FileNotFoundError:
        return True
    again = read_header(path)  # it may have been removed just now
    return again is None or again.state == REMOVED


def _behind(path: Path, position: Position) -> int:
    """How many bytes that are not zero are behind the last event."""
    with path.open("rb") as file:
        file.seek(position.offset)
        return without_tail(file.read())


def _patiently(look: Callable[[], T], good: Callable[[T], object]) -> T:
    """What is found once it is good, or in the end."""
    for _ in range(_TRIES):
        found = look()
        if good(found):
            break
        time.sleep(_PAUSE)
    return found


def _entries(folder: Path) -> Iterator[Path]:
    try:
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    yield from (folder / name for name in names if not name.startswith("."))
