"""What SummaryWriter takes for numbers, steps and arrays, as the verbs of a run take them.

NumPy is imported where arrays are passed, and torch nowhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from math import prod
from numbers import Integral, Number
from typing import TYPE_CHECKING, Any

from tracelet import _arrays

if TYPE_CHECKING:
    from tracelet._arrays import Array

_NEARLY_ENDLESS = 1e300  # TensorFlow's last bucket ends with the largest float


def number(value: Any) -> int | float:
    """The one number in whatever torch's or tensorboardX's `add_scalar` accepts, in its own precision.

    A tensor is asked for its `.item()`: torch's own conversion takes bfloat16 through float16, where 70000 is infinite.

    Raises (the types are those of torch's writer):
        NotImplementedError: not a number at all, for instance None.
        AssertionError: an array, tensor or list with more or fewer than one element.
        ValueError: a string that doesn't spell a number.
        TypeError: a complex number.
    """
    if hasattr(value, "item"):
        return _plain(_item(value))
    if isinstance(value, list):
        return number(_only(value))
    return _plain(value)


def is_single(value: Any) -> bool:
    """Whether it is a tensor with one element."""
    return hasattr(value, "detach") and hasattr(value, "numel") and value.numel() == 1


def step(global_step: Any) -> int | None:
    """A step as both writers take it: anything that `int()` takes, so that 1.7 and "5" are steps too."""
    return None if global_step is None else int(global_step)


def time(walltime: Any) -> float | None:
    """Seconds since the epoch; None is now."""
    return None if walltime is None else float(walltime)


def array(value: Any) -> Array:
    """An array of what a writer takes for one."""
    return _arrays.array(value, "the value")


def pixels(value: Any) -> Array:
    """Pixels, in whose arrays TensorBoard takes unsigned 8-bit integers as 0 to 255, and all else as 0 to 1."""
    found = array(value)
    if found.dtype.kind in "iu" and (found.dtype.kind, found.dtype.itemsize) != ("u", 1):
        return (found > 0).astype("uint8") * 255
    return found


def channels_last(images: Array) -> Array:
    """Images (n, C, H, W) as (n, H, W, C)."""
    return images.transpose(0, 2, 3, 1) if images.ndim == 4 else images


def samples(value: Any) -> Array:
    """Sound, from -1 to 1 or as 16-bit integers; one channel as (samples,)."""
    found = array(value)
    if found.ndim == 2 and found.shape[0] == 1:
        found = found[0]
    if found.dtype.kind == "f" or (found.dtype.kind, found.dtype.itemsize) == ("i", 2):
        return found
    return found.astype("float32")


def shades(colors: Any) -> Array | None:
    """Colours from 0 to 255. Floats are taken as 0 to 1, as torch says, unless there is one beyond."""
    if colors is None:
        return None
    found = array(colors)
    if found.dtype.kind != "f":
        return found
    scale = 255 if not found.size or found.max() <= 1 else 1
    return (found * scale).clip(0, 255).round().astype("uint8")


def of_batch(arrays: Array | None, number: int) -> Array | None:
    """What belongs to one of a batch; what there is once belongs to each."""
    return None if arrays is None else arrays[0 if len(arrays) == 1 else number]


def parameter(value: Any) -> Any:
    """A hyperparameter; of an array or tensor its numbers."""
    if not hasattr(value, "item"):
        return value
    return value.item() if prod(getattr(value, "shape", ())) == 1 else value.tolist()


def alike(weights: Any, labels: Any) -> Any:
    """One weight for each label; a single one is that of all."""
    if weights is None:
        return None
    found = array(weights)
    return found.ravel().repeat(array(labels).size) if found.size == 1 else found


def buckets(minimum: float, maximum: float, limits: Any, counts: Any) -> tuple[list[float], list[float]]:
    """The counts and the edges of bins of which TensorBoard has the upper limits, and the smallest and largest value.

    Its writers put an empty bin before the others, for the sake of its limit.

    Raises:
        ValueError: there are not as many limits as counts, or none.
    """
    upper, found = [float(limit) for limit in limits], [float(count) for count in counts]
    if not upper or len(upper) != len(found):
        raise ValueError(f"a histogram has as many limits as counts, found {len(upper)} and {len(found)}")
    if len(found) > 1 and found[0] == 0:
        found, edges = found[1:], upper
    else:
        edges = [min(float(minimum), math.nextafter(upper[0], -math.inf)), *upper]
    if edges[-1] > _NEARLY_ENDLESS and edges[-2] < maximum < edges[-1]:
        edges[-1] = float(maximum)
    return found, edges


def _only(values: Sequence[Any]) -> Any:
    if len(values) != 1:
        raise AssertionError(f"expected one element, found {len(values)}")
    return values[0]


def _item(array: Any) -> Any:
    try:
        return array.item()
    except (ValueError, RuntimeError) as error:
        shape = tuple(getattr(array, "shape", ()))
        if prod(shape) == 1:
            raise
        raise AssertionError(f"expected one element, found {prod(shape)} (shape {shape})") from error


def _plain(value: Any) -> int | float:
    if type(value) is float or type(value) is int:
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, (Number, str, bytes)):
        return float(value)  # type: ignore[arg-type]  # complex raises the TypeError that is promised
    raise NotImplementedError(f"expected a number, or an array or tensor with one element, found {type(value)}")
