"""The order of runs, the newest first, without reading more of them than it takes."""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

_VERSION_7 = re.compile(r"([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


class _Created(msgspec.Struct):
    """All of run.json that the order takes."""

    created: float


def newest_first(runs: Path) -> list[Path]:
    """Whatever lies in the folder of runs, the newest first; it need not exist.

    The id of a run tells when it began, unless its user chose it: then run.json does, or else the file's date.

    Raises:
        OSError: the folder can't be read.
    """
    try:
        with os.scandir(runs) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [runs / name for _, name in sorted(((_began(runs, name), name) for name in names), reverse=True)]


def _began(runs: Path, name: str) -> float:
    match = _VERSION_7.fullmatch(name)
    if match is not None:
        return int(match[1] + match[2], 16) / 1000
    path = runs / name
    try:
        return msgspec.json.decode((path / "run.json").read_bytes(), type=_Created).created
    except (OSError, msgspec.MsgspecError):
        pass
    try:
        return os.lstat(path).st_mtime
    except OSError:
        return 0.0  # deleted just now
