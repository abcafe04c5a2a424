"""What MLflow shows of a run, read back by MLflow's own client."""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tracelet import media
from tracelet.backend import Outcome
from tracelet.events import (
    AudioLogged,
    CurveLogged,
    EmbeddingLogged,
    FigureLogged,
    GraphLogged,
    HistogramLogged,
    ImageLogged,
    MediaLogged,
    MeshLogged,
    TableLogged,
    TensorLogged,
    VideoLogged,
)
from tracelet.readback import Recorded, Shown
from tracelet_mlflow._options import Options

_OUTCOMES = {"FINISHED": Outcome.COMPLETED, "FAILED": Outcome.FAILED, "KILLED": Outcome.KILLED}
_KINDS: dict[str, type[MediaLogged]] = {
    "figures": FigureLogged,
    "histograms": HistogramLogged,
    "audio": AudioLogged,
    "videos": VideoLogged,
    "tables": TableLogged,
    "meshes": MeshLogged,
    "embeddings": EmbeddingLogged,
    "tensors": TensorLogged,
    "graphs": GraphLogged,
    "curves": CurveLogged,
}
_IMAGE = re.compile(
    r"images/(?P<key>.*?)(~(?P<number>\d+))?\+step\+(?P<step>-?\d+)\+timestamp\+\d+\+(?P<id>[\w-]+)\.png"
)
_MEDIUM = re.compile(r"media/(?P<kind>\w+)/(?P<name>.*)/step_(?P<step>-?\d+)\.(?P<suffix>[\w.]+)")


def read(options: Options, run_id: str) -> Recorded:
    """What there is of a run. Raises LookupError if there is no such run."""
    return read_run(options.uri, run_id)


def read_run(uri: str, run_id: str) -> Recorded:
    """Everything that there is of a run at a tracking URI. Raises LookupError."""
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(experiments, filter_string=f"tags.`tracelet.run_id` = '{run_id}'")
    if not runs:
        raise LookupError(f"no run in {uri} has the tag tracelet.run_id = {run_id}")
    run = runs[0]
    found = Recorded(runs=len(runs), params=run.data.params, tags=run.data.tags)
    found.outcome = _OUTCOMES.get(run.info.status)
    found.ended = None if run.info.end_time is None else run.info.end_time / 1000
    found.note = run.data.tags.get("mlflow.note.content")
    found.parent = run.data.tags.get("mlflow.parentRunId")
    found.datasets = [used.dataset.name for used in run.inputs.dataset_inputs]
    _read_points(client, run, found)
    _read_files(client, uri, run, found)
    _read_models(client, run, found)
    return found


def _read_points(client: Any, run: Any, found: Recorded) -> None:
    for name in run.data.metrics:
        found.points += [(name, m.value, m.step) for m in client.get_metric_history(run.info.run_id, name)]


def _read_files(client: Any, uri: str, run: Any, found: Recorded) -> None:
    with TemporaryDirectory() as folder:
        contents = {
            path: Path(client.download_artifacts(run.info.run_id, path, folder)).read_bytes()
            for path in list_files(client, run.info.run_id)
        }
    for path, content in contents.items():
        if path.startswith("console/"):
            found.console += [line.split(" ", 2)[2] for line in content.decode().splitlines()]
        elif not path.startswith(("media/", "images/")):
            found.artifacts[path] = content
            if path.endswith(".txt") and content:
                found.texts.append(content.decode())
    found.media = [*_images(contents), *_media(client, run, uri, contents)]


def list_files(client: Any, run_id: str, folder: str | None = None) -> list[str]:
    """The paths of a run's files."""
    files: list[str] = []
    for file in client.list_artifacts(run_id, folder):
        files += list_files(client, run_id, file.path) if file.is_dir else [file.path]
    return sorted(files)


