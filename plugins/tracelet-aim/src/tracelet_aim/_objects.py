"""Media as Aim's objects, made of the files' bytes as they are."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from aim import Audio, Distribution, Image, Text
from aim import Figure as AimFigure
from aim.storage.types import BLOB
from msgspec import Struct
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

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
from tracelet_aim import _figures

MAX_BINS = 512
_SHOWN_BY_BROWSERS = ("PNG", "JPEG", "GIF", "WEBP", "BMP")
_PLAYED = ("mp3", "wav", "flac")


class Shown(Struct, frozen=True):
    """An object for a sequence.

    Attributes:
        dtype: its type there.
        reasons: what isn't quite as it was said.
        beside: a file that belongs to it; its suffix is all of the file's name behind the step.
    """

    value: Any
    dtype: str
    reasons: tuple[str, ...] = ()
    beside: media.Encoded | None = None


def shown(event: MediaLogged) -> Shown | None:
    """The event as Aim shows it; None if Aim can't show it, and only can keep its file."""
    match event:
        case FigureLogged(format="plotly"):
            return Shown(figure(media.plotly_json(event)), AimFigure.AIM_NAME)
        case ImageLogged():
            return _images(media.pictures(event), event.captions, "PIL.Image")
        case FigureLogged():
            return _images(media.pictures(event), (), "figure")
        case VideoLogged():
            return _video(event)
        case AudioLogged():
            return _sound(event)
        case HistogramLogged():
            return _distribution(media.histogram(event))
        case TableLogged():
            return _drawn(_figures.table(media.table(event), event.name))
        case CurveLogged():
            return _drawn(_figures.curve(media.curve(event), event.name))
        case MeshLogged():
            return _drawn(_figures.mesh(media.mesh(event), event.name))
        case EmbeddingLogged():
            sheet = media.sprites(event)
            beside = None if sheet is None else media.Encoded("sprites.png", sheet.data)
            return _drawn(_figures.embedding(media.embedding(event), event.name), beside)
        case GraphLogged():
            return _graph(event)
    return None


def image(data: bytes, caption: str = "", source: str = "PIL.Image") -> Image:
    """The picture in a file as it is: `aim.Image` would encode it anew, and make JPEG worse.

    Args:
        source: what it was made of, for Aim's field of that name.

    Raises:
        UnidentifiedImageError: it is no picture that Pillow knows.
    """
    with Pillow.open(io.BytesIO(data)) as opened:
        if opened.format not in _SHOWN_BY_BROWSERS:
            converted = Image(opened, caption, format="png")
            converted.storage["source"] = source
            return converted
        fields = {"mode": opened.mode, "format": opened.format.lower(), "width": opened.width, "height": opened.height}
    made = Image.__new__(Image)
    made.storage["data"] = BLOB(data=data)
    made.storage["source"] = source
    for name, value in fields.items():
        made.storage[name] = value
    made.caption = caption
    return made


def figure(json: str) -> AimFigure:
    """A figure of plotly's JSON: `aim.Figure` would want plotly's own object, and plotly."""
    made = AimFigure.__new__(AimFigure)
    for name, value in (("source", "plotly"), ("version", "unknown"), ("format", "raw_json")):
        made.storage[name] = value
    made.storage["data"] = BLOB(data=json)
    return made


def _images(files: list[media.Encoded], captions: tuple[str, ...], source: str) -> Shown | None:
    """Always a list, since Aim takes no list where there was a single image, and the other way round."""
    padded = [*captions, *[""] * len(files)]
    try:
        pictures = [image(file.data, caption, source) for file, caption in zip(files, padded, strict=False)]
    except UnidentifiedImageError:
        return None
    return Shown(pictures, f"list({Image.AIM_NAME})")


def _video(event: VideoLogged) -> Shown | None:
    encoded = media.video(event)
    if encoded.suffix != "gif":
        return None
    animated = image(encoded.data, event.caption, "video")
    return Shown([animated], f"list({Image.AIM_NAME})", ("Aim has no video: shown as an animated GIF",))


def _sound(event: AudioLogged) -> Shown | None:
    encoded = media.sound(event)
    if encoded.suffix.lower() not in _PLAYED:
        return None
    return Shown(Audio(encoded.data, format=encoded.suffix, caption=event.caption), Audio.AIM_NAME)


def _distribution(content: media.Histogram) -> Shown:
    """Aim's bins are equal, and 512 at most."""
    counts, edges = np.asarray(content.counts), np.asarray(content.edges, dtype=np.float64)
    widths = np.diff(edges)
    reasons: tuple[str, ...] = ()
    if len(counts) > MAX_BINS or not np.allclose(widths, widths[0], rtol=1e-6):
        counts, edges = _rebinned(counts, edges)
        reasons = ("Aim's bins are equal, and 512 at most: counts are spread over such bins",)
    return Shown(Distribution.from_histogram(counts, (edges[0], edges[-1])), Distribution.AIM_NAME, reasons)


def _rebinned(counts: Any, edges: Any) -> tuple[Any, Any]:
    """The counts in equal bins, as if they were even within each of the given ones; their sum stays."""
    number = min(MAX_BINS, max(64, len(counts)))
    equal = np.linspace(edges[0], edges[-1], number + 1)
    below = np.concatenate([[0.0], np.cumsum(counts)])
    return np.diff(np.interp(equal, edges, below)), equal


def _drawn(content: _figures.Figure, beside: media.Encoded | None = None) -> Shown:
    encoded, gaps = _figures.to_json(content)
    reasons = ("numbers that are none are gaps in Aim's figures",) if gaps else ()
    return Shown(figure(encoded), AimFigure.AIM_NAME, reasons, beside)


def _graph(event: GraphLogged) -> Shown | None:
    """The graph's text: Aim's Texts can be searched."""
    (file,) = media.as_files(event)
    try:
        return Shown(Text(file.data.decode()), Text.AIM_NAME)
    except UnicodeDecodeError:
        return None
