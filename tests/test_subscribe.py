"""run.subscribe: the program's own code reads what its run says."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import numpy as np
import pytest

import tracelet
from tracelet import AsyncRun, Delivery, Run
from tracelet.errors import InvalidSetting
from tracelet.events import (
    LANES,
    ArtifactLogged,
    Event,
    FileLogged,
    ImageLogged,
    Lane,
    MediaLogged,
    MetricsLogged,
    ParamsLogged,
    RunFinished,
    RunStarted,
    TableLogged,
    TextLogged,
)
from tracelet.journal import LogReader, RunDirectory, segment
from tracelet.journal.reclaim import reclaim
from tracelet.testing import RecordingBackend

pytestmark = pytest.mark.anyio

PATIENCE = 30.0


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRACELET_DIR", str(tmp_path / "store"))
    return tmp_path / "store"


async def collect(run: Run | AsyncRun, into: list[Event], *kinds: type[Event], **options: Any) -> None:
    async for event in run.subscribe(*kinds, **options):
        into.append(event)


async def until(condition: Callable[[], object]) -> None:
    with anyio.fail_after(PATIENCE):
        while not condition():
            await anyio.sleep(0.005)


def lane(events: list[Event], which: Lane) -> list[Event]:
    return [event for event in events if LANES[type(event)] is which]


def steps(events: list[Event]) -> list[int]:
    return [event.step for event in events if isinstance(event, MetricsLogged)]


def say_everything(run: Run | AsyncRun, folder: Path, *, metrics: int) -> None:
    (folder / "notes.txt").write_text("kept")
    run.log_params({"lr": 0.1})
    for step in range(metrics):
        run.log_metric("loss", step / 7, step)
        if step % 1_000 == 0:
            run.log_image("shown", np.zeros((2, 2)), step)
            run.log_artifact(folder / "notes.txt", f"notes-{step}")
    run.log_text("last", "words")


async def test_it_gets_what_a_backend_gets(tmp_path: Path) -> None:
    """Many thousands of events of both lanes arrive as a backend gets them: the same ones, in the order of the lane."""
    backend = RecordingBackend(delivery=Delivery(batch_size=100, linger=0.01))
    events: list[Event] = []
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks, tracelet.open_run(backend) as run:
            tasks.start_soon(collect, run, events)
            say_everything(run, tmp_path, metrics=20_000)
    assert len(events) == 20_000 + 42
    for which in Lane:
        assert lane(events, which) == lane(backend.events, which)


async def test_segments_are_followed() -> None:
    """A journal of several segments is read on while it is written, and again from its beginning."""
    live: list[Event] = []
    async with anyio.create_task_group() as tasks, tracelet.open_run() as run:
        tasks.start_soon(collect, run, live)
        for number in range(600):
            run.log_text("long", "x" * 10_000, number)
            await anyio.sleep(0)
    assert len(segment.segment_numbers(RunDirectory(run.directory).log("0000", Lane.STREAM))) > 2
    again: list[Event] = []
    await collect(run, again)
    assert [event.step for event in live if isinstance(event, TextLogged)] == list(range(600))
    assert again == live


async def test_late_and_several() -> None:
    """Each subscriber has its own position: one that comes late gets everything, unless it wants only what is new."""
    first: list[Event] = []
    late: list[Event] = []
    new: list[Event] = []
    async with anyio.create_task_group() as tasks, tracelet.open_run() as run:
        tasks.start_soon(collect, run, first)
        for step in range(5_000):
            run.log_metric("m", 0.5, step)
        await until(lambda: len(first) == 5_000)
        tasks.start_soon(collect, run, late)
        feed = run.subscribe(from_start=False)
        for step in range(5_000, 6_000):
            run.log_metric("m", 0.5, step)
        new = [event async for event in _first(feed, 1_000)]
    assert steps(first) == steps(late) == list(range(6_000))
    assert steps(new) == list(range(5_000, 6_000))


async def _first(feed: Any, count: int) -> Any:
    for _ in range(count):
        yield await anext(feed)


async def test_only_what_is_wanted(tmp_path: Path) -> None:
    """Types select events, and a base class selects those derived from it."""
    metrics: list[Event] = []
    media: list[Event] = []
    files: list[Event] = []
    async with tracelet.open_run() as run:
        say_everything(run, tmp_path, metrics=2_000)
        run.log_table("cells", [{"a": 1}], 0)
    await collect(run, metrics, MetricsLogged, ParamsLogged)
    await collect(run, media, MediaLogged)
    await collect(run, files, ArtifactLogged)
    assert [type(event) for event in metrics] == [ParamsLogged] + [MetricsLogged] * 2_000
    assert [type(event) for event in media] == [ImageLogged, ImageLogged, TableLogged]
    assert [Path(event.path).read_text() for event in files if isinstance(event, FileLogged)] == ["kept", "kept"]


async def test_a_run_that_is_over_before() -> None:
    """The feed of a finished run has everything, and ends; so does one of which only what is new is wanted."""
    async with tracelet.open_run() as run:
        run.log_metric("m", 0.5, 1)
    events: list[Event] = []
    with anyio.fail_after(PATIENCE):
        await collect(run, events)
        await collect(run, events, from_start=False)
    assert steps(events) == [1]


async def test_the_end_of_a_run_that_fails() -> None:
    """What was said before an exception in the block arrives, and the feed ends."""
    events: list[Event] = []

    async def fail(tasks: anyio.abc.TaskGroup) -> None:
        async with tracelet.open_run() as run:
            tasks.start_soon(collect, run, events)
            run.log_metric("m", 0.5, 1)
            raise ZeroDivisionError

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            with pytest.raises(ZeroDivisionError):
                await fail(tasks)
    assert steps(events) == [1]


async def test_cancelling_one() -> None:
    """A subscriber that is cancelled in the middle has seen no gap and nothing twice; others don't notice."""
    cancelled: list[Event] = []
    other: list[Event] = []
    async with anyio.create_task_group() as tasks, tracelet.open_run() as run:
        tasks.start_soon(collect, run, other)
        async with anyio.create_task_group() as inner:
            inner.start_soon(collect, run, cancelled)
            for step in range(3_000):
                run.log_metric("m", 0.5, step)
                await anyio.sleep(0)
            inner.cancel_scope.cancel()
        for step in range(3_000, 3_100):
            run.log_metric("m", 0.5, step)
    assert 0 < len(cancelled) <= 3_000
    assert steps(cancelled) == list(range(len(cancelled)))
    assert steps(other) == list(range(3_100))


