"""Media encoded as trackers take them: PNG, WAV, GIF, CSV and the like."""

from __future__ import annotations

import io
import math
import wave
from itertools import pairwise
from pathlib import Path
from typing import Any

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
    TensorLogged,
    VideoLogged,
)
from tracelet.media import _pixels
from tracelet.media._content import Mesh, Table, array, arrays, curve, embedding, histogram, mesh, table


class Encoded(msgspec.Struct, frozen=True):
    """A file's content, and its suffix, as in "png"."""

    suffix: str
    data: bytes


def pictures(event: ImageLogged | FigureLogged) -> list[Encoded]:
    """The images: PNG of arrays, files as they were given. Raises ValueError for a plotly figure, which is JSON.

    Boxes are drawn, also on files, which are then PNG.
    """
    if event.format == "plotly":
        raise ValueError("a plotly figure is drawn by a browser, not here")
    boxes = event.boxes if isinstance(event, ImageLogged) else ()
    if event.format != "npy":
        data = Path(event.path).read_bytes()
        if not boxes:
            return [Encoded(event.format, data)]
        images = [_pixels.opened(data)]
    else:
        pixels = array(event)
        layout = event.layout if isinstance(event, ImageLogged) else "NHWC"[-pixels.ndim :]
        images = _pixels.images(pixels, layout)
    if isinstance(event, ImageLogged) and boxes:
        images = [_pixels.with_boxes(image, boxes, event.labels) for image in images]
    return [Encoded("png", _pixels.saved(image, "PNG")) for image in images]


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
    frames = _pixels.images(_pixels.in_order(array(event), event.layout.replace("T", "t"), "NtHWC"), "NHWC")
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


def sprites(event: EmbeddingLogged) -> Encoded | None:
    """The images of an embedding in one PNG, as many in a row as there are rows; None if it has none."""
    given = arrays(event)
    if "images" not in given:
        return None
    return Encoded("png", _pixels.saved(_pixels.sheet(_pixels.images(given["images"], event.layout)), "PNG"))


def plotly_json(event: FigureLogged) -> str:
    """The JSON of a figure in the format "plotly"."""
    return Path(event.path).read_text("utf-8")


def as_files(event: MediaLogged) -> list[Encoded]:
    """Any medium as files that people can open: what a tracker shows that knows files only.

    PNG, WAV, GIF or what was given; tables as CSV, meshes as OBJ (and how to show them as JSON), embeddings as
    tab-separated vectors (and labels, and all images in one) for TensorBoard's projector, plotly figures as plotly's
    JSON, histograms, curves and graphs as JSON, tensors as NumPy's own files.
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
            config = [Encoded("config.json", event.config.encode())] if event.config else []
            return [Encoded("obj", _obj(mesh(event))), *config]
        case EmbeddingLogged():
            given = embedding(event)
            vectors = "".join("\t".join(map(repr, row)) + "\n" for row in given.vectors)
            files = [Encoded("vectors.tsv", vectors.encode())]
            if given.labels is not None:
                lines_of = (
                    [given.columns, *given.rows] if given.columns and given.rows else [[one] for one in given.labels]
                )
                lines = "".join("\t".join(" ".join(cell.split()) for cell in row) + "\n" for row in lines_of)
                files.append(Encoded("labels.tsv", lines.encode()))
            if (sheet := sprites(event)) is not None:
                files.append(Encoded("sprites.png", sheet.data))
            return files
        case TensorLogged():
            return [Encoded("npy", Path(event.path).read_bytes())]
        case GraphLogged(format="json"):
            return [Encoded("graph.json", Path(event.path).read_bytes())]
    return [Encoded(event.format or "bin", Path(event.path).read_bytes())]


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
