"""Deferred values: what a device still computes is logged without waiting for it."""

from __future__ import annotations

import importlib
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest

import tracelet
from tracelet import Run, _deferred
from tracelet.codec import decode
from tracelet.errors import InvalidSetting, RunClosed
from tracelet.events import Event, Lane, MetricsLogged, RunFinished
from tracelet.journal import LogReader, Recorder, RunDirectory
from tracelet.testing import RecordingBackend

HERE = Path(__file__).parent

fake: Any = None

Eventually = Callable[..., None]


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    global fake
    monkeypatch.syspath_prepend(str(HERE))
    fake = importlib.import_module("fake_device")
    monkeypatch.setenv("TRACELET_DIR", str(tmp_path / "store"))


def make_device(monkeypatch: pytest.MonkeyPatch, kind: str) -> Any:
    device = fake.Device(kind)
    monkeypatch.setitem(sys.modules, "torch", fake.module(device))
    return device


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A CUDA device that does nothing until `device.run()`."""
    return make_device(monkeypatch, "cuda")


@pytest.fixture
def run() -> Iterator[Run]:
    run = tracelet.start_logging(exp_name="test", host="thread")
    yield run
    run.finish(timeout=0)


def journal(run: Any) -> list[Event]:
    directory = RunDirectory(run.directory)
    with LogReader(directory.log("0000", Lane.STREAM)) as reader:
        frames = reader.read(10**6, 10**9, final=False)
    return [decode(word, payload) for word, payload in zip(frames.words, frames.payloads, strict=True)]


def metrics(run: Any) -> list[MetricsLogged]:
    return [event for event in journal(run) if isinstance(event, MetricsLogged)]


def values(run: Any) -> list[Any]:
    return [value for event in metrics(run) for value in event.values.values()]


def deferring_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "tracelet deferred values"]


# What a call does, and when its value is there.


@pytest.mark.parametrize("kind", ["cuda", "xpu", "mps"])
def test_the_caller_does_not_wait(run: Run, monkeypatch: pytest.MonkeyPatch, eventually: Eventually, kind: str) -> None:
    """A value on a device is recorded once the device has computed it, and the thread that logged it never waits."""
    device = make_device(monkeypatch, kind)
    before = time.time()
    run.log_metric("loss", fake.Tensor(0.25, device), 7, context={"subset": "val"}, defer=True)
    after = time.time()
    time.sleep(0.05)  # enough for the thread to have looked, and to have found nothing
    assert metrics(run) == []
    device.run()
    eventually(lambda: metrics(run))
    (event,) = metrics(run)
    assert (event.values, event.step, event.context) == ({"loss": 0.25}, 7, (("subset", "val"),))
    assert before <= event.time <= after
    assert threading.main_thread() not in device.waits


def test_a_device_without_events(run: Run, monkeypatch: pytest.MonkeyPatch, eventually: Eventually) -> None:
    """Where there are no events to ask, another thread than the caller's waits for the device."""
    device = make_device(monkeypatch, "odd")
    tensor = fake.Tensor(0.25, device)
    run.log_metric("loss", tensor, 1, defer=True)
    tensor.fill_(9.0)
    eventually(lambda: values(run) == [0.25])
    assert device.waits
    assert threading.main_thread() not in device.waits


@pytest.mark.parametrize("kind", ["cuda", "xpu", "mps"])
def test_a_change_after_the_call(run: Run, monkeypatch: pytest.MonkeyPatch, eventually: Eventually, kind: str) -> None:
    """The value is the one at the call, though the tensor is changed in place before the device comes to either."""
    device = make_device(monkeypatch, kind)
    tensor = fake.Tensor(1.0, device)
    for step in range(3):
        tensor.fill_(float(step))
        run.log_metric("loss", tensor, step, defer=True)
    tensor.fill_(99.0)
    device.run()
    eventually(lambda: len(values(run)) == 3)
    assert values(run) == [0.0, 1.0, 2.0]


