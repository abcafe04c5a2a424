"""The reader, beyond what the conformance suite reads with it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import anyio.to_thread
import msgspec
import numpy as np
import pytest
import tracelet_clearml.readback
from clearml_driver import NOW, Driver
from clearml_stub import StubServer
from tracelet_clearml import Options
from tracelet_clearml.readback import read

from tracelet.backend import Outcome
from tracelet.events import (
    ArtifactLogged,
    ConsoleLine,
    FigureLogged,
    ImageLogged,
    MetricsLogged,
    ModelLogged,
    TableLogged,
    TextLogged,
)
from tracelet.readback import Recorded, Shown, reader

pytestmark = pytest.mark.anyio

Drive = Callable[..., Driver]


@pytest.fixture
def offline(tmp_path: Path) -> Options:
    return Options(offline=True, offline_folder=str(tmp_path / "offline"))


@pytest.fixture(params=["online", "offline"])
def either(request: pytest.FixtureRequest) -> Options:
    name = {"online": "options", "offline": "offline"}[request.param]
    options: Options = request.getfixturevalue(name)
    return options


async def reading(driver: Driver) -> Recorded:
    return await anyio.to_thread.run_sync(read, driver.options, driver.info.id)


def saved(path: Path, content: bytes) -> tuple[str, int, int]:
    """A file, as events have it."""
    path.write_bytes(content)
    return str(path), len(content), path.stat().st_mtime_ns


def test_it_is_found_by_the_backends_name() -> None:
    """The plugin offers it as an entry point."""
    assert reader("clearml") is read


def test_a_run_that_is_not_there_is_a_lookup_error(either: Options) -> None:
    """The message says where it was looked for."""
    with pytest.raises(LookupError, match=f"{either.offline_folder or either.api_host} has no .* of the run no-such"):
        read(either, "no-such")


async def test_the_options_alone_are_enough(
    drive: Drive, stub: StubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hosts and keys reach the SDK's session, and a file server that wants to know who reads; nothing of it stays."""
    from clearml import Task

    driver = drive()
    await driver.open()
    await driver.export(MetricsLogged(NOW, {"m": 0.5}, 1))
    await driver.export(ArtifactLogged(NOW, "file", *saved(tmp_path / "file", b"content")))
    for name in ("API_HOST", "WEB_HOST", "FILES_HOST", "API_ACCESS_KEY", "API_SECRET_KEY"):
        monkeypatch.delenv(f"CLEARML_{name}")
    monkeypatch.setattr(stub, "private", True)
    session, environment = Task._default_session, dict(os.environ)
    found = await reading(driver)
    assert (found.points, found.artifacts) == ([("m", 0.5, 1)], {"file": b"content"})
    assert Task._default_session is session
    assert dict(os.environ) == environment


async def test_files_are_read_from_other_storage(drive: Drive, options: Options, tmp_path: Path) -> None:
    """What isn't on ClearML's file server, the SDK gets."""
    driver = drive(msgspec.structs.replace(options, output_uri=str(tmp_path / "storage")))
    await driver.open()
    await driver.export(
        ArtifactLogged(NOW, "deep/file", *saved(tmp_path / "file", b"content")),
        ArtifactLogged(NOW, "archive.zip", *saved(tmp_path / "archive.zip", b"not one")),
        ModelLogged(NOW, "net", *saved(tmp_path / "net", b"weights")),
    )
    found = await reading(driver)
    assert found.artifacts == {"deep/file": b"content", "archive.zip": b"not one"}
    assert found.models == {"net": {"": b"weights"}}


