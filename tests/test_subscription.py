"""What the core does with what a backend says: batches, retries, poison, accounts, isolation."""

from __future__ import annotations

import errno
import math
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

import tracelet
from tracelet import AsyncRun, BackendStatus, Batch, Delivery, Outcome, State
from tracelet._sources import Source
from tracelet.errors import Denied, Rejected, Transient, Undelivered
from tracelet.events import MetricsLogged, TextLogged
from tracelet.journal import Cursor
from tracelet.testing import RecordingBackend

pytestmark = pytest.mark.anyio

Raising = Callable[[], BaseException]


def open_run(directory: Path, *backends: RecordingBackend) -> Any:
    return tracelet.open_run(backend=backends, exp_name="test", directory=directory)


def account(run: AsyncRun, name: str = "RecordingBackend") -> BackendStatus:
    status = run.status().backends[name]
    whole = status.delivered + sum(status.dropped.values()) + status.dead_lettered + status.pending
    assert status.emitted == whole, status
    return status


def steps(backend: RecordingBackend) -> list[int]:
    return [event.step for event in backend.events if isinstance(event, MetricsLogged)]


def dead_letters(run: AsyncRun, name: str = "RecordingBackend") -> list[dict[str, Any]]:
    path = run.directory / "dead" / f"{name}.jsonl"
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]


async def test_everything_arrives_in_order(tmp_path: Path) -> None:
    """A backend gets every event once, in order, in batches no larger than it wants, and is closed."""
    backend = RecordingBackend(delivery=Delivery(batch_size=7, linger=0.01))
    before = time.time()
    async with open_run(tmp_path, backend) as run:
        for step in range(100):
            run.log_metric("m", step / 2, step)
        assert await run.flush()
        assert steps(backend) == list(range(100))
    assert all(len(batch) <= 7 for batch in backend.batches)
    assert [sequence for batch in backend.batches for sequence in batch.sequences] == list(range(1, 101))
    assert backend.outcomes == [Outcome.COMPLETED]
    assert before <= backend.endings[0][1] <= time.time()
    assert backend.closed == 1
    status = account(run)
    assert (status.delivered, status.pending, status.state) == (102, 0, "closed")
    assert status.url == "memory://recording"
    assert status.outcome == "completed"


async def test_a_batch_is_bounded_in_bytes(tmp_path: Path) -> None:
    """No batch is larger than batch_bytes, but for a single event that is."""
    backend = RecordingBackend(delivery=Delivery(batch_bytes=2_000, linger=0.01))
    async with open_run(tmp_path, backend) as run:
        for size in (500, 500, 5_000, 500, 1_500, 900):
            run.log_text("t", "x" * size)
    sizes = [
        sum(len(event.text) for event in batch.events if isinstance(event, TextLogged)) for batch in backend.batches
    ]
    assert sizes == [1_000, 5_000, 500, 1_500, 900] or sizes == [1_000, 5_000, 500, 2_400, 900]
    assert sum(sizes) == 8_900


@pytest.mark.parametrize(
    "error",
    [
        lambda: Transient("busy"),
        lambda: ConnectionRefusedError("refused"),
        lambda: TimeoutError("late"),
        lambda: OSError(errno.EHOSTUNREACH, "No route to host"),
    ],
    ids=["Transient", "ConnectionError", "TimeoutError", "unreachable"],
)
async def test_what_may_pass_is_tried_again(tmp_path: Path, error: Raising, fast_retries: None) -> None:
    """A transient fault is retried until it is over, counted, and nothing is lost or out of order."""
    failures = 3

    async def export(batch: Batch) -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise error()

    backend = RecordingBackend(on_export=export)
    async with open_run(tmp_path, backend) as run:
        for step in range(50):
            run.log_metric("m", 1.0, step)
        assert await run.flush()
        status = account(run)
    assert steps(backend) == list(range(50))
    assert status.retries == 3
    assert status.last_error is not None
    assert account(run).dead_lettered == 0


@pytest.fixture
def fast_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tracelet._retry.FIRST_WAIT", 0.001)
    monkeypatch.setattr("tracelet._retry.LONGEST_WAIT", 0.01)


