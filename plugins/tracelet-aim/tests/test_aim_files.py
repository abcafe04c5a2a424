"""Artifacts, models and media: the files, where they are, and what Aim shows of them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aim_driver import NOW, Driver
from aim_server import AimServer
from tracelet_aim.readback import open_run, recorded, sequence

from tracelet import media
from tracelet.errors import Rejected
from tracelet.events import (
    ArtifactLogged,
    AudioLogged,
    CurveLogged,
    EmbeddingLogged,
    FigureLogged,
    GraphLogged,
    HistogramLogged,
    ImageLogged,
    MediaLogged,
    ModelLogged,
    ModelRegistered,
    VideoLogged,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def driver(drive: Callable[..., Driver]) -> Driver:
    driver = drive()
    await driver.open()
    return driver


def artifact(path: Path, name: str, content: bytes = b"content", **fields: Any) -> ArtifactLogged:
    path.write_bytes(content)
    return ArtifactLogged(NOW, name, str(path), len(content), path.stat().st_mtime_ns, **fields)


def medium(kind: type[MediaLogged], path: Path, format_: str, **fields: Any) -> MediaLogged:
    return kind(NOW, "m", str(path), path.stat().st_size, 0, True, 1, (), format_, **fields)


def jpeg(path: Path) -> Path:
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, "JPEG", quality=70)
    return path


async def test_artifacts_stay_in_their_folder(driver: Driver, tmp_path: Path) -> None:
    """Names that lead out of it, or that no file can have, are changed, and each has its own."""
    names = ["../up", "/root", "a//b", ".", "", "..", "x" * 5_000, "new\nline", "nul\0", "a/" * 900 + "b", "fine/größe"]
    events = [artifact(tmp_path / f"f{at}", name, str(at).encode()) for at, name in enumerate(names)]
    degraded = await driver.export(*events)
    assert sorted(degraded) == list(range(len(names) - 1))
    found = recorded(driver.options.path, driver.info.id).artifacts
    assert sorted(found.values()) == sorted(str(at).encode() for at in range(len(names)))
    assert found["fine/größe"] == b"10"
    root = Path(driver.options.path, ".aim", "artifacts")
    assert len([path for path in root.rglob("*") if path.is_file()]) == len(names)


async def test_a_file_that_is_not_there_is_refused_alone(driver: Driver, tmp_path: Path) -> None:
    """The others of its batch arrive."""
    there = artifact(tmp_path / "there", "there")
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(Rejected, match="No such file") as raised:
        await driver.export(
            ArtifactLogged(NOW, "missing", str(tmp_path / "missing"), 1, 1),
            there,
            ArtifactLogged(NOW, "folder", str(folder), 1, 1),
        )
    assert raised.value.indexes == frozenset({0, 2})
    assert list(recorded(driver.options.path, driver.info.id).artifacts) == ["there"]


async def test_a_file_and_a_folder_of_one_name(driver: Driver, tmp_path: Path) -> None:
    """The second is refused."""
    await driver.export(artifact(tmp_path / "f", "a"))
    with pytest.raises(Rejected, match="file and a folder"):
        await driver.export(artifact(tmp_path / "g", "a/b"))


async def test_a_changed_file_is_counted(driver: Driver, tmp_path: Path) -> None:
    """It was to be taken as found, and arrives as it is now."""
    event = artifact(tmp_path / "f", "a", copied=False)
    (tmp_path / "f").write_bytes(b"another content")
    assert list(await driver.export(event)) == [0]


async def test_models_are_artifacts_with_a_description(driver: Driver, tmp_path: Path) -> None:
    """A folder's files keep their places; registering is only kept, and counted as degraded."""
    folder = tmp_path / "model"
    (folder / "weights").mkdir(parents=True)
    (folder / "weights" / "w.bin").write_bytes(b"\0\1")
    (folder / "config.json").write_bytes(b"{}")
    model = ModelLogged(NOW, "net/v1", str(folder), 4, 0, True, 7, "pytorch", {"acc": 0.5, "huge": 2**70})
    degraded = await driver.export(model, ModelRegistered(NOW, "prod", "net/v1", ("champion",), "the best"))
    assert sorted(degraded) == [0, 1]
    run = open_run(driver.options.path, driver.hash)
    assert run["models"]["net/v1"] == {
        "framework": "pytorch",
        "step": 7,
        "metadata": {"acc": 0.5, "huge": str(2**70)},
        "files": ["models/net/v1/config.json", "models/net/v1/weights/w.bin"],
    }
    assert run["registered_models"]["prod"] == {
        "model": "net/v1",
        "aliases": ["champion"],
        "description": "the best",
    }
    found = recorded(driver.options.path, driver.info.id)
    assert found.models == {"net/v1": {"config.json": b"{}", "weights/w.bin": b"\0\1"}}


