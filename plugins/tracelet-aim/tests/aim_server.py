"""A real `aim server` on a free port of this machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx


class AimServer:
    """Starts the server when entered; `stop` and `start` are for outages.

    Attributes:
        folder: has the repository that it serves.
        address: as the option `repo` wants it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.address = f"aim://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> AimServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it; returns when it answers."""
        arguments = ("--repo", str(self.folder), "-h", "127.0.0.1", "-p", str(self.port), "-y")
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(Path(sys.executable).parent / "aim"), "server", *arguments],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if httpx.get(f"http://127.0.0.1:{self.port}/status/", timeout=2).is_success:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
        raise RuntimeError(f"the Aim server did not start: {(self.folder / 'log').read_text()[-4000:]}")

    @property
    def running(self) -> bool:
        """Whether it was started, and not stopped since."""
        return self._process is not None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the server and what it started."""
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def stop(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it, at once unless told otherwise."""
        if self._process is not None:
            self.send(number)
            self._process.wait(20)
            self._process = None
