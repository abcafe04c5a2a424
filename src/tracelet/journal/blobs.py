"""Blobs: files copied into the run's directory, so that the original may change or go."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

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
