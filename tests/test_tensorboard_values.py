"""What SummaryWriters are given, of every shape, type and memory: the journal has the same numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import tracelet
from tracelet import Run, media
from tracelet.codec import decode
from tracelet.events import Event, FileLogged, HistogramLogged, ImageLogged, Lane, MetricsLogged
from tracelet.journal import LogReader, RunDirectory

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning"),  # tensorboardX sums up what it is given
]

FOREIGN = ["torch.utils.tensorboard", "tensorboardX"]
MODULES = [*FOREIGN, "tracelet.tensorboard"]
FLOATS = ["float16", "float32", "float64"]
INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
DTYPES = [*FLOATS, *INTEGERS, "bool"]

quiet = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    run = tracelet.start_logging(exp_name="test", directory=tmp_path / "store")
    yield run
    assert tracelet.tensorboard.missed() == 0
    assert run.status().lost == 0
    tracelet.stop_logging()


@pytest.fixture(params=MODULES)
def writer(request: pytest.FixtureRequest, run: Run, tmp_path: Path) -> Iterator[Any]:
    with pytest.importorskip(request.param).SummaryWriter(str(tmp_path / "log")) as writer:
        yield writer


def last(run: Run, lane: Lane) -> Event:
    with LogReader(RunDirectory(run.directory).log("0000", lane)) as reader:
        frames = reader.read(10**6, 10**9, final=False)
    event = decode(frames.words[-1], frames.payloads[-1])
    if isinstance(event, FileLogged):
        return msgspec.structs.replace(event, path=str(run.directory / event.path))
    return event


def strided(array: np.ndarray[Any, Any], how: str) -> np.ndarray[Any, Any]:
    """The same numbers in another kind of memory."""
    if how == "read-only":
        array = array.copy()
        array.setflags(write=False)
        return array
    if how == "not contiguous":
        wide = np.repeat(array, 2, axis=-1)
        return wide[..., ::2]
    if how == "Fortran's order":
        return np.asfortranarray(array)
    if how == "reversed":
        return array[..., ::-1][..., ::-1]
    return array


MEMORY = st.sampled_from(["plain", "read-only", "not contiguous", "Fortran's order", "reversed"])
ARRAYS = st.sampled_from(DTYPES).flatmap(
    lambda dtype: arrays.arrays(
        dtype,
        arrays.array_shapes(min_dims=1, max_dims=4, max_side=5),
        elements={"allow_nan": False, "allow_infinity": False, "min_value": -1e3, "max_value": 1e3}
        if dtype in FLOATS
        else None,
    )
)


@quiet
@given(array=ARRAYS, memory=MEMORY)
def test_a_histogram_has_the_values(run: Run, writer: Any, array: np.ndarray[Any, Any], memory: str) -> None:
    """Whatever their shape, type and memory, the journal has a histogram's values as they are."""
    writer.add_histogram("h", strided(array, memory), 1)
    event = last(run, Lane.BULK)
    assert isinstance(event, HistogramLogged)
    found = media.array(event)
    assert found.dtype == array.dtype
    assert (found == array.ravel()).all()
    assert sum(media.histogram(event).counts) == array.size


@quiet
@given(array=ARRAYS, memory=MEMORY)
def test_counts_are_those_of_the_original(run: Run, writer: Any, array: np.ndarray[Any, Any], memory: str) -> None:
    """The bins that delivery counts are those that tensorboardX writes into its files, to the last digit."""
    summary = pytest.importorskip("tensorboardX.summary")
    rule = pytest.importorskip("tensorboardX").SummaryWriter(write_to_disk=False).default_bins
    writer.add_histogram("h", strided(array, memory), 1)
    event = last(run, Lane.BULK)
    assert isinstance(event, HistogramLogged)
    counted = media.histogram(event)
    theirs = summary.make_histogram(array.astype(float), rule)
    filled = [(right, count) for right, count in zip(theirs.bucket_limit, theirs.bucket, strict=True) if count]
    ours = [(right, count) for right, count in zip(counted.edges[1:], counted.counts, strict=True) if count]
    assert [count for _, count in ours] == [count for _, count in filled]
    assert np.allclose([right for right, _ in ours], [right for right, _ in filled], rtol=1e-9, atol=0)


@quiet
@given(
    array=st.sampled_from(["float32", "float64", "uint8", "bool", "int64"]).flatmap(
        lambda dtype: arrays.arrays(
            dtype,
            st.tuples(st.sampled_from([1, 3]), st.integers(1, 6), st.integers(1, 6)),
            elements={"min_value": 0, "max_value": 1} if dtype != "bool" else None,
        )
    ),
    memory=MEMORY,
)
def test_an_image_has_the_pixels(run: Run, writer: Any, array: np.ndarray[Any, Any], memory: str) -> None:
    """Whatever their type and memory, pixels are shown as TensorBoard takes them."""
    writer.add_image("i", strided(array, memory), 1)
    event = last(run, Lane.BULK)
    assert isinstance(event, ImageLogged)
    whole = array if array.dtype in (np.uint8, np.float32, np.float64) else array.astype(float)
    kept = media.array(event).astype(float)
    assert event.layout == "CHW"
    if media.array(event).dtype == np.uint8 and array.dtype != np.uint8:
        whole = whole * 255
    assert (kept == whole).all()


