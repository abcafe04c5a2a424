"""Child runs: what they share with their parent, and what they don't."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from typer.testing import CliRunner

import tracelet
from tracelet import Run
from tracelet.cli._app import app
from tracelet.errors import RunClosed
from tracelet.journal import RunDirectory
from tracelet.testing import RecordingBackend


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[Run]:
    backend = {"jsonl": {"path": str(tmp_path / "events.jsonl"), "delivery": {"linger": 0.02}}}
    run = tracelet.start_logging(backend, "parent", "tests", directory=tmp_path, host="thread")
    yield run
    tracelet.stop_logging()


def lines(tmp_path: Path, run: Run | tracelet.AsyncRun) -> list[dict[str, Any]]:
    decoded = map(msgspec.json.decode, (tmp_path / "events.jsonl").read_bytes().splitlines())
    return [line for line in decoded if line["run"] == run.id]


def test_a_child_is_a_run_of_its_own(parent: Run, tmp_path: Path) -> None:
    """It has its own id, events, account and end, goes to the same backends, and knows its parent."""
    with parent.child("fold-1") as child:
        assert child.id > parent.id
        assert (child.name, child.project) == ("fold-1", "tests")
        child.log_metric("m", 1.0, 1)
    parent.log_metric("m", 2.0, 2)
    parent.finish(timeout=60)
    own, parents = lines(tmp_path, child), lines(tmp_path, parent)
    assert [line["parent"] for line in (own[0], parents[0])] == [parent.id, None]
    assert [line["values"] for line in own if line["kind"] == "MetricsLogged"] == [{"m": 1.0}]
    assert [line["values"] for line in parents if line["kind"] == "MetricsLogged"] == [{"m": 2.0}]
    assert own[-1]["outcome"] == "completed"
    assert RunDirectory(child.directory).read_record().parent == parent.id
    assert child.status().backends["jsonl"].pending == 0


def test_a_child_fails_alone(parent: Run, tmp_path: Path) -> None:
    """An exception in its block makes it a failed run, and its parent none."""
    with pytest.raises(ZeroDivisionError), parent.child("fold") as child:
        raise ZeroDivisionError
    parent.finish(timeout=60)
    assert lines(tmp_path, child)[-1]["outcome"] == "failed"
    assert lines(tmp_path, parent)[-1]["outcome"] == "completed"


def test_children_may_have_children_and_live_side_by_side(parent: Run, tmp_path: Path) -> None:
    """Any number at a time, to any depth."""
    with parent.child("a") as first, parent.child("b") as second, second.child("c") as third:
        for run in (first, second, third):
            run.log_metric("m", 1.0, 1)
    parents = [lines(tmp_path, run)[0]["parent"] for run in (first, second, third)]
    assert parents == [parent.id, parent.id, second.id]


def test_the_parent_stays_the_active_run(parent: Run) -> None:
    """What is captured goes on to the parent, also after the child's end."""
    with parent.child("a"):
        assert tracelet.active_run() is parent
    assert tracelet.active_run() is parent
    writer = tracelet.tensorboard.SummaryWriter()
    before = parent.status().emitted
    writer.add_scalar("x", 1.0, 1)
    assert parent.status().emitted == before + 1


def test_a_finished_run_has_no_more_children(parent: Run) -> None:
    """It says so; and a name that is none is misuse."""
    with pytest.raises(TypeError, match="name must be a str"):
        parent.child(3)  # type: ignore[arg-type]
    parent.finish(timeout=60)
    with pytest.raises(RunClosed):
        parent.child("late")


