"""What W&B's own `wandb sync` makes of the files that the plugin has it write."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import wandb_offline
import wandb_online
from wandb_driver import NOW, Driver, points
from wandb_stub import StubServer

from tracelet.backend import Outcome
from tracelet.errors import Transient, Undelivered
from tracelet.events import ArtifactLogged, ConsoleLine, DatasetUsed, NoteSet, ParamsLogged, TagsSet, TextLogged

pytestmark = pytest.mark.anyio

Drive = Callable[..., Driver]


@pytest.fixture(params=["asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The conformance suite has both; what is tested here blocks in threads."""
    return str(request.param)


def sync(stub: StubServer, *arguments: str) -> None:
    environment = os.environ | {"WANDB_BASE_URL": stub.url, "WANDB_API_KEY": "0" * 40}
    environment.pop("WANDB_SERVICE", None)
    command = [sys.executable, "-m", "wandb", "sync", *arguments]
    with TemporaryDirectory() as folder:  # it makes a folder for its logs where it runs
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


async def test_offline_sessions_become_one_run(drive: Drive, stub: StubServer, tmp_path: Path) -> None:
    """The folders of a run that was resumed, synced in the order of their names, are one run with everything."""
    (tmp_path / "f").write_bytes(b"content")
    first = drive(run={"id": "synced"})
    await first.open()
    await first.export(
        *points(1, 2), ParamsLogged(NOW, {"lr": 0.5}), TagsSet(NOW, {"a": "b"}), TextLogged(NOW, "t", "text", 1)
    )
    await first.backend.close()
    second = drive(run={"id": "synced"})
    await second.open()
    await second.export(
        *points(3), NoteSet(NOW, "note"), ConsoleLine(NOW, "line"), DatasetUsed(NOW, "digits", "s3://bucket/digits")
    )
    await second.export(ArtifactLogged(NOW, "deep/f.txt", str(tmp_path / "f"), 7, 0))
    await second.backend.finish(Outcome.FAILED, NOW)
    logs = sorted(wandb_offline.logs(Path(second.options.dir or ""), "synced"))
    wandb_offline.wait_until(lambda: all(wandb_offline.ended(log) for log in logs), "a session was not ended")
    for log in logs:
        sync(stub, str(log.parent))
    found = wandb_online.recorded(stub.url, "synced")
    assert found.points == [("m", 0.25, 1), ("m", 0.5, 2), ("m", 0.75, 3)]
    assert (found.params, found.texts, found.artifacts) == ({"lr": "0.5"}, ["text"], {"deep/f.txt": b"content"})
    assert (found.note, found.console, found.datasets, found.outcome) == ("note", ["line"], ["digits"], Outcome.FAILED)
    assert stub.runs["synced"].fields["tags"] == ["a:b"]
    assert next(one for one in stub.runs["synced"].artifacts if one.type == "dataset").used


async def test_an_offline_run_says_where_its_files_are(drive: Drive, tmp_path: Path) -> None:
    """The link of a run that is nowhere else is the folder with its files: by default in the run's own directory."""
    driver = drive(dir=None)
    opened = await driver.open()
    assert opened.url == (tmp_path / "wandb").as_uri()
    assert wandb_offline.logs(tmp_path, driver.id)


async def test_the_command_for_what_is_undelivered_delivers_it(drive: Drive, stub: StubServer) -> None:
    """The command in the message of what a server refused again and again brings it there, once it takes it."""
    driver = drive(stub)
    await driver.open()
    stub.fail(404, "file_stream")
    await driver.export(*points(1, 2))
    for expected in (Transient, Transient, Undelivered):
        with pytest.raises(expected) as raised:
            await driver.backend.finish(Outcome.COMPLETED, NOW)
    stub.heal()
    command = str(raised.value).partition("wandb sync ")[2].split()
    sync(stub, *command)
    assert {row["global_step"] for row in stub.runs[driver.id].history} == {1, 2}
