"""Tracelet's own SummaryWriter: the methods of torch's, without torch, without files."""

from __future__ import annotations

import importlib
import inspect
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import tracelet.run
from tracelet.codec import decode
from tracelet.errors import RunClosed
from tracelet.events import Lane, MetricsLogged
from tracelet.journal import LogReader, RunDirectory
from tracelet.tensorboard import SummaryWriter

TORCH, TENSORBOARDX = "torch.utils.tensorboard", "tensorboardX"


class RecordingRun:
    """A run that keeps what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[dict[str, Any], int | None, Any, float | None]] = []

    log_dirs: Any = None
    defers = False

    def _log_point(self, name: str, value: float, step: int) -> None:
        self.log_metric(name, value, step)

    def log_metric(
        self, name: str, value: Any, step: int | None = None, *, context: Any = None, time: float | None = None
    ) -> None:
        self.calls.append(({name: value}, step, context, time))

    def log_metrics(
        self, values: Mapping[str, Any], step: int | None = None, *, context: Any = None, time: float | None = None
    ) -> None:
        self.calls.append((dict(values), step, context, time))


@pytest.fixture
def activate(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    def activate(run: Any) -> None:
        monkeypatch.setattr(tracelet.run, "active_run", lambda: run)

    return activate


@pytest.fixture
def run(activate: Callable[[Any], None]) -> RecordingRun:
    run = RecordingRun()
    activate(run)
    return run


def test_logs_to_the_active_run(run: RecordingRun) -> None:
    """What the writer is given goes to the active run."""
    writer = SummaryWriter()
    writer.add_scalar("loss", 0.5, 1)
    writer.add_scalars("acc", {"train": 1, "val": 0.5}, 2, 123.0)

    assert run.calls == [({"loss": 0.5}, 1, None, None), ({"acc/train": 1, "acc/val": 0.5}, 2, None, 123.0)]


def test_all_arguments(run: RecordingRun) -> None:
    """The arguments of torch's and tensorboardX's `add_scalar` are taken; those about TensorBoard have no effect."""
    writer = SummaryWriter()
    writer.add_scalar("x", 1.0, 2, 3.0, True, double_precision=True)
    writer.add_scalar("x", 1.0, 2, 3.0, display_name="X", summary_description="what it is")

    assert run.calls == [({"x": 1.0}, 2, None, 3.0)] * 2


def test_makes_no_files(run: RecordingRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a directory nor a file comes into being, whatever is asked for."""
    monkeypatch.chdir(tmp_path)
    for writer in (SummaryWriter(), SummaryWriter("runs/a"), SummaryWriter(logdir="b", purge_step=3)):
        with writer:
            writer.add_scalar("x", 1.0)
            writer.flush()

    assert list(tmp_path.iterdir()) == []


def test_needs_no_library() -> None:
    """The writer works where neither torch, tensorboardX, tensorboard nor NumPy can be imported."""
    script = """if True:
        import sys
        sys.modules |= dict.fromkeys(["torch", "tensorboardX", "tensorboard", "numpy"])
        import tracelet.run
        from tracelet.tensorboard import SummaryWriter
        class Run:
            log_dirs = None
            def _log_point(self, *args): print(*args)
        run = Run()
        tracelet.run.active_run = lambda: run
        SummaryWriter().add_scalar("x", 0.5, 1)
    """
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    completed = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, env=environment, check=False
    )

    assert (completed.stdout, completed.returncode) == ("x 0.5 1\n", 0), completed.stderr


def test_goes_on_after_close(run: RecordingRun) -> None:
    """As with torch's, a closed writer may be used again."""
    writer = SummaryWriter()
    writer.close()
    writer.add_scalar("x", 1.0, 2)

    assert len(run.calls) == 1


# Arguments.


@pytest.mark.parametrize(
    ("arguments", "log_dir"),
    [
        ({"log_dir": "runs/a"}, "runs/a"),
        ({"logdir": "runs/a"}, "runs/a"),
        ({"log_dir": Path("runs/a")}, Path("runs/a")),
        ({"log_dir": "runs/a", "comment": "ignored"}, "runs/a"),
    ],
)
def test_log_dir(arguments: Any, log_dir: Any) -> None:
    """The log directory is given, and found, by the names of either library."""
    writer = SummaryWriter(**arguments)

    assert writer.log_dir == writer.logdir == writer.get_logdir() == log_dir


def test_default_log_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default log directory has the form of torch's."""
    monkeypatch.chdir(tmp_path)
    theirs = pytest.importorskip(TENSORBOARDX).SummaryWriter(comment="-lr", write_to_disk=False).logdir
    ours = SummaryWriter(comment="-lr").get_logdir()

    def parts(log_dir: Any) -> tuple[str, str]:
        folder, name = os.path.split(log_dir)
        return folder, name[len("Jan01_00-00-00") :]

    assert parts(ours) == parts(theirs)


