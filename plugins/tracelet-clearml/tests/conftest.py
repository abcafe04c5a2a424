"""A stub of ClearML's servers for the session, and the plugin driven as the core drives it."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

# Before the SDK is imported, here and in processes started from here: nothing of the user's, and no host but ours.
_home = Path(tempfile.mkdtemp(prefix="tracelet-clearml-tests-"))
for _name in [name for name in os.environ if name.startswith(("CLEARML_", "TRAINS_"))]:
    del os.environ[_name]
(_home / "clearml.conf").write_text("api { }\nsdk { development { report_use_subprocess: false } }\n")
os.environ["CLEARML_CONFIG_FILE"] = str(_home / "clearml.conf")
os.environ["CLEARML_CACHE_DIR"] = str(_home / "cache")

from clearml_driver import Driver  # noqa: E402
from clearml_stub import KEY, SECRET, StubServer  # noqa: E402
from tracelet_clearml import Options  # noqa: E402

from tracelet.testing import FaultyServer  # noqa: E402

os.environ["TRACELET_CAPTURE"] = "0"  # events that a test does not say would be counted in it

MakeDriver = Callable[..., Driver]


def pytest_configure(config: pytest.Config) -> None:
    for rule in ("ignore::DeprecationWarning:clearml", "ignore:'.*' (argument is )?deprecated:DeprecationWarning"):
        config.addinivalue_line("filterwarnings", rule)


def pytest_unconfigure() -> None:
    shutil.rmtree(_home, ignore_errors=True)


@pytest.fixture
def anyio_backend() -> str:
    """Where the event loop matters (servers, faults, files), the tests say that they are for both."""
    return "asyncio"


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


@pytest.fixture(scope="session")
def stub() -> Iterator[StubServer]:
    """The servers; ClearML's SDK in this process speaks to them, too."""
    with StubServer() as server, pytest.MonkeyPatch.context() as environment:
        hosts = {"API_HOST": server.url, "FILES_HOST": server.files_url, "WEB_HOST": "http://127.0.0.1:9"}
        for name, value in (hosts | {"API_ACCESS_KEY": KEY, "API_SECRET_KEY": SECRET}).items():
            environment.setenv(f"CLEARML_{name}", value)
        yield server


@pytest.fixture
def options(stub: StubServer) -> Options:
    return Options(
        api_host=stub.url, files_host=stub.files_url, web_host="http://web", access_key=KEY, secret_key=SECRET
    )


@pytest.fixture
def proxy(stub: StubServer) -> Iterator[FaultyServer]:
    """A way to the API that can be told to fail."""
    with FaultyServer(stub.url) as faulty:
        yield faulty


@pytest.fixture
async def drive(tmp_path: Path, options: Options) -> AsyncIterator[MakeDriver]:
    """Makes drivers, and lets go of what they hold."""
    drivers: list[Driver] = []

    def make(chosen: Options = options, **changes: Any) -> Driver:
        drivers.append(Driver(chosen, tmp_path, **changes))
        return drivers[-1]

    yield make
    for driver in drivers:
        await driver.backend.close()
