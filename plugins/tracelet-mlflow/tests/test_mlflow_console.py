"""Console lines: files that grow, also over crashes that cut the batches anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from driver import NOW, Driver
from tracelet_mlflow._console import FILE_SIZE
from tracelet_mlflow.readback import list_files

from tracelet.backend import Batch
from tracelet.errors import Transient
from tracelet.events import ConsoleLine, Lane, MetricsLogged
from tracelet.testing import Answer, FaultyServer, Request

pytestmark = pytest.mark.anyio

Drive = Callable[..., Driver]
Read = Callable[[str], Any]


@pytest.fixture
def anyio_backend() -> str:
    """One event loop is enough here: the conformance suite runs on both."""
    return "asyncio"


FIRST = "console/writer-00000.log"


def lines(start: int, stop: int, text: str = "") -> Batch:
    """Lines with the numbers of their events in them."""
    events = [ConsoleLine(NOW + number, f"line {number}{text}") for number in range(start, stop)]
    return Batch("writer", Lane.STREAM, events, range(start, stop))


def said(client: Any, run_id: str, path: str, folder: Path) -> list[str]:
    folder.mkdir(exist_ok=True)
    written = Path(client.download_artifacts(run_id, path, str(folder))).read_text()
    return [line.split(" ", 2)[2] for line in written.splitlines()]


async def crashed(drive: Drive, driver: Driver) -> Driver:
    """The same run in a new process."""
    again = drive(driver.backend._options.uri, id=driver.info.id, project=driver.info.project)
    await again.open({"run_id": driver.run_id})
    return again


async def test_a_line_has_its_time_and_stream(drive: Drive, read: Read, tracking_uri: str, tmp_path: Path) -> None:
    """Each line of the file has the moment, the stream and the text; several lines said at once are lines each."""
    driver = drive(tracking_uri)
    await driver.open()
    assert await driver.export(ConsoleLine(NOW, "größe"), ConsoleLine(NOW, "a\nb", "stderr")) == {}
    path = Path(read(tracking_uri).download_artifacts(driver.run_id, FIRST, str(tmp_path)))
    at = "2023-11-14T22:13:20.250Z"
    assert path.read_text() == f"{at} stdout größe\n{at} stderr a\n{at} stderr b\n"


async def test_batches_that_are_cut_anew_after_a_crash_bring_no_line_twice(
    drive: Drive, read: Read, tracking_uri: str, tmp_path: Path
) -> None:
    """What comes again in other batches than before the crash is there once, and in order."""
    driver = drive(tracking_uri)
    await driver.open()
    for batch in (lines(0, 10), lines(10, 12)):
        await driver.backend.export(batch)
    for start, stop in ((5, 11), (11, 15), (0, 20), (18, 21)):
        driver = await crashed(drive, driver)
        await driver.backend.export(lines(start, stop))
    found = said(read(tracking_uri), driver.run_id, FIRST, tmp_path / "down")
    assert found == [f"line {number}" for number in range(21)]


async def test_a_crash_between_the_file_and_its_mark_brings_no_line_twice(
    drive: Drive, read: Read, proxy: FaultyServer, tmp_path: Path
) -> None:
    """Lines that reached the file but not the tag are cut off before they come again."""
    driver = drive(proxy.url)
    await driver.open()
    await driver.backend.export(lines(0, 5))
    proxy.fail(Answer(503), when=lambda request: request.path.endswith("log-batch"))
    with pytest.raises(Transient):
        await driver.backend.export(lines(5, 10))
    assert len(said(read(proxy.url), driver.run_id, FIRST, tmp_path / "before")) == 10
    again = await crashed(drive, driver)
    await again.backend.export(lines(5, 7))
    assert said(read(proxy.url), driver.run_id, FIRST, tmp_path / "cut") == [f"line {n}" for n in range(7)]
    await again.backend.export(lines(7, 10))
    assert said(read(proxy.url), driver.run_id, FIRST, tmp_path / "down") == [f"line {n}" for n in range(10)]


async def test_the_same_batch_after_a_failure_is_there_once(
    drive: Drive, read: Read, proxy: FaultyServer, tmp_path: Path
) -> None:
    """A batch whose upload failed is tried again by the same process."""
    driver = drive(proxy.url)
    await driver.open()

    def stores(request: Request) -> bool:
        return request.method == "PUT"

    for batch in (lines(0, 5), lines(5, 10)):
        proxy.fail(Answer(503), when=stores)
        with pytest.raises(Transient):
            await driver.backend.export(batch)
        await driver.backend.export(batch)
    assert said(read(proxy.url), driver.run_id, FIRST, tmp_path) == [f"line {number}" for number in range(10)]


async def test_many_lines_are_several_files(drive: Drive, read: Read, tracking_uri: str, tmp_path: Path) -> None:
    """A file that is full is followed by another, in the same batch, in the next, and after a crash."""
    driver = drive(tracking_uri)
    await driver.open()
    third = "x" * (FILE_SIZE // 3)
    await driver.backend.export(lines(0, 4, third))
    again = await crashed(drive, driver)
    for start in (4, 6):
        await again.backend.export(lines(start, start + 2, third))
    client = read(tracking_uri)
    paths = list_files(client, driver.run_id, "console")
    assert paths == [f"console/writer-{number:05}.log" for number in range(3)]
    found = [said(client, driver.run_id, path, tmp_path / "down") for path in paths]
    assert [len(one) for one in found] == [3, 3, 2]
    assert [line for one in found for line in one] == [f"line {number}{third}" for number in range(8)]


async def test_each_writer_has_its_files(drive: Drive, read: Read, tracking_uri: str) -> None:
    """The ranks of a run don't write over one another; a batch without lines makes no file."""
    driver = drive(tracking_uri)
    await driver.open()
    for writer in ("0000", "0001"):
        await driver.backend.export(Batch(writer, Lane.STREAM, [ConsoleLine(NOW, writer)], [7]))
    await driver.backend.export(Batch("0002", Lane.STREAM, [MetricsLogged(NOW, {"m": 1.0}, 0)], [7]))
    found = list_files(read(tracking_uri), driver.run_id)
    assert found == ["console/0000-00000.log", "console/0001-00000.log"]


async def test_a_file_that_somebody_deleted_is_not_missed(
    drive: Drive, read: Read, server: str, tmp_path: Path
) -> None:
    """Where the file under way is gone, the next line begins another."""
    driver = drive(server)
    read(server).create_experiment(driver.info.project, artifact_location=f"file://{tmp_path}/store")
    await driver.open()
    await driver.backend.export(lines(0, 2))
    (tmp_path / "store" / driver.run_id / "artifacts" / FIRST).unlink()
    again = await crashed(drive, driver)
    await again.backend.export(lines(1, 3))
    assert list_files(read(server), driver.run_id) == ["console/writer-00001.log"]
    assert said(read(server), driver.run_id, "console/writer-00001.log", tmp_path / "down") == ["line 2"]
