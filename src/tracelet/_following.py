"""Ranks above 0, which have nothing delivered themselves: whether somebody delivers what they said."""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec

from tracelet.journal import Recorder, holder, read_cursor
from tracelet.status import counted, sync_command

_PERIOD = 0.25  # seconds between two looks, of how many ranks there may be


class Following:
    """What a rank above 0 knows of the delivery of its events, which is rank 0's business.

    Args:
        recorder: the rank's own.
        online: whether anything is delivered while the launch lasts.
    """

    def __init__(self, recorder: Recorder, *, online: bool) -> None:
        self._directory = recorder.directory
        self._recorder = recorder
        self._online = online
        self._due = 0.0
        self._left: dict[str, int] | None = None  # by backend, how many of the rank's events nobody is at work for
        self._begun = True  # whether rank 0 has begun the run, if that was not deleted

    def served(self) -> bool | None:
        """After the rank's last event: True if there is no need to wait; None while somebody may come who delivers."""
        now = time.monotonic()
        if now < self._due:
            return None
        self._due = now + _PERIOD
        try:
            left = self._look()
        except OSError:
            return None  # no descriptor left, or a disk that has its moments
        except msgspec.MsgspecError:
            return True  # a damaged record, of which `lines` tells
        return (self._begun and not (left and self._online)) or None

    def lines(self) -> Iterator[str]:
        """What is to be said at the rank's end: nothing if its events were, or would be, delivered when it last looked.

        Raises:
            OSError, msgspec.MsgspecError: that can't be read.
        """
        place = self._directory.path
        left = self._look() if self._left is None else self._left
        if not self._begun:
            yield f"rank 0 has not begun the run, and so no backend gets what was said here: {place}"
        for name, count in left.items():
            pending = f"{counted(count)} of this rank pending in {place} (nobody delivers them)"
            yield f"{name}: {pending}; deliver with: {sync_command(place)}"

    def _look(self) -> dict[str, int]:
        place = self._directory.path
        there = place.is_dir()
        self._begun = not there or (place / "run.json").exists()
        self._left = self._undelivered() if there and self._begun and not self._led() else {}
        return self._left

    def _undelivered(self) -> dict[str, int]:
        result = {}
        for name in self._directory.read_record().backends:
            cursor = self._directory.cursor(name)
            taken = {key: count.position.sequence for key, count in read_cursor(cursor).logs.items()}
            tallies = self._recorder.tallies().items()
            left = sum(max(0, tally.recorded - taken.get(key, 0)) for key, tally in tallies)
            if left and holder(cursor) is None:
                result[name] = left
        return result

    def _led(self) -> bool:
        """Whether rank 0 still logs: it sees to the delivery, and tells how that stands when it ends."""
        return any(map(self._leads, self._directory.writers()))

    def _leads(self, writer: str) -> bool:
        record = self._directory.writer_record(writer)
        if record is None or record.rank > 0:
            return False
        return self._directory.writer_alive(writer) and not self._directory.finished(writer)
