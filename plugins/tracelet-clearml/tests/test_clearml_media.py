"""Media beyond what the conformance suite shows: what can't be drawn, is too large, or comes twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from clearml_driver import NOW, Driver
from clearml_stub import StubServer
from tracelet_clearml import Options

from tracelet.events import (
    Context,
    CurveLogged,
    EmbeddingLogged,
    FigureLogged,
    HistogramLogged,
    ImageLogged,
    MediaLogged,
    MeshLogged,
    TableLogged,
    TextLogged,
)

pytestmark = pytest.mark.anyio

Drive = Callable[..., Driver]
MILLISECOND = int(NOW * 1000)


def medium(kind: type[MediaLogged], path: Path, form: str, name: str = "val/x", **fields: Any) -> MediaLogged:
    size = path.stat().st_size
    return kind(NOW, name, str(path), size, path.stat().st_mtime_ns, True, fields.pop("step", 3), format=form, **fields)


def saved(folder: Path, name: str, **arrays: Any) -> Path:
    path = folder / f"{name}.npz"
    with path.open("wb") as file:
        np.savez(file, **{key: np.asarray(value) for key, value in arrays.items()})  # type: ignore[arg-type]
    return path


def image(folder: Path, value: int = 7) -> Path:
    path = folder / f"{value}.npy"
    np.save(path, np.full((2, 4, 3), value, np.uint8))
    return path


def plots(stub: StubServer, driver: Driver) -> list[dict[str, Any]]:
    return stub.events.of(driver.task, "plot")


async def test_a_plot_is_at_its_place(drive: Drive, stub: StubServer, tmp_path: Path) -> None:
    """Metric, variant, iteration and time are as a metric's, and the context is in the variant."""
    driver = drive()
    await driver.open()
    context: Context = (("subset", "val"),)
    curve = medium(CurveLogged, saved(tmp_path, "c", x=[1.0], y=[2.0]), "npz", context=context)
    assert await driver.export(curve) == {}
    (plot,) = plots(stub, driver)
    assert (plot["metric"], plot["variant"], plot["iter"]) == ("val", "x subset:val", 3)
    assert plot["timestamp"] == MILLISECOND
    assert json.loads(plot["plot_str"])["layout"]["title"] == "val/x subset:val"


async def test_kinds_of_one_name_stay_apart(drive: Drive, stub: StubServer, tmp_path: Path) -> None:
    """A histogram and a table of one name and step are two plots; two tables are one, which is counted."""
    driver = drive()
    await driver.open()
    table = tmp_path / "t"
    table.write_bytes(msgspec.msgpack.encode({"columns": ["a"], "rows": [[1]]}))
    counted = saved(tmp_path, "h", counts=[1], edges=[0.0, 1.0])
    events = [medium(HistogramLogged, counted, "npz"), *[medium(TableLogged, table, "msgpack")] * 2]
    assert set(await driver.export(*events)) == {2}
    assert len(plots(stub, driver)) == 2
    assert set(await driver.export(TextLogged(NOW, "t", "a", 1), TextLogged(NOW, "t", "b", 1))) == {1}


async def test_captions_and_numbers_of_images(drive: Drive, stub: StubServer, tmp_path: Path) -> None:
    """Several images of one event are variants with numbers, each with its caption."""
    driver = drive()
    await driver.open()
    path = tmp_path / "images.npy"
    np.save(path, np.zeros((2, 3, 4, 3), np.uint8))
    event = medium(ImageLogged, path, "npy", layout="NHWC", captions=("one", "two"))
    assert await driver.export(event) == {}
    samples = stub.events.of(driver.task, "training_debug_image")
    assert [(sample["variant"], sample["caption"]) for sample in samples] == [("x #1", "one"), ("x #2", "two")]


async def test_what_is_not_finite_is_a_gap(drive: Drive, stub: StubServer, tmp_path: Path) -> None:
    """NaN in a curve is null in its plot, and counted; in a table it is text, and nothing is lost."""
    driver = drive()
    await driver.open()
    table = tmp_path / "t"
    table.write_bytes(msgspec.msgpack.encode({"columns": ["a", "b"], "rows": [[float("nan"), 2**60]]}))
    curve = saved(tmp_path, "c", x=[1.0, 2.0], y=[np.nan, 1.0])
    events = [medium(CurveLogged, curve, "npz", name="curve"), medium(TableLogged, table, "msgpack", name="table")]
    assert set(await driver.export(*events)) == {0}
    found = {plot["metric"]: json.loads(plot["plot_str"])["data"][0] for plot in plots(stub, driver)}
    assert found["curve"]["y"] == [None, 1.0]
    assert found["table"]["cells"]["values"] == [["nan"], [str(2**60)]]


async def test_a_plot_that_is_too_large_is_an_artifact(drive: Drive, stub: StubServer, tmp_path: Path) -> None:
    """What no request could hold is kept as a file, and counted."""
    driver = drive()
    await driver.open()
    mesh = medium(MeshLogged, saved(tmp_path, "m", vertices=np.random.default_rng(0).random((250_000, 3))), "npz")
    assert await driver.export(mesh) == {0: "too large for a plot: kept as an artifact"}
    assert plots(stub, driver) == []
    (artifact,) = stub.store.tasks[driver.task]["execution"]["artifacts"]
    assert artifact["key"] == "val/x step 3.obj"


