"""The contract of all methods of a SummaryWriter: the same calls yield the same events, whoever's writer is called.

Each call stands beside the verbs that say the same; what a writer says is compared with what these say.
"""

from __future__ import annotations

import inspect
import json
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest

import tracelet
from tracelet import Run, media
from tracelet.codec import decode
from tracelet.events import (
    EmbeddingLogged,
    Event,
    FigureLogged,
    FileLogged,
    HistogramLogged,
    ImageLogged,
    Lane,
    MediaLogged,
    MetricsLogged,
    RunStarted,
)
from tracelet.journal import LogReader, RunDirectory

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of torch, tensorboardX, protobuf and matplotlib
    pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning"),
]

TORCH, TENSORBOARDX, OWN = "torch.utils.tensorboard", "tensorboardX", "tracelet.tensorboard"

VALUES = np.array([0.5, -1.0, 2.5, 2.5, 1e-9, 30.0, 0.0])
RGB = (np.arange(3 * 6 * 5) * 7 % 256).astype(np.uint8).reshape(3, 6, 5)
BATCH = np.stack([RGB, 255 - RGB])
FRAMES = (np.arange(2 * 3 * 3 * 4 * 4) * 5 % 256).astype(np.uint8).reshape(2, 3, 3, 4, 4)
SOUND = np.sin(np.arange(400) / 8).astype(np.float32)
VECTORS = np.arange(8.0).reshape(4, 2)
SPRITES = (np.arange(4 * 3 * 2 * 2) / 48).astype(np.float32).reshape(4, 3, 2, 2)
LABELS, GUESSES = np.array([0, 1, 1, 0, 1]), np.array([0.1, 0.9, 0.4, 0.6, 0.8])
VERTICES = np.array([[[1, 1, 1], [-1, -1, 1], [1, -1, -1], [-1, 1, -1]]], np.float32)
COLORS = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 0, 255]]])
FACES = np.array([[[0, 2, 3], [0, 3, 1], [0, 1, 2], [1, 3, 2]]])
COUNTS = ("true_positives", "false_positives", "true_negatives", "false_negatives")
TIME = 1_700_000_000.25


class Call(NamedTuple):
    """A call of a writer's method, and the verbs that say the same."""

    method: str
    call: Callable[[Any], Any]
    verbs: Callable[[Run], Any]
    only: tuple[str, ...] = (TORCH, TENSORBOARDX, OWN)
    """The writers that have it, or take it in this form."""


def figure(width: float = 1.0) -> Any:
    from matplotlib.figure import Figure

    drawn = Figure((width, 1.0), dpi=40)
    drawn.add_axes((0, 0, 1, 1)).plot([0, 1], [0, 1])
    return drawn