async def test_more_than_a_page_is_read(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines and samples are asked for until there are no more, in order, several of one time too."""
    monkeypatch.setattr(tracelet_clearml.readback, "_PAGE", 3)
    driver = drive()
    await driver.open()
    lines = [f"line {number}" for number in range(10)]
    await driver.export(*(ConsoleLine(NOW + number // 4, line) for number, line in enumerate(lines)))
    await driver.export(*(TextLogged(NOW, "note", f"text {step}", step) for step in range(7)))
    found = await reading(driver)
    assert found.console == lines
    assert found.texts == [f"text {step}" for step in range(7)]


async def test_a_figure_like_a_table_is_a_figure(drive: Drive, either: Options, tmp_path: Path) -> None:
    """What the user drew isn't taken for what the plugin draws, and nothing that it refers to is asked for."""
    text = '{"data":[{"type":"table","header":{"values":["a"]},"cells":{"values":[[1]]}}],'
    text += '"layout":{"images":[{"source":"https://example.org/logo.png"}]}}'
    path = tmp_path / "table"
    path.write_bytes(msgspec.msgpack.encode({"columns": ["a"], "rows": [[1]]}))
    driver = drive(either)
    await driver.open()
    await driver.export(
        FigureLogged(NOW, "same", *saved(tmp_path / "figure", text.encode()), True, 3, format="plotly"),
        TableLogged(NOW, "same", str(path), path.stat().st_size, path.stat().st_mtime_ns, True, 3, format="msgpack"),
    )
    figure, table = sorted((await reading(driver)).media, key=lambda shown: shown.kind.__name__)
    assert figure == Shown(FigureLogged, "same", 3, text)
    assert (table.kind, table.name) == (TableLogged, "same")


async def test_images_of_one_event_are_one_medium(drive: Drive, either: Options, tmp_path: Path) -> None:
    """In their order, also beyond nine."""
    from PIL import Image

    path = tmp_path / "images.npy"
    np.save(path, np.arange(11, dtype=np.uint8).repeat(4).reshape(11, 2, 2, 1))
    size, time = path.stat().st_size, path.stat().st_mtime_ns
    driver = drive(either)
    await driver.open()
    await driver.export(ImageLogged(NOW, "val/x", str(path), size, time, True, 3, format="npy", layout="NHWC"))
    (shown,) = (await reading(driver)).media
    assert (shown.kind, shown.name, shown.step) == (ImageLogged, "val/x", 3)
    assert isinstance(shown.content, list)
    for number, content in enumerate(shown.content):
        (tmp_path / "read.png").write_bytes(content)
        with Image.open(tmp_path / "read.png") as image:
            assert image.getpixel((0, 0)) == number
    assert len(shown.content) == 11


async def test_a_session_is_read_as_the_import_would(drive: Drive, offline: Options, tmp_path: Path) -> None:
    """A batch that came twice counts once, half a line not at all; a folder that was moved is read where it is."""
    driver = drive(offline)
    await driver.open()
    for value in (1.0, 2.0):
        await driver.export(MetricsLogged(NOW, {"m": value}, 1))
    await driver.export(ArtifactLogged(NOW, "file", *saved(tmp_path / "file", b"content")))
    await driver.backend.finish(Outcome.FAILED, NOW)
    moved = tmp_path / "moved"
    Path(offline.offline_folder or "").rename(moved)
    with (moved / driver.task / "metrics.jsonl").open("ab") as file:
        file.write(b'[{"type": "half')
    found = read(Options(offline=True, offline_folder=str(moved)), driver.info.id)
    assert (found.runs, found.points, found.artifacts) == (1, [("m", 2.0, 1)], {"file": b"content"})
    assert (found.outcome, found.ended) == (Outcome.FAILED, int(NOW))


async def test_the_sdk_downloads_what_was_uploaded(drive: Drive, tmp_path: Path) -> None:
    """The reader gets files itself, while users get them by the SDK: artifacts, models, and folders of models."""
    from clearml import Task

    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "file").write_bytes(b"in a folder")
    driver = drive()
    await driver.open()
    await driver.export(
        ArtifactLogged(NOW, "deep/größe 100%?.bin", *saved(tmp_path / "file", b"content")),
        ModelLogged(NOW, "a/net", *saved(tmp_path / "net", b"weights")),
        ModelLogged(NOW, "large", str(folder), 0, folder.stat().st_mtime_ns),
    )

    def download() -> tuple[bytes, bytes, bytes]:
        task = Task.get_task(task_id=driver.task)
        (artifact,) = task.artifacts.values()
        net, large = task.models["output"]
        package = Path(large.get_weights_package(return_path=True, force_download=True))
        files = [Path(artifact.get_local_copy()), Path(net.get_weights()), package / "deep" / "file"]
        first, second, third = (file.read_bytes() for file in files)
        return first, second, third

    assert await anyio.to_thread.run_sync(download) == (b"content", b"weights", b"in a folder")
