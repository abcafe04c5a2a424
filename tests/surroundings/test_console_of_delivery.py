"""The console of a process that delivers as well: what backends write is no line of the run."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import msgspec
import pytest

import tracelet
from tracelet import Batch, Delivery, Idempotency, Opened, Outcome, RunInfo, State
from tracelet._blocking import delivering
from tracelet.codec import decode
from tracelet.events import ConsoleLine, Event, Lane, MetricsLogged
from tracelet.journal import LogReader, RunDirectory

TALKING = f"{__name__}:Talking"

log = logging.getLogger("surroundings.talking")


class Options(msgspec.Struct):
    """None."""


class Talking:
    """Says what it does in each way that a backend has."""

    delivery = Delivery(linger=0.02)
    handles: frozenset[type[Event]] = frozenset({MetricsLogged, ConsoleLine})
    idempotency = Idempotency.APPENDS
    Options = Options

    def __init__(self, options: Any, run: RunInfo) -> None:
        self.run = run

    async def open(self, state: State | None) -> Opened:
        print("opening")
        return Opened({})

    async def export(self, batch: Batch) -> None:
        print("exporting", end="")
        log.error("exporting")
        await self.run.blocking(print, "exporting in a thread")
        await anyio.to_thread.run_sync(print, "exporting in a thread of the loop's")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.say)

    async def say(self) -> None:
        print("exporting in a task")

    async def finish(self, outcome: Outcome, time: float) -> None: ...

    async def close(self) -> None:
        print("closing")


def lines(run: tracelet.Run | tracelet.AsyncRun) -> list[str]:
    directory = RunDirectory(run.directory)
    with LogReader(directory.log("0000", Lane.STREAM)) as reader:
        frames = reader.read(10**6, 10**9, final=False)
    events: list[Any] = list(map(decode, frames.words, frames.payloads))
    return [event.text for event in events if isinstance(event, ConsoleLine) and not event.text.startswith("tracelet:")]


@pytest.fixture
def logged(when_the_test_begins: list[Callable[[], None]]) -> Iterator[None]:
    """The backend's log goes to standard error, where a run hears it."""
    handlers: list[logging.Handler] = []

    def begin() -> None:
        handlers.append(logging.StreamHandler(sys.stderr))
        log.addHandler(handlers[0])

    when_the_test_begins.append(begin)
    yield
    for handler in handlers:
        log.removeHandler(handler)


@pytest.mark.anyio
async def test_in_the_event_loop(tmp_path: Path, logged: None, capsys: pytest.CaptureFixture[str]) -> None:
    """A backend that prints in the training's loop or in its thread feeds no run; the training's lines are there."""
    async with tracelet.open_run(TALKING, directory=tmp_path, host="loop", capture=["console"]) as run:
        print("half a ", end="")
        run.log_metric("loss", 0.5)
        assert await run.flush()
        print("line")
        log.error("the training's own")
        assert await run.flush()
        assert not delivering.get(), "the training's tasks are not delivery's"
    assert lines(run) == ["half a line", "the training's own"]
    assert "exporting in a thread\n" in capsys.readouterr().out


def test_in_a_thread(tmp_path: Path, logged: None, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor does one whose bus is in a thread of the training."""
    run = tracelet.start_logging(TALKING, directory=tmp_path, host="thread", capture=["console"])
    run.log_metric("loss", 0.5)
    print("line")
    assert run.flush()
    run.finish()
    assert lines(run) == ["line"]
    assert "exporting in a task\n" in capsys.readouterr().out