def test_a_child_waits_for_its_parent_in_the_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that is delivered first is not opened before its parent is: nothing is lost, and nothing is an orphan."""
    from tracelet.host.sync import Backlog

    monkeypatch.setenv("TRACELET_MODE", "offline")
    monkeypatch.setattr("tracelet._subscription._PARENT_PATIENCE", 0.2)
    backend = {"jsonl": {"path": str(tmp_path / "events.jsonl")}}
    parent = tracelet.start_logging(backend, "parent", directory=tmp_path)
    with parent.child("child") as child:
        child.log_metric("m", 1.0, 1)
    parent.finish()

    def deliver(run: Run) -> Backlog:
        place = RunDirectory(run.directory)
        backlog = Backlog(place, place.read_record(), "jsonl")
        anyio.run(lambda: backlog.deliver(30.0, retry=False))
        return backlog

    early = deliver(child)
    assert not early.complete
    assert f"the parent run {parent.id} is not there yet" in str(early.problem)
    assert not (tmp_path / "events.jsonl").exists()
    assert deliver(parent).complete
    assert deliver(child).complete
    assert lines(tmp_path, child)[0]["parent"] == parent.id


def test_a_child_whose_parent_is_gone_is_delivered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the parent's directory was deleted there is nothing to wait for."""
    monkeypatch.setenv("TRACELET_MODE", "offline")
    parent = tracelet.start_logging(None, "parent", directory=tmp_path)
    with parent.child("child") as child:
        child.log_metric("m", 1.0, 1)
    parent.finish()
    shutil.rmtree(parent.directory)
    from typer.testing import CliRunner

    from tracelet.cli._app import app

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRACELET_MODE")
    result = CliRunner().invoke(app, ["sync", str(child.directory), "--backend", "jsonl"])
    assert result.exit_code == 0, result.output
    assert lines(tmp_path, child)[0]["parent"] == parent.id


@pytest.mark.anyio
async def test_children_of_an_async_run(tmp_path: Path) -> None:
    """`async with run.child(…)` is delivered from the same event loop, and fails as its block does."""
    backend = {"jsonl": {"path": str(tmp_path / "events.jsonl"), "delivery": {"linger": 0.02}}}
    async with tracelet.open_run(backend, "parent", directory=tmp_path) as parent:
        async with parent.child("good") as good:
            good.log_metric("m", 1.0, 1)
        with pytest.raises(ValueError, match="bad"):
            async with parent.child("bad") as bad:
                raise ValueError("bad")
    assert [line["kind"] for line in lines(tmp_path, good)] == ["opened", "MetricsLogged", "closed"]
    assert lines(tmp_path, bad)[-1]["outcome"] == "failed"


@pytest.mark.anyio
async def test_an_async_run_ends_its_open_children(tmp_path: Path) -> None:
    """A child that nobody finished ends with the block, and as it does; the block's exception gets out."""
    backend = {"jsonl": {"path": str(tmp_path / "events.jsonl"), "delivery": {"linger": 0.02}}}
    with pytest.raises(KeyError, match="from the block"):  # noqa: PT012
        async with tracelet.open_run(backend, "parent", directory=tmp_path) as parent:
            child = parent.child("child")
            grandchild = child.child("grandchild")
            grandchild.log_metric("m", 1.0, 1)
            raise KeyError("from the block")
    for run in (grandchild, child, parent):
        assert lines(tmp_path, run)[-1]["outcome"] == "failed"
        assert run.status().pending == {}


@pytest.mark.anyio
async def test_an_async_run_ends_the_open_children_of_a_finished_child(tmp_path: Path) -> None:
    """A child that is over, and followed by another, is not forgotten while a child of its own goes on."""
    backend = {"jsonl": {"path": str(tmp_path / "events.jsonl"), "delivery": {"linger": 0.02}}}
    with anyio.fail_after(60):
        async with tracelet.open_run(backend, "parent", directory=tmp_path) as parent:
            first = parent.child("first")
            grandchild = first.child("grandchild")
            await first.finish()
            async with parent.child("second") as second:
                second.log_metric("m", 1.0, 1)
    for run in (grandchild, first, second, parent):
        assert lines(tmp_path, run)[-1]["outcome"] == "completed"


