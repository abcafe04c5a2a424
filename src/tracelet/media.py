"""The files of media events, for backend plugins: what is in them, and encoded as trackers take them.

The training process writes arrays as they are; everything here happens in the delivery process, and is blocking
(`await run.blocking(media.pictures, event)`). It needs NumPy, and Pillow for images, figures and video:
`tracelet[media]`.
"""

from __future__ import annotations

import io
import math
import wave
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

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

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    Array = np.ndarray[Any, np.dtype[Any]]


class Encoded(msgspec.Struct, frozen=True):
    """A file's content, and its suffix, as in "png"."""

    suffix: str
    data: bytes


class Histogram(msgspec.Struct, frozen=True):
    """n counts, and the n + 1 edges between which they were counted, ascending."""

    counts: list[float]
    edges: list[float]


class Table(msgspec.Struct, frozen=True):
    """Rows of cells (None, bool, int, float, str), as many in each as there are columns."""

    columns: list[str]
    rows: list[list[Any]]


class Mesh(msgspec.Struct, frozen=True):
    """As in `MeshLogged`."""

    vertices: list[list[float]]
    colors: list[list[int]] | None
    faces: list[list[int]] | None


class Embedding(msgspec.Struct, frozen=True):
    """As in `EmbeddingLogged`."""

    vectors: list[list[float]]
    labels: list[str] | None


class Curve(msgspec.Struct, frozen=True):
    """The points of a curve, and what its axes are. Of a classifier's, the thresholds descend with the points."""

    x: list[float]
    y: list[float]
    x_label: str
    y_label: str
    thresholds: list[float] | None = None


class Node(msgspec.Struct, frozen=True):
    """One operation of a graph."""

    id: str
    op: str = ""
    label: str = ""


class Graph(msgspec.Struct, frozen=True):
    """Operations, and which one's result goes to which."""

    nodes: list[Node]
    edges: list[tuple[str, str]]


# What is in the files.


def array(event: MediaLogged) -> Array:
    """The array of an event in the format "npy". Raises ValueError if the file is none."""
    import numpy as np

    loaded: Array = np.load(event.path, allow_pickle=False)
    return loaded


def arrays(event: MediaLogged) -> dict[str, Array]:
    """The arrays of an event in the format "npz". Raises ValueError if the file is none."""
    import numpy as np

    with np.load(event.path, allow_pickle=False) as archive:
        return dict(archive)


def histogram(event: HistogramLogged) -> Histogram:
    """The counts, made of the values if need be; values that are not finite are in none of the bins."""
    import numpy as np

    if event.format == "npz":
        given = arrays(event)
        return Histogram(given["counts"].tolist(), given["edges"].tolist())
    values = array(event).ravel()
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if not finite.size:
        return Histogram([0], [0.0, 1.0])
    counts, edges = np.histogram(finite.astype(np.float64), bins=event.bins)
    return Histogram(counts.tolist(), edges.tolist())


def table(event: TableLogged) -> Table:
    """The columns and rows."""
    return msgspec.msgpack.decode(Path(event.path).read_bytes(), type=Table)


def mesh(event: MeshLogged) -> Mesh:
    """The vertices, and colours and faces if there are any."""
    given = arrays(event)
    return Mesh(
        given["vertices"].tolist(),
        given["colors"].tolist() if "colors" in given else None,
        given["faces"].tolist() if "faces" in given else None,
    )


def embedding(event: EmbeddingLogged) -> Embedding:
    """The vectors, and their labels if there are any."""
    given = arrays(event)
    labels = msgspec.json.decode(given["labels"].tobytes(), type=list[str]) if "labels" in given else None
    return Embedding(given["vectors"].tolist(), labels)


def graph(event: GraphLogged) -> Graph | None:
    """The nodes and edges; None if the file is in another format than "json"."""
    if event.format != "json":
        return None
    return msgspec.json.decode(Path(event.path).read_bytes(), type=Graph)


