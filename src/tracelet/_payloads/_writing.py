"""What is written to a file, and how arrays and given files are."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec

from tracelet import _arrays, _values

if TYPE_CHECKING:
    from tracelet._arrays import Array

_SUFFIXES = {"jpg": "jpeg", "tif": "tiff"}


class Payload(msgspec.Struct, frozen=True):
    """What is to be written.

    Attributes:
        format: as in `MediaLogged`.
        content: a file that is copied, bytes, or a function that writes.
        layout: of an array of pixels.
    """

    format: str
    content: Path | bytes | Callable[[IO[bytes]], object]
    layout: str = ""


def given_file(given: Any, argument: str) -> Payload | None:
    """A file's payload; None if it is something else."""
    if isinstance(given, str | os.PathLike):
        path = Path(given)
        suffix = path.suffix[1:].lower()
        if path.is_dir():
            raise ValueError(f"{argument}: {path} is a folder")
        if suffix in ("npy", "npz"):
            raise ValueError(f"{argument}: load {path} with NumPy, and pass the array")
        if not suffix:
            raise ValueError(f"{argument}: the file {path} needs a suffix that tells its format")
        return Payload(_SUFFIXES.get(suffix, suffix), path)
    if isinstance(given, bytes | bytearray):
        return Payload(_sniff(bytes(given[:16]), argument), bytes(given))
    return None


def _sniff(start: bytes, argument: str) -> str:
    """The format of a file by its first bytes."""
    known = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"OggS": "ogg", b"fLaC": "flac", b"ID3": "mp3"}
    for magic, name in known.items():
        if start.startswith(magic):
            return name
    if start.startswith(b"RIFF"):
        return {b"WAVE": "wav", b"WEBP": "webp"}.get(start[8:12], "avi")
    if start[4:8] == b"ftyp":
        return "mp4"
    raise ValueError(f"{argument}: the format of these bytes is unknown; give a path whose suffix tells it")


def stack(arrays: Sequence[Array]) -> Array:
    """Arrays of one shape in one, with an axis before."""
    import numpy as np

    return np.stack(arrays)


def npy(array: Array, layout: str = "") -> Payload:
    """One array, and its layout."""
    import numpy as np

    return Payload("npy", lambda file: np.save(file, array, allow_pickle=False), layout)


def npz(arrays: Mapping[str, Array], layout: str = "") -> Payload:
    """Several arrays by name, and the layout of those that are images."""
    import numpy as np

    save: Callable[..., None] = np.savez  # whose own arguments differ between versions
    return Payload("npz", lambda file: save(file, **arrays), layout)


def same_shape(arrays: Sequence[Array], what: str) -> Sequence[Array]:
    """The arrays, which must have one shape. Raises ValueError."""
    if len({one.shape for one in arrays}) != 1:
        shapes = ", ".join(str(one.shape) for one in arrays[:5]) or "none"
        raise ValueError(f"{what} that are logged together must have one shape, found {shapes}")
    return arrays


def as_json(value: Any) -> Array:
    """A value as the bytes of its JSON, in an array."""
    import numpy as np

    return np.frombuffer(msgspec.json.encode(value), np.uint8)


def listed(given: Any) -> list[Any]:
    """Rows, columns or labels as a list. Raises TypeError."""
    if hasattr(given, "tolist"):
        given = given.tolist()
    if isinstance(given, str | bytes) or not hasattr(given, "__iter__"):
        raise TypeError(f"a table's rows and columns must be sequences, found {_arrays.shown(given)}")
    return list(given)


def text(value: Any) -> str:
    """Any value as text that UTF-8 can hold."""
    return _values.text(value).encode("utf-8", "backslashreplace").decode()
