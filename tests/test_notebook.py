"""Notebooks: how the run of a kernel ends, which has no script that could end it. With real kernels."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tracelet.codec import decode
from tracelet.events import Event, Lane, MetricsLogged, RunFinished
from tracelet.journal import LogReader, RunDirectory

client = pytest.importorskip("jupyter_client")
pytest.importorskip("ipykernel")

START = "import tracelet; run = tracelet.start_logging(exp_name='n')"


class Kernel:
    """A kernel as notebooks use it, and its client."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._manager = client.KernelManager(kernel_name="python3", transport="ipc", connection_file=str(folder / "k"))
        places = {"TRACELET_DIR": str(folder / "store"), "IPYTHONDIR": str(folder / "ipython")}
        self._manager.start_kernel(cwd=folder, env=os.environ | places)
        self._client = self._manager.blocking_client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=60)

    def run(self, *cells: str) -> str:
        """Execute cells; returns what the last one printed."""
        for cell in cells:
            said: list[str] = []

            def note(message: Any, said: list[str] = said) -> None:
                said.append(message["content"].get("text", ""))

            self._client.execute_interactive(cell, timeout=60, output_hook=note)
        return "".join(said)

    def restart(self) -> None:
        self._manager.restart_kernel()
        self._client.wait_for_ready(timeout=60)

    def shut_down(self) -> None:
        if self._manager.has_kernel:
            self._client.stop_channels()
            self._manager.shutdown_kernel()
            self._manager.cleanup_resources()

    def runs(self) -> list[list[Event]]:
        """What each run said, in the order they began."""
        found = []
        for place in sorted((self._folder / "store" / "runs").iterdir()):
            with LogReader(RunDirectory(place).log("0000", Lane.STREAM)) as reader:
                frames = reader.read(10**6, 10**9, final=False)
            found.append(list(map(decode, frames.words, frames.payloads)))
        return found

    def outcomes(self) -> list[str]:
        return [event.outcome for run in self.runs() for event in run if isinstance(event, RunFinished)]


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    kernel = Kernel(tmp_path)
    yield kernel
    kernel.shut_down()


def test_a_kernels_run_ends_with_it(kernel: Kernel, tmp_path: Path) -> None:
    """Restarted it was killed; shut down after its last cell came to an end it is completed, whatever cells before did.

    Executing the start again ends the run before with a notice; modules that are loaded anew change nothing."""
    kernel.run(START, "run.log_metric('m', 1.0)")
    kernel.restart()
    assert kernel.outcomes() == ["killed"]
    module = tmp_path / "mine.py"
    module.write_text("import tracelet\ndef say(): tracelet.active_run().log_metric('m', 1.0)\n")
    kernel.run("%load_ext autoreload\n%autoreload 2\nimport mine", START, "mine.say()")
    assert "tracelet: a new run begins: finishing 'n'" in kernel.run(START)
    module.write_text("import tracelet\ndef say(): tracelet.active_run().log_metric('mine', 22.0)\n")
    kernel.run("1 / 0", "mine.say()")
    kernel.shut_down()
    assert kernel.outcomes() == ["killed", "completed", "completed"]
    values = [[event.values for event in run if isinstance(event, MetricsLogged)] for run in kernel.runs()]
    assert values == [[{"m": 1.0}], [{"m": 1.0}], [{"mine": 22.0}]]


def test_a_kernel_that_ends_after_a_failed_cell(kernel: Kernel) -> None:
    """Where the last cell raised the run is failed; cells that are interrupted, or exit, count as in scripts."""
    endings = {"1 / 0": "failed", "raise KeyboardInterrupt": "killed", "import sys; sys.exit(3)": "failed"}
    for ending in endings:
        kernel.run("1", START, ending)
        kernel.restart()
    kernel.run(START, "1 +")
    kernel.shut_down()
    assert kernel.outcomes() == [*endings.values(), "failed"]
