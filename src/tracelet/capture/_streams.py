"""Taps on the streams of the terminal: what is written to one goes where it goes, and is heard as well.

The stream stays the very object that it was, with all it has; only its `write` is replaced. So it does not matter who
got hold of it before (a `logging.StreamHandler`, a progress bar), and nothing that is asked of it has another answer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import BuiltinMethodType
from typing import Any, Protocol

from tracelet.journal.process import call_in_forked_children
from tracelet.run import AsyncRun, Run, active_run

_ABSENT: Any = object()

Hear = Callable[[str], None]


class Listener(Protocol):
    """Hears what is written to a stream, for one run. It must not raise."""

    run: Run | AsyncRun

    def hear(self, text: str) -> None: ...


class Tap:
    """The `write` of one stream, as long as anybody listens.

    With several listeners, those of the active run hear what is written; where that is none of theirs, all do.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._before = vars(stream).get("write", _ABSENT)
        self._wrap(stream.write)
        self._listeners: tuple[Listener, ...] = ()
        self.hear: Hear | None = None
        self._lock = threading.RLock()
        call_in_forked_children(self._detach)

    def on(self, stream: Any) -> bool:
        """Whether this is that stream's."""
        return self._stream is stream

    def renew(self) -> None:
        """Replace `write` again where somebody has put back the one that was there before this began.

        IPython does so at the end of the cell in which a run begins. What lies under somebody's wrapper is left alone.
        """
        with self._lock:
            found = vars(self._stream).get("write", _ABSENT)
            idle = _tap_of(found)
            if not self._listeners or found is self._write:
                return
            if idle is not None and not idle._listeners:
                self._wrap(idle._original)
            elif found is self._before or found is _ABSENT or found == _own_write(self._stream):
                self._wrap(self._stream.write)
            else:
                return
            self._before = found
            object.__setattr__(self._stream, "write", self._write)

    def _wrap(self, original: Callable[..., Any]) -> None:
        self._original = original
        self._write = _plain(self, original) if isinstance(original, BuiltinMethodType) else _any(self, original)
        vars(self._write)["tap"] = self

    def add(self, listener: Listener) -> None:
        """Have it hear what is written from now on. Raises TypeError if its `write` can't be replaced."""
        with self._lock:
            if vars(self._stream).get("write") is not self._write:
                self._put()
            self._tell(*self._listeners, listener)

    def _put(self) -> None:
        stream = self._stream
        if hasattr(getattr(type(stream), "write", None), "__set__"):
            raise _refused(stream)
        try:
            # Past what a proxy makes of it: where `write = …` is handed on to the stream below, whose `write` the proxy
            # calls, each print would go round for ever.
            object.__setattr__(stream, "write", self._write)
        except (TypeError, AttributeError) as error:
            raise _refused(stream) from error
        if vars(stream).get("write") is not self._write or stream.write is not self._write:
            self._put_back()
            raise _refused(stream)

    def _put_back(self) -> None:
        if self._before is _ABSENT:
            object.__delattr__(self._stream, "write")
        else:
            object.__setattr__(self._stream, "write", self._before)

    def remove(self, listener: Listener) -> None:
        """Have it hear no more. The last one leaves the stream as it was found, unless somebody replaced `write`."""
        with self._lock:
            self._tell(*(one for one in self._listeners if one is not listener))
            if not self._listeners and vars(self._stream).get("write") is self._write:
                self._put_back()

    def _tell(self, *listeners: Listener) -> None:
        self._listeners = listeners
        self.hear = None if not listeners else listeners[0].hear if len(listeners) == 1 else self._tell_all

    def _tell_all(self, text: str) -> None:
        listeners, run = self._listeners, active_run()
        for listener in [one for one in listeners if one.run is run] or listeners:
            listener.hear(text)

    def _detach(self) -> None:
        """In a forked child, nobody listens."""
        self._lock = threading.RLock()
        self._tell()


def tapped(stream: Any) -> Tap:
    """The tap on a stream: the one that is there, or a new one.

    Raises:
        TypeError: its `write` can't be replaced.
    """
    try:
        return _tap_of(vars(stream).get("write")) or Tap(stream)
    except (TypeError, AttributeError) as error:
        raise _refused(stream) from error


def _refused(stream: Any) -> TypeError:
    return TypeError(f"{type(stream).__name__} objects take no other write()")


def _tap_of(write: Any) -> Tap | None:
    """Whose `write` it is. A wrapper that somebody made of one, with `functools.wraps`, has its attributes only."""
    tap = getattr(write, "tap", None)
    return tap if isinstance(tap, Tap) and tap._write is write else None


def _own_write(stream: Any) -> Any:
    """The method of its class, which nobody has replaced."""
    method = getattr(type(stream), "write", None)
    return None if method is None else method.__get__(stream)


def _plain(tap: Tap, original: Callable[..., Any]) -> Callable[..., Any]:
    """For Python's own streams, whose `write` takes one argument; this is called twice for each `print`."""

    def write(text: str, /) -> Any:
        result = original(text)
        hear = tap.hear
        if hear is not None:
            hear(text)
        return result

    return write


def _any(tap: Tap, original: Callable[..., Any]) -> Callable[..., Any]:
    def write(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        hear = tap.hear
        if hear is not None and args and isinstance(args[0], str):
            hear(args[0])
        return result

    return write
