"""What was printed, as Aim's terminal log."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from aim_driver import NOW, Driver
from tracelet_aim.readback import open_run

from tracelet.backend import Batch
from tracelet.events import ConsoleLine, Lane

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def lines(driver: Driver) -> list[tuple[int, str]]:
    logs = open_run(driver.options.path, driver.hash).get_terminal_logs()
    return [(step, line.data) for step, (line, *_) in logs.data.items()]


def printed(*texts: str, first: int, writer: str = "w") -> Batch:
    events = [ConsoleLine(NOW, text) for text in texts]
    return Batch(writer, Lane.STREAM, events, range(first, first + len(events)))


async def test_lines_are_numbered_without_gaps(drive: Callable[..., Driver]) -> None:
    """Aim's Logs tab reads ranges of numbers; an event of several lines is several lines there."""
    driver = drive()
    await driver.open()
    await driver.backend.export(printed("one\ntwo", "", "größe", first=10))
    await driver.backend.export(printed("five", first=50))
    assert lines(driver) == [(0, "one"), (1, "two"), (2, ""), (3, "größe"), (4, "five")]


async def test_lines_that_come_again_are_not_added(drive: Callable[..., Driver]) -> None:
    """In another session too, and however the batches are cut then; writers have numbers of their own."""
    driver = drive()
    await driver.open()
    await driver.backend.export(printed("one", "two", first=0))
    await driver.backend.export(printed("other", first=0, writer="v"))
    await driver.backend.close()
    again = drive(id=driver.info.id)
    await again.open()
    await again.backend.export(printed("one", "two", "three", first=0))
    await again.backend.export(printed("other", "another", first=0, writer="v"))
    assert [text for _, text in lines(driver)] == ["one", "two", "other", "three", "another"]


async def test_lines_on_their_way_at_a_crash_are_written_once(drive: Callable[..., Driver]) -> None:
    """A crash between the lines and the note of how far they are leaves lines that the next delivery replaces."""
    driver = drive()
    await driver.open()
    await driver.backend.export(printed("one", first=0))
    session = driver.backend._session
    assert session is not None
    kept = session.run.meta_run_tree["tracelet_console"]
    await driver.backend.export(printed("two", "three", first=1))
    session.run.meta_run_tree["tracelet_console"] = kept
    await driver.backend.close()
    again = drive(id=driver.info.id)
    await again.open()
    await again.backend.export(printed("two", first=1))
    await again.backend.export(printed("three", first=2))
    assert lines(driver) == [(0, "one"), (1, "two"), (2, "three")]
