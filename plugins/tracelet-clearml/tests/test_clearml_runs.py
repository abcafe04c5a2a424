"""Tasks: found, created, parented, ended; and the storage that they are given."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import anyio.to_thread
import msgspec
import pytest
from clearml_driver import NOW, Driver
from clearml_stub import StubServer
from tracelet_clearml import Options

from tracelet.backend import Outcome, ParentRun
from tracelet.errors import Transient
from tracelet.events import ArtifactLogged, ImageLogged, MetricsLogged, ModelLogged, ModelRegistered, TextLogged
from tracelet.testing import FaultyServer, LoseReply

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])]

Drive = Callable[..., Driver]


async def test_a_task_is_what_was_said(drive: Drive, stub: StubServer) -> None:
    """Name, project, type, the tag that it is found by, its page, and that it runs."""
    driver = drive(name="exp 1", project="vision/größe (x)")
    state = await driver.open()
    task = stub.store.tasks[driver.task]
    assert driver.saved == [state]
    assert task["name"] == "exp 1"
    assert stub.store.projects[task["project"]]["name"] == "vision/größe (x)"
    assert (task["type"], task["status"]) == ("training", "in_progress")
    assert task["system_tags"] == ["development", f"tracelet:{driver.info.id}"]
    assert driver.url == f"http://web/projects/{task['project']}/experiments/{driver.task}/output/log"


@pytest.mark.parametrize(
    ("name", "project", "shown"),
    [("", "", ("___", "___")), ("a", "rl", ("a__", "rl_")), (" x\n ", "/a//bcd/", ("x__", "a__/bcd"))],
)
async def test_short_names_are_padded(
    drive: Drive, stub: StubServer, name: str, project: str, shown: tuple[str, str]
) -> None:
    """ClearML takes no name of less than three characters."""
    driver = drive(name=name, project=project)
    await driver.open()
    task = stub.store.tasks[driver.task]
    assert (task["name"], stub.store.projects[task["project"]]["name"]) == shown


async def test_a_project_that_exists_is_used(drive: Drive, stub: StubServer) -> None:
    """Two runs of a project share it, and a project whose short name an older server took is found, too."""
    name, projects = f"shared (project) [{uuid.uuid4()}]", len(stub.store.projects)
    for _ in range(2):
        await drive(project=name).open()
    assert len(stub.store.projects) == projects + 1
    stub.store.projects["short"] = {"id": "short", "name": "abc/rl"}
    driver = drive(project="abc/rl")
    await driver.open()
    assert stub.store.tasks[driver.task]["project"] == "short"


async def test_a_project_that_another_run_creates_is_used(
    drive: Drive, stub: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between looking for a project and creating it another run may have done so."""
    name = f"contested {uuid.uuid4()}"
    created = stub.store.projects_create({"name": name})["id"]
    look, asked = stub.store.projects_get_all, []

    def late(body: Any) -> Any:
        asked.append(body["name"])
        return look(body) if len(asked) > 1 else {"projects": []}

    monkeypatch.setattr(stub.store, "projects_get_all", late)
    driver = drive(project=name)
    await driver.open()
    assert stub.store.tasks[driver.task]["project"] == created


async def test_a_lost_reply_makes_no_second_task(
    drive: Drive, stub: StubServer, options: Options, proxy: FaultyServer
) -> None:
    """A task whose creation was not confirmed is found by its tag."""
    driver = drive(msgspec.structs.replace(options, api_host=proxy.url))
    proxy.fail(LoseReply(), when=lambda request: request.path.endswith("tasks.create"))
    with pytest.raises(Transient):
        await driver.open()
    await driver.open()
    tag = f"tracelet:{driver.info.id}"
    assert sum(tag in task["system_tags"] for task in stub.store.tasks.values()) == 1


async def test_a_clone_is_not_taken_for_the_run(drive: Drive, stub: StubServer) -> None:
    """Of several tasks with the run's tag, as somebody's cloning may make them, the oldest is the run's."""
    driver = drive()
    await driver.open()
    original = stub.store.tasks[driver.task]
    clone = original | {"id": "clone", "created": "9999"}
    stub.store.tasks = {"clone": clone, **stub.store.tasks}
    again = drive(id=driver.info.id)
    await again.open()
    assert again.task == driver.task


async def test_a_state_of_a_deleted_task_makes_a_new_one(drive: Drive, stub: StubServer) -> None:
    """A run whose task was deleted begins again in another one."""
    driver = drive()
    state = await driver.open()
    del stub.store.tasks[driver.task]
    assert (await drive(id=driver.info.id).open(state)) != state