def drawn(*figures: Any) -> Any:
    """The pixels of figures, as `log_figure` takes them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    found = []
    for one in figures:
        canvas = FigureCanvasAgg(one)
        canvas.draw()
        found.append(np.asarray(canvas.buffer_rgba()))
    return np.stack(found) if len(found) > 1 else found[0]


def model() -> Any:
    torch = pytest.importorskip("torch")
    return torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU())


def traced(writer: Any) -> None:
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        writer.add_graph(model(), torch.zeros(1, 3))


def onnx(folder: Path) -> Path:
    onnx = pytest.importorskip("onnx")
    node = onnx.helper.make_node("Relu", ["x"], ["y"], name="relu")
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
    path = folder / "model.onnx"
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", ends[:1], ends[1:])), path)
    return path


def two_meshes(run: Run) -> None:
    run.log_mesh("m/0", VERTICES[0], colors=COLORS[0].astype(np.uint8))
    run.log_mesh("m/1", VERTICES[0] * 2, colors=COLORS[0].astype(np.uint8))


LAYOUT = {"Taiwan": {"twse": ["Multiline", ["twse/0050", "twse/2330"]]}, "USA": {"dow": ["Margin", ["a", "b", "c"]]}}

CALLS = [
    Call("add_scalar", lambda w: w.add_scalar("s", 0.5, 3, TIME), lambda r: r.log_metric("s", 0.5, 3, time=TIME)),
    Call(
        "add_scalar", lambda w: w.add_scalar("s", np.float32(0.1)), lambda r: r.log_metric("s", float(np.float32(0.1)))
    ),
    Call(
        "add_scalars",
        lambda w: w.add_scalars("main", {"a": 1, "b": np.array([2.0])}, 3, TIME),
        lambda r: r.log_metrics({"main/a": 1, "main/b": 2.0}, 3, time=TIME),
    ),
    Call(
        "add_hparams",
        lambda w: w.add_hparams({"lr": 0.1, "bs": 8, "opt": "adam", "bias": True}, {"acc": 0.5}, global_step=3),
        lambda r: r.log_hparams({"lr": 0.1, "bs": 8, "opt": "adam", "bias": True}, {"acc": 0.5}, 3),
    ),
    Call(
        "add_hparams",
        lambda w: w.add_hparams({"lr": 0.1}, {"acc": 1}, {"lr": [0.1, 0.2]}, "trial", 3),
        lambda r: r.log_hparams({"lr": 0.1}, {"acc": 1}, 3, domains={"lr": [0.1, 0.2]}, name="trial"),
        (TORCH, OWN),
    ),
    Call(
        "add_hparams",
        lambda w: w.add_hparams({"lr": 0.1}, {"acc": 1}, name="trial", global_step=3),
        lambda r: r.log_hparams({"lr": 0.1}, {"acc": 1}, 3, name="trial"),
        (TENSORBOARDX, OWN),
    ),
    Call(
        "add_tensor",
        lambda w: w.add_tensor("t", pytest.importorskip("torch").arange(6.0).reshape(2, 3), 3, TIME),
        lambda r: r.log_tensor("t", np.arange(6, dtype=np.float32).reshape(2, 3), 3, time=TIME),
        (TORCH, OWN),
    ),
    Call(
        "add_histogram",
        lambda w: w.add_histogram("h", VALUES, 3, walltime=TIME),
        lambda r: r.log_histogram("h", VALUES, 3, bins="tensorflow", time=TIME),
    ),
    Call(
        "add_histogram",
        lambda w: w.add_histogram("h", VALUES.reshape(7, 1), 3, "auto", TIME, 5),
        lambda r: r.log_histogram("h", VALUES, 3, bins="auto", max_bins=5, time=TIME),
    ),
    Call(
        "add_histogram",
        lambda w: w.add_histogram("h", VALUES, bins=[-1.0, 0.0, 5.0, 40.0]),
        lambda r: r.log_histogram("h", VALUES, bins=[-1.0, 0.0, 5.0, 40.0]),
    ),
    Call(
        "add_histogram", lambda w: w.add_histogram("h", VALUES, bins=7), lambda r: r.log_histogram("h", VALUES, bins=7)
    ),
    Call(
        "add_histogram_raw",
        lambda w: w.add_histogram_raw("h", 0.5, 2.5, 3, 4.0, 6.0, [1.0, 2.0, 3.0], [1, 0, 2], 3, TIME),
        lambda r: r.log_histogram("h", step=3, counts=[1.0, 0.0, 2.0], edges=[0.5, 1.0, 2.0, 3.0], time=TIME),
    ),
    Call(
        "add_image",
        lambda w: w.add_image("i", RGB, 3, TIME),
        lambda r: r.log_image("i", RGB, 3, layout="CHW", time=TIME),
    ),
    Call(
        "add_image",
        lambda w: w.add_image("i", RGB.transpose(1, 2, 0) / 255.0, 3, dataformats="HWC"),
        lambda r: r.log_image("i", RGB.transpose(1, 2, 0) / 255.0, 3, layout="HWC"),
    ),
    Call(
        "add_image",
        lambda w: w.add_image("i", RGB[0], dataformats="HW"),
        lambda r: r.log_image("i", RGB[0], layout="HW"),
    ),
    Call(
        "add_image",
        lambda w: w.add_image("i", (RGB > 9).astype(np.int64)),
        lambda r: r.log_image("i", (RGB > 9).astype(np.uint8) * 255, layout="CHW"),
    ),
    Call(
        "add_images",
        lambda w: w.add_images("i", BATCH, 3, TIME),
        lambda r: r.log_image("i", BATCH, 3, layout="NCHW", time=TIME),
    ),
    Call(
        "add_images",
        lambda w: w.add_images("i", BATCH.transpose(0, 2, 3, 1), 3, dataformats="NHWC"),
        lambda r: r.log_image("i", BATCH.transpose(0, 2, 3, 1), 3, layout="NHWC"),
    ),
    Call(
        "add_image_with_boxes",
        lambda w: w.add_image_with_boxes(
            "i", RGB, np.array([[0, 1, 3, 4], [1, 1, 2, 2]]), 3, walltime=TIME, dataformats="CHW", labels=["a", "b"]
        ),
        lambda r: r.log_image(
            "i", RGB, 3, layout="CHW", boxes=[[0, 1, 3, 4], [1, 1, 2, 2]], labels=["a", "b"], time=TIME
        ),
    ),
    Call(
        "add_image_with_boxes",
        lambda w: w.add_image_with_boxes("i", RGB, np.array([[0.5, 1, 3, 4]]), labels=["too", "many"], rescale=2),
        lambda r: r.log_image("i", RGB, layout="CHW", boxes=[[0.5, 1, 3, 4]]),
    ),
    Call(
        "add_image_with_boxes",
        lambda w: w.add_image_with_boxes("i", RGB.transpose(1, 2, 0), np.array([[0, 1, 3, 4]]), 3, TIME, "HWC", ["a"]),
        lambda r: r.log_image(
            "i", RGB.transpose(1, 2, 0), 3, layout="HWC", boxes=[[0, 1, 3, 4]], labels=["a"], time=TIME
        ),
        (TENSORBOARDX,),
    ),
    Call(
        "add_figure",
        lambda w: w.add_figure("f", figure(), 3, walltime=TIME),
        lambda r: r.log_figure("f", drawn(figure()), 3, layout="HWC", time=TIME),
    ),
    Call(
        "add_figure",
        lambda w: w.add_figure("f", [figure(), figure()], 3, False),
        lambda r: r.log_figure("f", drawn(figure(), figure()), 3, layout="NHWC"),
    ),
    Call(
        "add_video",
        lambda w: w.add_video("v", FRAMES, 3, 5, TIME),
        lambda r: r.log_video("v", FRAMES, 3, fps=5, layout="NTCHW", time=TIME),
    ),
    Call(
        "add_video",
        lambda w: w.add_video("v", FRAMES.transpose(0, 1, 3, 4, 2), dataformats="NTHWC"),
        lambda r: r.log_video("v", FRAMES.transpose(0, 1, 3, 4, 2), layout="NTHWC"),
        (TENSORBOARDX, OWN),
    ),
    Call(
        "add_audio",
        lambda w: w.add_audio("a", SOUND, 3, 16_000, TIME),
        lambda r: r.log_audio("a", SOUND, 3, sample_rate=16_000, time=TIME),
    ),
    Call(
        "add_audio",
        lambda w: w.add_audio("a", SOUND[None]),
        lambda r: r.log_audio("a", SOUND),
        (TORCH, OWN),
    ),
    Call("add_text", lambda w: w.add_text("t", "words", 3, TIME), lambda r: r.log_text("t", "words", 3, time=TIME)),
    Call("add_text", lambda w: w.add_text("t", "words"), lambda r: r.log_text("t", "words")),
    Call("add_graph", traced, lambda r: r.log_graph("graph", model())),
    Call(
        "add_embedding",
        lambda w: w.add_embedding(VECTORS, ["a", "b", "c", "d"], SPRITES_OF(w), 3, "e"),
        lambda r: r.log_embedding("e", VECTORS, 3, labels=["a", "b", "c", "d"], images=SPRITES.transpose(0, 2, 3, 1)),
    ),
    Call(
        "add_embedding",
        lambda w: w.add_embedding(
            VECTORS, [["a", 1], ["b", 2], ["c", 3], ["d", 4]], metadata_header=["letter", "number"], tag="e"
        ),
        lambda r: r.log_embedding(
            "e", VECTORS, labels=[["a", 1], ["b", 2], ["c", 3], ["d", 4]], columns=["letter", "number"]
        ),
    ),
    Call("add_embedding", lambda w: w.add_embedding(VECTORS), lambda r: r.log_embedding("default", VECTORS)),
    Call(
        "add_pr_curve",
        lambda w: w.add_pr_curve("p", LABELS, GUESSES, 3, 11, walltime=TIME),
        lambda r: r.log_pr_curve("p", LABELS, GUESSES, 3, thresholds=11, time=TIME),
    ),
    Call(
        "add_pr_curve",
        lambda w: w.add_pr_curve("p", LABELS, GUESSES, num_thresholds=500, weights=np.arange(5.0)),
        lambda r: r.log_pr_curve("p", LABELS, GUESSES, thresholds=127, weights=np.arange(5.0)),
    ),
    Call(
        "add_pr_curve_raw",
        lambda w: w.add_pr_curve_raw("p", [3, 2], [2, 0], [0, 2], [0, 1], [0.6, 1.0], [1.0, 0.5], 3, 2, None, TIME),
        lambda r: r.log_pr_curve(
            "p",
            step=3,
            precision=[0.6, 1.0],
            recall=[1.0, 0.5],
            counts=dict(zip(COUNTS, ([3, 2], [2, 0], [0, 2], [0, 1]), strict=True)),
            time=TIME,
        ),
    ),
    Call("add_custom_scalars", lambda w: w.add_custom_scalars(LAYOUT), lambda r: r.set_layout(LAYOUT)),
    Call(
        "add_custom_scalars_multilinechart",
        lambda w: w.add_custom_scalars_multilinechart(["a", "b"], title="t"),
        lambda r: r.set_layout({"default": {"t": ("Multiline", ["a", "b"])}}),
    ),
    Call(
        "add_custom_scalars_marginchart",
        lambda w: w.add_custom_scalars_marginchart(["a", "b", "c"], "c"),
        lambda r: r.set_layout({"c": {"untitled": ("Margin", ["a", "b", "c"])}}),
    ),
    Call(
        "add_mesh",
        lambda w: w.add_mesh("m", VERTICES, COLORS, FACES, {"lights": [{"cls": "AmbientLight"}]}, 3, TIME),
        lambda r: r.log_mesh(
            "m",
            VERTICES[0],
            3,
            colors=COLORS[0],
            faces=FACES[0],
            config={"lights": [{"cls": "AmbientLight"}]},
            time=TIME,
        ),
    ),
    Call(
        "add_mesh",
        lambda w: w.add_mesh(
            "m", np.concatenate([VERTICES, VERTICES * 2]), colors=np.concatenate([COLORS] * 2) / 255.0
        ),
        lambda r: two_meshes(r),
    ),
]


def SPRITES_OF(writer: Any) -> Any:  # noqa: N802
    """Images as the writer takes them: those of torch and tensorboardX call methods of tensors."""
    if type(writer).__module__.startswith("tracelet"):
        return SPRITES
    return pytest.importorskip("torch").from_numpy(SPRITES)


def events(run: Run) -> list[Event]:
    """What was said, without its times and places, but for the times that were given."""
    directory = RunDirectory(run.directory)
    found: list[Event] = []
    for lane in (Lane.STREAM, Lane.BULK):
        if not directory.log("0000", lane).exists():
            continue
        with LogReader(directory.log("0000", lane)) as reader:
            frames = reader.read(10**6, 10**9, final=False)
            found += map(decode, frames.words, frames.payloads)
    return [
        msgspec.structs.replace(event, path=str(run.directory / event.path)) if isinstance(event, FileLogged) else event
        for event in found
        if not isinstance(event, RunStarted)
    ]


def fact(event: Event) -> tuple[Any, ...]:
    """An event as what can be compared: its file by its content."""
    plain = msgspec.structs.asdict(event)
    plain["time"] = event.time if event.time == TIME else None
    for place in ("path", "size", "mtime_ns"):
        plain.pop(place, None)
    content: Any = None
    if isinstance(event, MediaLogged):
        if event.format == "npz":
            content = {name: array.tolist() for name, array in media.arrays(event).items()}
        elif event.format == "npy":
            array = media.array(event)
            content = (array[..., :3] if isinstance(event, FigureLogged) else array).tolist()
            if isinstance(event, FigureLogged | HistogramLogged):
                content = np.ravel(content).tolist()
        else:
            content = Path(event.path).read_bytes()
    return type(event).__name__, plain, content


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    monkeypatch.chdir(tmp_path)
    run = tracelet.start_logging(exp_name="test", project="tests", directory=tmp_path / "store")
    yield run
    assert tracelet.tensorboard.missed() == 0
    tracelet.stop_logging()


def said(tmp_path: Path, say: Callable[[Run], object]) -> list[tuple[Any, ...]]:
    """What verbs say."""
    reference = tracelet.start_logging(exp_name="reference", directory=tmp_path / "reference", strict=True)
    say(reference)
    found = [fact(event) for event in events(reference)]
    tracelet.stop_logging()
    return found


def writer_class(module: str) -> Any:
    if module == TORCH:
        pytest.importorskip("tensorboard")
    return pytest.importorskip(module).SummaryWriter


NEEDS = {(TENSORBOARDX, "add_audio"): "soundfile", (TENSORBOARDX, "add_graph"): "torch"}


@pytest.mark.parametrize("module", [TORCH, TENSORBOARDX, OWN])
@pytest.mark.parametrize("case", CALLS, ids=[f"{case.method}-{number}" for number, case in enumerate(CALLS)])
def test_a_call_says_what_the_verbs_say(tmp_path: Path, case: Call, module: str) -> None:
    """Each method yields the events of the verbs beside it, once, with name, step, time, context and content."""
    if module not in case.only:
        pytest.skip("this writer has no such call")
    kind = writer_class(module)
    if (module, case.method) in NEEDS:
        pytest.importorskip(NEEDS[module, case.method])
    expected = said(tmp_path, case.verbs)
    assert expected
    run = tracelet.start_logging(exp_name="test", directory=tmp_path / "store")
    try:
        with kind(str(tmp_path / "log")) as writer:
            case.call(writer)
        found = [fact(event) for event in events(run)]
        assert found == expected
        assert tracelet.tensorboard.missed() == 0
    finally:
        tracelet.stop_logging()


@pytest.mark.parametrize("module", [TORCH, TENSORBOARDX])
def test_every_method_has_its_case(module: str) -> None:
    """No `add_*` of torch's or tensorboardX's is without a case above, and ours has all of them."""
    kind = writer_class(module)
    methods = {name for name, _ in inspect.getmembers(kind, inspect.isfunction) if name.startswith("add_")}
    files = {"add_onnx_graph", "add_openvino_graph"}  # which have a test of their own, below
    assert methods - files <= {case.method for case in CALLS if module in case.only}
    assert methods <= set(dir(tracelet.tensorboard.SummaryWriter))


@pytest.mark.parametrize("module", [TORCH, TENSORBOARDX])
def test_our_signatures_are_theirs(module: str) -> None:
    """Torch's calls bind to our methods by position and by name, tensorboardX's by name."""
    kind = writer_class(module)
    for name in sorted(vars(kind)):
        if not name.startswith("add_"):
            continue
        theirs = list(inspect.signature(vars(kind)[name]).parameters.values())[1:]
        named = [p.name for p in theirs if p.kind is not p.VAR_KEYWORD]
        ours = inspect.signature(getattr(tracelet.tensorboard.SummaryWriter, name)).parameters
        assert set(named) <= set(ours), name
        if module == TORCH:
            positional = [p.name for p in ours.values() if p.kind is p.POSITIONAL_OR_KEYWORD][1:]
            assert positional[: len(named)] == named, name
            defaults = {p.name: p.default for p in theirs if p.default is not p.empty}
            assert {key: ours[key].default for key in defaults} == defaults, name


@pytest.mark.parametrize("module", [TORCH, TENSORBOARDX, OWN])
def test_the_file_of_a_graph_is_kept(run: Run, tmp_path: Path, module: str) -> None:
    """`add_onnx_graph` keeps the model's file as it is."""
    kind = writer_class(module)
    path = onnx(tmp_path)
    with kind(str(tmp_path / "log")) as writer:
        writer.add_onnx_graph(path if module != TENSORBOARDX else str(path))
    (event,) = events(run)
    assert isinstance(event, MediaLogged)
    assert (event.name, event.format) == ("graph", "onnx")
    assert Path(event.path).read_bytes() == path.read_bytes()


