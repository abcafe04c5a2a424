"""A repository for each test, a real Aim tracking server for the session, and the plugin driven as the core does it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from aim_driver import Driver
from aim_server import AimServer

os.environ["TRACELET_CAPTURE"] = "0"  # events that a test does not say would be counted in it

collect_ignore_glob = ["test_*.py"] if find_spec("aim") is None else []  # it has no releases for Python 3.13


def pytest_configure(config: pytest.Config) -> None:
    for rule in ("ignore::DeprecationWarning:aim", "ignore:ssl_context was renamed:DeprecationWarning:websockets"):
        config.addinivalue_line("filterwarnings", rule)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AimServer]:
    """An Aim tracking server."""
    with AimServer(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def own_server(server: AimServer) -> Iterator[AimServer]:
    """The server, for a test that may stop it."""
    yield server
    if not server.running:
        server.start()


@pytest.fixture(scope="session")
def empty_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new repository; Aim takes more than a second to make one."""
    from aim import Repo

    folder = tmp_path_factory.mktemp("empty")
    Repo.from_path(str(folder), init=True)
    return folder


@pytest.fixture
def repository(empty_repository: Path, tmp_path: Path) -> str:
    """The folder of a repository without runs."""
    shutil.copytree(empty_repository, tmp_path / "repo")
    return str(tmp_path / "repo")


@pytest.fixture
async def drive(repository: str, tmp_path: Path) -> AsyncIterator[Callable[..., Driver]]:
    """Makes drivers, and lets go of what they hold."""
    drivers: list[Driver] = []

    def make(repo: str | None = None, **changes: Any) -> Driver:
        drivers.append(Driver(repo or repository, tmp_path, **changes))
        return drivers[-1]

    yield make
    for driver in drivers:
        await driver.backend.close()