async def test_a_child_has_its_parent(drive: Drive, stub: StubServer) -> None:
    """The parent's task is the task's parent; one that was deleted is none, and costs nothing."""
    parent = drive()
    state = await parent.open()
    child = drive(parent=ParentRun(parent.info.id, "parent", state))
    await child.open()
    assert stub.store.tasks[child.task]["parent"] == parent.task
    orphan = drive(parent=ParentRun("x", "parent", {"task_id": "gone"}))
    await orphan.open()
    assert "parent" not in stub.store.tasks[orphan.task]


@pytest.mark.parametrize(
    ("outcome", "status", "reason"),
    [
        (Outcome.COMPLETED, "completed", "Tracelet: completed"),
        (Outcome.FAILED, "failed", "Tracelet: failed"),
        (Outcome.KILLED, "stopped", "Tracelet: killed"),
    ],
)
async def test_the_end_is_said(drive: Drive, stub: StubServer, outcome: Outcome, status: str, reason: str) -> None:
    """Each outcome has its status; the time of the end is in the message, since the server takes its own."""
    driver = drive()
    await driver.open()
    await driver.backend.finish(outcome, NOW)
    task = stub.store.tasks[driver.task]
    assert (task["status"], task["status_reason"]) == (status, reason)
    assert task["status_message"] == "ended 2023-11-14T22:13:20+00:00"


async def test_files_go_where_output_uri_says(drive: Drive, stub: StubServer, options: Options, tmp_path: Path) -> None:
    """A folder or bucket instead of the file server, by the SDK's drivers; the SDK finds the file there."""
    from clearml import Task

    target, path = tmp_path / "storage", tmp_path / "file.bin"
    path.write_bytes(b"content")
    driver = drive(msgspec.structs.replace(options, output_uri=str(target)))
    await driver.open()
    files = len(stub.files)
    event = ArtifactLogged(NOW, "deep/file.bin", str(path), 7, path.stat().st_mtime_ns)
    assert await driver.export(event) == {}
    assert await driver.export(TextLogged(NOW, "note", "text", 1)) == {}
    assert len(stub.files) == files
    task = await anyio.to_thread.run_sync(lambda: Task.get_task(task_id=driver.task))
    artifact = task.artifacts["deep/file.bin"]
    assert artifact.url.startswith(f"file://{target}/")
    assert Path(artifact.get_local_copy()).read_bytes() == b"content"
    assert [file.read_text() for file in target.rglob("*.txt")] == ["text"]


async def test_an_artifact_says_what_it_is(drive: Drive, tmp_path: Path) -> None:
    """Name, hash, size, preview, content type and time, as the SDK shows them."""
    from clearml import Task

    path = tmp_path / "data.csv"
    path.write_bytes(b"a,b\n")
    driver = drive()
    await driver.open()
    await driver.export(ArtifactLogged(NOW, "in/data.csv", str(path), 4, path.stat().st_mtime_ns))
    task = await anyio.to_thread.run_sync(lambda: Task.get_task(task_id=driver.task))
    artifact = task.artifacts["in/data.csv"]
    assert (artifact.size, artifact.type, artifact.preview) == (4, "custom", "data.csv - 4 bytes\n")
    assert (
        artifact.hash == "492cde0dea9e04ef8a2dd24fad9ae03ceafb2cbb84e1a7fba3ce6d9f8bc1ed6d" or len(artifact.hash) == 64
    )
    assert artifact.timestamp.timestamp() == int(NOW)
    assert task.data.execution.artifacts[0].type_data.content_type == "text/csv"


async def test_a_file_that_changed_is_counted(drive: Drive, stub: StubServer, tmp_path: Path) -> None:
    """A file that was to be taken as found and has changed since is degraded, also when only others are sent again."""
    path = tmp_path / "file"
    path.write_bytes(b"later")
    driver = drive()
    await driver.open()
    changed = ArtifactLogged(NOW, "changed", str(path), 3, 0, copied=False)
    missing = ArtifactLogged(NOW, "missing", str(tmp_path / "no"), 3, 0)
    batch = driver.batch(changed, missing)
    with pytest.raises(Exception, match="No such file") as caught:
        await driver.backend.export(batch)
    assert getattr(caught.value, "indexes", None) == {1}
    rest = type(batch)(batch.writer, batch.lane, batch.events[:1], batch.sequences[:1])
    await driver.backend.export(rest)
    assert list(rest.degraded.values()) == ["the file was changed after it was logged"]


