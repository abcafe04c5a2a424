"""A task on a ClearML server, over its REST API."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec

from tracelet.backend import Opened, Outcome, RunInfo, State
from tracelet.errors import Denied, Rejected, Transient
from tracelet_clearml import _names as names
from tracelet_clearml._access import Access
from tracelet_clearml._api import Api, Nothing
from tracelet_clearml._convert import PROPERTIES
from tracelet_clearml._errors import TaskRefused
from tracelet_clearml._lines import SentLines
from tracelet_clearml._models import ServerModels
from tracelet_clearml._options import Options
from tracelet_clearml._projects import find_or_create_project
from tracelet_clearml._records import AnyRecord, Artifact, Line, NewModel, Param, Registration
from tracelet_clearml._storage import Storage
from tracelet_clearml._store import Uploaded

RUN_TAG = "tracelet:"
"""The system tag by which a run's task is found is this and the run's id."""

_MAX_REQUEST = 15 << 20
_LOCKED = ("published", "publishing")
_ENDINGS = {
    Outcome.COMPLETED: ("tasks.completed", "completed"),
    Outcome.FAILED: ("tasks.failed", "failed"),
    Outcome.KILLED: ("tasks.stopped", "killed"),
}
_FIELDS = ["id", "status", "project.name", "name", "hyperparams.properties"]

_ENCODER = msgspec.json.Encoder()

F = TypeVar("F", bound=Callable[..., Any])


class _Project(msgspec.Struct):
    id: str
    name: str = ""


class _Value(msgspec.Struct):
    value: str = ""


class Task(msgspec.Struct):
    """A task as the server has it."""

    id: str
    status: str
    name: str = ""
    project: _Project | str | None = None
    hyperparams: dict[str, dict[str, _Value]] = {}


class _Tasks(msgspec.Struct):
    tasks: list[Task] = []


class _Created(msgspec.Struct):
    id: str


class _Added(msgspec.Struct):
    added: int
    errors: int = 0
    errors_info: dict[str, Any] = {}


class _LogLine(msgspec.Struct):
    timestamp: int
    variant: str = ""


class _Log(msgspec.Struct):
    events: list[_LogLine] = []


def _about_the_task(method: F) -> F:
    """Find out whether it is the task that is refused, which no halving of a batch would help."""

    @wraps(method)
    async def wrapped(self: ServerTask, *args: Any) -> Any:
        try:
            return await method(self, *args)
        except TaskRefused:
            await self.require_running()
            raise

    return cast(F, wrapped)


class ServerTask:
    """Keeps a run as a task on a server. Files go to its file server, or to `Options.output_uri`."""

    def __init__(self, access: Access, options: Options, info: RunInfo) -> None:
        self._api = Api(access)
        self._access = access
        self._options = options
        self._info = info
        self._task = ""
        self._lines = SentLines(certain=False)
        self._storage: Storage | None = None
        self._models = ServerModels(self._api)

    @property
    def task(self) -> str:
        return self._task

    async def open(self, state: State | None) -> Opened:
        found = await self._find(state)
        task = found or await self._create()
        _require_unlocked(task)
        self._lines = SentLines(certain=found is None)
        project = task.project if isinstance(task.project, _Project) else _Project(str(task.project or ""))
        self._task = self._models.task = task.id
        self._models.project = project.id
        folder = f"{'/'.join(map(names.component, project.name.split('/')))}/{names.component(task.name)}.{task.id}"
        self._storage = Storage(self._options.output_uri, self._access.files, folder, self._api, self._info.blocking)
        if task.status != "in_progress":
            await self._api.call("tasks.started", Nothing, task=task.id, force=True, status_reason="Tracelet")
        web = self._access.web
        url = None if web is None else f"{web}/projects/{project.id or '*'}/experiments/{task.id}/output/log"
        return Opened({"task_id": task.id}, url)

    @_about_the_task
    async def add_records(self, records: Sequence[AnyRecord]) -> None:
        await self._add(records)

    @_about_the_task
    async def add_lines(self, lines: Sequence[Line]) -> None:
        """After a crash or a failure it is unknown which lines have arrived, and the server is asked."""
        there: set[str] = set()
        if not self._lines.certain:
            times = [line.timestamp for line in lines]
            there = await self._lines_between(min(times), max(times))
        self._lines.certain = False
        if missing := self._lines.missing(lines, there):
            await self._add(missing)
        self._lines.arrived(lines)

    @_about_the_task
    async def set_params(self, params: Sequence[Param]) -> None:
        await self._api.call("tasks.edit_hyper_params", Nothing, task=self._task, hyperparams=params, force=True)

    async def properties(self) -> dict[str, str]:
        task = await self._get(id=[self._task])
        section = task.hyperparams.get(PROPERTIES, {}) if task else {}
        return {name: param.value for name, param in section.items()}

    @_about_the_task
    async def change_tags(self, add: Sequence[str], remove: Sequence[str]) -> None:
        await self._api.call("tasks.update_tags", Nothing, ids=[self._task], add_tags=add, remove_tags=remove)

    @_about_the_task
    async def set_comment(self, text: str) -> None:
        await self._api.call("tasks.edit", Nothing, task=self._task, comment=text, force=True)

    async def upload(self, folder: str, parts: Sequence[str], source: bytes | Path) -> Uploaded:
        assert self._storage is not None, "open comes first"
        return await self._storage.put("/".join((folder, *parts)), source)

    @_about_the_task
    async def add_artifact(self, artifact: Artifact) -> None:
        await self._api.call(
            "tasks.add_or_update_artifacts", Nothing, task=self._task, artifacts=[artifact], force=True
        )

    @_about_the_task
    async def add_model(self, model: NewModel) -> None:
        await self._models.add(model)

    @_about_the_task
    async def register(self, registration: Registration) -> None:
        await self._models.register(registration)

    async def finish(self, outcome: Outcome, time: float) -> None:
        """The server stamps the end with its own clock; when the run really ended is in the status message."""
        await self.require_running()
        action, reason = _ENDINGS[outcome]
        try:
            message = f"ended {datetime.fromtimestamp(time, UTC).isoformat(timespec='seconds')}"
        except (ValueError, OverflowError, OSError):
            message = ""
        await self._api.call(
            action, Nothing, task=self._task, force=True, status_reason=f"Tracelet: {reason}", status_message=message
        )

    async def aclose(self) -> None:
        await self._api.aclose()

    async def require_running(self) -> None:
        """Raises Denied if the task is gone, published or was stopped by somebody."""
        task = await self._get(id=[self._task])
        if task is None:
            raise Denied(f"the ClearML task {self._task} was deleted: `tracelet sync` makes a new one")
        _require_unlocked(task)
        if task.status != "in_progress":  # somebody stopped or reset it: the run goes on
            await self._api.call("tasks.started", Nothing, task=task.id, force=True, status_reason="Tracelet")
            raise Transient(f"the ClearML task {task.id} was {task.status}, and is started again")

    # Finding and creating.

    async def _find(self, state: State | None) -> Task | None:
        """The task by its id, else by its tag, since a crash may have come before the id was stored."""
        if state is not None and (known := await self._get(id=[state["task_id"]])):
            return known
        return await self._get(system_tags=[RUN_TAG + self._info.id])

    async def _get(self, **query: Any) -> Task | None:
        """The oldest that matches: a clone has the tags of its original."""
        query |= {"only_fields": _FIELDS, "search_hidden": True, "order_by": ["created"]}
        found = await self._api.call("tasks.get_all_ex", _Tasks, **query)
        return found.tasks[0] if found.tasks else None

    async def _create(self) -> Task:
        project = await find_or_create_project(self._api, self._info.project)
        body: dict[str, Any] = {
            "name": names.task(self._info.name),
            "type": self._options.task_type,
            "project": project,
            "system_tags": ["development", RUN_TAG + self._info.id],
        }
        parent = self._info.parent
        if parent is not None and parent.state is not None and await self._get(id=[parent.state["task_id"]]):
            body["parent"] = parent.state["task_id"]
        created = await self._api.call("tasks.create", _Created, **body)
        self._info.save_state({"task_id": created.id})
        task = await self._get(id=[created.id])
        if task is None:
            raise Transient(f"ClearML doesn't list the task {created.id} that was just created")
        return task

    # Events.

    async def _add(self, records: Sequence[AnyRecord | Line]) -> None:
        """In as few requests as their size allows."""
        lines = _ENCODER.encode_lines(records)
        if len(lines) > _MAX_REQUEST and len(records) > 1:
            middle = len(records) // 2
            await self._add(records[:middle])
            await self._add(records[middle:])
            return
        answer = await self._api.send_lines("events.add_batch", lines, _Added)
        if answer.errors or answer.added < len(records):
            reasons = "; ".join(f"{reason} ({count})" for reason, count in answer.errors_info.items())
            raise Rejected(f"ClearML took {answer.added} of {len(records)} events: {reasons or 'it says not why'}")

    async def _lines_between(self, first: int, last: int) -> set[str]:
        known: set[str] = set()
        after = first - 1
        while True:
            answer = await self._api.call(
                "events.get_task_log",
                _Log,
                task=self._task,
                batch_size=5_000,
                navigate_earlier=False,
                from_timestamp=after,
                order="asc",
            )
            known.update(line.variant for line in answer.events)
            latest = max((line.timestamp for line in answer.events), default=last + 1)
            if latest > last:
                return known
            after = latest


def _require_unlocked(task: Task) -> None:
    if task.status in _LOCKED:
        raise Denied(f"the ClearML task {task.id} is {task.status}, and takes nothing any more: log to a new run")
