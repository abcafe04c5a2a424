"""A run that is told by files: its times are theirs, and it can leave out what the journal has already."""

from __future__ import annotations

import errno
import io
import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from tracelet.backend import Outcome
from tracelet.codec import encode
from tracelet.errors import RunClosed
from tracelet.events import Event, Kind, Lane, MetricsLogged, RunFinished, RunStarted
from tracelet.importing._progress import RECORD
from tracelet.journal import Recorder, RunDirectory, log_key
from tracelet.run import Run

_MANY = 100  # files and folders


class ImportRecorder(Recorder):
    """A recorder that can take events without recording them, which the journal has already.

    Args:
        skipping: whether it will ever be told to leave something out.
    """

    def __init__(self, directory: RunDirectory, skipping: bool) -> None:
        super().__init__(directory, bool)
        self._left = dict.fromkeys(Lane, 0)
        self._skipped = dict.fromkeys(Lane, 0)
        self.append_at_once = self.append
        if skipping:
            self.append = self._append_or_skip

    def leave_out(self, events: Mapping[Lane, int]) -> None:
        """Leave out so many of the next events of each lane, whatever else was to be left out: the journal has them."""
        self._left = {lane: max(events.get(lane, 0), 0) for lane in Lane}

    def skips(self, lane: Lane) -> bool:
        """Whether the next event of a lane is left out."""
        return self._left[lane] > 0

    def recorded(self, lane: Lane) -> int:
        """How many events of a lane were recorded; but for the start."""
        tally = self.tallies().get(log_key(self.writer, lane))
        return 0 if tally is None else tally.recorded - (lane is Lane.STREAM)

    def unmatched(self) -> dict[Lane, int]:
        """How many events were to be left out and have not been made yet, by lane."""
        return {lane: left for lane, left in self._left.items() if left}

    def made(self) -> dict[Lane, int]:
        """How many events were made, by lane, recorded or not; but for the start."""
        return {lane: self._skipped[lane] + self.recorded(lane) for lane in Lane}

    def sync(self) -> None:
        if len(self._unsynced) > _MANY:  # a sync of each file takes milliseconds, and one of all takes not much longer
            del self._unsynced[:]
            os.sync()
        super().sync()

    def _append_or_skip(self, word: int, payload: bytes) -> bool:
        if self.skips(Lane.STREAM):
            self._left[Lane.STREAM] -= 1
            self._skipped[Lane.STREAM] += 1
            return True
        return self.append_at_once(word, payload)

    def append_bulk(self, word: int, payload: bytes) -> bool:
        if self.skips(Lane.BULK):
            self._left[Lane.BULK] -= 1
            self._skipped[Lane.BULK] += 1
            return True
        return super().append_bulk(word, payload)

    def write_in(self, content: bytes | Callable[[IO[bytes]], object], suffix: str) -> Path:
        if not self.skips(Lane.BULK):
            return super().write_in(content, suffix)
        if not isinstance(content, bytes):
            content(io.BytesIO())  # it may refuse, as it did the first time
        return Path(RECORD)  # any file that is there: its event is left out


class ImportedRun(Run):
    """A run whose start and end are not now, and for which a journal that can't be written is an error.

    Attributes:
        said: how many events of each kind were recorded, but for metrics.
    """

    def __init__(self, recorder: ImportRecorder, **settings: Any) -> None:
        super().__init__(recorder=recorder, strict=True, **settings)
        self.recorder = recorder
        self.said: Counter[str] = Counter()
        self._others = 0  # events of the stream that are no metrics

    @property
    def scalars(self) -> int:
        """How many metrics were recorded."""
        return self.recorder.recorded(Lane.STREAM) - self._others

    def begin_at(self, time: float, *, resumed: bool) -> None:
        """Say that the run started then."""
        payload = encode(RunStarted(time, self.name, self.project, resumed))
        if not self.recorder.append_at_once(Kind.RUN_STARTED.value, payload):
            self._refused()

    def end_at(self, time: float, outcome: Outcome) -> None:
        """Say that the run ended then. Raises OSError."""
        self._closed = self._ended = True
        self.recorder.finish(Kind.RUN_FINISHED.value, encode(RunFinished(time, outcome.value)))

    def _publish(self, event: Event, *, bulk: bool = False) -> None:
        new = not self.recorder.skips(Lane.BULK if bulk else Lane.STREAM)
        super()._publish(event, bulk=bulk)
        if new and not isinstance(event, MetricsLogged):
            self.said[type(event).__name__] += 1
            self._others += not bulk

    def _refused(self) -> None:
        if self._closed:
            raise RunClosed(self.id)
        # To go on would leave a gap, which nothing could fill later.
        raise OSError(errno.ENOSPC, self.recorder.loss_reason or "the journal can't be written", str(self.directory))
