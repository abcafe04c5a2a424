"""Reads back what ClearML shows of a run: by ClearML's own SDK, or, offline, from the session's folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tracelet.backend import Outcome
from tracelet.readback import Recorded
from tracelet_clearml._access import Access, find_access
from tracelet_clearml._models import PACKAGE, REGISTERED
from tracelet_clearml._options import Options
from tracelet_clearml._server import RUN_TAG
from tracelet_clearml._sessions import read_session
from tracelet_clearml._shown import Fetch, add_artifacts, add_plots, add_samples, model_files, shown_name

_OUTCOMES = {"completed": Outcome.COMPLETED, "failed": Outcome.FAILED, "stopped": Outcome.KILLED}
_PAGE = 1_000
_ITERATIONS = 10_000


def read(options: Options, run_id: str) -> Recorded:
    """The run, which is found by its tag. Blocking.

    Raises:
        LookupError: there is no such run.
        Denied: there are no credentials.
    """
    if options.offline:
        return read_session(options, run_id)
    from clearml import Task

    access = find_access(options)
    with signed_in(access) as fetch:
        query = {"system_tags": [RUN_TAG + run_id], "order_by": ["created"]}
        tasks = Task.query_tasks(task_filter=query | {"search_hidden": True, "_allow_extra_fields_": True})
        if not tasks:
            raise LookupError(f"{access.api} has no task of the run {run_id}")
        found = read_task(tasks[0], fetch)
    found.runs = len(tasks)
    return found


@contextmanager
def signed_in(access: Access) -> Iterator[Fetch]:
    """Meanwhile the SDK's session is one as `access` says, and not of its variables; gives what gets files."""
    from clearml import StorageManager, Task
    from clearml.backend_api import Session
    from clearml.config import config_obj as config

    session = Session(
        initialize_logging=False, config=config, host=access.api, api_key=access.key, secret_key=access.secret
    )

    def fetch(url: str) -> bytes:
        if url.startswith(f"{access.files}/"):
            return client.get(url, headers=session.add_auth_headers({})).raise_for_status().content
        copy = StorageManager.get_local_copy(url, extract_archive=False, force_download=True)
        if copy is None:
            raise FileNotFoundError(f"ClearML's SDK doesn't get {url}")
        return Path(copy).read_bytes()

    before = Task._default_session
    Task._set_default_session(session)
    try:
        with httpx.Client(verify=access.verify, timeout=60.0) as client:
            yield fetch
    finally:
        Task._set_default_session(before)


def read_task(task_id: str, fetch: Fetch) -> Recorded:
    """What the SDK's session shows of a task."""
    from clearml import Task

    task = Task.get_task(task_id=task_id)
    found = Recorded(runs=1, outcome=_OUTCOMES.get(task.status), note=task.comment, parent=task.parent)
    found.tags = task.get_user_properties(value_only=True)
    for name, value in task.get_parameters().items():
        section, _, rest = name.partition("/")
        if section == "General":
            found.params[rest] = value
        elif section == "Datasets":
            found.datasets.append(rest)
    for metric, variants in task.get_all_reported_scalars().items():
        for variant, line in variants.items():
            name = shown_name(metric, variant)
            found.points += [(name, y, x) for x, y in zip(line["x"], line["y"], strict=True)]
    found.console = [line for message in _messages(task) for line in message.splitlines()]
    add_samples(found, _samples(task), fetch)
    add_plots(found, task.get_reported_plots(max_iterations=_ITERATIONS), fetch)
    add_artifacts(found, {name: fetch(artifact.url) for name, artifact in task.artifacts.items()})
    _add_models(found, task, fetch)
    return found


def _messages(task: Any) -> Iterator[str]:
    """The console's; of `Task.get_reported_console_output`, which asks for this too, a server gives only the latest."""
    from clearml.backend_api.services import events

    after = None
    while True:
        request = events.GetTaskLogRequest(
            task=task.id, batch_size=_PAGE, navigate_earlier=False, from_timestamp=after, order="asc"
        )
        page = task.send(request).wait().response_data["events"]
        if not page:
            return
        for line in page:
            yield line.get("msg", "")
        after = page[-1]["timestamp"]


def _samples(task: Any) -> Iterator[dict[str, Any]]:
    """Every debug sample; `Task.get_debug_samples` wants to know the names beforehand."""
    from clearml.backend_api.services import events

    scroll = None
    while True:
        request = events.GetTaskEventsRequest(
            task=task.id, event_type="training_debug_image", batch_size=_PAGE, scroll_id=scroll
        )
        answer = task.send(request).wait().response_data
        yield from answer["events"]
        scroll = answer.get("scroll_id")
        if len(answer["events"]) < _PAGE or not scroll:
            return


def _add_models(found: Recorded, task: Any, fetch: Fetch) -> None:
    models = task.models["output"]
    for entry, model in zip(models.keys(), models, strict=True):
        tags = model.system_tags or []
        found.models[entry] = model_files(fetch(model.url), package=PACKAGE in tags)
        if REGISTERED in tags or model.name != entry:
            found.registered[model.name] = list(model.tags or [])
