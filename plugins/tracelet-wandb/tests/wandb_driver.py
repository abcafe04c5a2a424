"""The plugin, driven as the core drives it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import anyio.to_thread
from tracelet_wandb import Options, WandB

from tracelet.backend import Batch, Opened, RunInfo, State
from tracelet.events import LANES, Event, MetricsLogged

P = ParamSpec("P")
T = TypeVar("T")

NOW = 1_700_000_000.25


async def blocking(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    return await anyio.to_thread.run_sync(partial(function, *args, **kwargs))


class Driver:
    """A run and what the core would do with it, without the core."""

    def __init__(self, options: Options, directory: Path, **changes: Any) -> None:
        self.saved: list[State] = []
        fields: dict[str, Any] = {"id": uuid.uuid4().hex, "name": "a run", "project": "a project"}
        fields |= {"directory": directory, "started": NOW, "blocking": blocking, "save_state": self.saved.append}
        self.options = options
        self.info = RunInfo(**(fields | changes))
        self.backend = WandB(options, self.info)
        self._sequence = 0

    @property
    def id(self) -> str:
        return self.info.id

    async def open(self, state: State | None = None) -> Opened:
        return await self.backend.open(state)

    async def export(self, *events: Event) -> dict[int, str]:
        """Deliver a batch; returns the reasons of the degraded events by their place in it."""
        batch = self.batch(*events)
        await self.backend.export(batch)
        return {batch.sequences.index(sequence): reason for sequence, reason in batch.degraded.items()}

    def batch(self, *events: Event) -> Batch:
        first, self._sequence = self._sequence, self._sequence + len(events)
        return Batch("0000", LANES[type(events[0])], events, range(first, self._sequence))


def points(*steps: int, name: str = "m") -> list[Event]:
    return [MetricsLogged(NOW + step, {name: step / 4}, step) for step in steps]
