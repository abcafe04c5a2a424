"""Where a subscription's events come from: the logs of a run's writers, each decoded into batches."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tracelet.codec import REPAIRED, decode, decode_plain
from tracelet.delivery import Delivery
from tracelet.events import EVENT_TYPES, Event, FileLogged, Kind, Lane, MetricsLogged, RunFinished, kind_of
from tracelet.journal import LogReader, Position, RunDirectory, files_in, frame_size, log_key, measured
from tracelet.journal.segment import HEADER_SIZE, segment_numbers, segment_path, used_header


class Portion(msgspec.Struct):
    """What was read from one log at once, sorted by what becomes of it.

    Attributes:
        events, sequences: what the backend is to get.
        dropped: how many it does not get, by reason.
        delivered: how many the core dealt with itself.
        degraded: reasons, by sequence number, known before the backend has seen the event.
        rejected: events that can't be sent at all, with the reason.
        finished: the event that ended the log, if it did.
        position: behind all of this, but before the RunFinished.
        full: whether there was as much as was asked for.
    """

    position: Position
    events: list[Event] = []
    sequences: list[int] = []
    dropped: dict[str, int] = {}
    delivered: int = 0
    degraded: dict[int, str] = {}
    rejected: list[tuple[int, Event, str]] = []
    finished: RunFinished | None = None
    full: bool = False

    @property
    def empty(self) -> bool:
        """Whether there was nothing at all."""
        return not (self.sequences or self.dropped or self.delivered or self.rejected or self.finished)

    def drop(self, reason: str, count: int = 1) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + count


class Source:
    """One log of a run, from a position on."""

    def __init__(self, directory: RunDirectory, writer: str, lane: Lane, position: Position) -> None:
        self.writer = writer
        self.lane = lane
        self.key = log_key(writer, lane)
        self.ended = False
        """Whether everything was read that there will ever be."""
        self._directory = directory
        self._reader = LogReader(directory.log(writer, lane), position)

    @property
    def position(self) -> Position:
        """Behind the last event that was read."""
        return self._reader.position

    def close(self) -> None:
        self._reader.close()

    def read(self, delivery: Delivery, handled: frozenset[type[Event]], *, final: bool, now: float) -> Portion:
        """The next events. With `final`, the log is known to be complete: reading nothing is its end.

        Raises:
            OSError: the journal can't be read.
        """
        frames = self._reader.read(delivery.batch_size, delivery.batch_bytes, final=final)
        portion = Portion(frames.position, full=frames.full)
        if frames.damaged:
            portion.drop("damaged", frames.damaged)
        if frames.removed:
            portion.drop("removed", frames.removed)
        words = frozenset(kind_of(event_type) for event_type in handled) - _LIFECYCLE
        oldest = now - delivery.max_lag if delivery.when_behind == "drop_oldest" else None
        if self.lane is Lane.STREAM and oldest is None and words.issuperset(frames.words):
            try:
                portion.events = [decode_plain(payload) for payload in frames.payloads]
                portion.sequences = frames.sequences
            except msgspec.DecodeError:
                portion.events = []
        if len(portion.events) != len(frames.sequences):
            for sequence, word, payload in zip(frames.sequences, frames.words, frames.payloads, strict=True):
                self._sort(portion, words, oldest, sequence, word, payload)
        if portion.finished is not None:
            # Its delivery is `finish`'s; until then the position stays before it.
            at = portion.position
            before = at.offset - frame_size(len(frames.payloads[-1]))
            portion.position = Position(at.segment, before, at.sequence - 1)
        if portion.finished is not None or (portion.empty and (final or self._reader.sealed)):
            self.ended = True
        return portion

    def _sort(
        self, portion: Portion, handled: frozenset[int], oldest: float | None, sequence: int, word: int, payload: bytes
    ) -> None:
        kind = word & 0xFF
        if kind == Kind.RUN_STARTED:
            portion.delivered += 1  # `open` told the backend
        elif kind not in EVENT_TYPES:
            portion.drop("unknown kind")
        elif kind not in handled and kind != Kind.RUN_FINISHED:
            portion.drop("unsupported")
        else:
            try:
                event = decode(word, payload)
            except msgspec.DecodeError:
                portion.drop("undecodable")
                return
            self._take(portion, oldest, sequence, word, event)

    def _take(self, portion: Portion, oldest: float | None, sequence: int, word: int, event: Event) -> None:
        if isinstance(event, RunFinished):
            portion.finished = event
            return
        if oldest is not None and isinstance(event, MetricsLogged) and event.time < oldest:
            portion.drop("behind")
            return
        if word & REPAIRED:
            portion.degraded[sequence] = "a name or text had lone surrogates; they are written out"
        if isinstance(event, FileLogged):
            problem = self._locate(event)
            event = msgspec.structs.replace(event, path=str(self._directory.path / event.path))
            if problem == _GONE:
                portion.rejected.append((sequence, event, _GONE))
                return
            if problem is not None:
                portion.degraded[sequence] = problem
        portion.events.append(event)
        portion.sequences.append(sequence)

    def _locate(self, event: FileLogged) -> str | None:
        """What is wrong with an event's file by now; None if it is as it was when it was logged."""
        place = Path(self._directory.path / event.path)
        try:
            if event.copied:
                place.stat()
                return None
            files = files_in(place, runs=self._directory.path.parent) if place.is_dir() else ()
            return None if measured(place, files) == (event.size, event.mtime_ns) else _CHANGED
        except OSError:
            return _GONE


def newest(log: Path, *, final: bool) -> Position:
    """Behind the newest event of a log, of which only the last segment is read; `final` as in `LogReader.read`.

    Raises:
        OSError: the journal can't be read.
    """
    for number in reversed(segment_numbers(log)):
        header = used_header(segment_path(log, number), final=final)
        if header is not None:
            with LogReader(log, Position(number, HEADER_SIZE, header.first)) as reader:
                while reader.read(10_000, 1 << 24, final=final).sequences:
                    pass
                return reader.position
    return Position()


_LIFECYCLE = {Kind.RUN_STARTED, Kind.RUN_FINISHED}  # what `open` and `finish` are for
_GONE = "the file was gone when its turn came"
_CHANGED = "the file changed between being logged with copy=False and its upload"
