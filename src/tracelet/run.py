"""Run and AsyncRun: the verbs, and two ways to wait for what they said; and which run is the active one."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from types import TracebackType
from typing import cast

from tracelet._chart_verbs import ChartVerbs
from tracelet._waiting import Waiting
from tracelet.backend import Outcome
from tracelet.errors import InvalidSetting

_POLL = 0.01  # seconds between two looks, less at first
_SIGNALLED = (129, 130, 143)  # exit codes that stand for SIGHUP, SIGINT and SIGTERM


class Run(ChartVerbs):
    """A run that is being logged, for synchronous code. Made by `tracelet.start_logging`.

    As a context manager it is finished at the end of the block, as failed if that raised. The verbs may be called from
    any thread and from signal handlers.
    """

    def child(self, name: str) -> Run:
        """Begin a run that is a part of this one: a fold, a trial, a stage of a pipeline.

        It goes to the same backends, which show it under this run where they can, and lives on its own: it must be
        finished (`with run.child("fold-1") as fold:`), and ends as it does, whatever becomes of this run. It is not the
        active run; what TensorBoard's writers say goes on to this one.

        Raises:
            TypeError: `name` is no string, or a backend was given as an object, which serves one run.
            RunClosed: this run is finished.
            DeliveryFailed, JournalUnavailable: with `strict` only.
        """
        return cast(Run, self._child(name))

    def flush(self, timeout: float | None = None, *, durable: bool = False) -> bool:
        """Wait until every backend has taken what was said so far.

        Args:
            timeout: in seconds; None is the close deadline.
            durable: first make the journal survive a loss of power.

        Returns:
            Whether they have; False for a backend that is paused or has failed, and with mode="offline". In a rank
            above 0, which delivers nothing itself, True says only that it is in the journal.

        Raises:
            OSError: with `durable`, the disk refuses.
        """
        deadline = self._deadline(time.monotonic(), timeout)
        resolved = self._wait(self._resolved(), deadline)
        if durable:
            self._sync()
        return self._wait(self._delivered(), deadline) and resolved

    def finish(self, outcome: str | Outcome | None = None, timeout: float | None = None) -> None:
        """End the run: nothing can be logged afterwards. A second call only waits for the first one's end.

        After a second of waiting, a line on standard error says for whom. Ctrl-C ends the waiting, and raises
        KeyboardInterrupt as ever. In a running event loop this blocks the loop; let a thread do it there.

        Args:
            outcome: "completed" (default), "failed" or "killed".
            timeout: how long to wait for the backends, in seconds; None is the close deadline. When it expires,
                delivery goes on by itself, and the last line says what is pending and which command delivers it.

        Raises:
            InvalidSetting: there is no such outcome; the run is not ended.
        """
        final = final_outcome(outcome)
        deadline = self._deadline(time.monotonic(), timeout)
        own = True
        try:
            try:
                if self._on_finish is not None:
                    self._on_finish()
                self._wait(self._close(), deadline)
            finally:
                check = self._end(final)
                own = check is not None
            if check is not None:
                with Waiting(self._awaited, deadline, _hint()) as waiting:
                    self._wait(check, deadline, waiting.tell)
                self._wait(self._settled, max(deadline, self._grace(time.monotonic())))
            elif self._ended_by != threading.get_ident():  # a signal handler's call would wait for itself
                self._wait(self._is_gone, deadline)
        finally:  # also after Ctrl-C: what is pending is said, and delivery goes on by itself
            if own:
                try:
                    self._wait(self._settled, self._grace(time.monotonic()))
                finally:
                    self._let_go()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.finish(outcome_of(error))

    def _wait(
        self, check: Callable[[], bool | None], deadline: float, tell: Callable[[float], None] = lambda now: None
    ) -> bool:
        pause = _POLL / 16
        while (result := check()) is None:
            now = time.monotonic()
            if now >= deadline:
                return False
            tell(now)
            time.sleep(pause)
            pause = min(2 * pause, _POLL)
        return result


class AsyncRun(ChartVerbs):
    """A run that is being logged, for asynchronous code. Made by `async with tracelet.open_run(…)`.

    The verbs are those of `Run`, and as fast: there is nothing to await in them.
    """

    def child(self, name: str) -> AsyncRun:
        """As `Run.child`: `async with run.child("fold-1") as fold:`, inside of this run's block."""
        return cast(AsyncRun, self._child(name))

    def descendants(self) -> Iterator[AsyncRun]:
        """The children, and theirs, each before its parent; but those that are over with all below them."""
        for child in reversed(self._children):
            assert isinstance(child, AsyncRun)
            yield from child.descendants()
            yield child

    async def __aenter__(self) -> AsyncRun:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        import anyio

        with anyio.CancelScope(shield=error is not None):
            await self.finish(outcome_of(error))

    async def flush(self, timeout: float | None = None, *, durable: bool = False) -> bool:
        """As `Run.flush`."""
        import anyio.to_thread

        deadline = self._deadline(anyio.current_time(), timeout)
        resolved = await self._wait(self._resolved(), deadline)
        if durable:
            await anyio.to_thread.run_sync(self._sync)
        return await self._wait(self._delivered(), deadline) and resolved

    async def finish(self, outcome: str | Outcome | None = None, timeout: float | None = None) -> None:
        """As `Run.finish`. Cancelling it means not to wait."""
        import anyio
        import anyio.to_thread

        final = final_outcome(outcome)
        deadline = self._deadline(anyio.current_time(), timeout)
        own = True
        try:
            try:
                if self._on_finish is not None and not self._closed:
                    with anyio.CancelScope(shield=True):
                        await anyio.to_thread.run_sync(self._on_finish)
                await self._wait(self._close(), deadline)
            finally:
                check = self._end(final)
                own = check is not None
            if check is not None:
                with Waiting(self._awaited, deadline) as waiting:
                    await self._wait(check, deadline, waiting.tell)
                await self._wait(self._settled, max(deadline, self._grace(anyio.current_time())))
            else:
                await self._wait(self._is_gone, deadline)
        finally:
            if own:
                try:
                    with anyio.CancelScope(shield=True):
                        await self._wait(self._settled, self._grace(anyio.current_time()))
                finally:
                    self._let_go()

    async def _wait(
        self, check: Callable[[], bool | None], deadline: float, tell: Callable[[float], None] = lambda now: None
    ) -> bool:
        import anyio

        pause = _POLL / 16
        with anyio.CancelScope(deadline=deadline):
            while (result := check()) is None:
                tell(anyio.current_time())
                await anyio.sleep(pause)  # what is waited for happens in other processes
                pause = min(2 * pause, _POLL)
            return result
        return False


