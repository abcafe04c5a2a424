"""Metrics on their way into Aim's sequences: sorted by sequence, and written column by column.

Aim's own `run.track` makes about ten writes for each point; here a batch is one write to the run's data and one to its
metadata. What is stored is the same, byte for byte.
"""

from __future__ import annotations

from math import inf
from typing import Any, TypeAlias

from aim.sdk.tracker import SequenceInfo
from aim.storage.hashing import hash_auto

from tracelet.backend import Batch
from tracelet.events import Context, MetricsLogged, Number
from tracelet_aim._names import key
from tracelet_aim._sequences import Place, Sequences, context_id
from tracelet_aim._store import Store

Points: TypeAlias = dict[int, tuple[Number, float, int]]
"""By step: the value, its time in seconds since the epoch, and the event's place in the batch."""

_INT64 = 2**63
_COLUMNS = ("val", "epoch", "time", "step")


class Series:
    """The points of a batch, by context and name."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._contexts: dict[int, tuple[Context, dict[str, Points]]] = {}
        self._known: dict[tuple[Any, ...], dict[str, Points]] = {}

    def __bool__(self) -> bool:
        return bool(self._contexts)

    def add(self, index: int, event: MetricsLogged) -> None:
        """Take an event's points; of those of one name, context and step, the last stays, as in Aim."""
        step, context, time = event.step, event.context, event.time
        if not -_INT64 <= step < _INT64:
            step = max(-_INT64, min(step, _INT64 - 1))
            self._batch.degrade(index, "step beyond 64 bits: the nearest possible is stored")
        identity = (context, *(type(value) for _, value in context)) if context else ()
        series = self._known.get(identity)
        if series is None:  # to Aim, 1 and True are the same
            series = self._known[identity] = self._contexts.setdefault(context_id(context), (context, {}))[1]
        for name, value in event.values.items():
            if type(value) is not float:
                value = self._number(index, value)
            points = series.get(name)
            if points is None:
                series[name] = {step: (value, time, index)}
                continue
            if step in points:
                self._batch.degrade(points[step][2], "another value of the same name and step follows: Aim keeps one")
            points[step] = (value, time, index)

    def write(self, sequences: Sequences, store: Store) -> None:
        """Put all points into the store's next commit."""
        for context, series in self._contexts.values():
            for name, points in series.items():
                indexes = {index for _, _, index in points.values()}
                named = key(name)
                place = sequences.place(named.text, context, "float")
                for reason in (*place.altered, *(["Aim has no empty names: given one"] if named.altered else [])):
                    for index in indexes:
                        self._batch.degrade(index, reason)
                _write(place, points, store)

    def _number(self, index: int, value: Number) -> Number:
        if isinstance(value, float):
            return float(value)
        if -_INT64 <= value < _INT64:
            return int(value)
        try:
            near = float(value)
        except OverflowError:
            self._batch.degrade(index, "integer beyond all floats: stored as infinity")
            return inf if value > 0 else -inf
        if int(near) != value:
            self._batch.degrade(index, "integer beyond 64 bits: stored as the nearest float")
        return near


def _write(place: Place, points: Points, store: Store) -> None:
    """What `RunTracker._track` does for each point, once for all of them."""
    info, path = place.info, (place.context_id, place.name)
    new = not info.initialized
    if new:
        _begin(info)
        for column in _COLUMNS:
            store.array(path, column)
    hashes = [hash_auto(step) for step in points]
    store.column(path, "val", hashes, [value for value, _, _ in points.values()])
    store.column(path, "epoch", hashes, [None] * len(points))
    store.column(path, "time", hashes, [time for _, time, _ in points.values()])
    store.column(path, "step", hashes, list(points))
    store.trace(path, _metadata(place, points, store, new))


def _begin(info: SequenceInfo) -> None:
    info.count, info.record_max_length, info.dtype, info.version = 0, 0, None, 2
    info.max, info.min, info.step_hash_fn = -inf, inf, hash_auto
    info.initialized = True


def _metadata(place: Place, points: Points, store: Store, new: bool) -> list[tuple[str, Any]]:
    """The changed fields of the sequence's description, which Aim shows without reading the points."""
    info = place.info
    changed: dict[str, Any] = {}
    if new:
        step, (value, _, _) = next(iter(points.items()))
        changed |= {"version": 2, "first": value, "first_step": step}
    for value, _, _ in points.values():
        kind = "float" if type(value) is float else "int"
        if info.dtype is None or (info.dtype != kind and info.dtype in ("int", "float")):
            info.dtype = kind if info.dtype is None else "number"
            store.kind(place.context_id, place.name, info.dtype, "metric")
            changed["dtype"] = info.dtype
        if value > info.max:
            info.max = changed["max"] = value
        if value < info.min:
            info.min = changed["min"] = value
    last = max(points)
    if new or last >= info.count - 1:
        changed |= {"last": points[last][0], "last_step": last}
        info.count = last + 1
    return list(changed.items())