SCALARS = st.one_of(
    st.floats(allow_nan=False, width=32),
    st.integers(-(2**40), 2**40),
    st.booleans(),
    st.sampled_from(DTYPES).flatmap(
        lambda dtype: arrays.arrays(dtype, st.sampled_from([(), (1,), (1, 1)]), elements=None).filter(
            lambda array: bool(np.isfinite(array.astype(float)).all())
        )
    ),
)


@quiet
@given(value=SCALARS, step=st.one_of(st.integers(0, 2**40), st.floats(0, 1e6)))
def test_a_scalar_is_itself(run: Run, writer: Any, value: Any, step: Any) -> None:
    """Python's numbers, NumPy's and arrays of one element, at steps that `int()` takes."""
    writer.add_scalar("s", value, step)
    event = last(run, Lane.STREAM)
    assert isinstance(event, MetricsLogged)
    expected = value.item() if hasattr(value, "item") else value
    assert event.values == {"s": expected}
    assert event.step == int(step)


def test_an_empty_array(run: Run, writer: Any) -> None:
    """What is empty is rejected as the original rejects it, and nothing is said."""
    with pytest.raises(ValueError, match=r"no element|no values"):
        writer.add_histogram("h", np.zeros((0, 3)))
    with pytest.raises((AssertionError, ValueError)):
        writer.add_scalar("s", np.zeros(0))
    assert run.status().emitted == 1  # that the run started


# Torch's tensors.


@pytest.mark.parametrize(
    "dtype", ["float16", "bfloat16", "float32", "float64", "int8", "int32", "int64", "uint8", "bool"]
)
@pytest.mark.parametrize("memory", ["plain", "with a gradient", "transposed", "expanded"])
def test_a_tensor_of_every_type(run: Run, writer: Any, dtype: str, memory: str) -> None:
    """Tensors with gradients, strides and types of their own are taken as they are; 16 bits of any kind included."""
    torch = pytest.importorskip("torch")
    kind = getattr(torch, dtype)
    if dtype == "bfloat16" and type(writer).__module__.startswith("tensorboardX"):
        pytest.skip("tensorboardX takes none")
    tensor = torch.arange(6).reshape(2, 3).to(kind)
    if memory == "with a gradient":
        if not kind.is_floating_point or type(writer).__module__.startswith("tensorboardX"):
            pytest.skip("there are no such gradients, or the writer takes none")
        tensor.requires_grad_()
    elif memory == "transposed":
        tensor = tensor.t()
    elif memory == "expanded":
        tensor = tensor[:1].expand(4, 3)
    writer.add_histogram("h", tensor, 1)
    event = last(run, Lane.BULK)
    assert isinstance(event, HistogramLogged)
    assert media.array(event).tolist() == tensor.detach().to(torch.float64).flatten().tolist()


@pytest.mark.parametrize("module", ["torch.utils.tensorboard", "tracelet.tensorboard"])
def test_a_large_bfloat16_is_not_infinite(run: Run, tmp_path: Path, module: str) -> None:
    """Torch's own conversion takes bfloat16 through float16; the run has the value."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("tensorboard")
    with pytest.importorskip(module).SummaryWriter(str(tmp_path / "log")) as writer:
        writer.add_scalar("s", torch.tensor(70_000.0, dtype=torch.bfloat16), 1)
    event = last(run, Lane.STREAM)
    assert isinstance(event, MetricsLogged)
    assert math.isfinite(event.values["s"])
    assert event.values["s"] == torch.tensor(70_000.0, dtype=torch.bfloat16).item()


@quiet
@given(edges=st.lists(st.floats(-100, 100), min_size=2, max_size=6, unique=True).map(sorted), data=st.data())
def test_buckets_are_kept(run: Run, writer: Any, edges: list[float], data: st.DataObject) -> None:
    """Counts of `add_histogram_raw` stay with their limits."""
    limits = edges[1:]
    counts = data.draw(st.lists(st.integers(0, 9), min_size=len(limits), max_size=len(limits)))
    assume(len(limits) == 1 or counts[0])
    writer.add_histogram_raw("h", edges[0], limits[-1], sum(counts), 0.0, 0.0, limits, counts, 1)
    event = last(run, Lane.BULK)
    assert isinstance(event, HistogramLogged)
    assert media.histogram(event) == media.Histogram([float(count) for count in counts], edges)


@pytest.mark.parametrize(
    ("smallest", "largest", "limits", "counts", "expected"),
    [
        (0.5, 2.0, [0.0, 1.0, 3.0], [0, 1, 4], media.Histogram([1.0, 4.0], [0.0, 1.0, 3.0])),  # TensorBoard's own way
        (0.5, 2.0, [1.0, 1.7976931348623157e308], [3, 4], media.Histogram([3.0, 4.0], [0.5, 1.0, 2.0])),  # TensorFlow's
    ],
    ids=["an empty bin before", "no end"],
)
def test_buckets_as_tensorboard_makes_them(
    run: Run, writer: Any, smallest: float, largest: float, limits: list[float], counts: list[int], expected: Any
) -> None:
    """The empty bin that stands for the first limit is none, and an endless one ends with the largest value."""
    writer.add_histogram_raw("h", smallest, largest, sum(counts), 0.0, 0.0, limits, counts, 1)
    event = last(run, Lane.BULK)
    assert isinstance(event, HistogramLogged)
    assert media.histogram(event) == expected
