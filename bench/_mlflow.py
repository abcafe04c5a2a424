"""A real MLflow tracking server on the loopback interface, with a store of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

ENVIRONMENT = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
"""For MLflow here and in the server: nothing beside what is measured."""

GIVEN = "BENCH_MLFLOW"
"""Names a server that is there already, by its address and the id of its process group: one for several benchmarks."""

_PATIENCE = 120.0  # seconds; it takes a dozen on a quiet machine


class Server:
    """One with a single worker; a process group that can be made to pause."""

    def __init__(self, url: str, pid: int) -> None:
        self.url = url
        self.pid = pid

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all of its processes."""
        os.killpg(self.pid, number)

    def wait_until_healthy(self, process: subprocess.Popen[bytes]) -> None:
        """Raises RuntimeError if the process ends, or doesn't answer."""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline and process.poll() is None:
            try:
                if httpx.get(f"{self.url}/health", timeout=2.0).is_success:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
        raise RuntimeError("the MLflow server did not start; it says why in its log")


@contextmanager
def server(directory: Path) -> Iterator[Server]:
    """A server for the duration of a block, with its database and its log in `directory`; or the one that is given."""
    if GIVEN in os.environ:
        url, pid = os.environ[GIVEN].split()
        given = Server(url, int(pid))
        try:
            yield given
        finally:
            given.signal(signal.SIGCONT)
        return
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    address = ("--host", "127.0.0.1", "--port", str(port), "--workers", "1")
    stores = (
        "--backend-store-uri",
        database(directory / "server"),
        "--artifacts-destination",
        str(directory / "files"),
    )
    with (directory / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *address, *stores],
            env=os.environ | ENVIRONMENT,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    started = Server(f"http://127.0.0.1:{port}", process.pid)
    try:
        started.wait_until_healthy(process)
        yield started
    finally:
        started.signal(signal.SIGCONT)
        started.signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            started.signal(signal.SIGKILL)
            process.wait()


def database(name: Path) -> str:
    """The URI of an SQLite store."""
    return f"sqlite:///{name}.db"
