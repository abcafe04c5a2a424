"""Capture: what torch's and tensorboardX's SummaryWriter are given becomes events, and they notice nothing of it."""

from __future__ import annotations

import gc
import inspect
import logging
import math
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tracelet.run
import tracelet.tensorboard
from tracelet.codec import decode
from tracelet.errors import RunClosed
from tracelet.events import Event, Lane, MetricsLogged
from tracelet.journal import LogReader, Recorder, RunDirectory
from tracelet.run import Run, set_process_run

TORCH, TENSORBOARDX, OWN = "torch.utils.tensorboard", "tensorboardX", "tracelet.tensorboard"
FOREIGN = [TORCH, TENSORBOARDX]


class Point(NamedTuple):
    name: str
    value: Any
    step: int | None = None
    context: Mapping[str, Any] | None = None
    time: float | None = None


class RecordingRun:
    """A run that keeps what it is told."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self.calls = 0

    log_dirs: Any = None
    defers = False

    def _log_point(self, name: str, value: float, step: int) -> None:
        self.log_metric(name, value, step)

    def log_metric(
        self, name: str, value: Any, step: int | None = None, *, context: Any = None, time: float | None = None
    ) -> None:
        self.log_metrics({name: value}, step, context=context, time=time)

    def log_metrics(
        self, values: Mapping[str, Any], step: int | None = None, *, context: Any = None, time: float | None = None
    ) -> None:
        self.calls += 1
        self.points += [Point(name, value, step, context, time) for name, value in values.items()]

    def log_hparams(self, values: Mapping[str, Any], metrics: Mapping[str, Any], step: int | None, **more: Any) -> None:
        if metrics:
            self.log_metrics(metrics, step, context=more["context"], time=more["time"])


class FailingRun(RecordingRun):
    """A run that raises whatever it was made with."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def log_metrics(self, values: Mapping[str, Any], step: int | None = None, **_: Any) -> None:
        raise self.error


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


@pytest.fixture
def captured() -> Iterator[None]:
    tracelet.tensorboard.install()
    yield
    tracelet.tensorboard.uninstall()


@pytest.fixture(params=FOREIGN)
def writer_class(request: pytest.FixtureRequest) -> Any:
    return pytest.importorskip(request.param).SummaryWriter


@pytest.fixture(params=[*FOREIGN, OWN])
def any_writer_class(request: pytest.FixtureRequest) -> Any:
    return pytest.importorskip(request.param).SummaryWriter


@pytest.fixture
def writer(writer_class: Any, captured: None, tmp_path: Path) -> Iterator[Any]:
    with writer_class(str(tmp_path / "log")) as writer:
        yield writer


def run_script(script: str, *path: Path) -> list[str]:
    command = [sys.executable, "-c", textwrap.dedent(script)]
    environment = {"PYTHONPATH": ":".join(str(p) for p in [*path, *filter(None, sys.path)])}
    completed = subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment, check=False)
    assert completed.returncode == 0, completed.stderr
    return completed.stdout.split()


