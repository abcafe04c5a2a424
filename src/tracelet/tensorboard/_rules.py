"""What torch's SummaryWriter rejects, rejected with the same types of exceptions.

Each function takes arguments of the method of its name and raises; the types are those that torch 2.13 raises, as its
writer or NumPy beneath it does. Arrays are returned as NumPy's, so that a device is asked for them once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracelet import _arrays

if TYPE_CHECKING:
    from tracelet._arrays import Array


def numbers(value: Any) -> Array:
    """An array, a tensor or a single number as an array of NumPy. NotImplementedError: neither."""
    import numpy as np

    if isinstance(value, np.ndarray):
        return value
    if np.isscalar(value):
        return np.array([value])
    if _arrays.is_tensor(value):
        return _arrays.array(value, "the value")
    raise NotImplementedError(f"expected an array or a tensor, found {type(value)}")


def scalar(value: Any) -> None:
    """NotImplementedError: a list, which tensorboardX takes, and torch doesn't."""
    if isinstance(value, list):
        raise NotImplementedError("expected a number, or an array or tensor with one element, found a list")


def hparams(values: Any, metrics: Any, domains: Any) -> None:
    """TypeError: no dict, or a domain that doesn't fit. ValueError: a value of a type that TensorBoard hasn't."""
    if type(values) is not dict or type(metrics) is not dict:
        raise TypeError("hparam_dict and metric_dict must be dicts")
    if not isinstance(domains or {}, dict):
        raise TypeError("hparam_domain_discrete must be a dict")
    for name, domain in (domains or {}).items():
        if (
            name not in values
            or not isinstance(domain, list)
            or not all(isinstance(one, type(values[name])) for one in domain)
        ):
            raise TypeError(f"hparam_domain_discrete[{name!r}] must be a list of values like hparam_dict[{name!r}]")
    for name, value in values.items():
        if not (value is None or isinstance(value, int | float | str) or _arrays.is_tensor(value)):
            raise ValueError(
                f"hparam_dict[{name!r}] must be a bool, int, float, str, None or a tensor, found {type(value)}"
            )


def tensor(value: Any) -> None:
    """AttributeError: no tensor. ValueError: its type is none of TensorBoard's."""
    if not (hasattr(value, "numel") or hasattr(value, "dtype")):
        raise AttributeError(f"expected a tensor, found {type(value)}")


def histogram(values: Any, bins: Any) -> Array:
    """ValueError: no values, text, or no such rule. TypeError: bins that aren't any."""
    import numpy as np

    found = numbers(values)
    if not _countable(found).size:
        raise ValueError("the histogram has no values")
    if bins != "tensorflow" if isinstance(bins, str) else True:
        np.histogram_bin_edges(np.zeros(0) if isinstance(bins, str) else _countable(found), bins=bins)
    return found


def histogram_raw(limits: Sequence[Any], counts: Sequence[Any]) -> None:
    """ValueError: not as many limits as counts."""
    if len(limits) != len(counts):
        raise ValueError(f"there must be as many bucket_limits as bucket_counts, found {len(limits)} and {len(counts)}")


def image(value: Any, layout: str) -> Array:
    """NotImplementedError: no array. AssertionError: its shape doesn't fit. TypeError: pixels of no colour."""
    found = numbers(value)
    axes = layout.upper()
    if len(set(axes)) != len(axes):
        raise AssertionError(f"dataformats must name each axis once, found {layout!r}")
    if len(axes) != found.ndim:
        raise AssertionError(f"dataformats {layout!r} doesn't fit the shape {found.shape}")
    if not {"H", "W"} <= set(axes) <= set("NCHW") or ("N" in axes and "C" not in axes):
        raise ValueError(f"dataformats must have H and W, and may have C and N, found {layout!r}")
    if "C" in axes and found.shape[axes.index("C")] not in (1, 2, 3, 4):
        raise TypeError(f"an image has 1 to 4 channels, found the shape {found.shape}")
    return _countable(found)


