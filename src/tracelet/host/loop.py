"""The loop host: the bus as tasks of the caller's event loop, asyncio or trio."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
from anyio.abc import TaskGroup

from tracelet._bus import Bus
from tracelet._discovery import Target
from tracelet.journal import RunDirectory


class LoopHost:
    """Implements `Host` in a task group."""

    def __init__(self, directory: RunDirectory, targets: Sequence[Target], tasks: TaskGroup) -> None:
        self._bus = Bus(directory, targets)
        self._scope = anyio.CancelScope(shield=True)  # the loop's cancellation must not cut off what was said before it
        self._tasks = tasks
        self._over = False

    def start(self) -> None:
        self._tasks.start_soon(self._serve)

    def wake(self) -> None:
        self._bus.wake()

    def serves(self, backend: str) -> bool:
        return not self._over

    def watch(self) -> None:
        """Nothing to do: the task group watches."""

    def release(self) -> tuple[str, ...]:
        self._scope.cancel()
        return ()

    async def _serve(self) -> None:
        try:
            with self._scope:
                await self._bus.run()
        finally:
            self._over = True