async def test_end_gives_what_was_said() -> None:
    """A watcher within the run's block ends with the block of its feed, after everything that was said in that."""
    seen: list[Event] = []

    async def watch(feed: Any) -> None:
        async for event in feed:
            seen.append(event)

    with anyio.fail_after(PATIENCE):
        async with tracelet.open_run() as run:
            async with anyio.create_task_group() as tasks, run.subscribe(MetricsLogged) as feed:
                tasks.start_soon(watch, feed)
                for step in range(2_000):
                    run.log_metric("m", 0.5, step)
            assert steps(seen) == list(range(2_000))
            run.log_metric("m", 0.5, 2_000)
            assert [event async for event in feed] == []
            assert run.active


async def test_closing_ends_at_once() -> None:
    """`aclose` ends a feed without what it has not given yet."""
    async with tracelet.open_run() as run:
        feed = run.subscribe(MetricsLogged)
        for step in range(10):
            run.log_metric("m", 0.5, step)
        assert (await anext(feed)).step == 0
        await feed.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(feed)


def files_being_read() -> list[str]:
    """The segments that this process has open for reading only."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # others open and close files, too
            flags = Path(f"/proc/self/fdinfo/{number}").read_text().split("flags:")[1].split()[0]
            target = os.readlink(f"/proc/self/fd/{number}")
            if target.endswith(".seg") and int(flags, 8) & os.O_ACCMODE == os.O_RDONLY:
                found.append(target)
    return found


@pytest.mark.skipif(not Path("/proc/self/fdinfo").exists(), reason="there is no list of open files here")
async def test_break_leaves_nothing_open() -> None:
    """A loop that is left by `break`, a feed that is closed and one that has ended keep no file open."""
    async with tracelet.open_run() as run:
        run.log_metric("m", 0.5, 1)
        async for event in run.subscribe(MetricsLogged):
            assert event.step == 1
            assert len(files_being_read()) == 1
            break
        gc.collect()
        assert files_being_read() == []
        closed = run.subscribe(MetricsLogged)
        await anext(closed)
        await closed.aclose()
        assert files_being_read() == []
        ended = run.subscribe(MetricsLogged)
        ended.end()
        assert len([event async for event in ended]) == 1
        assert files_being_read() == []


async def test_a_slow_subscriber_holds_up_nobody() -> None:
    """While a subscriber does not come back for more, the run delivers, finishes, and another subscriber is done."""
    backend = RecordingBackend()
    quick: list[Event] = []
    stuck = anyio.Event()

    async def slow(run: AsyncRun) -> None:
        async for _ in run.subscribe():
            stuck.set()
            await anyio.sleep_forever()

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            async with tracelet.open_run(backend) as run:
                tasks.start_soon(slow, run)
                run.log_metric("m", 0.5, 0)
                await stuck.wait()
                for step in range(1, 5_000):
                    run.log_metric("m", 0.5, step)
                assert await run.flush()
            await collect(run, quick)
            tasks.cancel_scope.cancel()
    assert steps(backend.events) == steps(quick) == list(range(5_000))


async def test_memory_is_bounded() -> None:
    """A subscriber that is 50,000 events behind costs less than a megabyte."""
    async with tracelet.open_run() as run:
        feed = run.subscribe()
        for step in range(50_000):
            run.log_metric("m", 0.5, step)
        await anext(feed)
        await feed.aclose()
        feed = run.subscribe()
        tracemalloc.start()
        await anext(feed)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 1_000_000


async def test_waiting_is_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """A subscriber of a silent run looks for more once in `linger`, not all the time."""
    looks: list[float] = []
    read = LogReader.read

    def counted(self: LogReader, events: int, size: int, *, final: bool) -> Any:
        looks.append(time.monotonic())
        return read(self, events, size, final=final)

    async with tracelet.open_run() as run:
        monkeypatch.setattr(LogReader, "read", counted)
        with anyio.move_on_after(1.0):
            async for _ in run.subscribe(MetricsLogged, linger=0.2):
                pass
    assert 0 < len(looks) <= 6


async def test_other_tasks_have_their_turn() -> None:
    """A subscriber with a long way to go lets other tasks run in between."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.sleep(0)

    async with tracelet.open_run() as run:
        for step in range(20_000):
            run.log_metric("m", 0.5, step)
        feed = run.subscribe()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(count)
            for _ in range(20_000):
                await anext(feed)
            tasks.cancel_scope.cancel()
    assert turns > 50