def _model(tmp_path: Path, name: str, content: bytes, **fields: Any) -> ModelLogged:
    path = tmp_path / f"{content.decode()}.pt"
    path.write_bytes(content)
    return ModelLogged(NOW, name, str(path), len(content), path.stat().st_mtime_ns, **fields)


async def test_models_are_the_tasks_and_the_projects(drive: Drive, stub: StubServer, tmp_path: Path) -> None:
    """Every model logged stays one of the project's; the task shows the latest of each name; again, none is doubled."""
    driver = drive()
    await driver.open()
    first = _model(tmp_path, "net", b"one", step=1, framework="pytorch", metadata={"acc": 0.5, "": 1})
    batch = driver.batch(first, _model(tmp_path, "net", b"two", step=2))
    await driver.backend.export(batch)
    await driver.backend.export(batch)
    own = [model for model in stub.store.models.values() if model["task"] == driver.task]
    assert [model["name"] for model in own] == ["net", "net"]
    assert (own[0]["framework"], own[0]["metadata"]["acc"]["value"], own[0]["ready"]) == ("pytorch", "0.5", False)
    (entry,) = stub.store.tasks[driver.task]["models"]["output"]
    assert entry == {"name": "net", "model": own[1]["id"]}
    paths = [unquote(urlsplit(model["uri"]).path).lstrip("/") for model in own]
    assert [stub.files[path] for path in paths] == [b"one", b"two"]


async def test_an_alias_leads_to_one_model(drive: Drive, stub: StubServer, tmp_path: Path) -> None:
    """An alias that a model gets, others that were registered under the name lose; models of others keep their tags."""
    name = f"classifier {uuid.uuid4()}"
    theirs = stub.store.models_create({"name": name, "uri": "s3://x", "tags": ["champion"]})["id"]
    ids = []
    for content in (b"one", b"two"):
        driver = drive()
        await driver.open()
        registered = ModelRegistered(NOW, name, "net", ("champion", content.decode()), "about it")
        assert await driver.export(_model(tmp_path, "net", content), registered) == {}
        ids.append(stub.store.tasks[driver.task]["models"]["output"][0]["model"])
    first, second = (stub.store.models[identity] for identity in ids)
    assert (first["name"], first["tags"]) == (name, ["one"])
    assert (second["name"], second["tags"], second["comment"]) == (name, ["champion", "two"], "about it")
    assert stub.store.models[theirs]["tags"] == ["champion"]


async def test_registering_what_was_not_logged_is_refused(drive: Drive) -> None:
    """A name without a model is the event's fault, and said so."""
    driver = drive()
    await driver.open()
    with pytest.raises(Exception, match="has no model 'net' to register") as caught:
        await driver.export(ModelRegistered(NOW, "registered", "net"))
    assert getattr(caught.value, "indexes", None) == {0}


async def test_a_medium_that_can_not_be_read_costs_no_other(drive: Drive, stub: StubServer, tmp_path: Path) -> None:
    """A broken file is rejected by its place in the batch, and the others are shown."""
    driver = drive()
    await driver.open()
    events = []
    for number, content in enumerate((b"\x93NUMPY broken", b"png")):
        path = tmp_path / str(number)
        path.write_bytes(content)
        kind = ("npy", "png")[number]
        events.append(ImageLogged(NOW, f"i{number}", str(path), len(content), 0, step=1, format=kind, layout="HW"))
    with pytest.raises(Exception, match="0: ") as caught:
        await driver.export(*events)
    assert getattr(caught.value, "indexes", None) == {0}
    (sample,) = stub.events.of(driver.task, "training_debug_image")
    assert (sample["metric"], sample["variant"], sample["iter"]) == ("i1", "i1", 1)


async def test_delivery_connects_to_nobody_else(
    drive: Drive, stub: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Delivery talks to the two servers that it was told of: no updates are looked for, no usage is told."""
    connected: set[Any] = set()
    connect = socket.socket.connect

    def watch(self: socket.socket, address: Any) -> None:
        connected.add(address[:2])
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", watch)
    driver = drive()
    await driver.open()
    await driver.export(MetricsLogged(NOW, {"m": 1.0}, 1), TextLogged(NOW, "t", "text"))
    await driver.backend.finish(Outcome.COMPLETED, NOW)
    assert {f"http://{host}:{port}" for host, port in connected} == {stub.url, stub.files_url}
