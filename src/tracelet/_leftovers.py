"""What crashes have left in a folder of runs, and removing it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from tracelet.events import Lane
from tracelet.journal import RunDirectory
from tracelet.journal.room import size_on_disk
from tracelet.journal.segment import ACTIVE, SPARE, is_half_made, read_header, segment_numbers, segment_path
from tracelet.journal.tail import cut, is_blank, unused

HIDDEN = ".removing-"
"""Before the name of a run whose removal has begun."""

_STALE = 3600.0  # seconds after which a half-written file is nobody's any more
_LONG_SILENCE = 3 * 86400.0  # seconds without a heartbeat after which a writer that can't be seen from here is gone


class Leftover(msgspec.Struct, frozen=True):
    """What a crash has left.

    Attributes:
        size: in bytes.
        reserved: whether it is only the unused end of the file.
    """

    path: Path
    size: int
    reserved: bool = False


def remove_hidden(place: Path) -> int:
    """Bring a removal to its end; returns how many bytes that gave. Raises OSError."""
    size = size_on_disk(place)
    while place.exists():
        try:
            shutil.rmtree(place)
        except FileNotFoundError:
            continue  # somebody else is at it, too
    return size


def leftovers(runs: Path, going: Collection[str] = ()) -> list[Leftover]:
    """What crashes have left: runs whose removal was begun, half-written files, and what dead writers had reserved.

    Args:
        going: the ids of runs that go with all that is in them.

    Raises:
        OSError: the folder can't be read.
    """
    found: list[Leftover] = []
    for path in entries(runs):
        if path.name.startswith(HIDDEN):
            found.append(Leftover(path, size_on_disk(path)))
        elif not path.name.startswith(".") and path.name not in going:
            with suppress(OSError):  # what can't be read stays
                found += _left_in(RunDirectory(path))
    return found


def remove_leftover(one: Leftover) -> int:
    """Remove one; returns how many bytes that gave. Raises OSError."""
    if one.reserved:
        return cut(one.path)
    if os.path.isdir(one.path):
        return remove_hidden(one.path)
    size = size_on_disk(one.path)
    one.path.unlink(missing_ok=True)
    return size


def _left_in(directory: RunDirectory) -> Iterator[Leftover]:
    now = time.time()
    for path in entries(directory.path):
        if path.name.startswith(".run.json.") and now - modified(path) > _STALE:
            yield Leftover(path, size_on_disk(path))
    for writer in directory.writers():
        for lane in Lane:
            log = directory.log(writer, lane)
            paths = [segment_path(log, number) for number in segment_numbers(log)]
            unfinished = [path for path in paths if _state(path) in (SPARE, ACTIVE)]
            if unfinished and _is_gone(directory, writer, now):
                yield from _reserved(unfinished, paths[-1])


def _reserved(segments: Sequence[Path], last: Path) -> Iterator[Leftover]:
    """The segment that holds nothing yet, and the ends of others to which nothing was written; its writer is gone."""
    for path in segments:
        if _state(path) == ACTIVE:
            size = unused(path)
            if size:
                yield Leftover(path, size, reserved=True)
        elif path == last and _state(path) == SPARE and is_blank(path):
            yield Leftover(path, size_on_disk(path))


def _state(segment: Path) -> int | None:
    header = read_header(segment)
    if header is None:
        return SPARE if is_half_made(segment) else None
    return header.state


def _is_gone(directory: RunDirectory, writer: str, now: float) -> bool:
    """Whether a writer will surely write no more: what it has reserved is what it goes on with."""
    if directory.writer_alive(writer):
        return False
    record = directory.writer_record(writer)
    seen = record is not None and record.process.within_sight
    return seen or now - directory.last_sign(writer) > _LONG_SILENCE


def entries(folder: Path) -> list[Path]:
    """What lies in a folder, by name; it need not exist."""
    try:
        return [folder / name for name in sorted(os.listdir(folder))]
    except (FileNotFoundError, NotADirectoryError):
        return []


def modified(path: Path) -> float:
    """When a file was last written; 0 if that can't be told."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
