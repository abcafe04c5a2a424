"""What people have of media and tables, turned into what is written to files: as it is, nothing is encoded here.

NumPy is imported where an array is passed, and none of the libraries whose objects are taken.

A function raises TypeError for something it doesn't know, and ValueError for one it knows and can't use.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec

from tracelet import _arrays, _values

if TYPE_CHECKING:
    from tracelet._arrays import Array

_SUFFIXES = {"jpg": "jpeg", "tif": "tiff"}
_HALF_RANGE = sys.float_info.max / 2
_FEW = 8  # audio channels at most


class Payload(msgspec.Struct, frozen=True):
    """What is to be written.

    Attributes:
        format: as in `MediaLogged`.
        content: a file that is copied, bytes, or a function that writes.
        layout: of an array of pixels.
    """

    format: str
    content: Path | bytes | Callable[[IO[bytes]], object]
    layout: str = ""


def image(given: Any, layout: str | None) -> Payload:
    """An array or tensor, a PIL image, a path, an encoded image's bytes, or a sequence of arrays or PIL images."""
    if (file := _file(given, "image")) is not None:
        return file
    if isinstance(given, Sequence) and not isinstance(given[0] if given else None, list | tuple):
        pixels = [_arrays.pixels(one) for one in given]
        if len({one.shape for one in pixels}) != 1:
            shapes = ", ".join(str(one.shape) for one in pixels[:5]) or "none"
            raise ValueError(f"images that are logged together must have one shape, found {shapes}")
        single = None if layout is None else layout.upper().removeprefix("N")
        layout = "N" + _arrays.layout_of(pixels[0], single, "HWC", channels_first=_arrays.is_tensor(given[0]))
        return _npy(_stack(pixels), layout)
    array = _arrays.pixels(given)
    return _npy(array, _arrays.layout_of(array, layout, "HWC", channels_first=_arrays.is_tensor(given)))


def figure(given: Any) -> Payload:
    """A matplotlib figure (or what has one, as its axes do), which is drawn here; a plotly figure; or a path."""
    if (file := _file(given, "figure")) is not None:
        return Payload("plotly", file.content) if file.format == "json" else file
    if hasattr(given, "to_plotly_json"):
        return Payload("plotly", given.to_json().encode())
    drawn = given
    while not hasattr(drawn, "set_canvas") and getattr(drawn, "figure", None) not in (None, drawn):
        drawn = drawn.figure
    if not hasattr(drawn, "set_canvas"):
        raise TypeError(f"figure must be a matplotlib or plotly figure, or a path, found {_arrays.shown(given)}")
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = drawn.canvas
    try:
        agg = FigureCanvasAgg(drawn)
        agg.draw()
        pixels = np.array(agg.buffer_rgba())
    finally:
        drawn.set_canvas(canvas)
    return _npy(pixels, "HWC")


def histogram(values: Any, counts: Any, edges: Any) -> Payload:
    """Values of any shape; or counts and the edges between them."""
    if values is not None:
        if counts is not None or edges is not None:
            raise TypeError("a histogram is of values, or has counts and edges: found both")
        array = _arrays.array(values, "values").ravel()
        if array.dtype.kind == "f" and array.size:
            import numpy as np

            finite = array[np.isfinite(array)].astype(np.float64)
            if finite.size and float(finite.max()) / 2 - float(finite.min()) / 2 > _HALF_RANGE:
                raise ValueError("the values are further apart than floats can say")
        return _npy(array)
    if counts is None or edges is None:
        raise TypeError("a histogram needs values, or counts and edges")
    arrays = {"counts": _arrays.array(counts, "counts"), "edges": _arrays.array(edges, "edges")}
    if arrays["counts"].ndim != 1 or arrays["edges"].shape != (arrays["counts"].size + 1,):
        shapes = " and ".join(str(array.shape) for array in arrays.values())
        raise ValueError(f"a histogram has n counts and n + 1 edges, found {shapes}")
    return _npz(arrays)


