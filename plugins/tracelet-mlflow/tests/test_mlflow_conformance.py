"""The conformance suite for backends, over a real server and a real database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio.to_thread
import msgspec
import pytest
from mlflow_server import Server
from tracelet_mlflow import MLflow, Options
from tracelet_mlflow.readback import read

from tracelet.events import Event
from tracelet.testing.conformance import BackendConformance, Drive, Media, Points, Recorded, Runs
from tracelet.testing.conformance._media import SAMPLES, Sample


class Served:
    """Reads as the plugin's reader does, but the points of a server from its store: else a request for each name."""

    @pytest.fixture(autouse=True)
    def store(self, shared_server: Server) -> None:
        self._store = shared_server.store

    async def read(self, options: Any, run_id: str) -> Recorded:
        return await anyio.to_thread.run_sync(self._read, options, run_id)

    def _read(self, options: Options, run_id: str) -> Recorded:
        from mlflow import MlflowClient

        with pytest.MonkeyPatch.context() as patch:
            if options.is_http:
                history = MlflowClient(self._store).get_metric_history
                patch.setattr(MlflowClient, "get_metric_history", lambda _, run, name: history(run, name))
            return read(options, run_id)


class TestMLflow(Served, BackendConformance):
    backend = MLflow
    sdks = ("mlflow", "httpx")
    test_media_arrive = None  # type: ignore[assignment]  # below

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


class TestMLflowOnTrio(Served, Runs, Points):
    """Its requests, on the other event loop."""

    backend = MLflow
    # Delivery processes have an event loop of their own, and these need none.
    test_a_killed_delivery_loses_nothing = None  # type: ignore[assignment]
    test_importing_the_plugin_imports_no_sdk = None  # type: ignore[assignment]

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "trio"

    @pytest.fixture
    def options(self, server: str) -> Options:
        return Options(tracking_uri=server)


class _Media(Served, Media):
    """Each thing to look at becomes the same files wherever they go; the other tests of media are above."""

    backend = MLflow
    test_delivering_everything_again_shows_it_once = None  # type: ignore[assignment]
    test_contexts_keep_media_apart = None  # type: ignore[assignment]
    test_one_name_for_a_metric_and_an_image = None  # type: ignore[assignment]
    test_hostile_names_of_media_lose_nothing = None  # type: ignore[assignment]

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"


class TestMediaInDatabase(_Media):
    """All of them."""

    @pytest.fixture
    def options(self, database: str) -> Options:
        return Options(tracking_uri=database)


_OF_EACH_KIND: dict[type[Event], str] = {sample.kind: name for name, sample in SAMPLES.items()}


class TestMediaOnServer(_Media):
    """One of each kind, since uploading is all that is different."""

    @pytest.fixture
    def options(self, server: str) -> Options:
        return Options(tracking_uri=server)

    @pytest.mark.parametrize("sample", [SAMPLES[name] for name in _OF_EACH_KIND.values()], ids=_OF_EACH_KIND.values())
    async def test_media_arrive(self, drive: Drive, tmp_path: Path, sample: Sample) -> None:
        """Each is shown once, under its name and at its step, with the content it was given."""
        await super().test_media_arrive(drive, tmp_path, sample)
