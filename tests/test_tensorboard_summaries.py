"""TensorBoard's events, protobuf messages of its own or of tensorboardX's, are said to a run by their kinds."""

from __future__ import annotations

import json
import math
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import tracelet
from tracelet import media
from tracelet.codec import decode
from tracelet.events import (
    AudioLogged,
    CurveLogged,
    GraphLogged,
    HistogramLogged,
    HParamsLogged,
    ImageLogged,
    Lane,
    LayoutSet,
    MeshLogged,
    MetricsLogged,
    RunFinished,
    RunStarted,
    TensorLogged,
    TextLogged,
    VideoLogged,
)
from tracelet.journal import LogReader, RunDirectory
from tracelet.tensorboard._summaries import Remembered, Summaries, log_event

np = pytest.importorskip("numpy")

PNG = b"\x89PNG\r\n\x1a\n picture"
WHERE = {"logdir": "val"}


class Protos:
    """The messages of one package."""

    def __init__(self, package: str) -> None:
        own = package == "tensorboardX"
        proto = "tensorboardX.proto" if own else "tensorboard.compat.proto"
        self.Event = self._load(f"{proto}.event_pb2").Event
        self.Graph = self._load(f"{proto}.graph_pb2").GraphDef
        plugins = "tensorboard.plugins"
        self.hparams = self._load(f"{proto}.plugin_hparams_pb2" if own else f"{plugins}.hparams.plugin_data_pb2")
        self.api = self._load(f"{proto}.api_pb2" if own else f"{plugins}.hparams.api_pb2")
        self.mesh = self._load(f"{proto}.plugin_mesh_pb2" if own else f"{plugins}.mesh.plugin_data_pb2")
        self.layout = self._load(f"{proto}.layout_pb2" if own else f"{plugins}.custom_scalar.layout_pb2")

    @staticmethod
    def _load(name: str) -> Any:
        return pytest.importorskip(name)

    def value(self, tag: str, plugin: str = "", content: bytes = b"", shown: str = "") -> tuple[Any, Any]:
        """An event, and the one value in it."""
        event = self.Event(wall_time=5.0, step=3)
        value = event.summary.value.add(tag=tag)
        if plugin:
            value.metadata.plugin_data.plugin_name = plugin
            value.metadata.plugin_data.content = content
            value.metadata.display_name = shown
        return event, value

    def tensor(
        self, tag: str, dtype: int, shape: Sequence[int], plugin: str = "", content: bytes = b"", **fields: Any
    ) -> Any:
        """An event with a tensor."""
        event, value = self.value(tag, plugin, content)
        value.tensor.dtype = dtype
        for size in shape:
            value.tensor.tensor_shape.dim.add(size=size)
        for name, held in fields.items():
            if isinstance(held, bytes):
                setattr(value.tensor, name, held)
            else:
                getattr(value.tensor, name).extend(held)
        return event


@pytest.fixture(params=["tensorboard", "tensorboardX"])
def protos(request: pytest.FixtureRequest) -> Protos:
    return Protos(request.param)


class Told:
    """A run, and what it was told."""

    def __init__(self, run: tracelet.Run) -> None:
        self.run = run
        self.summaries = Summaries(trial="first")

    def hear(self, *events: Any) -> list[tuple[str, str]]:
        """Say events at their own steps and times; what could not be understood."""
        return [
            problem
            for event in events
            for problem in self.summaries.log(self.run, WHERE, event, event.step, event.wall_time)
        ]

    @property
    def events(self) -> list[Any]:
        directory, found = RunDirectory(self.run.directory), list[Any]()
        for lane in Lane:
            with LogReader(directory.log("0000", lane)) as reader:
                frames = reader.read(1_000, 1 << 24, final=True)
            found += map(decode, frames.words, frames.payloads)
        return [event for event in found if not isinstance(event, RunStarted | RunFinished)]

    def one(self, kind: type[Any]) -> Any:
        """The one event there is; a file's path is absolute."""
        import msgspec

        (event,) = self.events
        assert isinstance(event, kind)
        if hasattr(event, "path"):
            event = msgspec.structs.replace(event, path=str(self.run.directory / event.path))
            assert (event.step, event.time, event.context) == (3, 5.0, (("logdir", "val"),))
        return event


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    with tracelet.start_logging([], "told", directory=tmp_path, strict=True) as run:
        yield Told(run)


# Scalars.


