"""A task's models on a server."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from tracelet.errors import Rejected
from tracelet_clearml._api import Api, Nothing
from tracelet_clearml._records import NewModel, Registration

REGISTERED = "tracelet:registered"
"""The system tag of models that were registered under a name."""

PACKAGE = "package"
"""The SDK's system tag of models whose file is an archive."""


class _Model(msgspec.Struct):
    id: str
    name: str = ""
    tags: list[str] = []
    system_tags: list[str] = []


class _Models(msgspec.Struct):
    models: list[_Model] = []


class _Created(msgspec.Struct):
    id: str


class _Entry(msgspec.Struct):
    name: str
    model: str


class _Entries(msgspec.Struct):
    output: list[_Entry] = []


class _Task(msgspec.Struct):
    models: _Entries = msgspec.field(default_factory=_Entries)


class _TaskAnswer(msgspec.Struct):
    task: _Task


class ServerModels:
    """The models of the task whose id `task` is."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.task = ""
        self.project = ""

    async def add(self, model: NewModel) -> None:
        """Store a model, or the same one again: it is found by its identity."""
        tags = [model.identity, *([PACKAGE] if model.package else [])]
        fields: dict[str, Any] = {
            "uri": model.uri,
            "framework": model.framework,
            "task": self.task,
            "project": self.project,
            "metadata": model.metadata,
        }
        fields = {name: value for name, value in fields.items() if value}
        known = await self._get(system_tags=[model.identity])
        if known:
            identity = known[0].id
            await self._api.call("models.edit", Nothing, model=identity, **fields)
        else:
            created = await self._api.call(
                "models.create", _Created, name=model.name, system_tags=tags, ready=False, **fields
            )
            identity = created.id
        entry: dict[str, Any] = {"task": self.task, "name": model.entry, "model": identity, "type": "output"}
        if model.iteration is not None:
            entry["iteration"] = model.iteration
        await self._api.call("tasks.add_or_update_model", Nothing, **entry)

    async def register(self, registration: Registration) -> None:
        """Give the model the registered name, and its aliases as tags, which its other versions lose."""
        answer = await self._api.call("tasks.get_by_id", _TaskAnswer, task=self.task)
        ids = [entry.model for entry in answer.task.models.output if entry.name == registration.entry]
        if not ids:
            raise Rejected(f"the task has no model {registration.entry!r} to register as {registration.name!r}")
        (model,) = await self._get(id=ids[:1])
        await self._take_from_others(model.id, registration)
        fields: dict[str, Any] = {
            "name": registration.name,
            "tags": sorted({*model.tags, *registration.tags}),
            "system_tags": sorted({*model.system_tags, REGISTERED}),
        }
        if registration.comment:
            fields["comment"] = registration.comment
        await self._api.call("models.edit", Nothing, model=model.id, **fields)

    async def _take_from_others(self, model: str, registration: Registration) -> None:
        aliases = set(registration.tags)
        if not aliases:
            return
        others = await self._get(name=f"^{re.escape(registration.name)}$", system_tags=[REGISTERED])
        for other in others:
            if other.id != model and other.name == registration.name and aliases & set(other.tags):
                left = [tag for tag in other.tags if tag not in aliases]
                await self._api.call("models.edit", Nothing, model=other.id, tags=left)

    async def _get(self, **query: Any) -> list[_Model]:
        fields = ["id", "name", "tags", "system_tags"]
        return (await self._api.call("models.get_all", _Models, only_fields=fields, **query)).models
