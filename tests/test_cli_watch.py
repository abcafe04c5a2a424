"""`tracelet status --watch`: how delivery gets on, on a terminal and elsewhere, and when it ends by itself."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import tracelet
from tracelet.cli import _watch
from tracelet.cli._app import app
from tracelet.events import Lane
from tracelet.journal import Cursor, LogReader, RunDirectory

Begin = Callable[..., tracelet.Run]


@pytest.fixture
def begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Begin:
    """Begin a run in this process, which keeps it pending unless told otherwise."""
    monkeypatch.chdir(tmp_path)

    def start(name: str = "exp", **settings: Any) -> tracelet.Run:
        return tracelet.start_logging("jsonl", name, host="thread", **{"mode": "offline", **settings})

    return start


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between two looks, none of which takes time; the second is ended with Ctrl-C."""
    made: list[float] = []

    def sleep(seconds: float) -> None:
        made.append(seconds)
        if len(made) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(_watch, "sleep", sleep)
    return made


def watch(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["status", "--watch", *map(str, arguments)])


def test_a_run_that_is_over_and_delivered_ends_the_watch(begin: Begin, pauses: list[float]) -> None:
    """The watch of one run ends with 0 once the run is over and every backend has all of it."""
    run = begin(mode="online")
    run.log_metric("loss", 0.5, 0)
    run.finish(timeout=30.0)
    result = watch(run.id)
    assert (result.exit_code, pauses) == (0, [])
    line, end = result.output.splitlines()
    assert line.split("  ")[1:] == [run.id, "exp", "jsonl", "3 delivered, 0 pending", "closed"]
    assert end == "the run is completed, and everything is delivered"
    (row,) = [json.loads(line) for line in watch(run.id, "--json").stdout.splitlines()]
    assert (row["delivered"], row["pending"], row["lag"], row["outcome"]) == (3, 0, None, "completed")


