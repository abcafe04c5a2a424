"""What SummaryWriter takes for a number or a step, as Python's own numbers: without importing NumPy or torch."""

from __future__ import annotations

from math import prod
from numbers import Integral, Number
from typing import Any


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


def step(global_step: Any) -> int | None:
    """A step as both writers take it: anything that `int()` takes, so that 1.7 and "5" are steps too."""
    return None if global_step is None else int(global_step)


def time(walltime: Any) -> float | None:
    """Seconds since the epoch; None is now."""
    return None if walltime is None else float(walltime)


def _only(values: list[Any]) -> Any:
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