async def test_the_servers_own_wait_is_obeyed(tmp_path: Path, fast_retries: None) -> None:
    """A Retry-After is waited for, also when a flush is impatient."""
    attempts: list[float] = []

    async def export(batch: Batch) -> None:
        attempts.append(time.monotonic())
        if len(attempts) == 1:
            raise Transient("slow down", retry_after=0.5)

    backend = RecordingBackend(on_export=export)
    async with open_run(tmp_path, backend) as run:
        run.log_metric("m", 1.0, 0)
        with anyio.fail_after(10):
            while account(run).state != "retrying":
                await anyio.sleep(0.001)
        assert await run.flush()
    assert attempts[1] - attempts[0] >= 0.5


async def test_a_flush_cuts_a_wait_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A subscription that waits for its next attempt makes it when somebody flushes."""
    monkeypatch.setattr("tracelet._retry._wait", lambda _: 3_600.0)
    failed = anyio.Event()

    async def export(batch: Batch) -> None:
        if not failed.is_set():
            failed.set()
            raise Transient("down")

    backend = RecordingBackend(on_export=export)
    async with open_run(tmp_path, backend) as run:
        run.log_metric("m", 1.0, 0)
        with anyio.fail_after(10):
            await failed.wait()
        while account(run).state != "retrying":
            await anyio.sleep(0.001)
        assert await run.flush()


async def test_denied_pauses_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Refused credentials pause the backend: a flush is False at once, the end doesn't wait, and it is said."""

    async def export(batch: Batch) -> None:
        raise Denied("401: who are you?")

    async with open_run(tmp_path, RecordingBackend(on_export=export)) as run:
        run.log_metric("m", 1.0, 0)
        with anyio.fail_after(10):
            while account(run).state != "paused":
                await anyio.sleep(0.001)
        started = time.monotonic()
        assert not await run.flush(timeout=60)
    assert time.monotonic() - started < 30
    status = account(run)
    assert (status.state, status.pending, status.last_error) == ("paused", 3, "Denied: 401: who are you?")
    said = capsys.readouterr().err
    assert "3 events pending" in said
    assert "paused: Denied: 401: who are you?" in said
    assert f"tracelet sync {run.directory}" in said


def poisonous(*bad: int) -> Callable[[Batch], Awaitable[None]]:
    async def export(batch: Batch) -> None:
        if any(isinstance(event, MetricsLogged) and event.step in bad for event in batch.events):
            raise Rejected("this one is poison")

    return export


async def test_poison_is_isolated(tmp_path: Path) -> None:
    """Of a thousand events with three bad ones, exactly the three are dead-lettered, with the reason."""
    backend = RecordingBackend(on_export=poisonous(0, 500, 999))
    async with open_run(tmp_path, backend) as run:
        for step in range(1_000):
            run.log_metric("m", 1.0, step)
    assert steps(backend) == [step for step in range(1_000) if step not in (0, 500, 999)]
    status = account(run)
    assert (status.dead_lettered, status.pending, status.delivered) == (3, 0, 999)
    letters = dead_letters(run)
    assert [letter["event"]["step"] for letter in letters] == [0, 500, 999]
    assert {letter["reason"] for letter in letters} == {"Rejected: this one is poison"}
    assert [letter["sequence"] for letter in letters] == [1, 501, 1000]


async def test_a_letter_stands_on_a_line_of_its_own(tmp_path: Path) -> None:
    """Whatever a crash has left of the one before."""
    torn = b'{"writer":"0000","lane":"stream","sequence":1,"rea'
    backend = RecordingBackend(on_export=poisonous(1, 2))
    async with open_run(tmp_path, backend) as run:
        place = run.directory / "dead" / "RecordingBackend.jsonl"
        place.parent.mkdir()
        place.write_bytes(torn)
        run.log_metric("m", 1.0, 1)
        assert await run.flush()
        run.log_metric("m", 1.0, 2)
    lines = place.read_bytes().splitlines()
    assert lines[0] == torn
    assert [msgspec.json.decode(line)["event"]["step"] for line in lines[1:]] == [1, 2]


async def test_named_poison_is_found_at_once(tmp_path: Path) -> None:
    """Where the backend names the bad events, they are tried alone and the others go in one piece."""
    calls: list[int] = []

    async def export(batch: Batch) -> None:
        calls.append(len(batch))
        bad = [at for at, event in enumerate(batch.events) if isinstance(event, MetricsLogged) and event.step in (3, 4)]
        if bad:
            raise Rejected("poison", indexes=bad)

    backend = RecordingBackend(on_export=export)
    async with open_run(tmp_path, backend) as run:
        for step in range(100):
            run.log_metric("m", 1.0, step)
    assert account(run).dead_lettered == 2
    assert sorted(calls) == [1, 1, 98, 100]


