"""The reading side of a log: frames in order, from a position, beside a live writer or after its death.

It reads with `pread`, so a file that is truncated or on a failing disk is an error to handle, not a signal.
"""

from __future__ import annotations

import os
from pathlib import Path
from zlib import crc32

import msgspec

from tracelet.journal.segment import (
    ACTIVE,
    FRAME,
    FRAME_SIZE,
    HEADER_SIZE,
    REMOVED,
    SEALED,
    Header,
    frame_crc,
    read_header,
    segment_numbers,
    segment_path,
    unpack_header,
    used_header,
    without_tail,
)

_FIRST_CHUNK, _CHUNK = 1 << 14, 1 << 18  # many logs are short
_ZEROS = bytes(1 << 16)
_unpack = FRAME.unpack_from


class Position(msgspec.Struct, frozen=True, array_like=True):
    """Where a reader stands in a log: before the frame `sequence`, at `offset` of a segment."""

    segment: int = 0
    offset: int = HEADER_SIZE
    sequence: int = 0


class Frames(msgspec.Struct):
    """What one `read` found.

    Attributes:
        sequences, words, payloads: one entry per frame.
        damaged: how many events before, between or behind these frames are gone for good.
        removed: how many were given up there for their space, once all of the run's backends had them.
        position: behind them.
        size: of the payloads, in bytes.
        full: whether there are as many as were asked for, in number or bytes.
    """

    sequences: list[int]
    words: list[int]
    payloads: list[bytes]
    damaged: int
    position: Position
    size: int = 0
    full: bool = False
    removed: int = 0


