"""The conformance suite for backends, read back by the plugin's reader; the server is the stub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio.to_thread
import msgspec
import pytest
from clearml_reader import import_run
from clearml_stub import StubServer
from tracelet_clearml import ClearML, Options
from tracelet_clearml.readback import read

from tracelet.testing.conformance import BackendConformance, Recorded


class TestClearML(BackendConformance):
    backend = ClearML
    sdks = ("clearml", "httpx")

    @pytest.fixture
    def options(self, options: Options) -> Options:
        return options

    def server_url(self, options: Any) -> str | None:
        url: str = options.api_host
        return url

    def with_server(self, options: Any, url: str) -> Any:
        return msgspec.structs.replace(options, api_host=url)

    async def read(self, options: Any, run_id: str) -> Recorded:
        return await anyio.to_thread.run_sync(read, options, run_id)


class TestClearMLOnTrio(TestClearML):
    """What depends on the event loop: connections, cancellation, uploads, threads."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "trio"


_ON_BOTH = {
    "test_a_second_open_finds_the_run",
    "test_a_finished_run_can_go_on",
    "test_closing_twice_is_fine",
    "test_console_lines_arrive_in_order",
    "test_a_large_batch_arrives",
    "test_artifacts_arrive",
    "test_models_arrive",
    "test_what_may_pass_is_tried_again",
    "test_a_server_that_is_down_is_waited_for",
    "test_refused_credentials_pause_delivery",
    "test_a_server_that_hangs_can_be_left",
}
for _name in dir(BackendConformance):
    if _name.startswith("test_") and _name not in _ON_BOTH:
        setattr(TestClearMLOnTrio, _name, None)


class TestClearMLOffline(BackendConformance):
    """As above, but into a folder, which ClearML's SDK imports before it reads."""

    backend = ClearML
    test_importing_the_plugin_imports_no_sdk = None  # type: ignore[assignment]  # above

    @pytest.fixture
    def options(self, stub: StubServer, tmp_path: Path) -> Options:
        return Options(offline=True, offline_folder=str(tmp_path / "offline"))

    async def read(self, options: Any, run_id: str) -> Recorded:
        return await anyio.to_thread.run_sync(import_run, Path(options.offline_folder), run_id)


class TestClearMLOfflineFiles(BackendConformance):
    """As above, but the folder itself is read."""

    backend = ClearML
    test_importing_the_plugin_imports_no_sdk = None  # type: ignore[assignment]  # above

    def make_options(self, tmp_path: Path) -> Options:
        return Options(offline=True, offline_folder=str(tmp_path / "offline"))

    async def read(self, options: Any, run_id: str) -> Recorded:
        return await anyio.to_thread.run_sync(read, options, run_id)
