"""Media events to W&B's own data types."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import wandb
from wandb.sdk.data_types.base_types.media import Media
from wandb.sdk.data_types.graph import Edge, Graph, Node
from wandb.sdk.data_types.utils import history_dict_to_json

from tracelet import media
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
    VideoLogged,
)

_PICTURES = ("png", "jpg", "jpeg", "gif", "bmp", "webp", "tiff")
_VIDEOS = ("gif", "mp4", "webm", "ogg")
_OBJECTS = ("obj", "gltf", "glb", "babylon", "stl")
_LONGEST_HISTOGRAM = 512
IMAGES = "/images"
CONFIG = "/config"
_CHARTS = {"line": "wandb/line/v0", "pr": "wandb/area-under-curve/v0", "roc": "wandb/area-under-curve/v0"}
_TITLES = {"line": "", "pr": "Precision-Recall Curve", "roc": "ROC Curve"}


class Unshowable(Exception):
    """Raised when W&B has no way to show a file; it is kept as an artifact of that type.

    Attributes:
        kind: the artifact's type.
    """

    def __init__(self, event: MediaLogged, kind: str) -> None:
        super().__init__(f"W&B doesn't show {kind} files of the format {event.format!r}: kept as an artifact")
        self.kind = kind


def values(event: MediaLogged, folder: Path, degrade: Callable[[str], None]) -> dict[str, Any]:
    """What W&B's SDK logs for an event, by what follows the event's name; files are written to `folder`, which is
    temporary.

    Args:
        degrade: called with a reason for what is not as it was said.

    Raises:
        Unshowable: W&B can't show the file.
        OSError, ValueError: the file can't be read.
    """
    match event:
        case HistogramLogged():
            return {"": _histogram(media.histogram(event), degrade)}
        case EmbeddingLogged():
            sheet = media.sprites(event)
            images = {} if sheet is None else {IMAGES: wandb.Image(_file(sheet, folder))}
            return {"": _embedding(media.embedding(event))} | images
        case MeshLogged(config=config):
            shown = {"": _mesh(event, folder)}
            return shown | {CONFIG: html(config, folder)} if config else shown
    return {"": _value(event, folder)}


def _value(event: MediaLogged, folder: Path) -> Any:
    match event:
        case FigureLogged(format="plotly"):
            return _plotly(event, folder)
        case FigureLogged(format="svg" | "html"):
            return _page(Path(event.path).read_text(), folder)
        case ImageLogged() | FigureLogged():
            return _images(event, folder)
        case AudioLogged():
            return wandb.Audio(_file(media.sound(event), folder), caption=event.caption or None)
        case VideoLogged():
            return _video(event, folder)
        case TableLogged():
            return _table(media.table(event))
        case GraphLogged():
            return _graph(event)
        case CurveLogged():
            return _curve(event)
    raise Unshowable(event, "other")


def html(text: str, folder: Path) -> Any:
    """A text as W&B's media panels show it: as it is, in a page."""
    return _page(f'<!DOCTYPE html><meta charset="utf-8"><pre style="white-space:pre-wrap">{escape(text)}</pre>', folder)


def logged(run: Any, content: dict[str, Any], namespace: int) -> dict[str, Any]:
    """The values as JSON for a row; their files are now in the run's folder, and on their way.

    Args:
        namespace: a number that tells the files' names apart.
    """
    charts = run._serialize_custom_charts(dict(content))
    found: dict[str, Any] = history_dict_to_json(run, charts, step=namespace, ignore_copy_err=True)
    return found


def _page(text: str, folder: Path) -> Any:
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", newline="", suffix=".html", dir=folder, delete=False
    ) as file:
        file.write(text)
    return wandb.Html(file.name, inject=False)


def _images(event: ImageLogged | FigureLogged, folder: Path) -> Any:
    if event.format != "npy" and event.format.lower() not in _PICTURES:
        raise Unshowable(event, "image" if isinstance(event, ImageLogged) else "figure")
    files = media.pictures(event)
    captions = event.captions if isinstance(event, ImageLogged) and event.captions else [None] * len(files)
    shown = [wandb.Image(_file(file, folder), caption=text) for file, text in zip(files, captions, strict=False)]
    return shown[0] if len(shown) == 1 else shown


