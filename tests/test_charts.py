"""Charts and what is compared: bins, boxes, figures, tensors, embeddings, meshes, given curves, trials and layouts."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

import tracelet
from tracelet import Run, media
from tracelet.codec import decode
from tracelet.errors import RunClosed
from tracelet.events import (
    Event,
    FileLogged,
    HParamsLogged,
    Lane,
    LayoutSet,
    MetricsLogged,
    ParamsLogged,
    TextLogged,
)
from tracelet.journal import LogReader, RunDirectory
from tracelet.substitutes import substitutes


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    run = tracelet.start_logging(exp_name="test", project="tests", directory=tmp_path / "runs", strict=True)
    yield run
    tracelet.stop_logging()


@pytest.fixture
def lenient(tmp_path: Path) -> Iterator[Run]:
    run = tracelet.start_logging(exp_name="test", project="tests", directory=tmp_path / "runs")
    yield run
    tracelet.stop_logging()


def events(run: Run, lane: Lane = Lane.BULK) -> list[Any]:
    """What the run said, with its files as a backend gets them."""
    directory = RunDirectory(run.directory)
    found: list[Event] = []
    for writer in directory.writers():
        with LogReader(directory.log(writer, lane)) as reader:
            frames = reader.read(10**6, 10**9, final=False)
            found += map(decode, frames.words, frames.payloads)
    return [
        msgspec.structs.replace(event, path=str(run.directory / event.path)) if isinstance(event, FileLogged) else event
        for event in found
    ]


def latest(run: Run) -> Any:
    return events(run)[-1]


def opened(file: media.Encoded) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(io.BytesIO(file.data)))


# Histograms.

VALUES = np.concatenate([np.random.default_rng(0).normal(size=500), [0.0, 0.0, 1e-3, -40.0]])


def tensorboards(values: Any, bins: Any, max_bins: int | None) -> tuple[list[float], list[float]]:
    """The counts and edges of a SummaryWriter's histogram, whose buckets begin with one that is empty."""
    summary = pytest.importorskip("tensorboardX.summary")
    made = summary.make_histogram(np.asarray(values, dtype=np.float64), bins, max_bins)
    assert made.bucket[0] == 0
    return list(made.bucket)[1:], list(made.bucket_limit)


def tensorflows_bins() -> Any:
    """As TensorBoard's documentation of histograms has them: from 1e-12, each a tenth longer, up to 1e20."""
    limits, limit = [], 1e-12
    while limit < 1e20:
        limits.append(limit)
        limit *= 1.1
    return np.array([*(-one for one in reversed(limits)), 0.0, *limits])


@pytest.mark.parametrize("max_bins", [None, 100, 7])
@pytest.mark.parametrize(
    "values", [VALUES, np.array([3.0]), np.zeros(4), -np.abs(VALUES)], ids=["many", "one", "zeros", "negative"]
)
def test_tensorflows_bins_are_those_of_tensorboard(run: Run, values: Any, max_bins: int | None) -> None:
    """The rule "tensorflow" sorts values into the same bins as a SummaryWriter does."""
    run.log_histogram("h", values, bins="tensorflow", max_bins=max_bins)
    found = media.histogram(latest(run))
    counts, edges = tensorboards(values, tensorflows_bins(), max_bins)
    assert found.counts == counts
    assert found.edges == pytest.approx(edges, rel=1e-9)


@pytest.mark.parametrize("rule", ["auto", "doane", "fd", "rice", "scott", "sqrt", "stone", "sturges"])
def test_a_rule_of_numpys_chooses_the_bins(run: Run, rule: str) -> None:
    """Counts and edges are what `numpy.histogram` makes by the same rule, of the finite values."""
    run.log_histogram("h", [*VALUES, float("nan"), float("inf")], bins=rule)
    found = media.histogram(latest(run))
    counts, edges = np.histogram(VALUES, bins=rule)
    assert found.counts == counts.tolist()
    assert found.edges == pytest.approx(edges.tolist())


