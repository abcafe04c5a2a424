"""A backend that takes everything and does nothing, so that what is measured is Tracelet alone."""

from __future__ import annotations

import msgspec

from tracelet import Batch, Delivery, Idempotency, Opened, Outcome, RunInfo, State
from tracelet.events import ArtifactLogged, MetricsLogged


class NullOptions(msgspec.Struct, forbid_unknown_fields=True):
    """None."""


class Null:
    """Takes metrics and artifacts, and forgets them."""

    delivery = Delivery()
    handles = frozenset({MetricsLogged, ArtifactLogged})
    idempotency = Idempotency.KEYED
    Options = NullOptions

    def __init__(self, options: NullOptions, run: RunInfo) -> None:
        pass

    async def open(self, state: State | None) -> Opened:
        return Opened(state={})

    async def export(self, batch: Batch) -> None:
        pass

    async def finish(self, outcome: Outcome, time: float) -> None: ...

    async def close(self) -> None:
        pass
