"""The thread host: the bus in a daemon thread of the training process, where no process may be started."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from contextlib import suppress

from tracelet._blocking import LaneThreads
from tracelet._discovery import Target
from tracelet.errors import DeliveryFailed
from tracelet.journal import RunDirectory


class ThreadHost:
    """Implements `Host` with an event loop in a thread of its own."""

    def __init__(self, directory: RunDirectory, targets: Sequence[Target]) -> None:
        self._directory = directory
        self._targets = targets
        self._reader = self._writer = -1
        self._blocking: dict[str, LaneThreads] = {}
        self._thread = threading.Thread(target=self._serve, name="tracelet bus", daemon=True)

    def start(self) -> None:
        """Start the thread. Raises DeliveryFailed or OSError; it is not tried again."""
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        try:
            # Here and not in the bus's thread, which may get to it only when the script has ended, and no thread can
            # start.
            self._blocking = {target.name: LaneThreads(target.name) for target in self._targets}
            self._thread.start()
        except RuntimeError as error:
            os.close(self._reader)
            raise DeliveryFailed(", ".join(target.name for target in self._targets), str(error)) from error

    def wake(self) -> None:
        if self._writer >= 0 and self._thread.is_alive():
            with suppress(BlockingIOError, BrokenPipeError):  # it is awake, or has ended this very moment
                os.write(self._writer, b"\n")

    def serves(self, backend: str) -> bool:
        return self._thread.is_alive()

    def watch(self) -> None:
        """Nothing to do: a thread that died can't be replaced; what is left is for `tracelet sync`."""

    def release(self) -> tuple[str, ...]:
        writer, self._writer = self._writer, -1
        if writer >= 0:
            os.close(writer)  # ends the bus, which leaves the rest in the journal
        return ()

    def _serve(self) -> None:
        import anyio

        from tracelet._bus import Bus

        try:
            bus = Bus(self._directory, self._targets, control=self._reader, until_eof=True, blocking=self._blocking)
            anyio.run(bus.run)
        finally:
            os.close(self._reader)
