"""Asynchronous trainings: actors and a learner as tasks, which end well, raise or are cancelled; nothing is lost."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import msgspec
import pytest
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

import tracelet
from tracelet import AsyncRun, Outcome
from tracelet.errors import RunClosed
from tracelet.events import MetricsLogged
from tracelet.testing import RecordingBackend

pytestmark = pytest.mark.anyio

PATIENCE = 60.0
ACTORS = 4

Point = tuple[str, float, int]


class Tracker:
    """A backend, and what it has in the end."""

    def __init__(self, kind: str, tmp_path: Path) -> None:
        self._file = tmp_path / "events.jsonl"
        self._recording = RecordingBackend()
        self.backend: Any = self._recording if kind == "object" else {"jsonl": {"path": str(self._file)}}
        self.host: Any = "process" if kind == "process" else None

    def points(self) -> Counter[Point]:
        events = [event for event in self._recording.events if isinstance(event, MetricsLogged)]
        found = [(event.values, event.step) for event in events]
        found += [(line["values"], line["step"]) for line in self._lines() if line["kind"] == "MetricsLogged"]
        return Counter((name, value, step) for values, step in found for name, value in values.items())

    def outcomes(self) -> list[str]:
        closed = [line["outcome"] for line in self._lines() if line["kind"] == "closed"]
        return [outcome.value for outcome in self._recording.outcomes] + closed

    def _lines(self) -> Iterator[dict[str, Any]]:
        if self._file.exists():
            yield from map(msgspec.json.decode, self._file.read_bytes().splitlines())


@pytest.fixture(params=["object", "file", "process"])
def tracker(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    """A backend object, and a backend that writes a file, in the loop and in a process of its own."""
    monkeypatch.setenv("TRACELET_DIR", str(tmp_path / "store"))
    return Tracker(request.param, tmp_path)


class Training:
    """Actors that play, each with a worker thread beside it, and a learner. All note what they have said."""

    def __init__(self, run: AsyncRun, *, games: int = 10**9, bad_game: int = -1) -> None:
        self.said: list[Point] = []
        self._run = run
        self._games = games
        self._bad_game = bad_game
        self._numbers = itertools.count()

    def say(self, name: str, step: int) -> None:
        value = float(next(self._numbers))
        self._run.log_metric(name, value, step)
        self.said.append((name, value, step))

    async def train(self) -> None:
        send, receive = anyio.create_memory_object_stream[int](100)
        async with anyio.create_task_group() as tasks, send, receive:
            tasks.start_soon(self._learn, receive.clone())
            for number in range(ACTORS):
                tasks.start_soon(self._act, number, send.clone())
            await send.aclose()

    async def _act(self, number: int, results: MemoryObjectSendStream[int]) -> None:
        async with results:
            for game in range(self._games):
                self.say(f"actor/{number}", game)
                await anyio.to_thread.run_sync(self._simulate, number, game)
                await results.send(game)
                if number == 1 and game == self._bad_game:
                    raise ZeroDivisionError("the simulator fell over")

    def _simulate(self, number: int, game: int) -> None:
        for move in range(5):
            self.say(f"thread/{number}", 5 * game + move)

    async def _learn(self, results: MemoryObjectReceiveStream[int]) -> None:
        async with results:
            async for step in results:
                self.say("learner", step)


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await anyio.sleep(0.001)


async def test_it_ends_by_itself(tracker: Tracker) -> None:
    """Everything that tasks and their threads said is there once, and the run is completed."""
    with anyio.fail_after(PATIENCE):
        async with tracelet.open_run(tracker.backend, host=tracker.host) as run:
            training = Training(run, games=50)
            await training.train()
    assert len(training.said) == ACTORS * 50 * 7
    assert tracker.points() == Counter(training.said)
    assert tracker.outcomes() == ["completed"]


async def test_cancelled_inside(tracker: Tracker) -> None:
    """A training that is cancelled within the block has all that it said, and the run is completed."""
    with anyio.fail_after(PATIENCE):
        async with tracelet.open_run(tracker.backend, host=tracker.host) as run:
            training = Training(run)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(training.train)
                await until(lambda: len(training.said) > 1_000)
                tasks.cancel_scope.cancel()
    assert len(training.said) > 1_000
    assert tracker.points() == Counter(training.said)
    assert tracker.outcomes() == ["completed"]


async def test_cancelled_outside(tracker: Tracker) -> None:
    """A block that is cancelled as a whole has all that was said in it, and the run is failed."""
    trainings: list[Training] = []

    async def whole() -> None:
        async with tracelet.open_run(tracker.backend, host=tracker.host) as run:
            trainings.append(Training(run))
            await trainings[0].train()

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(whole)
            await until(lambda: trainings and len(trainings[0].said) > 1_000)
            tasks.cancel_scope.cancel()
    assert tracker.points() == Counter(trainings[0].said)
    assert tracker.outcomes() == ["failed"]


async def test_one_raises(tracker: Tracker) -> None:
    """When an actor raises, what all of them said before is there, the exception passes, and the run is failed."""
    trainings: list[Training] = []

    async def whole() -> None:
        async with tracelet.open_run(tracker.backend, host=tracker.host) as run:
            trainings.append(Training(run, bad_game=20))
            await trainings[0].train()

    with anyio.fail_after(PATIENCE), pytest.raises(ExceptionGroup) as raised:
        await whole()
    assert raised.group_contains(ZeroDivisionError, match="the simulator fell over")
    assert ("actor/1", 20) in {(name, step) for name, _, step in trainings[0].said}
    assert tracker.points() == Counter(trainings[0].said)
    assert tracker.outcomes() == ["failed"]


async def test_a_watcher_stops_it(tracker: Tracker) -> None:
    """A watcher around the run ends the training on a metric, and sees all that was said, to the end of the run."""
    seen: list[Point] = []

    async def watch(run: AsyncRun, training: anyio.CancelScope) -> None:
        async for event in run.subscribe(MetricsLogged):
            seen.extend((name, value, event.step) for name, value in event.values.items())
            if event.values.get("learner", 0) >= 500:
                training.cancel()

    with anyio.fail_after(PATIENCE):
        async with (
            anyio.create_task_group() as watchers,
            tracelet.open_run(tracker.backend, host=tracker.host) as run,
        ):
            training = Training(run)
            async with anyio.create_task_group() as tasks:
                watchers.start_soon(watch, run, tasks.cancel_scope)
                tasks.start_soon(training.train)
    assert Counter(seen) == tracker.points() == Counter(training.said)
    assert tracker.outcomes() == ["completed"]


async def test_a_watcher_that_raises(tmp_path: Path) -> None:
    """When a watcher around the run raises, the run's block is cancelled: it is failed, and what was said is there."""
    backend = RecordingBackend()
    said: list[int] = []

    async def watch(run: AsyncRun) -> None:
        async for event in run.subscribe(MetricsLogged):
            if event.step >= 50:
                raise ZeroDivisionError

    async def whole() -> None:
        async with (
            anyio.create_task_group() as watchers,
            tracelet.open_run(backend, directory=tmp_path) as run,
        ):
            watchers.start_soon(watch, run)
            for step in itertools.count():
                run.log_metric("m", 0.5, step)
                said.append(step)
                await anyio.sleep(0.001)

    with anyio.fail_after(PATIENCE), pytest.raises(ExceptionGroup):
        await whole()
    assert [event.step for event in backend.events if isinstance(event, MetricsLogged)] == said
    assert backend.outcomes == [Outcome.FAILED]