# The events.


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda w: w.add_scalar("loss", 0.5, 1), [Point("loss", 0.5, 1)]),
        (lambda w: w.add_scalar("loss", 0.5), [Point("loss", 0.5)]),
        (lambda w: w.add_scalar("loss", 3, 0), [Point("loss", 3, 0)]),
        (lambda w: w.add_scalar("loss", True, False), [Point("loss", 1, 0)]),
        (lambda w: w.add_scalar("loss", 0.5, 1, 123), [Point("loss", 0.5, 1, time=123.0)]),
        (lambda w: w.add_scalar("loss", 0.5, walltime=123.5), [Point("loss", 0.5, time=123.5)]),
        (lambda w: w.add_scalar("loss", 0.5, 1, walltime=123.5), [Point("loss", 0.5, 1, time=123.5)]),
        (
            lambda w: w.add_scalar(tag="a tag/with (signs)", scalar_value=0.5, global_step=-1),
            [Point("a tag/with (signs)", 0.5, -1)],
        ),
        (lambda w: w.add_scalar("loss", 0.5, 1.7), [Point("loss", 0.5, 1)]),
        (lambda w: w.add_scalar("loss", 0.5, "5"), [Point("loss", 0.5, 5)]),
        (lambda w: w.add_scalar("loss", -math.inf, 1), [Point("loss", -math.inf, 1)]),
        (
            lambda w: w.add_scalars("loss", {"train": 1.0, "val": 2}, 7, 123.0),
            [Point("loss/train", 1.0, 7, time=123.0), Point("loss/val", 2, 7, time=123.0)],
        ),
        (
            lambda w: w.add_scalars(main_tag="a/b", tag_scalar_dict={"c": 1.0}, global_step="3"),
            [Point("a/b/c", 1.0, 3)],
        ),
        (lambda w: w.add_scalars("loss", {}, 7), []),
    ],
)
def test_flavours_agree(
    any_writer_class: Any,
    captured: None,
    run: RecordingRun,
    tmp_path: Path,
    call: Callable[[Any], None],
    expected: list[Point],
) -> None:
    """The same call on any of the three writers is the same event."""
    with any_writer_class(str(tmp_path / "log")) as writer:
        call(writer)

    assert run.points == expected
    assert [type(point.value) for point in run.points] == [type(point.value) for point in expected]
    assert [type(point.step) for point in run.points] == [type(point.step) for point in expected]
    assert run.calls == bool(expected)
    assert tracelet.tensorboard.missed() == 0


def as_array(kind: str, dtype: str, value: float) -> Any:
    if kind == "python":
        return {"float": float, "int": int, "bool": bool}[dtype](value)
    if kind.startswith("numpy"):
        numpy = pytest.importorskip("numpy")
        scalar = numpy.dtype(dtype).type(value)
        return {"numpy": scalar, "numpy-0d": numpy.asarray(scalar), "numpy-1": numpy.asarray([[scalar]])}[kind]
    torch = pytest.importorskip("torch")
    tensor = torch.tensor(value).to(getattr(torch, dtype))
    if kind == "torch-grad":
        return tensor.reshape(1).requires_grad_()
    return {"torch-0d": tensor, "torch-1": tensor.reshape(1, 1)}[kind]


FLOATS = st.floats(width=16) | st.sampled_from([math.nan, math.inf, -math.inf, 70000.0, -0.0])
INTS = st.integers(-100, 100)
SCALARS = st.one_of(
    st.tuples(st.just("python"), st.just("float"), FLOATS),
    st.tuples(st.just("python"), st.sampled_from(["int", "bool"]), INTS),
    st.tuples(st.sampled_from(["numpy", "numpy-0d", "numpy-1"]), st.sampled_from(["float32", "float64"]), FLOATS),
    st.tuples(
        st.sampled_from(["numpy", "numpy-0d", "numpy-1"]),
        st.sampled_from(["int8", "int32", "int64", "bool"]),
        INTS,
    ),
)
TENSORS = st.one_of(
    st.tuples(
        st.sampled_from(["torch-0d", "torch-1", "torch-grad"]),
        st.sampled_from(["float32", "float64", "float16"]),
        FLOATS,
    ),
    st.tuples(st.sampled_from(["torch-0d", "torch-1"]), st.sampled_from(["int8", "int64", "uint8", "bool"]), INTS),
)
SAME_FIXTURES = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def assert_faithful(run: RecordingRun, writer: Any, scalar: tuple[str, str, float]) -> None:
    value = as_array(*scalar)
    writer.add_scalar("x", value, 1)

    found = run.points.pop().value
    expected = value.item() if hasattr(value, "item") else value
    assert type(found) is (float if isinstance(expected, float) else int)
    assert found == expected or (math.isnan(found) and math.isnan(expected))
    assert math.copysign(1, found) == math.copysign(1, expected) or math.isnan(found)


@SAME_FIXTURES
@given(scalar=SCALARS)
def test_scalars(writer: Any, run: RecordingRun, scalar: tuple[str, str, float]) -> None:
    """A number of Python's or NumPy's arrives as a plain int or float of the same value, whatever its shape."""
    assert_faithful(run, writer, scalar)


@SAME_FIXTURES
@given(scalar=TENSORS)
def test_tensors(writer: Any, run: RecordingRun, scalar: tuple[str, str, float]) -> None:
    """A tensor with one element arrives as a plain int or float, also one that requires a gradient."""
    assert_faithful(run, writer, scalar)


