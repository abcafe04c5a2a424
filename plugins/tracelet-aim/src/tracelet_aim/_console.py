"""Console lines as Aim's own terminal log: one `LogLine` a line, numbered without gaps, as its Logs tab wants them."""

from __future__ import annotations

from aim.ext.resource.log import LogLine

from tracelet.backend import Batch
from tracelet.events import ConsoleLine
from tracelet_aim._sequences import LOG_LINE, LOGS
from tracelet_aim._session import Session

_LINES, _LAST = "lines", "last"


class Console:
    """Numbers the lines. How far it is lies in the run, so that lines that come again after a crash are not added.

    It is written after the lines; those that were on their way at a crash get the same numbers again.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._tree = session.run.meta_run_tree.subtree("tracelet_console")
        kept = self._tree.get((), {}) or {}
        self._lines: int = kept.get(_LINES, 0)
        self._last: dict[str, int] = dict(kept.get(_LAST, {}))

    def write(self, batch: Batch, lines: list[tuple[int, ConsoleLine]]) -> None:
        """Store the lines of a batch's events, given with their places in it."""
        sequences = self._session.sequences
        place = sequences.place(LOGS, (), LOG_LINE)
        number, last = self._lines, self._last.get(batch.writer, -1)
        for index, event in lines:
            if batch.sequences[index] <= last:
                continue
            for line in event.text.split("\n"):
                sequences.track(place, LogLine(line), event.time, number)
                number += 1
            last = batch.sequences[index]
        if number != self._lines:
            self._tree[()] = {_LINES: number, _LAST: {**self._last, batch.writer: last}}
            self._lines, self._last[batch.writer] = number, last
