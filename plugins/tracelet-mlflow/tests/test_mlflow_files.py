"""Texts and artifacts: where they are in MLflow, and what happens to bad ones."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from driver import NOW, Driver

from tracelet.errors import Rejected, Transient
from tracelet.events import ArtifactLogged, TextLogged
from tracelet.testing import Answer, FaultyServer

pytestmark = pytest.mark.anyio

Drive = Callable[..., Driver]
Read = Callable[[str], Any]


def artifact(path: Path, name: str, copied: bool = True) -> ArtifactLogged:
    found = path.stat()
    return ArtifactLogged(NOW, name, str(path), found.st_size, found.st_mtime_ns, copied)


def content(client: Any, run_id: str, path: str, folder: Path) -> bytes:
    folder.mkdir(exist_ok=True)
    return Path(client.download_artifacts(run_id, path, str(folder))).read_bytes()


async def test_texts_are_files(drive: Drive, read: Read, tracking_uri: str, tmp_path: Path) -> None:
    """A text is a file named by its name, step and context, in UTF-8."""
    driver = drive(tracking_uri)
    await driver.open()
    assert (
        await driver.export(
            TextLogged(NOW, "note", "Größe 学習\n"),
            TextLogged(NOW, "samples/out.md", "# a", 7),
            TextLogged(NOW, "samples/out.md", "# b", 7, (("subset", "val"),)),
        )
        == {}
    )
    client = read(tracking_uri)
    read_back = {
        path: content(client, driver.run_id, path, tmp_path / "down").decode()
        for path in ("note.txt", "samples/out/step_7.md", "samples/out subset=val/step_7.md")
    }
    assert list(read_back.values()) == ["Größe 学習\n", "# a", "# b"]


async def test_a_text_of_the_same_name_and_step_replaces(
    drive: Drive, read: Read, tracking_uri: str, tmp_path: Path
) -> None:
    """The last text of a name and step stays; those it replaced in a batch are counted."""
    driver = drive(tracking_uri)
    await driver.open()
    assert set(await driver.export(*[TextLogged(NOW, "note", text) for text in ("a", "b", "c")])) == {0, 1}
    assert content(read(tracking_uri), driver.run_id, "note.txt", tmp_path / "down") == b"c"


async def test_an_artifact_has_its_name_not_its_files(
    drive: Drive, read: Read, tracking_uri: str, tmp_path: Path
) -> None:
    """A file is stored under the event's name, byte for byte, and again over itself."""
    driver = drive(tracking_uri)
    await driver.open()
    blob = tmp_path / "3f2a"
    blob.write_bytes(os.urandom(3_000_000))
    event = artifact(blob, "checkpoints/épo 1+&;=/model.bin")
    for _ in range(2):
        assert await driver.export(event) == {}
    client = read(tracking_uri)
    assert content(client, driver.run_id, event.name, tmp_path / "down") == blob.read_bytes()
    assert [file.path for file in client.list_artifacts(driver.run_id)] == ["checkpoints"]


async def test_an_empty_file_is_a_file(drive: Drive, read: Read, tracking_uri: str, tmp_path: Path) -> None:
    """A file without content arrives."""
    driver = drive(tracking_uri)
    await driver.open()
    (tmp_path / "empty").touch()
    await driver.export(artifact(tmp_path / "empty", "empty.bin"))
    assert content(read(tracking_uri), driver.run_id, "empty.bin", tmp_path / "down") == b""


async def test_no_name_escapes_from_the_run(drive: Drive, read: Read, tracking_uri: str, tmp_path: Path) -> None:
    """Artifacts with dangerous names arrive inside the run, each on its own, and are counted as degraded."""
    driver = drive(tracking_uri)
    await driver.open()
    blob = tmp_path / "blob"
    blob.write_bytes(b"x")
    names = ["../../../escaped", "/absolute", "a\0b", "", "..", "a/../../b", "a%2e%2e/b", "q?x#y", "n\nl"]
    assert set(await driver.export(*[artifact(blob, name) for name in names])) == set(range(len(names)))
    found = _all_files(read(tracking_uri), driver.run_id)
    assert len(found) == len(names)
    assert not [path for path in found if ".." in path]


