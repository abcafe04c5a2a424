"""Giving space back: what all of a run's backends have is removed, the oldest first, when there is no room for more.

Of a segment its header stays, in the state REMOVED, and tells readers which events are missing, so that whoever begins
to read later counts them exactly. No step needs space, and after a crash between any two of them readers count the
same, and the next attempt goes on:

1. The header's state becomes REMOVED. From here on nobody reads the frames.
2. The files that its events kept in the run's directory are deleted.
3. The segment is cut to its header.
4. The header takes over the range of a removed segment right before it, and that one's file is deleted.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from tracelet.codec import decode
from tracelet.events import EVENT_TYPES, FileLogged, Kind, Lane
from tracelet.journal.blobs import sync_file
from tracelet.journal.cursor import CursorRecord, LogCount, read_cursor
from tracelet.journal.directory import RunDirectory, log_key
from tracelet.journal.room import size_on_disk
from tracelet.journal.segment import (
    HEADER_SIZE,
    RECORD,
    REMOVED,
    SEALED,
    SPARE,
    Header,
    frames_between,
    pack_record,
    read_header,
    segment_numbers,
    segment_path,
)

_LOST_LATER = "undelivered"  # `status.UNDELIVERED`, the count of what an SDK took and lost: it is nowhere else
_PAUSE = 0.01

NOT_TAKEN = frozenset({"unsupported", "unknown kind", "undecodable"})
"""The reasons under which events are counted that a backend could not take."""


class _Letter(msgspec.Struct):
    """What is needed of a dead letter."""

    writer: str
    lane: str
    sequence: int


class _Found(msgspec.Struct):
    """A segment that is in use, or was."""

    path: Path
    header: Header


def reclaim(directory: RunDirectory, wanted: int, patience: float = 0.0) -> int:
    """Remove what all of the run's backends have until so many bytes are free; returns how many bytes that gave.

    Kept are what any backend has refused or its SDK has lost, the files and media where each backend has some that it
    can't take (they are nowhere else), the models (they may still be registered), and the newest segment of each log. A
    run without backends keeps everything.

    Args:
        patience: for so many seconds, if another process, or thread, is at it.

    Raises:
        BlockingIOError: another one is at it.
        OSError: something can't be read or removed.
    """
    try:
        backends = list(directory.read_record().backends)
    except (OSError, msgspec.MsgspecError):
        return 0
    if not backends:
        return 0
    with _alone(directory, patience):
        return _reclaim(directory, backends, wanted)


def all_have(directory: RunDirectory, ends: Mapping[str, int]) -> bool:
    """Whether all of the run's backends have come so far, by log key. Raises OSError."""
    try:
        backends = directory.read_record().backends
    except (FileNotFoundError, msgspec.MsgspecError):
        return False
    records = [read_cursor(directory.cursor(name)) for name in backends]
    return all(
        not end or (key in record.logs and record.logs[key].position.sequence >= end)
        for record in records
        for key, end in ends.items()
    )