def test_an_openvino_graph_is_kept(run: Run, tmp_path: Path) -> None:
    """`add_openvino_graph` keeps the file as it is."""
    path = tmp_path / "model.xml"
    path.write_text("<net/>")
    tracelet.tensorboard.SummaryWriter().add_openvino_graph(path)
    (event,) = events(run)
    assert isinstance(event, MediaLogged)
    assert (event.name, event.format, Path(event.path).read_text()) == ("graph", "xml", "<net/>")


REJECTED: list[tuple[str, Callable[[Any], Any]]] = [
    ("add_scalar", lambda w: w.add_scalar("s", [1.0])),
    ("add_scalar", lambda w: w.add_scalar("s", np.arange(2.0))),
    ("add_scalar", lambda w: w.add_scalar("s", None)),
    ("add_scalar", lambda w: w.add_scalar("s", "word")),
    ("add_scalars", lambda w: w.add_scalars("s", {"a": None})),
    ("add_scalars", lambda w: w.add_scalars("s", [1.0])),
    ("add_hparams", lambda w: w.add_hparams([("lr", 1)], {})),
    ("add_hparams", lambda w: w.add_hparams({"lr": [1]}, {})),
    ("add_hparams", lambda w: w.add_hparams({"lr": 1}, {}, {"lr": 1})),
    ("add_hparams", lambda w: w.add_hparams({"lr": 1}, {}, {"x": [1]})),
    ("add_tensor", lambda w: w.add_tensor("t", "word")),
    ("add_histogram", lambda w: w.add_histogram("h", np.array([]))),
    ("add_histogram", lambda w: w.add_histogram("h", [1.0])),
    ("add_histogram", lambda w: w.add_histogram("h", VALUES, bins="none such")),
    ("add_histogram", lambda w: w.add_histogram("h", VALUES, bins=0)),
    ("add_histogram_raw", lambda w: w.add_histogram_raw("h", 0, 1, 1, 1, 1, [1.0, 2.0], [1])),
    ("add_image", lambda w: w.add_image("i", [[1.0]])),
    ("add_image", lambda w: w.add_image("i", RGB, dataformats="HW")),
    ("add_image", lambda w: w.add_image("i", RGB, dataformats="CHH")),
    ("add_image", lambda w: w.add_image("i", np.zeros((5, 4, 4)))),
    ("add_images", lambda w: w.add_images("i", RGB)),
    ("add_image_with_boxes", lambda w: w.add_image_with_boxes("i", RGB, [[0, 0, 1, 1]])),
    ("add_image_with_boxes", lambda w: w.add_image_with_boxes("i", RGB, np.zeros((1, 3)))),
    ("add_figure", lambda w: w.add_figure("f", "no figure")),
    ("add_video", lambda w: w.add_video("v", RGB)),
    ("add_audio", lambda w: w.add_audio("a", np.zeros((5, 3)))),
    ("add_audio", lambda w: w.add_audio("a", [0.5])),
    ("add_text", lambda w: w.add_text("t", 5)),
    ("add_embedding", lambda w: w.add_embedding(VECTORS, ["a"])),
    ("add_embedding", lambda w: w.add_embedding(np.zeros(3))),
    ("add_embedding", lambda w: w.add_embedding([[1.0]])),
    ("add_pr_curve", lambda w: w.add_pr_curve("p", LABELS, GUESSES[:2])),
    ("add_pr_curve", lambda w: w.add_pr_curve("p", [0, 1], GUESSES[:2])),
    ("add_pr_curve_raw", lambda w: w.add_pr_curve_raw("p", [1], [1], [1], [1], [1], [1, 2])),
    ("add_custom_scalars", lambda w: w.add_custom_scalars({"c": {"t": ["Margin", ["a"]]}})),
    ("add_custom_scalars", lambda w: w.add_custom_scalars([])),
    ("add_custom_scalars_marginchart", lambda w: w.add_custom_scalars_marginchart(["a"])),
    ("add_mesh", lambda w: w.add_mesh("m", VERTICES[0])),
    ("add_mesh", lambda w: w.add_mesh("m", "word")),
    ("add_onnx_graph", lambda w: w.add_onnx_graph("none such.onnx")),
]


