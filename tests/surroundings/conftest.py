"""A run that is kept in its journal only, and what it has said."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

import tracelet
from tracelet.codec import decode
from tracelet.events import Event, Lane
from tracelet.journal import LogReader, RunDirectory

Said = Callable[..., list[Any]]


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """A test begins: what its fixtures do to the streams is done now, because pytest has just put its own in place."""
    for step in getattr(item, "funcargs", {}).get("when_the_test_begins", ()):
        step()
    yield


@pytest.fixture
def when_the_test_begins() -> list[Callable[[], None]]:
    """Called in order, right before the test itself."""
    return []


@pytest.fixture
def run(tmp_path: Path) -> Iterator[tracelet.Run]:
    started = tracelet.start_logging(exp_name="surrounded", directory=tmp_path / "store")
    try:
        yield started
    finally:
        started.finish()


@pytest.fixture
def said(run: tracelet.Run) -> Said:
    """The events of the run's journal, the stream's before the bulk's; all, or those of some kinds."""

    def events(*kinds: type[Event]) -> list[Any]:
        directory = RunDirectory(run.directory)
        found: list[Event] = []
        for writer in directory.writers():
            for lane in Lane:
                with LogReader(directory.log(writer, lane)) as reader:
                    frames = reader.read(10**6, 10**9, final=False)
                    found += map(decode, frames.words, frames.payloads)
        return [event for event in found if not kinds or isinstance(event, kinds)]

    return events