def test_bfloat16_keeps_its_range(captured: None, run: RecordingRun, tmp_path: Path) -> None:
    """A bfloat16 tensor arrives as it is, where torch's event file has infinity."""
    torch = pytest.importorskip("torch")
    with pytest.importorskip(TORCH).SummaryWriter(str(tmp_path)) as writer:
        writer.add_scalar("x", torch.tensor(70000.0, dtype=torch.bfloat16))

    assert run.points == [Point("x", 70144.0)]


def test_numeric_string(captured: None, run: RecordingRun, tmp_path: Path) -> None:
    """A string that spells a number, which torch writes as that number, is that number."""
    with pytest.importorskip(TORCH).SummaryWriter(str(tmp_path)) as writer:
        writer.add_scalar("x", "2.5")

    assert run.points == [Point("x", 2.5)]


def test_step_from_an_array(writer: Any, run: RecordingRun) -> None:
    """A step may be NumPy's."""
    numpy = pytest.importorskip("numpy")
    writer.add_scalar("x", 1.0, numpy.int64(4))

    assert run.points == [Point("x", 1.0, 4)]
    assert type(run.points[0].step) is int


def test_arguments_of_torch_alone(captured: None, run: RecordingRun, tmp_path: Path) -> None:
    """What torch's method takes beyond the usual arguments is not taken for anything else."""
    with pytest.importorskip(TORCH).SummaryWriter(str(tmp_path)) as writer:
        writer.add_scalar("x", 1.0, 2, 3.0, True, double_precision=True)

    assert run.points == [Point("x", 1.0, 2, time=3.0)]


def test_arguments_of_tensorboardx_alone(captured: None, run: RecordingRun, tmp_path: Path) -> None:
    """What tensorboardX's method takes beyond the usual arguments is not taken for anything else."""
    with pytest.importorskip(TENSORBOARDX).SummaryWriter(str(tmp_path)) as writer:
        writer.add_scalar("x", 1.0, 2, 3.0, "the display name", summary_description="what it is")

    assert run.points == [Point("x", 1.0, 2, time=3.0)]


def test_use_metadata(captured: None, run: RecordingRun, tmp_path: Path) -> None:
    """tensorboardX's `use_metadata` gives step and time to the calls that have none of their own."""
    with pytest.importorskip(TENSORBOARDX).SummaryWriter(str(tmp_path)) as writer:
        with writer.use_metadata(global_step=10, walltime=5.0):
            writer.add_scalar("x", 1.0)
            writer.add_scalar("x", 2.0, 11)
        writer.add_scalar("x", 3.0)

    assert run.points == [Point("x", 1.0, 10, time=5.0), Point("x", 2.0, 11, time=5.0), Point("x", 3.0)]


def test_without_a_disk(captured: None, run: RecordingRun, tmp_path: Path) -> None:
    """A tensorboardX writer that writes no files is captured like any other."""
    with pytest.importorskip(TENSORBOARDX).SummaryWriter(str(tmp_path / "log"), write_to_disk=False) as writer:
        writer.add_scalar("x", 1.0, 2)

    assert run.points == [Point("x", 1.0, 2)]
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize(
    ("module", "arguments"), [(TORCH, [None, "the name", 3]), (TENSORBOARDX, ["the name", 3])], ids=FOREIGN
)
def test_add_hparams(captured: None, run: RecordingRun, tmp_path: Path, module: str, arguments: list[Any]) -> None:
    """The metrics of `add_hparams` arrive once, under their own names, as those of the writer it was called on, though
    the original adds them to a writer of its own in a log directory of its own."""
    with pytest.importorskip(module).SummaryWriter(str(tmp_path)) as writer:
        writer.add_scalar("x", 1.0)
        writer.add_hparams({"lr": 0.1}, {"hparam/accuracy": 0.5, "hparam/loss": 2}, *arguments)
        writer.add_hparams({"lr": 0.1}, {})

    assert run.points[1:] == [Point("hparam/accuracy", 0.5, 3), Point("hparam/loss", 2, 3)]
    assert run.calls == 2