@pytest.mark.parametrize("call", [call for _, call in REJECTED], ids=[f"{m}-{n}" for n, (m, _) in enumerate(REJECTED)])
def test_what_torch_rejects_we_reject(run: Run, tmp_path: Path, call: Callable[[Any], Any]) -> None:
    """Misuse raises the same type of exception from torch's writer and from ours, and neither says anything."""
    kind = writer_class(TORCH)
    with kind(str(tmp_path / "log")) as writer, pytest.raises(Exception) as theirs:  # noqa: PT011
        call(writer)
    if isinstance(theirs.value, ModuleNotFoundError):
        pytest.skip("torch misses a package")
    with pytest.raises(theirs.type) as ours:
        call(tracelet.tensorboard.SummaryWriter())
    assert ours.type is theirs.type
    assert events(run) == []


@pytest.mark.parametrize("call", [call for _, call in REJECTED], ids=[f"{m}-{n}" for n, (m, _) in enumerate(REJECTED)])
def test_what_is_rejected_says_nothing(run: Run, call: Callable[[Any], Any]) -> None:
    """Misuse of our writer raises, also where there is no torch, and says nothing."""
    expected = (
        TypeError, ValueError, AssertionError, NotImplementedError, AttributeError, IndexError, FileNotFoundError
    )  # fmt: skip
    with pytest.raises(expected):
        call(tracelet.tensorboard.SummaryWriter())
    assert events(run) == []


