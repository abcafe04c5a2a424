"""What each of the two lanes does with a batch: the stream's records and texts, the bulk's files and models."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from tracelet.backend import Batch, BlockingCalls
from tracelet.events import (
    ArtifactLogged,
    ConsoleLine,
    DatasetUsed,
    FileLogged,
    MediaLogged,
    ModelLogged,
    ModelRegistered,
)
from tracelet_mlflow._console import Console
from tracelet_mlflow._datasets import dataset_input
from tracelet_mlflow._errors import Unreadable
from tracelet_mlflow._export import BatchExport, Identity
from tracelet_mlflow._media import shown
from tracelet_mlflow._metrics import ALTERED, nearest_step, points, timestamp
from tracelet_mlflow._models import Models, model_files
from tracelet_mlflow._names import artifact_path
from tracelet_mlflow._records import Entry, Records
from tracelet_mlflow._tables import Tables
from tracelet_mlflow._transport import Run, Transport
from tracelet_mlflow._words import named, words

IMAGES_TAG = "mlflow.loggedImages"


class StreamLane:
    """Metrics, params, tags, texts, datasets, console lines."""

    def __init__(self, transport: Transport, run: Run) -> None:
        self._transport = transport
        self._run = run
        self._console = Console()
        self._roles: dict[tuple[str, str], list[Entry]] = {}

    async def export(self, batch: Batch) -> None:
        """Store a batch; raises Rejected for what can't be."""
        said = words(batch)
        export = BatchExport(self._transport, self._run, batch, {})
        await export.log("metrics", points(batch))
        await export.log("params", said.params)
        await export.log(
            "tags", Records([tag for _, tag in said.tags.values()], [index for index, _ in said.tags.values()])
        )
        for text in said.texts.values():
            async with export.refusals(text.index):
                await self._transport.upload(self._run, text.path, text.content)
        for index, event in enumerate(batch.events):
            if type(event) is DatasetUsed:
                async with export.refusals(index):
                    await self._log_dataset(batch, index, event)
        async with export.refusals(*(index for index, event in enumerate(batch.events) if type(event) is ConsoleLine)):
            await self._console.store(self._transport, self._run, batch)
        export.finish()

    async def _log_dataset(self, batch: Batch, index: int, event: DatasetUsed) -> None:
        used = dataset_input(batch, index, event)
        await self._transport.log_input(self._run.run_id, used)
        if self._roles.setdefault((used.dataset.name, used.dataset.digest), used.tags) != used.tags:
            batch.degrade(index, "a dataset in a second role: MLflow keeps the first")


class BulkLane:
    """Artifacts, media and models, one after the other."""

    def __init__(self, transport: Transport, run: Run, blocking: BlockingCalls) -> None:
        self._transport = transport
        self._run = run
        self._blocking = blocking
        self._tables = Tables()
        self._charted = False
        self._stored: dict[Identity, str | None] = {}

    async def export(self, batch: Batch) -> None:
        """Store a batch; raises Rejected for what can't be."""
        export = BatchExport(self._transport, self._run, batch, self._stored)
        for index in range(len(batch)):
            if not export.is_stored(index):
                async with export.refusals(index):
                    await self._store(batch, index)
                    export.note_stored(index)
        export.finish()

    async def _store(self, batch: Batch, index: int) -> None:
        event = batch.events[index]
        if isinstance(event, FileLogged):
            await self._inspect(batch, index, event)
        match event:
            case ArtifactLogged():
                path = named(batch, index, artifact_path(event.name))
                await self._transport.upload(self._run, path, Path(event.path))
            case ModelLogged():
                files = await self._blocking(model_files, event)
                await Models(self._transport, self._run, batch).log(index, event, files)
            case ModelRegistered():
                await Models(self._transport, self._run, batch).register(index, event)
            case MediaLogged():
                await self._show(batch, index, event)

    async def _show(self, batch: Batch, index: int, event: MediaLogged) -> None:
        step = nearest_step(batch, index, event.step)
        identity = f"{self._run.run_id}/{batch.writer}/{batch.lane.value}/{batch.sequences[index]}"
        try:
            found = await self._blocking(shown, event, step, timestamp(batch, index, event), identity)
        except OSError as error:  # of the file, not of a connection
            raise Unreadable(f"{event.path}: {error}") from error
        if found.altered:
            batch.degrade(index, ALTERED)
        for loss in found.losses:
            batch.degrade(index, loss)
        for file in found.files:
            await self._transport.upload(self._run, file.path, file.content)
        if found.charted and not self._charted:
            await self._transport.log(self._run.run_id, "tags", [Entry(IMAGES_TAG, "True")])
            self._charted = True
        if found.table is not None and not await self._tables.add(self._transport, self._run, found.table):
            batch.degrade(index, "MLflow's list of a run's tables is full: the oldest is a file only")

    async def _inspect(self, batch: Batch, index: int, event: FileLogged) -> None:
        found = await self._blocking(_stat, Path(event.path), isinstance(event, ModelLogged))
        size = event.size if stat.S_ISDIR(found.st_mode) else found.st_size
        if (size, found.st_mtime_ns) != (event.size, event.mtime_ns) and not event.copied:
            batch.degrade(index, "the file was changed after it was logged")


def _stat(path: Path, folders: bool) -> os.stat_result:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise Unreadable(f"{path}: {error.strerror}") from error
    if not stat.S_ISREG(found.st_mode) and not (folders and stat.S_ISDIR(found.st_mode)):
        raise Unreadable(f"{path} is not a file")
    if not os.access(path, os.R_OK):
        raise Unreadable(f"{path} can't be read: permission denied")
    return found