def test_values_are_sorted_into_given_bins(run: Run) -> None:
    """Edges given as `bins` or as `edges` are kept as they are; what lies outside is in none."""
    edges = [-1.0, 0.0, 0.5, 10.0]
    run.log_histogram("bins", VALUES, bins=edges)
    run.log_histogram("edges", VALUES, edges=np.array(edges))
    for event in events(run):
        found = media.histogram(event)
        assert found.counts == np.histogram(VALUES, edges)[0].tolist()
        assert found.edges == edges
        assert sum(found.counts) < len(VALUES)


def test_neighbouring_bins_are_put_together(run: Run) -> None:
    """With `max_bins` there are about so many, and no value is lost; a limit that is not reached changes nothing."""
    run.log_histogram("h", VALUES, bins=64, max_bins=16)
    run.log_histogram("h", VALUES, bins=10, max_bins=3)
    run.log_histogram("h", VALUES, bins=10, max_bins=10)
    run.log_histogram("h", VALUES, bins=10)
    sixteen, few, ten, same = (media.histogram(event) for event in events(run))
    assert [len(found.counts) for found in (sixteen, few, ten)] == [16, 4, 10]
    assert {sum(found.counts) for found in (sixteen, few, ten)} == {len(VALUES)}
    assert ten == same
    assert few.edges == [*same.edges[::3][:4], same.edges[-1]]


@pytest.mark.parametrize(
    "arguments", [{"bins": "best"}, {"bins": 0}, {"max_bins": 0}, {"bins": 2.5}, {"bins": None}, {"max_bins": "4"}]
)
def test_bins_without_sense_are_a_type_error(lenient: Run, arguments: dict[str, Any]) -> None:
    """What is neither a number, nor edges, nor a rule is a TypeError at the call, and nothing is logged."""
    with pytest.raises(TypeError, match="bins"):
        lenient.log_histogram("h", VALUES, **arguments)
    assert events(lenient) == []


@pytest.mark.parametrize("edges", [[1.0], [1.0, 0.0], [[0.0, 1.0]], [0.0, float("nan")]])
def test_edges_that_do_not_ascend_are_refused(run: Run, edges: Any) -> None:
    """Edges are two or more, and ascend."""
    with pytest.raises(ValueError, match="edges of bins"):
        run.log_histogram("h", VALUES, bins=edges)


# Boxes.

GREY = np.full((40, 60, 3), 128, np.uint8)
RED = [255, 0, 0]


def test_boxes_are_drawn_where_they_are(run: Run) -> None:
    """Each box is a red frame around its corners, in every image, and what is inside stays as it was."""
    run.log_image("i", np.stack([GREY, GREY]), boxes=[[5, 10, 25, 30], [50, 35, 40, 20]])
    pictures = media.pictures(latest(run))
    assert len(pictures) == 2
    for picture in pictures:
        pixels = opened(picture)
        for x, y in [(5, 10), (25, 10), (5, 30), (25, 30), (15, 10), (5, 20), (40, 20), (50, 35), (40, 30)]:
            assert pixels[y, x].tolist() == RED, (x, y)
        for x, y in [(15, 20), (3, 8), (30, 20), (45, 28)]:
            assert pixels[y, x].tolist() == [128, 128, 128], (x, y)


def test_labels_are_drawn_in_their_boxes(run: Run) -> None:
    """A label stands at its box's lower left corner, on red; letters that the font has not are "?"."""
    for label in ("cat", "größe", "猫", ""):
        run.log_image("i", GREY, boxes=[5, 5, 55, 35], labels=label)
    cat, size, unknown, nothing = (opened(media.pictures(event)[0]) for event in events(run))
    corner = (slice(24, 33), slice(8, 20))
    assert not (nothing[corner] == RED).all(axis=-1).any()
    for drawn in (cat, size, unknown):
        assert (drawn[corner] == RED).all(axis=-1).any()
        assert (drawn[corner] < 100).all(axis=-1).any()
    assert (cat != size).any()


