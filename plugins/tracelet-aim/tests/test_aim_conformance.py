"""The conformance suite for backends, over a repository of this machine and over a real tracking server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
from aim_server import AimServer
from tracelet_aim import Aim, Options
from tracelet_aim.readback import recorded

from tracelet.testing.conformance import BackendConformance, Recorded, Runs


class TestAim(BackendConformance):
    backend = Aim
    sdks = ("aim", "aimrocks", "numpy")

    @pytest.fixture
    def anyio_backend(self) -> str:
        """The SDK works in threads; what depends on the event loop is tested on the other one below."""
        return "asyncio"

    @pytest.fixture
    def options(self, repository: str) -> Options:
        return Options(repo=repository)

    async def read(self, options: Any, run_id: str) -> Recorded:
        return await anyio.to_thread.run_sync(recorded, options.path, run_id)


class TestAimOnTrio(Runs):
    backend = Aim
    # Delivery processes have an event loop of their own, and importing needs none.
    test_a_killed_delivery_loses_nothing = None  # type: ignore[assignment]
    test_importing_the_plugin_imports_no_sdk = None  # type: ignore[assignment]

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "trio"

    @pytest.fixture
    def options(self, repository: str) -> Options:
        return Options(repo=repository)

    async def read(self, options: Any, run_id: str) -> Recorded:
        return await anyio.to_thread.run_sync(recorded, options.path, run_id)


class TestAimServer(BackendConformance):
    backend = Aim
    # What these are about is made as above, and doesn't depend on where it goes.
    test_importing_the_plugin_imports_no_sdk = None  # type: ignore[assignment]
    test_media_arrive = None  # type: ignore[assignment]
    test_a_killed_delivery_loses_nothing = None  # type: ignore[assignment]
    test_registering_again_makes_no_second_version = None  # type: ignore[assignment]

    @pytest.fixture
    def anyio_backend(self) -> str:
        """One event loop is enough here: all but the waiting is the same as above."""
        return "asyncio"

    @pytest.fixture
    def options(self, server: AimServer, tmp_path: Path) -> Options:
        return Options(repo=server.address, artifacts_uri=(tmp_path / "artifacts").as_uri())

    @pytest.fixture(autouse=True)
    def folder(self, server: AimServer) -> None:
        self._folder = str(server.folder)

    async def read(self, options: Any, run_id: str) -> Recorded:
        return await anyio.to_thread.run_sync(recorded, self._folder, run_id)
