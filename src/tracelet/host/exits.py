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
        self._seen = getattr(sys, "last_value", None)

    def install(self) -> None:
        """Begin to watch."""
        _exits.watch(self)
        atexit.register(self._at_exit)

    def remove(self) -> None:
        """Watch no more."""
        atexit.unregister(self._at_exit)
        _exits.ignore(self)

    def _at_exit(self) -> None:
        self._finish(self._outcome())

    def _outcome(self) -> Outcome:
        # The interpreter leaves an uncaught exception here before it exits.
        uncaught = getattr(sys, "last_value", None)
        if uncaught is not None and uncaught is not self._seen:
            return Outcome.KILLED if isinstance(uncaught, KeyboardInterrupt) else Outcome.FAILED
        if _exits.code in (None, 0):
            return Outcome.COMPLETED
        return Outcome.KILLED if _exits.code == _INTERRUPTED else Outcome.FAILED


class _Exits:
    """Stands in for `sys.exit` while anybody watches, and remembers what it was last called with.

    It is put back when nobody does, unless somebody else replaced it since; then it only passes on. Somebody else's
    replacement may lead back to this one, which must not call it again then.
    """

    def __init__(self) -> None:
        self.code: object = None
        self._watches: set[ExitWatch] = set()
        self._first: Callable[..., Any] = sys.exit
        self._original = self._first
        self._exiting = False

    def watch(self, watch: ExitWatch) -> None:
        if not self._watches:
            self.code = None
            if sys.exit != self.exit:
                self._original, sys.exit = sys.exit, self.exit
        self._watches.add(watch)

    def ignore(self, watch: ExitWatch) -> None:
        self._watches.discard(watch)
        if not self._watches and sys.exit == self.exit:
            sys.exit = self._original

    def exit(self, code: str | int | None = None, /) -> NoReturn:
        self.code = code
        original = self._first if self._exiting else self._original
        self._exiting = True
        try:
            original(code)
        finally:
            self._exiting = False
        raise AssertionError("sys.exit returned")


_exits = _Exits()