async def test_the_active_run_of_a_worker_thread(tmp_path: Path) -> None:
    """In a worker thread, the active run is that of the block, as it is in the block's tasks."""
    runs: list[object] = []
    async with tracelet.open_run(directory=tmp_path) as run:
        await anyio.to_thread.run_sync(lambda: runs.append(tracelet.active_run()))
    assert runs == [run]


def test_threads_that_go_on(tmp_path: Path) -> None:
    """Of a thread that goes on while its task is cancelled and the run ends, each call is recorded or refused."""
    backend = RecordingBackend()
    said: list[int] = []
    refused = threading.Event()

    def work(run: AsyncRun) -> None:
        for step in itertools.count():
            try:
                run.log_metric("m", 0.5, step)
            except RunClosed:
                refused.set()
                return
            said.append(step)
            time.sleep(0)

    async def main() -> None:
        async with tracelet.open_run(backend, directory=tmp_path) as run:
            task = asyncio.create_task(asyncio.to_thread(work, run))
            while len(said) < 500:
                await asyncio.sleep(0.001)
            task.cancel()

    asyncio.run(asyncio.wait_for(main(), PATIENCE))
    assert refused.wait(PATIENCE)
    assert [event.step for event in backend.events if isinstance(event, MetricsLogged)] == said


def test_plain_asyncio(tmp_path: Path) -> None:
    """With asyncio's own task groups it is the same: what was said is there, and the run fails with an exception."""
    backend = RecordingBackend()
    said: list[Point] = []

    async def act(run: AsyncRun, number: int) -> None:
        for step in itertools.count():
            run.log_metric(f"actor/{number}", 0.5, step)
            said.append((f"actor/{number}", 0.5, step))
            await asyncio.to_thread(run.log_metric, f"thread/{number}", 1.5, step)
            said.append((f"thread/{number}", 1.5, step))
            if number == 2 and step == 100:
                raise ZeroDivisionError

    async def main() -> None:
        async with tracelet.open_run(backend, directory=tmp_path) as run, asyncio.TaskGroup() as tasks:
            for number in range(ACTORS):
                tasks.create_task(act(run, number))

    with pytest.raises(ExceptionGroup) as raised:
        asyncio.run(asyncio.wait_for(main(), PATIENCE))
    assert raised.group_contains(ZeroDivisionError)
    found = Counter(
        (name, value, event.step)
        for event in backend.events
        if isinstance(event, MetricsLogged)
        for name, value in event.values.items()
    )
    # A thread whose task was cancelled has said a value that the task could not note any more.
    assert not Counter(said) - found
    assert all(count == 1 for count in found.values())
    assert {name.split("/")[0] for name, _, _ in found - Counter(said)} <= {"thread"}
    assert backend.outcomes == [Outcome.FAILED]
