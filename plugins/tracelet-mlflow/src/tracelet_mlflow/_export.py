"""One batch on its way into MLflow: what is refused is found, named, and holds up nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TypeAlias

from tracelet.backend import Batch
from tracelet.errors import Denied, Rejected
from tracelet.events import HParamsLogged, Lane
from tracelet_mlflow._errors import Unreadable
from tracelet_mlflow._records import R, Records, Table, requests
from tracelet_mlflow._transport import Run, Transport

Identity: TypeAlias = tuple[str, Lane, int]
_REASONS_SHOWN = 5


class BatchExport:
    """Collects the refusals of one batch, to raise them together at the end.

    MLflow refuses a whole request for one record, and stores nothing of it: the request is halved until the records
    at fault are alone, so that their neighbours arrive, also those of the same event.

    Args:
        stored: what an earlier attempt has stored already, and how it was degraded; kept up to date.
    """

    def __init__(self, transport: Transport, run: Run, batch: Batch, stored: dict[Identity, str | None]) -> None:
        self._transport = transport
        self._run = run
        self._batch = batch
        self._stored = stored
        self._refused: dict[int, str] = {}

    async def log(self, table: Table, records: Records[R]) -> None:
        """Store metrics, params or tags."""
        for part in requests(table, records):
            try:
                await self._transport.log(self._run.run_id, table, part.items)
            except Rejected as error:
                await self._require_run()
                await self._isolate(table, part, error)

    @asynccontextmanager
    async def refusals(self, *indexes: int) -> AsyncIterator[None]:
        """What is refused inside is refused of these events; delivery of the others goes on."""
        try:
            yield
        except Unreadable as error:
            self._refuse(indexes, error)
        except Rejected as error:
            await self._require_run()
            self._refuse(indexes, error)

    def is_stored(self, index: int) -> bool:
        """Whether an earlier attempt has stored the event."""
        identity = self._identity(index)
        reason = self._stored.get(identity)
        if reason is not None:
            self._batch.degrade(index, reason)
        return identity in self._stored

    def note_stored(self, index: int) -> None:
        """The event need not be sent again if the batch is."""
        self._stored[self._identity(index)] = self._batch.degraded.get(self._batch.sequences[index])

    def finish(self) -> None:
        """Raise what was refused, if anything was."""
        if self._refused:
            reasons = list(dict.fromkeys(self._refused.values()))
            more = f" (and {len(reasons) - _REASONS_SHOWN} more)" if len(reasons) > _REASONS_SHOWN else ""
            raise Rejected("; ".join(reasons[:_REASONS_SHOWN]) + more, self._refused)
        for index in range(len(self._batch)):
            self._stored.pop(self._identity(index), None)

    async def _isolate(self, table: Table, records: Records[R], error: Rejected) -> None:
        if len(records) == 1:
            trials = [index for index in records.owners if isinstance(self._batch.events[index], HParamsLogged)]
            for index in trials:  # whose text has all of them
                self._batch.degrade(index, "a parameter of a trial was refused, as if it has another value already")
            self._refuse([index for index in records.owners if index not in trials], error)
            return
        middle = len(records) // 2
        for half in (records.part(0, middle), records.part(middle, len(records))):
            try:
                await self._transport.log(self._run.run_id, table, half.items)
            except Rejected as refusal:
                await self._isolate(table, half, refusal)

    def _refuse(self, indexes: Iterable[int], error: Rejected) -> None:
        for index in indexes:
            self._refused[index] = str(error)

    def _identity(self, index: int) -> Identity:
        return self._batch.writer, self._batch.lane, self._batch.sequences[index]

    async def _require_run(self) -> None:
        """Raises Denied when it is the run that is gone, and nothing in the batch is at fault."""
        run = await self._transport.get_run(self._run.run_id)
        if run is None:
            raise Denied(f"MLflow has no run {self._run.run_id} any more: `tracelet sync` makes a new one")
        require_active(run)


def require_active(run: Run) -> None:
    """Raises Denied for a run in MLflow's bin."""
    if run.lifecycle_stage != "active":
        raise Denied(f"the MLflow run {run.run_id} was deleted: restore it (mlflow runs restore --run-id {run.run_id})")
