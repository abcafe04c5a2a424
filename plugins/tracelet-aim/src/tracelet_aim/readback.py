"""What Aim shows of a run, read back by Aim's own SDK from the repository's folder."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec

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
from tracelet_aim._options import Options

_PICTURES: dict[str, type[MediaLogged]] = {"PIL.Image": ImageLogged, "figure": FigureLogged, "video": VideoLogged}


_KEPT = re.compile(r"media/(?P<name>.+)/step_(?P<step>-?\d+)\.npy", re.DOTALL)


def read(options: Options, run_id: str) -> Recorded:
    """What there is of a run. Raises LookupError if there is no such run, or the repository is another machine's."""
    if options.is_remote:
        raise LookupError(f"a run is read where its repository lies, and not through {options.path}")
    return recorded(options.path, run_id)


def runs(folder: str, run_id: str) -> list[Any]:
    """The Aim runs that carry a Tracelet run's id."""
    from aim import Repo

    repo = Repo.from_path(folder)
    hashes = [path.name for path in Path(repo.path, "meta", "chunks").iterdir()]
    return [open_run(folder, hash_) for hash_ in hashes if _own_id(repo, hash_) == run_id]


def _own_id(repo: Any, hash_: str) -> Any:
    tree = repo.request_tree("meta", hash_, read_only=True, skip_read_optimization=True)
    return tree.subtree(("meta", "chunks", hash_, "attrs", "tracelet")).get("run_id", None)


def open_run(folder: str, hash_: str) -> Any:
    """A run as Aim's `Run(read_only=True)` has it: from the index, so it is put there first, as `aim up` does."""
    from aim import Repo, Run

    repo = Repo.from_path(folder)
    index = repo._get_index_tree("meta", 0).view(())
    tree = repo.request_tree("meta", hash_, read_only=True, skip_read_optimization=True)
    tree.subtree(("meta", "chunks", hash_)).finalize(index=index)
    del index, tree
    for key in [key for key in repo.container_pool if key.read_only]:
        repo.container_pool.pop(key, None)  # they show what there was when they were opened
    return Run(hash_, repo=repo, read_only=True)


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested params as Tracelet names them."""
    result: dict[str, Any] = {}
    for name, item in value.items():
        if isinstance(item, dict):
            result |= flat(item, f"{prefix}{name}/")
        else:
            result[prefix + name] = item
    return result


def points(run: Any) -> list[tuple[str, float, int]]:
    found = []
    for metric in run.metrics():
        steps, (values, *_) = metric.data.items_list()
        found += [(metric.name, value, step) for value, step in zip(values, steps, strict=True)]
    return found


def sequence(run: Any, kind: str) -> list[tuple[str, int, Any]]:
    """Name, step and object of all of a type."""
    from aim.sdk.sequence import Sequence

    found = []
    for name, context, _ in run.iter_sequence_info_by_type(Sequence.registry[kind].allowed_dtypes()):
        data = run._get_sequence(kind, name, context).data
        found += [(name, step, value) for step, (value, *_) in data.items()]
    return found


def recorded(folder: str, run_id: str) -> Recorded:
    """What a repository has of a run. Raises LookupError."""
    found_runs = runs(folder, run_id)
    if not found_runs:
        raise LookupError(f"no run in {folder} has tracelet.run_id = {run_id}")
    run = found_runs[0]
    own = run.get("tracelet", {})
    found = Recorded(runs=len(found_runs), points=points(run))
    found.params = {name: str(value) for name, value in flat(run.get("hparams", {})).items()}
    found.tags = dict(own.get("tags", {}))
    found.outcome = Outcome(own["outcome"]) if "outcome" in own and run.end_time is not None else None
    found.ended = run.end_time
    found.note = run.description
    found.parent = own.get("parent", {}).get("hash") or own.get("parent", {}).get("id")
    texts = [(name, step, text.data) for name, step, text in sequence(run, "texts")]
    found.texts = [text for _, _, text in texts if not _is_graph(text)]
    logs = run.get_terminal_logs()
    found.console = [] if logs is None else [line.data for _, (line, *_) in logs.data.items()]
    found.datasets = list(run.get("datasets", {}))
    found.registered = {name: list(value["aliases"]) for name, value in run.get("registered_models", {}).items()}
    artifacts = {name: Path(artifact.uri.removeprefix("file://")).read_bytes() for name, artifact in _artifacts(run)}
    models = run.get("models", {})
    for name, model in models.items():
        parts = {path: artifacts.pop(path) for path in model["files"]}
        found.models[name] = {_inner(path, name): content for path, content in parts.items()}
    found.media = [_with_images(shown, artifacts) for shown in _media(run)]
    for path in [path for path in artifacts if _KEPT.fullmatch(path)]:
        kept = _KEPT.fullmatch(path)
        assert kept
        found.media.append(Shown(TensorLogged, kept["name"], int(kept["step"]), [artifacts.pop(path)]))
    found.artifacts = artifacts
    for name, step, text in texts:
        if _is_graph(text):
            graph = msgspec.json.decode(text, type=media.Graph)
            found.media.append(Shown(GraphLogged, name, step, graph))
    return found


def _with_images(shown: Shown, artifacts: dict[str, bytes]) -> Shown:
    """An embedding with the artifact that has all of its images, which is no artifact of the user's."""
    sheet = artifacts.pop(f"media/{shown.name}/step_{shown.step}.sprites.png", None)
    return shown if sheet is None else msgspec.structs.replace(shown, beside=[sheet])


