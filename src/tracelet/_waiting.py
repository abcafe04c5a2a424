"""What the end of a run says while it waits for the backends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

from tracelet._notices import rewrite, say

_QUIET = 1.0  # seconds of waiting that nobody minds
_PERIOD = 0.5


class Waiting:
    """One line that says for whom is waited, and how long still: rewritten in place on a terminal, else said once.

    Args:
        awaited: tells how many events each backend has still to take.
        deadline: when the waiting ends, on the clock that `tell` is told.
        hint: what the line ends with.
    """

    def __init__(self, awaited: Callable[[], Mapping[str, int]], deadline: float, hint: str = "") -> None:
        self._awaited = awaited
        self._deadline = deadline
        self._hint = hint
        self._due: float | None = None
        self._said = False

    def __enter__(self) -> Waiting:
        return self

    def __exit__(self, *_: object) -> None:
        if self._said:
            rewrite("")

    def tell(self, now: float) -> None:
        """To be called again and again while waiting; `now` in seconds."""
        if self._due is None:
            self._due = now + _QUIET
        if now < self._due:
            return
        self._due = now + _PERIOD
        with suppress(OSError):  # no descriptor left to read a cursor with
            self._show(max(0.0, self._deadline - now))

    def _show(self, left: float) -> None:
        awaited = self._awaited()
        if not awaited:
            return
        counts = ", ".join(f"{backend}: {count:,}" for backend, count in awaited.items())
        events = "event" if list(awaited.values()) == [1] else "events"
        line = f"waiting for {counts} {events} pending, {left:.0f} s left;{self._hint}".rstrip(";")
        if not rewrite(line) and not self._said:
            say(line)
        self._said = True