def _images(contents: dict[str, bytes]) -> list[Shown]:
    """As the image charts read the names of the files."""
    groups: dict[tuple[str, int, str], list[tuple[int, bytes]]] = {}
    for path, content in contents.items():
        named = _IMAGE.fullmatch(path)
        if named:
            group = groups.setdefault((named["key"].replace("~", "/"), int(named["step"]), named["id"]), [])
            group.append((int(named["number"] or 0), content))
    return [
        Shown(ImageLogged, name, step, [content for _, content in sorted(group)])
        for (name, step, _), group in groups.items()
    ]


def _media(client: Any, run: Any, uri: str, contents: dict[str, bytes]) -> list[Shown]:
    groups: dict[tuple[str, str, int], dict[str, bytes]] = {}
    for path, content in contents.items():
        named = _MEDIUM.fullmatch(path)
        if named and named["kind"] in _KINDS:
            groups.setdefault((named["kind"], named["name"], int(named["step"])), {})[named["suffix"]] = content
    shown = []
    for (kind, name, step), files in groups.items():
        table = f"media/tables/{name}/step_{step}.json"
        given = load_table(uri, run, table) if kind == "tables" else _content(kind, files)
        shown.append(Shown(_KINDS[kind], name, step, given))
    return shown


def _content(kind: str, files: dict[str, bytes]) -> Any:
    if kind == "histograms":
        return media.Histogram(**json.loads(files["histogram.json"]))
    if kind == "curves":
        (points,) = (content for suffix, content in files.items() if suffix.endswith("curve.json"))
        return media.Curve(**json.loads(points))
    if kind == "figures" and "plotly.json" in files:
        return files["plotly.json"].decode()
    views = ("svg", "html", "captions.json")
    return [files[suffix] for suffix in sorted(files, key=_order) if suffix not in views]


def _order(suffix: str) -> tuple[int, int, str]:
    """Several pictures by their numbers; vectors, their labels, their images; a mesh, and how to show it."""
    number, dot, _ = suffix.partition(".")
    places = ("vectors.tsv", "labels.tsv", "sprites.png", "obj", "config.json")
    return int(number) if dot and number.isdigit() else 0, places.index(suffix) if suffix in places else 0, suffix


def load_table(uri: str, run: Any, path: str) -> media.Table:
    """A table, by `load_table`."""
    from mlflow import MlflowClient, set_tracking_uri

    set_tracking_uri(uri)  # `load_table` searches there
    frame = MlflowClient().load_table(run.info.experiment_id, path, [run.info.run_id])
    rows = [[None if _is_nan(cell) else cell for cell in row] for row in frame.astype(object).values.tolist()]
    return media.Table(list(frame.columns), rows)


def _is_nan(cell: Any) -> bool:
    return isinstance(cell, float) and math.isnan(cell)


def _read_models(client: Any, run: Any, found: Recorded) -> None:
    for model in client.search_logged_models([run.info.experiment_id]):
        if model.source_run_id != run.info.run_id:
            continue
        assert model.status == "READY"
        assert model.model_id in [output.model_id for output in run.outputs.model_outputs]
        with TemporaryDirectory() as folder:
            files = model_files(model.artifact_location, client.tracking_uri, folder)
        files.pop("MLmodel")
        found.models[model.tags["tracelet.name"]] = {"": files.popitem()[1]} if len(files) == 1 else files
    for version in client.search_model_versions(f"run_id = '{run.info.run_id}'"):
        name = version.name
        aliases = client.get_registered_model(name).aliases
        found.registered[name] = [alias for alias, number in aliases.items() if number == version.version]
        found.versions[name] = len(client.search_model_versions(f'name = "{name}"'))


def model_files(place: str, uri: str, folder: str) -> dict[str, bytes]:
    """The files under an artifact URI, downloaded by MLflow."""
    from mlflow.artifacts import download_artifacts

    root = Path(download_artifacts(place, dst_path=folder, tracking_uri=uri))
    return {file.relative_to(root).as_posix(): file.read_bytes() for file in root.rglob("*") if file.is_file()}
