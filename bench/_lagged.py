"""Backends for delivery processes of benchmarks: `bench._lagged:Lagged` and so on."""

from __future__ import annotations

import os
import time
from array import array
from pathlib import Path
from typing import Any

import anyio
import msgspec

from tracelet import Batch, Delivery, Idempotency, Opened, Outcome, RunInfo, State
from tracelet._discovery import find
from tracelet.errors import Transient
from tracelet.events import ArtifactLogged, Event, MetricsLogged


class LaggedOptions(msgspec.Struct, forbid_unknown_fields=True):
    """Which backend is inside, and the file that gets each point's lag, as an array of floats in seconds."""

    inner: str = ""
    options: dict[str, Any] = {}
    record: str = ""


class Lagged:
    """Another backend, which notes how old each metric is when it has been delivered."""

    delivery = Delivery()
    handles: frozenset[type[Event]] = frozenset({MetricsLogged, ArtifactLogged})
    idempotency = Idempotency.APPENDS
    Options = LaggedOptions

    def __init__(self, options: LaggedOptions, run: RunInfo) -> None:
        self._backend = find(options.inner, options.options).create(run)
        self._record = Path(options.record)
        self._lags = array("d")

    async def open(self, state: State | None) -> Opened:
        return await self._backend.open(state)

    async def export(self, batch: Batch) -> None:
        await self._backend.export(batch)
        now = time.time()
        self._lags.extend(now - event.time for event in batch.events if isinstance(event, MetricsLogged))

    async def finish(self, outcome: Outcome, time: float) -> None:
        await self._backend.finish(outcome, time)
        self._record.write_bytes(self._lags.tobytes())

    async def close(self) -> None:
        await self._backend.close()


class NoOptions(msgspec.Struct, forbid_unknown_fields=True):
    """None."""


class _Bad:
    delivery = Delivery(timeout=5.0)
    handles: frozenset[type[Event]] = frozenset({MetricsLogged, ArtifactLogged})
    idempotency = Idempotency.APPENDS
    Options = NoOptions

    def __init__(self, options: NoOptions, run: RunInfo) -> None:
        self._run = run

    async def open(self, state: State | None) -> Opened:
        return Opened(state={})

    async def finish(self, outcome: Outcome, time: float) -> None: ...

    async def close(self) -> None: ...


class Down(_Bad):
    """Its server can't be reached."""

    async def export(self, batch: Batch) -> None:
        raise Transient("the server is down")


class Slow(_Bad):
    """Takes a second for each batch."""

    async def export(self, batch: Batch) -> None:
        await anyio.sleep(1.0)


class Crashing(_Bad):
    """Ends its process with each batch."""

    async def export(self, batch: Batch) -> None:
        os._exit(9)


class Hanging(_Bad):
    """Makes a call that never returns."""

    async def export(self, batch: Batch) -> None:
        await self._run.blocking(time.sleep, 3_600)