def test_a_child_that_goes_on_is_still_its_parents(tmp_path: Path) -> None:
    """Resuming a child under its id keeps its parent."""
    parent = tracelet.start_logging(None, "parent", directory=tmp_path)
    child = parent.child("child")
    child.finish()
    parent.finish()
    tracelet.start_logging(None, "child", directory=tmp_path, run_id=child.id, resume="must").finish()
    assert RunDirectory(child.directory).read_record().parent == parent.id


def test_a_child_does_not_wait_for_a_parent_that_is_stuck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the parent is paused, because somebody has to act, the child is too, and its end takes no time."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    marks = {"mark": str(tmp_path / "mark")}
    parent = tracelet.start_logging({"faulty_backends:Locked": marks}, "parent", directory=tmp_path, host="thread")
    assert not parent.flush(timeout=30)
    child = parent.child("child")
    began = time.monotonic()
    assert not child.flush(timeout=30)
    child.finish(timeout=30)
    parent.finish(timeout=30)
    assert time.monotonic() - began < 20
    status = child.status().backends["faulty_backends:Locked"]
    assert (status.state, status.delivered) == ("paused", 0)
    assert "its key is gone" in str(status.last_error)


def test_sync_delivers_parents_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the ids sort like, one `tracelet sync` is enough, and no attempt fails."""
    monkeypatch.setenv("TRACELET_MODE", "offline")
    monkeypatch.chdir(tmp_path)
    backend = {"jsonl": {"path": str(tmp_path / "events.jsonl")}}
    parent = tracelet.start_logging(backend, "parent", run_id="zzz", directory=tmp_path / "store")
    with parent.child("child") as child:
        child.log_metric("m", 1.0, 1)
    parent.finish()
    monkeypatch.delenv("TRACELET_MODE")
    result = CliRunner().invoke(app, ["sync", "--directory", str(tmp_path / "store")])
    assert result.exit_code == 0, result.output
    assert lines(tmp_path, child)[0]["parent"] == "zzz"
    assert child.status().backends["jsonl"].retries == 0


def test_children_that_overlap_leave_sys_exit_as_it_was(tmp_path: Path) -> None:
    """However many begin and end in whatever order, it is wrapped once, and put back."""
    original = sys.exit
    parent = tracelet.start_logging(None, "parent", directory=tmp_path)
    before = parent.child("first")
    wrapped = sys.exit
    for number in range(30):
        after = parent.child(str(number))
        before.finish()
        before = after
        assert sys.exit == wrapped
    before.finish()
    parent.finish()
    assert sys.exit is original


@pytest.mark.anyio
async def test_a_backend_object_serves_one_run(tmp_path: Path) -> None:
    """It can't be shared with a child, and that is said."""
    async with tracelet.open_run(RecordingBackend(), directory=tmp_path) as run:
        with pytest.raises(TypeError, match="serves one run"):
            run.child("child")


def test_somebody_elses_sys_exit_between_two_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `sys.exit` of others that leads back to ours, and stays from one run to the next, still exits."""
    first = tracelet.start_logging(directory=tmp_path, exp_name="first")
    ours = sys.exit

    def theirs(code: object = None) -> None:
        ours(code)  # type: ignore[arg-type]

    monkeypatch.setattr(sys, "exit", theirs)
    first.finish()
    with tracelet.start_logging(directory=tmp_path, exp_name="second"), pytest.raises(SystemExit) as raised:
        sys.exit(3)
    assert raised.value.code == 3


def test_threads_get_their_own_children(tmp_path: Path) -> None:
    """Each call gets the child that it began, however many are begun at once; all end with the run's exit."""
    run = tracelet.start_logging(directory=tmp_path)
    together = threading.Barrier(4)
    names: list[tuple[str, str]] = []

    def begin(thread: int) -> None:
        for number in range(20):
            together.wait(20)
            name = f"{thread}-{number}"
            child = run.child(name)
            names.append((name, child.name))
            child.finish()

    threads = [threading.Thread(target=begin, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run.finish()
    assert len(names) == 80
    assert all(wanted == found for wanted, found in names)