@pytest.mark.parametrize("module", [TORCH, TENSORBOARDX])
@pytest.mark.parametrize("method", ["__init__", "add_scalar", "add_scalars", "flush", "close"])
def test_accepts_what_the_libraries_accept(module: str, method: str) -> None:
    """Every named argument of either library is accepted, and those before `walltime` by position too."""
    original = getattr(pytest.importorskip(module).SummaryWriter, method)
    theirs = [p for p in inspect.signature(original).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    ours = inspect.signature(getattr(SummaryWriter, method)).parameters

    assert {p.name for p in theirs} <= set(ours)
    if method != "__init__":
        shared = [p.name for p in theirs][:5]
        assert list(ours)[: len(shared)] == shared


# Misuse.


@pytest.mark.parametrize("value", ["no number", None, 1j, object(), (1.0,), "two", "empty"])
def test_misuse_raises_as_in_torch(run: RecordingRun, tmp_path: Path, value: Any) -> None:
    """What isn't one number raises what torch's writer raises, and nothing is logged."""
    torch_writer = pytest.importorskip(TORCH).SummaryWriter(str(tmp_path))
    torch = pytest.importorskip("torch")
    value = {"two": torch.ones(2), "empty": torch.ones(0)}.get(value, value) if isinstance(value, str) else value
    with torch_writer, pytest.raises(Exception) as theirs:  # noqa: PT011  (which one, is the question)
        torch_writer.add_scalar("x", value, 1)

    with pytest.raises(theirs.type) as ours:
        SummaryWriter().add_scalar("x", value, 1)
    assert ours.type is theirs.type
    with pytest.raises(theirs.type):
        SummaryWriter().add_scalars("x", {"good": 1.0, "bad": value}, 1)
    assert run.calls == []


@pytest.mark.parametrize(
    ("value", "error"),
    [("no number", ValueError), (None, NotImplementedError), ([1.0, 2.0], NotImplementedError), (1j, TypeError)],
)
def test_misuse_without_torch(run: RecordingRun, value: Any, error: type[Exception]) -> None:
    """The same types of errors are raised where there is no torch."""
    with pytest.raises(error):
        SummaryWriter().add_scalar("x", value, 1)


@pytest.mark.parametrize(("step", "error"), [("a", ValueError), ([1], TypeError), (float("nan"), ValueError)])
def test_misuse_of_the_step(run: RecordingRun, step: Any, error: type[Exception]) -> None:
    """A step that `int()` doesn't take raises what `int()` raises."""
    with pytest.raises(error):
        SummaryWriter().add_scalar("x", 1.0, step)
    assert run.calls == []


# Runs.


def test_no_active_run(activate: Callable[[Any], None], caplog: pytest.LogCaptureFixture) -> None:
    """Without an active run, the first call of each writer warns and says what to do, and no call raises."""
    activate(None)
    writer = SummaryWriter("runs/lost")
    for step in range(3):
        writer.add_scalar("x", 1.0, step)
    writer.add_scalars("x", {"y": 1.0})

    assert [(record.name, record.levelname) for record in caplog.records] == [("tracelet", "WARNING")]
    assert "runs/lost" in caplog.text
    assert "start_logging" in caplog.text


def test_run_that_comes_later(
    activate: Callable[[Any], None], run: RecordingRun, caplog: pytest.LogCaptureFixture
) -> None:
    """A writer made before the run logs to it as soon as there is one, without a warning."""
    activate(None)
    writer = SummaryWriter()
    activate(run)
    writer.add_scalar("x", 1.0)

    assert len(run.calls) == 1
    assert caplog.records == []


def test_finished_run(activate: Callable[[Any], None]) -> None:
    """Logging to a run that was finished is misuse, here as with the run's own methods."""

    class FinishedRun(RecordingRun):
        def log_metric(self, *args: Any, **kwargs: Any) -> None:
            raise RunClosed("1")

    activate(FinishedRun())
    with pytest.raises(RunClosed):
        SummaryWriter().add_scalar("x", 1.0)


def test_a_value_on_a_device_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a run that defers, `add_scalar` leaves a device's value to the run, with the step and time of the call."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    fake: Any = importlib.import_module("fake_device")
    device = fake.Device("cuda")
    monkeypatch.setitem(sys.modules, "torch", fake.module(device))
    with tracelet.start_logging(exp_name="test", directory=tmp_path, defer=True) as run:
        SummaryWriter().add_scalar("x", fake.Tensor(0.25, device), 3, walltime=123.0)
        assert device.waits == []
        device.run()
        assert run.flush(30)
        directory = RunDirectory(run.directory)
        with LogReader(directory.log("0000", Lane.STREAM)) as reader:
            frames = reader.read(100, 10**6, final=False)
    event = decode(frames.words[1], frames.payloads[1])
    assert event == MetricsLogged(123.0, {"x": 0.25}, 3)