def test_steps_are_counted_at_the_call(run: Run, device: Any) -> None:
    """Without a step, calls count on, deferred or not, whenever the values are there."""
    run.log_metric("a", fake.Tensor(0.0, device), defer=True)
    run.log_metric("a", 1.0, defer=True)
    run.log_metrics({"a": fake.Tensor(2.0, device), "b": 0.5}, defer=True)
    device.run()
    assert run.flush()
    assert [(event.values, event.step) for event in metrics(run)] == [
        ({"a": 1.0}, 1),
        ({"b": 0.5}, 0),
        ({"a": 0.0}, 0),
        ({"a": 2.0}, 2),
    ]


def test_the_order_is_that_of_the_calls(run: Run, device: Any, eventually: Eventually) -> None:
    """Deferred values are recorded in the order of their calls, each when the device has come to it."""
    for step in range(100):
        run.log_metric("m", fake.Tensor(float(step), device), step, defer=True)
    device.run(2 * 40)  # the copy and the event of each
    eventually(lambda: len(values(run)) == 40)
    assert values(run) == [float(step) for step in range(40)]
    device.run()
    assert run.flush()
    assert values(run) == [float(step) for step in range(100)]


def test_several_at_once_are_one_event(run: Run, device: Any) -> None:
    """`log_metrics` waits for all its values and records them as the one event that they are."""
    run.log_metrics({"a": 1, "b": fake.Tensor(2.0, device), "c": fake.Tensor(3, device)}, 5, time=12.5, defer=True)
    assert metrics(run) == []
    device.run()
    assert run.flush()
    assert metrics(run) == [MetricsLogged(12.5, {"a": 1, "b": 2.0, "c": 3}, 5)]


@pytest.mark.parametrize("value", [0.5, 3, True, np.float32(0.5), np.array([0.5]), "cpu"], ids=repr)
def test_what_needs_no_device_is_taken_at_once(run: Run, device: Any, value: Any) -> None:
    """Numbers, NumPy's values and tensors of the host are in the journal when the call returns, without any thread."""
    tensor = fake.Tensor(0.5) if value == "cpu" else value
    run.log_metric("m", tensor, 1, defer=True)
    run.log_metrics({"m": tensor}, 2, defer=True)
    assert [event.step for event in metrics(run)] == [1, 2]
    assert deferring_threads() == []


def test_tensors_of_the_host(run: Run) -> None:
    """A tensor of torch in the host's memory is read at the call: a change after it changes nothing."""
    torch = pytest.importorskip("torch")
    tensor = torch.tensor(0.5, requires_grad=True)
    run.log_metric("m", tensor, 1, defer=True)
    with torch.no_grad():
        tensor.fill_(9.0)
    run.log_metrics({"m": torch.tensor([[7]])}, 2, defer=True)
    assert values(run) == [0.5, 7]
    assert deferring_threads() == []


def test_tensors_without_data(run: Run) -> None:
    """A tensor of torch that has no data is refused at the call, as without deferring."""
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="value must be one number"):
        run.log_metric("m", torch.ones((), device="meta"), 1, defer=True)


def test_wrong_values_are_refused_at_the_call(run: Run, device: Any) -> None:
    """What can't be one number, or has a wrong name or step, is a TypeError at the call, also on a device."""
    with pytest.raises(TypeError, match="value must be one number"):
        run.log_metric("m", fake.Tensor(0.5, device, numel=2), defer=True)
    with pytest.raises(TypeError, match="value must be a number"):
        run.log_metric("m", fake.Tensor(1j, device, is_complex=True), defer=True)
    with pytest.raises(TypeError, match=r"values\['m'\] must be one number"):
        run.log_metrics({"m": fake.Tensor(0.5, device, numel=2)}, defer=True)
    tensor: Any = fake.Tensor(0.5, device)
    wrong: Any = 5
    with pytest.raises(TypeError, match="name must be a str"):
        run.log_metric(wrong, tensor, defer=True)
    with pytest.raises(TypeError, match="step must be an int"):
        run.log_metric("m", tensor, "x", defer=True)  # type: ignore[arg-type]
    assert run.flush()
    assert metrics(run) == []


# The setting.


