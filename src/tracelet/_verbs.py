"""The verbs: what training code can say, turned into events in the journal.

A verb returns when the event is in the journal, which no crash of the process undoes; none waits for a backend.
"""

from __future__ import annotations

import time as _time
from collections.abc import Mapping
from os import PathLike
from typing import Any, Literal

from tracelet import _values
from tracelet._deferred import Later, later
from tracelet._lifecycle import UNUSUAL, Lifecycle
from tracelet.codec import encode
from tracelet.events import (
    ConsoleLine,
    DatasetUsed,
    Kind,
    MetricsLogged,
    NoteSet,
    Number,
    ParamsLogged,
    Scalar,
    TagsSet,
    TextLogged,
)

_METRICS = Kind.METRICS_LOGGED.value

_now = _time.time


class Verbs(Lifecycle):
    """What can be said; see `Run`."""

    def log_metric(
        self,
        name: str,
        value: Number,
        step: int | None = None,
        # No `*` here: to call a function with keyword-only arguments takes CPython longer, used or not.
        context: Mapping[str, Scalar] | None = None,
        time: float | None = None,
        defer: bool | None = None,
    ) -> None:
        """Say that a number was measured.

        Args:
            name: any string.
            value: a number, a NumPy scalar, or an array or tensor of one element (which is read here and now, so a
                tensor on a device is waited for, unless `defer`). NaN and the infinities are values.
            step: any int, in any order, repeated or negative; None counts up from 0 for each name and context.
            context: what tells this point apart from others of the name, for instance `{"subset": "val"}`.
            time: when it was measured, in seconds since the epoch; None is now.
            defer: whether a PyTorch tensor on a device is read later, by a thread, so that this call does not wait for
                the device; None is what the run was begun with. Step, time and value are those of the call all the
                same. The event is in the journal, and safe from a crash, once the value is there; `flush` and `finish`
                wait for that. What can be read at once always is. A call waits while 10,000 values are on their way.

        Raises:
            TypeError: an argument has the wrong type.
            RunClosed: the run is finished.
        """
        # The usual call is the one that has to be fast: no event is made of it, but the bytes are those of one.
        if type(value) is not float:
            if defer or (defer is None and self.defers):
                waiting = later(value, "value")
                if waiting is not None:
                    self._log_later(waiting, name, step, context, time)
                    return
            value = _values.number(value, "value")
        if type(name) is not str:
            name = _values.string(name, "name")
        pairs = () if context is None else _values.context_pairs(context)
        if type(step) is not int:
            step = self._count((name, pairs)) if step is None else _values.integer(step, "step")
        moment = _now() if time is None else _values.seconds(time, "time")
        try:
            payload = encode((_METRICS, moment, {name: value}, step, pairs))
        except UNUSUAL:
            self._publish(MetricsLogged(moment, {name: value}, step, pairs))
            return
        if not self._append(_METRICS, payload):
            self._refused()

    def _log_point(self, name: str, value: float, step: int) -> None:
        """`log_metric` for those who have seen to the types, which are exactly these, and for whom each call counts."""
        try:
            payload = encode((_METRICS, _now(), {name: value}, step, ()))
        except UNUSUAL:
            self.log_metric(name, value, step)
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
        defer: bool | None = None,
    ) -> None:
        """Say that several numbers were measured at one step; see `log_metric`."""
        defers = self.defers if defer is None else defer
        numbers: dict[str, Any] = {
            _values.string(name, "a name in values"): (
                value if type(value) is float else _taken(value, f"values[{name!r:.80}]", defers)
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
            if defers and any(type(value) is Later for value in group.values()):
                self._defer(moment, group, at, pairs)
            else:
                self._publish(MetricsLogged(moment, group, at, pairs))

    def _log_later(
        self, value: Later, name: str, step: int | None, context: Mapping[str, Scalar] | None, time: float | None
    ) -> None:
        label = _values.string(name, "name")
        pairs = () if context is None else _values.context_pairs(context)
        at = self._count((label, pairs)) if step is None else _values.integer(step, "step")
        self._defer(_now() if time is None else _values.seconds(time, "time"), {label: value}, at, pairs)

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


def _taken(value: Any, argument: str, defers: bool) -> Number | Later:
    """A number, or, if that is wanted, one that a device still computes."""
    waiting = later(value, argument) if defers else None
    return _values.number(value, argument) if waiting is None else waiting