async def test_a_jpeg_stays_as_it_is(driver: Driver, tmp_path: Path) -> None:
    """Aim would encode it anew."""
    path = jpeg(tmp_path / "image.jpg")
    assert await driver.export(medium(ImageLogged, path, "jpg", captions=("a caption",))) == {}
    ((_, _, (image,)),) = sequence(open_run(driver.options.path, driver.hash), "images")
    assert bytes(image.storage["data"]) == path.read_bytes()
    assert (image.caption, image.format, image.size) == ("a caption", "jpeg", (16, 16))


async def test_formats_that_browsers_do_not_show_become_png(driver: Driver, tmp_path: Path) -> None:
    """With the same pixels."""
    from PIL import Image

    path = tmp_path / "image.tiff"
    Image.open(jpeg(tmp_path / "i.jpg")).save(path)
    assert await driver.export(medium(ImageLogged, path, "tiff")) == {}
    ((_, _, (image,)),) = sequence(open_run(driver.options.path, driver.hash), "images")
    assert image.format == "png"
    assert image.to_pil_image().tobytes() == Image.open(path).tobytes()


@pytest.mark.parametrize(
    ("kind", "format_"),
    [(VideoLogged, "mp4"), (AudioLogged, "ogg"), (ImageLogged, "svg"), (GraphLogged, "onnx"), (FigureLogged, "pdf")],
)
async def test_what_aim_can_not_show_is_kept(
    driver: Driver, tmp_path: Path, kind: type[MediaLogged], format_: str
) -> None:
    """As an artifact, counted as degraded."""
    path = tmp_path / "file"
    path.write_bytes(b"\xff\0 not a picture")
    assert list(await driver.export(medium(kind, path, format_))) == [0]
    found = recorded(driver.options.path, driver.info.id)
    assert found.artifacts == {f"media/m/step_1.{format_}": path.read_bytes()}
    assert found.media == []