async def test_other_writers_are_read(store: Path) -> None:
    """A run that goes on has what its earlier processes said, but for those who want only what is new."""
    async with tracelet.open_run(run_id="again") as run:
        run.log_metric("m", 0.5, 1)
    everything: list[Event] = []
    new: list[Event] = []
    async with anyio.create_task_group() as tasks, tracelet.open_run(run_id="again", resume="must") as run:
        tasks.start_soon(collect, run, everything)
        feed = run.subscribe(from_start=False)
        run.log_metric("m", 0.5, 2)
        async with tracelet.open_run(run_id="again", resume="must") as beside:
            beside.log_metric("m", 0.5, 3)
        new = [event async for event in _first(feed, 2)]
    assert sorted(steps(everything)) == [1, 2, 3]
    assert sorted(steps(new)) == [2, 3]


async def test_it_ends_with_this_process() -> None:
    """A writer that goes on and on, for instance another rank, does not keep the feed of a finished run from ending."""
    events: list[Event] = []
    over = threading.Event()

    def go_on(run: AsyncRun) -> None:
        while not over.wait(0.001):
            run.log_metric("m", 0.5, 1)

    with anyio.fail_after(PATIENCE):
        async with tracelet.open_run(run_id="both") as first:
            async with tracelet.open_run(run_id="both", resume="must") as second:
                second.log_metric("m", 0.5, 2)
            thread = threading.Thread(target=go_on, args=(first,))
            thread.start()
            try:
                await collect(second, events)
            finally:
                over.set()
                thread.join()
    assert steps(events).count(2) == 1


async def test_what_it_misses_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    """Of events that were removed before a feed came to them it says how many: at once, and in the end, exactly."""
    backend = RecordingBackend(handles=frozenset())
    async with tracelet.open_run(backend) as run:
        feed = run.subscribe(TextLogged)
        seen = 0
        for count in (30, 60, 120):  # each segment is twice as large as the one before
            for step in range(count):
                run.log_text("long", "x" * 50_000, step)
            assert await run.flush(PATIENCE)
            assert reclaim(RunDirectory(run.directory), 1 << 40)
            seen += len([event async for event in _first(feed, 8)])
        feed.end()
        seen += len([event async for event in feed])
        recorded = run.status().emitted
    said = [line for line in capfd.readouterr().err.splitlines() if "has missed" in line]
    assert len(said) == 2
    first, last = (int(line.partition("has missed ")[2].split()[0]) for line in said)
    assert 0 < first < last == recorded - seen


SCRIPT = """
import os, signal, sys, tracelet
run = tracelet.start_logging(directory=sys.argv[1], run_id="cut")
for step in range(10): run.log_metric("m", 0.5, step)
"""


