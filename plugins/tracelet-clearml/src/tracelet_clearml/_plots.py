"""Media as ClearML shows them: plots in plotly's JSON, debug samples, and files where it has neither."""

from __future__ import annotations

import io
from collections.abc import Iterable
from html import escape
from itertools import pairwise
from math import isfinite
from typing import Any

import msgspec

from tracelet import media
from tracelet.events import (
    AudioLogged,
    CurveLogged,
    EmbeddingLogged,
    FigureLogged,
    HistogramLogged,
    ImageLogged,
    MediaLogged,
    MeshLogged,
    TableLogged,
    VideoLogged,
)

_LARGEST_PLOT = 10 << 20  # bytes; a request takes 15 MiB
_DRAWABLE = ("png", "jpg", "jpeg", "gif", "svg", "webp", "bmp")
_TOO_LARGE = "too large for a plot: kept as an artifact"
_GAPS = "NaN or infinity in a plot: left out of the drawing"


class Rendered(msgspec.Struct):
    """What becomes of a medium.

    Attributes:
        plot: plotly's JSON.
        pictures: images to be uploaded and shown among the plots, with their widths and heights.
        samples: files to be uploaded and shown as debug samples.
        captions: of the samples; none, or as many.
        files: files to be kept as artifacts.
        degraded: why it arrives other than it was said.
    """

    plot: str | None = None
    pictures: list[tuple[media.Encoded, int, int]] = []
    samples: list[media.Encoded] = []
    captions: list[str] = []
    files: list[media.Encoded] = []
    degraded: str | None = None


def rendered(event: MediaLogged, title: str) -> Rendered:
    """A medium in ClearML's form. Blocking; raises OSError and ValueError for a file that can't be read."""
    match event:
        case FigureLogged(format="plotly"):
            return _plot(event, media.plotly_json(event))
        case FigureLogged():
            return _figure(event)
        case ImageLogged():
            return Rendered(samples=media.pictures(event), captions=list(event.captions))
        case AudioLogged():
            return Rendered(samples=[media.sound(event)], captions=[event.caption])
        case VideoLogged():
            return Rendered(samples=[media.video(event)], captions=[event.caption])
        case HistogramLogged():
            return _plot(event, *_histogram(media.histogram(event), title))
        case TableLogged():
            return _plot(event, *_table(media.table(event), title))
        case CurveLogged():
            return _plot(event, *_curve(media.curve(event), title))
        case MeshLogged():
            return _plot(event, *_mesh(media.mesh(event), title))
        case EmbeddingLogged():
            vectors = media.embedding(event)
            if vectors.vectors and 2 <= len(vectors.vectors[0]) <= 3:
                return _with_images(event, _plot(event, *_embedding(vectors, title)))
    return Rendered(files=media.as_files(event))


def image_plot(url: str, width: int, height: int, title: str) -> str:
    """An image among the plots, as the SDK reports a figure of matplotlib."""
    tall = int(640 * height / width) if width else 480
    image = {"source": url, "sizex": 640, "sizey": tall, "x": 0, "y": tall, "xref": "x", "yref": "y"}
    axes = {
        "xaxis": {"visible": False, "range": [0, 640]},
        "yaxis": {"visible": False, "range": [0, tall], "scaleanchor": "x"},
    }
    margin = {"l": 0, "r": 0, "t": 64, "b": 0}
    layout = {"images": [image | {"opacity": 1.0, "sizing": "contain", "layer": "below"}], "showlegend": False}
    return _json({"data": [], "layout": layout | axes | {"margin": margin, "title": title}})


def _plot(event: MediaLogged, text: str, degraded: str | None = None) -> Rendered:
    if len(text) > _LARGEST_PLOT:
        return Rendered(files=media.as_files(event), degraded=_TOO_LARGE)
    return Rendered(plot=text, degraded=degraded)


def _with_images(event: EmbeddingLogged, drawn: Rendered) -> Rendered:
    """The images of a plotted embedding are an artifact: a plot has no place for them."""
    sheet = None if drawn.plot is None else media.sprites(event)
    if sheet is not None:
        drawn.files = [media.Encoded("sprites.png", sheet.data)]
    return drawn


def _figure(event: FigureLogged) -> Rendered:
    pictures = media.pictures(event)
    if any(encoded.suffix.lower() not in _DRAWABLE for encoded in pictures):
        return Rendered(samples=pictures)
    return Rendered(pictures=[(encoded, *_size(encoded)) for encoded in pictures])


