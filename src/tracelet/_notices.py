"""What Tracelet tells the person in front of the terminal."""

from __future__ import annotations

import sys


def say(message: str) -> None:
    """Write one line to standard error; never raises, for there may be none left at exit."""
    try:
        sys.stderr.write(f"tracelet: {message}\n")
        sys.stderr.flush()
    except (AttributeError, OSError, RuntimeError, ValueError):
        return  # there is none, it is closed, or a signal handler came in the middle of a write
