"""The log of a delivery process: all that is written to its output, without secrets."""

from __future__ import annotations

import io
import logging
import sys
import threading
from typing import BinaryIO, TextIO

from tracelet._secrets import public

_LONGEST = 65_536  # characters of a line that has no end, after which it is written


class Redacted(io.TextIOBase):
    """Stands in for an output stream, and writes whole lines, each without the secrets that are known by then.

    What goes round it, as C code and other programs do by the descriptor, is written as it is.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._begun = ""
        self._lock = threading.RLock()

    def write(self, text: str, /) -> int:
        with self._lock:
            self._begun += text
            whole, end, self._begun = self._begun.rpartition("\n")
            if len(self._begun) > _LONGEST:
                whole, end, self._begun = whole + end, self._begun, ""
            if whole or end:
                self._stream.write(public(whole + end))
                self._stream.flush()
        return len(text)

    def flush(self) -> None:
        """Leave the beginning of a line until its end is there: a secret may be in both."""
        self._stream.flush()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    @property
    def buffer(self) -> BinaryIO:
        return self._stream.buffer


def keep_log() -> None:
    """Write what this process logs, prints and warns of to its output, without secrets."""
    sys.stdout, sys.stderr = Redacted(sys.stdout), Redacted(sys.stderr)
    form = "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=logging.INFO, format=form, stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