def curve(event: CurveLogged) -> Curve:
    """The points of a line, or of a classifier's curve, which are computed here from labels and predictions.

    Thresholds are evenly spaced in [0, 1], and a prediction counts as positive at or above one. Where nothing counts as
    positive, precision is 1.
    """
    import numpy as np

    given = arrays(event)
    if event.curve == "line":
        return Curve(given["x"].tolist(), given["y"].tolist(), event.x_label, event.y_label)
    labels = given["labels"].astype(bool)
    predictions = given["predictions"].astype(np.float64)
    weights = given.get("weights", np.ones(labels.shape)).astype(np.float64)
    thresholds = np.arange(event.thresholds - 1, -1, -1) / max(event.thresholds - 1, 1)
    order = np.argsort(-predictions, kind="stable")
    ranked = predictions[order]
    hits = np.concatenate([[0.0], np.cumsum(np.where(labels, weights, 0)[order])])
    misses = np.concatenate([[0.0], np.cumsum(np.where(labels, 0, weights)[order])])
    taken = np.searchsorted(-ranked, -thresholds, side="right")
    true, false = hits[taken], misses[taken]
    recall = true / hits[-1] if hits[-1] else np.zeros_like(true)
    if event.curve == "pr":
        positive = true + false
        precision = np.divide(true, positive, out=np.ones_like(true), where=positive > 0)
        return Curve(recall.tolist(), precision.tolist(), "recall", "precision", thresholds.tolist())
    fallout = false / misses[-1] if misses[-1] else np.zeros_like(false)
    return Curve(fallout.tolist(), recall.tolist(), "false positive rate", "true positive rate", thresholds.tolist())


# Encoded, as trackers take them.


def pictures(event: ImageLogged | FigureLogged) -> list[Encoded]:
    """The images: PNG of arrays, files as they were given. Raises ValueError for a plotly figure, which is JSON."""
    if event.format == "plotly":
        raise ValueError("a plotly figure is drawn by a browser, not here")
    if event.format != "npy":
        return [Encoded(event.format, Path(event.path).read_bytes())]
    layout = event.layout if isinstance(event, ImageLogged) else "HWC"
    return [Encoded("png", _save(image, "PNG")) for image in _images(array(event), layout)]


def sound(event: AudioLogged) -> Encoded:
    """The sound: WAV with 16-bit samples of an array, a file as it was given."""
    import numpy as np

    if event.format != "npy":
        return Encoded(event.format, Path(event.path).read_bytes())
    samples = array(event)
    if samples.dtype.kind == "f":
        samples = np.round(np.nan_to_num(samples.astype(np.float64)).clip(-1, 1) * 32_767)
    samples = samples.astype("<i2")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as writer:
        writer.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        writer.setsampwidth(2)
        writer.setframerate(event.sample_rate)
        writer.writeframes(samples.tobytes())
    return Encoded("wav", buffer.getvalue())


def video(event: VideoLogged) -> Encoded:
    """The video: an animated GIF of an array, a file as it was given.

    A GIF has at most 256 colours a frame, and at most 50 frames a second, beyond which frames are left out.
    """
    if event.format != "npy":
        return Encoded(event.format, Path(event.path).read_bytes())
    frames = _images(_in_order(array(event), event.layout.replace("T", "t"), "NtHWC"), "NHWC")
    shown = [(frame, duration) for frame, duration in zip(frames, _durations(len(frames), event.fps), strict=True)]
    shown = [(frame, duration) for frame, duration in shown if duration] or [(frames[0], 0)]
    (first, _), *others = shown
    buffer = io.BytesIO()
    first.save(
        buffer,
        "GIF",
        save_all=True,
        append_images=[frame for frame, _ in others],
        duration=[duration for _, duration in shown],
        loop=0,
    )
    return Encoded("gif", buffer.getvalue())


def _durations(count: int, fps: float) -> list[int]:
    """How long each frame is shown, in milliseconds: GIF's clock ticks 100 times a second, and viewers take 2 ticks."""
    ticks = [min(round(frame * 50 / fps), 30_000 * frame) for frame in range(count + 1)]
    return [20 * (after - before) for before, after in pairwise(ticks)]


