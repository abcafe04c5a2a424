"""Batches that a backend refused: which events are at fault, and what to try again."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tracelet.backend import Batch
from tracelet.errors import Rejected
from tracelet.events import Event, FileLogged, MetricsLogged

_SLOWEST_UPLOAD = 1 << 18  # bytes per second


def divide(batch: Batch, error: BaseException) -> tuple[list[tuple[int, Event]], list[Batch]]:
    """The events of a refused batch that are at fault for sure, and the parts to try again."""
    count = len(batch)
    named = error.indexes if isinstance(error, Rejected) else None
    if named and all(0 <= index < count for index in named) and count > 1:
        others = [index for index in range(count) if index not in named]
        return [], [*(_pick(batch, [index]) for index in sorted(named)), *([_pick(batch, others)] if others else [])]
    if count > 1:
        return [], [_pick(batch, range(count // 2)), _pick(batch, range(count // 2, count))]
    event = batch.events[0]
    if isinstance(event, MetricsLogged) and len(event.values) > 1:
        # One bad value must not cost its neighbours; the event counts as dead-lettered all the same.
        items = list(event.values.items())
        halves = (dict(items[: len(items) // 2]), dict(items[len(items) // 2 :]))
        parts = [msgspec.structs.replace(event, values=half) for half in halves]
        return [], [Batch(batch.writer, batch.lane, [part], batch.sequences) for part in parts]
    return [(batch.sequences[0], event)], []


def joined(before: tuple[Event, str] | None, event: Event) -> Event:
    """The values of one event that were refused one by one, together again."""
    if before is not None and isinstance(event, MetricsLogged) and isinstance(before[0], MetricsLogged):
        return msgspec.structs.replace(event, values=before[0].values | event.values)
    return event


def upload_time(batch: Batch) -> float:
    """How many seconds a batch's files may take beyond the timeout."""
    return sum(event.size for event in batch.events if isinstance(event, FileLogged)) / _SLOWEST_UPLOAD


def _pick(batch: Batch, indexes: Sequence[int]) -> Batch:
    return Batch(
        batch.writer,
        batch.lane,
        [batch.events[index] for index in indexes],
        [batch.sequences[index] for index in indexes],
    )