def test_a_simple_value_is_a_metric(protos: Protos, told: Told) -> None:
    """With the tag, and the step, time and context that are given."""
    event, value = protos.value("loss")
    value.simple_value = 0.5
    assert told.hear(event) == []
    assert told.events == [MetricsLogged(5.0, {"loss": 0.5}, 3, (("logdir", "val"),))]


def test_without_a_step_points_are_counted(protos: Protos, told: Told) -> None:
    """No step and no time: the run counts, and it is now."""
    event, value = protos.value("loss")
    value.simple_value = 0.5
    for _ in range(2):
        assert log_event(told.run, None, event) == []
    assert [event.step for event in told.events] == [0, 1]
    assert all(event.time > 1e9 for event in told.events)


@pytest.mark.parametrize(
    ("dtype", "fields", "expected"),
    [
        (1, {"float_val": [0.5]}, 0.5),
        (1, {"tensor_content": struct.pack("<f", 0.5)}, 0.5),
        (2, {"double_val": [0.1]}, 0.1),
        (2, {"tensor_content": struct.pack("<d", 0.1)}, 0.1),
        (19, {"half_val": [0x3800]}, 0.5),
        (19, {"half_val": [struct.unpack("<i", struct.pack("<f", -0.5))[0]]}, -0.5),
        (14, {"half_val": [0x3F00]}, 0.5),
        (3, {"int_val": [-7]}, -7),
        (9, {"int64_val": [2**62]}, 2**62),
    ],
    ids=["float", "float bytes", "double", "double bytes", "half", "torch's half", "bfloat16", "int", "long"],
)
def test_a_tensor_of_the_scalars_plugin_is_a_metric(
    protos: Protos, told: Told, dtype: int, fields: dict[str, Any], expected: float
) -> None:
    """In whatever form its one number is, and with all of its digits."""
    assert told.hear(protos.tensor("m", dtype, [], "scalars", **fields)) == []
    assert told.one(MetricsLogged).values == {"m": expected}


def test_a_plugin_named_once_holds_for_the_tag(protos: Protos, told: Told) -> None:
    """TensorFlow writes what a tag is with its first value only; a later reader may be told of it."""
    told.hear(protos.tensor("m", 1, [], "scalars", float_val=[1.0]))
    told.hear(protos.tensor("m", 1, [], float_val=[2.0]))
    import msgspec

    kept = msgspec.json.decode(msgspec.json.encode(told.summaries.remembered), type=Remembered)
    told.summaries = Summaries(remembered=kept)
    told.hear(protos.tensor("m", 1, [], float_val=[3.0]))
    assert [event.values for event in told.events] == [{"m": 1.0}, {"m": 2.0}, {"m": 3.0}]


def test_the_suffixes_of_tensorflow_1_are_taken_off(protos: Protos, told: Told) -> None:
    """Where the display name says what the tag was."""
    for shown in ("loss", "other"):
        event, value = protos.value("loss/scalar_summary", "scalars", shown=shown)
        value.tensor.dtype = 1
        value.tensor.float_val.append(1.0)
        assert told.hear(event) == []
    assert [event.values for event in told.events] == [{"loss": 1.0}, {"loss/scalar_summary": 1.0}]


# What is shown.


def test_encoded_images_are_kept_as_they_are(protos: Protos, told: Told) -> None:
    """Of the old style."""
    event, value = protos.value("picture")
    value.image.encoded_image_string = PNG
    assert told.hear(event) == []
    shown = told.one(ImageLogged)
    assert (shown.name, shown.format, Path(shown.path).read_bytes()) == ("picture", "png", PNG)


def test_an_animated_image_is_a_video(protos: Protos, told: Told) -> None:
    """`add_video` writes GIFs as images."""
    event, value = protos.value("clip")
    value.image.encoded_image_string = b"GIF89a frames"
    assert told.hear(event) == []
    shown = told.one(VideoLogged)
    assert (shown.name, shown.format) == ("clip", "gif")


def test_images_in_a_tensor_are_numbered_where_there_are_several(protos: Protos, told: Told) -> None:
    """Behind width and height; one has the tag itself."""
    jpeg = b"\xff\xd8\xff picture"
    assert told.hear(protos.tensor("a", 7, [3], "images", string_val=[b"8", b"8", PNG])) == []
    assert told.hear(protos.tensor("b", 7, [4], "images", string_val=[b"8", b"8", PNG, jpeg])) == []
    assert [(event.name, event.format) for event in told.events] == [("a", "png"), ("b/0", "png"), ("b/1", "jpeg")]