def _hint() -> str:
    """What the line about the waiting ends with: Ctrl-C interrupts the main thread alone."""
    return " Ctrl-C ends it" if threading.current_thread() is threading.main_thread() else ""


def final_outcome(given: str | Outcome | None) -> Outcome:
    """The outcome that `finish` was given. Raises InvalidSetting."""
    try:
        return Outcome(given or Outcome.COMPLETED)
    except ValueError:
        raise InvalidSetting("outcome", given, f"one of {', '.join(Outcome)}") from None


def outcome_of(error: BaseException | None) -> Outcome:
    """How a run ended whose block was left by that exception."""
    error = _exit_behind(error) or error
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return Outcome.COMPLETED
    signalled = isinstance(error, SystemExit) and error.code in _SIGNALLED
    return Outcome.KILLED if signalled or _is_ctrl_c(error) else Outcome.FAILED


def _exit_behind(error: BaseException | None) -> SystemExit | None:
    """The exit that asyncio's runner was left by when it cancelled what still ran, as a signal's handler makes it."""
    while error is not None and _is_cancellation(error):
        error = error.__context__
    return error if isinstance(error, SystemExit) else None


def _is_cancellation(error: BaseException) -> bool:
    """Whether it is one of asyncio's."""
    cancelled = getattr(sys.modules.get("asyncio"), "CancelledError", None)  # a thread may be importing it just now
    return cancelled is not None and isinstance(error, cancelled)


def _is_ctrl_c(error: BaseException) -> bool:
    """Whether it is the interrupt, also among others in a group, or what asyncio makes of it: a cancellation."""
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(KeyboardInterrupt) is not None
    if _is_cancellation(error):
        # The runner, which handles the signal, remembers it.
        runner = getattr(getattr(signal.getsignal(signal.SIGINT), "func", None), "__self__", None)
        return bool(getattr(runner, "_interrupt_count", 0))
    return isinstance(error, KeyboardInterrupt)


# The active run.

_process_run: Run | None = None
_context_run: ContextVar[AsyncRun | None] = ContextVar("tracelet_run", default=None)


def active_run() -> Run | AsyncRun | None:
    """The run of the enclosing `open_run` block, else the one that `start_logging` began; None if there is none."""
    return _context_run.get() or _process_run


def process_run() -> Run | None:
    """The run that `start_logging` began, also within an `open_run` block."""
    return _process_run


def set_process_run(run: Run | None) -> None:
    """Make `run` the process's active run."""
    global _process_run
    _process_run = run


def forget_process_run(run: object) -> None:
    """Have no active run of the process any more, if it is this one."""
    global _process_run
    if _process_run is run:
        _process_run = None


def context_run() -> ContextVar[AsyncRun | None]:
    """The variable that overrides the process's active run."""
    return _context_run
