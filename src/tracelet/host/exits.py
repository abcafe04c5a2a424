"""How a script ends: the outcome of a run that nobody finished."""

from __future__ import annotations

import atexit
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from tracelet.backend import Outcome

_INTERRUPTED = 130  # what shells and command lines make of Ctrl-C


class ExitWatch:
    """Calls back when the interpreter exits, with the outcome that the exit stands for.

    It sees an uncaught exception (as killed if it is Ctrl-C, else as failed) and `sys.exit` with anything but 0 or
    None (as killed if it is 130). A bare `raise SystemExit` can't be seen and counts as completed.
    """

    def __init__(self, finish: Callable[[Outcome], None]) -> None:
        self._finish = finish
        self._code: object = None
        self._uncaught: BaseException | None = None
        self._seen = getattr(sys, "last_value", None)
        self._wrapper: Callable[..., Any] = sys.exit
        self._exit: Callable[..., Any] = sys.exit

    def install(self) -> None:
        """Begin to watch."""
        original = self._exit = sys.exit

        def exit(code: str | int | None = None, /) -> NoReturn:  # noqa: A001 - it stands in for sys.exit
            self._code = code
            original(code)

        self._wrapper = sys.exit = exit
        atexit.register(self._at_exit)

    def remove(self) -> None:
        """Watch no more; `sys.exit` is put back unless somebody else replaced it since."""
        atexit.unregister(self._at_exit)
        if sys.exit is self._wrapper:
            sys.exit = self._exit

    def _at_exit(self) -> None:
        self._finish(self._outcome())

    def _outcome(self) -> Outcome:
        # The interpreter leaves an uncaught exception here before it exits.
        uncaught = getattr(sys, "last_value", None)
        if uncaught is not None and uncaught is not self._seen:
            return Outcome.KILLED if isinstance(uncaught, KeyboardInterrupt) else Outcome.FAILED
        if self._code in (None, 0):
            return Outcome.COMPLETED
        return Outcome.KILLED if self._code == _INTERRUPTED else Outcome.FAILED