async def test_a_bad_value_does_not_cost_its_neighbours(tmp_path: Path) -> None:
    """Of one event with many values, the bad one alone is dead-lettered; the event counts as dead-lettered once."""

    async def export(batch: Batch) -> None:
        if any(isinstance(event, MetricsLogged) and "bad" in event.values for event in batch.events):
            raise Rejected("no")

    backend = RecordingBackend(on_export=export)
    async with open_run(tmp_path, backend) as run:
        run.log_metrics({"a": 1.0, "b": 2.0, "bad": 3.0, "c": 4.0}, 1)
    values = {k: v for event in backend.events if isinstance(event, MetricsLogged) for k, v in event.values.items()}
    assert values == {"a": 1.0, "b": 2.0, "c": 4.0}
    assert account(run).dead_lettered == 1
    assert [letter["event"]["values"] for letter in dead_letters(run)] == [{"bad": 3.0}]


@pytest.mark.parametrize("error", [lambda: ZeroDivisionError("bug"), lambda: SystemExit(3)], ids=["bug", "SystemExit"])
async def test_a_plugins_bug_costs_what_it_is_about(tmp_path: Path, error: Raising) -> None:
    """An unexpected exception is bisected as a rejection is, and ends nothing else."""

    async def export(batch: Batch) -> None:
        if any(isinstance(event, MetricsLogged) and event.step == 5 for event in batch.events):
            raise error()

    backend = RecordingBackend(on_export=export)
    async with open_run(tmp_path, backend) as run:
        for step in range(10):
            run.log_metric("m", 1.0, step)
    assert steps(backend) == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    assert account(run).dead_lettered == 1
    assert type(error()).__name__ in dead_letters(run)[0]["reason"]


async def test_what_it_does_not_handle_is_dropped_and_counted(tmp_path: Path) -> None:
    """Events of a type that the backend does not handle are dropped{unsupported}; the rest arrives."""
    backend = RecordingBackend(handles=frozenset({MetricsLogged}))
    async with open_run(tmp_path, backend) as run:
        run.log_text("t", "x")
        run.log_metric("m", 1.0, 0)
        run.log_params({"a": 1})
    assert {type(event) for event in backend.events} == {MetricsLogged}
    status = account(run)
    assert status.dropped == {"unsupported": 2}
    assert status.delivered == 3


async def test_degraded_events_are_counted_once(tmp_path: Path, fast_retries: None) -> None:
    """A degradation counts when the export succeeds, and once, however often that was tried."""
    failed = False

    async def export(batch: Batch) -> None:
        nonlocal failed
        for index, event in enumerate(batch.events):
            if isinstance(event, MetricsLogged) and math.isnan(event.values["m"]):
                batch.degrade(index, "no NaN here")
                batch.degrade(index, "twice")
        if not failed:
            failed = True
            raise Transient("once")

    backend = RecordingBackend(on_export=export)
    async with open_run(tmp_path, backend) as run:
        for step in range(10):
            run.log_metric("m", math.nan if step % 2 else 1.0, step)
    assert account(run).degraded == 5


async def test_old_metrics_are_dropped_where_the_user_wants_that(tmp_path: Path) -> None:
    """With drop_oldest, metrics older than max_lag are dropped{behind}; texts never are."""
    delivery = Delivery(linger=0.01, when_behind="drop_oldest", max_lag=60.0)
    backend = RecordingBackend(delivery=delivery)
    async with open_run(tmp_path, backend) as run:
        run.log_metric("m", 1.0, 0, time=time.time() - 120)
        run.log_text("t", "x", time=time.time() - 120)
        run.log_metric("m", 1.0, 1)
    assert steps(backend) == [1]
    assert account(run).dropped == {"behind": 1}
    assert any(isinstance(event, TextLogged) for event in backend.events)


