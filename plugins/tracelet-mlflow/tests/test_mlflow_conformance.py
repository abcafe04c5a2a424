"""The conformance suite for backends, over a real server and a real database."""

from __future__ import annotations

from typing import Any

import anyio.to_thread
import msgspec
import pytest
from tracelet_mlflow import MLflow, Options
from tracelet_mlflow.readback import read

from tracelet.testing.conformance import BackendConformance, Points, Recorded, Runs


class TestMLflow(BackendConformance):
    backend = MLflow
    sdks = ("mlflow", "httpx")

    @pytest.fixture
    def anyio_backend(self) -> str:
        """What depends on the event loop is tested on the other one below."""
        return "asyncio"

    @pytest.fixture
    def options(self, tracking_uri: str) -> Options:
        return Options(tracking_uri=tracking_uri)

    def server_url(self, options: Any) -> str | None:
        return options.uri if options.is_http else None

    def with_server(self, options: Any, url: str) -> Any:
        return msgspec.structs.replace(options, tracking_uri=url)

    async def read(self, options: Any, run_id: str) -> Recorded:
        return await anyio.to_thread.run_sync(read, options, run_id)


class TestMLflowOnTrio(Runs, Points):
    """Its requests, on the other event loop."""

    backend = MLflow

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "trio"

    @pytest.fixture
    def options(self, server: str) -> Options:
        return Options(tracking_uri=server)

    async def read(self, options: Any, run_id: str) -> Recorded:
        return await anyio.to_thread.run_sync(read, options, run_id)