def test_a_run_that_nobody_delivers_ends_the_watch(
    begin: Begin, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the run is over and no process has been at work for a while, the watch ends with 1 and says what to do."""
    run = begin()
    run.finish(timeout=0.0)
    monkeypatch.setattr(_watch, "_NOBODY", -1.0)
    result = watch(run.id)
    assert (result.exit_code, pauses) == (1, [])
    assert (
        f"the run is completed, and nobody delivers 2 events; deliver with: tracelet sync {run.directory}"
        in result.output
    )
    monkeypatch.setattr(_watch, "_NOBODY", 1000.0)
    assert watch(run.id).exit_code == 130
    assert pauses == [10.0, 10.0]


def test_a_run_without_backends_is_watched_until_it_is_over(begin: Begin, pauses: list[float], tmp_path: Path) -> None:
    """Where there is nothing to deliver, the watch waits for the end of the run; and it ends if the run is deleted."""
    run = tracelet.start_logging(None, host="thread", directory=tmp_path)
    assert watch(run.directory).exit_code == 130
    run.finish()
    assert watch(run.directory).exit_code == 0
    assert len(pauses) == 2


def test_a_live_run_is_watched_with_its_lag_and_rate(
    begin: Begin, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lag is the age of the oldest event that a backend has not had, and the rate what it took meanwhile."""
    run = begin()
    for step in range(10):
        run.log_metric("loss", 0.5, step, time=time.time() - 500 + step)

    def take(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) > 1:
            raise KeyboardInterrupt
        cursor = Cursor.acquire(RunDirectory(run.directory).cursor("jsonl"))
        assert cursor is not None
        log = RunDirectory(run.directory).log("0000", Lane.STREAM)
        with cursor, LogReader(log) as reader:
            reader.read(6, 1 << 20, final=False)
            count = cursor.log("0000/stream")
            count.position, count.delivered = reader.position, 6
            cursor.record.retries, cursor.record.last_error = 3, "no route to host"
            cursor.save()

    monkeypatch.setattr(_watch, "sleep", take)
    result = watch(run.id, "--json", "--interval", 5)
    run.finish(timeout=0.0)
    before, after = (json.loads(line) for line in result.stdout.splitlines())
    assert (before["pending"], after["pending"], after["outcome"]) == (11, 5, "running")
    assert before["rate"] is None
    assert after["rate"] > 0
    assert 490 < after["lag"] < 497  # of step 5
    assert (after["retries"], after["last_error"]) == (3, "no route to host")
    assert before["lag"] < 10  # of the run's start, which was said just now
    assert pauses == [5.0, 5.0]


def test_without_a_run_all_that_is_pending_is_watched_until_ctrl_c(
    begin: Begin, pauses: list[float], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Runs that begin meanwhile appear, what was delivered before does not, and Ctrl-C ends it with 130."""
    begin("done", mode="online").finish(timeout=30.0)
    begin("old").finish(timeout=0.0)

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            raise KeyboardInterrupt
        begin("new", run_id="mine").finish(timeout=0.0)

    begun = tmp_path / ".tracelet" / "runs" / "mine"  # as it is when a run's directory is made
    begun.mkdir()
    monkeypatch.setattr(_watch, "sleep", sleep)
    result = watch("--json")
    assert result.exit_code == 130
    assert [json.loads(line)["name"] for line in result.stdout.splitlines()] == ["old", "new", "old"]


def test_what_a_backend_will_not_have_is_said(begin: Begin, pauses: list[float]) -> None:
    """What was dropped or refused stands beside the state, and the last line does not call it delivered."""
    run = begin(mode="online")
    run.finish(timeout=30.0)
    cursor = Cursor.acquire(RunDirectory(run.directory).cursor("jsonl"))
    assert cursor is not None
    with cursor:
        cursor.log("0000/stream").dropped = {"unsupported": 2}
        cursor.log("0000/stream").dead_lettered = 1
        cursor.save()
    result = watch(run.id)
    assert result.exit_code == 0
    first, last = result.output.splitlines()
    assert first.endswith("  closed, 2 dropped, 1 refused")
    assert last == "the run is completed, and everything is delivered except: jsonl 2 dropped, 1 refused"
    (row,) = map(json.loads, watch(run.id, "--json").stdout.splitlines())
    assert (row["state"], row["dropped"], row["dead_lettered"]) == ("closed", {"unsupported": 2}, 1)


def test_where_nothing_is_pending_that_is_said(tmp_path: Path, pauses: list[float]) -> None:
    """An empty watch says so once, and waits, also for a directory that is to come."""
    for place in (tmp_path, tmp_path / "to come"):
        pauses.clear()
        result = watch("--directory", place)
        assert result.exit_code == 130
        (line,) = result.output.splitlines()
        assert line.split("  ")[1] == f"nothing is live or pending in {place}; new runs appear here"
    assert watch("nothing", "--directory", tmp_path).exit_code == 2
    pauses.clear()
    assert _watch.watch_runs(tmp_path, None, in_json=True) == 130


def test_on_a_terminal_a_table_is_kept_up_to_date_until_ctrl_c(begin: Begin, tmp_path: Path) -> None:
    """The table is drawn again and again; Ctrl-C ends it with 130, without a traceback, and with a visible cursor."""
    run = begin("a name")
    run.log_metric("loss", 0.5, 0)
    outer, inner = pty.openpty()
    command = [sys.executable, "-m", "tracelet", "status", run.id, "--watch", "--interval", "0.1"]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(command, stdin=inner, stdout=inner, stderr=inner, env=environment)
    os.close(inner)
    seen = b""
    try:
        while seen.count(b"waiting") < 2:
            seen += os.read(outer, 4096)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        while True:
            try:
                chunk = os.read(outer, 4096)
            except OSError:  # the terminal is gone with its last process
                break
            if not chunk:
                break
            seen += chunk
    finally:
        process.kill()
        process.wait()
        os.close(outer)
        run.finish(timeout=0.0)
    text = seen.decode()
    assert "a name" in text
    assert "events/s" in text
    assert "Traceback" not in text
    assert "Aborted" not in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
