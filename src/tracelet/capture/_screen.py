"""What a terminal makes of characters that move its cursor: progress bars, live displays."""

from __future__ import annotations

import re
import time
from functools import cache

_CONTROL = (
    r"(?P<up>\x1b\[(?P<count>\d*)[AF])|(?P<cut>\x1b\[[012]?K)|(?P<text>[^\x1b\r\n\x08]+)|(?P<end>\r?\n)|(?P<back>\r)"
    r"|\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[PX^_][^\x1b]*(?:\x1b\\)?|\x1b.?|\x08"
)
_CODES = (
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[PX^_][^\x1b]*(?:\x1b\\)?|\x1b[^\[\]PX^_]?|\x08"
)
_UP = r"\x1b\[\d*[AF]"
_MOST = 100  # rows of the terminal: those that are waited for
_QUIET = 2.0  # seconds without a movement after which rows count as final


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """Compiled when it is first wanted, which in most programs is never."""
    return re.compile(pattern)


def is_plain(text: str) -> bool:
    """Whether a terminal shows the text as it is."""
    return not ("\x1b" in text or "\r" in text or "\b" in text)


def moves_up(text: str) -> bool:
    """Whether the text goes back to lines that were written before."""
    return "\x1b" in text and _compiled(_UP).search(text) is not None


def last_state(line: str) -> str | None:
    """What is seen of a line in the end, without codes; None if that is nothing where there was something before.

    Each carriage return begins the line anew: of a progress bar's thousand states the last one is left.
    """
    if "\x1b" in line or "\b" in line:
        line = _compiled(_CODES).sub("", line)
    states = line.rstrip("\r").split("\r")
    seen = states[-1].rstrip() if len(states) > 1 else states[-1]
    return None if len(states) > 1 and not seen else seen


class Screen:
    """The lines of a live display, which is drawn over itself again and again. A line is out once it is final.

    It is so when the cursor moves up and writing goes on below it, or when the cursor does not move up any more.
    """

    def __init__(self) -> None:
        self.rows: list[str] = []
        """The lines that are held back; none unless there is a live display."""
        self._row = 0
        self._anew = False  # whether what comes next replaces the row
        self._top: int | None = None  # where the cursor has gone up to, since the last writing
        self._moved = 0.0

    def feed(self, text: str) -> list[str]:
        """Write to the screen; returns the lines that are final by that."""
        if not self.rows:
            self.rows, self._row, self._moved = [""], 0, time.monotonic()
        final: list[str] = []
        for part in _compiled(_CONTROL).finditer(text):
            if part["text"] is not None:
                if self._top is not None:  # the cursor does not go further up
                    top, self._top = self._top, None
                    final += self._settle(top)
                self.rows[self._row] = part["text"] if self._anew else self.rows[self._row] + part["text"]
                self._anew = False
            elif part["end"] is not None:
                self._row += 1
                self._anew = True
                if self._row == len(self.rows):
                    self.rows.append("")
            elif part["back"] is not None:
                self._anew = True
            elif part["cut"] is not None:
                self.rows[self._row] = ""
            elif part["up"] is not None:
                self._up(int(part["count"] or 1))
        surplus = len(self.rows) - _MOST
        return final + (self._settle(min(surplus, self._row)) if surplus > 0 else [])

    def settle(self) -> list[str]:
        """The lines that count as final by now, because nothing has moved for a while."""
        return self.close() if self.rows and time.monotonic() - self._moved > _QUIET else []

    def close(self) -> list[str]:
        """All lines that are left."""
        rows, self.rows = self.rows, []
        self._anew, self._top = False, None
        return [row.rstrip() for row in rows if row.strip()]

    def _up(self, count: int) -> None:
        self._moved = time.monotonic()
        above = min(count - self._row, _MOST - len(self.rows))  # lines that are out already
        if above > 0:
            self.rows[:0] = [""] * above
            self._row += above
            self._top = None if self._top is None else self._top + above
        self._row = max(self._row - count, 0, len(self.rows) - _MOST)  # the cursor stops at the upper edge
        self._anew = True
        self._top = self._row if self._top is None else min(self._top, self._row)

    def _settle(self, count: int) -> list[str]:
        rows, self.rows = self.rows[:count], self.rows[count:]
        self._row -= count
        self._top = None if self._top is None else max(0, self._top - count)
        return [row.rstrip() for row in rows if row.strip()]
