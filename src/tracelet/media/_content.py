"""What is in the files of media: arrays, and what is made of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tracelet.events import (
    CurveLogged,
    EmbeddingLogged,
    GraphLogged,
    HistogramLogged,
    MediaLogged,
    MeshLogged,
    TableLogged,
)

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]


class Histogram(msgspec.Struct, frozen=True):
    """n counts, and the n + 1 edges between which they were counted, ascending."""

    counts: list[float]
    edges: list[float]


class Table(msgspec.Struct, frozen=True):
    """Rows of cells (None, bool, int, float, str), as many in each as there are columns."""

    columns: list[str]
    rows: list[list[Any]]


class Mesh(msgspec.Struct, frozen=True):
    """As in `MeshLogged`."""

    vertices: list[list[float]]
    colors: list[list[int]] | None
    faces: list[list[int]] | None
    config: str = ""


class Embedding(msgspec.Struct, frozen=True):
    """As in `EmbeddingLogged`; with columns, the labels are the rows' first cells."""

    vectors: list[list[float]]
    labels: list[str] | None
    columns: list[str] | None = None
    rows: list[list[str]] | None = None


class Curve(msgspec.Struct, frozen=True):
    """The points of a curve, and what its axes are. Of a classifier's, the thresholds descend with the points.

    Attributes:
        counts: at the points, if they were given with them; see `CurveLogged`.
    """

    x: list[float]
    y: list[float]
    x_label: str
    y_label: str
    thresholds: list[float] | None = None
    counts: dict[str, list[float]] | None = None


class Node(msgspec.Struct, frozen=True):
    """One operation of a graph."""

    id: str
    op: str = ""
    label: str = ""


class Graph(msgspec.Struct, frozen=True):
    """Operations, and which one's result goes to which."""

    nodes: list[Node]
    edges: list[tuple[str, str]]


def array(event: MediaLogged) -> Array:
    """The array of an event in the format "npy". Raises ValueError if the file is none."""
    import numpy as np

    loaded: Array = np.load(event.path, allow_pickle=False)
    return loaded


def arrays(event: MediaLogged) -> dict[str, Array]:
    """The arrays of an event in the format "npz". Raises ValueError if the file is none."""
    import numpy as np

    with np.load(event.path, allow_pickle=False) as archive:
        return dict(archive)


def histogram(event: HistogramLogged) -> Histogram:
    """The counts, made of the values if need be; values that are not finite are in none of the bins."""
    import numpy as np

    given = arrays(event) if event.format == "npz" else {"values": array(event)}
    if "counts" in given:
        return Histogram(given["counts"].tolist(), given["edges"].tolist())
    values = given["values"].ravel()
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if not finite.size:
        return Histogram([0], [0.0, 1.0])
    if "edges" in given:
        bins: Any = given["edges"]
    elif event.rule == "tensorflow":
        bins = _tensorflow_edges()
    else:
        bins = event.rule or event.bins
    counts, edges = np.histogram(finite.astype(np.float64), bins=bins)
    counts, edges = _coarser(counts, edges, event.max_bins)
    if event.rule == "tensorflow":
        counts, edges = _inhabited(counts, edges)
    return Histogram(counts.tolist(), edges.tolist())


def _tensorflow_edges() -> Array:
    """TensorFlow's, on both sides of 0: from 1e-12 to 1e20, each 1.1 times the one before."""
    import numpy as np

    positive = 1e-12 * 1.1 ** np.arange(774)
    return np.concatenate([-positive[::-1], [0.0], positive])


def _coarser(counts: Array, edges: Array, limit: int) -> tuple[Array, Array]:
    """Neighbouring bins put together, as many as it takes for about `limit` of them to remain."""
    import numpy as np

    size = len(counts) // limit if limit else 1
    if size <= 1:
        return counts, edges
    starts = np.arange(0, len(counts), size)
    return np.add.reduceat(counts, starts), np.append(edges[starts], edges[-1])


def _inhabited(counts: Array, edges: Array) -> tuple[Array, Array]:
    """Without the empty bins at both ends."""
    import numpy as np

    present = np.flatnonzero(counts)
    if not present.size:
        return counts, edges
    first, last = present[0], present[-1] + 1
    return counts[first:last], edges[first : last + 1]


def table(event: TableLogged) -> Table:
    """The columns and rows."""
    return msgspec.msgpack.decode(Path(event.path).read_bytes(), type=Table)


def mesh(event: MeshLogged) -> Mesh:
    """The vertices, colours and faces if there are any, and how to show them."""
    given = arrays(event)
    return Mesh(
        given["vertices"].tolist(),
        given["colors"].tolist() if "colors" in given else None,
        given["faces"].tolist() if "faces" in given else None,
        event.config,
    )


def embedding(event: EmbeddingLogged) -> Embedding:
    """The vectors, and their labels if there are any."""
    given = arrays(event)
    vectors = given["vectors"].tolist()
    if "columns" in given:
        columns = msgspec.json.decode(given["columns"].tobytes(), type=list[str])
        rows = msgspec.json.decode(given["labels"].tobytes(), type=list[list[str]])
        return Embedding(vectors, [row[0] for row in rows], columns, rows)
    labels = msgspec.json.decode(given["labels"].tobytes(), type=list[str]) if "labels" in given else None
    return Embedding(vectors, labels)


def graph(event: GraphLogged) -> Graph | None:
    """The nodes and edges; None if the file is in another format than "json"."""
    if event.format != "json":
        return None
    return msgspec.json.decode(Path(event.path).read_bytes(), type=Graph)


def curve(event: CurveLogged) -> Curve:
    """The points of a line, or of a classifier's curve, which are computed here from labels and predictions.

    Thresholds are evenly spaced in [0, 1], and a prediction counts as positive at or above one. Where nothing counts as
    positive, precision is 1.
    """
    import numpy as np

    given = arrays(event)
    if event.curve == "line":
        return Curve(given["x"].tolist(), given["y"].tolist(), event.x_label, event.y_label)
    if "precision" in given:
        thresholds = np.linspace(1, 0, len(given["precision"]))
        points = {name: values[::-1].tolist() for name, values in given.items()}
        recall, precision = points.pop("recall"), points.pop("precision")
        return Curve(recall, precision, "recall", "precision", thresholds.tolist(), points or None)
    labels = given["labels"].astype(bool)
    predictions = given["predictions"]
    if predictions.dtype.kind != "f":
        predictions = predictions.astype(np.float64)
    weights = given.get("weights", np.ones(labels.shape)).astype(np.float64)
    thresholds = np.arange(event.thresholds - 1, -1, -1) / max(event.thresholds - 1, 1)
    order = np.argsort(-predictions, kind="stable")
    ranked = predictions[order]
    hits = np.concatenate([[0.0], np.cumsum(np.where(labels, weights, 0)[order])])
    misses = np.concatenate([[0.0], np.cumsum(np.where(labels, 0, weights)[order])])
    limits = thresholds.astype(predictions.dtype)  # so that 0.3 is at 0.3, in whatever precision
    taken = np.searchsorted(-ranked, -limits, side="right")
    true, false = hits[taken], misses[taken]
    recall = true / hits[-1] if hits[-1] else np.zeros_like(true)
    if event.curve == "pr":
        positive = true + false
        precision = np.divide(true, positive, out=np.ones_like(true), where=positive > 0)
        return Curve(recall.tolist(), precision.tolist(), "recall", "precision", thresholds.tolist())
    fallout = false / misses[-1] if misses[-1] else np.zeros_like(false)
    return Curve(fallout.tolist(), recall.tolist(), "false positive rate", "true positive rate", thresholds.tolist())
