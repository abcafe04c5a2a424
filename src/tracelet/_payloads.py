"""What people have of media and tables, turned into what is written to files: as it is, nothing is encoded here.

NumPy is imported where an array is passed, and none of the libraries whose objects are taken.

A function raises TypeError for something it doesn't know, and ValueError for one it knows and can't use.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import msgspec

from tracelet import _values

if TYPE_CHECKING:
    import numpy as np

    Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

_SUFFIXES = {"jpg": "jpeg", "tif": "tiff"}
_PIXEL_MODES = {
    "1": "L",
    "RGBX": "RGB",
    "La": "LA",
    "RGBa": "RGBA",
    "P": "RGBA",
    "PA": "RGBA",
    "CMYK": "RGB",
    "YCbCr": "RGB",
    "LAB": "RGB",
    "HSV": "RGB",
}
_HALF_RANGE = sys.float_info.max / 2
_FEW = 8  # audio channels at most
_CHANNELS = (1, 2, 3, 4)


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
        pixels = [_pixels(one) for one in given]
        if len({one.shape for one in pixels}) != 1:
            shapes = ", ".join(str(one.shape) for one in pixels[:5]) or "none"
            raise ValueError(f"images that are logged together must have one shape, found {shapes}")
        single = None if layout is None else layout.upper().removeprefix("N")
        layout = "N" + _layout(pixels[0], single, "HWC", channels_first=_is_tensor(given[0]))
        return _npy(_stack(pixels), layout)
    array = _pixels(given)
    return _npy(array, _layout(array, layout, "HWC", channels_first=_is_tensor(given)))


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
        raise TypeError(f"figure must be a matplotlib or plotly figure, or a path, found {_shown(given)}")
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
        array = _array(values, "values").ravel()
        if array.dtype.kind == "f" and array.size:
            import numpy as np

            finite = array[np.isfinite(array)].astype(np.float64)
            if finite.size and float(finite.max()) / 2 - float(finite.min()) / 2 > _HALF_RANGE:
                raise ValueError("the values are further apart than floats can say")
        return _npy(array)
    if counts is None or edges is None:
        raise TypeError("a histogram needs values, or counts and edges")
    arrays = {"counts": _array(counts, "counts"), "edges": _array(edges, "edges")}
    if arrays["counts"].ndim != 1 or arrays["edges"].shape != (arrays["counts"].size + 1,):
        shapes = " and ".join(str(array.shape) for array in arrays.values())
        raise ValueError(f"a histogram has n counts and n + 1 edges, found {shapes}")
    return _npz(arrays)


def audio(given: Any) -> Payload:
    """Samples, (samples, channels) or (channels, samples); a path; or an encoded file's bytes."""
    if (file := _file(given, "audio")) is not None:
        return file
    samples = _array(given, "audio")
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
    frames = _array(given, "video")
    layout = _layout(frames, layout, "THWC", channels_first=_is_tensor(given))
    if "T" not in layout:
        raise ValueError(f"the layout of a video must have T for its frames, found {layout!r}")
    return _npy(frames, layout)


def table(given: Any, columns: Sequence[Any] | None) -> Payload:
    """A pandas or polars frame, a mapping of columns, a sequence of mappings, or rows (with the names of columns)."""
    if isinstance(given, str | bytes):
        raise TypeError(f"a table must be a frame, columns or rows, found {_shown(given)}")
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
    arrays = {"vertices": _triples(vertices, "vertices")}
    if colors is not None:
        arrays["colors"] = _triples(colors, "colors")
        if arrays["colors"].shape != arrays["vertices"].shape:
            raise ValueError(f"there must be a color for each of the {len(arrays['vertices'])} vertices")
        if arrays["colors"].dtype.kind == "f":
            raise ValueError(f"colors must be integers from 0 to 255, found {arrays['colors'].dtype}")
    if faces is not None:
        arrays["faces"] = _triples(faces, "faces")
        if arrays["faces"].dtype.kind not in "iu":
            raise ValueError(f"faces must be numbers of vertices, found {arrays['faces'].dtype}")
        if arrays["faces"].size and not 0 <= arrays["faces"].min() <= arrays["faces"].max() < len(arrays["vertices"]):
            raise ValueError(f"faces must be numbers of the {len(arrays['vertices'])} vertices, from 0 on")
    return _npz(arrays)


def embedding(vectors: Any, labels: Any) -> Payload:
    """Vectors (n, d), and n labels."""
    arrays = {"vectors": _array(vectors, "vectors")}
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
        raise TypeError(f"graph must be a path, nodes and edges, or a torch module, found {_shown(given)}")
    return Payload("json", msgspec.json.encode({"nodes": nodes, "edges": edges}))


def line(x: Any, y: Any) -> Payload:
    """The coordinates of points."""
    return _npz(_alike({"x": _array(x, "x"), "y": _array(y, "y")}))