@pytest.mark.parametrize("module", [TORCH, TENSORBOARDX])
def test_captured_misuse_is_the_originals(run: Run, tmp_path: Path, module: str) -> None:
    """A captured writer raises what it raises without us, and nothing is said or counted as missed."""
    with writer_class(module)(str(tmp_path / "log")) as writer:
        with pytest.raises(ValueError, match="input has no element"):
            writer.add_histogram("h", np.array([]))
        with pytest.raises(AssertionError):
            writer.add_image("i", RGB, dataformats="HW")
    assert events(run) == []


# What is particular.


@pytest.mark.parametrize("module", [TORCH, TENSORBOARDX, OWN])
def test_arrays_may_change_after_the_call(run: Run, tmp_path: Path, module: str) -> None:
    """An array is taken as it is at the call."""
    image, values = RGB.copy(), VALUES.copy()
    with writer_class(module)(str(tmp_path / "log")) as writer:
        writer.add_image("i", image)
        writer.add_histogram("h", values)
        image[:], values[:] = 0, 0
    shown, counted = events(run)
    assert isinstance(shown, ImageLogged)
    assert isinstance(counted, HistogramLogged)
    assert (media.array(shown) == RGB).all()
    assert (media.array(counted) == VALUES).all()


@pytest.mark.parametrize("module", [TORCH, TENSORBOARDX])
def test_a_figure_is_drawn_once(run: Run, tmp_path: Path, module: str) -> None:
    """Capture takes what the original draws: the figure isn't drawn again, and closed as the original closes it."""
    pyplot = pytest.importorskip("matplotlib.pyplot")
    kind = writer_class(module)
    draws: list[object] = []
    plot, _ = pyplot.subplots()
    plot.canvas.mpl_connect("draw_event", draws.append)
    with kind(str(tmp_path / "log")) as writer:
        writer.add_figure("f", plot, 1)
    assert not pyplot.fignum_exists(plot.number)
    assert len(draws) == 1
    assert [(type(event), event.name) for event in events(run) if isinstance(event, MediaLogged)] == [
        (FigureLogged, "f")
    ]


