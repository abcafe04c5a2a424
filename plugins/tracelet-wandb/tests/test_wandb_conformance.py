"""The conformance suite for backends, over W&B's offline files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
import wandb_offline
import wandb_online
from tracelet_wandb import Options, WandB
from wandb_stub import StubServer

from tracelet.backend import Support, fallback
from tracelet.events import Event, ModelRegistered
from tracelet.testing.conformance import BackendConformance, Recorded, Runs


class TestOffline(BackendConformance):
    backend = WandB
    sdks = ("wandb",)

    @pytest.fixture
    def anyio_backend(self) -> str:
        """The SDK works in threads; what depends on the event loop is tested on the other one below."""
        return "asyncio"

    def make_options(self, tmp_path: Path) -> Options:
        return Options(mode="offline", dir=str(tmp_path / "W&B"))

    async def read(self, options: Any, run_id: str) -> Recorded:
        return await anyio.to_thread.run_sync(wandb_offline.recorded, Path(options.dir), run_id)

    def support(self, event_type: type[Event]) -> Support | None:
        """The registry is W&B's server's."""
        return fallback("aliases") if event_type is ModelRegistered else super().support(event_type)


class TestOfflineOnTrio(Runs):
    backend = WandB
    # Delivery processes have an event loop of their own, and importing needs none.
    test_a_killed_delivery_loses_nothing = None  # type: ignore[assignment]
    test_importing_the_plugin_imports_no_sdk = None  # type: ignore[assignment]

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "trio"

    def make_options(self, tmp_path: Path) -> Options:
        return Options(mode="offline", dir=str(tmp_path / "W&B"))

    async def read(self, options: Any, run_id: str) -> Recorded:
        return await anyio.to_thread.run_sync(wandb_offline.recorded, Path(options.dir), run_id)


class TestOnline(BackendConformance):
    """Over a stub of the server, with the real SDK and wandb-core in front of it."""

    @pytest.fixture(params=["asyncio"])
    def anyio_backend(self, request: pytest.FixtureRequest) -> str:
        """The event loops were both tested offline."""
        return str(request.param)

    backend = WandB
    test_importing_the_plugin_imports_no_sdk = None  # type: ignore[assignment]  # above

    @pytest.fixture
    def options(self, tmp_path: Path, stub: StubServer) -> Options:
        return Options(mode="online", base_url=stub.url, api_key="0" * 40, dir=str(tmp_path / "W&B"))

    async def read(self, options: Any, run_id: str) -> Recorded:
        return await anyio.to_thread.run_sync(wandb_online.recorded, options.base_url, run_id)
