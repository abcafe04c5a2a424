"""Models through MLflow's SDK."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import mlflow.entities

from tracelet_mlflow._registry import LoggedModel, NewModel, NewVersion, Version

_VERSIONS_TAG = "mlflow.modelVersions"


class SdkRegistry:
    """Speaks through an MlflowClient; `call` runs a function of it in the blocking thread."""

    def __init__(self, client: Any, call: Callable[..., Awaitable[Any]]) -> None:
        self._client = client
        self._call = call

    async def find_models(self, experiment_id: str, run_id: str) -> list[LoggedModel]:
        found: list[LoggedModel] = []
        token = None
        while True:
            page = await self._call(
                self._client.search_logged_models,
                [experiment_id],
                filter_string=f"source_run_id = '{run_id}'",
                page_token=token,
            )
            found += [_logged(model) for model in page]
            token = page.token
            if not token:
                return found

    async def create_model(self, new: NewModel) -> LoggedModel:
        return _logged(
            await self._call(
                self._client.create_logged_model,
                new.experiment_id,
                name=new.name,
                source_run_id=new.source_run_id,
                tags=new.tags,
                params=new.params,
            )
        )

    async def finish_model(self, model_id: str) -> None:
        await self._call(self._client.finalize_logged_model, model_id, "READY")

    async def find_outputs(self, run_id: str) -> set[str]:
        run = await self._call(self._client.get_run, run_id)
        return {output.model_id for output in run.outputs.model_outputs} if run.outputs else set()

    async def add_output(self, run_id: str, model_id: str, step: int) -> None:
        output = mlflow.entities.LoggedModelOutput(model_id=model_id, step=step)
        await self._call(self._client.log_outputs, run_id, [output])

    async def create_registered_model(self, name: str) -> None:
        await self._call(self._client.create_registered_model, name)

    async def find_versions(self, run_id: str) -> list[Version]:
        found: list[Version] = []
        token = None
        while True:
            page = await self._call(
                self._client.search_model_versions, f"run_id = '{run_id}'", max_results=1_000, page_token=token
            )
            found += [_version(version) for version in page]
            token = page.token
            if not token:
                return found

    async def create_version(self, new: NewVersion) -> Version:
        """With the place of the files as the source: an SQL store would look for `models:/…` in whatever tracking URI
        the process has by default. So the link from the logged model, which a server would set, is set here."""
        version = await self._call(
            self._client.create_model_version,
            new.name,
            new.model.artifact_uri,
            run_id=new.run_id,
            model_id=new.model.model_id,
            tags=new.tags,
            description=new.description,
            await_creation_for=0,
        )
        known = json.loads(new.model.tags.get(_VERSIONS_TAG, "[]"))
        linked = [*known, {"name": version.name, "version": int(version.version)}]
        await self._call(self._client.set_logged_model_tags, new.model.model_id, {_VERSIONS_TAG: json.dumps(linked)})
        return _version(version)

    async def set_alias(self, name: str, alias: str, version: str) -> None:
        await self._call(self._client.set_registered_model_alias, name, alias, version)


def _logged(model: Any) -> LoggedModel:
    return LoggedModel(
        model.model_id,
        model.name,
        model.artifact_location,
        model.creation_timestamp,
        model.source_run_id or "",
        dict(model.tags),
    )


def _version(found: Any) -> Version:
    return Version(found.name, str(found.version), dict(found.tags))
