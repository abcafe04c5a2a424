"""Steps that are counted: where a call gives none, each name and context has its own count."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

from tracelet._segments import Key, last_steps
from tracelet.events import Lane
from tracelet.journal import Recorder


class Steps:
    """Counts from 0, or in a run that goes on, from the highest step that was logged before.

    Args:
        recorder: this process's logs; None where nothing is recorded.
        tell: tells the user.
    """

    def __init__(self, recorder: Recorder | None, tell: Callable[[str], None]) -> None:
        self._recorder = recorder
        self._tell = tell
        self._counters: dict[Key, Iterator[int]] = {}
        self._last: dict[Lane, dict[Key, int]] = {}

    def following(self, key: Key) -> int:
        """The next step."""
        counter = self._counters.get(key)
        if counter is None:
            counter = self._counters.setdefault(key, itertools.count(self._first(key)))
        return next(counter)

    def _first(self, key: Key) -> int:
        """The step after the highest of the processes before this one; their journals are read once."""
        recorder = self._recorder
        if recorder is None or recorder.detached or not int(recorder.writer):
            return 0
        lane = Lane.STREAM if len(key) == 2 else Lane.BULK  # see `log_metric`, and media
        if lane not in self._last:
            try:
                self._last[lane] = last_steps(recorder.directory, recorder.writer, lane)
            except OSError as error:
                self._tell(f"the steps logged before can't be read ({error}): steps that are not given count from 0")
                self._last[lane] = {}
        return self._last[lane].get(key, -1) + 1
