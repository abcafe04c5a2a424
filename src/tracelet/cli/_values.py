"""Values as people read them: of metrics, of parameters, and of contexts."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from tracelet.cli._output import Part
from tracelet.events import Context, Number

_BYTES = re.compile(r"(?:.*[^A-Za-z])?bytes(_per_second)?", re.IGNORECASE | re.DOTALL)  # names of metrics in bytes
_UNITS = ("B", "kB", "MB", "GB", "TB")
_MOST_BYTES = 1e16  # beyond it, units are no help
_LONGEST = 500  # characters of a text that is shown


def value_of(name: str, value: Number | None) -> Part:
    """A metric's value, with its unit if the name says that it is in bytes."""
    return figure(value) if value is None else _in_bytes(name, value) or figure(value)


def label_of(name: str) -> Callable[[float], str]:
    """What stands at the axis of a metric's plot."""
    return lambda value: _in_bytes(name, value) or f"{value:.4g}"


def _in_bytes(name: str, value: Number) -> str | None:
    """With four digits that count; None if it is not in bytes, or nothing that units are of help with."""
    unit = _BYTES.fullmatch(name)
    if unit is None or not abs(value) < _MOST_BYTES:
        return None
    power = next((power for power in range(len(_UNITS)) if abs(value) < 1000.0 ** (power + 1)), len(_UNITS) - 1)
    return f"{value / 1000.0**power:.4g} {_UNITS[power]}{'/s' if unit[1] else ''}"


def figure(value: Number | None) -> Part:
    """A number with six digits that count."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else (f"{value}", "yellow")
    return whole(value)


def whole(value: int) -> str:
    """An integer, with its exponent if it is huge."""
    if abs(value) < 10**15:
        return f"{value:,}"
    digits = math.log10(abs(value))
    return f"{'-' if value < 0 else ''}{10 ** (digits % 1):.5g}e+{int(digits)}"


def context_text(context: Context) -> str:
    """As in `rank=1, subset=val`."""
    return ", ".join(f"{name}={value}" for name, value in context)


def value_text(value: Any) -> str:
    """What somebody logged, on one line and not too long."""
    if type(value) is int:
        return whole(value) if abs(value) >= 10**15 else str(value)
    return shortened(" ".join(str(value).split()))


def shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text):,} characters)"
