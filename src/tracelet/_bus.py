"""The bus: the subscriptions that one process serves for one run, in one task group."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence

import anyio

from tracelet._blocking import LaneThreads, delivering
from tracelet._discovery import Target
from tracelet._subscription import Subscription
from tracelet.journal import Cursor, RunDirectory

_LOCK_POLL = 0.05

log = logging.getLogger("tracelet.delivery")


class Bus:
    """Runs subscriptions until all have ended.

    Args:
        directory: the run's.
        targets: the backends.
        control: a descriptor that becomes readable when somebody wants the subscriptions woken.
        until_eof: whether the end of `control` stops the bus; else it is ignored.
        follow: see `Subscription`.
        patience: how long to wait for a cursor that another process holds, in seconds.
        blocking: threads for blocking calls, by backend; those of the others are started when they are needed.
    """

    def __init__(
        self,
        directory: RunDirectory,
        targets: Sequence[Target],
        *,
        control: int | None = None,
        until_eof: bool = False,
        follow: bool = True,
        patience: float = float("inf"),
        blocking: Mapping[str, LaneThreads] | None = None,
    ) -> None:
        self.subscriptions: list[Subscription] = []
        self.held: list[str] = []
        """The backends whose cursors another process holds."""
        self._directory = directory
        self._targets = targets
        self._control = control
        self._until_eof = until_eof
        self._follow = follow
        self._patience = patience
        self._blocking = blocking or {}

    async def run(self) -> None:
        """Deliver; returns when every subscription has ended. Cancel it to stop at once: nothing is lost."""
        async with anyio.create_task_group() as tasks:
            if self._control is not None:
                tasks.start_soon(self._listen, self._control, tasks.cancel_scope)
            async with anyio.create_task_group() as subscriptions:
                for target in self._targets:
                    subscriptions.start_soon(self._subscribe, target)
            tasks.cancel_scope.cancel()

    def wake(self) -> None:
        """See `Subscription.wake`."""
        for subscription in self.subscriptions:
            subscription.wake()

    async def _subscribe(self, target: Target) -> None:
        delivering.set(True)  # for this task, and those that it starts
        try:
            cursor = await self._acquire(target)
        except OSError as error:
            log.error("%s: the cursor can't be opened: %s", target.name, error)
            return
        if cursor is None:
            self.held.append(target.name)
            return
        with cursor:
            blocking = self._blocking.get(target.name)
            subscription = Subscription(target, self._directory, cursor, follow=self._follow, blocking=blocking)
            self.subscriptions.append(subscription)
            await subscription.run()

    async def _acquire(self, target: Target) -> Cursor | None:
        path = self._directory.cursor(target.name)
        with anyio.move_on_after(self._patience):
            while True:
                cursor = Cursor.acquire(path)
                if cursor is not None:
                    return cursor
                await anyio.sleep(_LOCK_POLL)
        return None

    async def _listen(self, control: int, scope: anyio.CancelScope) -> None:
        while True:
            await anyio.wait_readable(control)
            if not os.read(control, 4096):
                break
            self.wake()
        if self._until_eof:
            scope.cancel()
