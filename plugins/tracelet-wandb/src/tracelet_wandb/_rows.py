"""Metrics to rows of the run's history."""

from __future__ import annotations

import json
from collections.abc import Iterable
from math import inf, isnan
from typing import Any

from msgspec import Struct, field

from tracelet.backend import Batch
from tracelet.events import MediaLogged, MetricsLogged, Number, TextLogged
from tracelet_wandb._names import STEP, Name, key

SEQUENCE = "_tracelet"
"""The column that says which events a row holds: `writer/lane/` and their numbers, as in `0000/stream/3-5,9`."""

KIND = "_tracelet_kind"
"""The column that says what the medium of a row was logged as: W&B shows figures as images, embeddings as tables."""

_SAME_MOMENT = 1.0
_SAFE = 2**63


class Row(Struct):
    """One row of the history; the values are JSON.

    Attributes:
        time: of its first event, in seconds since the epoch.
        indexes: of the events in their batch, ascending.
    """

    time: float
    step: int | None
    indexes: list[int]
    values: dict[str, str] = field(default_factory=dict)


def metric_rows(batch: Batch) -> list[Row]:
    """The rows of a batch's metrics: those of one step and moment share a row, if no two of them have one name."""
    rows: list[Row] = []
    current: dict[int, Row] = {}
    for index, event in enumerate(batch.events):
        if isinstance(event, MetricsLogged) and event.values:
            values = _values(batch, index, event)
            row = current.get(event.step)
            if row is None or not values.keys().isdisjoint(row.values) or abs(event.time - row.time) > _SAME_MOMENT:
                row = current[event.step] = Row(event.time, event.step, [])
                rows.append(row)
            row.indexes.append(index)
            row.values.update(values)
    return rows


def media_row(event: TextLogged | MediaLogged, index: int, values: dict[str, Any]) -> Row:
    """The row of one medium; its values are what W&B's data types become as JSON."""
    content = {name: json.dumps(value) for name, value in values.items()}
    return Row(event.time, event.step, [index], {KIND: f'"{type(event).__name__}"', **content})


def columns(row: Row, number: int, batch: Batch, started: float) -> dict[str, str]:
    """The row as W&B's columns. `_runtime` is what W&B's "relative time" axis shows."""
    cells = {"_step": str(number), "_timestamp": _json(row.time), "_runtime": _json(max(0.0, row.time - started))}
    cells[SEQUENCE] = f'"{batch.writer}/{batch.lane}/{ranges(batch.sequences[index] for index in row.indexes)}"'
    if row.step is not None:
        cells[STEP] = str(row.step)
    cells.update(row.values)
    return cells


def ranges(numbers: Iterable[int]) -> str:
    """Ascending numbers, as in "3-5,9"."""
    parts: list[str] = []
    first = last = None
    for number in numbers:
        if last is not None and number == last + 1:
            last = number
            continue
        if first is not None:
            parts.append(str(first) if first == last else f"{first}-{last}")
        first = last = number
    if first is not None:
        parts.append(str(first) if first == last else f"{first}-{last}")
    return ",".join(parts)


def identities(column: str) -> set[tuple[str, str, int]]:
    """The (writer, lane, number) of the events that a row's SEQUENCE column names."""
    writer, lane, numbers = column.rsplit("/", 2)
    found: set[tuple[str, str, int]] = set()
    for part in numbers.split(","):
        first, _, last = part.partition("-")
        found.update((writer, lane, number) for number in range(int(first), int(last or first) + 1))
    return found


def named(batch: Batch, index: int, name: Name) -> str:
    """The name's text; that it was changed is declared."""
    if name.altered:
        batch.degrade(index, "name not allowed by W&B: changed, with a hash of the original")
    return name.text


def _values(batch: Batch, index: int, event: MetricsLogged) -> dict[str, str]:
    if not -_SAFE <= event.step < _SAFE:
        batch.degrade(index, "step beyond 64 bits: W&B shows it as a float")
    context = event.context
    found = {}
    for name, number in event.values.items():
        text, altered = key(name, context)
        if altered:
            named(batch, index, Name(text, altered))
        found[text] = _json(number) if type(number) is float else _json(_number(batch, index, number))
    return found


def _number(batch: Batch, index: int, number: Number) -> Number:
    """An integer as W&B keeps it: exactly within 64 bits, beyond them as a float."""
    if -_SAFE <= number < _SAFE:
        return number
    batch.degrade(index, "integer beyond 64 bits: stored as a float")
    try:
        return float(number)
    except OverflowError:
        return inf if number > 0 else -inf


def _json(number: Number) -> str:
    """JSON with NaN and the infinities as W&B writes them."""
    if isnan(number):
        return "NaN"
    if number in (inf, -inf):
        return "Infinity" if number > 0 else "-Infinity"
    return repr(number)
