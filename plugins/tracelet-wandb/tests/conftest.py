"""W&B kept on this machine: no account, no telemetry, and nobody's folders."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from tracelet_wandb import Options
from wandb_driver import Driver
from wandb_online import SERVERS
from wandb_stub import StubServer

os.environ["TRACELET_CAPTURE"] = "0"  # events that a test does not say would be counted in it

_HOME = tempfile.TemporaryDirectory(prefix="tracelet-wandb-home-")
_ENVIRONMENT = {
    "HOME": _HOME.name,
    "NETRC": f"{_HOME.name}/netrc",
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_BASE_URL": "http://127.0.0.1:9",  # nobody answers there
    "WANDB_CONFIG_DIR": f"{_HOME.name}/config",
    "WANDB_CACHE_DIR": f"{_HOME.name}/cache",
    "WANDB_DATA_DIR": f"{_HOME.name}/data",
}


def pytest_configure(config: pytest.Config) -> None:
    # wandb leaves its temporary folders and its wandb-core to the garbage collector, which comes by in any test.
    config.addinivalue_line("filterwarnings", "ignore:Implicitly cleaning up:ResourceWarning")
    config.addinivalue_line("filterwarnings", "ignore:subprocess \\d+ is still running:ResourceWarning")


@pytest.fixture(scope="session", autouse=True)
def nobodys_machine() -> Iterator[None]:
    """Whatever W&B reads or writes beside a run is in a folder of the tests."""
    before = {name: value for name, value in os.environ.items() if name in _ENVIRONMENT or name.startswith("WANDB_")}
    for name in before:
        del os.environ[name]
    os.environ.update(_ENVIRONMENT)
    yield
    for name in _ENVIRONMENT:
        del os.environ[name]
    os.environ.update(before)
    _HOME.cleanup()


@pytest.fixture(scope="session", autouse=True)
def loopback_only() -> Iterator[None]:
    """Nothing in this process, the SDK least of all, connects to another machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test connects to {address}")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded)
        yield


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def stub() -> Iterator[StubServer]:
    """A stub of W&B's server."""
    with StubServer() as server:
        SERVERS[server.url] = server
        yield server
        del SERVERS[server.url]


@pytest.fixture
async def drive(tmp_path: Path, stub: StubServer) -> AsyncIterator[Callable[..., Driver]]:
    """Makes drivers, and lets go of what they hold, while the stub is still there."""
    drivers: list[Driver] = []

    def make(server: StubServer | None = None, run: dict[str, Any] | None = None, **options: Any) -> Driver:
        given: dict[str, Any] = {"mode": "offline", "dir": str(tmp_path / "W&B")}
        if server is not None:
            given |= {"mode": "online", "base_url": server.url, "api_key": "0" * 40}
        drivers.append(Driver(Options(**(given | options)), tmp_path, **(run or {})))
        return drivers[-1]

    yield make
    for driver in drivers:
        await driver.backend.close()