def audio(given: Any) -> Payload:
    """Samples, (samples, channels) or (channels, samples); a path; or an encoded file's bytes."""
    if (file := _file(given, "audio")) is not None:
        return file
    samples = _arrays.array(given, "audio")
    if samples.ndim == 2 and samples.shape[0] <= _FEW < samples.shape[1]:
        samples = samples.T
    if samples.ndim not in (1, 2) or not samples.size:
        raise ValueError(f"audio must be (samples,) or (samples, channels), found the shape {samples.shape}")
    if samples.dtype.kind != "f" and (samples.dtype.kind, samples.dtype.itemsize) != ("i", 2):
        raise ValueError(f"audio must be floats from -1 to 1, or 16-bit integers, found {samples.dtype}")
    return _npy(samples)


def video(given: Any, layout: str | None) -> Payload:
    """Frames in an array; a path; or an encoded file's bytes."""
    if (file := _file(given, "video")) is not None:
        return file
    frames = _arrays.array(given, "video")
    layout = _arrays.layout_of(frames, layout, "THWC", channels_first=_arrays.is_tensor(given))
    if "T" not in layout:
        raise ValueError(f"the layout of a video must have T for its frames, found {layout!r}")
    return _npy(frames, layout)


def table(given: Any, columns: Sequence[Any] | None) -> Payload:
    """A pandas or polars frame, a mapping of columns, a sequence of mappings, or rows (with the names of columns)."""
    if isinstance(given, str | bytes):
        raise TypeError(f"a table must be a frame, columns or rows, found {_arrays.shown(given)}")
    if hasattr(given, "iter_rows"):  # polars
        names, rows = list(given.columns), given.iter_rows()
    elif hasattr(given, "itertuples"):  # pandas
        names, rows = list(given.columns), given.itertuples(index=False, name=None)
    elif isinstance(given, Mapping):
        names, rows = list(given), zip(*(_listed(column) for column in given.values()), strict=True)
    else:
        given = [row if isinstance(row, Mapping) else _listed(row) for row in _listed(given)]
        if given and all(isinstance(row, Mapping) for row in given):
            names = list(dict.fromkeys(name for row in given for name in row))
            rows = ([row.get(name) for name in names] for row in given)
        else:
            rows = given
            names = list(range(len(given[0]))) if given and columns is None else []
    if columns is not None:
        names = list(columns)
    cells = [[_cell(value) for value in row] for row in rows]
    wrong = next((row for row in cells if len(row) != len(names)), None)
    if wrong is not None:
        raise ValueError(f"a table with {len(names)} columns has a row of {len(wrong)} cells")
    return Payload("msgpack", msgspec.msgpack.encode({"columns": [_text(name) for name in names], "rows": cells}))


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
    return _npz(arrays)


def embedding(vectors: Any, labels: Any) -> Payload:
    """Vectors (n, d), and n labels."""
    arrays = {"vectors": _arrays.array(vectors, "vectors")}
    if arrays["vectors"].ndim != 2:
        raise ValueError(f"vectors must be (n, d), found the shape {arrays['vectors'].shape}")
    if labels is not None:
        import numpy as np

        texts = [_text(label) for label in _listed(labels)]
        count = len(arrays["vectors"])
        if len(texts) != count:
            raise ValueError(f"there must be a label for each of the {count} vectors, found {len(texts)}")
        arrays["labels"] = np.frombuffer(msgspec.json.encode(texts), np.uint8)
    return _npz(arrays)


def graph(given: Any) -> Payload:
    """A path; a mapping of "nodes" and "edges"; a networkx graph; or a torch module, whose parts are the nodes."""
    if (file := _file(given, "graph")) is not None:
        if file.format == "json" and isinstance(file.content, Path):
            given = msgspec.json.decode(file.content.read_bytes())
            if not isinstance(given, dict) or not {"nodes", "edges"} <= set(given):
                raise ValueError('a graph in JSON has "nodes" and "edges"')
        else:
            return file
    edges: list[tuple[str, str]]
    if hasattr(given, "named_modules"):
        modules = [(name or type(given).__name__, module) for name, module in given.named_modules()]
        root = modules[0][0]
        nodes = [{"id": name, "op": type(module).__name__, "label": _label(module)} for name, module in modules]
        edges = [(name.rpartition(".")[0] or root, name) for name, _ in modules[1:]]
    elif isinstance(given, Mapping) and "nodes" in given:
        nodes = [_node(node) for node in given["nodes"]]
        edges = [(_text(start), _text(end)) for start, end, *_ in given.get("edges", ())]
    elif hasattr(given, "nodes") and hasattr(given, "edges"):
        nodes = [_node(node) for node in given.nodes]
        edges = [(_text(start), _text(end)) for start, end, *_ in given.edges]
    else:
        raise TypeError(f"graph must be a path, nodes and edges, or a torch module, found {_arrays.shown(given)}")
    return Payload("json", msgspec.json.encode({"nodes": nodes, "edges": edges}))


