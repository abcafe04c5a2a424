"""Capture where people do odd things: patches of others, misbehaving writers, calls within calls, unusual arguments."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import numpy as np
import pytest

import tracelet
from tracelet import Run, media
from tracelet.codec import decode
from tracelet.events import (
    AudioLogged,
    CurveLogged,
    Event,
    FigureLogged,
    FileLogged,
    HParamsLogged,
    ImageLogged,
    Lane,
    MeshLogged,
    MetricsLogged,
    RunStarted,
)
from tracelet.journal import LogReader, RunDirectory
from tracelet.tensorboard import SummaryWriter

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

tensorboardx: Any = pytest.importorskip("tensorboardX")
summaries: Any = pytest.importorskip("tensorboardX.summary")

RGB = (np.arange(3 * 6 * 5) * 7 % 256).astype(np.uint8).reshape(3, 6, 5)
VERTICES = np.array([[[1, 1, 1], [-1, -1, 1], [1, -1, -1], [-1, 1, -1]]], np.float32)
FACES = np.array([[[0, 2, 3], [0, 3, 1]]])


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    run = tracelet.start_logging(exp_name="test", directory=tmp_path / "store")
    yield run
    tracelet.stop_logging()


@pytest.fixture
def writer(run: Run, tmp_path: Path) -> Iterator[Any]:
    with tensorboardx.SummaryWriter(str(tmp_path / "log")) as writer:
        yield writer


def events(run: Run) -> list[Any]:
    directory = RunDirectory(run.directory)
    found: list[Event] = []
    for lane in (Lane.STREAM, Lane.BULK):
        if directory.log("0000", lane).exists():
            with LogReader(directory.log("0000", lane)) as reader:
                frames = reader.read(10**6, 10**9, final=False)
                found += map(decode, frames.words, frames.payloads)
    return [
        msgspec.structs.replace(event, path=str(run.directory / event.path)) if isinstance(event, FileLogged) else event
        for event in found
        if not isinstance(event, RunStarted)
    ]


def names(run: Run) -> list[str]:
    return [name for event in events(run) if isinstance(event, MetricsLogged) for name in event.values]


# Blocks that nobody captures.


def test_blocks_that_end_out_of_order(run: Run, writer: Any) -> None:
    """Blocks of `uncaptured` in generators that end in the order in which they began mute nothing afterwards."""

    def block() -> Iterator[None]:
        with tracelet.tensorboard.uncaptured():
            yield

    first, second = block(), block()
    next(first)
    next(second)
    writer.add_scalar("muted", 1.0, 1)
    first.close()  # type: ignore[attr-defined]
    writer.add_scalar("muted still", 1.0, 1)
    second.close()  # type: ignore[attr-defined]
    writer.add_scalar("x", 1.0, 1)
    assert names(run) == ["x"]


@pytest.mark.anyio
async def test_a_block_mutes_its_own_task(tmp_path: Path) -> None:
    """While a task waits in a block of `uncaptured`, another task's calls are captured."""
    import anyio

    async def other(writer: Any, inside: anyio.Event, done: anyio.Event) -> None:
        await inside.wait()
        writer.add_scalar("other", 1.0, 1)
        done.set()

    async with tracelet.open_run(exp_name="test", directory=tmp_path / "store") as run:
        with tensorboardx.SummaryWriter(str(tmp_path / "log")) as writer:
            inside, done = anyio.Event(), anyio.Event()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(other, writer, inside, done)
                with tracelet.tensorboard.uncaptured():
                    writer.add_scalar("muted", 1.0, 1)
                    inside.set()
                    await done.wait()
        assert names(run) == ["other"]  # type: ignore[arg-type]


# Calls within calls.