def classified(labels: Any, predictions: Any, weights: Any) -> Payload:
    """What is true (0 or 1), and what was predicted (0 to 1)."""
    arrays = {"labels": _array(labels, "labels"), "predictions": _array(predictions, "predictions")}
    if not ((arrays["labels"] == 0) | (arrays["labels"] == 1)).all():
        raise ValueError("the labels of a classifier's curve must be 0 or 1")
    if weights is not None:
        arrays["weights"] = _array(weights, "weights")
    return _npz(_alike({name: array.ravel() for name, array in arrays.items()}))


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


def _array(given: Any, argument: str) -> Array:
    """Numbers in an array, without a copy where that can be. Raises TypeError."""
    import numpy as np

    if _is_tensor(given):
        given = given.detach().cpu()
        given = given.float() if str(given.dtype) == "torch.bfloat16" else given
    try:
        array = np.asarray(given)
    except Exception as error:
        raise TypeError(f"{argument} must be an array of numbers, found {_shown(given)}: {error}") from error
    if isinstance(given, np.ma.MaskedArray):
        array = np.ma.filled(given.astype(np.float64), np.nan)
    if array.dtype.kind == "V" or array.dtype.name == "bfloat16":  # JAX's
        array = array.astype(np.float32)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{argument} must be an array of numbers, found {_shown(given)} ({array.dtype})")
    return array


def _pixels(given: Any) -> Array:
    if hasattr(given, "getbands"):  # PIL
        mode = _PIXEL_MODES.get(given.mode)
        if given.mode.startswith("I;16"):
            return _array(given, "image") / 65_535
        if given.mode in ("I", "F"):
            raise ValueError(
                f"a PIL image of mode {given.mode} has no range of its own: pass an array of floats from 0 to 1"
            )
        return _array(given.convert(mode) if mode else given, "image")
    return _array(given, "image")


def _stack(arrays: Sequence[Array]) -> Array:
    import numpy as np

    return np.stack(arrays)


def _layout(array: Array, given: str | None, wanted: str, *, channels_first: bool) -> str:
    """The layout of an array, as it was given, or guessed from its shape."""
    if given is not None:
        layout = given.upper()
        if (
            len(layout) != array.ndim
            or len(set(layout)) != len(layout)
            or not {"H", "W"} <= set(layout) <= {"N", *wanted}
        ):
            raise ValueError(f"layout {given!r} doesn't fit the shape {array.shape}")
    else:
        layout = _guess(array.shape, wanted, channels_first=channels_first)
    if not array.size:
        raise ValueError(f"there are no pixels in the shape {array.shape}")
    if "C" in layout and array.shape[layout.index("C")] not in _CHANNELS:
        raise ValueError(f"there must be 1 to 4 channels, found the shape {array.shape} in the layout {layout}")
    return layout


def _guess(shape: tuple[int, ...], wanted: str, *, channels_first: bool) -> str:
    first = wanted.replace("HWC", "CHW")
    for prefix in ("", "N"):
        last, front = prefix + wanted, prefix + first
        if len(shape) == len(last) - 1 and not prefix:
            return wanted.removesuffix("C")
        if len(shape) == len(last):
            fits = {front: shape[front.index("C")] in _CHANNELS, last: shape[-1] in _CHANNELS}
            order = (front, last) if channels_first else (last, front)
            fitting = next((layout for layout in order if fits[layout]), None)
            if fitting is not None:
                return fitting
    raise ValueError(f"the shape {shape} is no image or video: say layout=, for instance {wanted!r}")


def _npy(array: Array, layout: str = "") -> Payload:
    import numpy as np

    return Payload("npy", lambda file: np.save(file, array, allow_pickle=False), layout)


def _npz(arrays: Mapping[str, Array]) -> Payload:
    import numpy as np

    save: Callable[..., None] = np.savez  # whose own arguments differ between versions
    return Payload("npz", lambda file: save(file, **arrays))


def _triples(given: Any, argument: str) -> Array:
    array = _array(given, argument)
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 2 or array.shape[1] != 3:
        raise ValueError(f"{argument} must be (n, 3), found the shape {array.shape}")
    return array


def _alike(arrays: Mapping[str, Array]) -> Mapping[str, Array]:
    shapes = {name: array.shape for name, array in arrays.items()}
    if len(set(shapes.values())) != 1 or any(len(shape) != 1 for shape in shapes.values()):
        raise ValueError(f"{' and '.join(shapes)} must have one length, found {', '.join(map(str, shapes.values()))}")
    return arrays


def _listed(given: Any) -> list[Any]:
    if hasattr(given, "tolist"):
        given = given.tolist()
    if isinstance(given, str | bytes) or not hasattr(given, "__iter__"):
        raise TypeError(f"a table's rows and columns must be sequences, found {_shown(given)}")
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


def _is_tensor(value: Any) -> bool:
    """Whether it is one of torch's; files can be detached, too."""
    return hasattr(value, "detach") and hasattr(value, "cpu")


def _text(value: Any) -> str:
    return _values.text(value).encode("utf-8", "backslashreplace").decode()


def _shown(value: Any) -> str:
    try:
        shape = getattr(value, "shape", None)
    except Exception:  # noqa: BLE001 - an object of somebody's
        shape = None
    return type(value).__name__ + (f" of shape {tuple(shape)}" if isinstance(shape, tuple) else "")
