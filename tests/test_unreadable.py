"""Runs that can't be read cost the others nothing: the commands name them, go on, and say so by their exit code."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from typer.testing import CliRunner, Result

import tracelet
from tracelet.cli._app import app
from tracelet.cli._complete import complete_run
from tracelet.journal import Cursor, RunDirectory

Log = Callable[..., RunDirectory]

_OVERRIDES = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
_VERSION_3 = 0x20080522


@contextmanager
def heeded() -> Iterator[None]:
    """Within the block permissions count in this thread, also if it is root's."""
    if os.geteuid() != 0:
        yield
        return
    if sys.platform != "linux":
        pytest.skip("root may do everything here")
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = (ctypes.c_uint32 * 2)(_VERSION_3, 0), (ctypes.c_uint32 * 6)()
    if libc.capget(header, sets):
        pytest.skip("capabilities can't be read here")
    less = (ctypes.c_uint32 * 6)(*sets)
    less[0] &= ~_OVERRIDES  # the effective ones; the permitted ones bring them back
    assert libc.capset(header, less) == 0
    try:
        yield
    finally:
        assert libc.capset(header, sets) == 0


@contextmanager
def denied(path: str | os.PathLike[str], mode: int = 0) -> Iterator[None]:
    """Within the block a file or folder can't be read."""
    before = os.stat(path).st_mode
    os.chmod(path, mode)
    try:
        with heeded():
            yield
    finally:
        os.chmod(path, before)


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Log:
    """Log a run of one point, which stays pending unless told otherwise."""
    monkeypatch.chdir(tmp_path)

    def begin(name: str, mode: Literal["online", "offline"] = "offline", **settings: Any) -> RunDirectory:
        run = tracelet.start_logging("jsonl", name, host="thread", mode=mode, **settings)
        run.log_metric("loss", 0.5, 0)
        run.finish(timeout=30.0)
        return RunDirectory(run.directory)

    return begin


def invoke(*arguments: object) -> Result:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


PARTS = ["", "run.json", "journal", "journal/0000", "journal/0000/stream", "cursors", "cursors/jsonl.lock"]