def _all_files(client: Any, run_id: str, folder: str | None = None) -> list[str]:
    files: list[str] = []
    for file in client.list_artifacts(run_id, folder):
        files += _all_files(client, run_id, file.path) if file.is_dir else [file.path]
    return files


async def test_only_what_can_not_be_read_is_rejected(
    drive: Drive, read: Read, tracking_uri: str, tmp_path: Path
) -> None:
    """A file that is missing, or none, is rejected by its event; the others of the batch arrive."""
    driver = drive(tracking_uri)
    await driver.open()
    blob = tmp_path / "blob"
    blob.write_bytes(b"x")
    missing = ArtifactLogged(NOW, "missing", str(tmp_path / "nowhere"), 1, 1)
    with pytest.raises(Rejected, match="No such file") as caught:
        await driver.export(artifact(blob, "first"), missing, artifact(tmp_path, "folder"), artifact(blob, "last"))
    assert caught.value.indexes == frozenset({1, 2})
    assert _all_files(read(tracking_uri), driver.run_id) == ["first", "last"]


async def test_a_file_that_changed_is_counted(drive: Drive, tracking_uri: str, tmp_path: Path) -> None:
    """A file taken without a copy that is not as it was when it was logged is uploaded as found, and degraded."""
    driver = drive(tracking_uri)
    await driver.open()
    blob = tmp_path / "blob"
    blob.write_bytes(b"x")
    same, other = artifact(blob, "same", copied=False), artifact(blob, "other", copied=False)
    assert await driver.export(same) == {}
    blob.write_bytes(b"longer")
    assert "changed" in (await driver.export(other))[0]


async def test_a_file_in_the_place_of_a_folder_holds_up_nothing(
    drive: Drive, read: Read, tracking_uri: str, tmp_path: Path
) -> None:
    """A name that is a file and would have to be a folder too is rejected by its event."""
    driver = drive(tracking_uri)
    await driver.open()
    blob = tmp_path / "blob"
    blob.write_bytes(b"x")
    await driver.export(artifact(blob, "model"))
    with pytest.raises(Rejected) as caught:
        await driver.export(artifact(blob, "model/weights"), artifact(blob, "other"))
    assert caught.value.indexes == frozenset({0})
    assert _all_files(read(tracking_uri), driver.run_id) == ["model", "other"]


async def test_an_interrupted_batch_goes_on_where_it_was(drive: Drive, proxy: FaultyServer, tmp_path: Path) -> None:
    """When the server fails in the middle of a batch of files, the next attempt sends only those that are missing."""
    driver = drive(proxy.url)
    await driver.open()
    blob = tmp_path / "blob"
    blob.write_bytes(b"x")
    batch = driver.batch(*[artifact(blob, f"file{i}") for i in range(3)])
    proxy.fail(Answer(503), when=lambda request: request.path.endswith("file1"))
    with pytest.raises(Transient):
        await driver.backend.export(batch)
    await driver.backend.export(batch)
    sent = [request.path[-5:] for request in proxy.requests if request.method == "PUT"]
    assert sent == ["file0", "file1", "file1", "file2"]


async def test_a_server_that_does_not_proxy_artifacts(drive: Drive, read: Read, server: str, tmp_path: Path) -> None:
    """Where the run's artifacts are not the server's business, they go to where they are stored."""
    driver = drive(server)
    read(server).create_experiment(driver.info.project, artifact_location=f"file://{tmp_path}/store")
    await driver.open()
    blob = tmp_path / "blob"
    blob.write_bytes(b"x")
    await driver.export(artifact(blob, "a/b.bin"))
    await driver.export(TextLogged(NOW, "note", "hello"))
    root = tmp_path / "store" / driver.run_id / "artifacts"
    assert ((root / "a/b.bin").read_bytes(), (root / "note.txt").read_text()) == (b"x", "hello")
