"""Models: a `ModelLogged` is a logged model of MLflow 3, a `ModelRegistered` a version of a registered model.

Both carry a tag `tracelet.event` with the event's identity, by which they are found when the event comes again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from tracelet.backend import Batch
from tracelet.errors import Rejected
from tracelet.events import ModelLogged, ModelRegistered
from tracelet_mlflow._errors import AlreadyExists, Unreadable
from tracelet_mlflow._metrics import nearest_step
from tracelet_mlflow._names import alias, artifact_path, key, model_name, registered_name
from tracelet_mlflow._registry import LoggedModel, NewModel, NewVersion, Version
from tracelet_mlflow._transport import Run, Transport
from tracelet_mlflow._words import as_text, fitted, named

EVENT_TAG = "tracelet.event"
NAME_TAG = "tracelet.name"
FRAMEWORK_TAG = "tracelet.framework"
DESCRIPTOR = "MLmodel"

_MAX_PARAMS, _MAX_PARAM, _MAX_TAG = 100, 5_000, 8_000


class Models:
    """The models of one run, as a batch tells of them."""

    def __init__(self, transport: Transport, run: Run, batch: Batch) -> None:
        self._transport = transport
        self._registry = transport.registry
        self._run = run
        self._batch = batch

    async def log(self, index: int, event: ModelLogged, files: list[tuple[str, Path]]) -> None:
        """Create the model, or go on with it if an earlier attempt did; store its files; link it to its run."""
        identity = self._identity(index)
        found = await self._registry.find_models(self._run.experiment_id, self._run.run_id)
        model = next((model for model in found if model.tags.get(EVENT_TAG) == identity), None)
        if model is None:
            model = await self._registry.create_model(self._new_model(index, event, identity))
        for path, file in files:
            await self._transport.upload(model, path, file)
        if not any(path == DESCRIPTOR for path, _ in files):
            await self._transport.upload(model, DESCRIPTOR, _descriptor(model, self._run, event))
        await self._registry.finish_model(model.model_id)
        if model.model_id not in await self._registry.find_outputs(self._run.run_id):
            step = nearest_step(self._batch, index, event.step or 0)
            await self._registry.add_output(self._run.run_id, model.model_id, step)

    async def register(self, index: int, event: ModelRegistered) -> None:
        """Create the registered model and its version, if they are not there, and have the aliases mean it."""
        name = named(self._batch, index, registered_name(event.name))
        with suppress(AlreadyExists):
            await self._registry.create_registered_model(name)
        version = await self._find_version(index, name) or await self._create_version(index, name, event)
        for given in event.aliases:
            await self._registry.set_alias(name, named(self._batch, index, alias(given)), version.version)

    async def _find_version(self, index: int, name: str) -> Version | None:
        identity = self._identity(index)
        versions = await self._registry.find_versions(self._run.run_id)
        return next((one for one in versions if one.name == name and one.tags.get(EVENT_TAG) == identity), None)

    async def _create_version(self, index: int, name: str, event: ModelRegistered) -> Version:
        model = await self._find_model(index, event.model)
        description = fitted(self._batch, index, event.description, _MAX_PARAM)
        tags = {EVENT_TAG: self._identity(index)}
        return await self._registry.create_version(NewVersion(name, model, self._run.run_id, description, tags))

    async def _find_model(self, index: int, name: str) -> LoggedModel:
        """The model that was the latest of its name when the event was said."""
        found = await self._registry.find_models(self._run.experiment_id, self._run.run_id)
        own = [model for model in found if model.tags.get(NAME_TAG) == name]
        if not own:
            raise Rejected(f"this run has logged no model {name!r} to MLflow: it can't be registered")
        number = self._batch.sequences[index]
        before = [model for model in own if -1 < self._number(model) < number]
        if before:
            return max(before, key=self._number)
        return max(own, key=lambda model: model.creation_timestamp_ms)

    def _number(self, model: LoggedModel) -> int:
        """The number of the model's event among those of this batch's writer and lane; -1 of another's."""
        place, _, number = model.tags.get(EVENT_TAG, "").rpartition("/")
        return int(number) if place == f"{self._batch.writer}/{self._batch.lane.value}" else -1

    def _identity(self, index: int) -> str:
        return f"{self._batch.writer}/{self._batch.lane.value}/{self._batch.sequences[index]}"

    def _new_model(self, index: int, event: ModelLogged, identity: str) -> NewModel:
        tags = {EVENT_TAG: identity, NAME_TAG: fitted(self._batch, index, event.name, _MAX_TAG)}
        if event.framework:
            tags[FRAMEWORK_TAG] = fitted(self._batch, index, event.framework, _MAX_TAG)
        if len(event.metadata) > _MAX_PARAMS:
            self._batch.degrade(index, f"a model's metadata beyond {_MAX_PARAMS} entries is in its MLmodel file only")
        params = {
            named(self._batch, index, key(name)): fitted(
                self._batch, index, as_text(self._batch, index, value), _MAX_PARAM
            )
            for name, value in list(event.metadata.items())[:_MAX_PARAMS]
        }
        return NewModel(self._run.experiment_id, model_name(event.name).text, self._run.run_id, tags, params)


def model_files(event: ModelLogged) -> list[tuple[str, Path]]:
    """The model's files and their paths in it; blocking. Raises Unreadable."""
    source = Path(event.path)
    if not source.is_dir():
        last = artifact_path(event.name).text.rpartition("/")[2]
        return [(last if PurePosixPath(last).suffix else last + source.suffix, source)]
    files = list(_walk(source))
    if not files:
        raise Unreadable(f"{source} has no files")
    return files


def _walk(folder: Path) -> Iterator[tuple[str, Path]]:
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            yield artifact_path(file.relative_to(folder).as_posix()).text, file


def _descriptor(model: LoggedModel, run: Run, event: ModelLogged) -> bytes:
    """An MLmodel file (YAML, of which JSON is a part) without flavors: MLflow can show and register it, not load it."""
    metadata: dict[str, Any] = {"name": event.name, "framework": event.framework, **event.metadata}
    content = {
        "artifact_path": model.artifact_uri,
        "flavors": {},
        "metadata": {name: _plain(value) for name, value in metadata.items()},
        "model_id": model.model_id,
        "model_uuid": model.model_id,
        "run_id": run.run_id,
        "utc_time_created": _utc(event.time),
    }
    return json.dumps(content, indent=2, default=str).encode()


def _plain(value: Any) -> Any:
    """As JSON has it: text for integers that are too long, and for what is no number."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    if isinstance(value, int) and value.bit_length() > 64:
        return hex(value)
    return value


def _utc(time: float) -> str:
    try:
        return datetime.fromtimestamp(time, UTC).replace(tzinfo=None).isoformat(sep=" ")
    except (ValueError, OverflowError, OSError):  # a time without a year of four digits
        return datetime.fromtimestamp(0, UTC).replace(tzinfo=None).isoformat(sep=" ")