def test_boxes_are_drawn_on_files_too(run: Run) -> None:
    """An encoded image with boxes is drawn upon, and is PNG then; without boxes it stays as it is."""
    buffer = io.BytesIO()
    Image.fromarray(GREY).save(buffer, "JPEG")
    run.log_image("i", buffer.getvalue(), boxes=[[5, 10, 25, 30]])
    run.log_image("i", buffer.getvalue(), boxes=[])
    drawn, plain = (media.pictures(event)[0] for event in events(run))
    assert drawn.suffix == "png"
    assert opened(drawn)[10, 15].tolist() == RED
    assert plain == media.Encoded("jpeg", buffer.getvalue())


def test_boxes_of_grey_and_transparent_images(run: Run) -> None:
    """Boxes are red on grey images, too, and what is transparent stays so."""
    run.log_image("i", GREY[:, :, 0], boxes=[[5, 10, 25, 30]])
    run.log_image("i", np.dstack([GREY, GREY[:, :, :1]]), boxes=[[5, 10, 25, 30]])
    grey, transparent = (opened(media.pictures(event)[0]) for event in events(run))
    assert grey[10, 15].tolist() == RED
    assert transparent[10, 15].tolist() == [*RED, 255]
    assert transparent[20, 15].tolist() == [128, 128, 128, 128]


@pytest.mark.parametrize("boxes", [[1, 2, 3], [[1, 2, 3]], [[[1, 2, 3, 4]]]])
def test_boxes_have_four_numbers(run: Run, boxes: Any) -> None:
    """Anything but (n, 4) is refused."""
    with pytest.raises(ValueError, match=r"boxes must be \(n, 4\)"):
        run.log_image("i", GREY, boxes=boxes)


# Figures.


def test_pixels_are_a_figure(run: Run) -> None:
    """What was drawn already is a figure with those pixels, in any layout, one or several."""
    one = (np.arange(4 * 5 * 3) * 4).astype(np.uint8).reshape(4, 5, 3)
    run.log_figure("f", one)
    run.log_figure("f", one.transpose(2, 0, 1), layout="CHW")
    run.log_figure("f", np.stack([one, one[::-1]]))
    run.log_figure("f", np.stack([one, one[::-1]]).transpose(0, 3, 1, 2), layout="nchw")
    pictures = [[opened(file).tolist() for file in media.pictures(event)] for event in events(run)]
    assert pictures[:2] == [[one.tolist()]] * 2
    assert pictures[2:] == [[one.tolist(), one[::-1].tolist()]] * 2


def test_several_figures_of_matplotlib_are_one_event(run: Run) -> None:
    """A sequence of figures is drawn at once, each as it would be alone."""
    figures = pytest.importorskip("matplotlib.figure")
    drawn = []
    for top in (1, 5):
        figure = figures.Figure(figsize=(1, 1), dpi=40)
        figure.add_subplot().plot([0, top])
        drawn.append(figure)
    run.log_figure("both", drawn)
    for figure in drawn:
        run.log_figure("one", figure)
    both, first, second = (media.pictures(event) for event in events(run))
    assert both == [*first, *second]
    assert first != second
    with pytest.raises(ValueError, match="must have one shape"):
        run.log_figure("both", [drawn[0], figures.Figure(figsize=(2, 1), dpi=40)])


@pytest.mark.parametrize("figure", [3, [3], {"a": 1}])
def test_what_is_no_figure_is_a_type_error(lenient: Run, figure: Any) -> None:
    """Neither alone nor in a sequence."""
    with pytest.raises(TypeError, match="figure must be"):
        lenient.log_figure("f", figure)
    assert events(lenient) == []


