"""Files that are shown as debug samples, from either lane."""

from __future__ import annotations

from typing import TypeAlias

from tracelet.backend import Batch
from tracelet.events import Event, Lane
from tracelet.media import Encoded
from tracelet_clearml._convert import milliseconds
from tracelet_clearml._names import Series, component
from tracelet_clearml._records import Sample
from tracelet_clearml._store import TaskStore

Identity: TypeAlias = tuple[str, Lane, int]
"""An event: its writer, lane and number."""

TextIdentity: TypeAlias = tuple[Identity, str]
"""A text of an event, which may have several: the event, and the text's name."""

REPLACED = "same name and step as another one in the batch: ClearML keeps the last"


async def add_sample(
    store: TaskStore,
    batch: Batch,
    index: int,
    event: Event,
    where: Series,
    step: int | None,
    file: Encoded,
    caption: str = "",
) -> Sample:
    """Upload a file; returns the record that shows it. One without a step is shown at step 0, beside what is there."""
    name = "run" if step is None else f"{step:08d}"
    parts = (component(where.metric), component(where.variant), f"{name}.{component(file.suffix)}")
    stored = await store.upload("metrics", parts, file.data)
    time = milliseconds(batch, index, event)
    return Sample(store.task, where.metric, where.variant, step or 0, time, stored.key, stored.url, caption)
