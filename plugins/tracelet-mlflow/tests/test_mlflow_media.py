"""Images, tables and other media: in the layouts that MLflow's pages and readers know."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import numpy as np
import pytest
from driver import NOW, Driver
from PIL import Image
from tracelet_mlflow._media import shown
from tracelet_mlflow._names import image_key, media_folder
from tracelet_mlflow._words import MAX_TAG_VALUE
from tracelet_mlflow.readback import list_files, load_table

from tracelet.errors import Rejected, Transient
from tracelet.events import (
    AudioLogged,
    Context,
    CurveLogged,
    FigureLogged,
    HistogramLogged,
    ImageLogged,
    MediaLogged,
    MeshLogged,
    TableLogged,
)
from tracelet.testing import Answer, FaultyServer

pytestmark = pytest.mark.anyio

Drive = Callable[..., Driver]
Read = Callable[[str], Any]


@pytest.fixture
def anyio_backend() -> str:
    """One event loop is enough here: the conformance suite runs on both."""
    return "asyncio"


MS = int(NOW * 1000)
PLOT = {"data": [{"type": "scatter", "x": [1, 2], "y": [3, 4], "name": "</script>"}], "layout": {}}


def medium(kind: type[MediaLogged], path: Path, name: str, step: int = 3, context: Context = (), **more: Any) -> Any:
    """The event of a file, whose suffix is its format."""
    stat = path.stat()
    return kind(NOW, name, str(path), stat.st_size, stat.st_mtime_ns, True, step, context, path.suffix[1:], **more)


def pixels(path: Path, *shape: int) -> Path:
    np.save(path, (np.arange(np.prod(shape)) % 256).astype(np.uint8).reshape(shape))
    return path


def cells(path: Path, columns: list[str], rows: list[list[Any]]) -> Path:
    path.write_bytes(msgspec.msgpack.encode({"columns": columns, "rows": rows}))
    return path


def arrays(path: Path, **given: Any) -> Path:
    with path.open("wb") as file:
        np.savez(file, **given)
    return path


def parsed(path: str) -> tuple[str, str, str, str, str, str]:
    """As MLflow's pages take the name of a chart's image to pieces: (key, step, timestamp, id, compressed, suffix)."""
    stem, _, suffix = path.removeprefix("images/").rpartition(".")
    parts = stem.split("+")
    assert (parts[1], parts[3]) == ("step", "timestamp")
    return re.sub("[~#]", "/", parts[0]), parts[2], parts[4], parts[5], "+".join(parts[6:]), suffix


async def test_an_image_is_in_the_image_charts(drive: Drive, read: Read, tracking_uri: str, tmp_path: Path) -> None:
    """It is laid out as `mlflow.log_image(image, key=…, step=…)` does: with a small one, and the run is marked."""
    driver = drive(tracking_uri)
    await driver.open()
    event = medium(ImageLogged, pixels(tmp_path / "a.npy", 300, 600, 3), "val/sample", layout="HWC")
    assert await driver.export(event) == {}
    client = read(tracking_uri)
    small, large = list_files(client, driver.run_id)
    assert parsed(large)[:3] == parsed(small)[:3] == ("val/sample", "3", str(MS))
    assert parsed(large)[3] == parsed(small)[3]
    assert (parsed(large)[4:], parsed(small)[4:]) == (("", "png"), ("compressed", "webp"))
    sizes = []
    for path in (large, small):
        content = Path(client.download_artifacts(driver.run_id, path, str(tmp_path))).read_bytes()
        sizes.append(Image.open(io.BytesIO(content)).size)
    assert sizes == [(600, 300), (256, 128)]
    assert client.get_run(driver.run_id).data.tags["mlflow.loggedImages"] == "True"


async def test_our_layout_is_the_sdks(drive: Drive, read: Read, server: str, tmp_path: Path) -> None:
    """MLflow's own `log_image` makes files of the same names, but for the id."""
    driver = drive(server)
    await driver.open()
    event = medium(ImageLogged, pixels(tmp_path / "a.npy", 4, 4, 3), "val/a b", layout="HWC")
    await driver.export(event)
    client = read(server)
    client.log_image(driver.run_id, np.zeros((4, 4, 3), np.uint8), key="val/a b", step=3, timestamp=MS)
    names = [parsed(path) for path in list_files(client, driver.run_id)]
    assert len({(key, step, at, small, suffix) for key, step, at, _, small, suffix in names}) == 2
    assert len({unique for _, _, _, unique, _, _ in names}) == 2


