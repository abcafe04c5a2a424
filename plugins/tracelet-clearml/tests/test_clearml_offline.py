"""Offline: the session that the SDK imports, and going on with it after a crash."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
from clearml_driver import NOW, Driver
from clearml_reader import import_run
from clearml_stub import StubServer
from tracelet_clearml import Options

from tracelet.backend import Outcome, ParentRun
from tracelet.errors import Transient
from tracelet.events import (
    ArtifactLogged,
    ConsoleLine,
    MetricsLogged,
    ModelLogged,
    ModelRegistered,
    NoteSet,
    ParamsLogged,
    TagsSet,
    TextLogged,
)

pytestmark = pytest.mark.anyio

Drive = Callable[..., Driver]


@pytest.fixture
def offline(stub: StubServer, tmp_path: Path) -> Options:
    return Options(offline=True, offline_folder=str(tmp_path / "offline"))


def folder_of(driver: Driver) -> Path:
    return Path(driver.options.offline_folder or "", driver.task)


async def test_the_archive_is_what_the_sdk_imports(
    drive: Drive, offline: Options, stub: StubServer, tmp_path: Path
) -> None:
    """`Task.import_offline_session` makes of the archive a task with all that was said; nothing was sent before."""
    tasks, requests = len(stub.store.tasks), len(stub.sizes)
    driver = drive(offline, name="an exp", project="rl/agents")
    await driver.open()
    path = tmp_path / "weights.pt"
    path.write_bytes(b"weights")
    about = (str(path), 7, path.stat().st_mtime_ns)
    assert (
        await driver.export(
            MetricsLogged(NOW, {"train/loss": 0.5}, 3),
            ParamsLogged(NOW, {"lr": 0.1}),
            TagsSet(NOW, {"stage": "first"}),
            TagsSet(NOW, {"stage": "second"}),
            NoteSet(NOW, "a note"),
            TextLogged(NOW, "note", "größe", 4),
            ConsoleLine(NOW, "hello"),
        )
        == {}
    )
    assert (
        await driver.export(
            ArtifactLogged(NOW, "deep/file.bin", *about),
            ModelLogged(NOW, "net", *about, step=3, framework="pytorch", metadata={"acc": 0.5}),
            ModelLogged(NOW, "other", *about),
            ModelRegistered(NOW, "registered", "net", ("champion",), "the best"),
        )
        == {}
    )
    await driver.backend.finish(Outcome.FAILED, NOW)
    assert (len(stub.store.tasks), len(stub.sizes)) == (tasks, requests)
    assert folder_of(driver).with_suffix(".zip").is_file()
    found = await anyio.to_thread.run_sync(import_run, tmp_path / "offline", driver.info.id)
    assert found.points == [("train/loss", 0.5, 3)]
    assert (found.params, found.tags) == ({"lr": "0.1"}, {"stage": "second"})
    assert (found.note, found.texts, found.console) == ("a note", ["größe"], ["hello"])
    assert found.artifacts == {"deep/file.bin": b"weights"}
    assert found.models == {"net": {"": b"weights"}, "other": {"": b"weights"}}
    assert found.registered == {"registered": ["champion"]}
    assert found.outcome is Outcome.FAILED
    task = list(stub.store.tasks.values())[-1]
    assert (task["name"], stub.store.projects[task["project"]]["name"]) == ("an exp", "rl_/agents")
    assert task["tags"] == ["stage:second"]
    assert f"tracelet:{driver.info.id}" in task["system_tags"]


async def test_the_sdks_own_files_have_the_same_form(drive: Drive, offline: Options, tmp_path: Path) -> None:
    """The lines of both files have the fields that the SDK's own offline session has, with the same types."""
    code = """
import os
os.environ["CLEARML_OFFLINE_MODE"] = "1"
from clearml import Task
task = Task.init("project", "name", auto_connect_frameworks=False, auto_connect_arg_parser=False,
                 auto_resource_monitoring=False, auto_connect_streams=False)
task.get_logger().report_scalar("train", "loss", 0.5, 3)
task.get_logger().report_text("hello", print_console=False)
task.get_logger().report_table("t", "v", 1, table_plot=[["a"], ["b"]])
print("FOLDER", task.get_offline_mode_folder())
task.close()
"""
    done = await anyio.run_process([sys.executable, "-c", code], cwd=tmp_path)
    (theirs,) = [line[7:] for line in done.stdout.decode().splitlines() if line.startswith("FOLDER ")]
    driver = drive(offline)
    await driver.open()
    await driver.export(MetricsLogged(NOW, {"train/loss": 0.5}, 3), ConsoleLine(NOW, "hello"))
    for name, kind in (("metrics.jsonl", "training_stats_scalar"), ("log.jsonl", "log")):
        (expected,) = [event for event in _events(Path(theirs, name)) if event["type"] == kind][:1]
        (found,) = _events(folder_of(driver) / name)
        del expected["method"]  # how the SDK sends it
        assert {key: type(found[key]) for key in expected} == {key: type(value) for key, value in expected.items()}
    own = json.loads((folder_of(driver) / "task.json").read_text())
    theirs_task = json.loads(Path(theirs, "task.json").read_text())
    shared = own.keys() & theirs_task.keys()
    assert {"name", "type", "project_name", "offline_folder", "offline_output_models"} <= shared
    assert {key: type(own[key]) for key in shared} == {key: type(theirs_task[key]) for key in shared}


