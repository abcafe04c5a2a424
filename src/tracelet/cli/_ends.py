"""How a run ended, from the ends of its logs: at once, however long they are."""

from __future__ import annotations

import msgspec

from tracelet._log_ends import log_ends, writer_end
from tracelet.backend import Outcome
from tracelet.journal import RunDirectory, WriterEnd

RUNNING = "running"
"""What is shown in place of an outcome while a process logs to the run."""


class Ending(msgspec.Struct, kw_only=True):
    """How a run stands by its journal.

    Attributes:
        outcome: as the process ended (of ranks, one of rank 0) that went on longest: "completed", "failed" or "killed";
            "running" while one logs.
        ended: when, in seconds since the epoch: of a killed run its last sign of life; None while it runs.
        events: how many were said, the run's start and end included.
        lost: how many of them could not be recorded.
        writers: how many processes have logged to it.
    """

    outcome: str
    ended: float | None
    events: int
    lost: int
    writers: int


def read_ending(directory: RunDirectory) -> Ending:
    """How a run stands. Raises OSError if the journal can't be read."""
    events = lost = 0
    ends: dict[str, WriterEnd] = {}
    running = False
    writers = directory.writers()
    for writer in writers:
        alive = directory.writer_alive(writer)
        logs = log_ends(directory, writer, final=not alive)
        events += sum(log.recorded + log.lost for log in logs.values())
        lost += sum(log.lost for log in logs.values())
        if alive and not directory.finished(writer):
            running = True
        else:
            ends[writer] = writer_end(directory, writer, logs)
    end = None if running else directory.run_end(ends)
    outcome = RUNNING if running else Outcome.KILLED.value if end is None else end.outcome
    ended = None if end is None else end.time or None
    return Ending(outcome=outcome, ended=ended, events=events, lost=lost, writers=len(writers))
