"""The event types: what a training run can say, as frozen, typed, past-tense facts.

An event is a MessagePack array whose first element is its kind (see `Kind`). Fields are only ever appended, and only
with defaults, so that an old reader skips what it does not know and a new reader fills in what an old writer left out.
Identity (writer, lane, sequence number) is not part of an event: the journal's frame carries it.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Any, TypeAlias, get_args

from msgspec import Struct

Number: TypeAlias = int | float
"""A metric's value. Integers may have any size; NaN and the infinities are values like any other."""

Scalar: TypeAlias = bool | int | float | str | None

Context: TypeAlias = tuple[tuple[str, Scalar], ...]
"""Name and value pairs, sorted by name, that tell apart points which share a name (for instance a subset or a rank)."""


class Lane(StrEnum):
    """Which of a writer's two logs a kind of event travels in; an upload in one never holds up the other."""

    STREAM = "stream"
    BULK = "bulk"


class Kind(IntEnum):
    """The number of each kind of event, in the journal for ever. Kinds without a type yet are reserved."""

    RUN_STARTED = 1
    RUN_FINISHED = 2
    METRICS_LOGGED = 3
    PARAMS_LOGGED = 4
    TAGS_SET = 5
    TEXT_LOGGED = 6
    IMAGE_LOGGED = 7
    FIGURE_LOGGED = 8
    HISTOGRAM_LOGGED = 9
    AUDIO_LOGGED = 10
    VIDEO_LOGGED = 11
    TABLE_LOGGED = 12
    MESH_LOGGED = 13
    EMBEDDING_LOGGED = 14
    GRAPH_LOGGED = 15
    CURVE_LOGGED = 16
    HPARAMS_LOGGED = 17
    LAYOUT_SET = 18
    ARTIFACT_LOGGED = 19
    MODEL_LOGGED = 20
    MODEL_REGISTERED = 21
    DATASET_USED = 22
    CONSOLE_LINE = 23
    SCHEMA_NOTE = 24
    NOTE_SET = 25


class Event(Struct, frozen=True, gc=False, array_like=True, tag=0):
    """What every event has.

    Attributes:
        time: when it was said, in seconds since the epoch; frozen at emission, so that a replay is the same replay.
    """

    time: float


class RunStarted(Event, frozen=True, gc=False, array_like=True, tag=Kind.RUN_STARTED.value):
    """A writer began to log; the first event of each writer's stream."""

    name: str
    project: str
    resumed: bool = False


class RunFinished(Event, frozen=True, gc=False, array_like=True, tag=Kind.RUN_FINISHED.value):
    """A writer has said all it had to say; the last event of its stream.

    Attributes:
        outcome: "completed", "failed" or "killed".
    """

    outcome: str


class MetricsLogged(Event, frozen=True, gc=False, array_like=True, tag=Kind.METRICS_LOGGED.value):
    """One or more numbers were measured at one step."""

    values: dict[str, Number]
    step: int
    context: Context = ()


class ParamsLogged(Event, frozen=True, gc=False, array_like=True, tag=Kind.PARAMS_LOGGED.value):
    """Hyperparameters were stated: names flattened with "/", values typed; lists stay lists."""

    values: dict[str, Any]


class TagsSet(Event, frozen=True, gc=False, array_like=True, tag=Kind.TAGS_SET.value):
    """Tags were put on the run; a later value replaces an earlier one of the same name."""

    values: dict[str, str]


class TextLogged(Event, frozen=True, gc=False, array_like=True, tag=Kind.TEXT_LOGGED.value):
    """A text was written at a step (None: of the run as a whole)."""

    name: str
    text: str
    step: int | None = None
    context: Context = ()


class NoteSet(Event, frozen=True, gc=False, array_like=True, tag=Kind.NOTE_SET.value):
    """The run's note was written: what people say of it, in Markdown; a later one replaces an earlier one."""

    text: str