@pytest.mark.parametrize(("width", "kind"), [(2, "scatter"), (3, "scatter3d")])
async def test_embeddings_that_can_be_drawn_are_plots(
    drive: Drive, stub: StubServer, tmp_path: Path, width: int, kind: str
) -> None:
    """Vectors of two and three numbers are points with their labels."""
    driver = drive()
    await driver.open()
    labels = np.frombuffer(msgspec.json.encode(["a", "b"]), np.uint8)
    path = saved(tmp_path, "e", vectors=np.arange(2.0 * width).reshape(2, width), labels=labels)
    assert await driver.export(medium(EmbeddingLogged, path, "npz")) == {}
    (trace,) = json.loads(plots(stub, driver)[0]["plot_str"])["data"]
    assert (trace["type"], trace["text"], trace["x"]) == (kind, ["a", "b"], [0.0, float(width)])


async def test_a_figure_is_an_image_in_a_plot(drive: Drive, stub: StubServer, tmp_path: Path) -> None:
    """A drawn figure is uploaded, and shown in a plot of its proportions; one that no browser draws is a sample."""
    driver = drive()
    await driver.open()
    pdf, svg = tmp_path / "f.pdf", tmp_path / "f.svg"
    pdf.write_bytes(b"%PDF")
    svg.write_bytes(b"<svg/>")
    drawn = medium(FigureLogged, image(tmp_path), "npy", name="drawn")
    files = [medium(FigureLogged, pdf, "pdf", name="pdf"), medium(FigureLogged, svg, "svg", name="svg")]
    assert await driver.export(drawn, *files) == {}
    found = {plot["metric"]: json.loads(plot["plot_str"])["layout"] for plot in plots(stub, driver)}
    assert set(found) == {"drawn", "svg"}
    assert found["drawn"]["xaxis"]["range"] == [0, 640]
    assert found["drawn"]["yaxis"]["range"] == [0, 320]
    (sample,) = stub.events.of(driver.task, "training_debug_image")
    assert sample["key"].endswith("/pdf/pdf/00000003.pdf")


async def test_a_figure_outside_the_web_is_a_sample(
    drive: Drive, stub: StubServer, options: Options, tmp_path: Path
) -> None:
    """A browser draws no image from a bucket or folder in a plot: as from the SDK, it is a debug sample."""
    driver = drive(msgspec.structs.replace(options, output_uri=str(tmp_path / "storage")))
    await driver.open()
    assert await driver.export(medium(FigureLogged, image(tmp_path), "npy")) == {}
    assert plots(stub, driver) == []
    (sample,) = stub.events.of(driver.task, "training_debug_image")
    assert sample["url"].startswith("file:///")


async def test_a_medium_that_is_refused_costs_no_other(
    drive: Drive, stub: StubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the server refuses one of many records, that one's event is rejected, and the others are there."""
    driver = drive()
    await driver.open()
    judge = stub.events._problem
    monkeypatch.setattr(stub.events, "_problem", lambda event: "odd" if event.get("iter") == 2 else judge(event))
    events = [medium(ImageLogged, image(tmp_path, step), "npy", layout="HWC", step=step) for step in (1, 2, 3)]
    with pytest.raises(Exception, match="odd") as caught:
        await driver.export(*events)
    assert getattr(caught.value, "indexes", None) == {1}
    assert [sample["iter"] for sample in stub.events.of(driver.task, "training_debug_image")] == [1, 3]


async def test_several_figures_are_numbered_plots(drive: Drive, stub: StubServer, tmp_path: Path) -> None:
    """Each of several pictures is a plot of its own, behind the first one's name and a number, and they all differ."""
    driver = drive()
    await driver.open()
    path = tmp_path / "figures.npy"
    np.save(path, np.arange(2 * 2 * 4 * 3, dtype=np.uint8).reshape(2, 2, 4, 3))
    assert await driver.export(medium(FigureLogged, path, "npy")) == {}
    found = {plot["variant"]: json.loads(plot["plot_str"])["layout"]["images"][0] for plot in plots(stub, driver)}
    assert set(found) == {"x #1", "x #2"}
    assert found["x #1"]["source"] != found["x #2"]["source"]


async def test_columns_and_images_of_a_plotted_embedding(drive: Drive, stub: StubServer, tmp_path: Path) -> None:
    """All columns are shown where a point is pointed at, as text; the images are an artifact beside the plot."""
    driver = drive()
    await driver.open()
    rows, columns = [["a", "<1>"], ["b", "2"]], ["name", "number"]
    path = saved(
        tmp_path,
        "e",
        vectors=np.eye(2),
        labels=np.frombuffer(msgspec.json.encode(rows), np.uint8),
        columns=np.frombuffer(msgspec.json.encode(columns), np.uint8),
        images=np.zeros((2, 3, 5)),
    )
    assert await driver.export(medium(EmbeddingLogged, path, "npz", layout="NHW")) == {}
    (trace,) = json.loads(plots(stub, driver)[0]["plot_str"])["data"]
    assert trace["text"] == ["a", "b"]
    assert trace["hovertext"] == ["name: a<br>number: &lt;1&gt;", "name: b<br>number: 2"]
    assert trace["meta"] == {"columns": columns, "rows": rows}
    assert any(name.endswith("val.slash.x step 3.sprites.png/x step 3.sprites.png") for name in stub.files)
