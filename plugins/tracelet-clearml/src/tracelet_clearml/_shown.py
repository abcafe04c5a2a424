"""ClearML's plots, debug samples and artifacts as what they were made of: the way back from `_plots` and `_samples`."""

from __future__ import annotations

import io
import json
import mimetypes
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import msgspec

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
    TensorLogged,
    VideoLogged,
)
from tracelet.readback import Content, Recorded, Shown

Fetch: TypeAlias = Callable[[str], bytes]
"""Gets a file by its address; or by its path, in an offline session."""

_Place: TypeAlias = tuple[type[MediaLogged], str, int]

_NUMBER = re.compile(r" #(\d+)$")
_KEPT = re.compile(r"(.*) step (-?\d+)\.([a-z.]+)", re.DOTALL)
_SAMPLES: dict[str, type[MediaLogged]] = {"audio": AudioLogged, "image": ImageLogged, "video": VideoLogged}
_OTHERS: dict[str | None, type[MediaLogged]] = {"image/gif": VideoLogged, "image/svg+xml": FigureLogged}
_FILES: dict[str, type[MediaLogged]] = {
    "vectors.tsv": EmbeddingLogged,
    "labels.tsv": EmbeddingLogged,
    "sprites.png": EmbeddingLogged,
    "graph.json": GraphLogged,
    "plotly.json": FigureLogged,
    "histogram.json": HistogramLogged,
    "line.curve.json": CurveLogged,
    "pr.curve.json": CurveLogged,
    "roc.curve.json": CurveLogged,
    "csv": TableLogged,
    "obj": MeshLogged,
    "config.json": MeshLogged,
    "npy": TensorLogged,
}
"""What `tracelet.media.as_files` makes of media that are no plots, in the order of a medium's files."""


def shown_name(metric: str, variant: str) -> str:
    """The name that `_names.series` was given, and its context."""
    return metric if metric == variant else f"{metric}/{variant}"


def add_samples(found: Recorded, events: Iterable[Mapping[str, Any]], fetch: Fetch) -> None:
    """Texts and media of debug samples. Several images of one event have numbers behind their names."""
    files: dict[_Place, dict[int, bytes]] = {}
    for event in events:
        content = fetch(event["url"])
        if event["key"].endswith(".txt"):
            found.texts.append(content.decode("utf-8", "surrogatepass"))
            continue
        guessed, _ = mimetypes.guess_type(event["key"])
        kind = _OTHERS.get(guessed) or _SAMPLES.get((guessed or "").partition("/")[0], FigureLogged)
        name = shown_name(event["metric"], _NUMBER.sub("", event["variant"]))
        number = _NUMBER.search(event["variant"])
        files.setdefault((kind, name, event["iter"]), {})[int(number[1]) if number else 0] = content
    for (kind, name, step), numbered in files.items():
        found.media.append(Shown(kind, name, step, [numbered[number] for number in sorted(numbered)]))


def add_plots(found: Recorded, events: Iterable[Mapping[str, Any]], fetch: Fetch) -> None:
    """Media of plots. Several pictures of one event have numbers behind their names."""
    pictures: dict[_Place, dict[int, bytes]] = {}
    for event in events:
        kind, content = _plotted(event, fetch)
        number = _NUMBER.search(event["variant"])
        name = shown_name(event["metric"], _NUMBER.sub("", event["variant"]))
        if isinstance(content, list) and number:
            pictures.setdefault((kind, name, event["iter"]), {})[int(number[1])] = content[0]
        else:
            found.media.append(Shown(kind, name, event["iter"], content))
    for (kind, name, step), numbered in pictures.items():
        found.media.append(Shown(kind, name, step, [numbered[number] for number in sorted(numbered)]))