# Tensors.


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint16", "int64", "bool", "complex64"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3, 4)])
def test_a_tensor_is_kept_as_it_is(run: Run, dtype: str, shape: tuple[int, ...]) -> None:
    """Numbers of any type and shape come back bit by bit."""
    given = (np.arange(np.prod(shape, dtype=int)) * 3).reshape(shape).astype(dtype)
    if dtype == "complex64":
        with pytest.raises(TypeError, match="tensor must be an array of numbers"):
            run.log_tensor("t", given)
        return
    run.log_tensor("t", given, step=4, context={"rank": 1})
    event = latest(run)
    found = media.array(event)
    assert (event.step, event.context, event.format) == (4, (("rank", 1),), "npy")
    assert (found.dtype, found.shape, found.tobytes()) == (given.dtype, given.shape, given.tobytes())
    (file,) = media.as_files(event)
    assert file.suffix == "npy"
    assert np.load(io.BytesIO(file.data)).tobytes() == given.tobytes()


@pytest.mark.parametrize("tensor", ["text", None, object(), ["a", "b"]])
def test_what_is_no_tensor_is_a_type_error(lenient: Run, tensor: Any) -> None:
    """Text and objects are no numbers."""
    with pytest.raises(TypeError, match="tensor must be"):
        lenient.log_tensor("t", tensor)
    assert events(lenient) == []


# Embeddings.

VECTORS = np.arange(5 * 3, dtype=np.float32).reshape(5, 3)
ROWS = [[f"thing {number}", number, "tab\there"] for number in range(5)]


def test_an_embedding_has_columns(run: Run) -> None:
    """With `columns`, each label is a row; the first cell is the thing's name, and the file has a header."""
    run.log_embedding("e", VECTORS, labels=ROWS, columns=["name", "number", "note"])
    event = latest(run)
    found = media.embedding(event)
    assert found.columns == ["name", "number", "note"]
    assert found.rows == [[f"thing {number}", str(number), "tab\there"] for number in range(5)]
    assert found.labels == [f"thing {number}" for number in range(5)]
    files = {file.suffix: file.data.decode() for file in media.as_files(event)}
    assert list(files) == ["vectors.tsv", "labels.tsv"]
    assert files["labels.tsv"].splitlines()[:2] == ["name\tnumber\tnote", "thing 0\t0\ttab here"]


@pytest.mark.parametrize("layout", ["NHWC", "NCHW", "NHW"])
def test_an_embeddings_images_are_one_sheet(run: Run, layout: str) -> None:
    """The images are side by side, row by row, in a square as TensorBoard's projector expects it."""
    pictures = (np.arange(5 * 7 * 6 * 3) % 256).astype(np.uint8).reshape(5, 7, 6, 3)
    given = {"NHWC": pictures, "NCHW": pictures.transpose(0, 3, 1, 2), "NHW": pictures[:, :, :, 0]}[layout]
    run.log_embedding("e", VECTORS, images=given)
    event = latest(run)
    sheet = media.sprites(event)
    assert sheet is not None
    pixels = opened(sheet)
    assert pixels.shape == (3 * 7, 3 * 6, 4)
    shown = pictures if layout != "NHW" else np.repeat(pictures[:, :, :, :1], 3, axis=3)
    for number in range(5):
        row, column = divmod(number, 3)
        tile = pixels[row * 7 : row * 7 + 7, column * 6 : column * 6 + 6]
        assert tile[:, :, :3].tolist() == shown[number].tolist()
        assert (tile[:, :, 3] == 255).all()
    assert (pixels[7:14, 12:, 3] == 0).all()
    assert (pixels[14:, :, 3] == 0).all()
    assert [file.suffix for file in media.as_files(event)] == ["vectors.tsv", "sprites.png"]


