"""What a run says, read from its journal from beginning to end: everything but the points of the metrics, summed up."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterator
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from tracelet.cli._series import Series, fineness
from tracelet.codec import decode
from tracelet.events import (
    EVENT_TYPES,
    ConsoleLine,
    Context,
    DatasetUsed,
    Event,
    FileLogged,
    HParamsLogged,
    Lane,
    MetricsLogged,
    ModelRegistered,
    NoteSet,
    Number,
    ParamsLogged,
    RunFinished,
    RunStarted,
    TagsSet,
    TextLogged,
    kind_of,
)
from tracelet.journal import Frames, LogReader, RunDirectory

MOST_SERIES = 10_000
"""How many metrics are told apart; the points of further ones are only counted."""

_MOST_NAMES = 1_000  # of files of a kind
_BATCH, _BATCH_BYTES = 20_000, 1 << 24
_METRICS = kind_of(MetricsLogged)
_EXACT = 1 << 53  # integers up to this are floats, too


class Files(msgspec.Struct):
    """The files of one kind: how many, how large, and under which names how many."""

    number: int = 0
    size: int = 0
    names: dict[str, int] = {}

    def add(self, name: str, size: int) -> None:
        self.number += 1
        self.size += size
        if name in self.names or len(self.names) < _MOST_NAMES:
            self.names[name] = self.names.get(name, 0) + 1


class Points:
    """All points of one series as they were said: 25 bytes each."""

    def __init__(self) -> None:
        self._times = array("d")
        self._steps = array("q")
        self._values = array("d")
        self._whole = bytearray()  # whether the value is an int
        self._unusual: dict[int, tuple[int, Number]] = {}  # what these can't hold, by index

    def add(self, step: int, value: Number, time: float) -> None:
        if (type(value) is int and not -_EXACT <= value <= _EXACT) or not -_EXACT <= step <= _EXACT:
            self._unusual[len(self._times)] = step, value
            step, value = 0, 0.0
        self._times.append(time)
        self._steps.append(step)
        self._values.append(value)
        self._whole.append(type(value) is int)

    def __iter__(self) -> Iterator[tuple[int, Number, float]]:
        for index, time in enumerate(self._times):
            value: Number = self._values[index]
            step, value = self._unusual.get(index) or (
                self._steps[index],
                int(value) if self._whole[index] else value,
            )
            yield step, value, time


class RunRecorded:
    """What a run says.

    Args:
        metrics: patterns (as of files, with "*") of the names of the metrics that are wanted; none stands for all.
        keep_points: whether to keep all points of those.

    Attributes:
        series: by name and context.
        points: the points of the series, if they are kept.
        params, tags: by name, the latest.
        trials: hyperparameters of trials that have a name.
        texts: by name, how often, and the latest.
        files: by type.
        registered: names of registered models.
        console: how many lines were printed.
        events: how many could be read.
        damaged: how many are lost by damage.
        removed: how many were given up for their space, once all backends had them.
        unknown: how many this version can't read.
        beyond: how many points belong to metrics beyond `MOST_SERIES`.
        not_wanted: the names of metrics that were not asked for.
        latest: the time of the latest event, in seconds since the epoch.
    """

    def __init__(self, metrics: Collection[str] = (), *, keep_points: bool = False) -> None:
        self.series: dict[tuple[str, Context], Series] = {}
        self.points: dict[tuple[str, Context], Points] = {}
        self.params: dict[str, Any] = {}
        self.tags: dict[str, str] = {}
        self.note: str | None = None
        self.trials: dict[str, dict[str, Any]] = {}
        self.texts: dict[str, tuple[int, str]] = {}
        self.datasets: list[DatasetUsed] = []
        self.files: dict[type[Event], Files] = {}
        self.registered: dict[str, int] = {}
        self.console = 0
        self.events = self.damaged = self.removed = self.unknown = self.beyond = 0
        self.not_wanted: set[str] = set()
        self.latest = 0.0
        self._patterns = tuple(metrics)
        self._keep_points = keep_points
        self._wanted: dict[str, bool] = {}
        self._series_of_name: dict[str, Series] = {}  # those without a context
        self._said: dict[type[Event], Callable[[Any], None]] = {
            ParamsLogged: lambda event: self.params.update(event.values),
            TagsSet: lambda event: self.tags.update(event.values),
            HParamsLogged: self._trial,
            TextLogged: self._text,
            NoteSet: self._note,
            DatasetUsed: self.datasets.append,
            ConsoleLine: self._console,
            ModelRegistered: self._register,
        }

    def read(self, directory: RunDirectory) -> None:
        """Take in everything that is in the journal now, one writer after the other. Raises OSError."""
        for writer in directory.writers():
            final = not directory.writer_alive(writer)
            for lane in Lane:
                with LogReader(directory.log(writer, lane)) as reader:
                    while True:
                        frames = reader.read(_BATCH, _BATCH_BYTES, final=final)
                        self._take(frames)
                        if not frames.sequences:
                            break

    def _take(self, frames: Frames) -> None:
        self.damaged += frames.damaged
        self.removed += frames.removed
        self.events += len(frames.payloads)
        points = self._point if self._keep_points else None
        event: Any = None
        for word, payload in zip(frames.words, frames.payloads, strict=True):
            try:
                event = _decode_metrics(payload) if word == _METRICS else decode(word, payload)
            except msgspec.DecodeError:
                self.unknown += 1
                continue
            if type(event) is not MetricsLogged:
                self._other(event)
                continue
            context, step = event.context, event.step
            for name, value in event.values.items():
                series = None if context else self._series_of_name.get(name)
                if series is None:
                    series = self._find(name, context)
                    if series is None:
                        continue
                series.values.append(value)
                series.steps.append(step)
                if points is not None:
                    points(name, context, step, value, event.time)
        if event is not None:
            self.latest = max(self.latest, event.time)
        buckets = fineness(len(self.series))
        for series in self.series.values():
            series.take(buckets)

    def _find(self, name: str, context: Context) -> Series | None:
        series = self.series.get((name, context))
        if series is None:
            if not self._is_wanted(name):
                self.not_wanted.add(name)
                return None
            if len(self.series) >= MOST_SERIES:
                self.beyond += 1
                return None
            series = self.series[name, context] = Series(name, context)
            if not context:
                self._series_of_name[name] = series
        return series

    def _is_wanted(self, name: str) -> bool:
        if not self._patterns:
            return True
        wanted = self._wanted.get(name)
        if wanted is None:
            wanted = self._wanted[name] = any(fnmatchcase(name, pattern) for pattern in self._patterns)
        return wanted

    def _point(self, name: str, context: Context, step: int, value: Number, time: float) -> None:
        key = name, context
        if key not in self.points:
            self.points[key] = Points()
        self.points[key].add(step, value, time)

    # What is no metric.

    def _other(self, event: Event) -> None:
        if isinstance(event, RunStarted | RunFinished):
            return
        if isinstance(event, FileLogged):
            self.files.setdefault(type(event), Files()).add(event.name, event.size)
        elif type(event) in self._said:
            self._said[type(event)](event)

    def _trial(self, event: HParamsLogged) -> None:
        if event.name:
            self.trials.setdefault(event.name, {}).update(event.values)
        else:
            self.params.update(event.values)

    def _text(self, event: TextLogged) -> None:
        number, _ = self.texts.get(event.name, (0, ""))
        if number or len(self.texts) < _MOST_NAMES:
            self.texts[event.name] = number + 1, event.text

    def _note(self, event: NoteSet) -> None:
        self.note = event.text

    def _console(self, event: ConsoleLine) -> None:
        self.console += event.text.count("\n") + 1

    def _register(self, event: ModelRegistered) -> None:
        self.registered[event.name] = self.registered.get(event.name, 0) + 1


FILE_KINDS: dict[type[Event], str] = {
    kind: kind.__name__.removesuffix("Logged").lower() for kind in EVENT_TYPES.values() if issubclass(kind, FileLogged)
}
"""What a file of each type is called."""

_decode_metrics: Callable[[bytes], MetricsLogged] = msgspec.msgpack.Decoder(MetricsLogged).decode
