"""The records of an event file: the framing of TensorFlow's TFRecord files, read from an offset on.

A record is

    length u64 | check of the length u32 | data | check of the data u32

all little-endian. The checks are CRC-32C, masked: rotated right by 15 bits, plus 0xA282EAD8. A file grows at its end
only, so that an offset behind a record stays one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from struct import Struct

from tracelet.importing._needs import crc32c

_CHUNK = 1 << 20
_HEAD, _TAIL = 12, 4
_FRAMING = _HEAD + _TAIL
_length = Struct("<QI").unpack_from
_check = Struct("<I").unpack_from
_LENGTHS = 4096  # lengths whose checks are remembered
# A length above 0 and below 2**32, as of every record that fits into memory.
_PLAUSIBLE = re.compile(rb"(?=(?!\0{4}).{4}\0{4})", re.DOTALL)


class Records:
    """Reads the records of one file, up to a limit. Close it after use, or use it as a context manager.

    Where a check fails, it looks for the next length whose check holds, and counts the bytes between. What is at the
    end and no whole record is left there: it may still grow.

    Args:
        offset: where to begin; see the attribute.
        limit: where the file ends, as far as this reader is concerned.

    Raises:
        OSError: the file can't be opened.

    Attributes:
        offset: behind the last record of the latest `read`; before what is no whole record yet.
        skipped: how many damaged bytes were passed over.
    """

    def __init__(self, path: Path, offset: int = 0, limit: int | None = None) -> None:
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._value: Callable[[bytes], int] = crc32c()
        self._limit = os.fstat(self._file).st_size if limit is None else limit
        self._lengths: dict[bytes, int] = {}
        self.offset = offset
        self.skipped = 0

    def __enter__(self) -> Records:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    @property
    def left(self) -> int:
        """How many bytes before the limit have not been read."""
        return self._limit - self.offset

    def read(self) -> list[bytes]:
        """The data of the next records, about a megabyte of them; none at the end. Raises OSError."""
        size = _CHUNK
        while self.left > 0:
            buffer = os.pread(self._file, min(size, self.left), self.offset)
            found, position = self._parse(buffer)
            self.offset += position
            if found:
                return found
            rest = buffer[position:] if position else buffer
            wanted = self._wanted(rest)
            if wanted is None:
                if not self._skip():
                    return []
            elif wanted > self.left or len(buffer) < min(size, self.left):  # the latter: it has become shorter
                # No whole record is left, unless this one's length is that of a record whose end was overwritten.
                return []
            size = max(_CHUNK, wanted or 0)
        return []

    def _parse(self, buffer: bytes) -> tuple[list[bytes], int]:
        """The whole records at the beginning of the buffer, and where they end."""
        lengths, value, check = self._lengths, self._value, _check
        found: list[bytes] = []
        position, size = 0, len(buffer)
        while True:
            start = position + _HEAD
            head = buffer[position:start]
            try:
                stop = start + lengths[head]
            except KeyError:
                length = self._checked(head)
                if length is None:
                    break
                stop = start + length
            if stop + _TAIL > size:
                break
            data = buffer[start:stop]
            crc = value(data)
            if ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF != check(buffer, stop)[0]:
                break
            found.append(data)
            position = stop + _TAIL
        return found, position

    def _checked(self, head: bytes) -> int | None:
        """The length that a record's head says; None if its check does not hold."""
        if len(head) < _HEAD:
            return None
        length, check = _length(head)
        if _masked(self._value(head[:8])) != check:
            return None
        if len(self._lengths) >= _LENGTHS:
            self._lengths.clear()
        self._lengths[head] = length
        return int(length)

    def _wanted(self, rest: bytes) -> int | None:
        """How many bytes the record takes that these begin with; None if they are no beginning of one."""
        if len(rest) < _HEAD:
            return _FRAMING
        length = self._checked(rest[:_HEAD])
        if length is None or len(rest) >= length + _FRAMING:
            return None
        return length + _FRAMING

    def _skip(self) -> bool:
        """Go on to the next record, behind the damaged one here; False if there is none."""
        length = self._checked(os.pread(self._file, _HEAD, self.offset))
        if length is not None and self.offset + length + _FRAMING <= self._limit:
            # The length is right: then the next record is where it says, unless bytes are missing.
            following = self.offset + length + _FRAMING
            if following == self._limit or self._checked(os.pread(self._file, _HEAD, following)) is not None:
                self._pass_over(following)
                return True
        place = self.offset + 1
        while place + _FRAMING <= self._limit:
            window = os.pread(self._file, min(_CHUNK, self._limit - place), place)
            for match in _PLAUSIBLE.finditer(window):
                start = match.start()
                if self._checked(window[start : start + _HEAD]) is not None:
                    self._pass_over(place + start)
                    return True
            if len(window) < _HEAD:
                break
            place += len(window) - _HEAD + 1
        return False

    def _pass_over(self, place: int) -> None:
        self.skipped += place - self.offset
        self.offset = place


def _masked(crc: int) -> int:
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
