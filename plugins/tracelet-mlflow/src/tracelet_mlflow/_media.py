"""What is shown, as files: image charts, tables that `mlflow.load_table` reads, and files that MLflow's pages preview.

Everything here is blocking: it reads and encodes.
"""

from __future__ import annotations

import io
import uuid
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from tracelet_mlflow import _svg
from tracelet_mlflow._names import image_key, media_folder

if TYPE_CHECKING:
    from PIL.Image import Image

FOLDERS: dict[type[MediaLogged], str] = {
    ImageLogged: "images",
    FigureLogged: "figures",
    HistogramLogged: "histograms",
    AudioLogged: "audio",
    VideoLogged: "videos",
    TableLogged: "tables",
    MeshLogged: "meshes",
    EmbeddingLogged: "embeddings",
    TensorLogged: "tensors",
    GraphLogged: "graphs",
    CurveLogged: "curves",
}
_THUMBNAIL = 256
_PLOTLY = "https://cdn.plot.ly/plotly-3.0.1.min.js"
_NAMESPACE = uuid.UUID("6f0a5f0e-8d0c-5d6e-9b43-5a3f6c1d2e7b")


class File(msgspec.Struct, frozen=True):
    """A file of the run."""

    path: str
    content: bytes


class Shown(msgspec.Struct):
    """A medium as files.

    Attributes:
        files: all of them.
        altered: whether its name is another than the one given.
        charted: whether MLflow's image charts show it.
        table: the path of a table.
        losses: what is not as it was said.
    """

    files: list[File]
    altered: bool
    charted: bool = False
    table: str | None = None
    losses: list[str] = []


def shown(event: MediaLogged, step: int, timestamp: int, identity: str) -> Shown:
    """The event as files.

    Args:
        step, timestamp: as MLflow takes them.
        identity: of the event, which makes the files' names the same at each delivery.
    """
    folder = media_folder(event.name, event.context)
    place = f"media/{FOLDERS[type(event)]}/{folder.text}/step_{step}"
    found = Shown([], folder.altered)
    match event:
        case ImageLogged():
            _add_images(found, event, place, f"step+{step}+timestamp+{timestamp}", identity)
            _add_captions(found, place, list(event.captions))
        case TableLogged():
            found.table = f"{place}.json"
            found.files.append(_table(found, event))
        case _:
            found.files += _numbered(place, media.as_files(event))
            found.files += _views(event, place)
            if isinstance(event, AudioLogged | VideoLogged) and event.caption:
                _add_captions(found, place, [event.caption])
    return found


def _numbered(place: str, files: list[media.Encoded]) -> list[File]:
    """Files by their suffixes, of which several may have the same: `step_3.png`, `step_3.1.png`, `step_3.2.png`."""
    found: dict[str, File] = {}
    for file in files:
        path, number = f"{place}.{file.suffix}", 0
        while path in found:
            number += 1
            path = f"{place}.{number}.{file.suffix}"
        found[path] = File(path, file.data)
    return list(found.values())


def _add_images(found: Shown, event: ImageLogged, place: str, moment: str, identity: str) -> None:
    """As `mlflow.log_image(image, key=…, step=…)` does: the image and a small one, told apart by their names."""
    key = image_key(event.name, event.context)
    found.altered = key.altered
    pictures = media.pictures(event)
    unique = uuid.uuid5(_NAMESPACE, identity)
    for number, picture in enumerate(pictures):
        if picture.suffix.lower() != "png":
            found.files.append(File(f"{place}.{picture.suffix}", picture.data))
        image = _opened(picture.data)
        if image is None:
            found.losses.append(f"an image in a format that Pillow can't read ({picture.suffix}): a file, in no chart")
            continue
        several = f"~{number}" if len(pictures) > 1 else ""
        name = f"images/{key.text}{several}+{moment}+{unique}"
        whole = picture.data if picture.suffix.lower() == "png" else _encoded(image, "PNG")
        found.files.append(File(f"{name}.png", whole))
        found.files.append(File(f"{name}+compressed.webp", _encoded(_small(image), "WEBP")))
        found.charted = True


def _add_captions(found: Shown, place: str, captions: list[str]) -> None:
    if captions:
        found.files.append(File(f"{place}.captions.json", msgspec.json.encode(captions)))


def _opened(data: bytes) -> Image | None:
    """The image, or None if Pillow can't read it."""
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    return image if image.mode in ("L", "LA", "RGB", "RGBA") else image.convert("RGBA")


def _small(image: Image) -> Image:
    factor = _THUMBNAIL / max(image.size)
    if factor >= 1:
        return image
    return image.resize((max(1, round(image.width * factor)), max(1, round(image.height * factor))))


def _encoded(image: Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def _table(found: Shown, event: TableLogged) -> File:
    """As `mlflow.log_table` writes it: pandas' "split" without an index, in which NaN is null."""
    content = media.table(event)
    if any(isinstance(cell, float) and cell in (float("inf"), float("-inf")) for row in content.rows for cell in row):
        found.losses.append("infinity in a table: MLflow has nothing there")
    assert found.table is not None
    return File(found.table, msgspec.json.encode({"columns": content.columns, "data": content.rows}))


def _views(event: MediaLogged, place: str) -> list[File]:
    """What MLflow's pages can show of a file that they can't."""
    match event:
        case FigureLogged(format="plotly"):
            return [File(f"{place}.html", _page(event.name, Path(event.path).read_bytes()))]
        case HistogramLogged():
            return [File(f"{place}.svg", _svg.histogram(media.histogram(event), event.name))]
        case CurveLogged():
            return [File(f"{place}.svg", _svg.curve(media.curve(event), event.name))]
        case MeshLogged():
            return [File(f"{place}.html", _page(event.name, msgspec.json.encode(_mesh_figure(media.mesh(event)))))]
    return []


def _page(title: str, figure: bytes) -> bytes:
    """A page that has plotly.js, from plotly's own server, draw a figure."""
    safe = figure.decode().replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    name = title.replace("&", "&amp;").replace("<", "&lt;")
    return (
        f'<!DOCTYPE html>\n<html><head><meta charset="utf-8"><title>{name}</title><script src="{_PLOTLY}"></script>'
        '</head>\n<body><div id="figure" style="height:95vh"></div>\n'
        f"<script>const figure = {safe};\n"
        'Plotly.newPlot("figure", figure.data, figure.layout, {responsive: true});</script></body></html>\n'
    ).encode()


def _mesh_figure(mesh: media.Mesh) -> dict[str, Any]:
    """A mesh, or points, as a plotly figure."""
    x, y, z = ([_or_none(vertex[axis]) for vertex in mesh.vertices] for axis in range(3))
    colors = None if mesh.colors is None else [f"rgb({red},{green},{blue})" for red, green, blue in mesh.colors]
    trace: dict[str, Any] = {"x": x, "y": y, "z": z}
    if mesh.faces is None:
        trace |= {"type": "scatter3d", "mode": "markers", "marker": {"size": 2, "color": colors}}
    else:
        i, j, k = ([face[corner] for face in mesh.faces] for corner in range(3))
        trace |= {"type": "mesh3d", "i": i, "j": j, "k": k, "vertexcolor": colors}
    return {"data": [trace], "layout": {"scene": {"aspectmode": "data"}}}


def _or_none(value: float) -> float | None:
    return value if isfinite(value) else None
