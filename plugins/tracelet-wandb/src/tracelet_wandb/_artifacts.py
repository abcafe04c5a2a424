"""Files, models and datasets as W&B's artifacts. Everything here blocks."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import wandb
from wandb.proto import wandb_internal_pb2 as pb
from wandb.sdk.artifacts.artifact_manifest_entry import ArtifactManifestEntry

from tracelet.backend import Batch
from tracelet.errors import Denied, Rejected, TraceletError, Transient
from tracelet.events import DatasetUsed, FileLogged, ModelLogged, ModelRegistered, TensorLogged
from tracelet_wandb._errors import core_errors, is_denial
from tracelet_wandb._memory import Model
from tracelet_wandb._names import artifact_name, artifact_path, collection_name, key
from tracelet_wandb._options import Options
from tracelet_wandb._rows import named
from tracelet_wandb._writer import RunWriter

_COMMIT = 200.0  # seconds for the server to have a batch's artifacts, beyond what their size takes
_LINK = 30.0
_SLOWEST = 1 << 18  # bytes per second
_PASSING = re.compile(r"\b(408|425|429|5\d\d)\b|timeout|timed out|deadline|connection|refused|reset|EOF|giving up")


class Artifacts:
    """Logs artifacts, each once: one that has arrived is not sent again while others of its batch are."""

    def __init__(self, writer: RunWriter, options: Options) -> None:
        self._writer = writer
        self._options = options
        self._logged: set[tuple[str, int]] = set()
        self._until = 0.0

    def begin(self) -> None:
        """A batch begins: its artifacts together may take so long."""
        self._until = time.monotonic() + _COMMIT

    def log_file(self, batch: Batch, index: int, event: FileLogged, kind: str) -> None:
        """Keep a file as an artifact of its own, under its name and suffix."""
        self._keep(batch, index, event, kind, event.name, {"name": event.name})

    def log_tensor(self, batch: Batch, index: int, event: TensorLogged) -> None:
        """Keep a tensor as an artifact; what W&B takes for the same version is the same array at the same step."""
        name = named(batch, index, key(event.name, event.context))
        self._keep(batch, index, event, "tensor", f"{name}/step_{event.step}.npy", {"name": name, "step": event.step})

    def _keep(
        self, batch: Batch, index: int, event: FileLogged, kind: str, path_in: str, about: dict[str, Any]
    ) -> None:
        identity = (batch.writer, batch.sequences[index])
        path = Path(event.path)
        found = path.stat()
        if not event.copied and (found.st_size, found.st_mtime_ns) != (event.size, event.mtime_ns):
            batch.degrade(index, "the file was changed after it was logged")
        if identity in self._logged:
            return
        name = artifact_name(event.name, f"run-{self._writer.run_id}-")
        artifact = wandb.Artifact(name, kind, metadata=about)
        entry = named(batch, index, artifact_path(path_in))
        artifact.add_file(str(self._kept(path, identity)), name=entry, policy="immutable", skip_cache=True)
        self._log(artifact, event.size)
        self._logged.add(identity)

    def log_model(self, batch: Batch, index: int, event: ModelLogged) -> None:
        """Keep a model's files as an artifact of the type model; its versions have the model's name."""
        identity = (batch.writer, batch.sequences[index])
        if identity not in self._logged:
            folder = self._kept(Path(event.path), identity)
            model = Model(artifact_name(event.name), str(folder), event.step, event.framework, event.metadata)
            model = msgspec.structs.replace(model, id=self._log(_model(event.name, model, {}), event.size))
            self._writer.memory.models = self._writer.memory.models | {event.name: model}
            self._logged.add(identity)

    def register(self, batch: Batch, index: int, event: ModelRegistered) -> None:
        """Link a model's artifact to the registry; offline, and where there is no registry, give it the aliases."""
        model = self._writer.memory.models.get(event.model)
        if model is None:
            raise Rejected(f"no model {event.model!r} was logged before it was registered as {event.name!r}")
        problem = "registering needs a server"
        if not self._options.offline:
            problem = self._link(model, collection_name(event.name), event.aliases)
            if is_denial(problem) or _may_pass(problem):
                raise _failure(problem)
        if problem:
            batch.degrade(index, f"not in W&B's registry, but the aliases are on the model's artifact: {problem}")
            about = {"registered_as": event.name, "registered_description": event.description}
            self._log(_model(event.model, model, about, event.description), 0, [*event.aliases])

    def use_dataset(self, event: DatasetUsed) -> None:
        """Declare a dataset as the run's input: an artifact that refers to where it lies."""
        about = {"source": event.source, "digest": event.digest, "role": event.role, "schema": event.schema}
        metadata = {"name": event.name, **about, "profile": event.profile}
        artifact = wandb.Artifact(artifact_name(event.name), "dataset", metadata=_jsonable(metadata))
        if event.source:
            uri = event.source if urlsplit(event.source).scheme else Path(event.source).as_uri()
            # As `add_reference(uri, checksum=False)`, which asks object stores all the same.
            artifact.manifest.add_entry(ArtifactManifestEntry(path="source", ref=uri, digest=uri))
        with artifact.new_file("dataset.json") as file:
            file.write(msgspec.json.encode(_jsonable(metadata)).decode())
        with core_errors():  # what Run.use_artifact does with an artifact that is new; that refuses to, offline
            self._writer.session.run._log_artifact(artifact, is_user_created=True, use_after_commit=True)
        self.begin()
        self._await(artifact, 0)

    def _log(self, artifact: Any, size: int, aliases: list[str] | None = None) -> str:
        with core_errors():
            self._writer.session.run.log_artifact(artifact, aliases=["latest", *aliases] if aliases else None)
        return self._await(artifact, size)

    def _await(self, artifact: Any, size: int) -> str:
        """Wait until the server has committed it, and return its id; offline, until wandb-core has stored it."""
        if self._options.offline:
            self._writer.session.send([])
            return ""
        with core_errors():
            patience = max(1.0, self._until - time.monotonic())
            answer = artifact._save_handle.wait_or(timeout=patience + size / _SLOWEST)
        if problem := answer.response.log_artifact_response.error_message:
            raise _failure(problem)
        return str(answer.response.log_artifact_response.artifact_id)

    def _link(self, model: Model, collection: str, aliases: Sequence[str]) -> str:
        """Link a model to the registry; returns what the server has against it."""
        run = self._writer.session.run
        project = f"wandb-registry-{self._options.registry}"
        request = pb.LinkArtifactRequest(server_id=model.id, portfolio_name=collection, portfolio_entity=run.entity)
        request.portfolio_project = project
        request.portfolio_aliases.extend(aliases)
        with core_errors():
            answer = run._interface._deliver_link_artifact(request).wait_or(timeout=_LINK)
        return str(answer.response.link_artifact_response.error_message)

    def _kept(self, path: Path, identity: tuple[str, int]) -> Path:
        """The file or folder; offline a copy beside W&B's log, which has what `wandb sync` needs."""
        if not self._options.offline:
            return path
        kept = self._writer.session.directory / "artifacts" / "-".join(map(str, identity)) / path.name
        for file in [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]:
            target = kept / file.relative_to(path) if path.is_dir() else kept
            target.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                try:
                    os.link(file, target)
                except FileExistsError:
                    raise
                except OSError:
                    shutil.copyfile(file, target)
        return kept


def _model(name: str, model: Model, about: dict[str, Any], description: str = "") -> Any:
    metadata = {"name": name, "step": model.step, "framework": model.framework, **model.metadata, **about}
    artifact = wandb.Artifact(model.artifact, "model", description or None, _jsonable(metadata))
    path = Path(model.path)
    if path.is_dir():
        artifact.add_dir(str(path), policy="immutable", skip_cache=True)
    else:
        artifact.add_file(str(path), policy="immutable", skip_cache=True)
    return artifact


def _jsonable(metadata: dict[str, Any]) -> dict[str, Any]:
    """Metadata as W&B takes it: JSON, in which NaN and the infinities are text."""
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(metadata, enc_hook=str))
    for name, value in metadata.items():
        if isinstance(value, float) and value - value != 0:
            found[name] = str(value)
    return found


def _failure(problem: str) -> TraceletError:
    reason = f"W&B did not take the artifact: {problem}"
    if is_denial(problem):
        return Denied(reason)
    return Transient(reason) if _may_pass(problem) else Rejected(reason)


def _may_pass(problem: str) -> bool:
    return _PASSING.search(problem) is not None
