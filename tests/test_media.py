"""Media: what people have, as it is written to files by the verbs, and as `tracelet.media` gives it to backends."""

from __future__ import annotations

import io
import math
import os
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageSequence

import tracelet
from tracelet import Run, media
from tracelet.codec import decode
from tracelet.errors import InvalidSetting, RunClosed
from tracelet.events import (
    ArtifactLogged,
    AudioLogged,
    ConsoleLine,
    CurveLogged,
    DatasetUsed,
    EmbeddingLogged,
    Event,
    FigureLogged,
    FileLogged,
    GraphLogged,
    HistogramLogged,
    ImageLogged,
    Lane,
    MeshLogged,
    ModelLogged,
    ModelRegistered,
    NoteSet,
    TableLogged,
    VideoLogged,
)
from tracelet.journal import LogReader, RunDirectory


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


def events(run: Run, lane: Lane = Lane.BULK) -> list[Event]:
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


def only(run: Run, kind: type[Any]) -> Any:
    (event,) = events(run)
    assert type(event) is kind
    return event


def opened(file: media.Encoded) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(io.BytesIO(file.data)))


class Tensor:
    """What torch's tensors are like."""

    def __init__(self, values: np.ndarray[Any, Any]) -> None:
        self.values, self.shape, self.dtype = values, values.shape, str(values.dtype)

    def detach(self) -> Tensor:
        return self

    def cpu(self) -> Tensor:
        return self

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray[Any, Any]:
        return self.values


RGB = (np.arange(5 * 6 * 3) * 3 % 256).astype(np.uint8).reshape(5, 6, 3)


# Images.


@pytest.mark.parametrize(
    ("given", "layout", "expected"),
    [
        (RGB, "HWC", RGB),
        (RGB.transpose(2, 0, 1).copy(), "CHW", RGB),
        (RGB[:, :, 0], "HW", RGB[:, :, 0]),
        (RGB[:, :, :1], "HWC", RGB[:, :, 0]),
        (RGB / 255, "HWC", RGB),
        ((RGB / 255).astype(np.float32), "HWC", RGB),
        (RGB.astype(np.int64), "HWC", RGB),
        (RGB > 100, "HWC", (RGB > 100) * np.uint8(255)),
        (np.dstack([RGB, RGB[:, :, :1]]), "HWC", np.dstack([RGB, RGB[:, :, :1]])),
        (RGB[::2, ::-1], "HWC", RGB[::2, ::-1]),
        (RGB[:, :, :2], "HWC", RGB[:, :, :2]),
    ],
    ids=["HWC", "CHW", "HW", "HW1", "floats", "float32", "ints", "bools", "RGBA", "strided", "grey and alpha"],
)
def test_an_array_becomes_the_image_that_it_is(run: Run, given: Any, layout: str, expected: Any) -> None:
    """Whatever the axes and the numbers, the PNG has the pixels."""
    run.log_image("i", given)
    event = only(run, ImageLogged)
    assert (event.layout, event.format, event.step) == (layout, "npy", 0)
    (png,) = media.pictures(event)
    assert png.suffix == "png"
    assert np.array_equal(opened(png), expected)


def test_what_fits_twice_is_channels_first_for_tensors_only(run: Run) -> None:
    """A shape that may be CHW or HWC is HWC as an array, CHW as a tensor, and what one says with `layout`."""
    square = np.zeros((3, 3, 3), np.uint8)
    run.log_image("i", square)
    run.log_image("i", Tensor(square))
    run.log_image("i", square, layout="chw")
    assert [event.layout for event in events(run)] == ["HWC", "CHW", "CHW"]  # type: ignore[attr-defined]
    assert [event.step for event in events(run)] == [0, 1, 2]  # type: ignore[attr-defined]


def test_what_is_out_of_range_is_clipped(run: Run) -> None:
    """Floats beyond 0 to 1, NaN, and integers beyond 0 to 255 become the nearest pixel."""
    run.log_image("floats", np.array([[-1.0, 2.0, math.nan, math.inf]]))
    run.log_image("integers", np.array([[-1, 300]]))
    floats, integers = (opened(*media.pictures(event)) for event in events(run))  # type: ignore[arg-type]
    assert floats.tolist() == [[0, 255, 0, 255]]
    assert integers.tolist() == [[0, 255]]


def test_an_image_is_what_it_was_at_the_call(run: Run) -> None:
    """What is changed afterwards has no effect."""
    pixels = RGB.copy()
    run.log_image("i", pixels)
    pixels[:] = 0
    assert np.array_equal(opened(*media.pictures(only(run, ImageLogged))), RGB)


