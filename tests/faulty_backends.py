"""Backends that misbehave, for delivery processes: `faulty_backends:Crashing` and so on."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated, Any

import anyio
import msgspec

from tracelet import Batch, Delivery, Idempotency, Opened, Outcome, RunInfo, Secret, State
from tracelet.errors import Denied, Transient
from tracelet.events import Event, MetricsLogged


class Options(msgspec.Struct, forbid_unknown_fields=True):
    """`mark` is a file whose existence heals the backend."""

    mark: str = ""
    token: Annotated[str, Secret] = ""


class Base:
    delivery = Delivery(linger=0.02, timeout=0.5)
    handles: frozenset[type[Event]] = frozenset({MetricsLogged})
    idempotency = Idempotency.APPENDS
    Options = Options

    def __init__(self, options: Any, run: RunInfo) -> None:
        self.options, self.run = options, run

    @property
    def healed(self) -> bool:
        return bool(self.options.mark) and Path(self.options.mark).exists()

    async def open(self, state: State | None) -> Opened:
        return Opened({})

    async def export(self, batch: Batch) -> None: ...

    async def finish(self, outcome: Outcome, time: float) -> None: ...

    async def close(self) -> None: ...


class Raising(Base):
    async def export(self, batch: Batch) -> None:
        raise ValueError("always")


class Unopenable(Base):
    async def open(self, state: State | None) -> Opened:
        raise ValueError("never opens")


class Locked(Base):
    async def open(self, state: State | None) -> Opened:
        raise Denied("its key is gone")


class Unfinishable(Base):
    async def finish(self, outcome: Outcome, time: float) -> None:
        raise ValueError("never finishes")


class Unclosable(Base):
    async def close(self) -> None:
        raise ValueError("never closes")


class Exiting(Base):
    async def export(self, batch: Batch) -> None:
        if not self.healed:
            os._exit(9)


class LoopBlocking(Base):
    async def export(self, batch: Batch) -> None:
        time.sleep(3_600)


class CallHanging(Base):
    async def export(self, batch: Batch) -> None:
        if not self.healed:
            await self.run.blocking(time.sleep, 3_600)


class NeverReturning(Base):
    async def export(self, batch: Batch) -> None:
        await anyio.sleep_forever()


class Down(Base):
    async def export(self, batch: Batch) -> None:
        if not self.healed:
            raise Transient("the server is down")


class Slow(Base):
    delivery = Delivery(linger=0.02, timeout=30.0, batch_size=100)

    async def export(self, batch: Batch) -> None:
        await anyio.sleep(1.0)


class Leaky(Base):
    async def open(self, state: State | None) -> Opened:
        raise ValueError(f"can't reach http://user:{self.options.token}@localhost")


class Threaded(Base):
    delivery = Delivery(linger=30.0)

    async def export(self, batch: Batch) -> None:
        await self.run.blocking(len, batch.events)