def _is_graph(text: str) -> bool:
    return text.startswith('{"nodes":')


def _inner(path: str, name: str) -> str:
    return path.removeprefix(f"models/{name}").removeprefix("/")


def _artifacts(run: Any) -> list[tuple[str, Any]]:
    return [
        (name, run.meta_run_tree.subtree("artifacts").view(name, resolve=True))
        for name in run.meta_run_tree.get("artifacts", {})
    ]


def _media(run: Any) -> list[Shown]:
    found = [
        Shown(_PICTURES[images[0].storage["source"]], name, step, [bytes(image.storage["data"]) for image in images])
        for name, step, images in sequence(run, "images")
    ]
    found += [Shown(AudioLogged, name, step, [audio.get().read()]) for name, step, audio in sequence(run, "audios")]
    for name, step, distribution in sequence(run, "distributions"):
        weights, edges = distribution.to_np_histogram()
        found.append(Shown(HistogramLogged, name, step, media.Histogram(weights.tolist(), edges.tolist())))
    for name, step, figure in sequence(run, "figures"):
        found.append(_figure(name, step, figure.data))
    return found


def _figure(name: str, step: int, text: str) -> Shown:
    """A figure, or what it was made of."""
    content = json.loads(text)
    (trace,) = content["data"][:1] or [{}]
    kind = trace.get("type")
    if kind == "table":
        rows = [list(row) for row in zip(*trace["cells"]["values"], strict=True)]
        return Shown(TableLogged, name, step, media.Table(trace["header"]["values"], rows))
    if kind in ("scatter", "scatter3d") and "customdata" in trace and trace.get("mode") == "markers":
        known = trace.get("meta", {})
        columns, rows = known.get("columns"), known.get("rows")
        embedding = media.Embedding(trace["customdata"], trace.get("text"), columns, rows)
        return Shown(EmbeddingLogged, name, step, embedding)
    if kind == "mesh3d" or (kind == "scatter3d" and trace.get("marker", {}).get("size") == 2):
        vertices = [list(row) for row in zip(trace["x"], trace["y"], trace["z"], strict=True)]
        shades = trace.get("vertexcolor") or trace.get("marker", {}).get("color")
        colors = None if shades is None else [[int(n) for n in shade[4:-1].split(",")] for shade in shades]
        faces = [list(row) for row in zip(trace["i"], trace["j"], trace["k"], strict=True)] if "i" in trace else None
        return Shown(MeshLogged, name, step, media.Mesh(vertices, colors, faces, trace.get("meta", "")))
    if kind == "scatter" and trace.get("name") == name:
        axes = content["layout"]
        labels = (axes["xaxis"]["title"]["text"], axes["yaxis"]["title"]["text"])
        known = (trace.get("customdata"), trace.get("meta"))
        return Shown(CurveLogged, name, step, media.Curve(trace["x"], trace["y"], *labels, *known))
    return Shown(FigureLogged, name, step, text)
