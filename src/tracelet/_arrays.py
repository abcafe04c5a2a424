"""Arrays, tensors and PIL images as arrays of NumPy, which is imported when needed, and the order of their axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np

    Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

_PIXEL_MODES = {
    "1": "L",
    "RGBX": "RGB",
    "La": "LA",
    "RGBa": "RGBA",
    "P": "RGBA",
    "PA": "RGBA",
    "CMYK": "RGB",
    "YCbCr": "RGB",
    "LAB": "RGB",
    "HSV": "RGB",
}
_CHANNELS = (1, 2, 3, 4)


def array(given: Any, argument: str) -> Array:
    """Numbers in an array, without a copy where that can be. Raises TypeError."""
    import numpy as np

    if is_tensor(given):
        given = given.detach().cpu()
        given = given.float() if str(given.dtype) == "torch.bfloat16" else given
    try:
        found = np.asarray(given)
    except Exception as error:
        raise TypeError(f"{argument} must be an array of numbers, found {shown(given)}: {error}") from error
    if isinstance(given, np.ma.MaskedArray):
        found = np.ma.filled(given.astype(np.float64), np.nan)
    if found.dtype.kind == "V" or found.dtype.name == "bfloat16":  # JAX's
        found = found.astype(np.float32)
    if found.dtype.kind not in "biuf":
        raise TypeError(f"{argument} must be an array of numbers, found {shown(given)} ({found.dtype})")
    return found


def pixels(given: Any) -> Array:
    """An image's: of PIL as it would be shown. Raises TypeError or ValueError."""
    if hasattr(given, "getbands"):  # PIL
        mode = _PIXEL_MODES.get(given.mode)
        if given.mode.startswith("I;16"):
            return array(given, "image") / 65_535
        if given.mode in ("I", "F"):
            raise ValueError(
                f"a PIL image of mode {given.mode} has no range of its own: pass an array of floats from 0 to 1"
            )
        return array(given.convert(mode) if mode else given, "image")
    return array(given, "image")


def layout_of(array: Array, given: str | None, wanted: str, *, channels_first: bool) -> str:
    """The layout of an array, as it was given, or guessed from its shape."""
    if given is not None:
        layout = given.upper()
        if (
            len(layout) != array.ndim
            or len(set(layout)) != len(layout)
            or not {"H", "W"} <= set(layout) <= {"N", *wanted}
        ):
            raise ValueError(f"layout {given!r} doesn't fit the shape {array.shape}")
    else:
        layout = _guess(array.shape, wanted, channels_first=channels_first)
    if not array.size:
        raise ValueError(f"there are no pixels in the shape {array.shape}")
    if "C" in layout and array.shape[layout.index("C")] not in _CHANNELS:
        raise ValueError(f"there must be 1 to 4 channels, found the shape {array.shape} in the layout {layout}")
    return layout


def _guess(shape: tuple[int, ...], wanted: str, *, channels_first: bool) -> str:
    first = wanted.replace("HWC", "CHW")
    for prefix in ("",) if "N" in wanted else ("", "N"):
        last, front = prefix + wanted, prefix + first
        if len(shape) == len(last) - 1 and not prefix:
            return wanted.removesuffix("C")
        if len(shape) == len(last):
            fits = {front: shape[front.index("C")] in _CHANNELS, last: shape[-1] in _CHANNELS}
            order = (front, last) if channels_first else (last, front)
            fitting = next((layout for layout in order if fits[layout]), None)
            if fitting is not None:
                return fitting
    raise ValueError(f"the shape {shape} is no image or video: say layout=, for instance {wanted!r}")


def triples(given: Any, argument: str) -> Array:
    """Rows of three numbers, (n, 3) or (1, n, 3). Raises TypeError or ValueError."""
    found = array(given, argument)
    if found.ndim == 3 and found.shape[0] == 1:
        found = found[0]
    if found.ndim != 2 or found.shape[1] != 3:
        raise ValueError(f"{argument} must be (n, 3), found the shape {found.shape}")
    return found


def alike(arrays: Mapping[str, Array]) -> Mapping[str, Array]:
    """The arrays, which must be of one length, (n,). Raises ValueError."""
    shapes = {name: array.shape for name, array in arrays.items()}
    if len(set(shapes.values())) != 1 or any(len(shape) != 1 for shape in shapes.values()):
        raise ValueError(f"{' and '.join(shapes)} must have one length, found {', '.join(map(str, shapes.values()))}")
    return arrays


def is_tensor(value: Any) -> bool:
    """Whether it is one of torch's; files can be detached, too."""
    return hasattr(value, "detach") and hasattr(value, "cpu")


def shown(value: Any) -> str:
    """What an object is, for a message."""
    try:
        shape = getattr(value, "shape", None)
    except Exception:  # noqa: BLE001 - an object of somebody's
        shape = None
    return type(value).__name__ + (f" of shape {tuple(shape)}" if isinstance(shape, tuple) else "")
