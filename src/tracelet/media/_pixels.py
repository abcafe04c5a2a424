"""Arrays as images, and what is drawn on them; Pillow is imported when needed."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    Array = np.ndarray[Any, np.dtype[Any]]


def images(values: Array, layout: str) -> list[Image]:
    """Pillow's images of an array, whatever its layout. Floats are from 0 to 1, integers from 0 to 255."""
    import numpy as np
    from PIL import Image

    pixels = in_order(values, layout, "NHWC")
    if pixels.dtype.kind == "b":
        pixels = pixels * np.uint8(255)
    elif pixels.dtype.kind == "f":
        pixels = np.round(np.nan_to_num(pixels.astype(np.float64)).clip(0, 1) * 255)
    pixels = pixels.clip(0, 255).astype(np.uint8)
    flat = [one[:, :, 0] if one.shape[2] == 1 else one for one in pixels]
    return [Image.fromarray(one) for one in map(np.ascontiguousarray, flat)]


def in_order(values: Array, layout: str, wanted: str) -> Array:
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


def saved(image: Image, kind: str) -> bytes:
    """An image's file."""
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def opened(data: bytes) -> Image:
    """The image in a file. Raises OSError if Pillow can't read it."""
    from PIL import Image

    return Image.open(io.BytesIO(data))


def with_boxes(image: Image, boxes: Sequence[tuple[float, float, float, float]], labels: Sequence[str]) -> Image:
    """A copy with boxes and their labels on it, in red."""
    from PIL import ImageDraw

    drawn = image.convert("RGBA" if image.mode in ("LA", "RGBA", "P") else "RGB")
    pen = ImageDraw.Draw(drawn)
    for number, (left, top, right, bottom) in enumerate(boxes):
        pen.rectangle((min(left, right), min(top, bottom), max(left, right), max(top, bottom)), outline="red", width=2)
        if number < len(labels) and labels[number]:
            label = labels[number].encode("latin-1", "replace").decode("latin-1")  # all that Pillow's own font has
            place = pen.textbbox((min(left, right) + 2, max(top, bottom)), label, anchor="lb")
            pen.rectangle(place, fill="red")
            pen.text((min(left, right) + 2, max(top, bottom)), label, fill="black", anchor="lb")
    return drawn


def sheet(images: Sequence[Image]) -> Image:
    """All images, of one size, in one that is about as many wide as high, row by row."""
    from PIL import Image

    columns = math.ceil(math.sqrt(len(images)))
    width, height = images[0].size
    whole = Image.new("RGBA", (columns * width, columns * height))
    for number, image in enumerate(images):
        whole.paste(image.convert("RGBA"), (number % columns * width, number // columns * height))
    return whole