def test_an_embedding_without_images_has_no_sheet(run: Run) -> None:
    """Vectors alone are one file."""
    run.log_embedding("e", VECTORS)
    assert media.sprites(latest(run)) is None
    assert [file.suffix for file in media.as_files(latest(run))] == ["vectors.tsv"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"labels": ROWS[:4], "columns": ["a", "b", "c"]}, "a label for each of the 5 vectors, found 4"),
        ({"labels": ROWS, "columns": ["a", "b"]}, "2 columns have a row of 3 cells"),
        ({"labels": [[]] * 5, "columns": []}, "0 columns have a row of 0 cells"),
        ({"images": np.zeros((4, 3, 3))}, "an image for each of the 5 vectors, found 4"),
    ],
)
def test_what_is_known_must_fit_the_vectors(run: Run, arguments: dict[str, Any], words: str) -> None:
    """There is a row, of all columns, and an image for each vector."""
    with pytest.raises(ValueError, match=words):
        run.log_embedding("e", VECTORS, **arguments)


# Meshes.


def test_a_mesh_says_how_it_is_shown(run: Run) -> None:
    """The config is kept as JSON, and is a file of its own beside the mesh; without one there is none."""
    config = {"camera": {"cls": "PerspectiveCamera", "fov": 75}, "lights": [{"color": "#ffffff"}]}
    triangle = [[0, 0, 0], [1, 0, 0], [0, 1, 0]]
    run.log_mesh("m", triangle, faces=[[0, 1, 2]], config=config)
    run.log_mesh("m", triangle)
    shown, plain = events(run)
    assert json.loads(media.mesh(shown).config) == config
    files = {file.suffix: file.data for file in media.as_files(shown)}
    assert list(files) == ["obj", "config.json"]
    assert json.loads(files["config.json"]) == config
    assert media.mesh(plain).config == ""
    assert [file.suffix for file in media.as_files(plain)] == ["obj"]


def test_a_config_is_a_mapping(lenient: Run) -> None:
    """Anything else is a TypeError."""
    with pytest.raises(TypeError, match="config"):
        lenient.log_mesh("m", [[0, 0, 0]], config="camera")  # type: ignore[arg-type]
    assert events(lenient) == []


# Curves that were computed already.

PRECISION, RECALL = [0.5, 0.75, 1.0], [1.0, 0.5, 0.25]
COUNTS = {
    "true_positives": [4, 3, 1],
    "false_positives": [4, 1, 0],
    "true_negatives": [0, 3, 4],
    "false_negatives": [0, 1, 3],
}


def test_points_of_a_pr_curve_may_be_given(run: Run) -> None:
    """Given for ascending thresholds from 0 to 1, they are shown as computed ones are: thresholds descend."""
    run.log_pr_curve("p", precision=PRECISION, recall=np.array(RECALL), counts=COUNTS)
    found = media.curve(latest(run))
    assert found.thresholds == [1.0, 0.5, 0.0]
    assert (found.x, found.y) == (RECALL[::-1], PRECISION[::-1])
    assert (found.x_label, found.y_label) == ("recall", "precision")
    assert found.counts == {name: values[::-1] for name, values in COUNTS.items()}