def test_a_signal_handler_within_a_call(run: Run, writer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a signal handler logs in the middle of an original method is captured, and so is the call itself."""
    former: Callable[..., Any] = writer.file_writer.event_writer.add_event

    def interrupted(event: Any) -> None:
        if event.summary.value[0].tag == "main":
            signal.raise_signal(signal.SIGUSR1)
        former(event)

    monkeypatch.setattr(writer.file_writer.event_writer, "add_event", interrupted)

    def handle(number: int, frame: FrameType | None) -> None:
        writer.add_scalar("handler", 2.0, 1)

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        writer.add_scalar("main", 1.0, 1)
        writer.add_text("main", "words", 1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert names(run) == ["handler", "main"]


def test_a_subclass_that_adds_more(run: Run, tmp_path: Path) -> None:
    """What a subclass logs besides, within its own version of a method, is captured, also within `add_figure`."""
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    class Thorough(tensorboardx.SummaryWriter):  # type: ignore[misc]
        def add_image(self, tag: str, *arguments: Any, **options: Any) -> None:
            super().add_image(tag, *arguments, **options)
            self.add_scalar(f"{tag}/shown", 1.0, 1)

    with Thorough(str(tmp_path / "log")) as writer:
        writer.add_image("i", RGB, 1)
        writer.add_figure("f", Figure((1, 1), dpi=20), 1)
    assert names(run) == ["i/shown", "f/shown"]
    assert [type(event) for event in events(run) if isinstance(event, FileLogged)] == [ImageLogged, FigureLogged]


def test_metrics_of_a_model_that_is_traced(run: Run, tmp_path: Path) -> None:
    """What a model logs while `add_graph` runs it is captured."""
    torch = pytest.importorskip("torch")
    torch_writers = pytest.importorskip("torch.utils.tensorboard")
    with torch_writers.SummaryWriter(str(tmp_path / "log")) as writer:

        class Talkative(torch.nn.Module):  # type: ignore[misc, name-defined]
            def forward(self, x: Any) -> Any:
                writer.add_scalar("seen", 1.0, 1)
                return x * 2

        writer.add_graph(Talkative(), torch.zeros(1))
    assert "seen" in names(run)


# What misbehaves.


def test_a_writer_whose_log_dir_raises(run: Run, tmp_path: Path) -> None:
    """Capture doesn't raise where asking for the log directory does; the call is counted as missed."""

    class Homeless(tensorboardx.SummaryWriter):  # type: ignore[misc]
        homeless = False

        @property
        def logdir(self) -> str:
            if self.homeless:
                raise RuntimeError("no place")
            return str(tmp_path / "log")

        @logdir.setter
        def logdir(self, value: str) -> None:
            """It has its own."""

    with Homeless(str(tmp_path / "log")) as writer:
        writer.homeless = True
        writer.add_text("t", "words")
        writer.add_scalar("s", 1.0, 1)
        writer.homeless = False
    assert tracelet.tensorboard.missed() == 2


@pytest.mark.parametrize("given", [b"x", object()], ids=["bytes", "an object"])
def test_rubbish_for_a_writer_without_files(run: Run, tmp_path: Path, given: object) -> None:
    """A writer that takes anything goes on doing so; what is no summary is counted as missed."""
    with tensorboardx.SummaryWriter(str(tmp_path / "log"), write_to_disk=False) as writer:
        assert writer.file_writer.add_summary(given, 1) is None
    assert tracelet.tensorboard.missed() == 1
    assert events(run) == []


def test_somebody_elses_wrapper_between_two_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrapper that others put on ours, and that stays after `stop_logging`, makes nothing arrive twice."""
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    kind = tensorboardx.SummaryWriter
    tracelet.start_logging(exp_name="first", directory=tmp_path / "store")
    for method in ("add_image", "add_scalar", "add_text"):
        ours = getattr(kind, method)

        def theirs(self: Any, *args: Any, ours: Any = ours, **kwargs: Any) -> Any:
            return ours(self, *args, **kwargs)

        monkeypatch.setattr(kind, method, theirs)
    tracelet.stop_logging()
    run = tracelet.start_logging(exp_name="second", directory=tmp_path / "store")
    try:
        with kind(str(tmp_path / "log")) as writer:
            writer.add_figure("f", Figure((1, 1), dpi=20), 1)
            writer.add_scalar("s", 1.0, 1)
            writer.add_text("t", "words", 1)
        assert [type(event).__name__ for event in events(run)] == ["MetricsLogged", "TextLogged", "FigureLogged"]
    finally:
        tracelet.stop_logging()


# Unusual arguments.


@pytest.mark.parametrize("own", [False, True], ids=["captured", "ours"])
def test_unusual_arguments(run: Run, tmp_path: Path, own: bool) -> None:
    """What the originals take is taken: small integers as pixels, colours beyond 1, a batch's common faces, short
    sound, a single weight, lists as hyperparameters."""
    with SummaryWriter() if own else tensorboardx.SummaryWriter(str(tmp_path / "log")) as writer:
        writer.add_image("int8", np.array([[0, 1], [1, 0]], np.int8), dataformats="HW")
        writer.add_mesh("colours", VERTICES, np.array([[[10.0, 200, 0]] * 4]))
        writer.add_mesh("common", np.concatenate([VERTICES, VERTICES]), None, FACES)
        if own:
            writer.add_audio("short", np.array([[0, 0.1, 0.2, 0.3]]))
        writer.add_pr_curve("weighed", np.array([0, 1, 1]), np.array([0.1, 0.9, 0.5]), weights=2.0, num_thresholds=3)
        writer.add_image_with_boxes("labels", RGB, np.array([[0, 1, 3, 4, 9]]), labels=np.array(["a"]))
        writer.add_histogram("rule", np.arange(9.0), bins=np.str_("auto"))
        writer.add_embedding(np.eye(2), metadata=["a", "b"], metadata_header=["letter"])
        if not own:
            writer.add_hparams({"dims": np.array([1, 2]), "lr": np.float32(0.5)}, {"acc": 0.5})
    assert tracelet.tensorboard.missed() == 0
    assert run.status().lost == 0
    by_name = {event.name: event for event in events(run) if isinstance(event, FileLogged)}
    assert media.array(by_name["int8"]).tolist() == [[0, 255], [255, 0]]  # type: ignore[arg-type]
    colours = by_name["colours"]
    assert isinstance(colours, MeshLogged)
    assert media.mesh(colours).colors == [[10, 200, 0]] * 4
    assert [media.mesh(by_name[f"common/{n}"]).faces for n in (0, 1)] == [FACES[0].tolist()] * 2  # type: ignore[arg-type]
    if own:
        short = by_name["short"]
        assert isinstance(short, AudioLogged)
        assert media.array(short).shape == (4,)
    weighed = by_name["weighed"]
    assert isinstance(weighed, CurveLogged)
    assert media.arrays(weighed)["weights"].tolist() == [2.0] * 3
    if not own:
        (trial,) = (event for event in events(run) if isinstance(event, HParamsLogged))
        assert trial.values == {"dims": [1, 2], "lr": 0.5}
        assert "acc" in names(run)


def test_tags_that_are_gone(run: Run, writer: Any) -> None:
    """Tags that can be read only once are the original's; the loss of the layout is counted."""
    writer.add_custom_scalars_multilinechart(iter(["a", "b"]))
    assert tracelet.tensorboard.missed() == 1


def test_a_step_of_zero_in_use_metadata(run: Run, writer: Any) -> None:
    """A step of 0 is a step, also for what goes to the file writer; ours heeds it, too."""
    with writer.use_metadata(global_step=0):
        for value in (0.5, 0.75):
            writer.file_writer.add_summary(summaries.scalar("s", value))
    own = SummaryWriter()
    with own.use_metadata(global_step=9):
        own._get_file_writer().add_summary(summaries.scalar("own", 0.5))
    steps = [(name, event.step) for event in events(run) for name in event.values]
    assert steps == [("s", 0), ("s", 0), ("own", 9)]


def test_event_files_have_it_all(run: Run, tmp_path: Path) -> None:
    """With `write_tensorboard`, step and time of `use_metadata`, and what goes to `file_writer`, are in the files."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with SummaryWriter(tmp_path / "log", write_tensorboard=True) as writer:
        with writer.use_metadata(global_step=5, walltime=7.0):
            writer.add_scalar("a", 1.0)
        writer._get_file_writer().add_summary(summaries.scalar("raw", 1.0), 3)
    files = accumulator.EventAccumulator(str(tmp_path / "log"))
    files.Reload()
    assert [(one.step, one.wall_time) for one in files.Scalars("a")] == [(5, 7.0)]
    assert [one.step for one in files.Scalars("raw")] == [3]
    assert sorted(names(run)) == ["a", "raw"]


@pytest.mark.parametrize(("shape", "count"), [((4, 5), 1), ((4, 5, 3), 1), ((2, 4, 5, 3), 2)])
def test_pixels_of_a_figure(run: Run, shape: tuple[int, ...], count: int) -> None:
    """Figures that were drawn already can be shown, grey ones and several included."""
    run.log_figure("f", np.zeros(shape, np.uint8), layout="NHWC"[-len(shape) :] if len(shape) > 2 else "HW")
    (event,) = events(run)
    assert len(media.pictures(event)) == count


def test_thresholds_in_the_predictions_own_precision(run: Run) -> None:
    """A prediction of 0.3 counts at the threshold 0.3, whether it has 32 bits or 64."""
    guesses = np.array([0.1, 0.2, 0.3, 0.7])
    for kind in ("float32", "float64"):
        run.log_pr_curve(kind, [0, 1, 0, 1], guesses.astype(kind), thresholds=11)
    single, double = (media.curve(event) for event in events(run))
    assert single == double
