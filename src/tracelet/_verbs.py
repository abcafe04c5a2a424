"""The verbs: what training code can say, turned into events in the journal.

A verb returns when the event is in the journal, which no crash of the process undoes; none waits for a backend.
"""

from __future__ import annotations

import itertools
import time as _time
from collections.abc import Callable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from tracelet import _values
from tracelet._notices import say
from tracelet.backend import Outcome
from tracelet.codec import encode, encode_unusual
from tracelet.errors import RunClosed
from tracelet.events import (
    ConsoleLine,
    DatasetUsed,
    Event,
    Kind,
    MetricsLogged,
    NoteSet,
    Number,
    ParamsLogged,
    RunFinished,
    RunStarted,
    Scalar,
    TagsSet,
    TextLogged,
    kind_of,
)
from tracelet.journal import Recorder, read_cursor
from tracelet.status import RunStatus, read_status, summary

_METRICS = Kind.METRICS_LOGGED.value
_UNUSUAL = (OverflowError, UnicodeEncodeError)

_now = _time.time


class Host(Protocol):
    """Where a run's subscriptions are served; see `tracelet.host`."""

    def start(self) -> None:
        """Begin to serve. Raises DeliveryFailed or OSError."""

    def wake(self) -> None:
        """Have the subscriptions look for new events now."""

    def serves(self, backend: str) -> bool:
        """Whether somebody is at work, or will be, for the backend."""

    def watch(self) -> None:
        """Look after what serves; called again and again. Raises DeliveryFailed or OSError."""

    def release(self) -> None:
        """Let go of the subscriptions: what runs in this process ends, what has its own goes on."""


