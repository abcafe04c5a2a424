"""Several processes in one run without a launcher: one that joins a run while it goes on, and who ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from typer.testing import CliRunner

import tracelet
from tracelet import Batch, Delivery
from tracelet._bus import Bus
from tracelet._discovery import from_object
from tracelet._plan import make_plan
from tracelet._sources import Portion, Source
from tracelet._subscription import Subscription
from tracelet.cli._app import app
from tracelet.cli._ends import read_ending
from tracelet.codec import decode
from tracelet.errors import RunExists
from tracelet.events import Lane, MetricsLogged, RunStarted
from tracelet.journal import LogReader, RunDirectory, holder, read_cursor
from tracelet.status import read_status
from tracelet.testing import RecordingBackend

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


def test_a_copy_does_not_change_how_a_run_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., None]
) -> None:
    """A machine that dies, and a process that goes on with the run: the newer time of a copied file decides nothing."""
    monkeypatch.chdir(tmp_path)
    run = RunDirectory(tmp_path / ".tracelet" / "runs" / "run")
    killed = Script("failed", tmp_path)
    eventually(lambda: read_status(run).backends["jsonl"].pending == 0)
    delivery = holder(run.cursor("jsonl"))
    assert delivery
    os.kill(delivery, signal.SIGKILL)
    killed.process.kill()
    killed.errors()
    monkeypatch.setenv("TRACELET_MODE", "offline")
    resumed = Script("completed", tmp_path)
    resumed.finish()
    resumed.errors()
    os.utime(run.path / "journal" / "0000" / "writer.json")
    assert read_ending(run).outcome == "completed"
    assert CliRunner().invoke(app, ["sync"]).exit_code == 0
    assert read_status(run).backends["jsonl"].outcome == "completed"


@pytest.mark.anyio
async def test_a_process_that_joins_during_an_upload_is_delivered_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a finished process has still to upload holds up neither the metrics of the next one nor its end."""
    uploading, ended, uploaded = anyio.Event(), anyio.Event(), anyio.Event()
    original = Subscription._next

    async def note(self: Subscription, source: Source) -> Portion:
        portion = await original(self, source)
        if (source.writer, source.lane, source.ended) == ("0000", Lane.STREAM, True):
            ended.set()
        return portion

    async def upload(batch: Batch) -> None:
        if batch.lane is Lane.BULK:
            uploading.set()
            await uploaded.wait()

    def begin() -> tracelet.Run:
        return tracelet.start_logging(run_id="run", resume="allow", directory=tmp_path)

    def steps() -> list[int]:
        return [event.step for event in backend.events if isinstance(event, MetricsLogged)]

    monkeypatch.setattr(Subscription, "_next", note)
    backend = RecordingBackend(delivery=Delivery(linger=0.01, lanes=2), on_export=upload)
    with begin() as first:
        first.log_artifact(Path(__file__))
        first.log_metric("loss", 1.0, 0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Bus(RunDirectory(first.directory), [from_object(backend)]).run)
        with anyio.fail_after(30):
            await uploading.wait()
            await ended.wait()
            await anyio.wait_all_tasks_blocked()
            second = begin()
            second.log_metric("loss", 0.5, 1)
            while steps() != [0, 1]:
                await anyio.sleep(0.001)
            assert not uploaded.is_set()
            uploaded.set()
            second.finish()
    assert backend.outcomes == ["completed"]


BEGUN_MEANWHILE = """
import tracelet
tracelet.start_logging({"jsonl": {"path": "events.jsonl"}}, "first", "a", run_id="run", mode="offline").finish()
"""


@pytest.fixture
def begun_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    """A run that another process begins right when this one has seen that there is none."""
    original = make_plan

    def make(settings: Any, hosts: Any) -> Any:
        plan = original(settings, hosts)
        subprocess.run([sys.executable, "-c", BEGUN_MEANWHILE], cwd=tmp_path, check=True, timeout=60)
        return plan

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tracelet.api.make_plan", make)
    return RunDirectory(tmp_path / ".tracelet" / "runs" / "run")


def test_of_two_processes_at_once_one_begins_a_run(begun_meanwhile: RunDirectory) -> None:
    """The other one is told that it exists, and has left nothing in it."""
    with pytest.raises(RunExists, match="the run 'run' exists already in "):
        tracelet.start_logging(exp_name="second", run_id="run", resume="never")
    assert begun_meanwhile.writers() == ["0000"]
    assert (begun_meanwhile.read_record().name, list(begun_meanwhile.read_record().backends)) == ("first", ["jsonl"])
    assert tracelet.active_run() is None


def test_of_two_processes_at_once_both_may_log(
    begun_meanwhile: RunDirectory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second goes on with the run as the first has begun it, and the backends of both are remembered."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    with tracelet.start_logging(
        {"faulty_backends:Base": {}}, "second", "b", run_id="run", resume="allow", mode="offline"
    ) as run:
        assert (run.name, run.project) == ("first", "a")
    record = begun_meanwhile.read_record()
    assert (record.name, record.project, sorted(record.backends)) == ("first", "a", ["faulty_backends:Base", "jsonl"])
    assert begun_meanwhile.writers() == ["0000", "0001"]
    said = capsys.readouterr().err
    assert "the run goes on as 'first': exp_name 'second' is not used" in said
    with LogReader(begun_meanwhile.log("0001", Lane.STREAM)) as reader:
        frames = reader.read(10, 10_000, final=True)
    started = decode(frames.words[0], frames.payloads[0])
    assert isinstance(started, RunStarted)
    assert started.resumed