def test_several_images_of_one_size_are_one_event(run: Run) -> None:
    """A batch, or a sequence of arrays or PIL images, has a PNG for each and its captions."""
    run.log_image("i", np.stack([RGB, 255 - RGB]), caption=["one", "two"])
    run.log_image("i", [RGB[:, :, 0], RGB[:, :, 1]])
    run.log_image("i", [Image.fromarray(RGB), Image.fromarray(255 - RGB)])
    batch, greys, pils = events(run)
    assert isinstance(batch, ImageLogged)
    assert isinstance(greys, ImageLogged)
    assert isinstance(pils, ImageLogged)
    assert (batch.layout, greys.layout, pils.layout) == ("NHWC", "NHW", "NHWC")
    assert batch.captions == ("one", "two")
    for event in (batch, pils):
        assert [opened(png).tolist() for png in media.pictures(event)] == [RGB.tolist(), (255 - RGB).tolist()]
    assert [opened(png).tolist() for png in media.pictures(greys)] == [RGB[:, :, 0].tolist(), RGB[:, :, 1].tolist()]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_pil_images_of_every_mode(run: Run, mode: str) -> None:
    """PIL's image is shown as PIL would show it."""
    image = Image.fromarray(RGB).convert(mode)
    run.log_image("i", image)
    shown = Image.open(io.BytesIO(media.pictures(only(run, ImageLogged))[0].data))
    assert shown.convert("RGBA").tobytes() == image.convert("RGBA").tobytes()


def test_files_and_their_bytes_are_kept_as_they_are(run: Run, tmp_path: Path) -> None:
    """An encoded image is not decoded: given as a path or as bytes, it arrives byte for byte."""
    path = tmp_path / "photo.jpg"
    Image.fromarray(RGB).save(path)
    content = path.read_bytes()
    run.log_image("path", path)
    path.unlink()
    run.log_image("bytes", content)
    for event in events(run):
        assert isinstance(event, ImageLogged)
        assert media.pictures(event) == [media.Encoded("jpeg", content)]


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((0, 4, 3)), "no pixels"),
        (np.zeros((5, 4, 7)), "no image or video: say layout"),
        (np.zeros(5), "no image"),
        ([RGB, RGB[:2]], "one shape"),
        ("no-suffix", "suffix"),
        ("missing.png", "missing.png"),
        (b"what is this?", "unknown"),
    ],
    ids=["empty", "channels", "one axis", "sizes", "suffix", "no file", "bytes"],
)
def test_an_image_that_makes_no_sense_is_a_counted_loss(lenient: Run, image: Any, words: str) -> None:
    """The training goes on, the loss is counted; with `strict` the same is raised."""
    lenient.log_image("i", image)
    assert lenient.status().lost == 1
    assert events(lenient) == []
    lenient._strict = True
    with pytest.raises((ValueError, OSError), match=words):
        lenient.log_image("i", image)


@pytest.mark.parametrize("image", [None, {}, object(), np.array(["a"]), 1 + 2j], ids=lambda given: type(given).__name__)
def test_what_is_no_image_is_a_type_error(lenient: Run, image: Any) -> None:
    """A wrong type is misuse, and says what was expected."""
    with pytest.raises(TypeError, match="must be"):
        lenient.log_image("i", image)
    with pytest.raises(TypeError, match="name must be a str"):
        lenient.log_image(3, RGB)  # type: ignore[arg-type]


@given(
    arrays.arrays(
        st.sampled_from([np.uint8, np.int32, np.float32, np.float64, np.bool_]),
        arrays.array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=5),
    )
)
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_array_is_an_image_or_a_value_error(run: Run, array: np.ndarray[Any, Any]) -> None:
    """Whatever the shape and type, it can be drawn, with as many pixels as were given, or is refused as a whole."""
    before = len(events(run))
    try:
        run.log_image("i", array)
    except ValueError:
        assert len(events(run)) == before
        return
    event = events(run)[-1]
    assert isinstance(event, ImageLogged)
    pictures = [opened(png) for png in media.pictures(event)]
    assert sum(picture.size for picture in pictures) == array.size


class Broken:
    """An object of somebody's that raises whatever is asked of it."""

    def __init__(self, **attributes: object) -> None:
        self.__dict__.update(attributes)

    def savefig(self) -> None: ...

    def set_canvas(self, canvas: object) -> None:
        raise KeyError("no canvas")

    def detach(self) -> None:
        raise RuntimeError("the device is lost")

    cpu = detach

    @property
    def canvas(self) -> None:
        raise KeyError("no canvas")

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


def test_what_other_peoples_objects_raise_does_not_reach_the_training(lenient: Run) -> None:
    """A tensor on a lost device, a figure that can't be drawn: a counted loss; an object without text has another."""
    lenient.log_image("i", Broken())
    lenient.log_figure("f", Broken())
    lenient.log_histogram("h", Broken())
    assert lenient.status().lost == 3
    lenient.log_table("t", [[Broken()]], columns=[Broken()])
    (event,) = events(lenient)
    assert isinstance(event, TableLogged)
    assert "whose text can't be had" in media.table(event).rows[0][0]