def test_sound_is_kept_as_it_is(protos: Protos, told: Told) -> None:
    """Of the old style, and in a tensor with labels."""
    wav = b"RIFF\0\0\0\0WAVE"
    event, value = protos.value("old")
    value.audio.encoded_audio_string = wav
    assert told.hear(event, protos.tensor("new", 7, [2, 2], "audio", string_val=[wav, b"la", wav, b""])) == []
    found = told.events
    assert all(isinstance(event, AudioLogged) for event in found)
    assert [(event.name, event.caption) for event in found] == [("old", ""), ("new/0", "la"), ("new/1", "")]
    assert (told.run.directory / found[0].path).read_bytes() == wav


def histogram_of(told: Told) -> tuple[list[float], list[float]]:
    shown = told.one(HistogramLogged)
    with np.load(shown.path) as arrays:
        return arrays["counts"].tolist(), arrays["edges"].tolist()


@pytest.mark.parametrize(
    ("limits", "counts", "bounds", "expected"),
    [
        ([1.0, 2.0, 3.0], [0, 4, 5], (1.5, 3.0), ([4, 5], [1, 2, 3])),
        ([1.0, 2.0], [4, 5], (0.25, 2.0), ([4, 5], [0.25, 1, 2])),
        ([0.0, 1.0, 1.7e308], [0, 1, 2], (0.5, 7.0), ([1, 2], [0, 1, 7])),
        ([2.0], [3], (2.0, 2.0), ([3], [math.nextafter(2.0, -math.inf), 2])),
    ],
    ids=["torch", "first bucket", "no bound", "one value"],
)
def test_a_histogram_of_the_old_style_has_edges_around_its_counts(
    protos: Protos, told: Told, limits: Any, counts: Any, bounds: Any, expected: Any
) -> None:
    """Its limits are right edges; what is left of the first comes from the least value."""
    event, value = protos.value("h")
    value.histo.min, value.histo.max = bounds
    value.histo.bucket_limit.extend(limits)
    value.histo.bucket.extend(counts)
    assert told.hear(event) == []
    assert histogram_of(told) == expected


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([0, 1, 4, 1, 2, 5], ([4, 5], [0, 1, 2])),
        ([2, 2, 3, 2, 2, 4], ([7], [1.5, 2.5])),
        ([], ([0], [0, 1])),
        ([0, 1, 4, 2, 3, 5], ([4, 0, 5], [0, 1, 2, 3])),
    ],
    ids=["buckets", "one value", "nothing", "a gap"],
)
def test_a_histogram_in_a_tensor_has_rows_of_edges_and_counts(
    protos: Protos, told: Told, rows: list[float], expected: Any
) -> None:
    """Left edge, right edge and count; what has no width gets one."""
    assert told.hear(protos.tensor("h", 2, [len(rows) // 3, 3], "histograms", double_val=rows)) == []
    assert histogram_of(told) == expected


def test_a_text_has_the_name_that_was_given(protos: Protos, told: Told) -> None:
    """Without the suffix that torch and tensorboardX add; several strings are paragraphs."""
    told.hear(protos.tensor("t/text_summary", 7, [1], "text", string_val=["größe".encode()]))
    told.hear(protos.tensor("u", 7, [2], "text", string_val=[b"one", b"two\xff"]))
    expected = [("t", "größe"), ("u", "one\n\ntwo\\xff")]
    assert [(event.name, event.text) for event in told.events if isinstance(event, TextLogged)] == expected


def test_a_precision_recall_curve_has_its_points_and_counts(protos: Protos, told: Told) -> None:
    """Six rows: four counts, precision and recall."""
    rows = [[5.0, 3.0], [4.0, 1.0], [0.0, 3.0], [0.0, 2.0], [0.5, 0.75], [1.0, 0.6]]
    event = protos.tensor("pr", 1, [6, 2], "pr_curves", float_val=[number for row in rows for number in row])
    assert told.hear(event) == []
    shown = told.one(CurveLogged)
    assert shown.curve == "pr"
    with np.load(shown.path) as arrays:
        assert arrays["true_positives"].tolist() == rows[0]
        assert arrays["false_negatives"].tolist() == rows[3]
    curve = media.curve(shown)
    assert sorted(curve.x) == pytest.approx([0.6, 1.0])
    assert sorted(curve.y) == pytest.approx([0.5, 0.75])


def test_the_parts_of_a_mesh_are_one_event(protos: Protos, told: Told) -> None:
    """Vertices, faces and colours, each a value of the summary, and the way to show them."""
    event = protos.Event(wall_time=5.0, step=3)
    parts = [(1, [0, 0, 0, 1, 0, 0, 0, 1, 0]), (2, [0, 1, 2]), (3, [255, 0, 0, 0, 255, 0, 0, 0, 255])]
    for kind, numbers in parts:
        value = event.summary.value.add(tag=f"m_{kind}")
        data = protos.mesh.MeshPluginData(name="m", content_type=kind, json_config='{"camera": {"fov": 75}}')
        value.metadata.plugin_data.plugin_name = "mesh"
        value.metadata.plugin_data.content = data.SerializeToString()
        value.tensor.dtype = 1
        value.tensor.float_val.extend(numbers)
        for size in (1, len(numbers) // 3, 3):
            value.tensor.tensor_shape.dim.add(size=size)
    assert told.hear(event) == []
    shown = told.one(MeshLogged)
    assert (shown.name, json.loads(shown.config)) == ("m", {"camera": {"fov": 75}})
    mesh = media.mesh(shown)
    assert mesh.vertices == [[0, 0, 0], [1, 0, 0], [0, 1, 0]]
    assert (mesh.faces, mesh.colors) == ([[0, 1, 2]], [[255, 0, 0], [0, 255, 0], [0, 0, 255]])


@pytest.mark.parametrize(
    ("dtype", "shape", "fields", "expected"),
    [
        (1, [2, 2], {"float_val": [1, 2, 3, 4]}, np.array([[1, 2], [3, 4]], np.float32)),
        (1, [2, 2], {"float_val": [7]}, np.full((2, 2), 7, np.float32)),
        (2, [2], {"tensor_content": struct.pack("<2d", 0.1, 0.2)}, np.array([0.1, 0.2])),
        (3, [1, 2], {"int_val": [-1, 5]}, np.array([[-1, 5]], np.int32)),
        (4, [2], {"uint32_val": [0, 255]}, np.array([0, 255], np.uint8)),
        (4, [2], {"int_val": [0, 255]}, np.array([0, 255], np.uint8)),
        (9, [1], {"int64_val": [2**60]}, np.array([2**60])),
        (10, [1, 2], {"bool_val": [True, False]}, np.array([[True, False]])),
        (19, [2], {"half_val": [0x3C00, 0x4000]}, np.array([1, 2], np.float32)),
        (1, [], {"float_val": [0.5]}, np.array(0.5, np.float32)),
        (1, [0], {}, np.array([], np.float32)),
    ],
    ids=str,
)
def test_other_tensors_are_kept_with_their_type_and_shape(
    protos: Protos, told: Told, dtype: int, shape: list[int], fields: dict[str, Any], expected: Any
) -> None:
    """From typed fields, of which the last may stand for the rest, or from raw content."""
    if not all(name in protos.Event().summary.value.add().tensor.DESCRIPTOR.fields_by_name for name in fields):
        pytest.skip("this package's messages have no such field")
    assert told.hear(protos.tensor("t", dtype, shape, **fields)) == []
    found = media.array(told.one(TensorLogged))
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert found.tolist() == expected.tolist()


def test_strings_without_a_plugin_are_text(protos: Protos, told: Told) -> None:
    """There is no tensor of them."""
    assert told.hear(protos.tensor("s", 7, [], string_val=[b"words"])) == []
    assert told.one(TextLogged).text == "words"


def test_a_graph_has_its_operations_and_which_ones_feed_which(protos: Protos, told: Told) -> None:
    """Inputs name an output or an order, which is left out."""
    graph = protos.Graph()
    graph.node.add(name="x", op="Placeholder")
    graph.node.add(name="y", op="MatMul", input=["x:1", "^x"])
    event = protos.Event(wall_time=5.0, step=3, graph_def=graph.SerializeToString())
    assert told.hear(event) == []
    shown = told.one(GraphLogged)
    assert json.loads(Path(shown.path).read_bytes()) == {
        "nodes": [{"id": "x", "op": "Placeholder", "label": ""}, {"id": "y", "op": "MatMul", "label": ""}],
        "edges": [["x", "y"], ["x", "y"]],
    }


# What is said of the run.


def hparams(protos: Protos, **data: Any) -> Any:
    return protos.value("_hparams_/x", "hparams", protos.hparams.HParamsPluginData(**data).SerializeToString())[0]


def test_a_trial_has_its_values_domains_and_metrics(protos: Protos, told: Told) -> None:
    """The experiment says what could be, the session's start what is; numbers, strings and bools keep their types."""
    experiment = protos.api.Experiment()
    info = experiment.hparam_infos.add(name="lr")
    for number in (0.1, 0.2):
        info.domain_discrete.values.add(number_value=number)
    experiment.hparam_infos.add(name="kind")
    experiment.metric_infos.add(name=protos.api.MetricName(tag="accuracy"))
    start = protos.hparams.SessionStartInfo()
    start.hparams["lr"].number_value = 0.1
    start.hparams["deep"].bool_value = True
    start.hparams["kind"].string_value = "cnn"
    end = protos.hparams.SessionEndInfo(end_time_secs=7.0)
    events = [
        hparams(protos, experiment=experiment),
        hparams(protos, session_start_info=start),
        hparams(protos, session_end_info=end),
    ]
    assert told.hear(*events) == []
    trial = told.one(HParamsLogged)
    assert trial == HParamsLogged(
        5.0, {"deep": True, "kind": "cnn", "lr": 0.1}, ("accuracy",), {"lr": [0.1, 0.2]}, "first"
    )
    assert type(trial.values["deep"]) is bool


def test_what_a_writer_says_of_its_trials_is_remembered(protos: Protos, told: Told) -> None:
    """Of the same writer, from one event to the next; of another one, nothing is known."""

    class Writer:
        pass

    experiment = protos.api.Experiment()
    experiment.metric_infos.add(name=protos.api.MetricName(tag="accuracy"))
    start = protos.hparams.SessionStartInfo()
    start.hparams["lr"].number_value = 0.1
    one, other = Writer(), Writer()
    log_event(told.run, None, hparams(protos, experiment=experiment), writer=one)
    log_event(told.run, None, hparams(protos, session_start_info=start), writer=one)
    log_event(told.run, None, hparams(protos, session_start_info=start), writer=other)
    assert [event.metrics for event in told.events] == [("accuracy",), ()]


def test_a_layout_has_its_charts(protos: Protos, told: Told) -> None:
    """Lines and margins by category and title."""
    layout = protos.layout.Layout()
    category = layout.category.add(title="losses")
    category.chart.add(title="all").multiline.tag.extend(["loss/.*", "x"])
    category.chart.add(title="band").margin.series.add(value="a", lower="b", upper="c")
    told.hear(
        protos.tensor("custom_scalars__config__", 7, [], "custom_scalars", string_val=[layout.SerializeToString()])
    )
    charts = {"losses": {"all": ("Multiline", ["loss/.*", "x"]), "band": ("Margin", ["a", "b", "c"])}}
    assert told.events == [LayoutSet(5.0, charts)]


# What can't be.


def test_one_bad_value_costs_itself(protos: Protos, told: Told) -> None:
    """It is returned with its tag and the reason, and the others of the event are said."""
    event = protos.tensor("complex", 8, [1])
    event.summary.value.add(tag="bad").histo.bucket.append(1.0)
    event.summary.value.add(tag="m", simple_value=1.0)
    broken = protos.tensor("mesh", 1, [], "mesh", b"\xff\xff", float_val=[1.0])
    pairs = told.hear(event, broken, protos.tensor("short", 1, [3], float_val=[]))
    assert [tag for tag, _ in pairs] == ["complex", "bad", "mesh", "short"]
    assert all(reason for _, reason in pairs)
    assert [event.values for event in told.events] == [{"m": 1.0}]


def test_events_without_a_summary_are_nothing(protos: Protos, told: Told) -> None:
    """Versions, session logs and metadata of runs."""
    quiet = protos.Event(wall_time=5.0, step=3)
    quiet.session_log.status = 1
    assert told.hear(protos.Event(file_version="brain.Event:2"), quiet, protos.Event()) == []
    assert told.events == []


def test_the_run_s_end_is_not_hidden(protos: Protos, told: Told) -> None:
    """A finished run raises, as for all that is logged to it."""
    event, value = protos.value("m")
    value.simple_value = 1.0
    told.run.finish()
    with pytest.raises(tracelet.errors.RunClosed):
        told.hear(event)


def test_nothing_is_imported_that_the_events_do_not_need() -> None:
    """Loading the module brings in no NumPy and no TensorBoard."""
    code = "import sys, tracelet.tensorboard._summaries; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "tensorboard", "tensorboardX", "torch", "google"} & set(loaded)