async def test_an_artifact_that_changed_or_went_is_said(tmp_path: Path) -> None:
    """With copy=False, a file that changed before its upload is degraded, and one that went is dead-lettered."""
    gate = anyio.Event()

    async def wait_for_files(_: State | None) -> None:
        await gate.wait()

    backend = RecordingBackend(on_open=wait_for_files)
    changed, gone, kept = (tmp_path / name for name in ("changed", "gone", "kept"))
    for path in (changed, gone, kept):
        path.write_text("as it was")
    async with open_run(tmp_path, backend) as run:
        run.log_artifact(changed, copy=False)
        run.log_artifact(gone, copy=False)
        run.log_artifact(kept)
        changed.write_text("as it is now")
        gone.unlink()
        kept.unlink()
        gate.set()
    status = account(run)
    assert (status.degraded, status.dead_lettered) == (1, 1)
    assert dead_letters(run)[0]["event"]["name"] == "gone"
    names = {getattr(event, "name", None): Path(getattr(event, "path", "")) for event in backend.events}
    assert names["kept"].read_text() == "as it was"
    assert "gone" not in names


async def hang(_: object) -> None:
    await anyio.sleep_forever()


async def fail(_: object) -> None:
    raise RuntimeError("broken")


@pytest.mark.parametrize("where", ["on_open", "on_export", "on_finish"])
@pytest.mark.parametrize("how", [hang, fail])
async def test_a_bad_backend_changes_nothing_for_a_good_one(
    tmp_path: Path, where: str, how: Callable[[object], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a backend that raises or never returns, in any method, the other gets everything and is closed."""
    monkeypatch.setenv("TRACELET_CLOSE_TIMEOUT", "2")

    class Bad(RecordingBackend):
        pass

    bad = Bad(**{where: how})  # type: ignore[arg-type]
    good = RecordingBackend()
    async with open_run(tmp_path, bad, good) as run:
        for step in range(100):
            run.log_metric("m", 1.0, step)
        with anyio.fail_after(10):
            while len(steps(good)) < 100:
                await anyio.sleep(0.001)
    assert good.outcomes == [Outcome.COMPLETED]
    assert account(run).pending == 0
    bad_status = account(run, "Bad")
    if where == "on_export" and how is fail:
        assert bad_status.dead_lettered == 100
    elif where != "on_export":
        assert bad_status.pending > 0
    if how is fail:
        assert bad_status.last_error == "RuntimeError: broken"


async def test_a_hanging_call_is_given_up_and_tried_again(tmp_path: Path, fast_retries: None) -> None:
    """An export that outlives its timeout is cancelled and counted as a retry."""
    calls = 0

    async def export(batch: Batch) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            await anyio.sleep_forever()

    backend = RecordingBackend(on_export=export, delivery=Delivery(timeout=0.05, linger=0.01))
    async with open_run(tmp_path, backend) as run:
        run.log_metric("m", 1.0, 0)
        assert await run.flush()
    assert steps(backend) == [0]
    assert account(run).retries == 1
    assert "export: no answer within 0.05 s" in str(account(run).last_error)


async def test_an_upload_does_not_hold_up_a_scalar(tmp_path: Path) -> None:
    """While the bulk lane is stuck in an upload, metrics arrive."""
    uploading, gate = anyio.Event(), anyio.Event()

    async def export(batch: Batch) -> None:
        if batch.lane == "bulk":
            uploading.set()
            await gate.wait()

    backend = RecordingBackend(on_export=export)
    artifact = tmp_path / "file"
    artifact.write_text("x")
    async with open_run(tmp_path, backend) as run:
        run.log_artifact(artifact)
        with anyio.fail_after(10):
            await uploading.wait()
        for step in range(100):
            run.log_metric("m", 1.0, step)
        with anyio.fail_after(10):
            while len(steps(backend)) < 100:
                await anyio.sleep(0.001)
        gate.set()
    assert account(run).pending == 0


async def test_one_lane_means_one_export_at_a_time(tmp_path: Path) -> None:
    """A backend with lanes=1 never has two exports under way."""
    inside = most = 0

    async def export(batch: Batch) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await anyio.sleep(0.001)
        inside -= 1

    backend = RecordingBackend(on_export=export, delivery=Delivery(lanes=1, linger=0.01, batch_size=3))
    artifact = tmp_path / "file"
    artifact.write_text("x")
    async with open_run(tmp_path, backend) as run:
        for step in range(30):
            run.log_metric("m", 1.0, step)
            run.log_artifact(artifact)
    assert most == 1
    assert account(run).delivered == 62


async def test_every_refused_value_of_an_event_is_kept(tmp_path: Path) -> None:
    """Of one event with several bad values, the dead letter holds all of these."""

    async def export(batch: Batch) -> None:
        if any(isinstance(event, MetricsLogged) and "bad" in str(event.values) for event in batch.events):
            raise Rejected("no")

    async with open_run(tmp_path, RecordingBackend(on_export=export)) as run:
        run.log_metrics({"bad1": 1.0, "a": 2.0, "bad2": 3.0, "b": 4.0, "bad3": 5.0}, 1)
    assert account(run).dead_lettered == 1
    assert [letter["event"]["values"] for letter in dead_letters(run)] == [{"bad1": 1.0, "bad2": 3.0, "bad3": 5.0}]


async def test_a_flush_during_an_export_is_not_forgotten(tmp_path: Path) -> None:
    """What is said and flushed while a batch is under way goes out after it, and not after the linger."""
    exporting, gate = anyio.Event(), anyio.Event()

    async def export(batch: Batch) -> None:
        exporting.set()
        await gate.wait()

    backend = RecordingBackend(on_export=export, delivery=Delivery(linger=3_600.0))
    async with open_run(tmp_path, backend) as run:
        run.log_metric("m", 1.0, 0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run.flush)
            with anyio.fail_after(10):
                await exporting.wait()
            run.log_metric("m", 1.0, 1)
            tasks.start_soon(run.flush)
            await anyio.wait_all_tasks_blocked()
            gate.set()
        assert steps(backend) == [0, 1]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # trio's can't be raised by hand
async def test_a_backend_that_cancels_itself_is_not_delivered(tmp_path: Path) -> None:
    """The event loop's cancellation, raised by a backend, ends its delivery as failed and never as done."""

    async def export(batch: Batch) -> None:
        raise anyio.get_cancelled_exc_class()

    async with open_run(tmp_path, RecordingBackend(on_export=export)) as run:
        run.log_metric("m", 1.0, 0)
    status = account(run)
    assert (status.state, status.delivered, status.pending) == ("failed", 0, 3)


async def test_flush_does_not_wait_for_a_backend_that_failed(tmp_path: Path) -> None:
    """Beside a healthy backend, one that has failed makes flush False at once."""

    class Bad(RecordingBackend):
        pass

    async with open_run(tmp_path, Bad(on_open=fail), RecordingBackend()) as run:
        run.log_metric("m", 1.0, 0)
        with anyio.fail_after(30):
            while account(run, "Bad").state != "failed":
                await anyio.sleep(0.001)
            assert not await run.flush(timeout=3_600)


async def test_a_cursor_that_cant_be_opened_ends_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a cursor can't be opened, the block goes on, and the events stay pending."""
    real = Cursor.acquire.__func__  # type: ignore[attr-defined]

    def acquire(cls: type[Cursor], path: Path) -> Cursor | None:
        if path.name == "Bad":
            raise OSError("no descriptor left")
        return real(cls, path)  # type: ignore[no-any-return]

    monkeypatch.setattr(Cursor, "acquire", classmethod(acquire))
    monkeypatch.setenv("TRACELET_CLOSE_TIMEOUT", "2")

    class Bad(RecordingBackend):
        pass

    good = RecordingBackend()
    async with open_run(tmp_path, Bad(), good) as run:
        run.log_metric("m", 1.0, 0)
    assert steps(good) == [0]
    assert account(run, "Bad").pending == 3


async def test_an_inert_block_leaves_the_processes_run_alone(tmp_path: Path) -> None:
    """A run of a block that can't be recorded takes nothing from the run that was active before."""
    outer = tracelet.start_logging(directory=tmp_path / "store")
    (tmp_path / "file").write_text("")
    async with open_run(tmp_path / "file", RecordingBackend()) as run:
        assert not run.active
    assert tracelet.active_run() is outer
    tracelet.stop_logging()


async def test_a_failing_block_fails_the_run(tmp_path: Path) -> None:
    """An exception in the block passes as it is and ends the run as failed."""
    backend = RecordingBackend()
    with pytest.raises(ValueError, match="mine"):  # noqa: PT012
        async with open_run(tmp_path, backend) as run:
            run.log_metric("m", 1.0, 0)
            raise ValueError("mine")
    assert backend.outcomes == [Outcome.FAILED]
    assert steps(backend) == [0]


async def test_a_cancelled_block_loses_nothing(tmp_path: Path) -> None:
    """Cancelling the block delivers what was said before it."""
    backend = RecordingBackend()
    with anyio.CancelScope() as scope:
        async with open_run(tmp_path, backend) as run:
            for step in range(1_000):
                run.log_metric("m", 1.0, step)
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert steps(backend) == list(range(1_000))
    assert backend.outcomes == [Outcome.FAILED]


async def test_the_active_run_is_the_blocks(tmp_path: Path) -> None:
    """Inside the block its run is active, outside it is not."""
    assert tracelet.active_run() is None
    async with open_run(tmp_path, RecordingBackend()) as run:
        assert tracelet.active_run() is run
    assert tracelet.active_run() is None


async def test_what_an_sdk_took_and_lost_is_no_longer_delivered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`finish` may say how many events did not arrive after all: the account stays exact, and the user is told."""

    async def finish(_: Outcome) -> None:
        raise Undelivered(
            "the uploader died; recover with: their-tool sync", {("0000", "stream"): 30, ("0000", "bulk"): 5}
        )

    backend = RecordingBackend(on_finish=finish)
    async with open_run(tmp_path, backend) as run:
        for step in range(100):
            run.log_metric("m", 1.0, step)
    status = account(run)
    assert (status.delivered, status.dropped, status.pending) == (72, {"undelivered": 30}, 0)
    assert status.last_error is not None
    assert "their-tool sync" in status.last_error
    assert "recover with: their-tool sync" in capsys.readouterr().err
    assert status.outcome == "completed"


async def test_a_journal_that_cant_be_read_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk or network file system that has its moments costs a retry, and no event."""
    original, refusals = Source.read, 3

    def refuse(*args: Any, **kwargs: Any) -> Any:
        nonlocal refusals
        refusals -= 1
        if refusals >= 0:
            raise OSError(errno.ESTALE, "Stale file handle")
        return original(*args, **kwargs)

    monkeypatch.setattr(Source, "read", refuse)
    backend = RecordingBackend()
    async with open_run(tmp_path, backend) as run:
        run.log_metric("m", 1.0, 0)
    status = account(run)
    assert steps(backend) == [0]
    assert (status.pending, status.outcome, status.state) == (0, "completed", "closed")
    assert status.retries


async def test_finishing_within_the_block_ends_no_other_run(tmp_path: Path) -> None:
    """The process's run and the block's are two: each call ends its own."""
    outer = tracelet.start_logging(directory=tmp_path)
    async with open_run(tmp_path) as inner:
        await inner.finish()
    assert tracelet.active_run() is outer
    async with open_run(tmp_path) as inner:
        tracelet.stop_logging()
        assert (outer.active, inner.active) == (False, True)
    assert tracelet.active_run() is None


async def test_a_second_finish_waits_for_the_first(tmp_path: Path) -> None:
    """It does not cut off what the first one waits for, and returns with that, or at its own deadline."""
    let_go = anyio.Event()

    async def wait(_: Batch) -> None:
        await let_go.wait()

    backend = RecordingBackend(on_export=wait)
    async with open_run(tmp_path, backend) as run:
        run.log_metric("m", 1.0, 0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run.finish, None, 30.0)
            with anyio.fail_after(20):
                while run.active:
                    await anyio.sleep(0.001)
                await run.finish(timeout=0.05)
                assert account(run).pending
                let_go.set()
                await run.finish(timeout=20.0)
        assert (account(run).pending, account(run).outcome) == (0, "completed")


async def test_of_runs_side_by_side_each_line_says_which(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two that are open at a time say their names; one by itself does not, nor does a run because it has children."""
    monkeypatch.chdir(tmp_path)

    def begin(name: str) -> Any:
        return tracelet.open_run("jsonl", name, directory=tmp_path, host="thread")

    async with begin("alone") as run, run.child("part"):
        pass
    said = capsys.readouterr().err
    assert "tracelet: jsonl: " in said
    assert "tracelet: part: jsonl: " in said
    async with begin("first"), begin("second"):
        pass
    said = capsys.readouterr().err
    assert "tracelet: first: jsonl: " in said
    assert "tracelet: second: jsonl: " in said