def test_lists_are_arrays_and_sequences_are_images(run: Run) -> None:
    """A nested list is one image, however deep."""
    run.log_image("i", RGB.tolist())
    event = only(run, ImageLogged)
    assert event.layout == "HWC"
    assert np.array_equal(opened(*media.pictures(event)), RGB)


def test_deep_pil_images_keep_their_shades(run: Run) -> None:
    """16 bits a pixel are scaled down to 8; a mode without a range is refused."""
    deep = Image.fromarray((np.arange(20) * 3_000).astype(np.uint16).reshape(4, 5))
    run.log_image("i", deep)
    shown = opened(*media.pictures(only(run, ImageLogged)))
    assert np.array_equal(shown, np.round(np.asarray(deep) / 65_535 * 255).astype(np.uint8))
    with pytest.raises(ValueError, match="mode F"):
        run.log_image("i", Image.new("F", (2, 2)))


def test_what_is_masked_is_not_shown(run: Run) -> None:
    """The values behind a mask are in no bin."""
    run.log_histogram("h", np.ma.array([1.0, 2.0, 999.0], mask=[False, False, True]), bins=2)
    assert media.histogram(only(run, HistogramLogged)) == media.Histogram([1, 1], [1.0, 1.5, 2.0])


def test_an_open_file_is_no_image_and_stays_open(run: Run, tmp_path: Path) -> None:
    """It can be detached like a tensor, and must not be."""
    path = tmp_path / "a.png"
    Image.fromarray(RGB).save(path)
    with path.open("rb") as file:
        with pytest.raises(TypeError, match="must be"):
            run.log_image("i", file)
        assert file.read(4) == b"\x89PNG"


def test_arguments_without_sense_are_refused_at_the_call(run: Run, tmp_path: Path) -> None:
    """What could only fail at delivery is said where it can be mended."""
    with pytest.raises(TypeError, match="bins must be at least 1"):
        run.log_histogram("h", [1.0], bins=0)
    with pytest.raises(TypeError, match="sample_rate must be at least 1"):
        run.log_audio("a", np.zeros(3), sample_rate=0)
    with pytest.raises(TypeError, match="thresholds must be at least 1"):
        run.log_pr_curve("c", [0, 1], [0.1, 0.9], thresholds=0)
    with pytest.raises(TypeError, match="fps must be"):
        run.log_video("v", np.zeros((3, 2, 2)), fps=math.inf)
    with pytest.raises(TypeError, match="layout must be a str"):
        run.log_image("i", RGB, layout=5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="layout 'THW'"):
        run.log_image("i", RGB[0], layout="THW")
    with pytest.raises(ValueError, match="further apart"):
        run.log_histogram("h", [-1.7e308, 1.7e308])
    with pytest.raises(ValueError, match="0 or 1"):
        run.log_roc_curve("c", [-1, 1], [0.1, 0.9])
    with pytest.raises(ValueError, match=r"load .* with NumPy"):
        run.log_image("i", tmp_path / "a.npy")
    with pytest.raises(ValueError, match="is a folder"):
        run.log_image("i", tmp_path)
    (tmp_path / "other.json").write_text("[1]")
    with pytest.raises(ValueError, match='"nodes" and "edges"'):
        run.log_graph("g", tmp_path / "other.json")
    assert events(run) == []


# Figures.


def test_a_matplotlib_figure_is_drawn_before_the_call_returns(run: Run) -> None:
    """Its pixels are those that matplotlib draws, and it may be closed or changed at once."""
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    figure, axes = pyplot.subplots(figsize=(2, 1), dpi=50)
    axes.plot([1, 2], [3, 4])
    canvas = figure.canvas
    run.log_figure("f", figure)
    assert figure.canvas is canvas
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi="figure")
    run.log_figure("axes", axes)
    pyplot.close(figure)
    first, second = events(run)
    assert isinstance(first, FigureLogged)
    assert isinstance(second, FigureLogged)
    expected = np.asarray(Image.open(buffer).convert("RGBA"))
    assert np.array_equal(opened(*media.pictures(first)), expected)
    assert np.array_equal(opened(*media.pictures(second)), expected)


def test_a_plotly_figure_is_kept_as_its_json(run: Run) -> None:
    """Backends that know plotly get the figure, not a picture of it."""
    express = pytest.importorskip("plotly.express")
    run.log_figure("f", express.line(x=[1, 2], y=[3, 4]))
    event = only(run, FigureLogged)
    assert event.format == "plotly"
    assert msgspec.json.decode(media.plotly_json(event))["data"][0]["type"] == "scatter"
    with pytest.raises(ValueError, match="browser"):
        media.pictures(event)


