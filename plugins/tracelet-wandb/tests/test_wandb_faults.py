"""Faults: what a failing server, and a killed wandb-core, mean to the core, and that nothing is lost by them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
import wandb_offline
from wandb.sdk.lib.wbauth import unauthenticate_session
from wandb_driver import NOW, Driver, points
from wandb_stub import StubServer

from tracelet.backend import Batch, Outcome
from tracelet.errors import Denied, Rejected, Transient, Undelivered
from tracelet.events import ArtifactLogged, ImageLogged, ModelLogged, ModelRegistered, TagsSet

pytestmark = pytest.mark.anyio

Drive = Callable[..., Driver]


@pytest.fixture(params=["asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The conformance suite has both; what is tested here blocks in threads."""
    return str(request.param)


def steps(stub: StubServer, driver: Driver) -> list[int]:
    return [row["global_step"] for row in stub.runs[driver.id].history]


def core() -> int:
    """The wandb-core of this process."""
    command = ["ps", "--ppid", str(os.getpid()), "-o", "pid=,stat=,comm="]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    (pid,) = (line.split()[0] for line in lines if "wandb-core" in line and line.split()[1][0] != "Z")
    return int(pid)


def kill_core() -> None:
    os.kill(core(), signal.SIGKILL)


async def test_a_dead_server_is_transient(drive: Drive) -> None:
    """Opening fails within its timeout, and may be tried again."""
    driver = drive(base_url="http://127.0.0.1:9", api_key="0" * 40, mode="online", init_timeout=1.0)
    before = time.monotonic()
    with pytest.raises(Transient):
        await driver.open()
    assert time.monotonic() - before < 20


@pytest.mark.parametrize("status", [500, 429])
async def test_a_busy_server_is_transient(drive: Drive, stub: StubServer, status: int) -> None:
    """Opening fails within its timeout; once the server has recovered, the run is opened."""
    driver = drive(stub, init_timeout=1.0)
    stub.fail(status)
    with pytest.raises(Transient):
        await driver.open()
    stub.heal()
    await driver.open()
    assert len(stub.runs) == 1


@pytest.mark.parametrize("status", [401, 403])
async def test_refused_credentials_are_denied(drive: Drive, stub: StubServer, status: int) -> None:
    """Credentials that are refused when the run is opened pause delivery, at once."""
    driver = drive(stub)
    stub.fail(status)
    before = time.monotonic()
    with pytest.raises(Denied):
        await driver.open()
    assert time.monotonic() - before < 20
    stub.heal()
    await driver.open()


async def test_no_credentials_are_denied(drive: Drive, stub: StubServer) -> None:
    """Without a key nothing is asked of anybody; the message says what is missing."""
    unauthenticate_session()  # of another test
    with pytest.raises(Denied, match=r"(?i)api.key|log in|login"):
        await drive(stub, api_key=None).open()


async def test_a_refused_stream_is_opened_again(drive: Drive, stub: StubServer) -> None:
    """After a refusal, which ends wandb-core's stream, the rows that are missing arrive once each, in order."""
    driver = drive(stub)
    await driver.open()
    await driver.export(*points(1))
    wandb_offline.wait_until(lambda: steps(stub, driver) == [1], "the row did not arrive")
    stub.fail(400, "file_stream")
    await driver.export(*points(2))
    with pytest.raises(Transient):
        await driver.backend.finish(Outcome.COMPLETED, NOW)
    stub.heal()
    await driver.backend.finish(Outcome.COMPLETED, NOW)
    assert steps(stub, driver) == [1, 2]
    assert stub.runs[driver.id].exit_code == 0
    assert stub.runs[driver.id].summary["m"] == 0.5


async def test_a_refusal_under_way_is_seen_by_the_next_export(drive: Drive, stub: StubServer) -> None:
    """An export after the stream has ended raises; repeated, its events arrive, and so do those before it."""
    driver = drive(stub)
    await driver.open()
    stub.fail(413, "file_stream")
    await driver.export(*points(1))
    batch = driver.batch(*points(2))
    log = next(Path(driver.options.dir or "").glob("wandb/run-*/logs/debug-internal.log"))
    wandb_offline.wait_until(lambda: b"fatal error" in log.read_bytes(), "the stream did not end", 40)
    with pytest.raises(Transient, match="413"):
        await driver.backend.export(batch)
    stub.heal()
    await driver.backend.export(batch)
    await driver.backend.finish(Outcome.COMPLETED, NOW)
    assert steps(stub, driver) == [1, 2]


