"""Where a log's segments come from: one is made in advance, and none where there is no room."""

from __future__ import annotations

import errno
import itertools
import os
import time
from pathlib import Path

from tracelet.journal.room import Room
from tracelet.journal.segment import HEADER_SIZE, SPARE, Segment, read_header, segment_numbers, segment_path

RESERVE = 4096
"""Bytes at the end of a segment that are kept for a log's last event, should no further segment be had."""

SMALLEST_SIZE = 1 << 16
"""Of a segment where there is little room, or none: for what is recorded all the same."""

RETRY_SPACE = 1.0
"""Seconds between two attempts to get a segment from a full disk."""

_FULL = (errno.ENOSPC, errno.EDQUOT)


class Supply:
    """Makes segments in a log's directory. Used by one `LogWriter`, under its lock.

    Args:
        largest_size: each segment is twice as large as the one before, up to that.
        room: how much may be taken; None is as much as there is.
    """

    __slots__ = ("_directory", "_full_until", "_largest_size", "_may_pass", "_room", "_spare", "_wanted", "problem")

    def __init__(self, directory: Path, largest_size: int, room: Room | None) -> None:
        self._directory = directory
        self._largest_size = largest_size
        self._room = room
        self._spare: Segment | None = None
        self._full_until = 0.0
        self.problem: str | None = None
        """Why there was no segment to be had the last time."""
        self._may_pass = True
        self._wanted = 0  # bytes, of which the last time there were too few

    def first(self, size: int) -> tuple[Segment, bool]:
        """A log's first segment, and whether there was room for it. Raises OSError."""
        least = min(size, SMALLEST_SIZE)
        granted = size if self._room is None else self._room.grant(size, least)
        return self._made(0, granted or least), granted > 0

    def after(self, old: Segment, size: int, *, vital: bool) -> Segment | None:
        """A segment to follow `old`, with room for `size` bytes; None if there is none to be had.

        Args:
            vital: whether it is to be had although there is no room; only a full disk is a reason then.
        """
        spare, self._spare = self._spare, None
        if spare is not None and not os.fstat(spare.fd).st_nlink:  # somebody deleted it; who reads would not see it
            spare.close()
            spare = None
        if spare is not None and (spare.number <= old.number or spare.size < size + HEADER_SIZE + RESERVE):
            self.discard(spare)
            spare = None
        return spare or self._create(old, size, vital)

    def prepare(self, old: Segment) -> None:
        """Have the segment that is to follow `old`."""
        if self._spare is None:
            self._spare = self._create(old)

    def keep(self, spare: Segment) -> None:
        """Take back a segment that was not needed."""
        self._spare = spare

    def rations(self) -> bool:
        """Whether there is no room, by the user's own settings."""
        return self._room is not None and self._room.refusal(SMALLEST_SIZE) is not None

    def may_pass(self) -> bool:
        """Whether there may be a segment later, without one event more."""
        if not self._may_pass:
            return False
        if self._room is None or self._room.may_come(self._wanted):
            return True
        self.problem = self._room.refusal(self._wanted) or self.problem
        return False

    def replenished(self, old: Segment) -> bool:
        """Whether there is room again, for a segment to follow `old`."""
        if self._room is None or self._room.grant(self._next_size(old), SMALLEST_SIZE):
            return True
        self.problem, self._wanted = self._room.refusal(SMALLEST_SIZE) or self.problem, SMALLEST_SIZE
        return False

    def cut(self, segment: Segment, end: int) -> None:
        """Give back the space behind a segment's frames, if that was not done. Raises OSError."""
        end = (end + 4095) & -4096
        if os.fstat(segment.fd).st_size > end:
            os.ftruncate(segment.fd, end)
            if self._room is not None:
                self._room.take(end - segment.size)

    def discard(self, spare: Segment) -> None:
        """Delete a segment that is not in use."""
        spare.discard()
        if self._room is not None:
            self._room.take(-spare.size)

    def discard_all(self) -> None:
        """Delete all segments that are not in use, also those that signal handlers have left."""
        spare, self._spare = self._spare, None
        if spare is not None:
            self.discard(spare)
        for number in segment_numbers(self._directory):
            path = segment_path(self._directory, number)
            header = read_header(path)
            if header is not None and header.state == SPARE:
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the segment that was made in advance, as it is."""
        spare, self._spare = self._spare, None
        if spare is not None:
            spare.close()

    def _next_size(self, old: Segment) -> int:
        return min(old.size * 2, self._largest_size)

    def _create(self, old: Segment, size: int = 0, vital: bool = False) -> Segment | None:
        if time.monotonic() < self._full_until:
            return None
        least = (size + HEADER_SIZE + RESERVE + 4095) & -4096
        wanted = max(self._next_size(old), least)
        if self._room is not None:
            least = max(least, min(SMALLEST_SIZE, wanted))
            wanted = least if vital else self._room.grant(wanted, least)
            if not wanted:
                self.problem, self._may_pass, self._wanted = self._room.refusal(least), True, least
                return None
        for number in itertools.count(old.number + 1):
            try:
                return self._made(number, wanted)
            except FileExistsError:
                continue  # left by a signal handler that came between creating a segment and using it
            except OSError as error:
                self._full_until = time.monotonic() + RETRY_SPACE
                self.problem, self._may_pass = error.strerror or str(error), error.errno in _FULL
                self._wanted = 0
                return None
        raise AssertionError("unreachable")

    def _made(self, number: int, size: int) -> Segment:
        segment = Segment(self._directory, number, size)
        if self._room is not None:
            self._room.take(size)
        return segment
