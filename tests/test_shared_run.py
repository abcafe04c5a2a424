"""Several processes in one run without a launcher: one that joins a run while it goes on, and who ends it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tracelet.cli._app import app
from tracelet.cli._ends import read_ending
from tracelet.journal import RunDirectory, holder, read_cursor
from tracelet.status import read_status

SCRIPT = """
import sys, tracelet
run = tracelet.start_logging({"jsonl": {"path": "events.jsonl"}}, run_id="run", resume="allow", close_timeout=60)
run.log_metric("loss", 1.0, 0)
print("logged", flush=True)
sys.stdin.readline()
run.finish(sys.argv[1])
print("finished", flush=True)
sys.stdin.read()
"""


class Script:
    """A process that logs to the run, and ends it when it is told to."""

    def __init__(self, outcome: str, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, outcome], cwd=folder, env=os.environ | {"TRACELET_CAPTURE": "0"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.until("logged")

    def until(self, word: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == f"{word}\n"

    def finish(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.until("finished")

    def errors(self) -> str:
        """What the process has said on stderr, once it has ended."""
        return self.process.communicate("", timeout=60)[1]


@pytest.mark.timeout(50)  # less than a process would wait for its deadline
@pytest.mark.parametrize(("first", "second"), [("failed", "completed"), ("completed", "failed")])
def test_the_process_that_goes_on_longest_ends_the_run(
    tmp_path: Path, first: str, second: str, eventually: Callable[..., None]
) -> None:
    """One that joins, and finishes before, waits for its own events only, and its end is not the run's."""
    stays = Script(first, tmp_path)
    joins = Script(second, tmp_path)
    joins.finish()
    run = RunDirectory(tmp_path / ".tracelet" / "runs" / "run")
    early = read_status(run).backends["jsonl"]
    assert (early.outcome, read_ending(run).outcome) == (None, "running")
    assert "; the run goes on in another process" in joins.errors()
    stays.finish()
    assert "another process" not in stays.errors()
    eventually(lambda: holder(run.cursor("jsonl")) is None)
    status, ending = read_status(run).backends["jsonl"], read_ending(run)
    assert (status.outcome, status.pending, ending.outcome) == (first, 0, first)
    ends = read_cursor(run.cursor("jsonl")).ends
    assert ending.ended == ends["0000"].time > ends["0001"].time


def test_a_copy_does_not_change_how_a_run_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was killed, and one that went on with the run: the newer time of a copied file decides nothing."""
    monkeypatch.setenv("TRACELET_MODE", "offline")
    monkeypatch.chdir(tmp_path)
    killed = Script("failed", tmp_path)
    killed.process.kill()
    killed.errors()
    resumed = Script("completed", tmp_path)
    resumed.finish()
    resumed.errors()
    run = RunDirectory(tmp_path / ".tracelet" / "runs" / "run")
    os.utime(run.path / "journal" / "0000" / "writer.json")
    assert read_ending(run).outcome == "completed"
    assert CliRunner().invoke(app, ["sync"]).exit_code == 0
    assert read_status(run).backends["jsonl"].outcome == "completed"
