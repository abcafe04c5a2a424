"""Metrics as MLflow's points."""

from __future__ import annotations

from math import inf, isfinite, isnan

from tracelet.backend import Batch
from tracelet.events import Event, MetricsLogged, Number
from tracelet_mlflow._names import key, key_in_context
from tracelet_mlflow._records import Point, Records

INT64 = 2**63 - 1
ALTERED = "name not allowed by MLflow: changed, with a hash of the original"


def points(batch: Batch) -> Records[Point]:
    """The points of the batch, in order, each once; what MLflow can't hold as it was said is marked as degraded."""
    items: list[Point] = []
    owners: list[int] = []
    seen: set[tuple[str, int, int, float | str]] = set()
    for index, event in enumerate(batch.events):
        if type(event) is not MetricsLogged:
            continue
        milliseconds = event.time * 1000
        at = int(milliseconds) if 0 <= milliseconds < INT64 else timestamp(batch, index, event)
        step = event.step
        if not -INT64 <= step <= INT64:
            step = nearest_step(batch, index, step)
        context = event.context
        for name, number in event.values.items():
            text, altered = key_in_context(name, context) if context else key(name)
            if altered:
                batch.degrade(index, ALTERED)
            finite = type(number) is float and isfinite(number)
            value = number if finite else _said(batch, index, number)
            point = (text, at, step, value)
            if point in seen:
                batch.degrade(index, "same name, step, millisecond and value as another point: MLflow keeps one")
                continue
            seen.add(point)
            items.append(Point(text, value, at, step))
            owners.append(index)
    return Records(items, owners)


def timestamp(batch: Batch, index: int, event: Event) -> int:
    """When the event was said, in milliseconds since the epoch."""
    milliseconds = event.time * 1000
    if 0 <= milliseconds < INT64:
        return int(milliseconds)
    batch.degrade(index, "time before 1970 or beyond 64 bits: the nearest possible is stored")
    return INT64 if isfinite(milliseconds) and milliseconds > 0 else 0


def nearest_step(batch: Batch, index: int, step: int) -> int:
    """The step in 64 bits."""
    nearest = max(-INT64, min(step, INT64))
    if nearest != step:
        batch.degrade(index, "step beyond 64 bits: the nearest possible is stored")
    return nearest


def _said(batch: Batch, index: int, number: Number) -> float | str:
    """A number that may be no finite float."""
    value = _as_float(batch, index, number)
    if isfinite(value):
        return value
    if isnan(value):
        return "NaN"
    batch.degrade(index, "infinity: MLflow stores the largest float")
    return "Infinity" if value > 0 else "-Infinity"


def _as_float(batch: Batch, index: int, number: Number) -> float:
    try:
        value = float(number)
    except OverflowError:
        return inf if number > 0 else -inf
    if value != number and not isnan(value):
        batch.degrade(index, "integer not exact as a 64-bit float")
    return value
