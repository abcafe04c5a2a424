"""Crashes of the delivering process, and of wandb-core with it: what an export returned for is there afterwards."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import wandb_offline
from wandb_driver import NOW, Driver, points
from wandb_stub import StubServer

from tracelet.backend import Outcome
from tracelet.events import ImageLogged, ParamsLogged

pytestmark = pytest.mark.anyio

Drive = Callable[..., Driver]

_SCRIPT = """
import asyncio, os, signal, subprocess, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tracelet_wandb import Options
from wandb_driver import NOW, Driver, points
from tracelet.events import ImageLogged, ParamsLogged

folder, run_id, url, also_core = Path(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5] == "both"
place = {"mode": "online", "base_url": url, "api_key": "0" * 40} if url else {"mode": "offline"}


async def main():
    driver = Driver(Options(dir=str(folder / "W&B"), **place), folder, id=run_id)
    await driver.open()
    await driver.export(*points(*range(300)))
    await driver.export(ParamsLogged(NOW, {"lr": 0.5}))
    image = folder / "image.png"
    await driver.export(ImageLogged(NOW, "image", str(image), image.stat().st_size, 0, True, 300, (), "png"))
    if also_core:
        found = subprocess.run(["pgrep", "-P", str(os.getpid()), "wandb-core"], capture_output=True, text=True)
        os.kill(int(found.stdout), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.fixture(params=["asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The conformance suite has both; what is tested here blocks in threads."""
    return str(request.param)


@pytest.fixture
def crash(tmp_path: Path) -> Callable[[str, str, str], None]:
    """Deliver in a process of its own that kills itself, alone or with wandb-core, right after the last export."""
    from PIL import Image

    Image.new("RGB", (4, 4)).save(tmp_path / "image.png")
    script = tmp_path / "deliver.py"
    script.write_text(_SCRIPT)

    def run(run_id: str, url: str, what: str) -> None:
        here = str(Path(__file__).parent)
        done = subprocess.run([sys.executable, script, here, tmp_path, run_id, url, what], timeout=60)
        assert done.returncode == -9

    return run


@pytest.mark.parametrize("what", ["alone", "both"])
async def test_nothing_is_lost_offline(drive: Drive, crash: Callable[[str, str, str], None], what: str) -> None:
    """Every row, param and medium of the exports that had returned is in W&B's files once the run goes on."""
    driver = drive(run={"id": "crashed"})
    crash("crashed", "", what)
    await driver.open()
    await driver.export(*points(1_000))
    await driver.backend.finish(Outcome.KILLED, NOW)
    folder = Path(driver.options.dir or "")
    found = wandb_offline.recorded(folder, "crashed")
    assert sorted(step for _, _, step in found.points) == [*range(300), 1_000]
    assert [one.step for one in found.media if one.kind is ImageLogged] == [300]
    assert found.params["lr"] == "0.5"
    numbers = [row["_step"] for row in wandb_offline.rows(folder, "crashed")]
    assert sorted(numbers) == list(range(302))


@pytest.mark.parametrize("what", ["alone", "both"])
async def test_nothing_is_lost_online(
    drive: Drive, crash: Callable[[str, str, str], None], stub: StubServer, what: str
) -> None:
    """What the server had not got when the processes were killed arrives when the run goes on, once and in order."""
    driver = drive(stub, run={"id": "crashed"})
    crash("crashed", stub.url, what)
    await driver.open()
    await driver.export(*points(1_000), ParamsLogged(NOW, {"batch": 8}))
    await driver.backend.finish(Outcome.KILLED, NOW)
    run = stub.runs["crashed"]
    assert [row["global_step"] for row in run.history] == [*range(301), 1_000]
    assert run.history[300]["image"]["path"] in run.files
    assert (run.config["lr"], run.config["batch"]) == (0.5, 8)
    assert run.exit_code == 255


async def test_a_run_recorded_offline_can_go_online(drive: Drive, stub: StubServer) -> None:
    """Rows that were recorded offline are uploaded when the same run is opened with a server."""
    first = drive(run={"id": "moved"})
    await first.open()
    await first.export(*points(1, 2))
    await first.backend.close()
    second = drive(stub, run={"id": "moved"})
    await second.open()
    await second.export(*points(3))
    await second.backend.finish(Outcome.COMPLETED, NOW)
    assert [row["global_step"] for row in stub.runs["moved"].history] == [1, 2, 3]
