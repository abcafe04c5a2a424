"""A backend that remembers what it was given, and can be told to fail."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import anyio.to_thread
import msgspec

from tracelet.backend import Batch, Idempotency, Opened, Outcome, ParentRun, RunInfo, State
from tracelet.delivery import Delivery
from tracelet.events import EVENT_TYPES, Event, RunFinished, RunStarted

P = ParamSpec("P")
T = TypeVar("T")


async def _willing(_: Any) -> None:
    return None


class RecordingBackend:
    """A backend object that keeps everything in lists: `open_run(backend=RecordingBackend())`.

    Args:
        delivery, handles: what it declares.
        on_open, on_export, on_finish: awaited first with what the method is given (on_finish with the outcome); what
            they raise, the method raises.

    Attributes:
        opened: the states that `open` was given.
        batches: the batches that were taken.
        events: the events in them, in order.
        endings: the outcomes and times that `finish` was given.
        closed: how often it was closed.
    """

    handles: frozenset[type[Event]] = frozenset(EVENT_TYPES.values()) - {RunStarted, RunFinished}
    idempotency = Idempotency.APPENDS
    delivery = Delivery(linger=0.02)

    class Options(msgspec.Struct, forbid_unknown_fields=True):
        """There are none."""

    def __init__(
        self,
        *,
        delivery: Delivery | None = None,
        handles: frozenset[type[Event]] | None = None,
        on_open: Callable[[State | None], Awaitable[None]] = _willing,
        on_export: Callable[[Batch], Awaitable[None]] = _willing,
        on_finish: Callable[[Outcome], Awaitable[None]] = _willing,
    ) -> None:
        if delivery is not None:
            self.delivery = delivery
        if handles is not None:
            self.handles = handles
        self._on_open, self._on_export, self._on_finish = on_open, on_export, on_finish
        self.opened: list[State | None] = []
        self.batches: list[Batch] = []
        self.endings: list[tuple[Outcome, float]] = []
        self.closed = 0

    @property
    def outcomes(self) -> list[Outcome]:
        return [outcome for outcome, _ in self.endings]

    @property
    def events(self) -> list[Event]:
        return [event for batch in self.batches for event in batch.events]

    async def open(self, state: State | None) -> Opened:
        await self._on_open(state)
        self.opened.append(state)
        return Opened(state={"opened": str(len(self.opened))}, url="memory://recording")

    async def export(self, batch: Batch) -> None:
        await self._on_export(batch)
        self.batches.append(batch)

    async def finish(self, outcome: Outcome, time: float) -> None:
        await self._on_finish(outcome)
        self.endings.append((outcome, time))

    async def close(self) -> None:
        self.closed += 1


async def _in_thread(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    return await anyio.to_thread.run_sync(lambda: function(*args, **kwargs))


def run_info(
    directory: Path,
    *,
    run_id: str = "01234567-89ab-7def-8123-456789abcdef",
    name: str = "conformance",
    project: str = "tracelet",
    save_state: Callable[[State], None] = lambda _: None,
    parent: ParentRun | None = None,
) -> RunInfo:
    """What a plugin's constructor is given, for tests that drive the plugin by hand."""
    return RunInfo(
        id=run_id,
        name=name,
        project=project,
        directory=directory,
        started=time.time(),
        blocking=_in_thread,
        save_state=save_state,
        parent=parent,
    )