def plotly_json(event: FigureLogged) -> str:
    """The JSON of a figure in the format "plotly"."""
    return Path(event.path).read_text("utf-8")


def as_files(event: MediaLogged) -> list[Encoded]:
    """Any medium as files that people can open: what a tracker shows that knows files only.

    PNG, WAV, GIF or what was given; tables as CSV, meshes as OBJ, embeddings as tab-separated vectors (and labels) for
    TensorBoard's projector, plotly figures as plotly's JSON, histograms, curves and graphs as JSON.
    """
    match event:
        case FigureLogged(format="plotly"):
            return [Encoded("plotly.json", plotly_json(event).encode())]
        case ImageLogged() | FigureLogged():
            return pictures(event)
        case AudioLogged():
            return [sound(event)]
        case VideoLogged():
            return [video(event)]
        case TableLogged():
            return [Encoded("csv", _csv(table(event)))]
        case HistogramLogged():
            return [Encoded("histogram.json", _json(histogram(event)))]
        case CurveLogged():
            return [Encoded(f"{event.curve}.curve.json", _json(curve(event)))]
        case MeshLogged():
            return [Encoded("obj", _obj(mesh(event)))]
        case EmbeddingLogged():
            given = embedding(event)
            vectors = "".join("\t".join(map(repr, row)) + "\n" for row in given.vectors)
            files = [Encoded("vectors.tsv", vectors.encode())]
            if given.labels is not None:
                lines = "".join(" ".join(label.split()) + "\n" for label in given.labels)
                files.append(Encoded("labels.tsv", lines.encode()))
            return files
        case GraphLogged(format="json"):
            return [Encoded("graph.json", Path(event.path).read_bytes())]
    return [Encoded(event.format or "bin", Path(event.path).read_bytes())]


def _images(values: Array, layout: str) -> list[Image]:
    """Pillow's images of an array, whatever its layout."""
    import numpy as np
    from PIL import Image

    pixels = _in_order(values, layout, "NHWC")
    if pixels.dtype.kind == "b":
        pixels = pixels * np.uint8(255)
    elif pixels.dtype.kind == "f":
        pixels = np.round(np.nan_to_num(pixels.astype(np.float64)).clip(0, 1) * 255)
    pixels = pixels.clip(0, 255).astype(np.uint8)
    flat = [one[:, :, 0] if one.shape[2] == 1 else one for one in pixels]
    return [Image.fromarray(one) for one in map(np.ascontiguousarray, flat)]


def _in_order(values: Array, layout: str, wanted: str) -> Array:
    """The array with its axes in that order; axes that it lacks have the length 1. Two "frames" axes become one."""
    order = [layout.index(axis) for axis in wanted if axis in layout]
    values = values.transpose(order)
    present = [axis for axis in wanted if axis in layout]
    for place, axis in enumerate(wanted):
        if axis not in present:
            values = values.reshape(*values.shape[:place], 1, *values.shape[place:])
    if "t" in wanted:
        values = values.reshape(-1, *values.shape[2:])
    return values


def _save(image: Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def _csv(content: Table) -> bytes:
    import csv

    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(content.columns)
    writer.writerows(content.rows)
    return text.getvalue().encode()


def _obj(content: Mesh) -> bytes:
    """Wavefront's OBJ, with colours from 0 to 1 behind the coordinates, as most viewers take them."""
    colors = content.colors or [[]] * len(content.vertices)
    lines = [
        " ".join(["v", *map(repr, vertex), *(repr(value / 255) for value in color)])
        for vertex, color in zip(content.vertices, colors, strict=True)
    ]
    lines += [" ".join(["f", *(str(number + 1) for number in face)]) for face in content.faces or []]
    return "\n".join(lines).encode() + b"\n"


def _json(content: msgspec.Struct) -> bytes:
    return msgspec.json.encode(_sayable(msgspec.to_builtins(content)))


def _sayable(value: Any) -> Any:
    """NaN and the infinities as text, which JSON has no other way to say."""
    if isinstance(value, dict):
        return {key: _sayable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_sayable(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