async def test_an_image_again_replaces_itself(drive: Drive, read: Read, tracking_uri: str, tmp_path: Path) -> None:
    """After a crash, in a new process, the files of an image have the names that they had."""
    driver = drive(tracking_uri)
    await driver.open()
    event = medium(ImageLogged, pixels(tmp_path / "a.npy", 4, 4, 3), "a", layout="HWC")
    batch = driver.batch(event)
    await driver.backend.export(batch)
    again = drive(tracking_uri, id=driver.info.id, project=driver.info.project)
    await again.open({"run_id": driver.run_id})
    await again.backend.export(batch)
    await driver.export(event)  # another event, though it says the same
    assert len(list_files(read(tracking_uri), driver.run_id)) == 4


async def test_several_images_and_their_captions(drive: Drive, read: Read, tracking_uri: str, tmp_path: Path) -> None:
    """Each of several images has a chart of its own; what they are called is beside them."""
    driver = drive(tracking_uri)
    await driver.open()
    path = pixels(tmp_path / "a.npy", 2, 4, 4, 3)
    context: Context = (("subset", "val"),)
    event = medium(ImageLogged, path, "a", context=context, layout="NHWC", captions=("one", "two"))
    assert await driver.export(event) == {}
    files = list_files(read(tracking_uri), driver.run_id)
    assert {parsed(path)[0] for path in files if path.startswith("images/")} == {f"a subset=val/{n}" for n in (0, 1)}
    captions = Path(read(tracking_uri).download_artifacts(driver.run_id, files[-1], str(tmp_path)))
    assert files[-1] == "media/images/a subset=val/step_3.captions.json"
    assert json.loads(captions.read_text()) == ["one", "two"]


async def test_several_figures_are_files_of_their_own(
    drive: Drive, read: Read, tracking_uri: str, tmp_path: Path
) -> None:
    """The first has the name that one alone would have, the others have numbers; MLflow shows each."""
    driver = drive(tracking_uri)
    await driver.open()
    figures = pixels(tmp_path / "f.npy", 3, 4, 5, 3)
    assert await driver.export(medium(FigureLogged, figures, "f")) == {}
    names = ["step_3.png", "step_3.1.png", "step_3.2.png"]
    files = {f"media/figures/f/{name}": number for number, name in enumerate(names)}
    assert set(list_files(read(tracking_uri), driver.run_id)) == set(files)
    for path, number in files.items():
        copy = read(tracking_uri).download_artifacts(driver.run_id, path, str(tmp_path))
        assert np.asarray(Image.open(copy)).tolist() == np.load(figures)[number].tolist()


async def test_an_image_of_another_format_is_charted_too(
    drive: Drive, read: Read, tracking_uri: str, tmp_path: Path
) -> None:
    """The charts know PNG only: other files are kept as given, beside a PNG; what Pillow can't read is a file."""
    driver = drive(tracking_uri)
    await driver.open()
    Image.new("CMYK", (4, 4)).save(tmp_path / "a.jpg")
    (tmp_path / "b.svg").write_text("<svg/>")
    images = [medium(ImageLogged, tmp_path / file, file[0]) for file in ("a.jpg", "b.svg")]
    degraded = await driver.export(*images)
    assert list(degraded) == [1]
    assert "Pillow can't read (svg)" in degraded[1]
    files = list_files(read(tracking_uri), driver.run_id)
    assert files[2:] == ["media/images/a/step_3.jpg", "media/images/b/step_3.svg"]
    assert [parsed(path)[0] for path in files[:2]] == ["a", "a"]


@pytest.mark.parametrize("name", ["a+b", "a~b", "../up", "", ".", "x" * 300, "100%", "a k=v", "new\nline", "a//b"])
def test_awkward_image_names_keep_to_the_charts_rules(name: str) -> None:
    """What would break the charts' reading of a file's name is changed, and that is known."""
    text, altered = image_key(name, ())
    assert altered
    assert not re.search(r"[+%#/\n]", text)
    assert 0 < len(text.encode()) <= 120