@contextmanager
def _alone(directory: RunDirectory, patience: float) -> Iterator[None]:
    """Keep others from giving back space of this run."""
    fd = os.open(directory.path / "reclaim.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        end = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise
                time.sleep(_PAUSE)
                continue
            except OSError:
                pass  # a file system without locks
            break
        try:
            yield
        finally:
            with suppress(OSError):
                fcntl.flock(fd, fcntl.LOCK_UN)  # closing is not enough if a child was forked meanwhile
    finally:
        os.close(fd)


def _reclaim(directory: RunDirectory, backends: list[str], wanted: int) -> int:
    cursors = {name: read_cursor(directory.cursor(name)) for name in backends}
    freed = 0
    synced = False
    for writer in directory.writers():
        for lane in reversed(Lane):  # the files are with the bulk
            key = log_key(writer, lane)
            reached = min(
                record.logs[key].position.sequence if key in record.logs else 0 for record in cursors.values()
            )
            if not reached or _is_nowhere_else(lane, [record.logs[key] for record in cursors.values()]):
                continue
            refused: set[int] | None = None
            before: _Found | None = None
            for segment in _sealed(directory.log(writer, lane)):
                if freed >= wanted or segment.header.next > reached:
                    break
                if segment.header.state == SEALED:
                    if refused is None:
                        refused = _refused(directory, cursors, writer, lane)
                    if refused is None:
                        break
                    header = segment.header
                    if any(header.first <= number < header.next for number in refused) or _has_models(segment, lane):
                        before = None
                        continue
                    if not synced:  # or a loss of power could take a cursor back to what is not there any more
                        for name in backends:
                            sync_file(directory.cursor(name))
                        synced = True
                freed += _remove(directory, segment, lane, before)
                before = segment
    return freed


def _sealed(log: Path) -> Iterator[_Found]:
    """The segments to which nothing will be added, but for the log's newest, ascending."""
    pending: _Found | None = None
    for number in segment_numbers(log):
        path = segment_path(log, number)
        header = read_header(path)
        if header is None or header.state == SPARE:
            continue
        if pending is not None:
            yield pending
        if header.state not in (SEALED, REMOVED):
            return
        pending = _Found(path, header)


def _is_nowhere_else(lane: Lane, counts: list[LogCount]) -> bool:
    """Whether a log has events that no backend has, for all that is known: what an SDK took and lost, or files and
    media that none of them can take."""
    if any(_LOST_LATER in count.dropped for count in counts):
        return True
    return lane is Lane.BULK and all(not NOT_TAKEN.isdisjoint(count.dropped) for count in counts)


def _refused(directory: RunDirectory, cursors: Mapping[str, CursorRecord], writer: str, lane: Lane) -> set[int] | None:
    """The numbers of the events of a log that a backend has refused; None if that can't be told for certain."""
    refused: set[int] = set()
    for name, record in cursors.items():
        own = set(_letters(directory.dead_letters(name), writer, lane))
        if len(own) < record.logs[log_key(writer, lane)].dead_lettered:
            return None
        refused |= own
    return refused


def _letters(path: Path, writer: str, lane: Lane) -> Iterator[int]:
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        with suppress(msgspec.MsgspecError):  # a crash has torn it, and its event was delivered again
            letter = msgspec.json.decode(line, type=_Letter)
            if (letter.writer, letter.lane) == (writer, lane.value):
                yield letter.sequence


def _has_models(segment: _Found, lane: Lane) -> bool:
    return lane is Lane.BULK and any(word & 0xFF == Kind.MODEL_LOGGED for word, _ in _frames(segment))


def _frames(segment: _Found) -> Iterator[tuple[int, bytes]]:
    try:
        header, data = segment.header, segment.path.read_bytes()
    except FileNotFoundError:
        return  # removed by another process just now
    for _, _, word, payload in frames_between(data, HEADER_SIZE, min(header.end, len(data)), 0, header.next):
        yield word, payload


def _files_logged(segment: _Found) -> Iterator[FileLogged]:
    """The events of a segment that refer to files."""
    for word, payload in _frames(segment):
        event_type = EVENT_TYPES.get(word & 0xFF)
        if event_type is not None and issubclass(event_type, FileLogged):
            with suppress(msgspec.DecodeError):
                event = decode(word, payload)
                assert isinstance(event, FileLogged)
                yield event


def _remove(directory: RunDirectory, segment: _Found, lane: Lane, before: _Found | None) -> int:
    """Remove a segment, or what is left of it; returns how many bytes that gave."""
    try:
        fd = os.open(segment.path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0  # another writer was at it, too
    freed = 0
    try:
        header = segment.header
        if header.state == SEALED:
            _write_record(fd, header)
        size = os.fstat(fd).st_blocks * 512
        if os.fstat(fd).st_size > HEADER_SIZE:
            for event in _files_logged(segment) if lane is Lane.BULK else ():
                freed += delete_file(directory, event)
            os.ftruncate(fd, HEADER_SIZE)
            freed += size - os.fstat(fd).st_blocks * 512
        if before is not None and header.first <= before.header.next:
            if header.first > before.header.first:
                segment.header = header = msgspec.structs.replace(header, first=before.header.first)
                _write_record(fd, header)
            freed += size_on_disk(before.path)
            before.path.unlink(missing_ok=True)
    finally:
        os.close(fd)
    return freed


def _write_record(fd: int, header: Header) -> None:
    """Make a segment a removed one; in one write within a page, so that a reader finds the old or the new record."""
    os.pwrite(fd, pack_record(REMOVED, header.first, header.end, header.next), RECORD.start)
    os.fdatasync(fd)  # before its files go


def delete_file(directory: RunDirectory, event: FileLogged) -> int:
    """Delete an event's file or folder, if it is the run's own; returns how many bytes that gave. Raises OSError."""
    place = directory.path / event.path
    if not event.copied or place.parent != directory.blobs:
        return 0
    size = size_on_disk(place)
    if place.is_dir():
        shutil.rmtree(place, ignore_errors=True)
    else:
        place.unlink(missing_ok=True)
    return size
