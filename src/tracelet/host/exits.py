"""How a script ends: the outcome of a run that nobody finished."""

from __future__ import annotations

import atexit
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import NamedTuple

from tracelet.backend import Outcome
from tracelet.host import signs
from tracelet.host.cells import Cells
from tracelet.run import outcome_of

_UNSAID = object()


class Ending(NamedTuple):
    """How a script ended.

    Attributes:
        reason: why the outcome is not what the exit code suggests; else empty.
        waited: how long the runs that ended before at this exit have taken, in seconds.
    """

    outcome: Outcome
    reason: str = ""
    waited: float = 0.0


class ExitWatch:
    """Calls back when the interpreter exits, with the outcome that the exit stands for.

    - The script was left by an exception: failed; by Ctrl-C: killed.
    - It asked for an exit code with `sys.exit`, `exit` or `quit`: completed for 0 and None; killed for what stands for
      a signal to end (129, 130 and 143); else failed. One that was caught before it ended the script does not count.
    - A thread ended with an exception: failed, unless the script did worse.
    - In an IPython session the last cell decides; a kernel that is restarted was killed. Other interactive sessions are
      completed, as a mistake there is no failure.

    The code of a bare `raise SystemExit(1)` can't be seen, for the interpreter has thrown it away by then: completed.
    A multiprocessing worker ends as its function does.
    """

    def __init__(self, finish: Callable[[Ending], None]) -> None:
        self._finish = finish
        self._seen = getattr(sys, "last_value", None)
        self._script: FrameType | None = None
        self._code: object = _UNSAID
        self._death = ""
        self._interrupted = False
        self._cells: Cells | None = None
        self._in_worker: Callable[[], object] = bool

    def install(self) -> None:
        """Begin to watch."""
        self._script = signs.outermost_frame()
        self._cells = Cells()
        signs.begin(self)
        atexit.register(self._at_exit)
        self._in_worker = _call_at_the_end_of_a_worker(self._at_exit)

    def remove(self) -> None:
        """Watch no more."""
        atexit.unregister(self._at_exit)
        self._in_worker()
        signs.end(self)
        if self._cells is not None:
            self._cells.close()
        self._script = None  # with all its variables

    def exiting(self, code: object) -> None:
        self._code = code

    def thread_died(self, how: str) -> None:
        self._death = self._death or how

    def interrupted(self) -> None:
        self._interrupted = True

    def _at_exit(self) -> None:
        interrupted = self._left_by_ctrl_c()
        # A second Ctrl-C means not to wait, and what is pending has been said.
        with suppress(KeyboardInterrupt, SystemExit), _closing:
            self._finish(self._ending())
        if interrupted:
            _mark_interrupt()

    def _left_by_ctrl_c(self) -> bool:
        """Whether the script itself was left by it, and the process is to die of the signal."""
        uncaught = getattr(sys, "last_value", None)
        if type(uncaught) is not KeyboardInterrupt or uncaught is self._seen or hasattr(sys, "ps1"):
            return False
        return uncaught.__traceback__ is not None and uncaught.__traceback__.tb_frame is self._script

    def _ending(self) -> Ending:
        reason = ""
        try:
            outcome = self._outcome()
        except Exception as error:  # noqa: BLE001 - a foreign exception's odd class must not keep the run open
            outcome, reason = Outcome.FAILED, f"how the script ended can't be told: {error!r}"
        if outcome is Outcome.COMPLETED and self._death:
            outcome, reason = Outcome.FAILED, self._death
        return Ending(outcome, reason, _closing.waited)

    def _outcome(self) -> Outcome:
        if self._cells is not None and self._cells.followed:
            ended = outcome_of(self._cells.error)
            return Outcome.KILLED if ended is Outcome.COMPLETED and self._cells.restarting else ended
        if self._interrupted:
            return Outcome.KILLED
        if self._script is not None and signs.returned(self._script):
            return Outcome.COMPLETED
        # The interpreter leaves an uncaught exception here before it exits.
        uncaught = getattr(sys, "last_value", None)
        if uncaught is not None and uncaught is not self._seen and not hasattr(sys, "ps1"):
            return outcome_of(uncaught)
        if self._code is _UNSAID:
            return Outcome.COMPLETED if signs.worker_code() is None else Outcome.FAILED
        return outcome_of(SystemExit(self._code))


class _Closing:
    """The end of all runs at one exit, which have one deadline together."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._hurried = False

    @property
    def waited(self) -> float:
        if self._hurried:
            return float("inf")
        return 0.0 if self._began is None else time.monotonic() - self._began

    def __enter__(self) -> None:
        if self._began is None:
            self._began = time.monotonic()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._hurried = self._hurried or kind is not None


_closing = _Closing()


def _mark_interrupt() -> None:
    """Tell CPython once more that an interrupt was not handled: it forgets that when any thread evaluates a text."""
    with suppress(KeyboardInterrupt):
        exec("raise KeyboardInterrupt")  # noqa: S102 - only a text that is evaluated leaves the mark


def _call_at_the_end_of_a_worker(call: Callable[[], None]) -> Callable[[], object]:
    """In a multiprocessing worker, which may end without the interpreter's exit; returns what undoes it."""
    if signs.worker_code() is None:
        return bool
    from multiprocessing.util import Finalize

    return Finalize(None, call, exitpriority=0).cancel