def test_no_folder_can_be_taken_for_a_file() -> None:
    """A name that looks like another's file at a step is changed."""
    assert media_folder("a", ()).text == "a"
    assert re.fullmatch(r"a/step-3\.png-\w{8}", media_folder("a/step_3.png", ()).text)
    assert media_folder("a/stepped", ()) == ("a/stepped", False)


async def test_names_that_are_folders_of_others(drive: Drive, read: Read, tracking_uri: str, tmp_path: Path) -> None:
    """A name may be the beginning of another's, and look like a step: all arrive."""
    driver = drive(tracking_uri)
    await driver.open()
    path = pixels(tmp_path / "a.npy", 4, 4, 4)
    names = ["a", "a/b", "a/step_3.png", "a/step_3.png/c"]
    assert set(await driver.export(*(medium(FigureLogged, path, name) for name in names))) == {2, 3}
    assert len(list_files(read(tracking_uri), driver.run_id)) == 4


async def test_a_table_is_read_by_load_table(drive: Drive, read: Read, tracking_uri: str, tmp_path: Path) -> None:
    """`mlflow.load_table` gives back every table by its path; delivering again lists nothing twice."""
    driver = drive(tracking_uri)
    await driver.open()
    rows = [[1, 0.5, "größe", True, None], [2, -1.5, 'a "b"', False, None]]
    path = cells(tmp_path / "t.msgpack", ["id", "score", "name", "ok", "nothing"], rows)
    events = [medium(TableLogged, path, "val/tabelle ü", step) for step in (1, 2)]
    for _ in range(2):
        assert await driver.export(*events) == {}
    run = read(tracking_uri).get_run(driver.run_id)
    paths = [f"media/tables/val/tabelle ü/step_{step}.json" for step in (1, 2)]
    assert [load_table(tracking_uri, run, path).rows for path in paths] == [rows, rows]
    listed = json.loads(run.data.tags["mlflow.loggedArtifacts"])
    assert listed == [{"path": path, "type": "table"} for path in paths]


async def test_what_json_can_not_say_in_a_table_is_counted(drive: Drive, tracking_uri: str, tmp_path: Path) -> None:
    """An infinite cell is nothing in MLflow; NaN is that anyway."""
    driver = drive(tracking_uri)
    await driver.open()
    files = [cells(tmp_path / f"{value}.msgpack", ["x"], [[value], [1.0]]) for value in (float("nan"), float("inf"))]
    degraded = await driver.export(*(medium(TableLogged, file, file.stem) for file in files))
    assert degraded == {1: "infinity in a table: MLflow has nothing there"}


async def test_the_list_of_tables_keeps_to_the_length_of_a_tag(
    drive: Drive, read: Read, tracking_uri: str, tmp_path: Path
) -> None:
    """When the list is full, the oldest table leaves it, and that is counted; the newest can always be loaded."""
    driver = drive(tracking_uri)
    await driver.open()
    path = cells(tmp_path / "t.msgpack", ["x"], [[1]])
    names = [f"{number:02}-" + "n" * 190 for number in range(40)]
    degraded = await driver.export(*(medium(TableLogged, path, name) for name in names))
    run = read(tracking_uri).get_run(driver.run_id)
    text = run.data.tags["mlflow.loggedArtifacts"]
    assert len(text) <= MAX_TAG_VALUE
    assert len(json.loads(text)) == 40 - len(degraded)
    assert set(degraded) == set(range(40 - len(degraded), 40))
    assert load_table(tracking_uri, run, f"media/tables/{names[-1]}/step_3.json").rows == [[1]]


def test_a_plotly_figure_is_a_page(tmp_path: Path) -> None:
    """It needs nothing but plotly.js, and nothing in the figure can end its script."""
    (tmp_path / "f.plotly").write_bytes(msgspec.json.encode(PLOT))
    files = {
        file.path: file.content for file in shown(medium(FigureLogged, tmp_path / "f.plotly", "<p>"), 3, MS, "").files
    }
    page = next(content for path, content in files.items() if path.endswith(".html")).decode()
    assert page.count("</script>") == 2
    assert '<script src="https://cdn.plot.ly/plotly-3' in page
    figure = re.search(r"const figure = (.*);\n", page)
    assert figure is not None
    assert json.loads(figure[1]) == PLOT
    assert json.loads(next(content for path, content in files.items() if path.endswith(".plotly.json"))) == PLOT