class ConsoleLine(Event, frozen=True, gc=False, array_like=True, tag=Kind.CONSOLE_LINE.value):
    """The training printed something: one line, or several that came at once, without the last line's end.

    Attributes:
        stream: "stdout" or "stderr".
    """

    text: str
    stream: str = "stdout"


class DatasetUsed(Event, frozen=True, gc=False, array_like=True, tag=Kind.DATASET_USED.value):
    """The run reads a dataset.

    Attributes:
        source: where it lies, a URL or an absolute path; "" if that is not known.
        digest: what identifies its content, in whatever form the user has it; "" if there is none.
        role: what it is for, for instance "training" or "evaluation".
        schema: the columns' types, by column.
        profile: numbers about it, for instance `{"rows": 1797}`.
    """

    name: str
    source: str = ""
    digest: str = ""
    role: str = ""
    schema: dict[str, str] = {}
    profile: dict[str, Number] = {}


class FileLogged(Event, frozen=True, gc=False, array_like=True):
    """What every event has whose payload is a file. They travel in the bulk lane.

    Attributes:
        name: where the backend shows it; "/" separates folders.
        path: the file: in the journal relative to the run's directory when it was copied there, else absolute; a
            backend always sees it absolute.
        size: in bytes, when it was logged.
        mtime_ns: the file's modification time when it was logged, in nanoseconds since the epoch.
        copied: whether the run's directory has its own copy.
    """

    name: str
    path: str
    size: int
    mtime_ns: int
    copied: bool = True


class ArtifactLogged(FileLogged, frozen=True, gc=False, array_like=True, tag=Kind.ARTIFACT_LOGGED.value):
    """A file is to be kept with the run."""


class ModelLogged(FileLogged, frozen=True, gc=False, array_like=True, tag=Kind.MODEL_LOGGED.value):
    """A model was saved; `path` is its file, or the folder that holds all of its files.

    Attributes:
        step: of the training that made it; None if that doesn't matter.
        framework: "pytorch", "sklearn", "onnx" and the like; "" if unknown.
        metadata: what else there is to say of it: names and scalars.
    """

    step: int | None = None
    framework: str = ""
    metadata: dict[str, Any] = {}


class ModelRegistered(Event, frozen=True, gc=False, array_like=True, tag=Kind.MODEL_REGISTERED.value):
    """A model of this run became a version of a registered model. It follows the ModelLogged in the bulk lane.

    Attributes:
        name: of the registered model, which versions from many runs share.
        model: the name it was logged under.
        aliases: names that from now on mean this version.
        description: of the version.
    """

    name: str
    model: str
    aliases: tuple[str, ...] = ()
    description: str = ""


class MediaLogged(FileLogged, frozen=True, gc=False, array_like=True):
    """What every event has whose file is shown, not only kept. `tracelet.media` reads the files.

    Attributes:
        step: as a metric's.
        context: as a metric's.
        format: of the file: "npy" (one array as it was given), "npz" (several), "msgpack", or the suffix of the file
            that was given, as in "png".
    """

    step: int = 0
    context: Context = ()
    format: str = ""


class ImageLogged(MediaLogged, frozen=True, gc=False, array_like=True, tag=Kind.IMAGE_LOGGED.value):
    """One image, or several of one size, were made.

    Attributes:
        layout: of an array: some of "N" (image), "H", "W" and "C" (1: grey, 2: grey and alpha, 3: RGB, 4: RGBA), in the
            array's order. Floats are taken as 0 to 1, other numbers as 0 to 255, and what lies outside is clipped.
        captions: one per image, or none.
    """

    layout: str = ""
    captions: tuple[str, ...] = ()


class FigureLogged(MediaLogged, frozen=True, gc=False, array_like=True, tag=Kind.FIGURE_LOGGED.value):
    """A plot was drawn: "npy" has its pixels (height, width, RGBA), "plotly" is plotly's JSON, else it is a file."""


