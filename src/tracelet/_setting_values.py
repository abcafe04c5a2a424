"""What the values of settings may be: from what stands in an argument, a variable or a file, to what holds.

Each function takes a value and what to call it, and raises TypeError or InvalidSetting.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tracelet import _values
from tracelet.backend import Backend
from tracelet.errors import InvalidSetting

SURROUNDINGS = ("git", "environment", "command", "console", "system")
"""What can be captured; see `tracelet.capture`."""

_WORDS = {"1": True, "true": True, "0": False, "false": False}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(?:([KMGT])(i?)B|B)?", re.IGNORECASE)
_SMALLEST_QUOTA = 500_000  # with less, a run would hold little but its start and end
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4}


def text(value: Any, label: str) -> str:
    """A string that any UTF-8 can hold: lone surrogates, as in names of files that are none, are written out."""
    return _values.string(value, label).encode("utf-8", "backslashreplace").decode()


def path(value: Any, label: str) -> Path:
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"{label} must be a path, found {type(value).__name__}")
    place = Path(value)
    try:
        sayable = b"\0" not in os.fsencode(place)
    except UnicodeEncodeError:
        sayable = False
    if not sayable:
        raise InvalidSetting(label, str(place), "a path that the file system can hold")
    try:
        return place.absolute()
    except OSError:  # the working directory was deleted: no journal can be had in it
        return place


def flag(value: Any, label: str) -> bool:
    if isinstance(value, str):
        value = _WORDS.get(value.lower(), value)
    if value not in (True, False):
        raise InvalidSetting(label, value, f"one of {', '.join(_WORDS)}")
    return bool(value)


def choice(*choices: str) -> Callable[[Any, str], str]:
    def read(value: Any, label: str) -> str:
        if value not in choices:
            raise InvalidSetting(label, value, f"one of {', '.join(choices)}")
        return str(value)

    return read


def seconds(least: float) -> Callable[[Any, str], float]:
    def read(value: Any, label: str) -> float:
        try:
            number = float("nan") if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = float("nan")
        if not least <= number < float("inf"):
            raise InvalidSetting(label, value, f"a number of seconds, {least:g} or more")
        return number

    return read


def size_of(value: Any, label: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    number, unit, binary = match.groups() if match is not None else ("inf", None, None)
    size = float(number) * (1024 if binary else 1000) ** _POWERS.get((unit or "").lower(), 0)
    if math.isinf(size):
        raise InvalidSetting(label, value, "a size: a number of bytes, or text such as '500 MB', '10GB' or '2GiB'")
    return int(size)


def quota_of(value: Any, label: str) -> int:
    size = size_of(value, label)
    if size < _SMALLEST_QUOTA:
        raise InvalidSetting(label, value, "a size of at least 500 kB; without a quota there is no limit")
    return size


def backends(value: Any, label: str) -> list[tuple[str | Backend, Mapping[str, Any]]]:
    """Each backend with its options, from any of the forms; in a variable, names separated by commas."""
    if isinstance(value, str):
        value = [name.strip() for name in value.split(",") if name.strip()]
    if isinstance(value, Mapping):
        for name, options in value.items():
            if not isinstance(options, Mapping | None):  # what it is may be a secret
                kind = type(options).__name__
                raise TypeError(f"{label}[{name!r}] must be a mapping of options to values, found {kind}")
        return [(text(name, f"a name in {label}"), options or {}) for name, options in value.items()]
    if not isinstance(value, Sequence):
        value = [value]
    for backend in value:
        if not isinstance(backend, str) and not hasattr(backend, "export"):
            raise TypeError(
                f"{label} must be a name, a list of names, a mapping of names to options, or a backend object, "
                f"found {type(backend).__name__}"
            )
    return [(text(backend, label) if isinstance(backend, str) else backend, {}) for backend in value]


def chosen_backends(
    layers: Sequence[list[tuple[str | Backend, Mapping[str, Any]]]],
) -> list[tuple[str | Backend, Mapping[str, Any]]]:
    """The backends that the first layer names, each with its options there before those of the layers behind it."""
    chosen: list[tuple[str | Backend, Mapping[str, Any]]] = []
    for backend, options in layers[0]:
        merged: dict[str, Any] = {}
        for layer in reversed(layers[1:]):
            for name, own in layer:
                if isinstance(backend, str) and name == backend:
                    merged = _merged(merged, own)
                    break
        chosen.append((backend, _merged(merged, options)))
    return chosen


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Options with others before them; of "delivery" each field by itself."""
    merged = {**below, **above}
    parts = (below.get("delivery"), above.get("delivery"))
    if all(isinstance(part, Mapping) for part in parts):
        merged["delivery"] = {**below["delivery"], **above["delivery"]}
    return merged


def switches(value: Any, label: str) -> Mapping[str, bool]:
    """What a source says of each surrounding: all, none, exactly some, or only what it says of a few."""
    expected = f"True, False, or some of {', '.join(SURROUNDINGS)}"
    if isinstance(value, str):
        expected = f"1, 0, or some of {', '.join(SURROUNDINGS)}, separated by commas; -NAME leaves one out"
        names = [name.strip() for name in value.split(",") if name.strip()]
        whole = _WORDS.get(value.strip().lower())
        if whole is not None:
            value = whole
        elif all(name.startswith("-") for name in names):
            value = {name[1:]: False for name in names}
        else:
            value = names
    if isinstance(value, bool):
        return dict.fromkeys(SURROUNDINGS, value)
    if not isinstance(value, Mapping | Sequence | set | frozenset):
        raise InvalidSetting(label, value, expected)
    for name in value:
        if name not in SURROUNDINGS:
            raise InvalidSetting(label, name, expected)
    if isinstance(value, Mapping):
        return {name: flag(switch, f"{label}[{name!r}]") for name, switch in value.items()}
    return {name: name in value for name in SURROUNDINGS}


def captured(layers: Sequence[Mapping[str, bool]]) -> frozenset[str]:
    switches: dict[str, bool] = {}
    for layer in reversed(layers):
        switches.update(layer)
    return frozenset(name for name, on in switches.items() if on)


LAYERED: dict[Callable[[Any, str], Any], Callable[[Any], Any]] = {
    backends: chosen_backends,
    switches: captured,
}
"""Settings of which each source may say a part, and what puts the parts together."""
