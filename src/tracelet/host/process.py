"""The process host: one delivery process per backend, started, watched and replaced by the training process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import msgspec

from tracelet._discovery import Target
from tracelet.errors import DeliveryFailed
from tracelet.journal import Cursor, RunDirectory, read_cursor

DONE, GAVE_UP, HUNG = 0, 3, 75
"""Exit codes of a delivery process: everything delivered, nothing more can be; any other one is a crash."""

_LONGEST_DELAY = 60.0


class Hello(msgspec.Struct):
    """What a delivery process is told on its standard input, which no other process can read.

    Attributes:
        options: the backend's, secrets included.
        delivery: the backend's `Delivery`, with the user's overrides.
        places: see `path`, in the bytes of the file system, which need not be UTF-8.
    """

    options: dict[str, object]
    delivery: dict[str, object]
    places: list[bytes]

    @property
    def path(self) -> list[str]:
        """`sys.path`, for backends that are not installed but lie beside the training script."""
        return list(map(os.fsdecode, self.places))


class ProcessHost:
    """Implements `Host` with delivery processes."""

    def __init__(self, directory: RunDirectory, targets: Sequence[Target]) -> None:
        self._children = {target.name: _Child(directory, target) for target in targets}

    def start(self) -> None:
        """Start the processes. Raises DeliveryFailed if one can't be started; it will be tried again."""
        self._each(_Child.start)

    def wake(self) -> None:
        for child in self._children.values():
            child.wake()

    def serves(self, backend: str) -> bool:
        child = self._children.get(backend)
        return child is not None and not child.ended

    def watch(self) -> None:
        """Replace the processes that died; called by the keeper thread again and again."""
        self._each(_Child.watch)

    def release(self) -> list[str]:
        return [name for name, child in self._children.items() if child.release()]

    def _each(self, do: Callable[[_Child], None]) -> None:
        """One backend's trouble must not keep the others from being looked after."""
        failed: dict[str, Exception] = {}
        for name, child in self._children.items():
            try:
                do(child)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this backend's, and it is tried again
                failed[name] = error
        if failed:
            problems = dict.fromkeys(map(_said, failed.values()))
            raise DeliveryFailed(", ".join(failed), "; ".join(problems)) from next(iter(failed.values()))


class _Child:
    """One backend's delivery process, and its successors."""

    def __init__(self, directory: RunDirectory, target: Target) -> None:
        self.ended = False
        """Whether there will be no process any more."""
        self._directory = directory
        self._target = target
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.RLock()  # between the keeper thread and whoever flushes or finishes
        self._delay = 0.0
        self._due: float | None = None  # when the next process is to be started, on the monotonic clock
        self._mark = -1  # how far the cursor was when the process was started

    def start(self) -> None:
        with self._lock:
            self._due = time.monotonic()  # `watch` starts it, should this fail
            with suppress(OSError):  # a full disk: the process will say how it gets on, if it can
                cursor = Cursor.acquire(self._directory.cursor(self._target.name))
                if cursor is not None:
                    with cursor:
                        cursor.restart()
            self._try_to_spawn()

    def wake(self) -> None:
        with self._lock:
            if self._process is None or self._process.stdin is None or self._process.stdin.closed:
                return
            try:
                os.write(self._process.stdin.fileno(), b"\n")
            except (BlockingIOError, BrokenPipeError):
                return  # it is awake, or dead and about to be replaced

    def watch(self) -> None:
        with self._lock:
            if not self.ended:
                self._watch()

    def _watch(self) -> None:
        process = self._process
        if process is not None:
            code = process.poll()
            if code is None:
                return
            self._close_pipe()
            self._process = None
            if code in (DONE, GAVE_UP):
                self.ended = True
                return
            self._put_off()  # first of all, for how far it came may not be told now
            if self._progress() > self._mark:
                self._delay, self._due = 0.0, time.monotonic()
        if self._due is not None and time.monotonic() >= self._due:
            self._try_to_spawn()

    def release(self) -> bool:
        """Let the process go on by itself, or be reaped if it has ended; returns whether it goes on."""
        with self._lock:
            self.ended = True
            going = False
            if self._process is not None:
                going = self._process.poll() is None
                self._close_pipe()
                with warnings.catch_warnings():
                    # Popen warns of a child that is still running when it is collected, and reaps it later; this one is
                    # meant to go on.
                    warnings.simplefilter("ignore", ResourceWarning)
                    self._process = None
            return going

    def _close_pipe(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    def _progress(self) -> int:
        record = read_cursor(self._directory.cursor(self._target.name))
        return sum(count.position.sequence for count in record.logs.values())

    def _try_to_spawn(self) -> None:
        self._due = None
        try:
            self._spawn()
        except BaseException:
            self._put_off()
            raise

    def _put_off(self) -> None:
        self._delay = min(max(0.5, self._delay * 2), _LONGEST_DELAY)
        self._due = time.monotonic() + self._delay

    def _spawn(self) -> None:
        if not sys.executable:
            raise OSError("this Python doesn't know its own program (sys.executable), and host='thread' needs none")
        self._mark = self._progress()
        command = [sys.executable, "-P", "-m", "tracelet", "deliver", str(self._directory.path), self._target.name]
        hello = Hello(
            options=msgspec.to_builtins(self._target.options),
            delivery=msgspec.to_builtins(self._target.delivery),
            places=list(_places(sys.path)),
        )
        message = msgspec.json.encode(hello)
        log = self._directory.delivery_log(self._target.name)
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd=self._directory.path,
                bufsize=0,
            )
        assert process.stdin is not None
        self._process = process
        try:
            process.stdin.write(len(message).to_bytes(4, "big") + message)
            os.set_blocking(process.stdin.fileno(), False)
        except BaseException:
            self._close_pipe()  # it ends, for it wasn't told what to deliver, and has a successor
            raise


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"


def _places(path: Sequence[object]) -> Iterator[bytes]:
    """The absolute entries of `sys.path`, which may hold anything."""
    for entry in path:
        with suppress(OSError, ValueError):  # a working directory that was deleted, and what no file system can hold
            if isinstance(entry, str):
                yield os.fsencode(os.path.abspath(entry))