@pytest.mark.parametrize("part", PARTS)
def test_the_other_runs_are_delivered(log: Log, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sync names a run that can't be read, delivers the others, and ends with 1."""
    monkeypatch.setattr(threading, "active_count", lambda: 1)  # or it ends this process, too
    damaged, other = log("damaged", mode="online"), log("other")
    cursor = damaged.cursor("jsonl")
    cursor.unlink()
    with denied(damaged.path / part):
        result = invoke("sync")
    assert result.exit_code == 1
    assert damaged.id in result.output
    assert "ermission denied" in result.output
    assert f"other {other.id} → jsonl: 3 events delivered" in result.output


@pytest.mark.parametrize("part", PARTS)
def test_the_other_runs_are_removed(log: Log, part: str) -> None:
    """Gc keeps a run that can't be read as damaged, removes the others, and ends with 1."""
    damaged, other = log("damaged", mode="online"), log("other", mode="online")
    with denied(damaged.path / part):
        result = invoke("gc", "--older-than", 0, "--yes")
        found = json.loads(invoke("gc", "--older-than", 0, "--json").output)
    assert result.exit_code == 1
    assert not other.path.exists()
    (one,) = found["kept"]
    assert (one["id"], one["reason"]) == (damaged.id, "damaged")
    assert "ermission denied" in one["detail"]
    assert damaged.path.exists()


@pytest.mark.parametrize("part", PARTS)
def test_the_other_runs_are_examined(log: Log, part: str) -> None:
    """Doctor counts a run that can't be read, looks at the others, and ends with 1."""
    damaged, other = log("damaged"), log("other")
    damaged.cursor("jsonl").parent.mkdir(exist_ok=True)
    damaged.cursor("jsonl").with_name("jsonl.lock").touch()
    with denied(damaged.path / part):
        result = invoke("doctor")
        every = invoke("doctor", "--all")
    assert result.exit_code == 1
    assert "1 run can't be read: tracelet doctor --all" in result.output
    assert "3 events of 1 run are pending" in result.output
    assert f"{other.id}  whole" in every.output
    if part != "cursors/jsonl.lock":  # which says nothing of the run
        assert every.exit_code == 1
        assert f"{damaged.id}  damaged" in every.output


@pytest.mark.parametrize("command", ["runs", "status"])
@pytest.mark.parametrize("part", PARTS)
def test_the_other_runs_are_listed(log: Log, command: str, part: str) -> None:
    """The lists name a run that can't be read with the reason, have the others, and end with 1."""
    damaged, other = log("damaged", mode="online"), log("other", mode="online")
    with denied(damaged.path / part):
        result = invoke(command)
        in_json = CliRunner().invoke(app, [command, "--json"])
    assert result.exit_code == 1
    assert damaged.id in result.output
    assert "ermission denied" in result.output
    assert other.id in result.output
    found = {one["id"]: one for one in json.loads(in_json.stdout)}
    assert "ermission denied" in found[damaged.id]["problem"]
    assert "problem" not in found[other.id]


def test_looking_takes_no_right_to_write(log: Log) -> None:
    """Whoever may read a run sees how its delivery stands, with who delivers it."""
    run = log("one", mode="online")
    others = log("two")
    cursor = Cursor.acquire(others.cursor("jsonl"))
    assert cursor is not None
    place = run.path.parents[1]
    modes = {path: path.stat().st_mode for path in [place, *place.rglob("*")]}
    try:
        for path, mode in modes.items():
            path.chmod(mode & 0o555)
        with cursor, heeded():
            results = {command: invoke(*command) for command in (("runs",), ("status",), ("status", others.id))}
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
    assert "jsonl: delivered" in results["runs",].output
    assert results["runs",].exit_code == 0
    assert "closed" in results["status",].output
    assert f"delivered by process {os.getpid()}" in results["status", others.id].output


def test_a_run_that_is_named_and_can_not_be_read_is_no_unknown_one(log: Log) -> None:
    """Who names a run that can't be read is told that, and not that there is no such run."""
    run = log("one")
    with denied(run.path):
        for command in ("show", "status", "sync", "doctor", "gc"):
            result = invoke(command, run.id)
            assert result.exit_code == 1, command
            assert "ermission denied" in result.output, command


COMMANDS = ["runs", "show", "status", "sync", "gc", "doctor --all"]


@pytest.mark.parametrize("command", [*COMMANDS, "show x", "status x", "gc x", "sync x", "doctor x"])
def test_a_folder_of_runs_that_can_not_be_read_is_said(log: Log, command: str) -> None:
    """The commands end with 2 and what is wrong."""
    run = log("one")
    with denied(run.path.parent):
        result = invoke(*command.split())
    assert result.exit_code == 2, result.output
    assert "ermission denied" in result.output


def test_doctor_goes_on_where_the_folder_of_runs_can_not_be_read(log: Log) -> None:
    """That is one problem among what it looks at."""
    run = log("one")
    for mode, problem in ((0o000, "the folder of runs can't be read"), (0o444, "1 run can't be read")):
        with denied(run.path.parent, mode):
            result = invoke("doctor")
        assert result.exit_code == 1
        assert problem in result.output
        assert "none is chosen" in result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_runs_that_can_be_listed_and_not_entered_are_not_taken_for_none(log: Log, command: str) -> None:
    """A folder of which only the names can be read has runs that can't be."""
    run = log("one")
    with denied(run.path.parent, 0o444):
        result = invoke(*command.split())
    assert result.exit_code == 1, result.output
    assert "ermission denied" in result.output


def test_where_nothing_can_be_read_nothing_is_completed(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Completion in a folder that can't be read gives no words, and no traceback."""
    run = log("one")

    class Context:
        params: dict[str, Any] = {}  # noqa: RUF012

    monkeypatch.setenv("TRACELET_DIR", str(run.path.parents[1]))
    context: Any = Context()
    assert [word for word, _ in complete_run(context, "")] == [run.id]
    for mode in (0o000, 0o444):
        with denied(run.path.parent, mode):
            assert list(complete_run(context, "")) == []


def test_what_is_not_what_it_should_be_is_damage(log: Log) -> None:
    """A file in place of a folder of the journal, and a folder in place of a segment, keep the run as damaged."""
    other = log("other", mode="online")
    for number, part in enumerate(["journal", "journal/0000", "journal/0000/stream"]):
        run = log(f"a file {number}", mode="online")
        shutil.rmtree(run.path / part)
        (run.path / part).touch()
    run = log("a folder", mode="online")
    segment = run.path / "journal" / "0000" / "stream" / "000000.seg"
    segment.unlink()
    segment.mkdir()
    result = invoke("gc", "--older-than", 0, "--yes")
    assert result.exit_code == 1
    assert not other.path.exists()
    assert run.path.exists()
    assert invoke("sync").exit_code == 1
    assert invoke("status").exit_code == 1
