"""A real Aim tracking server that dies, comes back, hangs, and loses runs."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import numpy as np
import pytest
from aim_driver import NOW, Driver
from aim_server import AimServer
from tracelet_aim.readback import open_run, points, recorded, sequence

from tracelet.backend import Outcome
from tracelet.errors import Denied, Rejected, Transient
from tracelet.events import (
    ArtifactLogged,
    ConsoleLine,
    FigureLogged,
    HistogramLogged,
    ImageLogged,
    MetricsLogged,
    ParamsLogged,
    TextLogged,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_an_outage_loses_nothing(drive: Callable[..., Driver], own_server: AimServer) -> None:
    """Exports are Transient at once while the server is dead, and go on when it is back, with the same backend."""
    driver = drive(own_server.address)
    await driver.open()
    await driver.export(MetricsLogged(NOW, {"m": 1.0}, 1))
    own_server.stop()
    batches = [
        driver.batch(*(MetricsLogged(NOW, {"m": float(step)}, step) for step in range(2, 40))),
        driver.batch(TextLogged(NOW, "t", "text", 1), ConsoleLine(NOW, "a line"), ParamsLogged(NOW, {"lr": 0.1})),
    ]
    for batch in batches * 2:
        began = time.monotonic()
        with pytest.raises(Transient):
            await driver.backend.export(batch)
        assert time.monotonic() - began < 5
    own_server.start()
    for batch in batches:
        await driver.backend.export(batch)
    await driver.backend.finish(Outcome.COMPLETED, NOW + 60)
    await driver.backend.close()
    found = recorded(str(own_server.folder), driver.info.id)
    assert sorted(found.points) == sorted(("m", float(step), step) for step in range(1, 40))
    assert (found.runs, found.texts, found.console, found.params) == (1, ["text"], ["a line"], {"lr": "0.1"})
    assert (found.outcome, found.ended) == (Outcome.COMPLETED, NOW + 60)


async def test_a_server_killed_after_an_export_has_it(drive: Callable[..., Driver], own_server: AimServer) -> None:
    """Returning from export means that the server has written the batch; and closing is quick when it is dead."""
    driver = drive(own_server.address)
    await driver.open()
    await driver.export(*(MetricsLogged(NOW, {"m": float(step), "n": 1.0}, step) for step in range(200)))
    own_server.stop()
    began = time.monotonic()
    await driver.backend.close()
    assert time.monotonic() - began < 5
    assert len(points(open_run(str(own_server.folder), driver.hash))) == 400


async def test_no_server(drive: Callable[..., Driver]) -> None:
    """Opening is Transient, at once."""
    began = time.monotonic()
    with pytest.raises(Transient):
        await drive("aim://127.0.0.1:9").open()
    assert time.monotonic() - began < 10


async def test_a_process_whose_server_is_dead_ends(own_server: AimServer, tmp_path: Path) -> None:
    """Aim waits at exit for a queue that can't be emptied; here nothing holds up the end of the process."""
    code = f"""
import sys, asyncio
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from aim_driver import Driver, NOW
from tracelet.events import MetricsLogged
from tracelet.errors import Transient

async def main():
    driver = Driver({own_server.address!r}, Path("."))
    await driver.open()
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        await driver.export(MetricsLogged(NOW, {{"m": 1.0}}, 1))
    except Transient:
        print("transient", flush=True)

asyncio.run(main())
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, stderr=-1, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        own_server.stop()
        began = time.monotonic()
        out, _ = process.communicate("\n", timeout=20)
        assert out == "transient\n"
        assert time.monotonic() - began < 10
    finally:
        process.kill()
        process.wait()


async def test_a_run_deleted_on_the_server(drive: Callable[..., Driver], server: AimServer) -> None:
    """It is noticed when delivery starts again, and when the run ends."""
    driver = drive(server.address)
    state = await driver.open()
    await driver.export(MetricsLogged(NOW, {"m": 1.0}, 1))
    session = driver.backend._session
    assert session is not None
    assert session.repo.delete_run(driver.hash)
    while driver.hash in session.repo._remote_repo_proxy.list_all_runs():  # the server remembers for half a second
        await anyio.sleep(0.05)
    with pytest.raises(Denied, match="deleted"):
        await driver.backend.finish(Outcome.COMPLETED, NOW)
    with pytest.raises(Denied, match="deleted"):
        await drive(server.address, id=driver.info.id).open(state)


async def test_files_need_a_place(drive: Callable[..., Driver], server: AimServer, tmp_path: Path) -> None:
    """A server has none of its own: without the option they are refused, and the reason says what to set."""
    (tmp_path / "f").write_bytes(b"content")
    event = ArtifactLogged(NOW, "f", str(tmp_path / "f"), 7, 0)
    driver = drive(server.address)
    await driver.open()
    with pytest.raises(Rejected, match="artifacts_uri") as raised:
        await driver.export(event)
    assert raised.value.indexes == frozenset({0})
    placed = drive(server.address, options={"artifacts_uri": str(tmp_path / "files")})
    await placed.open()
    await placed.export(event)
    assert (tmp_path / "files" / placed.hash / "f").read_bytes() == b"content"


async def test_a_server_that_hangs_is_given_up(drive: Callable[..., Driver], own_server: AimServer) -> None:
    """A stopped server takes writes and never answers: the wait for its answer ends."""
    from tracelet_aim import _remote

    driver = drive(own_server.address)
    await driver.open()
    own_server.send(signal.SIGSTOP)
    patience, _remote._ANSWER = _remote._ANSWER, 1.0
    try:
        began = time.monotonic()
        with pytest.raises(Transient):
            await driver.export(MetricsLogged(NOW, {"m": 1.0}, 1))
        assert time.monotonic() - began < 10
    finally:
        _remote._ANSWER = patience
        own_server.send(signal.SIGCONT)
    await driver.export(MetricsLogged(NOW, {"m": 1.0}, 1))
    await driver.backend.close()
    assert points(open_run(str(own_server.folder), driver.hash)) == [("m", 1.0, 1)]


async def test_two_runs_at_a_time(drive: Callable[..., Driver], server: AimServer) -> None:
    """Each has its own connection; the end of one is nothing to the other."""
    one, other = drive(server.address), drive(server.address)
    await one.open()
    await other.open()
    await one.export(MetricsLogged(NOW, {"m": 1.0}, 1))
    await one.backend.close()
    await other.export(MetricsLogged(NOW, {"m": 2.0}, 1))
    assert points(open_run(str(server.folder), one.hash)) == [("m", 1.0, 1)]
    assert points(open_run(str(server.folder), other.hash)) == [("m", 2.0, 1)]


async def test_media_travel_whole(drive: Callable[..., Driver], server: AimServer, tmp_path: Path) -> None:
    """Megabytes of an image, a distribution and a figure, over the server's web socket."""
    pixels, counts, plot = tmp_path / "pixels.npy", tmp_path / "counts.npz", tmp_path / "plot.json"
    noise = np.random.default_rng(0).integers(0, 255, (1_000, 1_000, 3), dtype=np.uint8)
    np.save(pixels, noise)
    np.savez(counts, counts=np.array([1.0, 2.0]), edges=np.array([0.0, 1.0, 2.0]))
    plot.write_text('{"data": []}')
    driver = drive(server.address)
    await driver.open()
    degraded = await driver.export(
        ImageLogged(NOW, "i", str(pixels), 1, 0, True, 1, (("n", 1),), "npy", "HWC"),
        HistogramLogged(NOW, "h", str(counts), 1, 0, True, 2, (), "npz"),
        FigureLogged(NOW, "f", str(plot), 1, 0, True, 3, (), "plotly"),
    )
    assert degraded == {}
    run = open_run(str(server.folder), driver.hash)
    ((_, _, (image,)),) = sequence(run, "images")
    assert (np.asarray(image.to_pil_image()) == noise).all()
    ((_, _, distribution),) = sequence(run, "distributions")
    assert distribution.to_np_histogram()[0].tolist() == [1.0, 2.0]
    ((_, _, figure),) = sequence(run, "figures")
    assert figure.data == '{"data": []}'