def line(x: Any, y: Any) -> Payload:
    """The coordinates of points."""
    return _npz(_arrays.alike({"x": _arrays.array(x, "x"), "y": _arrays.array(y, "y")}))


def classified(labels: Any, predictions: Any, weights: Any) -> Payload:
    """What is true (0 or 1), and what was predicted (0 to 1)."""
    arrays = {"labels": _arrays.array(labels, "labels"), "predictions": _arrays.array(predictions, "predictions")}
    if not ((arrays["labels"] == 0) | (arrays["labels"] == 1)).all():
        raise ValueError("the labels of a classifier's curve must be 0 or 1")
    if weights is not None:
        arrays["weights"] = _arrays.array(weights, "weights")
    return _npz(_arrays.alike({name: array.ravel() for name, array in arrays.items()}))


# How it is done.


def _file(given: Any, argument: str) -> Payload | None:
    """A file's payload; None if it is something else."""
    if isinstance(given, str | os.PathLike):
        path = Path(given)
        suffix = path.suffix[1:].lower()
        if path.is_dir():
            raise ValueError(f"{argument}: {path} is a folder")
        if suffix in ("npy", "npz"):
            raise ValueError(f"{argument}: load {path} with NumPy, and pass the array")
        if not suffix:
            raise ValueError(f"{argument}: the file {path} needs a suffix that tells its format")
        return Payload(_SUFFIXES.get(suffix, suffix), path)
    if isinstance(given, bytes | bytearray):
        return Payload(_sniff(bytes(given[:16]), argument), bytes(given))
    return None


def _sniff(start: bytes, argument: str) -> str:
    """The format of a file by its first bytes."""
    known = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"OggS": "ogg", b"fLaC": "flac", b"ID3": "mp3"}
    for magic, name in known.items():
        if start.startswith(magic):
            return name
    if start.startswith(b"RIFF"):
        return {b"WAVE": "wav", b"WEBP": "webp"}.get(start[8:12], "avi")
    if start[4:8] == b"ftyp":
        return "mp4"
    raise ValueError(f"{argument}: the format of these bytes is unknown; give a path whose suffix tells it")


def _stack(arrays: Sequence[Array]) -> Array:
    import numpy as np

    return np.stack(arrays)


def _npy(array: Array, layout: str = "") -> Payload:
    import numpy as np

    return Payload("npy", lambda file: np.save(file, array, allow_pickle=False), layout)


def _npz(arrays: Mapping[str, Array]) -> Payload:
    import numpy as np

    save: Callable[..., None] = np.savez  # whose own arguments differ between versions
    return Payload("npz", lambda file: save(file, **arrays))


def _listed(given: Any) -> list[Any]:
    if hasattr(given, "tolist"):
        given = given.tolist()
    if isinstance(given, str | bytes) or not hasattr(given, "__iter__"):
        raise TypeError(f"a table's rows and columns must be sequences, found {_arrays.shown(given)}")
    return list(given)


def _cell(value: Any) -> Any:
    if type(value) is str:
        return value if value.isascii() else _text(value)
    if value is None or type(value) in (bool, int, float):
        return value if type(value) is not int or -(2**63) <= value < 2**64 else str(value)
    if str(getattr(value, "dtype", "")).startswith("datetime64"):
        return _text(value)
    if hasattr(value, "item"):
        try:
            return _cell(value.item())
        except Exception:  # noqa: BLE001 - more than one element, or an object of somebody's
            return _text(value)
    return _text(value)


def _node(given: Any) -> dict[str, str]:
    if isinstance(given, Mapping):
        return {key: _text(given.get(key, "")) for key in ("id", "op", "label")}
    return {"id": _text(given), "op": "", "label": ""}


def _label(module: Any) -> str:
    """What a torch module says of itself, without its parts."""
    return _text(module.extra_repr()) if hasattr(module, "extra_repr") else ""


def _text(value: Any) -> str:
    return _values.text(value).encode("utf-8", "backslashreplace").decode()