async def test_uneven_bins_become_even_ones(driver: Driver, tmp_path: Path) -> None:
    """The counts' sum and range stay."""
    path = tmp_path / "h.npz"
    with path.open("wb") as file:
        np.savez(file, counts=np.array([1.0, 8.0]), edges=np.array([0.0, 1.0, 8.0]))
    assert list(await driver.export(medium(HistogramLogged, path, "npz"))) == [0]
    ((_, step, shown),) = sequence(open_run(driver.options.path, driver.hash), "distributions")
    assert (step, shown.weights.sum(), list(shown.range)) == (1, pytest.approx(9), [0.0, 8.0])
    assert shown.weights[: len(shown.weights) // 8].sum() == pytest.approx(1)


async def test_curves_with_gaps_are_counted(driver: Driver, tmp_path: Path) -> None:
    """JSON has no NaN: a point that is none is a gap."""
    path = tmp_path / "c.npz"
    with path.open("wb") as file:
        np.savez(file, x=np.array([1.0, 2.0]), y=np.array([0.5, np.nan]))
    assert list(await driver.export(medium(CurveLogged, path, "npz"))) == [0]
    ((_, _, figure),) = sequence(open_run(driver.options.path, driver.hash), "figures")
    assert json.loads(figure.data)["data"][0]["y"] == [0.5, None]


@pytest.mark.parametrize("width", [1, 2, 3, 8])
async def test_embeddings_are_drawn_and_kept_whole(driver: Driver, tmp_path: Path, width: int) -> None:
    """Aim draws the figure with plotly, which must understand it."""
    vectors = np.arange(2 * width, dtype=np.float64).reshape(2, width)
    path = tmp_path / "e.npz"
    with path.open("wb") as file:
        np.savez(file, vectors=vectors, labels=np.frombuffer(b'["a", "b"]', np.uint8))
    assert await driver.export(medium(EmbeddingLogged, path, "npz")) == {}
    ((_, _, figure),) = sequence(open_run(driver.options.path, driver.hash), "figures")
    (trace,) = figure.to_plotly_figure().data
    assert (np.array(trace.customdata) == vectors).all()
    assert list(trace.text) == ["a", "b"]
    assert trace.type == ("scatter3d" if width >= 3 else "scatter")


async def test_a_damaged_medium_is_refused_alone(driver: Driver, tmp_path: Path) -> None:
    """Its neighbours arrive."""
    damaged = tmp_path / "damaged.npy"
    damaged.write_bytes(b"no array")
    gone = tmp_path / "gone.npy"
    gone.touch()
    events = [medium(ImageLogged, damaged, "npy", layout="HW"), medium(HistogramLogged, gone, "npz")]
    gone.unlink()
    good = medium(ImageLogged, jpeg(tmp_path / "i.jpg"), "jpg")
    with pytest.raises(Rejected) as raised:
        await driver.export(*events, good)
    assert raised.value.indexes == frozenset({0, 1})
    assert len(recorded(driver.options.path, driver.info.id).media) == 1


async def test_one_image_and_several_under_one_name(driver: Driver, tmp_path: Path) -> None:
    """Aim takes no list after a single image; here both are lists."""
    one, several = tmp_path / "one.npy", tmp_path / "several.npy"
    np.save(one, np.zeros((2, 2, 3), np.uint8))
    np.save(several, np.zeros((3, 2, 2, 3), np.uint8))
    await driver.export(medium(ImageLogged, one, "npy", layout="HWC"))
    await driver.export(ImageLogged(NOW, "m", str(several), 1, 0, True, 2, (), "npy", "NHWC", ("a", "b")))
    found = sequence(open_run(driver.options.path, driver.hash), "images")
    assert [(step, [image.caption for image in images]) for _, step, images in found] == [
        (1, [""]),
        (2, ["a", "b", ""]),
    ]


async def test_audio_has_its_caption_and_rate(driver: Driver, tmp_path: Path) -> None:
    """As a WAV file of 16-bit samples."""
    import wave

    path = tmp_path / "a.npy"
    np.save(path, np.array([0, 100, -100], np.int16))
    await driver.export(medium(AudioLogged, path, "npy", sample_rate=8_000, caption="a tone"))
    ((_, _, audio),) = sequence(open_run(driver.options.path, driver.hash), "audios")
    assert audio.json() == {"caption": "a tone", "format": "wav"}
    with wave.open(io.BytesIO(audio.get().read())) as sound:
        assert (sound.getframerate(), sound.readframes(3)) == (8_000, np.array([0, 100, -100], "<i2").tobytes())


def described(folder: Path) -> MediaLogged:
    """An embedding with columns and images."""
    path = folder / "e.npz"
    labels, columns = json.dumps([["a", "<1>"], ["b", "2"]]), json.dumps(["name", "number"])
    np.savez(
        path,
        vectors=np.eye(2),
        images=np.zeros((2, 3, 5)),
        labels=np.frombuffer(labels.encode(), np.uint8),
        columns=np.frombuffer(columns.encode(), np.uint8),
    )
    return medium(EmbeddingLogged, path, "npz", layout="NHW")


async def test_columns_and_images_of_an_embedding(driver: Driver, tmp_path: Path) -> None:
    """All columns are shown where a point is pointed at, as text; the images are an artifact."""
    assert not await driver.export(described(tmp_path))
    ((_, _, figure),) = sequence(open_run(driver.options.path, driver.hash), "figures")
    (trace,) = json.loads(figure.data)["data"]
    assert trace["text"] == ["a", "b"]
    assert trace["hovertext"] == ["name: a<br>number: &lt;1&gt;", "name: b<br>number: 2"]
    (sheet,) = Path(driver.options.path, ".aim", "artifacts").rglob("media/m/step_1.sprites.png")
    assert sheet.read_bytes().startswith(b"\x89PNG")


async def test_an_embedding_is_shown_where_there_is_no_place_for_its_images(
    drive: Callable[..., Driver], server: AimServer, tmp_path: Path
) -> None:
    """With a server that has no place for files its images are lost, which is counted, and the rest is shown."""
    driver = drive(server.address)
    await driver.open()
    (reason,) = (await driver.export(described(tmp_path))).values()
    assert "images of an embedding are not kept" in reason
    (shown,) = recorded(str(server.folder), driver.info.id).media
    assert isinstance(shown.content, media.Embedding)
    assert (shown.content.columns, shown.beside) == (["name", "number"], [])
