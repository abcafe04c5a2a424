"""Settings: arguments, then TRACELET_* variables, then defaults."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from tracelet import _values
from tracelet.backend import Backend
from tracelet.errors import InvalidSetting

Backends: TypeAlias = str | Backend | Sequence[str | Backend] | Mapping[str, Mapping[str, Any]] | None
Mode: TypeAlias = Literal["online", "offline", "disabled"]

MODES = ("online", "offline", "disabled")

_TRUTHS = {"1": True, "true": True, "0": False, "false": False}


def mode() -> Mode:
    """TRACELET_MODE. Raises InvalidSetting."""
    value = os.environ.get("TRACELET_MODE") or "online"
    for known in MODES:
        if value == known:
            return known  # type: ignore[return-value]
    raise InvalidSetting("TRACELET_MODE", value, f"one of {', '.join(MODES)}")


def defer(given: bool | None) -> bool:
    """`defer=`, TRACELET_DEFER, or False. Raises InvalidSetting."""
    if given is not None:
        return bool(given)
    value = os.environ.get("TRACELET_DEFER") or "0"
    if value.lower() not in _TRUTHS:
        raise InvalidSetting("TRACELET_DEFER", value, f"one of {', '.join(_TRUTHS)}")
    return _TRUTHS[value.lower()]


def directory(given: str | os.PathLike[str] | None) -> Path:
    """Where runs are kept: `directory=`, TRACELET_DIR, or .tracelet in the working directory."""
    return Path(given or os.environ.get("TRACELET_DIR") or ".tracelet").absolute()


def project(given: str | None) -> str:
    """`project=`, TRACELET_PROJECT, or "default"."""
    return _values.string(given, "project") if given is not None else os.environ.get("TRACELET_PROJECT") or "default"


def backends(given: Backends) -> list[tuple[str | Backend, Mapping[str, Any]]]:
    """Each backend with its options: `backend=`, or the names in TRACELET_BACKEND, separated by commas.

    Raises:
        TypeError: `backend` is none of the forms it may have.
    """
    if given is None:
        given = [name.strip() for name in os.environ.get("TRACELET_BACKEND", "").split(",") if name.strip()]
    if isinstance(given, str):
        given = [given]
    if isinstance(given, Mapping):
        for name, options in given.items():
            _values.mapping({} if options is None else options, f"backend[{name!r}]")
        return [(_values.string(name, "a name in backend"), options or {}) for name, options in given.items()]
    if not isinstance(given, Sequence):
        given = [given]
    for backend in given:
        if not isinstance(backend, str) and not hasattr(backend, "export"):
            raise TypeError(
                "backend must be a name, a list of names, a mapping of names to options, or a backend object, "
                f"found {type(backend).__name__}"
            )
    return [(backend, {}) for backend in given]


def is_secondary() -> bool:
    """Whether this process is one whose run is another's to log: a rank above 0, or a multiprocessing child."""
    import multiprocessing

    ranks = (os.environ.get(name, "0") for name in ("RANK", "LOCAL_RANK"))
    return any(rank not in ("", "0") for rank in ranks) or multiprocessing.parent_process() is not None
