"""Payloads that are seen or heard: images, figures, videos, sound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tracelet import _arrays
from tracelet._payloads._writing import Payload, given_file, npy, same_shape, stack

if TYPE_CHECKING:
    from tracelet._arrays import Array

_FEW = 8  # audio channels at most


def image(given: Any, layout: str | None) -> Payload:
    """An array or tensor, a PIL image, a path, an encoded image's bytes, or a sequence of arrays or PIL images."""
    if (file := given_file(given, "image")) is not None:
        return file
    if isinstance(given, Sequence) and not isinstance(given[0] if given else None, list | tuple):
        pixels = same_shape([_arrays.pixels(one) for one in given], "images")
        single = None if layout is None else layout.upper().removeprefix("N")
        layout = "N" + _arrays.layout_of(pixels[0], single, "HWC", channels_first=_arrays.is_tensor(given[0]))
        return npy(stack(pixels), layout)
    array = _arrays.pixels(given)
    return npy(array, _arrays.layout_of(array, layout, "HWC", channels_first=_arrays.is_tensor(given)))


def boxes(given: Any) -> tuple[tuple[float, float, float, float], ...]:
    """Boxes, (n, 4); one may be (4,). Raises TypeError or ValueError."""
    found = _arrays.array(given, "boxes")
    if found.ndim == 1 and found.size in (0, 4):
        found = found.reshape(-1, 4)
    if found.ndim != 2 or found.shape[1] != 4:
        raise ValueError(f"boxes must be (n, 4), found the shape {found.shape}")
    return tuple((float(x1), float(y1), float(x2), float(y2)) for x1, y1, x2, y2 in found.tolist())


def figure(given: Any, layout: str | None) -> Payload:
    """A matplotlib figure (or what has one, as its axes do) or several of one size, which are drawn here; the pixels of
    what was drawn already; a plotly figure; or a path."""
    if (file := given_file(given, "figure")) is not None:
        return Payload("plotly", file.content) if file.format == "json" else file
    if hasattr(given, "to_plotly_json"):
        return Payload("plotly", given.to_json().encode())
    if isinstance(given, Sequence):
        return npy(stack(same_shape([_drawn(one) for one in given], "figures")))
    if hasattr(given, "shape") or layout is not None:
        pixels = _arrays.pixels(given)
        order = _arrays.layout_of(pixels, layout, "HWC", channels_first=_arrays.is_tensor(given))
        pixels = pixels.transpose([order.index(axis) for axis in "NHWC" if axis in order])
        return npy(pixels if "C" in order else pixels[..., None])
    return npy(_drawn(given))


def _drawn(given: Any) -> Array:
    drawn = given
    while not hasattr(drawn, "set_canvas") and getattr(drawn, "figure", None) not in (None, drawn):
        drawn = drawn.figure
    if not hasattr(drawn, "set_canvas"):
        raise TypeError(f"figure must be a matplotlib or plotly figure, or a path, found {_arrays.shown(given)}")
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = drawn.canvas
    try:
        agg = FigureCanvasAgg(drawn)
        agg.draw()
        return np.array(agg.buffer_rgba())
    finally:
        drawn.set_canvas(canvas)


def audio(given: Any) -> Payload:
    """Samples, (samples, channels) or (channels, samples); a path; or an encoded file's bytes."""
    if (file := given_file(given, "audio")) is not None:
        return file
    samples = _arrays.array(given, "audio")
    if samples.ndim == 2 and samples.shape[0] <= _FEW < samples.shape[1]:
        samples = samples.T
    if samples.ndim not in (1, 2) or not samples.size:
        raise ValueError(f"audio must be (samples,) or (samples, channels), found the shape {samples.shape}")
    if samples.dtype.kind != "f" and (samples.dtype.kind, samples.dtype.itemsize) != ("i", 2):
        raise ValueError(f"audio must be floats from -1 to 1, or 16-bit integers, found {samples.dtype}")
    return npy(samples)


def video(given: Any, layout: str | None) -> Payload:
    """Frames in an array; a path; or an encoded file's bytes."""
    if (file := given_file(given, "video")) is not None:
        return file
    frames = _arrays.array(given, "video")
    layout = _arrays.layout_of(frames, layout, "THWC", channels_first=_arrays.is_tensor(given))
    if "T" not in layout:
        raise ValueError(f"the layout of a video must have T for its frames, found {layout!r}")
    return npy(frames, layout)