def _plotly(event: FigureLogged, folder: Path) -> Any:
    """wandb.Plotly of the JSON: the constructor wants plotly itself."""
    path = folder / "figure.plotly.json"
    path.write_text(media.plotly_json(event))
    figure = wandb.Plotly.__new__(wandb.Plotly)
    Media.__init__(figure)
    figure._set_file(str(path), extension=".plotly.json")
    return figure


def _histogram(given: media.Histogram, degrade: Callable[[str], None]) -> Any:
    counts, edges = given.counts, given.edges
    if len(counts) > _LONGEST_HISTOGRAM:
        degrade(f"W&B's histograms have {_LONGEST_HISTOGRAM} bins at most: neighbours are put together")
    while len(counts) > _LONGEST_HISTOGRAM:  # W&B's limit; two neighbours become one
        counts = [sum(counts[at : at + 2]) for at in range(0, len(counts), 2)]
        edges = [*edges[:-1:2], edges[-1]]
    return wandb.Histogram(np_histogram=(counts, edges))


def _video(event: VideoLogged, folder: Path) -> Any:
    if event.format != "npy" and event.format.lower() not in _VIDEOS:
        raise Unshowable(event, "video")
    return wandb.Video(str(_file(media.video(event), folder)), caption=event.caption or None)


def _table(given: media.Table) -> Any:
    return _as_table(given.columns, given.rows)


def _mesh(event: MeshLogged, folder: Path) -> Any:
    if event.format != "npz":
        if event.format.lower() not in _OBJECTS:
            raise Unshowable(event, "mesh")
        return wandb.Object3D(str(_file(media.as_files(event)[0], folder)))
    given = media.mesh(event)
    if given.faces is not None:
        return wandb.Object3D(str(_file(media.as_files(event)[0], folder)))
    import numpy as np

    vertices = np.array(given.vertices, dtype=float).reshape(-1, 3)
    return wandb.Object3D(np.hstack([vertices, np.array(given.colors)]) if given.colors else vertices)


def _embedding(given: media.Embedding) -> Any:
    width = len(given.vectors[0]) if given.vectors else 0
    columns = [f"d{number}" for number in range(width)]
    known: list[str] = ["label"] if given.labels is not None else []
    cells = [[label] for label in given.labels or []]
    if given.columns is not None and given.rows is not None:
        known, cells = _unlike(given.columns, columns), given.rows
    rows = [[*own, *row] for own, row in zip(cells or [[]] * len(given.vectors), given.vectors, strict=True)]
    return _as_table([*known, *columns], rows)


def _unlike(names: Sequence[str], others: Sequence[str]) -> list[str]:
    """The names, which must differ in a table, as they are or with a number."""
    found: list[str] = []
    for name in names:
        free, number = name, 1
        while free in (*found, *others):
            number += 1
            free = f"{name} ({number})"
        found.append(free)
    return found


def _graph(event: GraphLogged) -> Any:
    given = media.graph(event)
    if given is None:
        raise Unshowable(event, "graph")
    shown = Graph()
    for node in given.nodes:
        shown.add_node(Node(id=node.id, name=node.label or node.id, class_name=node.op))
    for source, target in given.edges:
        shown.edges.append(Edge(shown.nodes_by_id[source], shown.nodes_by_id[target]))
    return shown


def _curve(event: CurveLogged) -> Any:
    given = media.curve(event)
    x, y = given.x_label or "x", given.y_label or "y"
    if x == y:
        y += " "
    points: list[list[Any]] = [[*point] for point in zip(given.x, given.y, strict=True)]
    columns = [x, y]
    if given.thresholds is not None:
        columns.append("threshold")
        points = [[*point, threshold] for point, threshold in zip(points, given.thresholds, strict=True)]
    for name, counts in (given.counts or {}).items():
        columns.append(name)
        points = [[*point, count] for point, count in zip(points, counts, strict=True)]
    labels = {"title": _TITLES.get(event.curve) or event.name, "x-axis-title": x, "y-axis-title": y}
    kind = _CHARTS.get(event.curve, "wandb/line/v0")
    return wandb.plot_table(kind, _as_table(columns, points), {"x": x, "y": y}, labels)


def _as_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
    table = wandb.Table(columns=list(columns), data=[], allow_mixed_types=True)
    for row in rows:
        table.add_data(*row)
    return table


def _file(content: media.Encoded, folder: Path) -> Path:
    path = folder / f"{len(list(folder.iterdir()))}.{content.suffix}"
    path.write_bytes(content.data)
    return path
