"""What Tracelet tells the person in front of the terminal."""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from typing import ClassVar

_ERASE = "\r\x1b[K"  # back to the beginning of the line, and nothing on it
_CONTROLS = frozenset(map(chr, range(0x7F, 0xA0)))
_NARROWEST, _USUAL = 20, 80

_rewritten = False  # whether the terminal's last line is one that is going to be rewritten


def say(message: str) -> None:
    """Write one line to standard error; never raises, for there may be none left at exit."""
    rewrite("")
    _write(f"tracelet: {_in_one_line(message)}\n")


class Voice:
    """Says the lines of a run; with its name, if another is open meanwhile.

    Args:
        name: the run's.
        named: whether its name is always said, as of a run that is a part of another.
    """

    _open: ClassVar[list[Voice]] = []

    def __init__(self, name: str, *, named: bool = False) -> None:
        self._name = name
        self._named = named
        if not named:
            self._open.append(self)
            for one in self._open:
                one._named = len(self._open) > 1 or one._named

    def __call__(self, message: str) -> None:
        say(f"{self._name}: {message}" if self._named else message)

    def end(self) -> None:
        """What comes from now on is said in the same way, but is no reason for others to say their names."""
        with suppress(ValueError):  # it has ended before
            self._open.remove(self)


def rewrite(message: str) -> bool:
    """Replace the line that was last shown by this, in place; nothing erases it.

    Where it is too long for the terminal, what follows its last semicolon is left out.

    Returns:
        Whether it is shown: only where standard error is a terminal.
    """
    global _rewritten
    if not message:
        shown, _rewritten = _rewritten, False
        if shown:
            _write(_ERASE)
        return False
    width = _width()
    if width < _NARROWEST:
        return False
    _rewritten = True
    line = f"tracelet: {message}"
    if len(line) >= width:
        line = (line.rpartition(";")[0] or line)[: width - 1]
    _write(_ERASE + line)
    return True


def _in_one_line(message: str) -> str:
    """A message without what would move the cursor: names and other software's errors are in it."""
    if message.isprintable():
        return message
    line = re.sub(r"\s*[\r\n]+\s*", " ", message)
    return "".join(char if char >= " " and char not in _CONTROLS else repr(char)[1:-1] for char in line)


def _width() -> int:
    """Of the terminal that standard error is, in characters; 0 if it is none that can erase a line."""
    try:
        terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        return os.get_terminal_size(sys.stderr.fileno()).columns or _USUAL if terminal else 0
    except (AttributeError, OSError, ValueError):
        return 0


def _write(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (AttributeError, OSError, RuntimeError, ValueError):
        return  # there is none, it is closed, or a signal handler came in the middle of a write