def test_a_run_that_defers(device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run's setting holds for all its calls that say nothing else, and for its children."""
    with tracelet.start_logging(defer=True) as run:
        assert run.defers
        run.log_metric("m", fake.Tensor(1.0, device), 1)
        with run.child("part") as child:
            assert child.defers
        assert not device.waits
        run.log_metric("m", fake.Tensor(2.0, device), 2, defer=False)
        assert device.waits == [threading.main_thread()]
    assert sorted(values(run)) == [1.0, 2.0]
    monkeypatch.setenv("TRACELET_DEFER", "True")
    with tracelet.start_logging() as run:
        assert run.defers
    with tracelet.start_logging(defer=False) as run:
        assert not run.defers
        run.log_metrics({"m": fake.Tensor(1.0, device)}, 1)
        assert values(run) == [1.0]


@pytest.mark.parametrize("value", ["", "0", "false"])
def test_a_run_that_does_not_defer(monkeypatch: pytest.MonkeyPatch, device: Any, value: str) -> None:
    """Without the setting, a value on a device is read, and waited for, at the call."""
    monkeypatch.setenv("TRACELET_DEFER", value)
    with tracelet.start_logging() as run:
        assert not run.defers
        run.log_metric("m", fake.Tensor(1.0, device), 1)
        assert values(run) == [1.0]


def test_a_setting_that_makes_no_sense(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong TRACELET_DEFER is refused before the run begins."""
    monkeypatch.setenv("TRACELET_DEFER", "maybe")
    with pytest.raises(InvalidSetting, match="TRACELET_DEFER"):
        tracelet.start_logging()


def test_an_inert_run(monkeypatch: pytest.MonkeyPatch, device: Any) -> None:
    """An inert run neither waits for a device nor starts anything, and is closed like any other."""
    monkeypatch.setenv("TRACELET_MODE", "disabled")
    run = tracelet.start_logging(defer=True)
    run.log_metric("m", fake.Tensor(1.0, device), 1)
    run.log_metrics({"m": fake.Tensor(1.0, device)}, 1)
    assert run.flush()
    assert (device.waits, deferring_threads()) == ([], [])
    run.finish()
    with pytest.raises(RunClosed):
        run.log_metric("m", fake.Tensor(1.0, device), 2)


# Waiting and ending.


def test_flush_waits(run: Run, device: Any) -> None:
    """`flush` waits for what was deferred before it, for as long as it may."""
    run.log_metric("m", fake.Tensor(1.0, device), 1, defer=True)
    assert run.flush(timeout=0.05) is False
    threading.Timer(0.05, device.run).start()
    assert run.flush() is True
    assert values(run) == [1.0]


def test_a_durable_flush_has_them(run: Run, device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `flush(durable=True)` makes durable includes what was deferred before it."""
    synced: list[list[Any]] = []
    sync = Recorder.sync

    def note(self: Recorder) -> None:
        synced.append(values(run))
        sync(self)

    monkeypatch.setattr(Recorder, "sync", note)
    run.log_metric("m", fake.Tensor(1.0, device), 1, defer=True)
    threading.Timer(0.05, device.run).start()
    assert run.flush(durable=True)
    monkeypatch.undo()
    assert synced[-1] == [1.0]


def test_finish_waits(device: Any) -> None:
    """`finish` records what was deferred before the run's end, and takes nothing meanwhile."""
    run = tracelet.start_logging()
    run.log_metric("m", fake.Tensor(1.0, device), 1, defer=True)
    refused: list[type[Exception]] = []

    def late() -> None:
        try:
            run.log_metric("m", fake.Tensor(2.0, device), 2, defer=True)
        except RunClosed:
            refused.append(RunClosed)
        device.run()

    threading.Timer(0.1, late).start()
    run.finish()
    assert values(run) == [1.0]
    assert isinstance(journal(run)[-1], RunFinished)
    assert refused == [RunClosed]


def test_what_is_not_there_at_the_end(device: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """What the device has not computed when the time to finish is over is counted as lost, and said."""
    run = tracelet.start_logging()
    for step in range(5):
        run.log_metric("m", fake.Tensor(1.0, device), step, defer=True)
    device.run(2 * 2)
    begun = time.monotonic()
    run.finish(timeout=0.3)
    assert time.monotonic() - begun < 5
    status = run.status()
    assert (len(values(run)), status.lost, status.emitted) == (2, 3, 1 + 2 + 3 + 1)
    said = capfd.readouterr().err
    assert "3 deferred values were not there in time when the run ended, and are lost" in said
    assert "3 of 7 events could not be recorded and are lost" in said
    device.run()
    time.sleep(0.05)
    assert run.status() == status
    assert isinstance(journal(run)[-1], RunFinished)


def test_the_thread_ends_with_the_run(device: Any, eventually: Eventually) -> None:
    """The thread is one for each run that needs it, and is gone with the run, also where the device hangs."""
    run = tracelet.start_logging(defer=True)
    for step in range(10):
        run.log_metric("m", fake.Tensor(1.0, device), step)
    assert len(deferring_threads()) == 1
    eventually(lambda: device.asked)
    run.finish(timeout=0)
    eventually(lambda: not deferring_threads())


def test_a_closed_run_takes_nothing(device: Any) -> None:
    """A deferred call after the end is misuse, as any other."""
    run = tracelet.start_logging()
    run.finish()
    with pytest.raises(RunClosed):
        run.log_metric("m", fake.Tensor(1.0, device), 1, defer=True)
    with pytest.raises(RunClosed):
        run.log_metrics({"m": fake.Tensor(1.0, device)}, 1, defer=True)


@pytest.mark.anyio
async def test_in_an_event_loop(device: Any) -> None:
    """`flush` and the end of a block wait for the values, while the loop goes on, and subscribers get them."""
    backend = RecordingBackend()
    seen: list[Event] = []

    async def watch(run: tracelet.AsyncRun) -> None:
        async for event in run.subscribe(linger=0.001):
            seen.append(event)

    async with anyio.create_task_group() as tasks, tracelet.open_run(backend, defer=True) as run:
        tasks.start_soon(watch, run)
        run.log_metric("m", fake.Tensor(1.0, device), 1)
        assert await run.flush(timeout=0.05) is False
        tasks.start_soon(_soon, device)
        assert await run.flush() is True
        assert [event.values for event in backend.events if isinstance(event, MetricsLogged)] == [{"m": 1.0}]
        run.log_metric("m", fake.Tensor(2.0, device), 2)
        tasks.start_soon(_soon, device)
    assert [event.values for event in backend.events if isinstance(event, MetricsLogged)] == [{"m": 1.0}, {"m": 2.0}]
    assert seen == backend.events
    assert run.status().lost == 0


async def _soon(device: Any) -> None:
    await anyio.sleep(0.05)
    device.run()


@pytest.mark.anyio
async def test_a_finish_that_is_cancelled(device: Any) -> None:
    """Cancelling `finish` means not to wait for values either: the run ends, and they are counted as lost."""
    async with tracelet.open_run(defer=True) as run:
        run.log_metric("m", fake.Tensor(1.0, device), 1)
        with anyio.move_on_after(0.05):
            await run.finish()
        assert not run.active
    assert run.status().lost == 1
    assert isinstance(journal(run)[-1], RunFinished)


# What goes wrong.


def test_a_device_that_fails(run: Run, device: Any, capfd: pytest.CaptureFixture[str], eventually: Eventually) -> None:
    """Values that a failed device does not give are counted as lost, with one warning; training hears nothing of it."""
    for step in range(3):
        run.log_metric("m", fake.Tensor(1.0, device), step, defer=True)
    device.broken = RuntimeError("device-side assert triggered")
    run.log_metric("m", fake.Tensor(1.0, device), 3, defer=True)
    run.log_metrics({"m": fake.Tensor(1.0, device), "n": 2.0}, 4, defer=True)
    run.log_metric("m", 5.0, 5, defer=True)
    assert run.flush()
    assert sorted(values(run)) == [2.0, 5.0]  # and not the memory that the first three were to be copied to
    assert run.status().lost == 5
    eventually(lambda: "device-side assert" in _read(capfd))
    run.finish()
    assert run.status().emitted == 1 + 2 + 5 + 1
    assert _said.count("events are being lost: a deferred value can't be read: device-side assert triggered") == 1


_said = ""


def _read(capfd: pytest.CaptureFixture[str]) -> str:
    global _said
    _said += capfd.readouterr().err
    return _said


def test_a_value_that_is_no_number(run: Run, device: Any) -> None:
    """A value that turns out to be none is a counted loss, and the next ones arrive."""
    run.log_metric("m", fake.Tensor("text", device), 1, defer=True)
    run.log_metric("m", fake.Tensor(2.0, device), 2, defer=True)
    device.run()
    assert run.flush()
    assert (values(run), run.status().lost) == ([2.0], 1)


def test_too_many_wait_for_the_oldest(
    run: Run, device: Any, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    """With as many values on their way as there may be, a call waits for the oldest, and nothing is lost."""
    monkeypatch.setattr(_deferred, "MOST", 10)
    said: list[int] = []

    def log() -> None:
        for step in range(30):
            run.log_metric("m", fake.Tensor(float(step), device), step, defer=True)
            said.append(step)

    thread = threading.Thread(target=log)
    thread.start()
    eventually(lambda: len(said) == 10)
    time.sleep(0.05)
    assert len(said) == 10
    device.run(2 * 5)
    eventually(lambda: len(said) == 15)
    while thread.is_alive():
        device.run()
        thread.join(0.001)
    device.run()
    assert run.flush()
    assert values(run) == [float(step) for step in range(30)]


def test_no_thread_can_be_started(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started, as at the interpreter's exit, the call itself waits, and nothing is lost."""
    device = make_device(monkeypatch, "odd")

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    run.log_metric("m", fake.Tensor(1.0, device), 1, defer=True)
    run.log_metric("m", fake.Tensor(2.0, device), 2, defer=True)
    monkeypatch.undo()
    assert values(run) == [1.0, 2.0]


def test_many_threads(run: Run, device: Any) -> None:
    """Threads that log at once, deferred and not, lose nothing, and each finds its own order."""
    over = threading.Event()

    def compute() -> None:
        while not over.is_set():
            device.run(50)
            time.sleep(0.0005)
        device.run()

    def log(number: int) -> None:
        for step in range(500):
            run.log_metric(f"deferred/{number}", fake.Tensor(float(step), device), step, defer=True)
            run.log_metric(f"direct/{number}", float(step), step)

    threads = [threading.Thread(target=log, args=(number,)) for number in range(4)]
    computing = threading.Thread(target=compute)
    for thread in (*threads, computing):
        thread.start()
    for thread in threads:
        thread.join()
    over.set()
    computing.join()
    assert run.flush()
    found = metrics(run)
    for name in (f"{kind}/{number}" for kind in ("deferred", "direct") for number in range(4)):
        own = [(event.step, event.values[name]) for event in found if name in event.values]
        assert own == [(step, float(step)) for step in range(500)]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no timers here")
def test_signal_handlers_that_log(run: Run, device: Any) -> None:
    """A handler that defers values of its own, wherever it interrupts, loses nothing and blocks nothing."""
    numbers = itertools.count()
    handled: list[int] = []

    def handle(*_: object) -> None:
        number = next(numbers)
        run.log_metric("handler", fake.Tensor(1.0, device), number, defer=True)
        handled.append(number)

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 1e-3, 2e-4)
    try:
        for step in range(2_000):
            run.log_metric("m", fake.Tensor(float(step), device), step, defer=True)
            device.run()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    device.run()
    assert run.flush()
    own = [event.step for event in metrics(run) if "m" in event.values]
    assert own == list(range(2_000))
    assert sorted(event.step for event in metrics(run) if "handler" in event.values) == sorted(handled)
    assert handled


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no timers here")
@pytest.mark.parametrize("attempt", range(20))
def test_a_signal_handler_that_finishes(device: Any, attempt: int) -> None:
    """When a handler ends the run amid the calls, every call that returned is recorded, or counted as lost."""
    run = tracelet.start_logging()
    before = signal.signal(signal.SIGALRM, lambda *_: run.finish(timeout=0))
    returned = 0
    signal.setitimer(signal.ITIMER_REAL, 1e-3 + attempt * 1e-4)
    try:
        while True:
            run.log_metric("m", fake.Tensor(1.0, device), defer=True)
            returned += 1
            if returned % 3 == 0:
                device.run()
    except RunClosed:
        pass
    finally:
        signal.signal(signal.SIGALRM, before)
    status = run.status()
    assert len(values(run)) + status.lost == returned
    assert isinstance(journal(run)[-1], RunFinished)


@pytest.mark.timeout(30)
def test_an_event_that_is_being_published() -> None:
    """While the thread publishes, a call does not wait for it, but who flushes or ends the run does."""
    published: list[MetricsLogged] = []
    gates = [threading.Event(), threading.Event()]

    def publish(event: MetricsLogged) -> None:
        gates[0].set()
        assert gates[1].wait(10)
        published.append(event)

    calls = _deferred.Deferrals(publish, lambda _: None)
    ready = _deferred.Later(lambda: True, lambda: 1.0)
    never = _deferred.Later(lambda: False, lambda: 1.0)
    assert calls.add(1.0, {"m": ready}, 1, ())
    assert gates[0].wait(10)
    resolved = calls.resolved()
    assert not resolved()
    assert calls.add(1.0, {"m": never}, 2, ())
    threading.Timer(0.1, gates[1].set).start()
    assert calls.stop() == 1
    assert resolved()
    assert [event.step for event in published] == [1]
    assert not calls.add(1.0, {"m": ready}, 3, ())


@pytest.mark.timeout(60)
def test_an_end_amid_many_calls() -> None:
    """When threads are deferring values while the run ends, each call is published, lost and counted, or refused."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(100):
            published: list[MetricsLogged] = []
            lost: list[str] = []
            taken: list[int] = []
            calls = _deferred.Deferrals(published.append, lost.append)
            soon = _deferred.Later(iter([False] * 3 + [True] * 10**6).__next__, lambda: 1.0)

            def log(calls: _deferred.Deferrals, taken: list[int], value: _deferred.Later) -> None:
                while calls.add(1.0, {"m": value}, 1, ()):
                    taken.append(1)

            threads = [threading.Thread(target=log, args=(calls, taken, soon)) for _ in range(3)]
            for thread in threads:
                thread.start()
            while len(taken) < 20:
                time.sleep(0)
            calls.stop()
            for thread in threads:
                thread.join()
            assert len(published) + len(lost) == len(taken)
    finally:
        sys.setswitchinterval(interval)


# Whole processes.

SCRIPT = """
import os, signal, sys, threading, time, fake_device, tracelet
device = fake_device.Device("cuda")
sys.modules["torch"] = fake_device.module(device)
run = tracelet.start_logging(directory=sys.argv[1], exp_name="e", defer=True)
"""


def script(tmp_path: Path, body: str) -> tuple[int, str, RunDirectory]:
    command = [sys.executable, "-c", SCRIPT + body, str(tmp_path / "store")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    (place,) = (tmp_path / "store" / "runs").iterdir()
    return done.returncode, done.stderr, RunDirectory(place)


class Place:
    def __init__(self, directory: RunDirectory) -> None:
        self.directory = directory.path


def test_the_end_of_a_script(tmp_path: Path) -> None:
    """A script that just ends has the values that the device computes within the time to close."""
    code, said, place = script(
        tmp_path,
        """
for step in range(100): run.log_metric("m", fake_device.Tensor(float(step), device), step)
threading.Thread(target=lambda: (time.sleep(0.3), device.run()), daemon=True).start()
""",
    )
    assert code == 0, said
    assert values(Place(place)) == [float(step) for step in range(100)]
    assert "lost" not in said


def test_a_crash(tmp_path: Path) -> None:
    """SIGKILL costs the values that the device had not computed, and no other."""
    code, said, place = script(
        tmp_path,
        """
for step in range(100): run.log_metric("m", fake_device.Tensor(float(step), device), step)
device.run(2 * 60)
run.log_metric("direct", 1.0, 0)
while run.status().emitted < 62: time.sleep(0.01)
os.kill(os.getpid(), signal.SIGKILL)
""",
    )
    assert code == -signal.SIGKILL, said
    assert sorted(values(Place(place))) == sorted([1.0, *(float(step) for step in range(60))])


def test_a_forked_child(tmp_path: Path) -> None:
    """A forked child may defer, flush and end as it likes: nothing of it is recorded, and it waits for nothing."""
    code, said, place = script(
        tmp_path,
        """
import warnings
warnings.simplefilter("ignore")
run.log_metric("m", fake_device.Tensor(1.0, device), 1)
pid = os.fork()
if pid == 0:
    run.log_metric("m", fake_device.Tensor(2.0, device), 2)
    assert run.flush()
    run.finish()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
device.run()
""",
    )
    assert code == 0, said
    assert values(Place(place)) == [1.0]
