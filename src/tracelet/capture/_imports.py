"""Imports in threads, beside a training that may fork at any time.

A child that is forked while another thread imports a module waits for ever when it imports that module itself: the
thread that holds its lock is not there. So a fork waits until such an import is through.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_PATIENCE = 1.0  # seconds that a fork waits at most

_lock = threading.RLock()
_held = threading.local()
_registered = False


@contextmanager
def importing() -> Iterator[None]:
    """Within this block a thread may import."""
    with _lock:
        yield


def hold_forks() -> None:
    """Make forks wait for `importing` blocks, from now on."""
    global _registered
    if not _registered and hasattr(os, "register_at_fork"):
        _registered = True
        os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_in_child)


def _before() -> None:
    _held.by_fork = _lock.acquire(timeout=_PATIENCE)


def _after() -> None:
    if getattr(_held, "by_fork", False):
        _held.by_fork = False
        _lock.release()


def _in_child() -> None:
    global _lock
    _lock = threading.RLock()
