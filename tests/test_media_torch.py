"""Tensors as media: whatever their type, memory and history."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tracelet
from tracelet import Run, media
from tracelet.codec import decode
from tracelet.events import FileLogged, GraphLogged, HistogramLogged, ImageLogged, Lane
from tracelet.journal import LogReader, RunDirectory

torch = pytest.importorskip("torch")


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    run = tracelet.start_logging(exp_name="test", project="tests", directory=tmp_path, strict=True)
    yield run
    tracelet.stop_logging()


def only(run: Run) -> Any:
    import msgspec

    directory = RunDirectory(run.directory)
    with LogReader(directory.log("0000", Lane.BULK)) as reader:
        frames = reader.read(10, 10**9, final=False)
        ((word, payload),) = zip(frames.words, frames.payloads, strict=True)
    event = decode(word, payload)
    assert isinstance(event, FileLogged)
    return msgspec.structs.replace(event, path=str(run.directory / event.path))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "uint8", "int64"])
def test_a_tensor_of_every_type_is_an_image(run: Run, dtype: str) -> None:
    """Channels first, with gradients and strides of its own: the PNG has the pixels."""
    pixels = torch.arange(3 * 4 * 6).reshape(3, 4, 6) * 3
    floating = getattr(torch, dtype).is_floating_point
    tensor = (pixels / 256 if floating else pixels).to(getattr(torch, dtype))
    if floating:
        tensor.requires_grad_()
    run.log_image("i", tensor.transpose(1, 2).transpose(1, 2))
    event = only(run)
    assert isinstance(event, ImageLogged)
    assert event.layout == "CHW"
    shown = np.asarray(Image.open(io.BytesIO(media.pictures(event)[0].data)))
    expected = pixels.permute(1, 2, 0).numpy()
    assert np.abs(shown.astype(int) - expected * (255 / 256 if floating else 1)).max() <= (1 if floating else 0)


def test_weights_are_counted_where_they_are(run: Run) -> None:
    """A parameter of a module, which requires a gradient, is what histograms are made of."""
    layer = torch.nn.Linear(20, 30)
    run.log_histogram("weights", layer.weight, bins=8)
    event = only(run)
    assert isinstance(event, HistogramLogged)
    assert sum(media.histogram(event).counts) == 600


def test_a_module_is_a_graph_of_its_parts(run: Run) -> None:
    """Its modules by name, with what they say of themselves."""
    run.log_graph("net", torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU()))
    event = only(run)
    assert isinstance(event, GraphLogged)
    graph = media.graph(event)
    assert graph is not None
    assert [(node.id, node.op) for node in graph.nodes] == [
        ("Sequential", "Sequential"),
        ("0", "Linear"),
        ("1", "ReLU"),
    ]
    assert graph.nodes[1].label == "in_features=2, out_features=3, bias=True"
    assert graph.edges == [("Sequential", "0"), ("Sequential", "1")]
