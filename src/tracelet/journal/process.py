"""Who wrote a log, and whether that process is still there."""

from __future__ import annotations

import os
import socket
import time
import weakref
from collections.abc import Callable
from functools import cache
from pathlib import Path

import msgspec

HEARTBEAT = 10.0
"""How often, in seconds, a writer touches its record, for readers on other hosts and in other containers."""

_SILENCE = 6 * HEARTBEAT  # after which a writer that can't be seen from here is taken for dead


class Process(msgspec.Struct, frozen=True):
    """One process, told apart from a later one of the same number.

    Attributes:
        started: when the kernel started it, in clock ticks since boot; 0 where that can't be known.
        namespace: in which it has its number, as a container has one of its own; 0 where that can't be known.
    """

    host: str
    boot_id: str
    pid: int
    started: int
    namespace: int = 0

    @classmethod
    def current(cls) -> Process:
        """This one."""
        return cls.of(os.getpid())

    @classmethod
    def of(cls, pid: int) -> Process:
        """The one that has the number now, as this process sees it."""
        return cls(
            host=socket.gethostname(), boot_id=_boot_id(), pid=pid, started=_started(pid), namespace=_namespace()
        )

    @property
    def within_sight(self) -> bool:
        """Whether this process could see it: same host, same boot, same namespace. Else only its heartbeat tells."""
        same_numbers = self.namespace in (0, _namespace())
        return same_numbers and self.host == socket.gethostname() and self.boot_id == _boot_id()


def call_in_forked_children(method: Callable[[], None]) -> None:
    """Have a method called in every child that is forked from now on, as long as its object lives."""
    reference = weakref.WeakMethod(method)

    def call() -> None:
        bound = reference()
        if bound is not None:
            bound()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=call)


def alive(process: Process, record: Path) -> bool:
    """Whether the process still runs; on another host or in another container, whether it touched `record` lately."""
    if process.host == socket.gethostname() and process.boot_id != _boot_id():
        return False
    if not process.within_sight:
        try:
            return time.time() - record.stat().st_mtime < _SILENCE
        except FileNotFoundError:
            return False
    hidden = False
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        hidden = True  # it exists and belongs to somebody else, of whom we may not be shown more
    started = _started(process.pid)
    return started == process.started or (hidden and not started)


@cache
def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _namespace() -> int:
    """Not cached: a child may be forked into another one."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


def _started(pid: int) -> int:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    fields = stat.rpartition(")")[2].split()
    return -1 if fields[0] in "ZX" else int(fields[19])
