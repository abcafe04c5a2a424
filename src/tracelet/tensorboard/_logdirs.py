"""Several log directories in one run: the context that tells their points apart."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakKeyDictionary, ref

if TYPE_CHECKING:
    from tracelet.run import AsyncRun, Run

Context: TypeAlias = Mapping[str, str]


class LogDirs:
    """The log directories of one run, in the order in which their first points came.

    Events that are out can't change, and a directory must not change its name half-way through a run. So the first
    directory has no context, ever. When a second one comes, the directory that both have in common is settled, and
    from then on each has its path relative to that one: `{"logdir": "val"}` beside a first `runs/1/train`, `"."` for
    the common directory itself, `"../2"` for one that lies outside.
    """

    def __init__(self) -> None:
        self.known: dict[Any, Context | None] = {}
        """By log directory (a string or path; None: a writer without one), the context of its points."""
        self._first: str | None = None
        self._base: str | None = None
        self._lock = Lock()

    def settle(self, log_dir: Any) -> Context | None:
        """Make a log directory known; returns its context."""
        with self._lock:
            return self.known.setdefault(log_dir, self._assign(log_dir))

    def _assign(self, log_dir: Any) -> Context | None:
        if log_dir is None:
            return None
        path = os.path.abspath(os.fspath(log_dir))
        if self._first is None:
            self._first = path
        if path == self._first:
            return None
        if self._base is None:
            self._base = os.path.commonpath([self._first, path])
        return {"logdir": os.path.relpath(path, self._base)}


_runs: WeakKeyDictionary[Run | AsyncRun, LogDirs] = WeakKeyDictionary()
_latest: tuple[Callable[[], Run | AsyncRun | None], LogDirs] = (lambda: None, LogDirs())


def context_of(run: Run | AsyncRun, log_dir: Any) -> Context | None:
    """What tells points of this log directory from those of the run's other ones; None for the run's first."""
    latest, log_dirs = _latest  # as one tuple: another thread, with another run, may replace it at any time
    if latest() is not run:
        log_dirs = _remember(run)
    try:
        return log_dirs.known[log_dir]
    except KeyError:
        return log_dirs.settle(log_dir)


def _remember(run: Run | AsyncRun) -> LogDirs:
    # A look into a WeakKeyDictionary costs as much as the rest of the lookup, so the latest answer is kept beside it.
    global _latest
    log_dirs = _runs.setdefault(run, LogDirs())
    _latest = (ref(run), log_dirs)
    return log_dirs
