"""The file format of the journal: segments, their headers, and the frames in them.

A segment is a header of 64 bytes, then frames, each starting at a multiple of 8, then zeros. All numbers are
little-endian. A frame is

    crc u32 | length of the payload u32 | word u32 | sequence number u64 | payload

where word is the event's kind with its flags (see `codec`), and crc is the CRC-32 of the payload seeded with the word
and the sequence number. So one check covers the whole frame, and a half-written one can't be taken for a whole one.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from struct import Struct
from zlib import crc32

import msgspec

FRAME = Struct("<IIIQ")
FRAME_SIZE = FRAME.size
HEADER_SIZE = 64

LOST = slice(8, 16)
RECORD = slice(16, 48)  # 28 bytes and their CRC

SPARE, ACTIVE, SEALED, REMOVED = 0, 1, 2, 3

_MAGIC = b"TRACELT1"
_COUNT = Struct("<Q")
_RECORD = Struct("<QQQI")  # first sequence, end offset, next sequence, state; a CRC-32 follows
_CRC = Struct("<I")
_ANY = (1 << 64) - 1


class Header(msgspec.Struct, frozen=True):
    """What the first 64 bytes of a segment say.

    Attributes:
        state: SPARE (prepared, not in use), ACTIVE, SEALED (nothing will be added), or REMOVED (its frames were given
            up for their space; only the header is left, and tells which they were).
        first: the sequence number of the first frame.
        end: where the frames end, and
        next: the sequence number that the next frame would have had; both 0 until the segment is sealed.
        lost: how many events this segment's writer could not record for want of space.
    """

    state: int
    first: int
    end: int
    next: int
    lost: int


def frame_crc(payload: bytes, word: int, sequence: int) -> int:
    """The check of a frame."""
    return crc32(payload, word ^ sequence)  # zlib takes the low 32 bits of the seed


def frame_size(length: int) -> int:
    """How many bytes a frame with a payload of that length takes, its padding included."""
    return FRAME_SIZE + length + 7 & -8


def frame_packer(length: int) -> tuple[Callable[[int, int, int, int, bytes], bytes], int]:
    """What packs a frame with a payload of that length, padded to a multiple of 8, and the padded size."""
    padding = frame_size(length) - FRAME_SIZE - length
    packer = Struct(f"{FRAME.format}{length}s{padding}x")
    return packer.pack, packer.size


def pack_record(state: int, first: int, end: int = 0, following: int = 0) -> bytes:
    """The bytes of a header's RECORD."""
    record = _RECORD.pack(first, end, following, state)
    return record + _CRC.pack(crc32(record))


def pack_count(value: int) -> bytes:
    """The bytes of a header's LOST."""
    return _COUNT.pack(value)


def unpack_header(data: bytes) -> Header | None:
    """The header of a segment, or None if it is damaged (or, of a live segment, being changed right now)."""
    if len(data) < HEADER_SIZE or not data.startswith(_MAGIC):
        return None
    record = data[RECORD.start : RECORD.start + _RECORD.size]
    (crc,) = _CRC.unpack_from(data, RECORD.start + _RECORD.size)
    if crc32(record) != crc:
        return None
    first, end, following, state = _RECORD.unpack(record)
    (lost,) = _COUNT.unpack_from(data, LOST.start)
    return Header(state=state, first=first, end=end, next=following, lost=lost)


def read_header(path: Path) -> Header | None:
    """The header of the segment at `path`; None if it is damaged or gone."""
    try:
        with path.open("rb") as file:
            return unpack_header(file.read(HEADER_SIZE))
    except FileNotFoundError:
        return None


def used_header(path: Path, *, final: bool) -> Header | None:
    """The header of a segment that is in use, or was; None if the file is a spare, or gone.

    Args:
        final: the writer is known to be finished or dead. Then a header that is damaged is made anew out of the frames
            behind it, as that of a segment that was not sealed; else it may be one that is being written.
    """
    header = read_header(path)
    if header is None and final:
        return _made_of_frames(path)
    return None if header is None or header.state == SPARE else header


def _made_of_frames(path: Path) -> Header | None:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    end = HEADER_SIZE + without_tail(data[HEADER_SIZE:])
    _, first, *_ = next(frames_between(data, HEADER_SIZE, end, 0, _ANY), (0, -1))
    return None if first < 0 else Header(state=ACTIVE, first=first, end=0, next=0, lost=0)


def is_half_made(path: Path) -> bool:
    """Whether a file was to become a segment when its writer was killed: it is empty, but for the mark of one."""
    try:
        data = path.read_bytes().removeprefix(_MAGIC)
    except FileNotFoundError:
        return False
    return data == bytes(len(data))


def without_tail(data: bytes) -> int:
    """How many bytes there are before the zeros at the end."""
    return 0 if data == bytes(len(data)) else len(data.rstrip(b"\0"))  # a comparison takes a fraction of the time


def frames_between(
    data: bytes, start: int, end: int, sequence: int, most: int
) -> Iterator[tuple[int, int, int, bytes]]:
    """The whole frames in a segment's bytes, whatever lies between them.

    Args:
        start, end: where to look, as offsets.
        sequence, most: the least and the greatest number that a frame may have.

    Yields:
        Of each frame its offset, sequence number, word and payload.
    """
    offset = start
    while offset + FRAME_SIZE <= end:
        crc, length, word, number = FRAME.unpack_from(data, offset)
        stop = offset + FRAME_SIZE + length
        if sequence <= number <= most and length > 0 and stop <= end:
            payload = data[offset + FRAME_SIZE : stop]
            if frame_crc(payload, word, number) == crc:
                yield offset, number, word, payload
                sequence, offset = number + 1, (stop + 7) & -8
                continue
        offset += 8


class Segment:
    """A segment file mapped for writing. Its space is reserved, so that a full disk shows here and not as a SIGBUS."""

    __slots__ = ("fd", "map", "number", "path", "size")

    def __init__(self, directory: Path, number: int, size: int) -> None:
        """Create the file as a SPARE. Raises OSError, and leaves no file behind, if it can't be had."""
        self.number = number
        self.size = size
        self.path = segment_path(directory, number)
        self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            _reserve(self.fd, size)
            self.map = mmap.mmap(self.fd, size)
            self.map[: len(_MAGIC)] = _MAGIC
            self.map[RECORD] = pack_record(SPARE, 0)
        except BaseException:
            os.close(self.fd)
            self.path.unlink(missing_ok=True)
            raise

    def close(self, end: int | None = None) -> None:
        """Unmap and close the file; with `end`, give back the space behind it."""
        self.map.close()
        if end is not None:
            os.ftruncate(self.fd, end)
        os.close(self.fd)

    def discard(self) -> None:
        """Close the file and delete it."""
        self.close()
        self.path.unlink(missing_ok=True)


def segment_path(directory: Path, number: int) -> Path:
    """Where a log keeps its segment of that number."""
    return directory / f"{number:06}.seg"


def segment_numbers(directory: Path) -> list[int]:
    """The numbers of the segments in a log's directory, ascending; spares included."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    return sorted(int(name[:-4]) for name in names if name.endswith(".seg") and name[:-4].isdecimal())


def _reserve(fd: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size)
        return
    zeros = bytes(1 << 16)  # pragma: no cover
    for offset in range(0, size, len(zeros)):  # pragma: no cover
        os.pwrite(fd, zeros[: size - offset], offset)