def boxes(value: Any) -> Array:
    """NotImplementedError: no array. IndexError: not four numbers each."""
    found = numbers(value)
    if found.size and (found.ndim != 2 or found.shape[1] < 4):
        raise IndexError(f"boxes must be (n, 4), found the shape {found.shape}")
    return found.reshape(-1, 4) if not found.size else found


def figure(value: Any) -> None:
    """AttributeError: no figure of matplotlib."""
    for one in value if isinstance(value, list) else [value]:
        if not hasattr(one, "set_canvas"):
            raise AttributeError(f"expected a figure of matplotlib, found {type(one)}")


def video(value: Any) -> Array:
    """NotImplementedError: no array. ValueError: not five axes."""
    found = numbers(value)
    if found.ndim != 5:
        raise ValueError(f"a video must be (N, T, C, H, W), found the shape {found.shape}")
    return found


def audio(value: Any) -> Array:
    """NotImplementedError: no array. AssertionError: more than one channel. ValueError: no samples."""
    found = numbers(value)
    if not found.size:
        raise ValueError("the sound has no samples")
    if found.squeeze().ndim != 1:
        raise AssertionError(f"the sound must be (1, samples), found the shape {found.shape}")
    return found


def text(value: Any) -> None:
    """AttributeError: no text."""
    if not isinstance(value, str):
        raise AttributeError(f"expected a str, found {type(value)}")


def embedding(vectors: Any, labels: Any, images: Any, columns: Any) -> Array:
    """NotImplementedError: no array. AssertionError: not (n, d), or not n labels and n images."""
    found = numbers(vectors)
    if labels is not None and len(labels) != found.shape[0]:
        raise AssertionError(f"there must be a label for each of {found.shape[0]} vectors, found {len(labels)}")
    if labels is not None and columns and len(columns) != len(labels[0]):
        raise AssertionError(f"metadata_header must name {len(labels[0])} columns, found {len(columns)}")
    if images is not None and images.shape[0] != found.shape[0]:
        raise AssertionError(f"there must be an image for each of {found.shape[0]} vectors, found {images.shape[0]}")
    if found.ndim != 2:
        raise AssertionError(f"the vectors must be (n, d), found the shape {found.shape}")
    return found


def pr_curve(labels: Any, predictions: Any) -> tuple[Array, Array]:
    """NotImplementedError: no array. ValueError: not as many predictions as labels."""
    true, guessed = numbers(labels), numbers(predictions)
    if true.shape != guessed.shape:
        raise ValueError(f"there must be a prediction for each label, found {true.shape} and {guessed.shape}")
    return true, guessed


def pr_curve_raw(*arrays: Any) -> None:
    """ValueError: not as many numbers in each."""
    import numpy as np

    np.stack(arrays)


def custom_scalars(layout: Mapping[str, Any]) -> None:
    """AttributeError: no mapping of mappings. AssertionError: a margin chart without three tags."""
    for charts in layout.items():
        for _, chart in charts[1].items():
            if chart[0] == "Margin":
                margin(chart[1])


def margin(tags: Sequence[str]) -> None:
    """AssertionError: not three tags."""
    if len(tags) != 3:
        raise AssertionError(f"a margin chart has three tags: value, lower and upper bound; found {len(tags)}")


def mesh(vertices: Any, colors: Any, faces: Any) -> None:
    """TypeError: no array. ValueError: not (B, N, 3)."""
    for given in (vertices, colors, faces):
        if given is None:
            continue
        found = _arrays.array(given, "a mesh")
        if found.ndim != 3 or found.shape[2] != 3:
            raise ValueError(f"expected (B, N, 3), found the shape {found.shape}")


def graph_file(path: Any) -> None:
    """FileNotFoundError: there is no such file."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}")


def _countable(found: Array) -> Array:
    """An array of numbers, as it is. ValueError: of something else."""
    return found if found.dtype.kind in "biuf" else found.astype(float)
