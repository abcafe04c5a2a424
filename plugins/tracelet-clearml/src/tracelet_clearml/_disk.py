"""Files on this machine, on their way to ClearML. All of it is blocking."""

from __future__ import annotations

import hashlib
import os
import stat
import zipfile
from pathlib import Path

from tracelet_clearml._errors import Unreadable

_PIECE = 1 << 20


def inspect(path: Path, or_folder: bool) -> os.stat_result:
    """What the file system says of a file. Raises Unreadable if it is none, or can't be read."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise Unreadable(f"{path}: {error.strerror}") from error
    if not stat.S_ISREG(found.st_mode) and not (or_folder and stat.S_ISDIR(found.st_mode)):
        raise Unreadable(f"{path} is not a file")
    if not os.access(path, os.R_OK):
        raise Unreadable(f"{path} can't be read: permission denied")
    return found


def digest(source: bytes | Path) -> tuple[str, int]:
    """SHA-256 and size."""
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest(), len(source)
    found, size = hashlib.sha256(), 0
    with source.open("rb") as file:
        while piece := file.read(_PIECE):
            found.update(piece)
            size += len(piece)
    return found.hexdigest(), size


def packed(folder: Path, into: Path) -> Path:
    """The folder's files in one archive, in an order and with times that are always the same."""
    target = into / f"{folder.name}.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            about = zipfile.ZipInfo(file.relative_to(folder).as_posix())
            about.external_attr = 0o644 << 16
            with file.open("rb") as content, archive.open(about, "w", force_zip64=True) as entry:
                while piece := content.read(_PIECE):
                    entry.write(piece)
    return target