async def test_what_is_refused_again_is_not_delivered(drive: Drive, stub: StubServer) -> None:
    """What is refused again and again is undelivered in the end: so many events, and a command that recovers them."""
    driver = drive(stub)
    await driver.open()
    stub.fail(404, "file_stream")
    await driver.export(*points(1, 2, 3))
    for _ in range(2):
        with pytest.raises(Transient):
            await driver.backend.finish(Outcome.COMPLETED, NOW)
    with pytest.raises(Undelivered, match=r"wandb sync --no-skip-online /\S*/run-") as raised:
        await driver.backend.finish(Outcome.COMPLETED, NOW)
    assert raised.value.counts == {("0000", "stream"): 3}


async def test_credentials_that_expire_pause_delivery(drive: Drive, stub: StubServer) -> None:
    """Credentials refused under way are Denied at the end; mended, everything arrives."""
    driver = drive(stub)
    await driver.open()
    await driver.export(*points(1))
    stub.fail(401, "file_stream")
    for _ in range(2):
        with pytest.raises(Denied):
            await driver.backend.finish(Outcome.FAILED, NOW)
    stub.heal()
    await driver.backend.finish(Outcome.FAILED, NOW)
    assert steps(stub, driver) == [1]
    assert stub.runs[driver.id].exit_code == 1


async def test_finishing_while_the_server_is_away_is_bounded(drive: Drive, stub: StubServer) -> None:
    """Uploads that don't end in time are Transient; when the server is back, the run is whole."""
    driver = drive(stub, finish_timeout=1.0, init_timeout=5.0)
    await driver.open()
    await driver.export(*points(1))
    stub.fail(503, "file_stream")
    before = time.monotonic()
    with pytest.raises(Transient):
        await driver.backend.finish(Outcome.COMPLETED, NOW)
    assert time.monotonic() - before < 20
    stub.heal()
    await driver.backend.finish(Outcome.COMPLETED, NOW)
    assert steps(stub, driver) == [1]


async def test_a_killed_core_is_replaced_offline(drive: Drive) -> None:
    """After SIGKILL of wandb-core the next export raises at once; repeated, no row of any export is missing."""
    driver = drive()
    await driver.open()
    for start in range(0, 300, 100):
        await driver.export(*points(*range(start, start + 100)))
    kill_core()
    batch = driver.batch(*points(300))
    with pytest.raises(Transient, match="wandb-core"):
        await driver.backend.export(batch)
    await driver.backend.export(batch)
    await driver.backend.finish(Outcome.COMPLETED, NOW)
    folder = Path(driver.options.dir or "")
    wandb_offline.recorded(folder, driver.id)
    rows = wandb_offline.rows(folder, driver.id)
    assert len(wandb_offline.logs(folder, driver.id)) == 2
    assert sorted(row["global_step"] for row in rows) == list(range(301))
    assert sorted(row["_step"] for row in rows) == list(range(301))


async def test_a_killed_core_is_replaced_online(drive: Drive, stub: StubServer, tmp_path: Path) -> None:
    """After SIGKILL of wandb-core, rows and media that it had not uploaded arrive, once each."""
    driver = drive(stub)
    await driver.open()
    await driver.export(*points(*range(50)))
    await driver.export(picture(tmp_path))
    kill_core()
    with pytest.raises(Transient, match="wandb-core"):
        await driver.backend.finish(Outcome.COMPLETED, NOW)
    await driver.backend.finish(Outcome.COMPLETED, NOW)
    assert steps(stub, driver) == [*range(50), 5]
    row = stub.runs[driver.id].history[-1]
    assert row["image"]["path"] in stub.runs[driver.id].files


def picture(folder: Path) -> ImageLogged:
    import numpy as np

    path = folder / "image.npy"
    np.save(path, np.zeros((4, 4, 3), np.uint8))
    return ImageLogged(NOW, "image", str(path), path.stat().st_size, 0, True, 5, (), "npy", "HWC")


def artifact(folder: Path, name: str = "f", content: bytes = b"content") -> ArtifactLogged:
    path = folder / f"blob-{name}"
    path.write_bytes(content)
    return ArtifactLogged(NOW, name, str(path), len(content), path.stat().st_mtime_ns)


async def test_a_file_that_is_gone_is_refused_alone(drive: Drive, tmp_path: Path) -> None:
    """Of a batch, the events whose files can't be read are named, and nothing of the batch has become a row."""
    driver = drive()
    await driver.open()
    good, gone = picture(tmp_path), artifact(tmp_path)
    Path(gone.path).unlink()
    with pytest.raises(Rejected) as raised:
        await driver.export(good, gone)
    assert raised.value.indexes == frozenset({1})
    folder = Path(driver.options.dir or "")
    wandb_offline.recorded(folder, driver.id)
    assert wandb_offline.rows(folder, driver.id) == []


