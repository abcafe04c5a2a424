"""Blobs: files copied into the run's directory, so that the original may change or go."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO

_CANNOT = {errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM, errno.EBADF}


def copy_in(source: Path, blobs: Path, name: str) -> Path:
    """Copy a file to `blobs/name`, sharing its blocks where the file system can.

    Raises:
        OSError: the source can't be read or there is no room; nothing is left behind.
    """
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
        for folder, _, files in os.walk(source, followlinks=True):
            place = target / Path(folder).relative_to(source)
            place.mkdir()
            for file in files:
                copy_in(Path(folder, file), place, file)
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise
    return target


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
