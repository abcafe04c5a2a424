"""One batch on its way into MLflow: what is refused is found, named, and holds up nothing else."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from tracelet.backend import Batch, BlockingCalls
from tracelet.errors import Denied, Rejected
from tracelet.events import ArtifactLogged, Lane
from tracelet_mlflow._convert import R, Table, Upload, requests
from tracelet_mlflow._errors import Unreadable
from tracelet_mlflow._transport import Run, Transport

Identity: TypeAlias = tuple[str, Lane, int]
_REASONS_SHOWN = 5


class BatchExport:
    """Collects the refusals of one batch, to raise them together at the end.

    MLflow refuses a whole request for one record, and stores nothing of it: the request is halved until the records
    at fault are alone, so that their neighbours arrive, also those of the same event.
    """

    def __init__(
        self, transport: Transport, run: Run, batch: Batch, blocking: BlockingCalls, uploaded: set[Identity]
    ) -> None:
        self._transport = transport
        self._run = run
        self._batch = batch
        self._blocking = blocking
        self._uploaded = uploaded
        self._refused: dict[int, str] = {}

    async def log(self, table: Table, records: Sequence[R]) -> None:
        """Store metrics, params or tags."""
        for chunk in requests(table, records):
            try:
                await self._transport.log(self._run.run_id, table, chunk)
            except Rejected as error:
                await self._require_run()
                await self._isolate(table, chunk, error)

    async def upload(self, upload: Upload) -> None:
        """Store a text, or the file that an event tells of, if it is there and was not stored by an earlier attempt."""
        identity = (self._batch.writer, self._batch.lane, self._batch.sequences[upload.index])
        try:
            if isinstance(upload.source, bytes):
                await self._transport.upload(self._run, upload.path, upload.source)
            elif identity not in self._uploaded:
                path = await self._inspect(upload.index, upload.source)
                await self._transport.upload(self._run, upload.path, path)
                self._uploaded.add(identity)
        except Unreadable as error:
            self._refused[upload.index] = str(error)
        except Rejected as error:
            await self._require_run()
            self._refused[upload.index] = str(error)

    def finish(self) -> None:
        """Raise what was refused, if anything was."""
        if self._refused:
            reasons = list(dict.fromkeys(self._refused.values()))
            more = f" (and {len(reasons) - _REASONS_SHOWN} more)" if len(reasons) > _REASONS_SHOWN else ""
            raise Rejected("; ".join(reasons[:_REASONS_SHOWN]) + more, self._refused)
        self._uploaded.difference_update((self._batch.writer, self._batch.lane, n) for n in self._batch.sequences)

    async def _isolate(self, table: Table, records: Sequence[R], error: Rejected) -> None:
        if len(records) == 1:
            self._refused[records[0].index] = str(error)
            return
        middle = len(records) // 2
        for half in (records[:middle], records[middle:]):
            try:
                await self._transport.log(self._run.run_id, table, half)
            except Rejected as refusal:
                await self._isolate(table, half, refusal)

    async def _inspect(self, index: int, event: ArtifactLogged) -> Path:
        path = Path(event.path)
        found = await self._blocking(_stat, path)
        if (found.st_size, found.st_mtime_ns) != (event.size, event.mtime_ns) and not event.copied:
            self._batch.degrade(index, "the file was changed after it was logged")
        return path

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


def _stat(path: Path) -> os.stat_result:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise Unreadable(f"{path}: {error.strerror}") from error
    if not stat.S_ISREG(found.st_mode):
        raise Unreadable(f"{path} is not a file")
    if not os.access(path, os.R_OK):
        raise Unreadable(f"{path} can't be read: permission denied")
    return found