@pytest.mark.parametrize("module", [TORCH, TENSORBOARDX])
def test_a_figure_of_a_subclass_that_draws_otherwise(run: Run, tmp_path: Path, module: str) -> None:
    """Where `add_figure` doesn't come to the original `add_image`, the figure is drawn for the run."""

    class Quiet(writer_class(module)):  # type: ignore[misc]
        def add_image(self, *arguments: Any, **options: Any) -> None:
            """Nothing is written."""

    with Quiet(str(tmp_path / "log")) as writer:
        writer.add_figure("f", figure(), 1)
    assert [type(event) for event in events(run)] == [FigureLogged]


def test_our_figures_are_closed_on_demand(run: Run) -> None:
    """`close=True`, the default, closes the figure in pyplot; `close=False` leaves it open."""
    pyplot = pytest.importorskip("matplotlib.pyplot")
    writer = tracelet.tensorboard.SummaryWriter()
    kept, closed = pyplot.figure(), pyplot.figure()
    writer.add_figure("f", kept, close=False)
    writer.add_figure("f", closed)
    try:
        assert pyplot.fignum_exists(kept.number)
        assert not pyplot.fignum_exists(closed.number)
    finally:
        pyplot.close(kept)
    assert len(events(run)) == 2


@pytest.mark.parametrize("module", [TENSORBOARDX, OWN])
def test_use_metadata(run: Run, tmp_path: Path, module: str) -> None:
    """Inside of `use_metadata`, calls without step and time have those of the block, whatever their method."""
    with writer_class(module)(str(tmp_path / "log")) as writer:
        with writer.use_metadata(global_step=5, walltime=TIME):
            writer.add_scalar("s", 1.0)
            writer.add_scalar("s", 2.0, 6)
            writer.add_text("t", "words")
            writer.add_image("i", RGB)
        writer.add_scalar("s", 3.0, 7)
    found = [(event.step, event.time == TIME) for event in events(run) if hasattr(event, "step")]
    assert found == [(5, True), (6, True), (5, True), (7, False), (5, True)]