@pytest.mark.parametrize(("status", "kind"), [(403, Denied), (409, Rejected)])
async def test_an_artifact_that_is_refused(
    drive: Drive, stub: StubServer, tmp_path: Path, status: int, kind: type[Exception]
) -> None:
    """A refusal of an artifact is what its status says, and the same batch arrives later, once."""
    driver = drive(stub)
    await driver.open()
    stub.fail(status, "CreateArtifact")
    batch = driver.batch(artifact(tmp_path, "a"), artifact(tmp_path, "b"))
    with pytest.raises(kind):
        await driver.backend.export(batch)
    stub.heal()
    await driver.backend.export(batch)
    names = [one.metadata["name"] for one in stub.runs[driver.id].artifacts if one.state == "COMMITTED"]
    assert sorted(names) == ["a", "b"]


async def test_without_a_registry_the_aliases_are_on_the_artifact(
    drive: Drive, stub: StubServer, tmp_path: Path
) -> None:
    """An account without a registry gets the aliases on the model's artifact, which is declared."""
    stub.has_registry = False
    driver = drive(stub)
    await driver.open()
    (tmp_path / "model.pt").write_bytes(b"weights")
    model = ModelLogged(NOW, "m", str(tmp_path / "model.pt"), 7, 0)
    reasons = await driver.export(model, ModelRegistered(NOW, "classifier", "m", ("champion",)))
    assert list(reasons) == [1]
    last: Any = stub.runs[driver.id].artifacts[-1]
    assert (last.type, last.name, sorted(last.aliases)) == ("model", "m", ["champion", "latest"])
    assert stub.links == {}


async def test_a_model_that_was_never_logged_is_refused(drive: Drive) -> None:
    """Registering what isn't there is the event's fault."""
    driver = drive()
    await driver.open()
    with pytest.raises(Rejected, match="no model 'm' was logged"):
        await driver.export(ModelRegistered(NOW, "classifier", "m"))


@pytest.mark.parametrize("bulk", [False, True], ids=["stream", "bulk"])
async def test_every_lane_survives_a_killed_core(drive: Drive, tmp_path: Path, bulk: bool) -> None:
    """Whatever an export has to do when wandb-core is gone, it raises Transient, and its repetition arrives."""
    driver = drive()
    await driver.open()
    batch = driver.batch(artifact(tmp_path)) if bulk else driver.batch(TagsSet(NOW, {"a": "b"}))
    kill_core()
    with pytest.raises(Transient):
        await driver.backend.export(batch)
    await driver.backend.export(batch)
    found = wandb_offline.recorded(Path(driver.options.dir or ""), driver.id)
    assert found.artifacts == ({"f": b"content"} if bulk else {})
    assert found.tags == ({} if bulk else {"a": "b"})


async def test_a_silent_server_holds_no_scalars(drive: Drive, stub: StubServer, tmp_path: Path) -> None:
    """While an artifact waits for a server that is busy, the other lane goes on."""
    driver = drive(stub)
    await driver.open()
    stub.fail(503, "CreateArtifact")
    with anyio.fail_after(30):
        async with anyio.create_task_group() as lanes:
            lanes.start_soon(driver.export, artifact(tmp_path))
            await anyio.sleep(0.2)
            await driver.export(*points(1))
            stub.heal()
    assert [one.state for one in stub.runs[driver.id].artifacts] == ["COMMITTED"]


async def test_an_export_waits_for_the_core(drive: Drive) -> None:
    """An export does not return before wandb-core has answered after its rows."""
    driver = drive()
    await driver.open()
    pid = core()
    os.kill(pid, signal.SIGSTOP)
    try:
        async with anyio.create_task_group() as exports:
            done = anyio.Event()

            async def export() -> None:
                await driver.export(*points(1))
                done.set()

            exports.start_soon(export)
            with anyio.move_on_after(0.5):
                await done.wait()
            assert not done.is_set()
            os.kill(pid, signal.SIGCONT)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert done.is_set()


async def test_what_was_committed_is_not_sent_again(drive: Drive, stub: StubServer, tmp_path: Path) -> None:
    """An artifact that has arrived is not logged a second time because another of its batch was refused."""
    driver = drive(stub)
    await driver.open()
    gone = artifact(tmp_path, "gone")
    batch = driver.batch(artifact(tmp_path, "a"), gone)
    Path(gone.path).unlink()
    with pytest.raises(Rejected) as raised:
        await driver.backend.export(batch)
    assert raised.value.indexes == frozenset({1})
    await driver.backend.export(Batch(batch.writer, batch.lane, batch.events[:1], batch.sequences[:1]))
    assert [one.metadata["name"] for one in stub.runs[driver.id].artifacts] == ["a"]