# Numbers.


def test_a_histogram_of_values_is_counted_at_delivery(run: Run) -> None:
    """Values of any shape are kept, NaN and infinities are in no bin, and the counts are NumPy's."""
    values = np.array([[0.0, 1.0, 1.0], [4.0, math.nan, math.inf]])
    run.log_histogram("h", values, bins=4, step=7)
    event = only(run, HistogramLogged)
    assert event.step == 7
    assert media.histogram(event) == media.Histogram([1, 2, 0, 1], [0.0, 1.0, 2.0, 3.0, 4.0])


@pytest.mark.parametrize("values", [[], [math.nan], [3.0], [2**40, 2**40 + 1]], ids=["none", "nan", "one", "large"])
def test_histograms_of_odd_values(run: Run, values: list[float]) -> None:
    """No values, only NaN, or one: there is a histogram all the same, that counts what is finite."""
    run.log_histogram("h", np.array(values))
    found = media.histogram(only(run, HistogramLogged))
    assert sum(found.counts) == sum(map(math.isfinite, values))
    assert len(found.edges) == len(found.counts) + 1
    assert found.edges == sorted(found.edges)


def test_a_histogram_may_be_counted_already(run: Run) -> None:
    """Counts and edges are taken as they are; anything else is refused."""
    run.log_histogram("h", counts=[1, 2], edges=[0, 0.5, 9])
    assert media.histogram(only(run, HistogramLogged)) == media.Histogram([1, 2], [0.0, 0.5, 9.0])
    with pytest.raises(ValueError, match="n counts and n"):
        run.log_histogram("h", counts=[1, 2], edges=[0, 1])
    with pytest.raises(TypeError, match="counts and edges"):
        run.log_histogram("h", counts=[1, 2])
    with pytest.raises(TypeError, match="found both"):
        run.log_histogram("h", [1.0], counts=[1], edges=[0, 1])


def test_a_pr_curve_is_what_its_definition_says(run: Run) -> None:
    """Precision and recall at each threshold, counted here one by one; weights count as so many examples."""
    labels, predictions, weights = [0, 1, 1, 0, 1], [0.1, 0.9, 0.4, 0.6, 0.8], [1, 2, 1, 3, 1]
    run.log_pr_curve("c", labels, predictions, weights=weights, thresholds=11)
    curve = media.curve(only(run, CurveLogged))
    assert curve.thresholds is not None
    assert curve.thresholds == pytest.approx([1 - at / 10 for at in range(11)])
    examples = list(zip(labels, predictions, weights, strict=True))
    positives = sum(weight for label, _, weight in examples if label)
    for threshold, recall, precision in zip(curve.thresholds, curve.x, curve.y, strict=True):
        taken = [(label, weight) for label, prediction, weight in examples if prediction >= threshold]
        hits, all_taken = sum(w for label, w in taken if label), sum(w for _, w in taken)
        assert recall == pytest.approx(hits / positives)
        assert precision == pytest.approx(hits / all_taken if taken else 1.0)


def test_a_roc_curve_goes_from_none_to_all(run: Run) -> None:
    """The rates of a perfect classifier, and of one whose examples are all of one class."""
    run.log_roc_curve("c", [0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], thresholds=3)
    run.log_roc_curve("c", [1, 1], [0.1, 0.9], thresholds=3)
    perfect, single = (media.curve(event) for event in events(run))  # type: ignore[arg-type]
    assert (perfect.x, perfect.y) == ([0.0, 0.0, 1.0], [0.0, 1.0, 1.0])
    assert (single.x, single.y) == ([0.0, 0.0, 0.0], [0.0, 0.5, 1.0])


@pytest.mark.parametrize("dtype", [np.uint8, np.bool_, np.int64, np.float32])
def test_predictions_of_every_type(run: Run, dtype: Any) -> None:
    """Certain predictions, as numbers of any type, make the same curve."""
    run.log_roc_curve("c", np.array([0, 1, 0, 1]), np.array([0, 1, 0, 1]).astype(dtype), thresholds=3)
    curve = media.curve(only(run, CurveLogged))
    assert (curve.x, curve.y) == ([0.0, 0.0, 1.0], [1.0, 1.0, 1.0])


def test_a_line_has_its_points_and_labels(run: Run) -> None:
    """Points come back as they were; two lengths are refused."""
    run.log_curve("c", [1, 2, 4], [0.5, math.nan, 1], x_label="t", y_label="f")
    curve = media.curve(only(run, CurveLogged))
    assert (curve.x, curve.x_label, curve.y_label) == ([1, 2, 4], "t", "f")
    assert math.isnan(curve.y[1])
    assert b"nan" in media.as_files(only(run, CurveLogged))[0].data
    with pytest.raises(ValueError, match="one length"):
        run.log_curve("c", [1, 2], [1])


