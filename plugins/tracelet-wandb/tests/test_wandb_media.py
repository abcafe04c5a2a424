"""Media beyond what the conformance suite shows: how they lie in W&B's files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import wandb_offline
from wandb_driver import NOW, Driver

from tracelet import _payloads
from tracelet._payloads import Payload
from tracelet.events import (
    ArtifactLogged,
    EmbeddingLogged,
    HistogramLogged,
    HParamsLogged,
    ImageLogged,
    LayoutSet,
    MediaLogged,
    TensorLogged,
)

pytestmark = pytest.mark.anyio

Drive = Callable[..., Driver]


@pytest.fixture
def anyio_backend() -> str:
    """The conformance suite has both; what is tested here blocks in threads."""
    return "asyncio"


def medium(kind: type[MediaLogged], folder: Path, payload: Payload, name: str = "x", **fields: Any) -> Any:
    path = folder / f"{len(list(folder.iterdir()))}.{payload.format}"
    assert callable(payload.content)
    with path.open("wb") as file:
        payload.content(file)
    fields = {"layout": payload.layout} | fields if payload.layout else fields
    step = fields.pop("step", 3)
    return kind(NOW, name, str(path), path.stat().st_size, 0, True, step, format=payload.format, **fields)


def recorded(driver: Driver) -> Any:
    return wandb_offline.recorded(Path(driver.options.dir or ""), driver.id)


def rows(driver: Driver) -> list[dict[str, Any]]:
    recorded(driver)
    return wandb_offline.rows(Path(driver.options.dir or ""), driver.id)


@pytest.fixture
async def driver(drive: Drive) -> Driver:
    driver = drive()
    await driver.open()
    return driver


async def test_several_images_keep_their_captions(driver: Driver, tmp_path: Path) -> None:
    """Each picture of an event has its own."""
    images = _payloads.image(np.zeros((2, 4, 5, 3)), None)
    await driver.export(medium(ImageLogged, tmp_path, images, captions=("one", "two")))
    (row,) = rows(driver)
    assert row["x"]["captions"] == ["one", "two"]


async def test_a_histogram_of_too_many_bins_is_degraded(driver: Driver, tmp_path: Path) -> None:
    """W&B takes 512 bins: more are joined in pairs, which is counted; as many are not."""
    values = _payloads.histogram(np.arange(5_000.0), None, None)
    degraded = await driver.export(
        medium(HistogramLogged, tmp_path, values, bins=512), medium(HistogramLogged, tmp_path, values, "y", bins=1_000)
    )
    assert list(degraded) == [1]
    assert [len(one.content.counts) for one in recorded(driver).media] == [512, 500]


async def test_columns_of_an_embedding_have_names_of_their_own(driver: Driver, tmp_path: Path) -> None:
    """A column that is called as another, or as a dimension, gets a number."""
    known = [["a", "1", "x"], ["b", "2", "y"]]
    vectors = _payloads.embedding([[0.5, 1.0], [1.5, 2.0]], known, ["name", "name", "d1"])
    await driver.export(medium(EmbeddingLogged, tmp_path, vectors))
    (shown,) = recorded(driver).media
    assert shown.content.columns == ["name", "name (2)", "d1 (2)"]
    assert shown.content.rows == known
    assert shown.content.vectors == [[0.5, 1.0], [1.5, 2.0]]


async def test_images_of_an_embedding_are_in_its_row(driver: Driver, tmp_path: Path) -> None:
    """They are an image of the name `<name>/images`, which is shown like any other."""
    vectors = _payloads.embedding(np.eye(4), None, None, np.zeros((4, 6, 8)))
    await driver.export(medium(EmbeddingLogged, tmp_path, vectors, "things"))
    (row,) = rows(driver)
    assert row["things"]["_type"] == "table-file"
    assert (row["things/images"]["_type"], row["things/images"]["width"]) == ("image-file", 16)


async def test_any_name_can_be_an_artifacts(driver: Driver, tmp_path: Path) -> None:
    """Blanks and letters that W&B's artifacts can't have in their names cost nothing: the files keep theirs."""
    file = tmp_path / "file"
    file.write_bytes(b"content")
    names = ["my notes.txt", "größe.txt", "a@b.txt", "a b.txt", "a-b.txt"]
    events = [ArtifactLogged(NOW, name, str(file), 7, file.stat().st_mtime_ns) for name in names]
    assert not await driver.export(*events)
    found = recorded(driver)
    assert found.artifacts == dict.fromkeys(names, b"content")


async def test_a_tensor_of_another_step_is_another_file(driver: Driver, tmp_path: Path) -> None:
    """The same array at two steps, and in a context, is three files, which W&B can't take for one."""
    payload = _payloads.tensor([1.5, 2.5])
    first = medium(TensorLogged, tmp_path, payload, "last layer")
    later = msgspec.structs.replace(first, step=4)
    other = msgspec.structs.replace(first, context=(("rank", 1),))
    assert not await driver.export(first, later, other)
    shown = [(one.name, one.step) for one in recorded(driver).media]
    assert shown == [("last layer", 3), ("last layer", 4), ("last layer rank=1", 3)]
    logs = wandb_offline.logs(Path(driver.options.dir or ""), driver.id)
    records = [record for log in logs for record in wandb_offline.records(log)]
    paths = [entry.path for one in records for entry in one.artifact.manifest.contents]
    assert paths == ["last layer/step_3.npy", "last layer/step_4.npy", "last layer rank=1/step_3.npy"]


async def test_the_charts_of_a_layout_share_a_row(driver: Driver) -> None:
    """A row holds whole events, so that none is sent twice or lost after a crash."""
    charts = {"losses": {"one": ("Multiline", ["a"]), "two": ("Multiline", ["b"])}}
    await driver.export(LayoutSet(NOW, charts), HParamsLogged(NOW, {"lr": 0.5}, name="wide"))
    first, second = rows(driver)
    assert {name for name in first if name.startswith("layout")} == {"layout/losses/one", "layout/losses/two"}
    assert (first["_tracelet"], second["_tracelet"]) == ("0000/stream/0", "0000/stream/1")
    assert "hparams/wide" in second