class LogReader:
    """Reads one log. Close it after use, or use it as a context manager.

    Args:
        directory: the log's; it need not exist yet.
        position: as an earlier reader of this log left it.
    """

    def __init__(self, directory: Path, position: Position = Position()) -> None:
        self._directory = directory
        self._segment = position.segment
        self._offset = position.offset
        self._sequence = position.sequence
        self._fd = -1
        self._buffer = b""
        self._base = 0
        self.sealed = False
        """Whether the last `read` reached the end of a log that was sealed for good: nothing will follow."""

    def __enter__(self) -> LogReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._buffer = -1, b""

    @property
    def position(self) -> Position:
        """Behind the last frame that was read."""
        return Position(self._segment, self._offset, self._sequence)

    def read(self, events: int, size: int, *, final: bool) -> Frames:
        """The next frames: at most `events` of them and, but for a single larger one, at most `size` bytes.

        Args:
            final: the writer is known to be finished or dead, from before this call. Only then is a bad frame at the
                end of an unsealed segment damage; else it is one that is being written.

        Returns:
            Nothing if there is nothing new; with `final`, that is the end of the log.

        Raises:
            OSError: the files can't be read.
        """
        found = Frames([], [], [], 0, self.position)
        while not (full := self._parse(found, events, size)) and self._go_on(found, final):
            pass
        found.full = full
        found.position = self.position
        return found

    def _parse(self, found: Frames, events: int, size: int) -> bool:
        """Take whole frames from the buffer until it ends or a bad one comes (False), or there is enough (True)."""
        buffer, base = self._buffer, self._base
        offset, first = self._offset - base, self._sequence
        sequence, end = first, len(buffer)
        words, payloads = found.words, found.payloads
        room, room_bytes = events - len(payloads), size - found.size
        while room > 0 and offset + FRAME_SIZE <= end:
            crc, length, word, number = _unpack(buffer, offset)
            stop = offset + FRAME_SIZE + length
            if number != sequence or stop > end or not length:
                break
            payload = buffer[offset + FRAME_SIZE : stop]
            if crc32(payload, word ^ number) != crc:  # `frame_crc`, without the call
                break
            if room_bytes < length and payloads:
                room = 0
                break
            room_bytes -= length
            words.append(word)
            payloads.append(payload)
            sequence += 1
            room -= 1
            offset = (stop + 7) & -8
        found.sequences.extend(range(first, sequence))
        found.size = size - room_bytes
        self._offset, self._sequence = offset + base, sequence
        return room <= 0

    def _go_on(self, found: Frames, final: bool) -> bool:
        """Have more to parse: more bytes, the next segment, or what lies behind damage. False if there is nothing."""
        if self._fd < 0 and not self._open():
            return self._next_segment(found, final)
        header = self._header()
        if header is not None and header.state == REMOVED:
            return self._next_segment(found, final)
        if self._refill():
            return True
        if header is not None and header.state == SEALED:
            if self._offset >= header.end:
                return self._next_segment(found, final)
            return self._resynchronise(found, header.end) or self._next_segment(found, final)
        if final or self._follower(final) is not None:
            return self._resynchronise(found, None) or self._next_segment(found, final)
        return False

    def _open(self) -> bool:
        try:
            self._fd = os.open(segment_path(self._directory, self._segment), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        self._buffer, self._base = b"", self._offset
        return True

    def _header(self) -> Header | None:
        return unpack_header(os.pread(self._fd, HEADER_SIZE, 0))

    def _refill(self) -> bool:
        """Read anew from the position; True if there is a whole frame there."""
        buffer = os.pread(self._fd, FRAME_SIZE, self._offset)  # the least, for there may be nothing
        if len(buffer) < FRAME_SIZE or _unpack(buffer)[3] != self._sequence:
            return False
        buffer = os.pread(self._fd, _CHUNK if self._buffer else _FIRST_CHUNK, self._offset)
        crc, length, word, number = _unpack(buffer)
        if number != self._sequence or not length:
            return False
        if length + FRAME_SIZE > len(buffer):
            if self._offset + FRAME_SIZE + length > os.fstat(self._fd).st_size:
                return False
            buffer = os.pread(self._fd, FRAME_SIZE + length, self._offset)
        payload = buffer[FRAME_SIZE : FRAME_SIZE + length]
        if len(payload) != length or frame_crc(payload, word, number) != crc:
            return False
        self._buffer, self._base = buffer, self._offset
        return True

    def _follower(self, final: bool) -> tuple[int, Header] | None:
        """The next segment in use, if there is one."""
        for number in segment_numbers(self._directory):
            if number > self._segment:
                header = used_header(segment_path(self._directory, number), final=final)
                if header is not None:
                    return number, header
        return None

    def _next_segment(self, found: Frames, final: bool) -> bool:
        header = self._header() if self._fd >= 0 else None
        if header is not None and header.state == REMOVED:
            self._skip_removed(header, found)
        follower = self._follower(final)
        if follower is None:
            if header is not None and header.state == SEALED:
                self._skip_to(header.next, found)
                self.sealed = True
            return False
        self.close()
        number, following = follower
        self._skip_to(following.first, found)
        self._segment, self._offset, self._base = number, HEADER_SIZE, HEADER_SIZE
        return self._open() or self._next_segment(found, final)  # it may have been removed just now

    def _skip_to(self, sequence: int, found: Frames) -> None:
        """Count what can't be read before that sequence number."""
        if sequence > self._sequence:
            found.damaged += sequence - self._sequence
            self._sequence = sequence

    def _skip_removed(self, header: Header, found: Frames) -> None:
        """Count what was removed with a segment, and is not read by now."""
        self._skip_to(header.first, found)
        if header.next > self._sequence:
            found.removed += header.next - self._sequence
            self._sequence = header.next

    def _resynchronise(self, found: Frames, end: int | None) -> bool:
        """Find the next whole frame behind damage, up to `end` (None: the file's)."""
        left = (end or _end_of_data(self._fd, self._offset, os.fstat(self._fd).st_size)) - self._offset
        data = os.pread(self._fd, max(0, left), self._offset)  # it may have been removed, and cut, just now
        most = self._sequence + len(data) // FRAME_SIZE
        for offset in range(0, without_tail(data), 8):
            if offset + FRAME_SIZE > len(data):
                break
            crc, length, word, number = _unpack(data, offset)
            if not self._sequence <= number <= most or not 0 < length <= len(data) - offset - FRAME_SIZE:
                continue
            payload = data[offset + FRAME_SIZE : offset + FRAME_SIZE + length]
            if frame_crc(payload, word, number) == crc:
                self._skip_to(number, found)
                self._offset += offset
                self._buffer, self._base = data[offset:], self._offset
                return True
        self._offset += len(data)
        self._buffer, self._base = b"", self._offset
        return False


def _end_of_data(fd: int, offset: int, size: int) -> int:
    """Behind which offset a file has nothing but zeros, to a piece: what was reserved, and not used.

    That is looked at in small pieces, and in one buffer, which takes a fraction of the time.
    """
    end, buffer = offset, bytearray(len(_ZEROS))
    while offset < size and (count := os.preadv(fd, [buffer], offset)):
        offset += count
        if buffer[:count] != _ZEROS[:count] if count < len(_ZEROS) else buffer != _ZEROS:
            end = offset
    return end


class Tally(msgspec.Struct, frozen=True):
    """How many events a log holds.

    Attributes:
        recorded: how many frames its writer wrote, damaged ones included.
        lost: how many events its writer could not record.
    """

    recorded: int = 0
    lost: int = 0


def tally(directory: Path, *, final: bool) -> Tally:
    """Count a log's events: at once where it was sealed, else by reading its last segment.

    Args:
        final: the writer is known to be finished or dead.
    """
    recorded = lost = 0
    for number in reversed(segment_numbers(directory)):
        path = segment_path(directory, number)
        header = used_header(path, final=final)
        if header is None:
            continue
        lost = header.lost
        if header.state == ACTIVE and read_header(path) is None:  # it is made of frames, which don't tell
            lost = _lost_before(directory, number)
        if header.state in (SEALED, REMOVED):
            recorded = header.next
            break
        with LogReader(directory, Position(number, HEADER_SIZE, header.first)) as reader:
            # No further than this segment: a live writer may be faster than we are.
            while reader.read(10_000, 1 << 24, final=final).sequences and reader.position.segment == number:
                pass
            recorded = reader.position.sequence
        break
    return Tally(recorded, lost)


def _lost_before(directory: Path, segment: int) -> int:
    """What the headers of the segments before that one say of how many events were lost."""
    before = (number for number in segment_numbers(directory) if number < segment)
    headers = (read_header(segment_path(directory, number)) for number in before)
    return max((header.lost for header in headers if header is not None), default=0)
