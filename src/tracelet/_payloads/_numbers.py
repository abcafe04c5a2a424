"""Payloads that are numbers: histograms, meshes, embeddings, tensors, curves."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tracelet import _arrays
from tracelet._payloads._writing import Payload, as_json, listed, npy, npz, text

if TYPE_CHECKING:
    from tracelet._arrays import Array

_HALF_RANGE = sys.float_info.max / 2
_COUNTS = ("true_positives", "false_positives", "true_negatives", "false_negatives")


def histogram(values: Any, counts: Any, edges: Any) -> Payload:
    """Values of any shape, perhaps with the edges to sort them by; or counts and the edges between them."""
    if values is not None:
        if counts is not None:
            raise TypeError("a histogram is of values, or has counts and edges: found both")
        array = _arrays.array(values, "values").ravel()
        if edges is not None:
            return npz({"values": array, "edges": _edges(edges)})
        if array.dtype.kind == "f" and array.dtype.itemsize >= 8 and array.size:
            import numpy as np

            finite = array[np.isfinite(array)]
            if finite.size and float(finite.max()) / 2 - float(finite.min()) / 2 > _HALF_RANGE:
                raise ValueError("the values are further apart than floats can say")
        return npy(array)
    if counts is None or edges is None:
        raise TypeError("a histogram needs values, or counts and edges")
    arrays = {"counts": _arrays.array(counts, "counts"), "edges": _arrays.array(edges, "edges")}
    if arrays["counts"].ndim != 1 or arrays["edges"].shape != (arrays["counts"].size + 1,):
        shapes = " and ".join(str(array.shape) for array in arrays.values())
        raise ValueError(f"a histogram has n counts and n + 1 edges, found {shapes}")
    return npz(arrays)


def _edges(given: Any) -> Array:
    edges = _arrays.array(given, "bins")
    if edges.ndim != 1 or edges.size < 2 or not (edges[1:] >= edges[:-1]).all():
        raise ValueError(f"the edges of bins must be two or more, and ascend, found {_arrays.shown(given)}")
    return edges


def mesh(vertices: Any, colors: Any, faces: Any) -> Payload:
    """Points, their colours, and triangles between them; all (n, 3), or (1, n, 3)."""
    arrays = {"vertices": _arrays.triples(vertices, "vertices")}
    if colors is not None:
        arrays["colors"] = _arrays.triples(colors, "colors")
        if arrays["colors"].shape != arrays["vertices"].shape:
            raise ValueError(f"there must be a color for each of the {len(arrays['vertices'])} vertices")
        if arrays["colors"].dtype.kind == "f":
            raise ValueError(f"colors must be integers from 0 to 255, found {arrays['colors'].dtype}")
    if faces is not None:
        arrays["faces"] = _arrays.triples(faces, "faces")
        if arrays["faces"].dtype.kind not in "iu":
            raise ValueError(f"faces must be numbers of vertices, found {arrays['faces'].dtype}")
        if arrays["faces"].size and not 0 <= arrays["faces"].min() <= arrays["faces"].max() < len(arrays["vertices"]):
            raise ValueError(f"faces must be numbers of the {len(arrays['vertices'])} vertices, from 0 on")
    return npz(arrays)


def embedding(vectors: Any, labels: Any = None, columns: Sequence[Any] | None = None, images: Any = None) -> Payload:
    """Vectors (n, d); n labels, or with columns n rows of cells; and n images of one size."""
    arrays = {"vectors": _arrays.array(vectors, "vectors")}
    if arrays["vectors"].ndim != 2:
        raise ValueError(f"vectors must be (n, d), found the shape {arrays['vectors'].shape}")
    count = len(arrays["vectors"])
    if labels is not None:
        given = listed(labels)
        texts = [text(label) for label in given] if columns is None else _rows(given, list(columns))
        if len(texts) != count:
            raise ValueError(f"there must be a label for each of the {count} vectors, found {len(texts)}")
        arrays["labels"] = as_json(texts)
        if columns is not None:
            arrays["columns"] = as_json([text(name) for name in columns])
    layout = ""
    if images is not None:
        arrays["images"] = _arrays.array(images, "images")
        layout = _arrays.layout_of(arrays["images"], None, "NHWC", channels_first=_arrays.is_tensor(images))
        if len(arrays["images"]) != count:
            raise ValueError(f"there must be an image for each of the {count} vectors, found {len(arrays['images'])}")
    return npz(arrays, layout)


def _rows(given: Sequence[Any], columns: Sequence[Any]) -> list[list[str]]:
    rows = [[text(cell) for cell in listed(row)] for row in given]
    wrong = next((row for row in rows if len(row) != len(columns) or not row), None)
    if wrong is not None:
        raise ValueError(f"labels with {len(columns)} columns have a row of {len(wrong)} cells")
    return rows


def tensor(given: Any) -> Payload:
    """Numbers of any shape."""
    return npy(_arrays.array(given, "tensor"))


def line(x: Any, y: Any) -> Payload:
    """The coordinates of points."""
    return npz(_arrays.alike({"x": _arrays.array(x, "x"), "y": _arrays.array(y, "y")}))


def classified(labels: Any, predictions: Any, weights: Any) -> Payload:
    """What is true (0 or 1), and what was predicted (0 to 1)."""
    arrays = {"labels": _arrays.array(labels, "labels"), "predictions": _arrays.array(predictions, "predictions")}
    if not ((arrays["labels"] == 0) | (arrays["labels"] == 1)).all():
        raise ValueError("the labels of a classifier's curve must be 0 or 1")
    if weights is not None:
        arrays["weights"] = _arrays.array(weights, "weights")
    return npz(_arrays.alike({name: array.ravel() for name, array in arrays.items()}))


def precision_recall(precision: Any, recall: Any, counts: Mapping[str, Any]) -> Payload:
    """The points of a curve that is computed already, at ascending thresholds."""
    unknown = set(counts) - set(_COUNTS)
    if unknown:
        raise ValueError(f"counts may have {', '.join(_COUNTS)}, found {', '.join(map(repr, sorted(unknown)))}")
    given = {"precision": precision, "recall": recall, **counts}
    return npz(_arrays.alike({name: _arrays.array(value, name) for name, value in given.items()}))