def _size(encoded: media.Encoded) -> tuple[int, int]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(encoded.data)) as image:
            width, height = image.size
            return width, height
    except UnidentifiedImageError:  # SVG
        return 640, 480


def _histogram(content: media.Histogram, title: str) -> tuple[str, str | None]:
    edges = content.edges
    pairs = list(pairwise(edges))
    bars = {
        "type": "bar",
        "x": [(low + high) / 2 for low, high in pairs],
        "y": content.counts,
        "width": [high - low for low, high in pairs],
        "customdata": [list(pair) for pair in pairs],
        "hovertemplate": "%{customdata[0]} to %{customdata[1]}: %{y}",
    }
    return _json({"data": [bars], "layout": {"title": title, "bargap": 0}}), _gaps(content.counts, edges)


def _table(content: media.Table, title: str) -> tuple[str, str | None]:
    cells = [[_cell(row[at]) for row in content.rows] for at in range(len(content.columns))]
    trace = {
        "type": "table",
        "header": {"values": content.columns, "align": "left"},
        "cells": {"values": cells, "align": "left"},
    }
    return _json({"data": [trace], "layout": {"title": title, "name": title}}), None


def _cell(value: Any) -> Any:
    """A cell as plotly can show it: it has no NaN, and JavaScript's numbers end at 53 bits."""
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    return str(value) if isinstance(value, int) and abs(value) > 2**53 else value


def _curve(content: media.Curve, title: str) -> tuple[str, str | None]:
    line: dict[str, Any] = {"type": "scatter", "mode": "lines", "x": content.x, "y": content.y, "name": title}
    if content.thresholds is not None:
        line |= {"customdata": content.thresholds, "hovertemplate": "%{x}, %{y} at threshold %{customdata}"}
    if content.counts is not None:
        line["meta"] = content.counts
    axes = {"xaxis": {"title": content.x_label}, "yaxis": {"title": content.y_label}}
    return _json({"data": [line], "layout": {"title": title} | axes}), _gaps(content.x, content.y)


def _mesh(content: media.Mesh, title: str) -> tuple[str, str | None]:
    x, y, z = _columns(content.vertices, 3)
    colors = None if content.colors is None else [f"rgb({red},{green},{blue})" for red, green, blue in content.colors]
    trace: dict[str, Any] = {"x": x, "y": y, "z": z}
    if content.faces is None:
        marker: dict[str, Any] = {"size": 2} if colors is None else {"size": 2, "color": colors}
        trace |= {"type": "scatter3d", "mode": "markers", "marker": marker}
    else:
        i, j, k = _columns(content.faces, 3)
        trace |= {"type": "mesh3d", "i": i, "j": j, "k": k}
        if colors is not None:
            trace["vertexcolor"] = colors
    if content.config:  # for three.js; plotly has no such lights and cameras
        trace["meta"] = content.config
    return _json({"data": [trace], "layout": {"title": title}}), _gaps(x, y, z)


def _embedding(content: media.Embedding, title: str) -> tuple[str, str | None]:
    columns = _columns(content.vectors, len(content.vectors[0]))
    trace: dict[str, Any] = {"mode": "markers", "type": "scatter" if len(columns) == 2 else "scatter3d"}
    trace |= dict(zip("xyz", columns, strict=False))
    if content.labels is not None:
        trace |= {"text": content.labels, "mode": "markers+text"}
    if content.columns is not None and content.rows is not None:
        trace["hovertext"] = [_described(content.columns, row) for row in content.rows]
        trace["meta"] = {"columns": content.columns, "rows": content.rows}
    return _json({"data": [trace], "layout": {"title": title}}), _gaps(*columns)


def _described(columns: list[str], row: list[str]) -> str:
    """What is known of a point, for where it is pointed at."""
    return "<br>".join(f"{escape(name)}: {escape(cell)}" for name, cell in zip(columns, row, strict=True))


def _columns(rows: list[Any], count: int) -> list[list[Any]]:
    return [[row[at] for row in rows] for at in range(count)]


def _gaps(*columns: Iterable[float]) -> str | None:
    return None if all(isfinite(value) for column in columns for value in column) else _GAPS


def _json(value: Any) -> str:
    """Numbers that JSON has not become null, as in the SDK."""
    return msgspec.json.encode(value).decode()