class Verbs:
    """What can be said; see `Run`."""

    def __init__(
        self,
        *,
        run_id: str,
        name: str,
        project: str,
        directory: Path,
        backends: tuple[str, ...] = (),
        recorder: Recorder | None = None,
        host: Host | None = None,
        on_close: Callable[[], None] = lambda: None,
        begin_child: Callable[[str], Verbs] | None = None,
        tell: Callable[[str], None] = say,
        strict: bool = False,
        lossy: bool = False,
    ) -> None:
        self.id = run_id
        """Unique for ever, and sortable by time."""
        self.name = name
        self.project = project
        self.directory = directory
        """The run's own directory, with its journal. An inert run's need not exist."""
        self._backends = backends
        self._recorder = recorder
        self._host = host
        self._on_close = on_close
        self._begin_child = begin_child
        self._tell = tell
        self._children: list[Verbs] = []
        self._strict = strict
        self._closed = False
        self._gone = False
        self._lossy = lossy  # an inert run that was not meant to be
        self._unrecorded = 0
        self._steps: dict[object, Iterator[int]] = {}
        self._append: Callable[[int, bytes], bool] = self._ignore if recorder is None else recorder.append

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} of {self.project!r}, {self.id}{'' if self.active else ', inert'}>"

    @property
    def active(self) -> bool:
        """Whether what is said is recorded; False for an inert run (a forked child's, or with logging disabled)."""
        return self._recorder is not None and not self._recorder.detached and not self._closed

    @property
    def urls(self) -> dict[str, str]:
        """Where the run can be seen, by backend; a backend appears once it has opened the run."""
        status = self.status()
        return {name: backend.url for name, backend in status.backends.items() if backend.url is not None}

    def log_metric(
        self,
        name: str,
        value: Number,
        step: int | None = None,
        *,
        context: Mapping[str, Scalar] | None = None,
        time: float | None = None,
    ) -> None:
        """Say that a number was measured.

        Args:
            name: any string.
            value: a number, a NumPy scalar, or an array or tensor of one element (which is read here and now, so a
                tensor on a device is waited for). NaN and the infinities are values.
            step: any int, in any order, repeated or negative; None counts up from 0 for each name and context.
            context: what tells this point apart from others of the name, for instance `{"subset": "val"}`.
            time: when it was measured, in seconds since the epoch; None is now.

        Raises:
            TypeError: an argument has the wrong type.
            RunClosed: the run is finished.
        """
        # The usual call is the one that has to be fast: no event is made of it, but the bytes are those of one.
        if type(value) is not float:
            value = _values.number(value, "value")
        if type(name) is not str:
            name = _values.string(name, "name")
        pairs = () if context is None else _values.context_pairs(context)
        if type(step) is not int:
            step = self._count((name, pairs)) if step is None else _values.integer(step, "step")
        moment = _now() if time is None else _values.seconds(time, "time")
        try:
            payload = encode((_METRICS, moment, {name: value}, step, pairs))
        except _UNUSUAL:
            self._publish(MetricsLogged(moment, {name: value}, step, pairs))
            return
        if not self._append(_METRICS, payload):
            self._refused()

    def log_metrics(
        self,
        values: Mapping[str, Number],
        step: int | None = None,
        *,
        context: Mapping[str, Scalar] | None = None,
        time: float | None = None,
    ) -> None:
        """Say that several numbers were measured at one step; see `log_metric`."""
        numbers = {
            _values.string(name, "a name in values"): (
                value if type(value) is float else _values.number(value, f"values[{name!r:.80}]")
            )
            for name, value in _values.mapping(values, "values").items()
        }
        pairs = () if context is None else _values.context_pairs(context)
        moment = _now() if time is None else _values.seconds(time, "time")
        if step is not None:
            groups = {_values.integer(step, "step"): numbers} if numbers else {}
        else:
            groups = {}
            for name, value in numbers.items():
                groups.setdefault(self._count((name, pairs)), {})[name] = value
        for at, group in groups.items():
            self._publish(MetricsLogged(moment, group, at, pairs))

    def log_params(self, values: Mapping[str, Any]) -> None:
        """State hyperparameters. Nested mappings are flattened with "/"; what is no scalar or list becomes text.

        Raises:
            TypeError: `values` is no mapping.
            RunClosed: the run is finished.
        """
        flat = _values.parameters(_values.mapping(values, "values"))
        if flat:
            self._publish(ParamsLogged(_now(), flat))

    def set_tags(self, values: Mapping[str, str]) -> None:
        """Put tags on the run; values are turned into strings.

        Raises:
            TypeError: `values` is no mapping, or a name is no string.
            RunClosed: the run is finished.
        """
        tags = _values.mapping(values, "values").items()
        strings = {_values.string(name, "a name in values"): _values.text(value) for name, value in tags}
        if strings:
            self._publish(TagsSet(_now(), strings))

    def log_text(
        self,
        name: str,
        text: str,
        step: int | None = None,
        *,
        context: Mapping[str, Scalar] | None = None,
        time: float | None = None,
    ) -> None:
        """Write a text, of the run as a whole or of a step; see `log_metric` for the other arguments."""
        self._publish(
            TextLogged(
                _now() if time is None else _values.seconds(time, "time"),
                _values.string(name, "name"),
                _values.string(text, "text"),
                None if step is None else _values.integer(step, "step"),
                () if context is None else _values.context_pairs(context),
            )
        )

    def log_console(self, text: str, stream: Literal["stdout", "stderr"] = "stdout") -> None:
        """Keep what was printed: one line, or several.

        Raises:
            TypeError: an argument has the wrong type, or there is no such stream.
            RunClosed: the run is finished.
        """
        if stream not in ("stdout", "stderr"):
            raise TypeError(f"stream must be 'stdout' or 'stderr', found {stream!r}")
        self._publish(ConsoleLine(_now(), _values.string(text, "text").removesuffix("\n"), stream))

    def set_note(self, text: str) -> None:
        """Write the run's note, what there is to say of it, in Markdown; it replaces an earlier one.

        Raises:
            TypeError: `text` is no string.
            RunClosed: the run is finished.
        """
        self._publish(NoteSet(_now(), _values.string(text, "text")))

    def use_dataset(
        self,
        data: Any,
        name: str | None = None,
        *,
        source: str | PathLike[str] | None = None,
        digest: str = "",
        role: str = "training",
    ) -> None:
        """Say that the run reads a dataset. Its data are not kept, only what they are and where they lie.

        Args:
            data: a URL (whose `user:password@` is left out), or the path of a file or folder; or the data themselves: a
                pandas or polars frame, or an array or tensor, of which columns, types and shape are recorded.
            name: what it is called; None takes the last part of the URL or path.
            source: where `data` come from, if they are given themselves.
            digest: what identifies their content, for instance a hash or a revision.
            role: what they are for, for instance "training" or "evaluation".

        Raises:
            TypeError: an argument has the wrong type, or there is no name.
            RunClosed: the run is finished.
        """
        place = data if isinstance(data, str | PathLike) else source
        located = "" if place is None else _values.location(place)
        path = located.partition("?")[0] if "://" in located else located
        label = path.rstrip("/").rpartition("/")[2] if name is None else _values.string(name, "name")
        if not label:
            raise TypeError("a dataset needs a name, as use_dataset(data, name)")
        schema, profile = ({}, {}) if isinstance(data, str | PathLike) else _values.described(data)
        known = _values.string(digest, "digest")
        self._publish(DatasetUsed(_now(), label, located, known, _values.string(role, "role"), schema, profile))

    @property
    def _open_somewhere(self) -> bool:
        """Whether this run, or one below it, goes on."""
        return not self._closed or any(child._open_somewhere for child in self._children)

    def _child(self, name: str) -> Verbs:
        label = _values.string(name, "name")
        if self._closed:
            raise RunClosed(self.id)
        if self._recorder is None or self._recorder.detached or self._begin_child is None:
            return type(self)(run_id="", name=label, project=self.project, directory=self.directory)
        self._children = [child for child in self._children if child._open_somewhere]
        self._children.append(self._begin_child(label))
        return self._children[-1]

    def status(self) -> RunStatus:
        """The exact account of every backend, see `RunStatus`."""
        if self._recorder is None or self._recorder.detached:
            lost = self._unrecorded if self._lossy else 0
            return RunStatus(id=self.id, name=self.name, project=self.project, emitted=lost, lost=lost, backends={})
        try:
            return read_status(self._recorder.directory, self._backends, self._recorder.tallies())
        except FileNotFoundError:
            tallies = self._recorder.tallies().values()
            emitted, lost = sum(t.recorded + t.lost for t in tallies), sum(t.lost for t in tallies)
            return RunStatus(id=self.id, name=self.name, project=self.project, emitted=emitted, lost=lost, backends={})

    def abandon(self) -> None:
        """End a run that could not be begun: as failed, without waiting for a backend."""
        self._end(Outcome.FAILED)
        self._let_go()

    # How the verbs publish.

    def _publish(self, event: Event, *, bulk: bool = False) -> None:
        flags = 0
        try:
            payload = encode(event)
        except _UNUSUAL:
            flags, payload = encode_unusual(event)
        word = kind_of(type(event)) | flags
        recorder = self._recorder
        append = recorder.append_bulk if bulk and recorder is not None else self._append
        if not append(word, payload):
            self._refused()

    def _refused(self) -> None:
        """An event was not recorded: if that is for want of space, it is counted; if the run is over, it is misuse."""
        if self._closed and not (self._recorder is not None and self._recorder.detached):
            raise RunClosed(self.id)

    def _ignore(self, word: int, payload: bytes) -> bool:
        self._unrecorded += 1
        return not self._closed

    def _count(self, key: object) -> int:
        counter = self._steps.get(key)
        if counter is None:
            counter = self._steps.setdefault(key, itertools.count())
        return next(counter)

    # How waiting and ending work, whoever waits.

    def _sync(self) -> None:
        if self._recorder is not None and not self._recorder.detached:
            self._recorder.sync()

    def _delivered(self) -> Callable[[], bool | None]:
        """A function that tells whether the backends have everything said until now: None is not yet."""
        host, recorder = self._host, self._recorder
        if host is None or recorder is None or recorder.detached:
            return lambda: True
        target = {key: tally.recorded for key, tally in recorder.tallies().items()}
        host.wake()

        def check() -> bool | None:
            done = True
            for backend in self._backends:
                try:
                    record = read_cursor(recorder.directory.cursor(backend))
                except OSError:
                    return None  # no descriptor left, or a disk that has its moments
                if all(key in record.logs and record.logs[key].position.sequence >= at for key, at in target.items()):
                    continue
                if record.phase not in ("paused", "failed") and host.serves(backend):
                    return None
                done = False
            return done

        return check

    def _end(self, outcome: Outcome) -> Callable[[], bool | None] | None:
        """Say that the run is over; returns what `_delivered` does, or None if there is nothing to wait for."""
        if self._closed:
            return None
        self._closed = True
        recorder = self._recorder
        if recorder is None or recorder.detached:
            return None
        try:
            recorder.finish(Kind.RUN_FINISHED.value, encode(RunFinished(_now(), outcome.value)))
        except OSError as error:
            self._tell(f"the journal in {self.directory} could not be written to the disk: {error}")
        return self._delivered()

    def _let_go(self) -> None:
        """After `_end`: once, and never in a forked child."""
        recorder = self._recorder
        if self._gone or (recorder is not None and recorder.detached):
            return
        self._gone = True
        self._on_close()
        if self._host is not None:
            self._host.release()
        try:
            for line in summary(self.status(), self.directory):
                self._tell(line)
        except (OSError, msgspec.MsgspecError) as error:
            self._tell(f"how delivery stands can't be read: {error}; `tracelet status {self.directory}` may tell")

    def begin(self, *, resumed: bool) -> None:
        """Say that this process begins to log; called once, by what makes the run."""
        self._publish(RunStarted(_now(), self.name, self.project, resumed))
