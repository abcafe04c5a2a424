"""The last that a writer said, and how it ended: from the ends of its logs, at once, however long they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from tracelet.backend import Outcome
from tracelet.codec import decode
from tracelet.events import Event, Kind, Lane, RunFinished
from tracelet.journal import LogReader, Position, RunDirectory, WriterEnd, frame_size
from tracelet.journal.process import HEARTBEAT
from tracelet.journal.segment import (
    FRAME,
    FRAME_SIZE,
    HEADER_SIZE,
    REMOVED,
    SEALED,
    Header,
    frame_crc,
    segment_numbers,
    segment_path,
    used_header,
)

_LONGEST_END = frame_size(64)  # bytes of the frame of a RunFinished, and more


class LogEnd(msgspec.Struct):
    """The last of a log."""

    recorded: int = 0
    lost: int = 0
    last: Event | None = None


def log_ends(directory: RunDirectory, writer: str, *, final: bool) -> dict[Lane, LogEnd]:
    """The ends of a writer's logs; `final` as in `LogReader.read`. Raises OSError if they can't be read."""
    return {lane: _log_end(directory.log(writer, lane), final=final) for lane in Lane}


def writer_end(directory: RunDirectory, writer: str, logs: Mapping[Lane, LogEnd]) -> WriterEnd:
    """How a writer ended that logs no more: as it said, else it was killed."""
    last = logs[Lane.STREAM].last
    if isinstance(last, RunFinished):
        return WriterEnd(last.outcome, last.time, last.time)
    sign = directory.last_sign(writer)
    last_event = max((log.last.time for log in logs.values() if log.last is not None), default=0.0)
    if sign:
        last_event = min(last_event, sign + HEARTBEAT)  # events may be given any time
    return WriterEnd(Outcome.KILLED.value, max(last_event, sign), last_event or sign)


def _log_end(log: Path, *, final: bool) -> LogEnd:
    """The end of a log: of one that was sealed from a few bytes, else from its last segment."""
    for number in reversed(segment_numbers(log)):
        path = segment_path(log, number)
        header = used_header(path, final=final)
        if header is None:
            continue
        if header.state in (SEALED, REMOVED):
            return LogEnd(header.next, header.lost, _last_of_sealed(path, header))
        recorded, last = _read_on(log, Position(number, HEADER_SIZE, header.first), final=final)
        return LogEnd(recorded, header.lost, last)
    return LogEnd()


def _last_of_sealed(path: Path, header: Header) -> Event | None:
    """The RunFinished right before the end of a sealed segment; None if there is none."""
    start = max(header.end - _LONGEST_END, HEADER_SIZE)
    with path.open("rb") as file:
        file.seek(start)
        data = file.read(header.end - start)
    for offset in range(0, len(data) - FRAME_SIZE, 8):
        crc, length, word, sequence = FRAME.unpack_from(data, offset)
        payload = data[offset + FRAME_SIZE : offset + FRAME_SIZE + length]
        if (
            word & 0xFF == Kind.RUN_FINISHED
            and sequence == header.next - 1
            and len(payload) == length
            and frame_crc(payload, word, sequence) == crc
        ):
            return _decoded(word, payload)
    return None


def _read_on(log: Path, position: Position, *, final: bool) -> tuple[int, Event | None]:
    """How many events there are up to the end, and the last of them."""
    last: Event | None = None
    with LogReader(log, position) as reader:
        while (frames := reader.read(10_000, 1 << 24, final=final)).sequences:
            last = _decoded(frames.words[-1], frames.payloads[-1]) or last
        return reader.position.sequence, last


def _decoded(word: int, payload: bytes) -> Event | None:
    try:
        return decode(word, payload)
    except msgspec.DecodeError:
        return None