def add_artifacts(found: Recorded, artifacts: Mapping[str, bytes]) -> None:
    """Artifacts by their names, and the media among them; of some, the plots were added before."""
    files: dict[_Place, dict[str, bytes]] = {}
    for name, data in artifacts.items():
        kept = _KEPT.fullmatch(name)
        if kept is None or kept[3] not in _FILES:
            found.artifacts[name] = data
        else:
            files.setdefault((_FILES[kept[3]], kept[1], int(kept[2])), {})[kept[3]] = data
    for (kind, name, step), own in files.items():
        contents = [own[suffix] for suffix in _FILES if suffix in own]
        if set(own) == {"sprites.png"}:
            _add_beside(found, (kind, name, step), contents)
            continue
        content: Content = contents
        if kind is GraphLogged:
            content = msgspec.json.decode(contents[0], type=media.Graph)
        found.media.append(Shown(kind, name, step, content))


def _add_beside(found: Recorded, place: _Place, contents: list[bytes]) -> None:
    """The images of an embedding that is a plot."""
    for at, shown in enumerate(found.media):
        if (shown.kind, shown.name, shown.step) == place:
            found.media[at] = msgspec.structs.replace(shown, beside=contents)


def model_files(content: bytes, *, package: bool) -> dict[str, bytes]:
    """A model's files by their path within it; one of a package's files, which is an archive."""
    if not package:
        return {"": content}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {file.filename: archive.read(file) for file in archive.infolist() if not file.is_dir()}


def _plotted(event: Mapping[str, Any], fetch: Fetch) -> tuple[type[MediaLogged], Content]:
    """A figure, as an image or as the user's JSON, which the plot's key says; or what was drawn of data."""
    plot = json.loads(event["plot_str"])
    images = plot.get("layout", {}).get("images")
    if images and not plot.get("data"):
        return FigureLogged, [fetch(images[0]["source"])]
    if event.get("key", "").startswith(FigureLogged.__name__):
        return FigureLogged, event["plot_str"]
    return _drawn(plot, event["plot_str"])


def _drawn(plot: Mapping[str, Any], text: str) -> tuple[type[MediaLogged], Content]:
    """What `_plots` drew; a figure if it wasn't that."""
    traces = plot.get("data") or [{}]
    if len(traces) > 1:
        return FigureLogged, text
    trace = traces[0]
    match trace.get("type"), trace.get("mode"):
        case "bar", _ if "customdata" in trace:
            edges = [*(low for low, _ in trace["customdata"][:1]), *(high for _, high in trace["customdata"])]
            return HistogramLogged, media.Histogram(trace["y"], edges)
        case "table", _:
            rows = [list(row) for row in zip(*trace["cells"]["values"], strict=True)]
            return TableLogged, media.Table(trace["header"]["values"], rows)
        case "scatter", "lines" if "xaxis" in plot["layout"]:
            x_label, y_label = (plot["layout"][axis]["title"] for axis in ("xaxis", "yaxis"))
            known = (trace.get("customdata"), trace.get("meta"))
            return CurveLogged, media.Curve(trace["x"], trace["y"], x_label, y_label, *known)
        case "mesh3d", _:
            colors = [_color(color) for color in trace["vertexcolor"]] if "vertexcolor" in trace else None
            return MeshLogged, media.Mesh(_rows(trace, "xyz"), colors, _rows(trace, "ijk"), trace.get("meta", ""))
        case "scatter3d", "markers" if "marker" in trace:
            colors = trace["marker"].get("color")
            shades = colors and [*map(_color, colors)]
            return MeshLogged, media.Mesh(_rows(trace, "xyz"), shades, None, trace.get("meta", ""))
        case (("scatter" | "scatter3d"), ("markers" | "markers+text")):
            axes = "xyz" if trace["type"] == "scatter3d" else "xy"
            known = trace.get("meta", {})
            columns, rows = known.get("columns"), known.get("rows")
            return EmbeddingLogged, media.Embedding(_rows(trace, axes), trace.get("text"), columns, rows)
    return FigureLogged, text


def _rows(trace: Mapping[str, Any], keys: str) -> list[list[Any]]:
    return [list(row) for row in zip(*(trace[key] for key in keys), strict=True)]


def _color(text: str) -> list[int]:
    return [int(part) for part in text.removeprefix("rgb(").removesuffix(")").split(",")]
