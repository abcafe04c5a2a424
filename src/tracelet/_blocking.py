"""Blocking calls of backends: one daemon thread per lane, which nothing ever joins."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar, cast

from tracelet.events import Lane

P = ParamSpec("P")
T = TypeVar("T")

current_lane: ContextVar[str] = ContextVar("tracelet_lane", default="stream")
"""Whose thread a call uses."""

delivering: ContextVar[bool] = ContextVar("tracelet_delivering", default=False)
"""Whether what runs here is delivery's, in a task or a thread of a process that may do other things as well."""


class LaneThreads:
    """Implements `BlockingCalls`."""

    def __init__(self, name: str) -> None:
        # Started at once, because at exit, when the last events are delivered, no thread can be.
        self._threads = {lane.value: _LaneThread(f"tracelet {name} {lane.value}") for lane in Lane}

    async def __call__(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return cast(T, await self._threads[current_lane.get()].call(lambda: function(*args, **kwargs)))

    def busy(self) -> bool:
        """Whether this lane's thread is in a call; once nobody waits for that any more, it hangs."""
        return self._threads[current_lane.get()].busy

    def stop(self) -> None:
        """Let the threads end when they are idle; doesn't wait for them."""
        for thread in self._threads.values():
            thread.jobs.put(None)


class _LaneThread:
    def __init__(self, name: str) -> None:
        self.busy = False
        self.jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    async def call(self, function: Callable[[], Any]) -> Any:
        # Imported here, so that the threads can be started where the event loop's libraries are not wanted yet.
        import anyio
        import anyio.from_thread
        import anyio.lowlevel

        done = anyio.Event()
        token = anyio.lowlevel.current_token()
        result: list[Any] = []
        errors: list[BaseException] = []

        def job() -> None:
            try:
                result.append(function())
            except BaseException as error:  # noqa: BLE001 - carried over to the caller, whatever it is
                errors.append(error)
            self.busy = False
            with suppress(RuntimeError):  # the event loop has ended: nobody waits
                anyio.from_thread.run_sync(done.set, token=token)

        self.busy = True
        self.jobs.put(job)
        await done.wait()
        if errors:
            raise errors[0]
        return result[0]

    def _work(self) -> None:
        delivering.set(True)
        while (job := self.jobs.get()) is not None:
            job()
