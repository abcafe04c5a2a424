"""The stub's projects, tasks and models."""

from __future__ import annotations

import copy
import re
import uuid
from datetime import UTC, datetime
from typing import Any

Fields = dict[str, Any]

CHANGES = {
    "created": {"queued", "in_progress"},
    "in_progress": {"stopped", "failed", "created", "completed"},
    "stopped": {"closed", "created", "failed", "queued", "in_progress", "published", "publishing", "completed"},
    "failed": {"created", "stopped", "published", "queued"},
    "completed": {"published", "in_progress", "created"},
    "published": set(),
}
"""The real server's state machine: without `force`, a task's status changes to one of these."""

_TASK_FIELDS = (
    "name", "tags", "system_tags", "type", "comment", "parent", "project", "models", "container", "execution",
    "hyperparams", "configuration", "script", "runtime", "status",
)  # fmt: skip
_MODEL_FIELDS = (
    "name", "uri", "labels", "tags", "system_tags", "comment", "project", "parent", "framework", "design", "ready",
    "task", "metadata",
)  # fmt: skip


class Refusal(Exception):
    """An answer that is not a success."""

    def __init__(self, status: int, subcode: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.subcode = subcode


class Store:
    """A method for each endpoint, its name with "_" for "."."""

    def __init__(self) -> None:
        self.projects: dict[str, Fields] = {}
        self.tasks: dict[str, Fields] = {}
        self.models: dict[str, Fields] = {}

    # Projects.

    def projects_create(self, body: Fields) -> Fields:
        name = _required(body, "name").strip()
        for part in range(name.count("/") + 1):
            path = "/".join(name.split("/")[: part + 1])
            _require_length(path, "name")
            _require_length(path.rpartition("/")[2], "basename")
            known = any(project["name"] == path for project in self.projects.values())
            if known and path == name:
                raise Refusal(400, 801, f"value combination already exists: name={name}")
            if not known:
                identity = uuid.uuid4().hex
                self.projects[identity] = {"id": identity, "name": path, "created": _now(), "system_tags": []}
        return {"id": identity}

    def projects_get_all(self, body: Fields) -> Fields:
        return {"projects": _query(self.projects.values(), body)}

    def projects_get_by_id(self, body: Fields) -> Fields:
        return {"project": self.projects[body["project"]]}

    # Tasks.

    def tasks_create(self, body: Fields) -> Fields:
        _require_length(_required(body, "name").strip(), "name")
        _required(body, "type")
        if body.get("project") and body["project"] not in self.projects:
            raise Refusal(400, 12, f"expecting Project id: {body['project']}")
        if body.get("parent") and body["parent"] not in self.tasks:
            raise Refusal(400, 12, f"expecting Task id: {body['parent']}")
        identity = uuid.uuid4().hex
        task: Fields = {"id": identity, "status": "created", "created": _now(), "last_iteration": 0, "comment": ""}
        task |= {"tags": [], "system_tags": [], "hyperparams": {}, "execution": {}, "runtime": {}, "configuration": {}}
        task |= {"models": {"input": [], "output": []}, "output": {}, "script": {}, "user": "someone", "company": "c"}
        self.tasks[identity] = task | {key: body[key] for key in _TASK_FIELDS if body.get(key) is not None}
        return {"id": identity}

    def tasks_get_all(self, body: Fields) -> Fields:
        return {"tasks": _query(self.tasks.values(), body)}

    def tasks_get_all_ex(self, body: Fields) -> Fields:
        joined = [task | {"project": self.projects.get(task.get("project", ""))} for task in self.tasks.values()]
        return {"tasks": _query(joined, body)}

    def tasks_get_by_id(self, body: Fields) -> Fields:
        return {"task": copy.deepcopy(self.task(body))}

    def tasks_edit(self, body: Fields) -> Fields:
        task = self.task(body)
        if not body.get("force") and task["status"] != "created":
            raise Refusal(400, 110, f"invalid task status: expected=created, status={task['status']}")
        task |= {key: body[key] for key in _TASK_FIELDS if body.get(key) is not None}
        return {"updated": 1, "fields": {}}

    def tasks_update_tags(self, body: Fields) -> Fields:
        if not body.get("add_tags") and not body.get("remove_tags"):
            raise Refusal(400, 12, "either add_tags or remove_tags should be provided")
        for identity in body["ids"]:
            task = self.task({"task": identity})
            kept = {*task["tags"], *(body.get("add_tags") or [])} - {*(body.get("remove_tags") or [])}
            task["tags"] = sorted(kept)
        return {"updated": len(body["ids"])}

    def tasks_edit_hyper_params(self, body: Fields) -> Fields:
        only_properties = all(param.get("section", "").lower() == "properties" for param in body["hyperparams"])
        task = self._editable(body, any_status=only_properties)
        if not body["hyperparams"]:
            raise Refusal(400, 12, "hyperparams: at least one")
        for param in body["hyperparams"]:
            section, name = _required(param, "section"), _required(param, "name").strip()
            if not section or not name:
                raise Refusal(400, 12, "Empty key is not allowed")
            if "\0" in name or not isinstance(_required(param, "value"), str):
                raise Refusal(400, 12, f"invalid parameter {name!r}")
            task["hyperparams"].setdefault(section, {})[name] = param
        return {"updated": 1}

    def tasks_get_hyper_params(self, body: Fields) -> Fields:
        items = {
            i: [p for section in self.tasks[i]["hyperparams"].values() for p in section.values()] for i in body["tasks"]
        }
        return {"params": [{"task": identity, "hyperparams": params} for identity, params in items.items()]}

    def tasks_add_or_update_artifacts(self, body: Fields) -> Fields:
        task = self._editable(body)
        kept = {artifact["key"]: artifact for artifact in task["execution"].get("artifacts", [])}
        for artifact in body["artifacts"]:
            _required(artifact, "type")
            kept[_required(artifact, "key")] = {"mode": "output"} | artifact
        task["execution"]["artifacts"] = sorted(kept.values(), key=lambda artifact: str(artifact["key"]))
        return {"updated": 1}

    def tasks_add_or_update_model(self, body: Fields) -> Fields:
        task = self._editable(body | {"force": True})
        entries = task["models"][body["type"]]
        entries[:] = [entry for entry in entries if entry["name"] != body["name"]]
        entries.append({"name": _required(body, "name"), "model": _required(body, "model")})
        return {"updated": 1}

    def tasks_started(self, body: Fields) -> Fields:
        self._change(body, "in_progress")
        return {"updated": 1, "started": 1, "fields": {"status": "in_progress"}}

    def tasks_completed(self, body: Fields) -> Fields:
        return self._change(body, "completed")

    def tasks_failed(self, body: Fields) -> Fields:
        return self._change(body, "failed")

    def tasks_stopped(self, body: Fields) -> Fields:
        return self._change(body, "stopped")

    def tasks_publish(self, body: Fields) -> Fields:
        return self._change(body, "published")

    def tasks_delete(self, body: Fields) -> Fields:
        del self.tasks[self.task(body)["id"]]
        return {"deleted": True}

    def task(self, body: Fields) -> Fields:
        identity = _required(body, "task")
        if identity not in self.tasks:
            raise Refusal(400, 101, f"invalid task id: id={identity}, company=c")
        return self.tasks[identity]

    def _editable(self, body: Fields, any_status: bool = False) -> Fields:
        task = self.task(body)
        allowed = ("created", "queued", "in_progress") if body.get("force") else ("created",)
        if not any_status and task["status"] not in allowed:
            raise Refusal(400, 110, f"invalid task status: expected=created, status={task['status']}")
        return task

    def _change(self, body: Fields, status: str) -> Fields:
        task = self.task(body)
        if not body.get("force") and status != task["status"] and status not in CHANGES[task["status"]]:
            raise Refusal(400, 110, f"Invalid status change: {task['status']} -> {status}")
        reasons = {key: body.get(key, "") for key in ("status_reason", "status_message")}
        task |= {"status": status, "status_changed": _now(), **reasons}
        task |= {"started": _now()} if status == "in_progress" else {"completed": _now()}
        return {"updated": 1, "fields": {"status": status}}

    # Models.

    def models_create(self, body: Fields) -> Fields:
        _require_length(_required(body, "name").strip(), "name")
        _required(body, "uri")
        if body.get("task"):
            self.task(body)
        identity = uuid.uuid4().hex
        model: Fields = {"id": identity, "created": _now(), "ready": True, "tags": [], "system_tags": [], "labels": {}}
        model |= {"comment": "", "framework": "", "design": {}, "metadata": {}, "user": "someone", "company": "c"}
        self.models[identity] = model | {key: body[key] for key in _MODEL_FIELDS if body.get(key) is not None}
        return {"id": identity, "created": True}

    def models_edit(self, body: Fields) -> Fields:
        if body["model"] not in self.models:
            raise Refusal(400, 201, f"invalid model id: {body['model']}")
        if body.get("name") is not None:
            _require_length(body["name"].strip(), "name")
        self.models[body["model"]] |= {key: body[key] for key in _MODEL_FIELDS if body.get(key) is not None}
        return {"updated": 1, "fields": {}}

    def models_get_all(self, body: Fields) -> Fields:
        return {"models": _query(self.models.values(), body)}

    models_get_all_ex = models_get_all

    def models_get_by_id(self, body: Fields) -> Fields:
        return {"model": self.models[body["model"]]}


def _query(documents: Any, body: Fields) -> list[Fields]:
    found = [document for document in documents if _matches(document, body)]
    for field in body.get("order_by") or []:
        found.sort(key=lambda document: document.get(field.lstrip("-"), ""), reverse=field.startswith("-"))
    return copy.deepcopy([_projected(document, body.get("only_fields")) for document in found])


def _matches(document: Fields, body: Fields) -> bool:
    if body.get("id") and document["id"] not in body["id"]:
        return False
    if body.get("name") and not re.search(body["name"], document.get("name", "")):
        return False
    for key in ("tags", "system_tags"):
        wanted = [tag for tag in body.get(key) or [] if not tag.startswith("__$")]
        if wanted and not any(tag in document.get(key, []) for tag in wanted):
            return False
    return all(not body.get(key) or document.get(key) in body[key] for key in ("task", "parent", "status"))


def _projected(document: Fields, fields: list[str] | None) -> Fields:
    """Whole values of the fields named; the stub does not cut below the first level."""
    if not fields:
        return document
    kept = {field.partition(".")[0] for field in fields} | {"id"}
    return {key: value for key, value in document.items() if key in kept}


def _required(body: Fields, name: str) -> Any:
    if body.get(name) is None:
        raise Refusal(400, 12, f"validation error: required field {name}")
    return body[name]


def _require_length(name: str, field: str) -> None:
    if len(name) < 3:
        raise Refusal(400, 800, f"data validation error: String value is too short: {field}")


def _now() -> str:
    return datetime.now(UTC).isoformat()