def script(store: Path, body: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SCRIPT + body, str(store)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


async def test_what_a_killed_process_left(store: Path) -> None:
    """Of an earlier process that was killed, what is whole in its journal is read, also behind what is damaged."""
    script(store, "os.kill(os.getpid(), signal.SIGKILL)")
    log = RunDirectory(store / "runs" / "cut").log("0000", Lane.STREAM)
    data = bytearray(segment.segment_path(log, 0).read_bytes())
    data[data.index(b"m", data.index(b"m") + 200)] = 0  # in one of the frames
    segment.segment_path(log, 0).write_bytes(data)
    events: list[Event] = []
    async with anyio.create_task_group() as tasks, tracelet.open_run(run_id="cut", resume="must") as run:
        tasks.start_soon(collect, run, events)
        run.log_metric("m", 0.5, 10)
    (damaged,) = set(range(11)) - set(steps(events))
    assert 0 < damaged < 9
    assert len(events) == 10 + 1  # and the text that says that the run goes on


def test_in_a_forked_child(store: Path) -> None:
    """In a forked child, whose run is inert, a feed has nothing, and one from before ends."""
    done = script(
        store,
        """
import anyio, warnings
warnings.simplefilter("ignore")
async def count(feed): return len([event async for event in feed])
before = run.subscribe()
pid = os.fork()
if pid == 0:
    assert anyio.run(count, run.subscribe()) == 0
    assert anyio.run(count, before) == 10
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
""",
    )
    assert done.returncode == 0, done.stderr


async def test_children_are_runs_of_their_own() -> None:
    """A child's feed has what the child says, and the parent's has not."""
    parents: list[Event] = []
    childs: list[Event] = []
    async with anyio.create_task_group() as tasks, tracelet.open_run() as run:
        tasks.start_soon(collect, run, parents)
        async with run.child("fold") as fold:
            tasks.start_soon(collect, fold, childs)
            fold.log_metric("m", 0.5, 1)
            run.log_metric("m", 0.5, 2)
    assert (steps(parents), steps(childs)) == ([2], [1])


async def test_an_inert_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The feed of an inert run has nothing, and ends at once, though the run goes on."""
    monkeypatch.setenv("TRACELET_MODE", "disabled")
    async with tracelet.open_run() as run:
        run.log_metric("m", 0.5, 1)
        events: list[Event] = []
        with anyio.fail_after(PATIENCE):
            await collect(run, events)
            await collect(run, events, from_start=False)
        assert events == []


async def test_a_directory_that_is_deleted(store: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """When the run's directory is deleted under way, the feed ends with the run."""
    events: list[Event] = []
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks, tracelet.open_run() as run:
            tasks.start_soon(collect, run, events)
            run.log_metric("m", 0.5, 1)
            await until(lambda: events)
            shutil.rmtree(store)
            run.log_metric("m", 0.5, 2)
    assert steps(events)[0] == 1


def test_beside_a_synchronous_run() -> None:
    """An event loop in another thread reads a run of synchronous code, to its end."""
    run = tracelet.start_logging()
    events: list[Event] = []
    thread = threading.Thread(target=anyio.run, args=(collect, run, events), daemon=True)
    thread.start()
    for step in range(3_000):
        run.log_metric("m", 0.5, step)
    run.finish()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert steps(events) == list(range(3_000))


def test_in_a_task_group_of_asyncio() -> None:
    """Plain asyncio tasks watch a run, and can be cancelled, without anyio."""

    async def main() -> list[Event]:
        seen: list[Event] = []
        async with asyncio.TaskGroup() as tasks, tracelet.open_run() as run:
            tasks.create_task(collect(run, seen))
            stopped = tasks.create_task(collect(run, []))
            run.log_metric("m", 0.5, 1)
            await asyncio.sleep(0.01)
            stopped.cancel()
        return seen

    assert steps(asyncio.run(main())) == [1]


@pytest.mark.parametrize("kinds", [(int,), (MetricsLogged, "text"), (RunStarted,), (MetricsLogged, RunFinished)])
async def test_what_is_no_kind_is_refused(kinds: tuple[Any, ...]) -> None:
    """Other things than types of events, and the run's beginning and end, are refused by name."""
    async with tracelet.open_run() as run:
        with pytest.raises(TypeError, match=r"types of tracelet\.events|can't be subscribed to"):
            run.subscribe(*kinds)


async def test_a_linger_of_nothing_is_refused() -> None:
    """A subscriber can't ask to look for events all the time."""
    async with tracelet.open_run() as run:
        with pytest.raises(InvalidSetting, match="linger"):
            run.subscribe(linger=0)
