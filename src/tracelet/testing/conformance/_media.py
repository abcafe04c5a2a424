"""Of what is shown: one test for each kind, that compares what the backend shows with what was given."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import msgspec
import pytest

from tracelet import _payloads, media
from tracelet._payloads import Payload
from tracelet.backend import Idempotency
from tracelet.events import (
    AudioLogged,
    ConsoleLine,
    Context,
    CurveLogged,
    DatasetUsed,
    EmbeddingLogged,
    Event,
    FigureLogged,
    GraphLogged,
    HistogramLogged,
    HParamsLogged,
    ImageLogged,
    LayoutSet,
    MediaLogged,
    MeshLogged,
    MetricsLogged,
    TableLogged,
    TensorLogged,
    TextLogged,
    VideoLogged,
)
from tracelet.readback import Content, Shown
from tracelet.testing.conformance._drive import TIME, Drive, Suite


class Sample(msgspec.Struct, frozen=True):
    """One thing to show.

    Attributes:
        odd: whether a backend may show it other than it is, if it says so of each.
    """

    kind: type[MediaLogged]
    payload: Callable[[], Payload]
    fields: dict[str, Any] = {}
    odd: bool = False

    def event(self, folder: Path, name: str, step: int, context: Context = ()) -> MediaLogged:
        """The event, with its file written as a training process would."""
        payload = self.payload()
        path = folder / f"{name.replace('/', '-')}-{step}-{len(context)}.{payload.format}"
        with path.open("wb") as file:
            _write(payload, file)
        fields = {"layout": payload.layout} | self.fields if payload.layout else self.fields
        size, mtime = path.stat().st_size, path.stat().st_mtime_ns
        return self.kind(TIME + step, name, str(path), size, mtime, True, step, context, payload.format, **fields)


def _write(payload: Payload, file: IO[bytes]) -> None:
    if isinstance(payload.content, bytes):
        file.write(payload.content)
    elif isinstance(payload.content, Path):
        file.write(payload.content.read_bytes())
    else:
        payload.content(file)


def _ramp(*shape: int) -> Any:
    import numpy as np

    return (np.arange(int(np.prod(shape))) * 7 % 256).astype(np.uint8).reshape(shape)


def _frames() -> Any:
    """Four frames of few colours, all different."""
    import numpy as np

    return np.repeat(np.array([0, 80, 160, 240], np.uint8), 8 * 6 * 3).reshape(4, 8, 6, 3)


def _wave() -> Any:
    import numpy as np

    return np.sin(np.arange(800) / 8).astype(np.float32)


_PLOT = {"data": [{"type": "scatter", "x": [1, 2, 3], "y": [4, 5, 6]}], "layout": {"title": {"text": "a plot"}}}
_ROWS = [[1, 0.5, "a", True, None], [2, -1.5, 'größe, "b"', False, None]]
_NODES = {"nodes": [{"id": "in", "op": "Input", "label": "x"}, {"id": "out", "op": "Linear"}], "edges": [["in", "out"]]}
_BOXES = ((2.0, 3.0, 20.0, 25.0), (10.0, 12.0, 38.0, 28.0))
_KNOWN = [["a", "1"], ["größe <b>", "2"], ["c", "\t3"]]
_CONFIG = '{"camera":{"cls":"PerspectiveCamera","fov":75},"lights":[{"cls":"AmbientLight","color":"#ffffff"}]}'
_COUNTS = {
    "true_positives": [3, 2, 1],
    "false_positives": [2, 1, 0],
    "true_negatives": [0, 1, 2],
    "false_negatives": [0, 1, 2],
}


def _numbers(dtype: str, *shape: int) -> Any:
    return (_ramp(*shape) / 16).astype(dtype)


def _vectors(width: int) -> Payload:
    return _payloads.embedding(_ramp(3, width) / 4, _KNOWN, ["name", "digit"], _ramp(3, 5, 4, 3))


_LABELS, _PREDICTIONS = [0, 1, 1, 0, 1], [0.1, 0.9, 0.4, 0.6, 0.8]

SAMPLES = {
    "image": Sample(ImageLogged, lambda: _payloads.image(_ramp(5, 4, 3), None)),
    "tensor image": Sample(ImageLogged, lambda: _payloads.image(_ramp(3, 5, 4) / 255, "CHW")),
    "grey image": Sample(ImageLogged, lambda: _payloads.image(_ramp(5, 4), None)),
    "images": Sample(ImageLogged, lambda: _payloads.image(_ramp(2, 5, 4, 3), None), {"captions": ("one", "two")}),
    "figure": Sample(FigureLogged, lambda: Payload("npy", _payloads.image(_ramp(6, 8, 4), None).content)),
    "boxes": Sample(
        ImageLogged, lambda: _payloads.image(_ramp(30, 40, 3), None), {"boxes": _BOXES, "labels": ("cat", "dog")}
    ),
    "figures": Sample(FigureLogged, lambda: Payload("npy", _payloads.image(_ramp(3, 6, 8, 4), None).content)),
    "plotly figure": Sample(FigureLogged, lambda: Payload("plotly", msgspec.json.encode(_PLOT))),
    "histogram": Sample(HistogramLogged, lambda: _payloads.histogram(_ramp(300), None, None), {"bins": 16}),
    "counted histogram": Sample(HistogramLogged, lambda: _payloads.histogram(None, [1, 0, 5], [0.0, 1.0, 2.0, 3.0])),
    "histogram of TensorFlow's": Sample(
        HistogramLogged, lambda: _payloads.histogram(_ramp(300) - 100.0, None, None), {"rule": "tensorflow"}, odd=True
    ),
    "histogram by a rule": Sample(HistogramLogged, lambda: _payloads.histogram(_ramp(300), None, None), {"rule": "fd"}),
    "coarser histogram": Sample(
        HistogramLogged, lambda: _payloads.histogram(_ramp(300), None, None), {"bins": 64, "max_bins": 16}
    ),
    "histogram with edges": Sample(
        HistogramLogged, lambda: _payloads.histogram(_ramp(300), None, [0, 10, 100, 256]), odd=True
    ),
    "audio": Sample(AudioLogged, lambda: _payloads.audio(_wave()), {"sample_rate": 8_000, "caption": "a tone"}),
    "video": Sample(VideoLogged, lambda: _payloads.video(_frames(), "THWC"), {"fps": 5.0, "caption": "a clip"}),
    "table": Sample(TableLogged, lambda: _payloads.table(_ROWS, ["id", "score", "name", "ok", "nothing"])),
    "empty table": Sample(TableLogged, lambda: _payloads.table([], ["id", "score"])),
    "mesh": Sample(MeshLogged, lambda: _payloads.mesh(_ramp(4, 3) / 4, _ramp(4, 3), [[0, 1, 2], [1, 2, 3]])),
    "points": Sample(MeshLogged, lambda: _payloads.mesh(_ramp(4, 3) / 4, None, None)),
    "mesh with config": Sample(
        MeshLogged, lambda: _payloads.mesh(_ramp(4, 3) / 4, None, [[0, 1, 2], [1, 2, 3]]), {"config": _CONFIG}
    ),
    "points with config": Sample(MeshLogged, lambda: _payloads.mesh(_ramp(4, 3) / 4, None, None), {"config": _CONFIG}),
    "embedding with columns and images": Sample(EmbeddingLogged, lambda: _vectors(5)),
    "embedding in space with columns and images": Sample(EmbeddingLogged, lambda: _vectors(3)),
    "embedding without labels": Sample(EmbeddingLogged, lambda: _payloads.embedding(_ramp(3, 5) / 4)),
    "tensor": Sample(TensorLogged, lambda: _payloads.tensor(_numbers("float32", 2, 3, 4))),
    "tensor of halves": Sample(TensorLogged, lambda: _payloads.tensor(_numbers("float16", 5))),
    "tensor of integers": Sample(TensorLogged, lambda: _payloads.tensor(_numbers("int64", 3, 2))),
    "tensor of bools": Sample(TensorLogged, lambda: _payloads.tensor(_numbers("bool", 7))),
    "tensor without axes": Sample(TensorLogged, lambda: _payloads.tensor(_numbers("float64"))),
    "embedding": Sample(EmbeddingLogged, lambda: _payloads.embedding(_ramp(3, 5) / 4, ["a", "b", "c"])),
    "graph": Sample(GraphLogged, lambda: _payloads.graph(_NODES)),
    "line": Sample(CurveLogged, lambda: _payloads.line([1, 2, 4], [0.5, 0.25, 1]), {"x_label": "t", "y_label": "f"}),
    "pr curve": Sample(
        CurveLogged, lambda: _payloads.classified(_LABELS, _PREDICTIONS, None), {"curve": "pr", "thresholds": 11}
    ),
    "pr curve of points": Sample(
        CurveLogged,
        lambda: _payloads.precision_recall([0.6, 0.75, 1.0], [1.0, 0.5, 0.25], _COUNTS),
        {"curve": "pr"},
    ),
    "roc curve": Sample(
        CurveLogged, lambda: _payloads.classified(_LABELS, _PREDICTIONS, None), {"curve": "roc", "thresholds": 11}
    ),
}


class Media(Suite):
    """Things to look at and to listen to."""

    @pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
    async def test_media_arrive(self, drive: Drive, tmp_path: Path, sample: Sample) -> None:
        """Each is shown once, under its name and at its step, with the content it was given."""
        self.requires(sample.kind)
        session = await drive.start()
        events = [
            sample.event(tmp_path, "val/sample", 3),
            sample.event(tmp_path, "val/sample", 7),
            sample.event(tmp_path, "another one", 3),
        ]
        degraded = await session.export(*events)
        if sample.odd and degraded:
            assert len(degraded) == len(events), degraded
        else:
            self.check_degraded(sample.kind, degraded, len(events))
        shown = [one for one in (await drive.read()).media if one.kind is sample.kind]
        for event in events:
            own = [one for one in shown if event.name in one.name and one.step in (None, event.step)]
            assert len(own) == 1, f"{event.name} at step {event.step} is shown {len(own)} times: {_brief(shown)}"
            if sample.odd and degraded:
                _check_total(event, own[0].content)
            else:
                _check(event, own[0])
        assert len(shown) == len(events), _brief(shown)

    async def test_delivering_everything_again_shows_it_once(self, drive: Drive, tmp_path: Path) -> None:
        """What comes a second time after a crash is shown once, of every kind, unless the plugin says it appends."""
        if self.backend.idempotency is Idempotency.APPENDS:
            pytest.skip("it declares that it appends")
        words: list[Event] = [
            TextLogged(TIME, "text", "said once", 1),
            ConsoleLine(TIME, "printed once"),
            DatasetUsed(TIME, "used once"),
            HParamsLogged(TIME, {"lr": 0.5}),
            LayoutSet(TIME, {"losses": {"both": ("Multiline", ["loss"]), "none": ("Multiline", [])}}),
        ]
        samples = ["image", "figures", "histogram", "audio", "video", "table", "mesh with config", "tensor", "graph"]
        samples += ["embedding in space with columns and images", "line"]
        handled = self.backend.handles
        events = [word for word in words if type(word) in handled]
        shown = [SAMPLES[name].event(tmp_path, name, 1) for name in samples if SAMPLES[name].kind in handled]
        for _ in range(2):
            session = await drive.start()
            await session.export(*events, *shown)
        found = await drive.read()
        for kind, lines in ((ConsoleLine, found.console), (DatasetUsed, found.datasets)):
            assert len(lines) == (1 if kind in handled else 0), lines
        texts = {TextLogged: 1, HParamsLogged: 1, LayoutSet: 2}
        assert len(found.texts) == sum(number for kind, number in texts.items() if kind in handled), found.texts
        assert sorted(one.kind.__name__ for one in found.media) == sorted(type(event).__name__ for event in shown)

    async def test_contexts_keep_media_apart(self, drive: Drive, tmp_path: Path) -> None:
        """Images of one name and step in different contexts are different images."""
        self.requires(ImageLogged)
        session = await drive.start()
        sample = SAMPLES["image"]
        contexts: tuple[Context, ...] = ((), (("subset", "val"),), (("rank", 1), ("subset", "val")))
        await session.export(*(sample.event(tmp_path, "sample", 1, context) for context in contexts))
        shown = [one for one in (await drive.read()).media if one.kind is ImageLogged]
        assert len(shown) == len(contexts), _brief(shown)

    async def test_one_name_for_a_metric_and_an_image(self, drive: Drive, tmp_path: Path) -> None:
        """A name may be a metric's and an image's: both arrive."""
        self.requires(ImageLogged, MetricsLogged)
        session = await drive.start()
        await session.export(
            MetricsLogged(TIME, {"same": 0.5}, 1),
            SAMPLES["image"].event(tmp_path, "same", 1),
            MetricsLogged(TIME, {"same": 0.25}, 2),
        )
        found = await drive.read()
        assert len([one for one in found.media if one.kind is ImageLogged]) == 1
        values = [(value, step) for name, value, step in found.points if "same" in name]
        assert sorted(values) == [(0.25, 2), (0.5, 1)]

    async def test_hostile_names_of_media_lose_nothing(self, drive: Drive, tmp_path: Path) -> None:
        """Images under names that no backend likes are all shown."""
        self.requires(ImageLogged)
        session = await drive.start()
        names = ["../up", "/root", "a//b", ".", "größe/ß", "x" * 1_000, "new\nline", "@#%", "a b"]
        for number, name in enumerate(names):
            event = SAMPLES["image"].event(tmp_path, f"file {number}", 1)
            await session.export(msgspec.structs.replace(event, name=name))
        shown = [one for one in (await drive.read()).media if one.kind is ImageLogged]
        assert len(shown) == len(names), _brief(shown)


def _brief(shown: list[Shown]) -> list[tuple[str, int | None]]:
    return [(one.name[:80], one.step) for one in shown]


def _check(event: MediaLogged, shown: Shown) -> None:
    """Compare what a backend shows with what the event has; nothing is to be compared where it shows only a place."""
    content = shown.content
    if content is None:
        return
    if isinstance(content, str):
        assert msgspec.json.decode(content) == msgspec.json.decode(Path(event.path).read_bytes())
    elif isinstance(content, list):
        _check_files(event, [*content, *shown.beside])
    else:
        if isinstance(content, media.Mesh) and shown.beside:
            content = msgspec.structs.replace(content, config=shown.beside[0].decode())
        _check_struct(_expected(event), content)
        if isinstance(event, EmbeddingLogged):
            sheet = media.sprites(event)
            assert [_pixels(file) for file in shown.beside] == ([] if sheet is None else [_pixels(sheet.data)])


def _check_total(event: MediaLogged, content: Content) -> None:
    """Of a histogram that a backend shows in bins of its own: as many values, between the same ends."""
    assert isinstance(event, HistogramLogged)
    assert isinstance(content, media.Histogram)
    given = media.histogram(event)
    assert sum(content.counts) == pytest.approx(sum(given.counts), rel=1e-5)
    assert (content.edges[0], content.edges[-1]) == pytest.approx((given.edges[0], given.edges[-1]), rel=1e-5)


def _expected(event: MediaLogged) -> msgspec.Struct | None:
    match event:
        case HistogramLogged():
            return media.histogram(event)
        case TableLogged():
            return media.table(event)
        case CurveLogged():
            return media.curve(event)
        case MeshLogged():
            return media.mesh(event)
        case EmbeddingLogged():
            return media.embedding(event)
        case GraphLogged():
            return media.graph(event)
    raise AssertionError(f"{type(event).__name__} is shown as files")


def _check_struct(expected: msgspec.Struct | None, content: msgspec.Struct) -> None:
    assert type(content) is type(expected)
    for field in content.__struct_fields__:
        given, shown = getattr(expected, field), getattr(content, field)
        if (shown is None and field not in _WHOLE) or (shown == "" and field in _LABELS_OF):
            continue  # the backend doesn't give it back
        _check_close(given, shown, field)


_WHOLE = ("columns", "rows", "counts")
_LABELS_OF = ("x_label", "y_label", "op", "label")


def _check_close(given: Any, shown: Any, where: str) -> None:
    if isinstance(given, msgspec.Struct):
        _check_struct(given, shown)
    elif isinstance(given, list | tuple):
        assert len(given) == len(shown), where
        for at, (one, other) in enumerate(zip(given, shown, strict=True)):
            _check_close(one, other, f"{where}[{at}]")
    elif isinstance(given, float) and not isinstance(shown, str):
        assert shown == pytest.approx(given, rel=1e-5, abs=1e-7), where
    else:
        assert shown == given, where


def _check_files(event: MediaLogged, files: list[bytes]) -> None:
    expected = [encoded.data for encoded in media.as_files(event)]
    assert len(files) == len(expected)
    for file, given in zip(files, expected, strict=True):
        if isinstance(event, ImageLogged | FigureLogged | VideoLogged) and given[:1] != b"{":
            assert _pixels(file) == _pixels(given)
        else:
            assert file == given


def _pixels(file: bytes) -> list[tuple[str, tuple[int, int], bytes]]:
    """Every frame of an image file."""
    from PIL import Image, ImageSequence

    with Image.open(io.BytesIO(file)) as image:
        frames = [frame.convert("RGBA") for frame in ImageSequence.Iterator(image)]
    return [(frame.mode, frame.size, frame.tobytes()) for frame in frames]