@pytest.mark.parametrize("kind", [HistogramLogged, CurveLogged])
def test_what_is_drawn_is_a_whole_drawing(tmp_path: Path, kind: type[MediaLogged]) -> None:
    """Histograms and curves have an SVG of sound XML, whatever their names, and values without end."""
    values = {"counts": [1, 0, 5], "edges": [0.0, 1.0, 2.0, 3.0]}
    if kind is CurveLogged:
        values = {"x": [1, 2, 3, 4], "y": [0.5, float("nan"), float("inf"), 1]}
    event = medium(kind, arrays(tmp_path / "v.npz", **values), "<a> & \0b")
    (drawing,) = [file.content for file in shown(event, 3, MS, "").files if file.path.endswith(".svg")]
    root = ElementTree.fromstring(drawing)
    shapes = root.findall("{*}rect")[1:] if kind is HistogramLogged else root.findall("{*}polyline")
    assert len(shapes) == (3 if kind is HistogramLogged else 1)
    if kind is CurveLogged:
        assert len(shapes[0].attrib["points"].split()) == 2
    heights = [float(shape.attrib["height"]) for shape in shapes if "height" in shape.attrib]
    assert heights == sorted(heights, key=lambda height: [64.0, 0.0, 320.0].index(height))


def test_a_mesh_is_a_page_too(tmp_path: Path) -> None:
    """Beside the OBJ, which MLflow doesn't show, is a page that draws it."""
    vertices = [[0.0, 0, 0], [1, 0, 0], [0, 1, float("nan")]]
    path = arrays(tmp_path / "m.npz", vertices=vertices, faces=[[0, 1, 2]], colors=[[255, 0, 0]] * 3)
    files = shown(medium(MeshLogged, path, "m"), 3, MS, "").files
    assert [file.path for file in files] == ["media/meshes/m/step_3.obj", "media/meshes/m/step_3.html"]
    figure = re.search(r"const figure = (.*);\n", files[1].content.decode())
    assert figure is not None
    (trace,) = json.loads(figure[1])["data"]
    assert (trace["type"], trace["x"], trace["z"], trace["i"]) == ("mesh3d", [0, 1, 0], [0, 0, None], [0])


def test_sound_can_be_played(tmp_path: Path) -> None:
    """It has a suffix that MLflow plays, and its caption beside it."""
    np.save(tmp_path / "a.npy", np.zeros(80, np.float32))
    event = medium(AudioLogged, tmp_path / "a.npy", "a", sample_rate=8_000, caption="silence")
    paths = [file.path for file in shown(event, -1, MS, "").files]
    assert paths == ["media/audio/a/step_-1.wav", "media/audio/a/step_-1.captions.json"]


async def test_a_file_that_is_broken_holds_up_nothing(
    drive: Drive, read: Read, tracking_uri: str, tmp_path: Path
) -> None:
    """A medium whose file is missing is rejected by its event; the others of the batch arrive."""
    driver = drive(tracking_uri)
    await driver.open()
    good = medium(FigureLogged, pixels(tmp_path / "a.npy", 4, 4, 4), "good")
    missing = msgspec.structs.replace(good, path=str(tmp_path / "nowhere.npy"))
    with pytest.raises(Rejected) as caught:
        await driver.export(missing, good)
    assert caught.value.indexes == frozenset({0})
    assert list_files(read(tracking_uri), driver.run_id) == ["media/figures/good/step_3.png"]


async def test_what_was_degraded_stays_so_when_the_batch_comes_in_parts(
    drive: Drive, proxy: FaultyServer, tmp_path: Path
) -> None:
    """An event that was stored and degraded before its batch failed is counted when the batch succeeds."""
    driver = drive(proxy.url)
    await driver.open()
    path = pixels(tmp_path / "a.npy", 4, 4, 4)
    batch = driver.batch(medium(FigureLogged, path, "a//b"), medium(FigureLogged, path, "late"))
    proxy.fail(Answer(503), when=lambda request: "late" in request.path)
    with pytest.raises(Transient):
        await driver.backend.export(batch)
    fresh = driver.batch(*batch.events)
    fresh.sequences = batch.sequences
    await driver.backend.export(fresh)
    assert len(fresh.degraded) == 1
