"""Models over MLflow's REST API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tracelet.errors import Rejected
from tracelet_mlflow._http import Http, Nothing, NotMLflow
from tracelet_mlflow._records import Entry
from tracelet_mlflow._registry import LoggedModel, NewModel, NewVersion, Version

_READY = 2


class _Info(msgspec.Struct):
    model_id: str
    name: str
    artifact_uri: str
    creation_timestamp_ms: int = 0
    source_run_id: str = ""
    tags: list[Entry] = []


class _Model(msgspec.Struct):
    info: _Info


class _ModelAnswer(msgspec.Struct):
    model: _Model


class _ModelsAnswer(msgspec.Struct):
    models: list[_Model] = []
    next_page_token: str = ""


class _Output(msgspec.Struct):
    model_id: str


class _Outputs(msgspec.Struct):
    model_outputs: list[_Output] = []


class _Linked(msgspec.Struct):
    outputs: _Outputs = msgspec.field(default_factory=_Outputs)


class _LinkedAnswer(msgspec.Struct):
    run: _Linked


class _FoundVersion(msgspec.Struct):
    name: str
    version: str
    tags: list[Entry] = []


class _VersionAnswer(msgspec.Struct):
    model_version: _FoundVersion


class _VersionsAnswer(msgspec.Struct):
    model_versions: list[_FoundVersion] = []
    next_page_token: str = ""


class RestRegistry:
    """Speaks to a tracking server, which is the registry, too."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def find_models(self, experiment_id: str, run_id: str) -> list[LoggedModel]:
        body = {"experiment_ids": [experiment_id], "filter": f"source_run_id = '{run_id}'", "max_results": 100}
        found: list[LoggedModel] = []
        while True:
            try:
                answer = await self._http.post("logged-models/search", body, _ModelsAnswer)
            except NotMLflow:
                await self._require_logged_models()
                raise
            found += [_logged(model.info) for model in answer.models]
            if not answer.next_page_token:
                return found
            body["page_token"] = answer.next_page_token

    async def _require_logged_models(self) -> None:
        """Raises Rejected for a server of before MLflow 3, which would never take a model."""
        version = await self._http.version()
        if version[:2] in ("1.", "2."):
            raise Rejected(f"MLflow has logged models since version 3: {self._http.url} is {version}")

    async def create_model(self, new: NewModel) -> LoggedModel:
        body = msgspec.to_builtins(new) | {"tags": _entries(new.tags), "params": _entries(new.params)}
        return _logged((await self._http.post("logged-models", body, _ModelAnswer)).model.info)

    async def finish_model(self, model_id: str) -> None:
        body = {"model_id": model_id, "status": _READY}
        await self._http.send("PATCH", f"logged-models/{model_id}", body, Nothing)

    async def find_outputs(self, run_id: str) -> set[str]:
        answer = await self._http.get("runs/get", _LinkedAnswer, run_id=run_id)
        return {output.model_id for output in answer.run.outputs.model_outputs}

    async def add_output(self, run_id: str, model_id: str, step: int) -> None:
        body = {"run_id": run_id, "models": [{"model_id": model_id, "step": step}]}
        await self._http.post("runs/outputs", body, Nothing)

    async def create_registered_model(self, name: str) -> None:
        await self._http.post("registered-models/create", {"name": name}, Nothing)

    async def find_versions(self, run_id: str) -> list[Version]:
        params = {"filter": f"run_id = '{run_id}'", "max_results": "1000"}
        found: list[Version] = []
        while True:
            answer = await self._http.get("model-versions/search", _VersionsAnswer, **params)
            found += [_version(version) for version in answer.model_versions]
            if not answer.next_page_token:
                return found
            params["page_token"] = answer.next_page_token

    async def create_version(self, new: NewVersion) -> Version:
        body: dict[str, Any] = {
            "name": new.name,
            "source": f"models:/{new.model.model_id}",
            "model_id": new.model.model_id,
            "run_id": new.run_id,
            "description": new.description,
            "tags": _entries(new.tags),
        }
        return _version((await self._http.post("model-versions/create", body, _VersionAnswer)).model_version)

    async def set_alias(self, name: str, alias: str, version: str) -> None:
        await self._http.post("registered-models/alias", {"name": name, "alias": alias, "version": version}, Nothing)


def _entries(pairs: Mapping[str, str]) -> list[Entry]:
    return [Entry(key, value) for key, value in pairs.items()]


def _pairs(entries: list[Entry]) -> dict[str, str]:
    return {entry.key: entry.value for entry in entries}


def _logged(info: _Info) -> LoggedModel:
    return LoggedModel(
        info.model_id, info.name, info.artifact_uri, info.creation_timestamp_ms, info.source_run_id, _pairs(info.tags)
    )


def _version(found: _FoundVersion) -> Version:
    return Version(found.name, found.version, _pairs(found.tags))
