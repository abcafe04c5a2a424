"""What the backend asks of MLflow about models: logged models, and the registry of models."""

from __future__ import annotations

from typing import Protocol

import msgspec


class LoggedModel(msgspec.Struct, frozen=True):
    """A model that a run made, as MLflow 3 has it."""

    model_id: str
    name: str
    artifact_uri: str
    creation_timestamp_ms: int = 0
    source_run_id: str = ""
    tags: dict[str, str] = {}


class NewModel(msgspec.Struct, frozen=True):
    """A logged model to be created; at most 100 params."""

    experiment_id: str
    name: str
    source_run_id: str
    tags: dict[str, str]
    params: dict[str, str]


class NewVersion(msgspec.Struct, frozen=True):
    """A version to be made of a logged model."""

    name: str
    model: LoggedModel
    run_id: str
    description: str
    tags: dict[str, str]


class Version(msgspec.Struct, frozen=True):
    """A version of a registered model."""

    name: str
    version: str
    tags: dict[str, str] = {}


class Registry(Protocol):
    """Every method raises what `Backend.export` may raise."""

    async def find_models(self, experiment_id: str, run_id: str) -> list[LoggedModel]:
        """All that a run made."""

    async def create_model(self, new: NewModel) -> LoggedModel:
        """A pending one."""

    async def finish_model(self, model_id: str) -> None:
        """All its files are there."""

    async def find_outputs(self, run_id: str) -> set[str]:
        """The ids of the models that are linked to a run."""

    async def add_output(self, run_id: str, model_id: str, step: int) -> None:
        """Link a model to the run that made it."""

    async def create_registered_model(self, name: str) -> None:
        """Raises AlreadyExists if there is one."""

    async def find_versions(self, run_id: str) -> list[Version]:
        """All that were made of a run's models."""

    async def create_version(self, new: NewVersion) -> Version: ...

    async def set_alias(self, name: str, alias: str, version: str) -> None:
        """From now on the alias means this version."""
