"""A real MLflow server and a real SQLite store for the session, and the plugin driven as the core drives it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent))
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # before MLflow is imported, here and in the server

from driver import Driver

from tracelet.testing import FaultyServer


def pytest_configure(config: pytest.Config) -> None:
    for rule in ("ignore::DeprecationWarning:mlflow", "ignore::FutureWarning:mlflow"):
        config.addinivalue_line("filterwarnings", rule)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an MLflow server that proxies its artifacts."""
    folder = tmp_path_factory.mktemp("server")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    arguments = ("--host", "127.0.0.1", "--port", str(port), "--workers", "1")
    stores = ("--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", f"{folder}/artifacts")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *arguments, *stores],
            env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_healthy(url, process, folder / "log")
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def _wait_until_healthy(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/health", timeout=2).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise RuntimeError(f"the MLflow server did not start: {log.read_text()[-4000:]}")


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URI of an SQLite store, shared because MLflow takes seconds to create its schema."""
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture(params=["http", "sqlite"])
def tracking_uri(request: pytest.FixtureRequest) -> str:
    """Each kind of place that the plugin delivers to."""
    return str(request.getfixturevalue("server" if request.param == "http" else "database"))


@pytest.fixture
def proxy(server: str) -> Iterator[FaultyServer]:
    """A way to the MLflow server that can be told to fail."""
    with FaultyServer(server) as faulty:
        yield faulty


@pytest.fixture
async def drive(tmp_path: Path) -> AsyncIterator[Callable[..., Driver]]:
    """Makes drivers, and lets go of what they hold."""
    drivers: list[Driver] = []

    def make(uri: str, **changes: Any) -> Driver:
        drivers.append(Driver(uri, tmp_path, **changes))
        return drivers[-1]

    yield make
    for driver in drivers:
        await driver.backend.close()


@pytest.fixture
def read() -> Callable[[str], Any]:
    """MLflow's own client, to see what has arrived."""
    from mlflow import MlflowClient

    return lambda uri: MlflowClient(tracking_uri=uri)