# A real run.


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Path]:
    """The directory of a real run, which is the process's active one."""
    recorder = Recorder(RunDirectory(tmp_path / "run"), on_rotate=lambda: None)
    run = Run(run_id="1", name="a run", project="a project", directory=recorder.directory.path, recorder=recorder)
    set_process_run(run)
    yield run.directory
    set_process_run(None)
    run.finish(timeout=0)  # nobody delivers it


def metrics(directory: Path) -> list[Event]:
    with LogReader(RunDirectory(directory).log("0000", Lane.STREAM)) as reader:
        frames = reader.read(1000, 1 << 20, final=False)
    events = map(decode, frames.words, frames.payloads)
    return [event for event in events if isinstance(event, MetricsLogged)]


def test_events_in_the_journal(any_writer_class: Any, captured: None, journal: Path, tmp_path: Path) -> None:
    """What a writer is given is in the journal of the active run when the call returns."""
    with any_writer_class(str(tmp_path / "a")) as writer:
        writer.add_scalar("loss", 0.5, 1, 5.0)
        writer.add_scalar("no step", 1, walltime=5.0)
        writer.add_scalar("no step", True, walltime=5.0)
        writer.add_scalars("acc", {"train": 0.5, "val": 1.0}, 2, 5.0)
        with any_writer_class(str(tmp_path / "b")) as other:
            other.add_scalar("loss", 2.0, 1, 5.0)

    assert metrics(journal) == [
        MetricsLogged(5.0, {"loss": 0.5}, 1),
        MetricsLogged(5.0, {"no step": 1}, 0),
        MetricsLogged(5.0, {"no step": 1}, 1),
        MetricsLogged(5.0, {"acc/train": 0.5, "acc/val": 1.0}, 2),
        MetricsLogged(5.0, {"loss": 2.0}, 1, (("logdir", "b"),)),
    ]