def test_given_points_are_those_that_would_be_computed(run: Run) -> None:
    """A curve of labels and predictions, and the same one computed elsewhere, are equal."""
    labels, predictions = np.array([0, 1, 1, 0, 1]), np.array([0.1, 0.9, 0.4, 0.6, 0.8])
    thresholds = np.arange(11) / 10
    taken = predictions >= thresholds[:, None]
    true = (taken & (labels == 1)).sum(axis=1)
    precision = np.divide(true, taken.sum(axis=1), out=np.ones(11), where=taken.any(axis=1))
    run.log_pr_curve("p", labels, predictions, thresholds=11)
    run.log_pr_curve("p", precision=precision, recall=true / 3)
    computed, given = (media.curve(event) for event in events(run))
    assert given.counts is None
    for field in ("x", "y", "thresholds"):
        assert getattr(given, field) == pytest.approx(getattr(computed, field))


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"precision": PRECISION}, TypeError, "recall"),
        ({"recall": RECALL}, TypeError, "precision"),
        ({"labels": [0, 1], "precision": PRECISION, "recall": RECALL}, TypeError, "found both"),
        ({}, TypeError, "labels"),
        ({"precision": PRECISION, "recall": RECALL, "counts": [1]}, TypeError, "counts"),
        ({"precision": PRECISION, "recall": RECALL[:2]}, ValueError, "must have one length"),
        ({"precision": PRECISION, "recall": RECALL, "counts": {"true": [1, 2, 3]}}, ValueError, "found 'true'"),
        (
            {"precision": PRECISION, "recall": RECALL, "counts": {"true_positives": [1]}},
            ValueError,
            "must have one length",
        ),
    ],
)
def test_a_given_curve_is_whole(run: Run, arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    """Precision and recall belong together, and counts have names and a number for each point."""
    with pytest.raises(error, match=words):
        run.log_pr_curve("p", **arguments)


# Trials.


def test_a_trial_has_values_metrics_and_domains(run: Run) -> None:
    """Its metrics are logged as such, too; its values are as `log_params` takes them."""
    choices: dict[str, Any] = {"layers": ([1], [2, 3]), "dropout": np.array([0.0, 0.5])}
    run.log_hparams(
        {"optimizer": {"lr": np.float32(0.5)}, "layers": [2, 3]},
        {"accuracy": 0.75, "loss": np.float64(0.5)},
        step=7,
        domains=choices,
        name="wide",
        context={"fold": 1},
        time=5.0,
    )
    metrics, trial = [event for event in events(run, Lane.STREAM) if isinstance(event, HParamsLogged | MetricsLogged)]
    assert trial == HParamsLogged(
        5.0,
        {"optimizer/lr": 0.5, "layers": [2, 3]},
        ("accuracy", "loss"),
        {"layers": [[1], [2, 3]], "dropout": [0.0, 0.5]},
        "wide",
    )
    assert metrics == MetricsLogged(5.0, {"accuracy": 0.75, "loss": 0.5}, 7, (("fold", 1),))


def test_a_trial_may_have_values_only(run: Run) -> None:
    """Without metrics nothing but the trial is said."""
    run.log_hparams({"lr": 0.5})
    said = events(run, Lane.STREAM)
    (trial,) = [event for event in said if isinstance(event, HParamsLogged)]
    assert not [event for event in said if isinstance(event, MetricsLogged)]
    assert (trial.values, trial.metrics, trial.domains, trial.name) == ({"lr": 0.5}, (), {}, "")


@pytest.mark.parametrize(
    "arguments",
    [
        {"values": 3},
        {"values": {}, "metrics": [0.5]},
        {"values": {}, "metrics": {"loss": "low"}},
        {"values": {}, "metrics": {1: 0.5}},
        {"values": {}, "domains": [1, 2]},
        {"values": {}, "domains": {"lr": 3}},
        {"values": {}, "domains": {"lr": "abc"}},
        {"values": {}, "name": None},
    ],
)
def test_a_trial_of_other_types_is_a_type_error(lenient: Run, arguments: dict[str, Any]) -> None:
    """It is a TypeError, and nothing of the trial is logged."""
    with pytest.raises(TypeError):
        lenient.log_hparams(**arguments)
    assert not [event for event in events(lenient, Lane.STREAM) if isinstance(event, HParamsLogged | MetricsLogged)]


# Layouts.


def test_charts_are_arranged(run: Run) -> None:
    """Categories, titles, kinds and names arrive as given."""
    run.set_layout({"losses": {"both": ("Multiline", ["loss/.*"]), "band": ["Margin", ("loss", "low", "high")]}})
    (layout,) = [event for event in events(run, Lane.STREAM) if isinstance(event, LayoutSet)]
    assert {title: (kind, list(names)) for title, (kind, names) in layout.charts["losses"].items()} == {
        "both": ("Multiline", ["loss/.*"]),
        "band": ("Margin", ["loss", "low", "high"]),
    }


@pytest.mark.parametrize(
    ("charts", "words"),
    [
        (["losses"], "charts"),
        ({"losses": ["both"]}, "charts"),
        ({"losses": {"both": "loss"}}, "a chart must be"),
        ({"losses": {"both": ("Pie", ["loss"])}}, "a chart must be"),
        ({"losses": {"both": ("Multiline", [3])}}, "a chart must be"),
        ({"losses": {"both": ("Multiline", "loss")}}, "a chart must be"),
        ({"losses": {"band": ("Margin", ["loss", "low"])}}, "has 3 metrics: value, lower and upper bound; found 2"),
        ({1: {"both": ("Multiline", ["loss"])}}, "a category"),
        ({"losses": {1: ("Multiline", ["loss"])}}, "a title"),
    ],
)
def test_a_chart_without_sense_is_a_type_error(lenient: Run, charts: Any, words: str) -> None:
    """What is no chart is a TypeError that says what one is, and nothing is logged."""
    with pytest.raises(TypeError, match=words):
        lenient.set_layout(charts)
    assert not [event for event in events(lenient, Lane.STREAM) if isinstance(event, LayoutSet)]


def test_after_the_end_trials_and_layouts_are_refused(run: Run) -> None:
    """They are RunClosed, as every verb is."""
    tracelet.stop_logging()
    with pytest.raises(RunClosed):
        run.log_hparams({"lr": 0.5})
    with pytest.raises(RunClosed):
        run.set_layout({"losses": {"both": ("Multiline", ["loss"])}})
    with pytest.raises(RunClosed):
        run.log_tensor("t", [1])


# What backends without them take.


def test_a_trial_is_parameters_and_a_text() -> None:
    """The text has the whole as JSON, and is named after the trial."""
    trial = HParamsLogged(5.0, {"lr": 0.5, "depth": 3}, ("acc",), {"lr": [0.1, 0.5]}, "wide")
    params, text = substitutes(trial)
    assert params == ParamsLogged(5.0, {"lr": 0.5, "depth": 3})
    assert isinstance(text, TextLogged)
    assert (text.name, text.step, text.time) == ("hparams/wide", None, 5.0)
    assert json.loads(text.text) == {
        "name": "wide",
        "values": {"lr": 0.5, "depth": 3},
        "metrics": ["acc"],
        "domains": {"lr": [0.1, 0.5]},
    }
    _, unnamed = substitutes(HParamsLogged(5.0, {}))
    assert isinstance(unnamed, TextLogged)
    assert unnamed.name == "hparams"


def test_every_chart_is_a_text() -> None:
    """One for each, so that a later layout adds to an earlier one."""
    layout = LayoutSet(5.0, {"a": {"x": ("Multiline", ["m.*"]), "y": ("Margin", ["v", "l", "u"])}, "b": {}})
    texts = [text for text in substitutes(layout) if isinstance(text, TextLogged)]
    assert {text.name: json.loads(text.text) for text in texts} == {
        "layout/a/x": {"category": "a", "title": "x", "kind": "Multiline", "metrics": ["m.*"]},
        "layout/a/y": {"category": "a", "title": "y", "kind": "Margin", "metrics": ["v", "l", "u"]},
    }


def test_numbers_that_json_has_not_are_text() -> None:
    """NaN, the infinities and integers beyond 64 bits, of any length, are readable all the same."""
    values = {"nan": float("nan"), "low": [-float("inf")], "huge": 16**5_000, "fine": 2**63, "none": None, "on": True}
    _, text = substitutes(HParamsLogged(5.0, values))
    assert isinstance(text, TextLogged)
    assert json.loads(text.text)["values"] == {
        "nan": "nan",
        "low": ["-inf"],
        "huge": hex(16**5_000),
        "fine": 2**63,
        "none": None,
        "on": True,
    }


def test_other_events_are_left_as_they_are() -> None:
    """What every backend has needs no substitute."""
    event = MetricsLogged(5.0, {"loss": 0.5}, 1)
    assert substitutes(event) == (event,)