# Sound and video.


@pytest.mark.parametrize(
    ("samples", "channels"),
    [(np.sin(np.arange(80) / 8), 1), (np.zeros((80, 2), np.float32), 2), (np.ones((2, 80), np.int16), 2)],
    ids=["mono", "stereo", "channels first"],
)
def test_samples_become_a_wave_file(run: Run, samples: Any, channels: int) -> None:
    """16 bits a sample, with the rate and as many channels as were given."""
    run.log_audio("a", samples, sample_rate=8_000, caption="tone")
    event = only(run, AudioLogged)
    assert event.caption == "tone"
    with wave.open(io.BytesIO(media.sound(event).data)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (8_000, channels, 80)
        frames = np.frombuffer(file.readframes(80), "<i2").reshape(80, channels)
    scaled = samples.T if samples.shape == (2, 80) else samples.reshape(80, channels)
    assert np.allclose(frames, scaled if scaled.dtype == np.int16 else scaled * 32_767, atol=1)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_sound_that_clips_is_clipped(run: Run, dtype: Any) -> None:
    """Samples beyond -1 and 1 are the loudest there is, not wrapped round."""
    run.log_audio("a", np.array([2.0, -2.0], dtype))
    with wave.open(io.BytesIO(media.sound(only(run, AudioLogged)).data)) as file:
        assert np.frombuffer(file.readframes(2), "<i2").tolist() == [32_767, -32_767]


@pytest.mark.parametrize("layout", ["THWC", "TCHW", "NTHWC", "NTCHW", "THW"])
def test_frames_become_an_animation(run: Run, layout: str) -> None:
    """Whatever the axes, each frame is there, in order, for as long as the rate says."""
    frames = np.repeat(np.array([0, 80, 160, 240], np.uint8), 8 * 6 * 3).reshape(4, 8, 6, 3)
    shaped = {
        "THWC": frames,
        "TCHW": frames.transpose(0, 3, 1, 2),
        "NTHWC": frames.reshape(2, 2, 8, 6, 3),
        "NTCHW": frames.reshape(2, 2, 8, 6, 3).transpose(0, 1, 4, 2, 3),
        "THW": frames[:, :, :, 0],
    }[layout]
    run.log_video("v", shaped, fps=5)
    event = only(run, VideoLogged)
    assert event.layout == layout
    with Image.open(io.BytesIO(media.video(event).data)) as gif:
        shown = [np.asarray(frame.convert("L")) for frame in ImageSequence.Iterator(gif)]
        assert gif.info["duration"] == 200
    assert [int(frame[0, 0]) for frame in shown] == [0, 80, 160, 240]


@pytest.mark.parametrize("fps", [0.5, 4, 24, 30, 50, 60, 120])
def test_an_animation_lasts_as_long_as_it_should(run: Run, fps: float) -> None:
    """GIF's clock is coarse: frames are shown longer or shorter, or left out, but the whole takes its time."""
    frames = np.repeat((np.arange(60) * 4).astype(np.uint8), 4).reshape(60, 2, 2)
    run.log_video("v", frames, fps=fps)
    with Image.open(io.BytesIO(media.video(only(run, VideoLogged)).data)) as gif:
        durations = [frame.info["duration"] for frame in ImageSequence.Iterator(gif)]
    assert sum(durations) == pytest.approx(60 / fps * 1000, abs=20)
    assert min(durations) >= 20


# Tables, meshes, embeddings, graphs.


COLUMNS = ["id", "score", "name"]
ROWS: list[list[Any]] = [[1, 0.5, "a"], [2, math.inf, 'größe, "b"'], [3, None, None]]


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame(
            {"id": [1, 2, 3], "score": pd.array([0.5, math.inf, None], dtype=object), "name": ["a", 'größe, "b"', None]}
        ),
        pl.DataFrame(ROWS, schema=COLUMNS, orient="row"),
        [dict(zip(COLUMNS, row, strict=True)) for row in ROWS],
        {name: [row[at] for row in ROWS] for at, name in enumerate(COLUMNS)},
        ROWS,
    ],
    ids=["pandas", "polars", "mappings", "columns", "rows"],
)
def test_every_kind_of_table(run: Run, table: Any) -> None:
    """Frames, mappings and rows come back as columns and rows, cells typed."""
    run.log_table("t", table, columns=COLUMNS if isinstance(table, list) and isinstance(table[0], list) else None)
    found = media.table(only(run, TableLogged))
    assert found.columns == COLUMNS
    cells = [[None if value != value else value for value in row] for row in found.rows]  # pandas has NaN for None
    assert cells == ROWS


