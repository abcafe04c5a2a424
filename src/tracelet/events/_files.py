"""What is said with a file: artifacts, models, and media, which are shown."""

from __future__ import annotations

from typing import Any

from tracelet.events._base import Context, Event, Kind


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
        boxes: drawn on each image: left, top, right and bottom, in pixels.
        labels: one per box, or none.
    """

    layout: str = ""
    captions: tuple[str, ...] = ()
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    labels: tuple[str, ...] = ()


class FigureLogged(MediaLogged, frozen=True, gc=False, array_like=True, tag=Kind.FIGURE_LOGGED.value):
    """A plot was drawn, or several of one size: "npy" has the pixels (height, width, RGB or RGBA; of several with their
    number before), "plotly" is plotly's JSON, else it is a file."""


class HistogramLogged(MediaLogged, frozen=True, gc=False, array_like=True, tag=Kind.HISTOGRAM_LOGGED.value):
    """Values were distributed so: "npy" has the values themselves, "npz" the arrays `edges` and either `counts` or
    `values`.

    Attributes:
        bins: how many equal bins to sort values into, if there are no edges and no rule.
        rule: how to choose the edges: "tensorflow" (TensorBoard's, each a tenth longer than the one before), or one of
            NumPy's rules, for instance "auto".
        max_bins: neighbouring bins are put together until there are about so many; 0 for no limit.
    """

    bins: int = 64
    rule: str = ""
    max_bins: int = 0


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
    numbers of vertices).

    Attributes:
        config: how to show it, as JSON in the words of three.js (camera, lights, material), which TensorBoard takes.
    """

    config: str = ""


class EmbeddingLogged(MediaLogged, frozen=True, gc=False, array_like=True, tag=Kind.EMBEDDING_LOGGED.value):
    """Vectors that stand for things: "npz" has `vectors` (n, d), and perhaps `labels`: the bytes of a JSON list of n
    strings, or, with `columns` (a JSON list of strings), of n rows of strings; and `images`, n of one size.

    Attributes:
        layout: of the images, as an image's.
    """

    layout: str = ""


class TensorLogged(MediaLogged, frozen=True, gc=False, array_like=True, tag=Kind.TENSOR_LOGGED.value):
    """Numbers in an array of any shape, which are kept as they are: "npy"."""


class GraphLogged(MediaLogged, frozen=True, gc=False, array_like=True, tag=Kind.GRAPH_LOGGED.value):
    """How a model computes: "json" has `{"nodes": [{"id", "op", "label"}], "edges": [[from, to]]}`; else the file that
    was given, for instance "dot" or "onnx"."""


class CurveLogged(MediaLogged, frozen=True, gc=False, array_like=True, tag=Kind.CURVE_LOGGED.value):
    """A curve: "npz" has `x` and `y`; or of a classifier, `labels` (0 or 1) and `predictions` (0 to 1) and perhaps
    `weights`, all (n,); or, of "pr", `precision` and `recall` at ascending thresholds that are evenly spaced in [0, 1],
    and perhaps the counts `true_positives`, `false_positives`, `true_negatives` and `false_negatives`.

    Attributes:
        curve: "line", "pr" (precision over recall) or "roc" (true positive rate over false positive rate).
        thresholds: how many points a classifier's curve has.
        x_label, y_label: of a line's axes.
    """

    curve: str = "line"
    thresholds: int = 127
    x_label: str = ""
    y_label: str = ""