def _events(path: Path) -> list[dict[str, Any]]:
    return [event for line in path.read_text().splitlines() for event in json.loads(line)]


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_crash_loses_and_doubles_nothing(drive: Drive, offline: Options, tmp_path: Path) -> None:
    """A new process finds the folder without a state, cuts off half a line, and takes the batch again."""
    first = drive(offline)
    await first.open()
    lines = [ConsoleLine(NOW + at, "same") for at in range(3)]
    await first.export(MetricsLogged(NOW, {"m": 1.0}, 1), *lines[:2], ParamsLogged(NOW, {"a": 1}))
    for name in ("metrics.jsonl", "log.jsonl"):
        with (folder_of(first) / name).open("ab") as file:
            file.write(b'[{"type": "half')
    again = drive(offline, id=first.info.id)
    await again.open()
    await again.export(MetricsLogged(NOW, {"m": 1.0}, 1), *lines[:2], ParamsLogged(NOW, {"a": 1}))
    await again.export(MetricsLogged(NOW, {"m": 2.0}, 2), ParamsLogged(NOW, {"b": 2}))
    found = await anyio.to_thread.run_sync(import_run, tmp_path / "offline", first.info.id)
    assert (found.runs, found.points, found.console) == (1, [("m", 1.0, 1), ("m", 2.0, 2)], ["same", "same"])
    assert found.params == {"a": "1", "b": "2"}


async def test_a_finished_session_can_go_on(drive: Drive, offline: Options, tmp_path: Path) -> None:
    """A run that is resumed goes on in its folder, and the archive is made anew."""
    for step, outcome in ((1, Outcome.KILLED), (2, Outcome.COMPLETED)):
        driver = drive(offline, id="r-1")
        await driver.open()
        await driver.export(MetricsLogged(NOW, {"m": float(step)}, step))
        await driver.backend.finish(outcome, NOW)
    found = await anyio.to_thread.run_sync(import_run, tmp_path / "offline", "r-1")
    assert (found.points, found.outcome) == ([("m", 1.0, 1), ("m", 2.0, 2)], Outcome.COMPLETED)


async def test_an_online_parent_is_the_parent(drive: Drive, offline: Options, stub: StubServer, tmp_path: Path) -> None:
    """A parent on the server is the task's parent after the import; an offline one is named by a user property."""
    online = drive()
    state = await online.open()
    child = drive(offline, parent=ParentRun("p", "parent", state))
    await child.open()
    found = await anyio.to_thread.run_sync(import_run, tmp_path / "offline", child.info.id)
    assert found.parent == online.task
    grandchild = drive(offline, parent=ParentRun("c", "child", {"task_id": child.task}))
    await grandchild.open()
    found = await anyio.to_thread.run_sync(import_run, tmp_path / "offline", grandchild.info.id)
    assert found.parent == child.task


async def test_the_sdks_place_is_the_default(drive: Drive, stub: StubServer) -> None:
    """Without a folder of the user's, the session is where the SDK keeps its own."""
    from clearml.config import get_offline_dir

    driver = drive(Options(offline=True))
    await driver.open()
    assert driver.url == Path(str(get_offline_dir()), driver.task).as_uri()


async def test_a_folder_that_can_not_be_written_is_waited_for(drive: Drive, stub: StubServer, tmp_path: Path) -> None:
    """A full or missing disk may pass."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Transient, match="file"):
        await drive(Options(offline=True, offline_folder=str(tmp_path / "file"))).open()