def test_scalars_without_a_step_are_counted(run: Run) -> None:
    """Ours counts the calls of each tag."""
    writer = tracelet.tensorboard.SummaryWriter()
    for tag in ("a", "b", "a"):
        writer.add_scalar(tag, 1.0)
    assert [(event.values, event.step) for event in events(run) if isinstance(event, MetricsLogged)] == [
        ({"a": 1.0}, 0),
        ({"b": 1.0}, 0),
        ({"a": 1.0}, 1),
    ]


@pytest.mark.parametrize("module", [TORCH, TENSORBOARDX])
@pytest.mark.parametrize("other", [TORCH, TENSORBOARDX, OWN])
def test_events_given_to_the_file_writer(run: Run, tmp_path: Path, module: str, other: str) -> None:
    """Summaries that are made by hand and given to `file_writer` become events as well: of all writers, also ours."""
    summary = pytest.importorskip(f"{module}.summary")
    if module != other and other != OWN:
        pytest.skip("each library takes messages of its own")
    with writer_class(other)(str(tmp_path / "log")) as writer:
        files = writer._get_file_writer()
        files.add_summary(summary.scalar("s", 0.5), 3, TIME)
        files.add_summary(summary.text("t", "words"), 4, TIME)
        files.add_summary(summary.histogram("h", VALUES, 5), 5, TIME)
        writer.add_scalar("s", 0.75, 6, TIME)
    found = [(type(event).__name__, getattr(event, "step", None), event.time) for event in events(run)]
    assert found == [
        ("MetricsLogged", 3, TIME),
        ("TextLogged", 4, TIME),
        ("MetricsLogged", 6, TIME),
        ("HistogramLogged", 5, TIME),
    ]


