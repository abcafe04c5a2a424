"""`tracelet status --watch`: how delivery gets on, on a terminal and elsewhere, and when it ends by itself."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

import tracelet
from tracelet.cli import _watch, _watch_view
from tracelet.cli._app import app
from tracelet.cli._watch_view import Row
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


def test_a_run_that_is_not_closed_is_said(begin: Begin, pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """When all is delivered, and nobody is there to tell a backend that the run is over, the last line says so."""
    run = begin(mode="online")
    run.finish(timeout=30.0)
    cursor = Cursor.acquire(RunDirectory(run.directory).cursor("jsonl"))
    assert cursor is not None
    with cursor:
        cursor.record.closed, cursor.record.phase = None, "running"
        cursor.save()
    monkeypatch.setattr(_watch, "_NOBODY", -1.0)
    result = watch(run.id)
    assert (result.exit_code, pauses) == (1, [])
    line = f"the run is completed, and not closed in jsonl; close it with: tracelet sync {run.directory}"
    assert result.output.splitlines()[-1] == line


def test_a_run_without_backends_is_watched_until_it_is_over(begin: Begin, pauses: list[float], tmp_path: Path) -> None:
    """Where there is nothing to deliver, the watch waits for the end of the run; and it ends if the run is deleted."""
    run = tracelet.start_logging(None, host="thread", directory=tmp_path)
    result = watch(run.directory)
    assert result.exit_code == 130
    assert result.output.endswith("  the run has no backend, and is watched until it is over\n")
    run.finish()
    result = watch(run.directory)
    assert result.exit_code == 0
    assert result.output.endswith("\nthe run is completed; it has no backend\n")
    assert len(pauses) == 2


def test_a_run_that_is_removed_is_watched_no_more(
    begin: Begin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The watch of one run ends with that, and the watch of all does not show it any more."""
    run, other = begin("one"), begin("two", run_id="two")

    def remove(seconds: float) -> None:
        if not Path(run.directory).exists():
            raise KeyboardInterrupt
        shutil.rmtree(run.directory)

    run.finish(timeout=0.0)
    other.finish(timeout=0.0)
    shutil.copytree(run.directory, tmp_path / "kept")
    monkeypatch.setattr(_watch, "sleep", remove)
    result = watch(run.id)
    assert result.exit_code == 1
    assert result.output.endswith("the run was removed\n")
    shutil.copytree(tmp_path / "kept", run.directory)
    result = watch("--json")
    assert result.exit_code == 130
    assert [json.loads(line)["name"] for line in result.stdout.splitlines()] == ["two", "one", "two"]


@pytest.mark.parametrize("how", ["resumed", "another backend"])
def test_what_was_over_is_looked_at_again(begin: Begin, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """A run that is over and delivered comes back when it goes on, or gets another backend."""
    before, meanwhile = begin("before", mode="online"), begin("meanwhile")
    before.finish(timeout=30.0)
    meanwhile.finish(timeout=0.0)
    looks = 0

    def sleep(seconds: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 1:  # now both are over, and one of them is watched
            assert CliRunner().invoke(app, ["sync"]).exit_code == 0
        elif looks == 2:
            for run in before, meanwhile:
                if how == "resumed":
                    begin(run.name, run_id=run.id, resume="must").finish(timeout=0.0)
                else:
                    record = RunDirectory(run.directory).read_record()
                    record.backends["other"] = {}
                    RunDirectory(run.directory).write_record(record)
        elif looks == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(_watch, "sleep", sleep)
    monkeypatch.setattr(_watch, "_AGAIN", 0.0)
    result = watch("--json")
    assert result.exit_code == 130
    looked = [(row["name"], row["state"]) for row in map(json.loads, result.stdout.splitlines())]
    assert looked[:2] == [("meanwhile", "waiting"), ("meanwhile", "closed")]
    assert {name for name, state in looked[2:] if state == "waiting"} == {"before", "meanwhile"}


def test_what_was_lost_is_no_rate(begin: Begin, pauses: list[float]) -> None:
    """Events that could not be recorded were not dealt with by a backend."""
    run = begin(min_free="900TB")

    def lose(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            raise KeyboardInterrupt
        end = time.monotonic() + 0.01  # a rate takes some time
        while time.monotonic() < end:
            run.log_metric("loss", 0.5)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_watch, "sleep", lose)
        result = watch(run.id, "--json")
    run.finish(timeout=0.0)
    _, row = map(json.loads, result.stdout.splitlines())
    assert row["dropped"]["not recorded"] > 0
    assert row["rate"] == 0


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


def row(**given: Any) -> Row:
    numbers = {"delivered": 1_234_567, "pending": 12_345, "lag": 3661.0, "rate": 1234.0, "retries": 17}
    about = {"run": "1", "name": "a-name-of-twenty-characters", "backend": "mlflow", "outcome": "running"}
    state: dict[str, Any] = {"state": "retrying", "last_error": None, "dropped": {}, "dead_lettered": 0}
    return Row(**{**numbers, **about, **state, **given})


@pytest.mark.parametrize(
    ("width", "titles", "name"),
    [
        (110, "run backend delivered pending lag events/s retries state", "a-name-of-twenty-charac…"),
        (90, "run backend delivered pending lag events/s retries state", "a-name-of…"),
        (80, "run backend delivered pending lag events/s state", "a-name-o…"),
        (60, "run backend pending lag state", "a-name-of…"),
        (50, "run backend pending lag state", "a-name-…"),
    ],
)
def test_the_table_fits_the_terminal(width: int, titles: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is narrow the name is shortened, then columns are left out, and no number is cut."""
    written = StringIO()
    console = Console(file=written, force_terminal=True, width=width, color_system=None, highlight=False)
    monkeypatch.setattr(_watch_view, "console", console)
    console.print(_watch_view.table([row(), row(backend="jsonl"), row(run="2", name="b", dropped={"behind": 3})]))
    head, first, second, *rest = written.getvalue().splitlines()
    assert head.split() == titles.split()
    assert first.startswith(f"{name} ")
    assert {"mlflow", "12,345"} <= set(first.split())
    assert "1 h 1 min" in first
    assert second.split()[0] == "jsonl"
    assert "…" not in "".join([first.replace(name, ""), second, *rest])
    assert all(len(line) <= width for line in written.getvalue().splitlines())


def test_a_terminal_that_can_not_move_its_cursor_gets_lines(begin: Begin) -> None:
    """With TERM=dumb, as in an editor, a watch writes lines, and sync says what it begins."""
    run = begin("a name")
    run.finish(timeout=0.0)
    assert "a name  jsonl  0 delivered, 2 pending" in on_dumb_terminal("status", run.id, "--watch", until=b"pending")
    assert "jsonl: 2 events to deliver" in on_dumb_terminal("sync", until=b"to deliver")


def on_dumb_terminal(*arguments: str, until: bytes) -> str:
    """What a command writes there up to that, or to its end."""
    outer, inner = pty.openpty()
    command = [sys.executable, "-m", "tracelet", *arguments]
    process = subprocess.Popen(command, stdin=inner, stdout=inner, stderr=inner, env={**os.environ, "TERM": "dumb"})
    os.close(inner)
    seen = b""
    try:
        while until not in seen and select.select([outer], [], [], 30.0)[0]:
            seen += os.read(outer, 4096)
    except OSError:  # the terminal is gone with its last process
        pass
    finally:
        process.kill()
        process.wait()
        os.close(outer)
    return seen.decode()


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
