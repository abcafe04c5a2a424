"""What people pass to the verbs, turned into what events hold; wrong types are refused here, by name."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from os import PathLike
from typing import Any, cast

from tracelet._redaction import without_logins
from tracelet.events import Context, Number, Scalar

_NO_NUMBERS = (str, bytes, complex)
_PLAIN = frozenset((bool, int, float, str))
_DEEPEST = 50  # levels of nested parameters
_first = operator.itemgetter(0)


def number(value: Any, argument: str) -> Number:
    """One number: a Python one, a NumPy scalar, or an array or tensor of one element, on any device.

    Raises:
        TypeError: it is none, or more than one.
    """
    if type(value) is float or type(value) is int:
        return value
    if type(value) is bool:
        return int(value)
    try:
        single = value.item()  # the way of NumPy and of every tensor library
    except AttributeError:
        single = value
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{argument} must be one number, found {_shown(value)}: {error}") from error
    except Exception as error:
        raise TypeError(f"{argument} must be a number, found {_shown(value)}: {error!r}") from error
    if type(single) is float:
        return single
    if isinstance(single, float):
        return float(single)
    if isinstance(single, int):
        return int(single)
    if single is not None and not isinstance(single, _NO_NUMBERS):
        try:
            return operator.index(single) if hasattr(single, "__index__") else float(single)
        except (TypeError, ValueError, OverflowError):
            pass  # it only looks like a number, or is beyond all floats
    raise TypeError(f"{argument} must be a number, found {_shown(value)}")


def integer(value: Any, argument: str) -> int:
    """A whole number of any type that says it is one. Raises TypeError."""
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{argument} must be an int or None, found {_shown(value)}") from None


def string(value: Any, argument: str) -> str:
    """A string, of any subclass. Raises TypeError."""
    if isinstance(value, str):
        return str.__str__(value)
    raise TypeError(f"{argument} must be a str, found {_shown(value)}")


def strings(value: Any, argument: str) -> tuple[str, ...]:
    """One string, or several. Raises TypeError."""
    if isinstance(value, str):
        return (string(value, argument),)
    if not isinstance(value, Iterable):
        raise TypeError(f"{argument} must be a str or several, found {_shown(value)}")
    return tuple(string(one, argument) for one in value)


def seconds(value: Any, argument: str) -> float:
    """A time or duration in seconds. Raises TypeError."""
    try:
        return float(number(value, argument))
    except OverflowError as error:
        raise TypeError(f"{argument} must be a time in seconds, found {_shown(value)}") from error


def context_pairs(context: Any) -> Context:
    """A context's pairs, sorted by name. Raises TypeError."""
    if type(context) is dict and len(context) == 1:
        ((key, value),) = context.items()
        if type(key) is str and type(value) in _PLAIN:
            return ((key, value),)
    if not isinstance(context, Mapping):
        raise TypeError(f"context must be a mapping of names to scalars, found {_shown(context)}")
    pairs = ((string(key, "a name in context"), _scalar(value, key)) for key, value in context.items())
    return tuple(sorted(pairs, key=_first))


def mapping(values: Any, argument: str) -> Mapping[Any, Any]:
    """A mapping. Raises TypeError."""
    if not isinstance(values, Mapping):
        raise TypeError(f"{argument} must be a mapping, found {_shown(values)}")
    return values


def parameters(values: Mapping[Any, Any]) -> dict[str, Any]:
    """The parameters in a nested mapping by name; of equal names ("a/b" beside "a": {"b": …}), later ones get "#2"."""
    found: dict[str, Any] = {}
    for name, value in _flatten(values):
        unique, number = name, 1
        while unique in found:
            number += 1
            unique = f"{name}#{number}"
        found[unique] = value
    return found


def _flatten(values: Mapping[Any, Any], prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """The parameters in a nested mapping, names joined with "/"; an empty mapping is a parameter, "{}"."""
    for key in values:
        name = prefix + (key if type(key) is str else text(key))
        try:
            value = values[key]
            nested = isinstance(value, Mapping) and len(value) > 0
        except Exception as error:  # noqa: BLE001 - a lazy mapping of somebody's must not end a training
            value, nested = _unreadable(key, error), False
        if nested and depth < _DEEPEST:
            yield from _flatten(value, f"{name}/", depth + 1)
        else:
            yield name, parameter(value)


def parameter(value: Any, depth: int = 0) -> Any:
    """A parameter's value: scalars keep their type, sequences become lists, and all else is its text."""
    if value is None or type(value) in _PLAIN:
        return value
    if isinstance(value, list | tuple):
        return text(value) if depth > _DEEPEST else [parameter(item, depth + 1) for item in value]
    if hasattr(value, "item"):
        try:
            single = value.item()
        except Exception:  # noqa: BLE001 - more than one element, or an object of somebody's
            return text(value)
        if type(single) in _PLAIN:
            return single
    if isinstance(value, Enum):
        return parameter(value.value)
    for plain in (int, float, str):
        if isinstance(value, plain):
            return plain(value)
    return text(value)


def text(value: Any) -> str:
    """Any object's text, whatever its `__str__` does."""
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - somebody's __str__ must not end a training
        return _unreadable(value, error)


def _unreadable(value: Any, error: Exception) -> str:
    return f"<{type(value).__name__}, whose text can't be had: {type(error).__name__}>"


def location(place: str | PathLike[str]) -> str:
    """A URL without `user:password@`, and the path of a file as an absolute one."""
    name = os.fspath(place)
    return str(without_logins(name)) if "://" in name else os.path.abspath(name)


def described(data: Any) -> tuple[dict[str, str], dict[str, Number]]:
    """The columns' types, and the sizes, of a frame or array. Raises TypeError."""
    shape = getattr(data, "shape", None)
    if shape is None:
        raise TypeError(f"data must be a path, a URL, a frame or an array, found {_shown(data)}")
    sizes: dict[str, Number] = {"rows": int(shape[0])} if len(shape) else {}
    columns = getattr(data, "columns", None)
    if columns is None:
        sizes |= {f"size {axis}": int(size) for axis, size in enumerate(shape[1:], 1)}
        return {"": text(getattr(data, "dtype", ""))}, sizes
    types = dict(zip(map(text, columns), map(text, data.dtypes), strict=True))
    return types, sizes | {"columns": len(types)}


def _scalar(value: Any, key: str) -> Scalar:
    if value is None or type(value) in _PLAIN:
        return cast(Scalar, value)
    if isinstance(value, str):
        return str(value)
    return number(value, f"context[{key!r}]")


def _shown(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return type(value).__name__ + (f" of shape {tuple(shape)}" if shape is not None else f" {value!r:.80}")
