"""Surroundings: what a run says without being asked, from its beginning to its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from tracelet import _ranks
from tracelet.capture._console import Console
from tracelet.capture._imports import hold_forks, importing
from tracelet.errors import RunClosed
from tracelet.journal import RunDirectory
from tracelet.journal.process import call_in_forked_children
from tracelet.run import AsyncRun, Run

if TYPE_CHECKING:
    from tracelet.capture._machine import Machine

FACTS = frozenset({"git", "environment", "command"})

_TICK = 1.0
_SOON = 1.0  # seconds after which the first sample is taken
_YIELD = 0.005  # so that `start` has returned before the threads compete with the training for the interpreter
_PATIENCE, _MERCY = 0.7, 0.2  # seconds that `stop` waits for what is under way, and then for it to give up


class Surroundings:
    """What surrounds a run: the code's state in git, the environment, the command line, the console, the machine.

    Nothing here raises into the training: what fails is said once, and the others go on.

    Args:
        run: what says it.
        wanted: some of "git", "environment", "command", "console", "system".
        interval: between two samples of system metrics, in seconds.
        tell: tells the user.
    """

    def __init__(
        self, run: Run | AsyncRun, wanted: frozenset[str], interval: float, tell: Callable[[str], None]
    ) -> None:
        self._run = run
        rank = _ranks.current()
        # What holds for all ranks is said by the first one alone.
        self._wanted = wanted if rank == 0 else wanted - FACTS
        self._interval = interval
        self._tell = tell
        self._console = Console(run, tell, f"[rank {rank}] " if rank else "")
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._began = time.time()
        self._step = -1
        self._failed: set[str] = set()
        self._stopping = False
        self._cancelled = False

    def start(self) -> None:
        """Begin. Returns at once: what takes time happens in daemon threads."""
        if self._stopping or not self._run.active:
            return
        call_in_forked_children(self._detach)
        if "console" in self._wanted:
            self._guarded("the console", self._console.start)
        if not self._wanted:
            return
        hold_forks()
        if self._wanted & FACTS:
            self._threads.append(threading.Thread(target=self._say_facts, name="tracelet facts", daemon=True))
        if self._wanted & {"console", "system"}:
            self._threads.append(threading.Thread(target=self._look_on, name="tracelet surroundings", daemon=True))
        try:
            for thread in self._threads:
                thread.start()
        except RuntimeError as error:
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            self._tell(f"some of the surroundings can't be captured: {error}")

    def stop(self) -> None:
        """End, with the last lines and the last sample; to be called before the run is closed.

        Waits for what is under way, about a second at most. Does nothing the second time.
        """
        if self._stopping:
            return
        self._stopping = True
        self._console.stop()
        self._wake.put(None)
        self._await(_PATIENCE)
        self._cancelled = True
        self._await(_MERCY)

    def _await(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            if thread is not threading.current_thread():
                with suppress(RuntimeError):  # a signal handler's, before the thread had begun
                    thread.join(max(0.0, deadline - time.monotonic()))

    def _detach(self) -> None:
        """In a forked child: the parent goes on, this copy does not."""
        self._stopping = self._cancelled = True
        self._threads = []

    # What the threads do.

    def _say_facts(self) -> None:
        time.sleep(_YIELD)
        wanted, run = self._wanted, self._run
        try:
            with importing():
                from tracelet.capture import _facts
        except Exception as error:  # noqa: BLE001 - the isolation boundary: what it imports may be broken
            with suppress(Exception):
                self._tell(f"nothing is captured of {', '.join(sorted(wanted & FACTS))}: {_reason(error)}")
            return
        if "command" in wanted:
            self._guarded("the command line", lambda: _facts.say_command(run))
        if "environment" in wanted:
            with_command = "command" in wanted
            self._guarded("the environment", lambda: _facts.say_environment(run, with_command=with_command))
        if "git" in wanted:
            self._guarded("the state of the code in git", lambda: _facts.say_git(run, lambda: self._cancelled))

    def _look_on(self) -> None:
        time.sleep(_YIELD)
        machine = self._machine() if "system" in self._wanted else None
        due = time.monotonic() + min(_SOON, self._interval)
        while not self._stopping:
            pause = max(0.0, due - time.monotonic()) if machine is not None else _TICK
            with suppress(Empty):
                self._wake.get(timeout=min(pause, _TICK) if "console" in self._wanted else pause)
            self._console.tick()
            if machine is not None and not self._stopping and time.monotonic() >= due:
                due = max(due + self._interval, time.monotonic())
                self._sample(machine)
        if machine is not None:
            self._sample(machine)
            machine.close()

    def _machine(self) -> Machine | None:
        try:
            with importing():
                from tracelet.capture._machine import Machine
            with suppress(FileNotFoundError):  # rank 0 may not have written it yet
                self._began = RunDirectory(self._run.directory).read_record().created
            return Machine(self._run.directory, self._tell)
        except Exception as error:  # noqa: BLE001 - the isolation boundary: a machine may refuse anything
            self._tell(f"what the machine does is not captured: {_reason(error)}")
            return None

    def _sample(self, machine: Machine) -> None:
        """One event, at the second of the run that it is."""
        if self._cancelled:
            return

        def sample() -> None:
            self._step = max(self._step + 1, int(time.time() - self._began))
            self._run.log_metrics(machine.measure(), self._step)

        self._guarded("what the machine does", sample)

    def _guarded(self, what: str, work: Callable[[], None]) -> None:
        try:
            work()
        except RunClosed:
            pass  # it was closed without waiting for this
        except Exception as error:  # noqa: BLE001 - the isolation boundary: nothing of this may end a training
            if what not in self._failed:
                self._failed.add(what)
                with suppress(Exception):
                    self._tell(f"{what} is not captured: {_reason(error)}")


def _reason(error: Exception) -> str:
    own = type(error).__module__.startswith("tracelet.")
    return str(error) if own else f"{type(error).__name__}: {error}"
