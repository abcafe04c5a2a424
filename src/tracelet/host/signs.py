"""What is seen, while a script runs, of how it will end: exit codes that are asked for, and threads that die."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from opcode import opname
from types import CodeType, FrameType
from typing import Any, Protocol


class Watch(Protocol):
    """Who wants to know."""

    def exiting(self, code: object) -> None:
        """The main thread asks for this exit code: with `sys.exit`, `exit` or `quit`. It may be caught."""

    def thread_died(self, how: str) -> None:
        """A thread of the script ended with an exception that nobody caught."""

    def interrupted(self) -> None:
        """Ctrl-C, while Python waited for the last threads: the script had come to its end."""


def begin(watch: Watch) -> None:
    """Tell `watch` what is seen from now on."""
    if not _watches:
        for one in _stand_ins:
            one.install()
    _watches.add(watch)


def end(watch: Watch) -> None:
    """Tell it nothing more."""
    _watches.discard(watch)
    if not _watches:
        for one in _stand_ins:
            one.remove()


def outermost_frame() -> FrameType | None:
    """That of the script, which the main thread is in from its first to its last line; None if there is none.

    In a multiprocessing worker it is that of the worker's `run`.
    """
    bootstrap = worker_code()
    frame = sys._current_frames().get(threading.main_thread().ident or -1)
    while frame is not None and frame.f_back is not None and frame.f_back.f_code is not bootstrap:
        frame = frame.f_back
    return frame


def worker_code() -> CodeType | None:
    """What a multiprocessing worker calls its `run` from; None in a process that is none."""
    processes = sys.modules.get("multiprocessing.process")  # who is one has imported it
    if processes is None or processes.parent_process() is None:
        return None
    code: CodeType = processes.BaseProcess._bootstrap.__code__
    return code


def returned(frame: FrameType) -> bool:
    """Whether a frame that has ended came to its end, and was not left by an exception.

    A frame that somebody holds on to keeps its last instruction.
    """
    code, last = frame.f_code.co_code, frame.f_lasti
    return 0 <= last < len(code) and opname[code[last]].startswith("RETURN")


class _StandIn:
    """Stands in for a function of others, notes its calls, and passes them on.

    It is put back when nobody watches, unless somebody else replaced it since; then it only passes on. Somebody else's
    replacement may lead back to this one, which must not call it again then.
    """

    def __init__(self, owner: Any, name: str, note: Callable[..., None]) -> None:
        self._owner = owner
        self._name = name
        self._originals = [getattr(owner, name)]  # the latest is what it stands in for; it may lead back here
        inside = threading.local()

        @functools.wraps(self._originals[0])
        def call(*args: Any, **kwargs: Any) -> Any:
            depth = getattr(inside, "depth", 0)
            if not depth:
                note(*args, **kwargs)
            inside.depth = depth + 1
            try:
                return self._originals[max(0, len(self._originals) - 1 - depth)](*args, **kwargs)
            finally:
                inside.depth = depth

        self._call = call

    def install(self) -> None:
        found = getattr(self._owner, self._name)
        if found is not self._call:
            if found is not self._originals[-1]:
                self._originals.append(found)
            setattr(self._owner, self._name, self._call)

    def remove(self) -> None:
        if getattr(self._owner, self._name) is self._call:
            setattr(self._owner, self._name, self._originals[-1])
            if len(self._originals) > 1:
                self._originals.pop()


def _note_exit(code: object = None, /) -> None:
    if threading.current_thread() is threading.main_thread():  # in another thread it ends that only
        for watch in tuple(_watches):
            watch.exiting(code)


def _note_quit(_: object, code: object = None) -> None:
    _note_exit(code)


def _note_start(thread: threading.Thread, /) -> None:
    if _is_ours(threading.current_thread()):
        object.__setattr__(thread, _OURS, True)


def _is_ours(thread: threading.Thread) -> bool:
    """Whether it is a thread of Tracelet, or one that such a thread started, as trackers' SDKs do."""
    return getattr(thread, _OURS, False) is True or thread.name.startswith("tracelet ")


def _note_death(args: threading.ExceptHookArgs, /) -> None:
    if args.thread is not None and _is_ours(args.thread):
        return
    if not issubclass(args.exc_type, SystemExit):
        thread = "a thread" if args.thread is None else f"the thread {args.thread.name!r}"
        how = f"{thread} died of {args.exc_type.__name__}"
        with suppress(Exception):  # an exception whose text can't be had
            how += f": {args.exc_value}" if str(args.exc_value) else ""
        for watch in tuple(_watches):
            watch.thread_died(how[:500])


def _note_unraisable(args: sys.UnraisableHookArgs, /) -> None:
    # What the object compares equal to is its own code, and may raise.
    waiting = (args.object is None or args.object is threading) and not threading.main_thread().is_alive()
    if waiting and issubclass(args.exc_type, KeyboardInterrupt):
        for watch in tuple(_watches):
            watch.interrupted()


_OURS = "_of_tracelet"  # an attribute of threads

_watches: set[Watch] = set()
_stand_ins = [
    _StandIn(sys, "exit", _note_exit),
    _StandIn(sys, "unraisablehook", _note_unraisable),
    _StandIn(threading, "excepthook", _note_death),
    _StandIn(threading.Thread, "start", _note_start),
]

with suppress(ImportError):  # an interpreter without `site` has no `exit` and `quit`
    from _sitebuiltins import Quitter

    _stand_ins.append(_StandIn(Quitter, "__call__", _note_quit))