def test_a_writer_without_files_gives_its_summaries(run: Run, tmp_path: Path) -> None:
    """tensorboardX's `write_to_disk=False` changes nothing for the run, whichever way its writer is used."""
    summary = pytest.importorskip("tensorboardX.summary")
    with writer_class(TENSORBOARDX)(str(tmp_path / "log"), write_to_disk=False) as writer:
        writer.add_scalar("s", 0.5, 1)
        writer.add_image("i", RGB, 2)
        writer.file_writer.add_summary(summary.scalar("s", 0.75), 3)
    assert not (tmp_path / "log").exists()
    assert [(type(event).__name__, getattr(event, "step", None)) for event in events(run)] == [
        ("MetricsLogged", 1),
        ("MetricsLogged", 3),
        ("ImageLogged", 2),
    ]


@pytest.mark.parametrize("module", [TORCH, TENSORBOARDX])
def test_ours_can_write_event_files(run: Run, tmp_path: Path, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `write_tensorboard`, TensorBoard reads the same from the log directory; the run has everything once."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    writer_class(module)
    if module == TENSORBOARDX:
        monkeypatch.setattr("tracelet.tensorboard._event_files.sys.modules", {})
    with tracelet.tensorboard.SummaryWriter(tmp_path / "log", write_tensorboard=True) as writer:
        writer.add_scalar("s", 0.5, 3)
        writer.add_hparams({"lr": 0.1}, {"acc": 0.5}, run_name="trial")
        writer.add_image("i", RGB, 4)
        writer.add_text("t", "words", 5)
        writer.add_histogram("h", VALUES, 6)
    assert writer._files is not None
    assert type(writer._files._writer).__module__.startswith(module)
    files = accumulator.EventAccumulator(str(tmp_path / "log"))
    files.Reload()
    assert [(one.step, one.value) for one in files.Scalars("s")] == [(3, 0.5)]
    assert [one.step for one in files.Images("i")] == [4]
    assert [one.step for one in files.Histograms("h")] == [6]
    assert (tmp_path / "log" / "trial").is_dir()
    assert sorted(type(event).__name__ for event in events(run)) == [
        "HParamsLogged",
        "HistogramLogged",
        "ImageLogged",
        "MetricsLogged",
        "MetricsLogged",
        "TextLogged",
    ]


def test_event_files_need_somebody_who_writes_them(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without torch and tensorboardX, `write_tensorboard` says what to install."""
    monkeypatch.setattr("tracelet.tensorboard._event_files.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="install tensorboardX"):
        tracelet.tensorboard.SummaryWriter(write_tensorboard=True)


def test_everything_of_an_embedding_is_kept(run: Run, tmp_path: Path) -> None:
    """Columns and sprites of an embedding reach the files for TensorBoard's projector."""
    rows = [["a", 1], ["b", 2], ["c", 3], ["d", 4]]
    writer = tracelet.tensorboard.SummaryWriter(tmp_path / "log")
    writer.add_embedding(VECTORS, rows, SPRITES, 3, "e", ["letter", "number"])
    (event,) = events(run)
    assert isinstance(event, EmbeddingLogged)
    files = {file.suffix: file.data for file in media.as_files(event)}
    assert files["labels.tsv"].decode().splitlines() == ["letter\tnumber", "a\t1", "b\t2", "c\t3", "d\t4"]
    assert files["sprites.png"].startswith(b"\x89PNG")


def test_json_of_a_meshs_config(run: Run) -> None:
    """What three.js is told about a mesh arrives as JSON."""
    config = {"camera": {"cls": "PerspectiveCamera", "fov": 75}}
    tracelet.tensorboard.SummaryWriter().add_mesh("m", VERTICES, config_dict=config)
    (event,) = events(run)
    assert json.loads(event.config) == config  # type: ignore[attr-defined]


def test_the_libraries_are_there() -> None:
    """This file compares with at least one of the two libraries."""
    assert find_spec("tensorboardX") or find_spec("torch")


def test_summaries_that_make_no_sense(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Given to a captured writer's `file_writer`, they are counted and said once; given to ours, they raise."""
    messages = pytest.importorskip("tensorboardX.proto.summary_pb2")
    broken = messages.Summary(value=[messages.Summary.Value(tag="h", histo=messages.HistogramProto())])
    run = tracelet.start_logging(exp_name="test", directory=tmp_path / "store")
    try:
        with writer_class(TENSORBOARDX)(str(tmp_path / "log")) as writer:
            writer.file_writer.add_summary(broken, 1)
            writer.file_writer.add_summary(broken, 2)
        assert tracelet.tensorboard.missed() == 2
        assert [record.levelname for record in caplog.records if "could not be captured" in record.message] == [
            "WARNING"
        ]
        with pytest.raises(ValueError, match="h: a histogram"):
            tracelet.tensorboard.SummaryWriter()._get_file_writer().add_summary(broken, 1)
        assert events(run) == []
    finally:
        tracelet.stop_logging()