def test_cells_that_are_no_scalars_become_text(run: Run) -> None:
    """NumPy's scalars are numbers, times and objects are text, and huge integers keep their digits."""
    run.log_table("t", {"a": [np.float32(0.5), np.int64(3)], "b": [pd.Timestamp("2026-01-02"), 2**70]})
    assert media.table(only(run, TableLogged)).rows == [[0.5, "2026-01-02 00:00:00"], [3, str(2**70)]]


def test_text_that_utf8_cannot_hold_is_written_out(run: Run) -> None:
    """A lone surrogate in a cell, a column or a label costs nothing else."""
    run.log_table("t", [["a\ud800", 1]], columns=["x\udfff", "y"])
    run.log_embedding("e", [[1.0]], labels=["a\ud800\0"])
    table, embedding = events(run)
    assert isinstance(table, TableLogged)
    assert isinstance(embedding, EmbeddingLogged)
    assert media.table(table) == media.Table(["x\\udfff", "y"], [["a\\ud800", 1]])
    assert media.embedding(embedding).labels == ["a\\ud800\0"]


def test_rows_may_come_from_anywhere(run: Run) -> None:
    """Generators, of generators too, and NumPy's times."""
    run.log_table("t", (iter([number, np.datetime64("2026-01-02", "ns")]) for number in range(2)))
    table = media.table(only(run, TableLogged))
    assert table.columns == ["0", "1"]
    assert table.rows[1] == [1, "2026-01-02T00:00:00.000000000"]


def test_a_table_that_makes_no_sense_is_refused(run: Run) -> None:
    """Rows of different lengths, and text."""
    with pytest.raises(ValueError, match="2 columns has a row of 3"):
        run.log_table("t", [[1, 2], [1, 2, 3]], columns=["a", "b"])
    with pytest.raises(TypeError, match="a table must be"):
        run.log_table("t", "rows")


