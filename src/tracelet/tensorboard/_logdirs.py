"""Several log directories in one run: the context that tells their points apart."""

from __future__ import annotations

import os
from collections.abc import Mapping
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from tracelet.run import AsyncRun, Run

Context: TypeAlias = Mapping[str, str]


class LogDirs(dict[Any, "Context | None"]):
    """The context of each log directory of one run (a string or path; None: a writer without one).

    Events that are out can't change, and a directory must not change its name half-way through a run. So the first
    directory has no context, ever. When a second one comes, the directory that both have in common is settled, and
    from then on each has its path relative to that one: `{"logdir": "val"}` beside a first `runs/1/train`, `"."` for
    the common directory itself, `"../2"` for one that lies outside.
    """

    def __init__(self) -> None:
        self._first: str | None = None
        self._base: str | None = None
        self._lock = Lock()

    def __missing__(self, log_dir: Any) -> Context | None:
        with self._lock:
            return self.setdefault(log_dir, self._assign(log_dir))

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


_beginning = Lock()


def context_of(run: Run | AsyncRun, log_dir: Any) -> Context | None:
    """What tells points of this log directory from those of the run's other ones; None for the run's first."""
    known: LogDirs | None = run.log_dirs
    if known is None:
        with _beginning:
            if run.log_dirs is None:
                run.log_dirs = LogDirs()
            known = run.log_dirs
    return known[log_dir]
