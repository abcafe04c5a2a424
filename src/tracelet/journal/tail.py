"""What a writer that was killed had reserved: the segments, and the ends of segments, that nothing was written to."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from tracelet.journal.segment import ACTIVE, FRAME, FRAME_SIZE, HEADER_SIZE, frame_crc, unpack_header


def unused(path: Path) -> int:
    """How many bytes at the end of a segment hold nothing, in whole pages; 0 where that is not sure.

    It is sure of a segment that was in use, of which every frame is whole and nothing but zeros follows the last. The
    writer must be gone.

    Raises:
        OSError: it can't be read.
    """
    with path.open("rb") as file:
        header = unpack_header(file.read(HEADER_SIZE))
        size = file.seek(0, os.SEEK_END)
        if header is None or header.state != ACTIVE or size <= mmap.PAGESIZE:
            return 0
        file.seek(size - mmap.PAGESIZE)
        if file.read().strip(b"\0"):
            return 0  # it is full, or was cut before
        file.seek(0)
        data = file.read()
    end = _end_of_frames(data, header.first)
    if data[end:] != bytes(len(data) - end):
        return 0
    return max(len(data) - (end + mmap.PAGESIZE - 1) // mmap.PAGESIZE * mmap.PAGESIZE, 0)


def is_blank(path: Path) -> bool:
    """Whether nothing was written to a segment but its header. Raises OSError if it can't be read."""
    with path.open("rb") as file:
        file.seek(HEADER_SIZE)
        data = file.read()
    return data == bytes(len(data))


def cut(path: Path) -> int:
    """Give back what is unused at the end of a segment; returns how many bytes that gave. Raises OSError."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        before = os.fstat(fd)
        size = unused(path)
        if size:
            os.ftruncate(fd, before.st_size - size)
        return (before.st_blocks - os.fstat(fd).st_blocks) * 512
    finally:
        os.close(fd)


def _end_of_frames(data: bytes, sequence: int) -> int:
    """Where the first frame that is not whole would begin."""
    offset = HEADER_SIZE
    while offset + FRAME_SIZE <= len(data):
        crc, length, word, number = FRAME.unpack_from(data, offset)
        stop = offset + FRAME_SIZE + length
        if number != sequence or not length or stop > len(data):
            break
        if frame_crc(data[offset + FRAME_SIZE : stop], word, number) != crc:
            break
        offset, sequence = (stop + 7) & -8, sequence + 1
    return min(offset, len(data))
