"""The plugin, driven as the core drives it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import anyio.to_thread
from tracelet_clearml import ClearML, Options

from tracelet.backend import Batch, RunInfo, State
from tracelet.events import LANES, Event

P = ParamSpec("P")
T = TypeVar("T")

NOW = 1_700_000_000.25


async def blocking(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    return await anyio.to_thread.run_sync(partial(function, *args, **kwargs))


class Driver:
    """A run and what the core would do with it, without the core."""

    def __init__(self, options: Options, directory: Path, **changes: Any) -> None:
        unique = uuid.uuid4().hex
        self.saved: list[State] = []
        fields: dict[str, Any] = {"id": unique, "name": "a run", "project": f"project {unique}", "directory": directory}
        fields |= {"started": NOW, "blocking": blocking, "save_state": self.saved.append} | changes
        self.info = RunInfo(**fields)
        self.options = options
        self.backend = ClearML(options, self.info)
        self.url: str | None = None
        self.task = ""
        self._sequence = 0

    async def open(self, state: State | None = None) -> State:
        opened = await self.backend.open(state)
        self.task = opened.state["task_id"]
        self.url = opened.url
        return opened.state

    async def export(self, *events: Event) -> dict[int, str]:
        """Deliver a batch; returns the reasons of the degraded events by their place in it."""
        batch = self.batch(*events)
        await self.backend.export(batch)
        return {batch.sequences.index(sequence): reason for sequence, reason in batch.degraded.items()}

    def batch(self, *events: Event) -> Batch:
        first, self._sequence = self._sequence, self._sequence + len(events)
        return Batch("writer", LANES[type(events[0])], events, range(first, self._sequence))
