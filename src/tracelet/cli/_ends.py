"""How a run ended, from the ends of its logs: at once, however long they are."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tracelet.backend import Outcome
from tracelet.codec import decode
from tracelet.events import Event, Kind, Lane, RunFinished
from tracelet.journal import LogReader, Position, RunDirectory, WriterEnd, frame_size
from tracelet.journal.segment import (
    FRAME,
    FRAME_SIZE,
    HEADER_SIZE,
    REMOVED,
    SEALED,
    SPARE,
    Header,
    frame_crc,
    read_header,
    segment_numbers,
    segment_path,
)

RUNNING = "running"
"""What is shown in place of an outcome while a process logs to the run."""

_LONGEST_END = frame_size(64)  # bytes of the frame of a RunFinished, and more


class Ending(msgspec.Struct, kw_only=True):
    """How a run stands by its journal.

    Attributes:
        outcome: as the process ended (of ranks, one of rank 0) that went on longest: "completed", "failed" or "killed";
            "running" while one logs.
        ended: when, in seconds since the epoch: of a killed run its last sign of life; None while it runs.
        events: how many were said, the run's start and end included.
        lost: how many of them could not be recorded.
        writers: how many processes have logged to it.
    """

    outcome: str
    ended: float | None
    events: int
    lost: int
    writers: int


class _LogEnd(msgspec.Struct):
    """The last of a log."""

    recorded: int = 0
    lost: int = 0
    last: Event | None = None


def read_ending(directory: RunDirectory) -> Ending:
    """How a run stands. Raises OSError if the journal can't be read."""
    events = lost = 0
    ends: dict[str, WriterEnd] = {}
    running = False
    writers = directory.writers()
    for writer in writers:
        alive = directory.writer_alive(writer)
        logs = {lane: _log_end(directory.log(writer, lane), final=not alive) for lane in Lane}
        events += sum(log.recorded + log.lost for log in logs.values())
        lost += sum(log.lost for log in logs.values())
        last = logs[Lane.STREAM].last
        if alive and not directory.finished(writer):
            running = True
        elif isinstance(last, RunFinished):
            ends[writer] = WriterEnd(last.outcome, last.time, last.time)
        else:
            last_event = max((log.last.time for log in logs.values() if log.last is not None), default=0.0)
            sign = max(last_event, directory.last_sign(writer))
            ends[writer] = WriterEnd(Outcome.KILLED.value, sign, last_event or sign)
    end = None if running else directory.run_end(ends)
    outcome = RUNNING if running else Outcome.KILLED.value if end is None else end.outcome
    ended = None if end is None else end.time or None
    return Ending(outcome=outcome, ended=ended, events=events, lost=lost, writers=len(writers))


def _log_end(log: Path, *, final: bool) -> _LogEnd:
    """The end of a log: of one that was sealed from a few bytes, else from its last segment."""
    for number in reversed(segment_numbers(log)):
        path = segment_path(log, number)
        header = read_header(path)
        if header is None or header.state == SPARE:
            continue
        if header.state in (SEALED, REMOVED):
            return _LogEnd(header.next, header.lost, _last_of_sealed(path, header))
        recorded, last = _read_on(log, Position(number, HEADER_SIZE, header.first), final=final)
        return _LogEnd(recorded, header.lost, last)
    return _LogEnd()


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