def test_after_the_run(writer: Any, journal: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A run that was finished but is still the active one gets nothing, and nothing is said about it."""
    run = tracelet.run.active_run()
    assert isinstance(run, Run)
    writer.add_scalar("x", 1.0, 1, 5.0)
    run.finish(timeout=0)
    writer.add_scalar("x", 1.0, 2, 5.0)

    assert metrics(journal) == [MetricsLogged(5.0, {"x": 1.0}, 1)]
    assert tracelet.tensorboard.missed() == 0
    assert caplog.records == []


def test_run_is_not_kept_alive(writer: Any, tmp_path: Path) -> None:
    """Capture keeps no run alive that has ended."""
    run = Run(run_id="1", name="a run", project="a project", directory=tmp_path)
    set_process_run(run)
    writer.add_scalar("x", 1.0)
    set_process_run(None)
    ended = weakref.ref(run)
    del run
    gc.collect()

    assert ended() is None


# Several log directories.


def log_once(writer_class: Any, log_dir: Path) -> None:
    with writer_class(str(log_dir)) as writer:
        writer.add_scalar("x", 1.0)


def contexts(writer_class: Any, run: RecordingRun, *log_dirs: Path) -> list[Mapping[str, Any] | None]:
    for log_dir in log_dirs:
        log_once(writer_class, log_dir)
    return [point.context for point in run.points]


def test_log_directories(any_writer_class: Any, captured: None, run: RecordingRun, tmp_path: Path) -> None:
    """The first log directory of a run has no context; each later one has its path, relative to what the first two
    have in common, and keeps it."""
    one = tmp_path / "one"
    found = contexts(
        any_writer_class,
        run,
        one / "train",
        one / "val",
        one / "test/a",
        one,
        tmp_path / "two",
        one / "train",
        one / "val",
    )

    assert found == [
        None,
        {"logdir": "val"},
        {"logdir": "test/a"},
        {"logdir": "."},
        {"logdir": "../two"},
        None,
        {"logdir": "val"},
    ]


def test_log_directory_below_the_first(writer_class: Any, captured: None, run: RecordingRun, tmp_path: Path) -> None:
    """A log directory below the first one has its path from there."""
    assert contexts(writer_class, run, tmp_path, tmp_path / "val") == [None, {"logdir": "val"}]


def test_same_directory_spelled_differently(
    any_writer_class: Any, captured: None, run: RecordingRun, tmp_path: Path
) -> None:
    """A log directory is the same one whether given as a path or a string, with or without a slash at its end."""
    for log_dir in (tmp_path, str(tmp_path), f"{tmp_path}/", f"{tmp_path}/."):
        with any_writer_class(log_dir) as writer:
            writer.add_scalar("x", 1.0)

    assert [point.context for point in run.points] == [None] * 4


def test_log_directories_of_another_run(
    writer_class: Any, captured: None, activate: Callable[[Any], None], tmp_path: Path
) -> None:
    """Each run has a first log directory of its own, also where two runs take turns."""
    runs = [RecordingRun(), RecordingRun()]
    for run, name in ((0, "a"), (1, "b"), (0, "b"), (1, "a"), (0, "a"), (1, "b")):
        activate(runs[run])
        log_once(writer_class, tmp_path / name)

    assert [point.context for point in runs[0].points] == [None, {"logdir": "b"}, None]
    assert [point.context for point in runs[1].points] == [None, {"logdir": "a"}, None]


def test_log_directories_across_flavours(captured: None, run: RecordingRun, tmp_path: Path) -> None:
    """Writers of different libraries share the log directories of the run."""
    log_once(pytest.importorskip(TENSORBOARDX).SummaryWriter, tmp_path / "a")
    log_once(tracelet.tensorboard.SummaryWriter, tmp_path / "b")
    log_once(tracelet.tensorboard.SummaryWriter, tmp_path / "a")

    assert [point.context for point in run.points] == [None, {"logdir": "b"}, None]


def test_add_scalars_has_the_context(any_writer_class: Any, captured: None, run: RecordingRun, tmp_path: Path) -> None:
    """`add_scalars` has the context of its writer's log directory."""
    log_once(any_writer_class, tmp_path / "a")
    with any_writer_class(str(tmp_path / "b")) as writer:
        writer.add_scalars("x", {"y": 1.0}, 2)

    assert run.points[1:] == [Point("x/y", 1.0, 2, {"logdir": "b"})]


# The originals.


def records(directory: Path) -> dict[str, list[bytes]]:
    """The records of the event files by directory, without the first of each file, which has the time of creation."""
    found = {}
    for file in sorted(directory.rglob("events.*")):
        data, entries = file.read_bytes(), []
        while data:  # TFRecord: length, its checksum, the record, its checksum
            end = 12 + int.from_bytes(data[:8], "little")
            entries.append(data[12:end])
            data = data[end + 4 :]
        found[str(file.parent.relative_to(directory))] = entries[1:]
    return found


def test_files_are_the_same(writer_class: Any, run: RecordingRun, tmp_path: Path) -> None:
    """The event files have the same bytes in them with capture as without."""

    def log(directory: Path) -> dict[str, list[bytes]]:
        with writer_class(str(directory)) as writer:
            results = [
                writer.add_scalar("x", 0.5, 1, 1.0),
                writer.add_scalar("x", math.nan, walltime=2.0),
                writer.add_scalars("main", {"a": 1, "b": 2.5}, 3, 4.0),
            ]
        assert results == [None, None, None]
        return records(directory)

    without = log(tmp_path / "without")
    tracelet.tensorboard.install()
    try:
        assert log(tmp_path / "with") == without
    finally:
        tracelet.tensorboard.uninstall()
    assert len(run.points) == 4
    assert sum(map(len, without.values())) == 4


@pytest.mark.parametrize(
    ("arguments", "errors"),
    [
        (("x", "no number", 1), (ValueError, TypeError)),
        (("x", None, 1), NotImplementedError),
        (("x", 1j, 1), TypeError),
        (("x", 1.0, "no step"), ValueError),
        (("x", 1.0, 2**63), ValueError),
        (("x",), TypeError),
        (("x", 1.0, 1, 2.0, True, False, "too", "many"), TypeError),
    ],
)
def test_exceptions_pass(writer: Any, run: RecordingRun, arguments: Any, errors: Any) -> None:
    """What the original raises passes unchanged, and there is no event."""
    with pytest.raises(errors) as original:
        type(writer).add_scalar.__wrapped__(writer, *arguments)
    with pytest.raises(errors) as found:
        writer.add_scalar(*arguments)

    assert str(found.value) == str(original.value)
    assert type(found.value) is type(original.value)
    assert run.points == []
    assert tracelet.tensorboard.missed() == 0

    writer.add_scalar("x", 1.0)
    assert len(run.points) == 1


def test_signature_is_kept(writer_class: Any, captured: None) -> None:
    """A captured method has the name, documentation and signature of the original."""
    method = writer_class.add_scalar

    assert method.__name__ == "add_scalar"
    assert list(inspect.signature(method).parameters)[:5] == ["self", "tag", "scalar_value", "global_step", "walltime"]
    assert "Add scalar data" in method.__doc__


# Which calls are captured.


def test_early_writer(writer_class: Any, run: RecordingRun, tmp_path: Path) -> None:
    """A writer made before capture began is captured, also through a bound method taken since."""
    with writer_class(str(tmp_path)) as writer:
        writer.add_scalar("x", 1.0)
        tracelet.tensorboard.install()
        writer.add_scalar("x", 2.0)
        add_scalar = writer.add_scalar
        add_scalar("x", 3.0)
        tracelet.tensorboard.uninstall()
        writer.add_scalar("x", 4.0)
        add_scalar("x", 5.0)

    assert [point.value for point in run.points] == [2.0, 3.0]


def test_subclass(writer_class: Any, captured: None, run: RecordingRun, tmp_path: Path) -> None:
    """A subclass that calls super() is captured once."""

    class Doubling(writer_class):  # type: ignore[misc]
        def add_scalar(self, tag: str, scalar_value: float, *args: Any) -> None:
            super().add_scalar(tag, 2 * scalar_value, *args)

    with Doubling(str(tmp_path)) as writer:
        writer.add_scalar("x", 1.0, 3)

    assert run.points == [Point("x", 2.0, 3)]


def test_after_close(writer: Any, run: RecordingRun) -> None:
    """A writer that is used again after it was closed is captured."""
    writer.close()
    writer.add_scalar("x", 1.0)

    assert run.points == [Point("x", 1.0)]


def test_no_active_run(writer: Any, activate: Callable[[Any], None], caplog: pytest.LogCaptureFixture) -> None:
    """Without an active run, capture says and does nothing."""
    activate(None)
    writer.add_scalar("x", 1.0)

    assert tracelet.tensorboard.missed() == 0
    assert caplog.records == []


def test_finished_run(writer: Any, activate: Callable[[Any], None], caplog: pytest.LogCaptureFixture) -> None:
    """A run that was finished is as good as none."""
    activate(FailingRun(RunClosed("1")))
    writer.add_scalar("x", 1.0)

    assert tracelet.tensorboard.missed() == 0
    assert caplog.records == []


def test_run_is_looked_up_at_each_call(writer: Any, activate: Callable[[Any], None]) -> None:
    """A call goes to the run that is active then."""
    first, second = RecordingRun(), RecordingRun()
    for run in (first, second, first):
        activate(run)
        writer.add_scalar("x", 1.0)

    assert (len(first.points), len(second.points)) == (2, 1)


def test_threads(writer: Any, run: RecordingRun) -> None:
    """Threads that log at once hide nothing from one another, and nothing comes twice."""
    start = threading.Barrier(4)

    def log(thread: int) -> None:
        start.wait()
        for step in range(200):
            writer.add_scalar(f"thread/{thread}", float(step), step)

    switch_interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=log, args=[n]) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(switch_interval)

    assert sorted(run.points) == [Point(f"thread/{n}", float(step), step) for n in range(4) for step in range(200)]


