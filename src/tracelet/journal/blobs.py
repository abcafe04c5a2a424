"""Blobs: files copied into the run's directory, so that the original may change or go."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

from tracelet.journal.directory import IGNORE_FILE, ignore_file

_CANNOT = {errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM, errno.EBADF}


def copy_in(source: Path, blobs: Path, name: str) -> Path:
    """Copy a file to `blobs/name`, sharing its blocks where the file system can.

    Raises:
        OSError: the source can't be read, is no regular file, or there is no room; nothing is left behind.
    """
    if not stat.S_ISREG(source.stat().st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(source))
    blobs.mkdir(parents=True, exist_ok=True)
    target = blobs / name
    try:
        with source.open("rb") as reader, target.open("xb") as writer:
            _copy(reader.fileno(), writer.fileno(), source, target)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return target


def write_in(content: bytes | Callable[[IO[bytes]], object], blobs: Path, name: str) -> Path:
    """Write a file `blobs/name`. Raises OSError, or what the function raises; nothing is left behind."""
    blobs.mkdir(parents=True, exist_ok=True)
    target = blobs / name
    try:
        with target.open("xb") as file:
            file.write(content) if isinstance(content, bytes) else content(file)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return target


def copy_tree(source: Path, blobs: Path, name: str) -> Path:
    """Copy a folder with all of its files to `blobs/name`; links are followed. Raises OSError; nothing is left."""
    blobs.mkdir(parents=True, exist_ok=True)
    target = blobs / name
    try:
        target.mkdir()
        for file in files_in(source, runs=blobs.parent.parent):
            copy_in(file, (target / file.relative_to(source)).parent, file.name)
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise
    return target


def files_in(source: Path, *, runs: Path) -> Iterator[Path]:
    """The regular files of a folder and of those in it, by name; links are followed, but to no folder twice.

    Args:
        runs: the folder of the runs, which is left out with all that is in it, and what `make_store` put beside it.

    Raises:
        OSError: a folder can't be read.
    """

    def raise_it(error: OSError) -> None:
        raise error

    seen = {_identity(runs)} if runs.exists() else set()
    ignoring = ignore_file(runs.parent)
    own = _identity(ignoring) if ignoring is not None else None
    for folder, folders, files in os.walk(source, followlinks=True, onerror=raise_it):
        place = Path(folder)
        seen.add(_identity(place))
        folders[:] = sorted(name for name in folders if _identity(place / name) not in seen)
        for name in sorted(files):
            if (place / name).is_file() and not (name == IGNORE_FILE and _identity(place / name) == own):
                yield place / name


def measured(source: Path, files: Iterable[Path]) -> tuple[int, int]:
    """The size in bytes, and the latest time of modification in nanoseconds, of a file or of a folder's files."""
    found = [file.stat() for file in files] if source.is_dir() else [source.stat()]
    return sum(one.st_size for one in found), max((one.st_mtime_ns for one in found), default=0)


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _copy(reader: int, writer: int, source: Path, target: Path) -> None:
    size = os.fstat(reader).st_size
    done = 0
    try:
        while done < size:
            copied = os.copy_file_range(reader, writer, size - done)
            if copied == 0:
                break
            done += copied
    except (AttributeError, OSError) as error:
        if done or (isinstance(error, OSError) and error.errno not in _CANNOT):
            raise
    if not done:  # also for files whose size the kernel does not tell, as in /proc
        shutil.copyfile(source, target)


def sync_file(path: Path) -> None:
    """Make a file's content, or a directory's names, survive a loss of power. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
