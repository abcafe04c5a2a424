"""Repositories that others use, that are damaged, full or gone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aim_driver import NOW, Driver
from tracelet_aim.readback import open_run, points

from tracelet.backend import Outcome
from tracelet.errors import Denied, Transient
from tracelet.events import MetricsLogged, TextLogged

pytestmark = pytest.mark.anyio

# Another process that delivers the same run: it opens it, exports a point, says so, and waits to be ended.
_OTHER = """
import sys, asyncio, resource
sys.path.insert(0, {tests!r})
from pathlib import Path
from aim_driver import Driver, NOW
from tracelet.events import MetricsLogged

async def main():
    driver = Driver({repo!r}, Path("."), id={id!r})
    await driver.open()
    await driver.export(*(MetricsLogged(NOW, {{"other": float(step)}}, step) for step in range(100)))
    print("ready", flush=True)
    {then}

asyncio.run(main())
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def other() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts another process that delivers a driver's run."""
    started: list[subprocess.Popen[str]] = []

    def start(driver: Driver, then: str = "sys.stdin.read()") -> subprocess.Popen[str]:
        fields = {"tests": str(Path(__file__).parent), "repo": driver.options.path, "id": driver.info.id, "then": then}
        process = subprocess.Popen(
            [sys.executable, "-c", _OTHER.format(**fields)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


async def test_a_run_that_another_process_writes_is_waited_for(
    drive: Callable[..., Driver], other: Callable[..., subprocess.Popen[str]]
) -> None:
    """It is Transient; once the other was killed, its lock is taken over, and its points are there."""
    driver = drive()
    process = other(driver)
    with pytest.raises(Transient, match="another process"):
        await driver.open()
    process.send_signal(signal.SIGKILL)
    process.wait()
    await driver.open()
    await driver.export(MetricsLogged(NOW, {"m": 1.0}, 1))
    found = points(open_run(driver.options.path, driver.hash))
    assert ("m", 1.0, 1) in found
    assert len(found) == 101


async def test_a_run_under_way_can_be_indexed(
    drive: Callable[..., Driver], other: Callable[..., subprocess.Popen[str]]
) -> None:
    """As `aim up` does it, from another process, so that a live run is visible in Aim's interface."""
    from aim import Repo
    from aim.sdk.index_manager import RepoIndexManager
    from tracelet_aim._session import hash_of

    driver = drive()
    other(driver)
    repo = Repo.from_path(driver.options.path)
    RepoIndexManager(repo).index(hash_of(driver.info.id))
    (found,) = repo.query_metrics("metric.name == 'other'", report_mode=0).iter_runs()
    assert [len(metric.values.values_list()) for metric in found.iter()] == [100]
    assert found.run.active


async def test_a_run_deleted_in_aim_pauses_delivery(drive: Callable[..., Driver]) -> None:
    """Aim itself would write to the deleted run, and say nothing. Neither is a second run made."""
    from aim import Repo

    driver = drive()
    state = await driver.open()
    await driver.export(MetricsLogged(NOW, {"m": 1.0}, 1))
    repo = Repo.from_path(driver.options.path)
    assert repo.delete_run(driver.hash)
    for event in (MetricsLogged(NOW, {"m": 2.0}, 2), TextLogged(NOW, "t", "text")):
        with pytest.raises(Denied, match="deleted"):
            await driver.export(event)
    with pytest.raises(Denied, match="deleted"):
        await driver.backend.finish(Outcome.COMPLETED, NOW)
    with pytest.raises(Denied, match="deleted"):
        await drive(id=driver.info.id).open(state)
    assert not Path(repo.path, "meta", "chunks", driver.hash).exists()


async def test_a_damaged_run_pauses_delivery(drive: Callable[..., Driver]) -> None:
    """Nothing is dead-lettered for what somebody has to mend."""
    driver = drive()
    state = await driver.open()
    await driver.export(MetricsLogged(NOW, {"m": 1.0}, 1))
    await driver.backend.close()
    chunk = Path(driver.options.path, ".aim", "meta", "chunks", driver.hash)
    for path in chunk.glob("MANIFEST-*"):
        path.write_bytes(b"damage" * 20)
    with pytest.raises((Denied, Transient)) as raised:
        await drive(id=driver.info.id).open(state)
    assert "Corruption" in str(raised.value) or "damaged" in str(raised.value)


async def test_a_damaged_database_pauses_delivery(drive: Callable[..., Driver]) -> None:
    """Aim's SQLite file, which has the runs' names."""
    driver = drive()
    Path(driver.options.path, ".aim", "run_metadata.sqlite").write_bytes(b"no database " * 1_000)
    with pytest.raises(Denied, match="run_metadata"):
        await driver.open()


async def test_a_place_that_can_not_be_written_is_tried_again(drive: Callable[..., Driver], tmp_path: Path) -> None:
    """A file where the repository should be; when it is gone, the repository is made."""
    (tmp_path / "file").touch()
    driver = drive(str(tmp_path / "file" / "repo"))
    with pytest.raises(Transient, match="Not a directory"):
        await driver.open()
    (tmp_path / "file").unlink()
    await driver.open()
    await driver.export(MetricsLogged(NOW, {"m": 1.0}, 1))
    assert points(open_run(driver.options.path, driver.hash)) == [("m", 1.0, 1)]


async def test_a_full_disk_is_waited_for(
    drive: Callable[..., Driver], other: Callable[..., subprocess.Popen[str]]
) -> None:
    """Where no file may grow, an export is Transient; when they may again, everything arrives."""
    driver = drive()
    process = other(
        driver,
        """
    import signal, json
    from tracelet.errors import Transient
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    batch = driver.batch(*(MetricsLogged(NOW, {"big" * 100: float(step)}, step) for step in range(5_000)))
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        await driver.backend.export(batch)
        said = "nothing"
    except Transient as error:
        said = str(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    print(json.dumps(said), flush=True)
    await driver.backend.export(batch)
    await driver.backend.close()
    print("done", flush=True)
""".strip(),
    )
    assert process.stdout is not None
    assert "File too large" in json.loads(process.stdout.readline())
    assert process.stdout.readline() == "done\n"
    assert process.wait(60) == 0  # Aim's lock may last as long as the process: an exception holds on to its objects
    await driver.open()
    found = points(open_run(driver.options.path, driver.hash))
    assert len([name for name, _, _ in found if name.startswith("big")]) == 5_000


async def test_a_crash_between_the_steps_of_creating_a_run(drive: Callable[..., Driver]) -> None:
    """Whatever of it was there: the run is made whole, and is one."""
    from aim import Repo
    from tracelet_aim._session import hash_of

    driver = drive()
    repo = Repo.from_path(driver.options.path)
    container = repo.request_tree("meta", hash_of(driver.info.id), read_only=False)
    del container
    await driver.open()
    run = open_run(driver.options.path, driver.hash)
    assert (run.name, run.experiment, run.creation_time) == ("a run", driver.info.project, NOW)
    assert os.listdir(Path(repo.path, "meta", "chunks")) == [driver.hash]
    shutil.rmtree(Path(repo.path, "check_ins"))
    await driver.export(MetricsLogged(NOW, {"m": 1.0}, 1))