# Capture never raises.


def test_failure_is_counted(writer: Any, activate: Callable[[Any], None], caplog: pytest.LogCaptureFixture) -> None:
    """A failure of Tracelet's own never reaches the training code: it is counted, and warned of once."""
    activate(FailingRun(OSError("the disk is full")))
    for step in range(3):
        writer.add_scalar("x", 1.0, step)
    writer.add_scalars("x", {"y": 1.0})

    assert tracelet.tensorboard.missed() == 4
    assert [(record.name, record.levelname) for record in caplog.records] == [("tracelet", "WARNING")]
    assert "the disk is full" in caplog.text


def test_failing_log_handler(writer: Any, activate: Callable[[Any], None]) -> None:
    """Not even a log handler that raises at the warning reaches the training code."""

    class Failing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError

    activate(FailingRun(OSError()))
    handler = Failing()
    logging.getLogger("tracelet").addHandler(handler)
    try:
        writer.add_scalar("x", 1.0)
    finally:
        logging.getLogger("tracelet").removeHandler(handler)

    assert tracelet.tensorboard.missed() == 1


def test_failing_lookup(writer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure to find the active run is one like any other."""

    def active_run() -> None:
        raise RuntimeError

    monkeypatch.setattr(tracelet.run, "active_run", active_run)
    writer.add_scalar("x", 1.0)

    assert tracelet.tensorboard.missed() == 1


def test_interrupt_passes(writer: Any, activate: Callable[[Any], None]) -> None:
    """Ctrl-C while capture works is the user's, not a failure of capture."""
    activate(FailingRun(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        writer.add_scalar("x", 1.0)

    assert tracelet.tensorboard.missed() == 0


# Install and uninstall.


def test_uninstall_restores(writer_class: Any) -> None:
    """After `uninstall` the class has the very attributes it had."""
    before = dict(vars(writer_class))
    finders = list(sys.meta_path)
    tracelet.tensorboard.install()
    assert vars(writer_class)["add_scalar"] is not before["add_scalar"]
    tracelet.tensorboard.uninstall()

    assert vars(writer_class) == before
    assert list(vars(writer_class)) == list(before)
    assert sys.meta_path == finders


def test_installs_are_counted(writer_class: Any, captured: None, run: RecordingRun, tmp_path: Path) -> None:
    """Capture goes on, once per call, until each `install` had its `uninstall`."""
    method = writer_class.add_scalar
    tracelet.tensorboard.install()
    assert writer_class.add_scalar is method
    log_once(writer_class, tmp_path)
    tracelet.tensorboard.uninstall()
    log_once(writer_class, tmp_path)

    assert len(run.points) == 2


def test_uninstall_alone(writer_class: Any, run: RecordingRun, tmp_path: Path) -> None:
    """`uninstall` without `install` does nothing, then or later."""
    tracelet.tensorboard.uninstall()
    tracelet.tensorboard.install()
    log_once(writer_class, tmp_path)
    tracelet.tensorboard.uninstall()

    assert len(run.points) == 1


def test_foreign_patch_stays(
    writer_class: Any, run: RecordingRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A patch that somebody put on top is left alone by `uninstall`, nothing is captured below it any more, and a
    second `install` captures once."""
    foreign_calls = []
    monkeypatch.setattr(
        writer_class, "add_scalar", original := vars(writer_class)["add_scalar"]
    )  # to restore at the end
    tracelet.tensorboard.install()
    ours = writer_class.add_scalar

    def foreign(self: Any, *args: Any) -> Any:
        foreign_calls.append(args)
        return ours(self, *args)

    writer_class.add_scalar = foreign
    log_once(writer_class, tmp_path)
    tracelet.tensorboard.uninstall()
    assert vars(writer_class)["add_scalar"] is foreign
    log_once(writer_class, tmp_path)
    assert (len(run.points), len(foreign_calls)) == (1, 2)

    tracelet.tensorboard.install()
    log_once(writer_class, tmp_path)
    tracelet.tensorboard.uninstall()
    assert vars(writer_class)["add_scalar"] is foreign
    assert (len(run.points), len(foreign_calls)) == (2, 3)
    assert ours.__wrapped__ is original


def test_import_is_light() -> None:
    """Importing the module, and capturing, imports neither torch, tensorboardX, tensorboard nor NumPy."""
    script = """
        import sys, tracelet.tensorboard
        tracelet.tensorboard.install()
        print(*({"torch", "tensorboardX", "tensorboard", "numpy"} & set(sys.modules)))
    """
    assert run_script(script) == []


@pytest.mark.parametrize(
    "imports",
    [
        "from tensorboardX import SummaryWriter",
        "import torch; tracelet.tensorboard.install(); from torch.utils.tensorboard import SummaryWriter",
    ],
)
def test_late_import(imports: str, tmp_path: Path) -> None:
    """A library that is imported after capture began is captured; torch may have been there before its writer."""
    pytest.importorskip(TORCH if "torch" in imports else TENSORBOARDX)
    script = f"""
        import tracelet.run, tracelet.tensorboard
        class Run:
            log_dirs = None
            def _log_point(self, *args): print(*args)
        run = Run()
        tracelet.run.active_run = lambda: run
        if "install" not in {imports!r}: tracelet.tensorboard.install()
        {imports}
        with SummaryWriter({str(tmp_path)!r}) as writer:
            writer.add_scalar("x", 0.5, 1)
            tracelet.tensorboard.uninstall()
            writer.add_scalar("x", 0.5, 2)
    """
    assert run_script(script) == ["x", "0.5", "1"]


def test_late_import_leaves_no_trace(tmp_path: Path) -> None:
    """A module that was imported late has the loader it would have had, can be reloaded, and is put back at the end."""
    (tmp_path / "tensorboardX").mkdir()
    (tmp_path / "tensorboardX/__init__.py").write_text("")
    (tmp_path / "tensorboardX/writer.py").write_text("class SummaryWriter:\n    def add_scalar(self): pass\n")
    script = """
        import importlib, importlib.util, tracelet.tensorboard
        tracelet.tensorboard.install()
        found = importlib.util.find_spec("tensorboardX.writer")
        from tensorboardX import writer
        print(hasattr(writer.SummaryWriter.add_scalar, "__wrapped__"))
        print(type(writer.__loader__).__name__, "exec_module" in vars(writer.__loader__))
        importlib.reload(writer)
        print(hasattr(writer.SummaryWriter.add_scalar, "__wrapped__"))
        tracelet.tensorboard.uninstall()
        print(hasattr(writer.SummaryWriter.add_scalar, "__wrapped__"))
        importlib.reload(writer)
        print(hasattr(writer.SummaryWriter.add_scalar, "__wrapped__"))
        found.loader.exec_module(writer)
        print(hasattr(writer.SummaryWriter.add_scalar, "__wrapped__"))
    """
    assert run_script(script, tmp_path) == ["True", "SourceFileLoader", "False", "True", "False", "False", "False"]


def test_late_import_that_fails(tmp_path: Path) -> None:
    """An import that fails does so with its own error, and may succeed later."""
    (tmp_path / "tensorboardX").mkdir()
    (tmp_path / "tensorboardX/__init__.py").write_text("")
    (tmp_path / "tensorboardX/writer.py").write_text(
        "import os\nassert 'OK' in os.environ, 'mine'\nclass SummaryWriter:\n    def add_scalar(self): pass\n"
    )
    script = """
        import os, tracelet.tensorboard
        tracelet.tensorboard.install()
        try:
            import tensorboardX.writer
        except AssertionError as error:
            print(error)
        os.environ["OK"] = "1"
        import tensorboardX.writer
        print(hasattr(tensorboardX.writer.SummaryWriter.add_scalar, "__wrapped__"))
    """
    assert run_script(script, tmp_path) == ["mine", "True"]


def test_absent_library(tmp_path: Path) -> None:
    """A library that isn't installed is as absent with capture as without."""
    (tmp_path / "tensorboardX.py").write_text("")
    script = """
        import tracelet.tensorboard
        tracelet.tensorboard.install()
        try:
            import tensorboardX.writer
        except ModuleNotFoundError as error:
            print(error.name)
    """
    assert run_script(script, tmp_path) == ["tensorboardX.writer"]


def test_time_is_frozen_by_the_run(writer: Any, run: RecordingRun) -> None:
    """Without a walltime, the run itself takes the time."""
    before = time.time()
    writer.add_scalar("x", 1.0, walltime=None)
    writer.add_scalar("x", 1.0, walltime=before)

    assert [point.time for point in run.points] == [None, before]


def test_what_is_told_inside_uncaptured_stays_out(run: RecordingRun, writer: Any) -> None:
    """A block of `uncaptured` keeps a writer's calls out of the run, and those after it are captured again."""
    with tracelet.tensorboard.uncaptured():
        writer.add_scalar("loss", 1.0, 1)
        with tracelet.tensorboard.uncaptured():
            writer.add_scalar("loss", 2.0, 2)
        writer.add_scalar("loss", 3.0, 3)
    writer.add_scalar("loss", 4.0, 4)
    assert run.points == [Point("loss", 4.0, 4)]