def test_a_mesh_can_be_opened(run: Run) -> None:
    """Vertices, colours and faces come back; as a file it is Wavefront's, whose vertices count from 1."""
    vertices, colors = [[0.0, 0.5, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    run.log_mesh("m", np.array([vertices]), colors=colors, faces=[[0, 1, 2]])
    event = only(run, MeshLogged)
    assert media.mesh(event) == media.Mesh(vertices, colors, [[0, 1, 2]])
    (file,) = media.as_files(event)
    assert file.suffix == "obj"
    assert file.data.decode().splitlines() == [
        "v 0.0 0.5 1.0 1.0 0.0 0.0",
        "v 1.0 0.0 0.0 0.0 1.0 0.0",
        "v 0.0 0.0 1.0 0.0 0.0 1.0",
        "f 1 2 3",
    ]
    with pytest.raises(ValueError, match="of the 3 vertices"):
        run.log_mesh("m", vertices, faces=[[0, 1, 3]])


def test_embeddings_are_files_for_the_projector(run: Run) -> None:
    """Tab-separated vectors and a label a line, whatever is in the labels."""
    run.log_embedding("e", [[1.0, 2.0], [3.0, 4.0]], labels=["a\tb", 7])
    event = only(run, EmbeddingLogged)
    assert media.embedding(event) == media.Embedding([[1.0, 2.0], [3.0, 4.0]], ["a\tb", "7"])
    assert [file.data for file in media.as_files(event)] == [b"1.0\t2.0\n3.0\t4.0\n", b"a b\n7\n"]
    with pytest.raises(ValueError, match="a label for each"):
        run.log_embedding("e", [[1.0]], labels=[])


class Module:
    """What torch's modules are like."""

    def __init__(self, **parts: Module) -> None:
        self.parts = parts

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        yield prefix, self
        for name, part in self.parts.items():
            yield from part.named_modules(f"{prefix}.{name}" if prefix else name)

    def extra_repr(self) -> str:
        return f"{len(self.parts)} parts"


def test_graphs_have_nodes_and_edges(run: Run, tmp_path: Path) -> None:
    """Of a module its parts, of a mapping what it says; files are kept as they are."""
    run.log_graph("module", Module(body=Module(layer=Module())))
    run.log_graph("mapping", {"nodes": ["a", {"id": "b", "op": "Add"}], "edges": [("a", "b")]})
    (tmp_path / "g.dot").write_text("digraph {}")
    run.log_graph("file", tmp_path / "g.dot")
    module, mapping, file = events(run)
    assert isinstance(module, GraphLogged)
    assert isinstance(mapping, GraphLogged)
    assert isinstance(file, GraphLogged)
    assert media.graph(module) == media.Graph(
        [
            media.Node("Module", "Module", "1 parts"),
            media.Node("body", "Module", "1 parts"),
            media.Node("body.layer", "Module", "0 parts"),
        ],
        [("Module", "body"), ("body", "body.layer")],
    )
    assert media.graph(mapping) == media.Graph([media.Node("a"), media.Node("b", "Add")], [("a", "b")])
    assert media.graph(file) is None
    assert media.as_files(file) == [media.Encoded("dot", b"digraph {}")]


# Models, datasets, notes, console lines.


def test_a_model_is_copied_whole(run: Run, tmp_path: Path) -> None:
    """A folder is one model; what becomes of the original afterwards has no effect."""
    folder = tmp_path / "model"
    (folder / "weights").mkdir(parents=True)
    (folder / "weights" / "0.bin").write_bytes(b"01")
    (folder / "config.json").write_bytes(b"{}")
    run.log_model(folder, step=3, framework="pytorch", metadata={"accuracy": np.float64(0.5), "sizes": {"a": 1}})
    (folder / "config.json").write_bytes(b"changed")
    event = only(run, ModelLogged)
    assert (event.name, event.size, event.step, event.framework) == ("model", 4, 3, "pytorch")
    assert event.metadata == {"accuracy": 0.5, "sizes/a": 1}
    assert (Path(event.path) / "config.json").read_bytes() == b"{}"
    assert (Path(event.path) / "weights" / "0.bin").read_bytes() == b"01"


def test_a_model_without_files_is_a_loss(lenient: Run, tmp_path: Path) -> None:
    """An empty folder, or none, is no model: counted, and said."""
    (tmp_path / "empty").mkdir()
    lenient.log_model(tmp_path / "empty")
    lenient.log_model(tmp_path / "missing")
    assert lenient.status().lost == 2
    assert events(lenient) == []


def test_the_latest_model_is_registered(run: Run, tmp_path: Path) -> None:
    """register_model takes the model logged last, or the one named; before there is any, it says so."""
    with pytest.raises(InvalidSetting, match="no log_model came before"):
        run.register_model("classifier")
    (tmp_path / "m.pt").write_bytes(b"weights")
    run.log_model(tmp_path / "m.pt")
    run.register_model("classifier", alias="champion", description="the best")
    run.register_model("classifier", model="other", alias=["a", "b"])
    _, first, second = events(run)
    assert isinstance(first, ModelRegistered)
    assert isinstance(second, ModelRegistered)
    assert (first.name, first.model, first.aliases, first.description) == (
        "classifier",
        "m.pt",
        ("champion",),
        "the best",
    )
    assert (second.model, second.aliases) == ("other", ("a", "b"))


def test_a_model_that_could_not_be_kept_is_not_replaced_by_another(lenient: Run, tmp_path: Path) -> None:
    """Registering the latest model, when that was a loss, is a loss too, and never takes the one before it."""
    (tmp_path / "a.pt").write_bytes(b"a")
    lenient.log_model(tmp_path / "a.pt")
    lenient.log_model(tmp_path / "missing.pt")
    lenient.register_model("classifier", alias="champion")
    assert [type(event) for event in events(lenient)] == [ModelLogged]
    assert lenient.status().lost == 2


def test_a_folder_with_tracelets_own_files_is_taken_without_them(run: Run, tmp_path: Path) -> None:
    """The folder that the runs are in, and links that lead back to where they are, are followed to no place twice."""
    (tmp_path / "weights.bin").write_bytes(b"weights")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / ".gitignore").write_text("*\n")
    (tmp_path / "deep" / "again").symlink_to(tmp_path)
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    os.mkfifo(tmp_path / "pipe")
    run.log_model(tmp_path, "model")
    run.log_artifact(tmp_path, "files")
    model, *artifacts = events(run)
    assert isinstance(model, ModelLogged)
    copied = Path(model.path)
    files = {str(path.relative_to(copied)) for path in copied.rglob("*") if path.is_file()}
    assert files == {"deep/.gitignore", "weights.bin"}
    names = [artifact.name for artifact in artifacts if isinstance(artifact, FileLogged)]
    assert names == ["files/weights.bin", "files/deep/.gitignore"]


def test_a_durable_flush_syncs_files_and_their_names(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Media and models survive a loss of power whole: each file, and each folder that has its name."""
    from tracelet.journal import recorder
    from tracelet.journal.blobs import sync_file

    synced: list[Path] = []

    def note(path: Path) -> None:
        synced.append(path)
        sync_file(path)

    monkeypatch.setattr(recorder, "sync_file", note)
    (tmp_path / "model" / "weights").mkdir(parents=True)
    (tmp_path / "model" / "weights" / "0.bin").write_bytes(b"0")
    run.log_image("i", RGB)
    run.log_model(tmp_path / "model")
    assert run.flush(durable=True)
    blobs = run.directory / "blobs"
    assert {*blobs.rglob("*"), blobs, run.directory} <= set(synced)
    before = len(synced)
    assert run.flush(durable=True)
    assert len(synced) == before


def test_what_is_no_file_is_a_loss_and_not_waited_for(lenient: Run, tmp_path: Path) -> None:
    """A pipe, a device, an empty folder."""
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "empty").mkdir()
    lenient.log_artifact(tmp_path / "pipe.png")
    lenient.log_image("i", tmp_path / "pipe.png")
    lenient.log_artifact("/dev/zero")
    lenient.log_artifact(tmp_path / "empty")
    assert lenient.status().lost == 4
    assert events(lenient) == []


def test_a_folder_that_can_not_be_read_whole_is_a_loss(
    lenient: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a model is none: a subfolder without permission is not left out silently."""
    (tmp_path / "model" / "weights").mkdir(parents=True)
    (tmp_path / "model" / "config.json").write_bytes(b"{}")
    scan = os.scandir

    def refuse(path: Any = ".") -> Any:
        if str(path).endswith("weights"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    lenient.log_model(tmp_path / "model")
    lenient.log_artifact(tmp_path / "model")
    assert lenient.status().lost == 2
    assert events(lenient) == []


def test_names_of_files_that_are_no_utf8(run: Run, tmp_path: Path) -> None:
    """A copy is found again; without a copy there is no way to say which file it is."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/m.\xff\xfe"))
    path.write_bytes(b"content")
    run.log_artifact(path)
    event = only(run, ArtifactLogged)
    assert Path(event.path).read_bytes() == b"content"
    with pytest.raises(ValueError, match="copy=True"):
        run.log_artifact(path, copy=False)


def test_credentials_in_a_datasets_url_are_not_kept(run: Run) -> None:
    """Neither in its place nor in its name."""
    run.use_dataset("https://user:password@host/data/x.csv?token=secret1&rows=5")
    (event,) = (event for event in events(run, Lane.STREAM) if isinstance(event, DatasetUsed))
    assert (event.name, event.source) == ("x.csv", "https://host/data/x.csv?rows=5")


def test_a_dataset_is_described_not_kept(run: Run, tmp_path: Path) -> None:
    """Of a frame its columns and rows, of a path or URL where it is."""
    run.use_dataset(pd.DataFrame({"x": [1.0, 2.0], "y": ["a", "b"]}), "frame", digest="abc", role="evaluation")
    run.use_dataset(np.zeros((3, 4), np.float32), "array", source="s3://bucket/x")
    run.use_dataset("https://example.org/data/train.csv")
    run.use_dataset(tmp_path / "local")
    frame, array, url, path = (event for event in events(run, Lane.STREAM) if isinstance(event, DatasetUsed))
    assert (frame.digest, frame.role, frame.profile) == ("abc", "evaluation", {"rows": 2, "columns": 2})
    assert frame.schema["x"] == "float64"
    assert (array.source, array.schema, array.profile) == ("s3://bucket/x", {"": "float32"}, {"rows": 3, "size 1": 4})
    assert (url.name, url.source) == ("train.csv", "https://example.org/data/train.csv")
    assert (path.name, path.source) == ("local", str(tmp_path / "local"))
    with pytest.raises(TypeError, match="needs a name"):
        run.use_dataset(np.zeros(3))
    with pytest.raises(TypeError, match="data must be"):
        run.use_dataset(3, "name")


def test_notes_and_console_lines(run: Run) -> None:
    """They are kept as they are, without the end of the last line."""
    run.set_note("# Why\n\nBecause.")
    run.log_console("two\nlines\n", "stderr")
    note, line = (event for event in events(run, Lane.STREAM) if isinstance(event, NoteSet | ConsoleLine))
    assert isinstance(note, NoteSet)
    assert isinstance(line, ConsoleLine)
    assert note.text == "# Why\n\nBecause."
    assert (line.text, line.stream) == ("two\nlines", "stderr")
    with pytest.raises(TypeError, match="stdout"):
        run.log_console("x", "stdin")  # type: ignore[arg-type]


def test_after_the_end_media_are_refused_too(run: Run) -> None:
    """A finished run takes nothing, and says so."""
    run.finish()
    with pytest.raises(RunClosed):
        run.log_image("i", RGB)
    with pytest.raises(RunClosed):
        run.log_model("m")
    with pytest.raises(RunClosed):
        run.set_note("n")


def test_an_inert_run_takes_everything(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With logging disabled nothing is written, whatever is passed."""
    monkeypatch.setenv("TRACELET_MODE", "disabled")
    run = tracelet.start_logging(directory=tmp_path / "runs")
    run.log_image("i", RGB)
    run.log_model(tmp_path)
    run.register_model("m")
    assert not run.child("c").active
    tracelet.stop_logging()
    assert list(tmp_path.iterdir()) == []