class HistogramLogged(MediaLogged, frozen=True, gc=False, array_like=True, tag=Kind.HISTOGRAM_LOGGED.value):
    """Values were distributed so: "npy" has the values themselves, "npz" the arrays `counts` and `edges`.

    Attributes:
        bins: how many equal bins to sort values into.
    """

    bins: int = 64


class AudioLogged(MediaLogged, frozen=True, gc=False, array_like=True, tag=Kind.AUDIO_LOGGED.value):
    """Sound: "npy" has samples or (samples, channels), as floats from -1 to 1 or as 16-bit integers.

    Attributes:
        sample_rate: of an array, in Hz.
    """

    sample_rate: int = 0
    caption: str = ""


class VideoLogged(MediaLogged, frozen=True, gc=False, array_like=True, tag=Kind.VIDEO_LOGGED.value):
    """A video; several of one size in an array are shown one after the other.

    Attributes:
        layout: of an array, as an image's, with "T" for the frames.
        fps: frames per second of an array.
    """

    layout: str = ""
    fps: float = 0.0
    caption: str = ""


class TableLogged(MediaLogged, frozen=True, gc=False, array_like=True, tag=Kind.TABLE_LOGGED.value):
    """A table: "msgpack" has `{"columns": […], "rows": [[…], …]}`, whose cells are None, bool, int, float or str."""


class MeshLogged(MediaLogged, frozen=True, gc=False, array_like=True, tag=Kind.MESH_LOGGED.value):
    """Points in space, or a mesh: "npz" has `vertices` (n, 3), and perhaps `colors` (n, 3: 0 to 255) and `faces` (m, 3:
    numbers of vertices)."""


class EmbeddingLogged(MediaLogged, frozen=True, gc=False, array_like=True, tag=Kind.EMBEDDING_LOGGED.value):
    """Vectors that stand for things: "npz" has `vectors` (n, d), and perhaps `labels`: the bytes of a JSON list
    of n strings."""


class GraphLogged(MediaLogged, frozen=True, gc=False, array_like=True, tag=Kind.GRAPH_LOGGED.value):
    """How a model computes: "json" has `{"nodes": [{"id", "op", "label"}], "edges": [[from, to]]}`; else the file that
    was given, for instance "dot" or "onnx"."""


class CurveLogged(MediaLogged, frozen=True, gc=False, array_like=True, tag=Kind.CURVE_LOGGED.value):
    """A curve: "npz" has `x` and `y`; or of a classifier, `labels` (0 or 1) and `predictions` (0 to 1) and perhaps
    `weights`, all (n,).

    Attributes:
        curve: "line", "pr" (precision over recall) or "roc" (true positive rate over false positive rate).
        thresholds: how many points a classifier's curve has.
        x_label, y_label: of a line's axes.
    """

    curve: str = "line"
    thresholds: int = 127
    x_label: str = ""
    y_label: str = ""


AnyEvent: TypeAlias = (
    RunStarted
    | RunFinished
    | MetricsLogged
    | ParamsLogged
    | TagsSet
    | TextLogged
    | ImageLogged
    | FigureLogged
    | HistogramLogged
    | AudioLogged
    | VideoLogged
    | TableLogged
    | MeshLogged
    | EmbeddingLogged
    | GraphLogged
    | CurveLogged
    | ArtifactLogged
    | ModelLogged
    | ModelRegistered
    | DatasetUsed
    | ConsoleLine
    | NoteSet
)

EVENT_TYPES: dict[int, type[Event]] = {
    event_type.__struct_config__.tag: event_type for event_type in get_args(AnyEvent)
}
"""The kinds this version can decode; a reader counts the others and goes on."""

LANES: dict[type[Event], Lane] = {
    event_type: Lane.BULK if issubclass(event_type, FileLogged | ModelRegistered) else Lane.STREAM
    for event_type in EVENT_TYPES.values()
}


def kind_of(event_type: type[Event]) -> int:
    """The kind number of an event type."""
    tag = event_type.__struct_config__.tag
    assert isinstance(tag, int)
    return tag
