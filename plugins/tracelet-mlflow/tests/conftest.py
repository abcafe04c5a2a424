"""A real MLflow server and a real SQLite store for the session, and the plugin driven as the core drives it."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # before MLflow is imported, here and in the server

from driver import Driver
from mlflow_server import Server, shared

from tracelet.testing import FaultyServer

os.environ["TRACELET_CAPTURE"] = "0"  # events that a test does not say would be counted in it


def pytest_configure(config: pytest.Config) -> None:
    for rule in ("ignore::DeprecationWarning:mlflow", "ignore::FutureWarning:mlflow"):
        config.addinivalue_line("filterwarnings", rule)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An MLflow server that proxies its artifacts, the same for all workers."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with shared(folder / "mlflow-server") as running:
        yield running


@pytest.fixture(scope="session")
def server(shared_server: Server) -> str:
    """The server's address."""
    return shared_server.url


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
