"""The libraries that an import needs and Tracelet itself does not: CRC-32C, and the classes of TensorBoard's events."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

_EVENTS = ("tensorboard.compat.proto.event_pb2", "tensorboardX.proto.event_pb2")  # the first takes less time to load


def crc32c() -> Callable[[bytes], int]:
    """The function that computes CRC-32C. Raises ImportError."""
    try:
        value: Callable[[bytes], int] = import_module("google_crc32c").value
    except ImportError as error:
        raise _missing("google-crc32c", error) from error
    return value


def event_parser() -> Callable[[bytes], Any]:
    """What makes an Event of its bytes, with TensorBoard's classes or tensorboardX's. Raises ImportError."""
    problem: ImportError | None = None
    for name in _EVENTS:
        try:
            parse: Callable[[bytes], Any] = import_module(name).Event.FromString
        except ImportError as error:
            problem = error
        else:
            return parse
    assert problem is not None
    raise _missing("tensorboardX or tensorboard", problem) from problem


def check_needs() -> None:
    """See that they are there. Raises ImportError, which says what to install."""
    crc32c()
    event_parser()


def _missing(name: str, error: ImportError) -> ImportError:
    return ImportError(
        f"reading event files needs {name} ({error}): install what imports need from the Tracelet checkout, "
        "python -m pip install '.[import]' (and the plugins you have, in the same command)"
    )
