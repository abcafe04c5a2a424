"""Reads back offline sessions from their folders, as `Task.import_offline_session` does, without its server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from tracelet.backend import Outcome
from tracelet.readback import Recorded
from tracelet_clearml._convert import DATASETS, GENERAL, PROPERTIES
from tracelet_clearml._offline import root_of
from tracelet_clearml._options import Options
from tracelet_clearml._server import RUN_TAG
from tracelet_clearml._shown import add_artifacts, add_plots, add_samples, model_files, shown_name


class _Value(msgspec.Struct):
    value: str = ""


class _Artifact(msgspec.Struct):
    key: str
    uri: str


class _Execution(msgspec.Struct):
    artifacts: list[_Artifact] = []


class _Init(msgspec.Struct):
    name: str
    tags: list[str] = []


class _Weights(msgspec.Struct):
    weights_filename: str
    is_package: bool = False


class _Model(msgspec.Struct):
    init: _Init
    weights: _Weights
    entry: str


class _Task(msgspec.Struct):
    """What `task.json` has."""

    comment: str = ""
    parent: str | None = None
    system_tags: list[str] = []
    hyperparams: dict[str, dict[str, _Value]] = {}
    execution: _Execution = msgspec.field(default_factory=_Execution)
    offline_folder: str = ""
    offline_output_models: list[_Model] = []


def read_session(options: Options, run_id: str) -> Recorded:
    """The run's session, which is found by its tag, like a task. Raises LookupError if there is none."""
    root = root_of(options)
    own = [folder for folder in sorted(root.glob("*/task.json")) if RUN_TAG + run_id in _task(folder).system_tags]
    if not own:
        raise LookupError(f"{root} has no session of the run {run_id}")
    found = _read(own[0].parent, _task(own[0]))
    found.runs = len(own)
    return found


def _task(path: Path) -> _Task:
    return msgspec.json.decode(path.read_bytes(), type=_Task)


def _read(folder: Path, task: _Task) -> Recorded:
    found = Recorded(runs=1, note=task.comment or None, parent=task.parent)
    found.params = _values(task, GENERAL)
    found.datasets = list(_values(task, DATASETS))
    found.tags = _values(task, PROPERTIES)
    found.parent = found.tags.pop("tracelet.parent", found.parent)
    if said := found.tags.pop("tracelet.outcome", None):
        outcome, _, ended = said.partition(", ")
        found.outcome, found.ended = Outcome(outcome), datetime.fromisoformat(ended).timestamp()

    events = _events(folder)
    points = [event for event in events if event["type"] == "training_stats_scalar"]
    found.points = [(shown_name(event["metric"], event["variant"]), event["value"], event["iter"]) for event in points]
    samples = [event for event in events if event["type"] == "training_debug_image"]
    add_samples(found, samples, lambda url: _file(url, folder, task))
    plots = [event for event in events if event["type"] == "plot"]
    add_plots(found, plots, lambda url: _file(url, folder, task))
    lines = sorted(_lines(folder / "log.jsonl"), key=lambda line: int(line["timestamp"]))
    found.console = [line for message in lines for line in message["msg"].splitlines()]

    artifacts = task.execution.artifacts
    add_artifacts(found, {artifact.key: _file(artifact.uri, folder, task) for artifact in artifacts})
    for model in task.offline_output_models:
        content = Path(model.weights.weights_filename).read_bytes()
        found.models[model.entry] = model_files(content, package=model.weights.is_package)
        if model.init.tags or model.init.name != model.entry:
            found.registered[model.init.name] = model.init.tags
    return found


def _values(task: _Task, section: str) -> dict[str, str]:
    return {name: param.value for name, param in task.hyperparams.get(section, {}).items()}


def _events(folder: Path) -> list[dict[str, Any]]:
    """Each once, by the server's identity of events: a batch that came again after a crash is there twice."""
    known: dict[tuple[Any, ...], dict[str, Any]] = {}
    for event in _lines(folder / "metrics.jsonl"):
        known[tuple(event.get(key) for key in ("type", "iter", "metric", "variant", "key"))] = event
    return list(known.values())


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The events of a file, but for the half line that a crash may have left."""
    if path.exists():
        with path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield from msgspec.json.decode(line)


def _file(uri: str, folder: Path, task: _Task) -> bytes:
    """A file in the session, which may have been moved to where the folder is now."""
    path = Path(uri)
    if path.is_relative_to(task.offline_folder):
        path = folder / path.relative_to(task.offline_folder)
    return path.read_bytes()
