"""Models and their registry: what MLflow's users do with them works."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from driver import NOW, Driver
from tracelet_mlflow.readback import model_files

from tracelet.backend import Batch
from tracelet.errors import Rejected, Transient
from tracelet.events import ModelLogged, ModelRegistered
from tracelet.testing import Answer, FaultyServer, LoseReply

pytestmark = pytest.mark.anyio

Drive = Callable[..., Driver]
Read = Callable[[str], Any]


@pytest.fixture
def anyio_backend() -> str:
    """One event loop is enough here: the conformance suite runs on both."""
    return "asyncio"


def model(path: Path, name: str = "net", **more: Any) -> ModelLogged:
    found = path.stat()
    return ModelLogged(NOW, name, str(path), found.st_size, found.st_mtime_ns, True, **more)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "net"
    (place / "weights").mkdir(parents=True)
    (place / "config.json").write_text("{}")
    (place / "weights" / "0 ü.bin").write_bytes(bytes(100))
    return place


def logged(client: Any, driver: Driver) -> list[Any]:
    """The models that the run made, the oldest first."""
    run = client.get_run(driver.run_id)
    found = client.search_logged_models([run.info.experiment_id])
    return sorted((one for one in found if one.source_run_id == driver.run_id), key=lambda one: one.creation_timestamp)


async def test_a_model_is_a_logged_model(drive: Drive, read: Read, tracking_uri: str, folder: Path) -> None:
    """It is ready, of its run and step, with its metadata as params, and MLflow can read its descriptor."""
    from mlflow.models import Model

    driver = drive(tracking_uri)
    await driver.open()
    event = model(folder, step=7, framework="pytorch", metadata={"accuracy": 0.9, "layers": [1, 2]})
    assert await driver.export(event) == {}
    client = read(tracking_uri)
    (found,) = logged(client, driver)
    assert (found.name, str(found.status)) == ("net", "READY")
    assert found.params == {"accuracy": "0.9", "layers": "[1, 2]"}
    assert (found.tags["tracelet.name"], found.tags["tracelet.framework"]) == ("net", "pytorch")
    (output,) = client.get_run(driver.run_id).outputs.model_outputs
    assert (output.model_id, output.step) == (found.model_id, 7)
    files = model_files(found.artifact_location, tracking_uri, str(folder.parent / "down"))
    assert set(files) == {"config.json", "weights/0 ü.bin", "MLmodel"}
    descriptor = Model.load(str(next((folder.parent / "down").rglob("MLmodel"))))
    assert (descriptor.model_id, descriptor.run_id) == (found.model_id, driver.run_id)
    assert descriptor.metadata["accuracy"] == 0.9


async def test_a_models_own_descriptor_stays(drive: Drive, read: Read, tracking_uri: str, folder: Path) -> None:
    """A folder that MLflow saved keeps its MLmodel file, so that MLflow can load it."""
    (folder / "MLmodel").write_text("flavors: {}\n")
    driver = drive(tracking_uri)
    await driver.open()
    await driver.export(model(folder))
    (found,) = logged(read(tracking_uri), driver)
    files = model_files(found.artifact_location, tracking_uri, str(folder.parent / "down"))
    assert files["MLmodel"] == b"flavors: {}\n"


async def test_a_models_file_has_a_name(drive: Drive, read: Read, tracking_uri: str, tmp_path: Path) -> None:
    """A model of one file has it under the name it was logged by, which needs a change to be a model's."""
    (tmp_path / "0001.pt").write_bytes(b"x")
    driver = drive(tracking_uri)
    await driver.open()
    assert await driver.export(model(tmp_path / "0001.pt", "checkpoints/best.pt"), model(tmp_path / "0001.pt")) == {}
    found = logged(read(tracking_uri), driver)
    assert [one.tags["tracelet.name"] for one in found] == ["checkpoints/best.pt", "net"]
    assert found[0].name.startswith("checkpoints_best_pt-")
    for number, (one, name) in enumerate(zip(found, ("best.pt", "net.pt"), strict=True)):
        files = model_files(one.artifact_location, tracking_uri, str(tmp_path / f"down{number}"))
        assert set(files) == {name, "MLmodel"}


async def test_a_version_is_found_by_its_alias(drive: Drive, read: Read, tracking_uri: str, folder: Path) -> None:
    """The alias leads to the version, the version to the model and the run, and its files can be downloaded by it."""
    import mlflow
    from mlflow.artifacts import download_artifacts

    driver = drive(tracking_uri)
    await driver.open()
    name = f"classifier {uuid.uuid4()}"
    event = ModelRegistered(NOW, name, "net", ("champion", "newest"), "the first")
    assert await driver.export(model(folder), event) == {}
    client = read(tracking_uri)
    version = client.get_model_version_by_alias(name, "champion")
    (found,) = logged(client, driver)
    assert (str(version.version), version.run_id, version.description) == ("1", driver.run_id, "the first")
    assert found.model_id in version.source
    mlflow.set_tracking_uri(tracking_uri)  # which a URI of the registry is looked up in
    place = download_artifacts(f"models:/{name}@newest")
    assert (Path(place) / "weights" / "0 ü.bin").read_bytes() == bytes(100)
    assert name in found.tags["mlflow.modelVersions"]


async def test_registering_makes_versions_of_one_model(
    drive: Drive, read: Read, tracking_uri: str, folder: Path
) -> None:
    """Runs share a registered model; each registration is a version of the model that was the latest then."""
    name = f"classifier {uuid.uuid4()}"
    registered = ModelRegistered(NOW, name, "net", ("champion",))
    versions: list[str] = []
    client = read(tracking_uri)
    for _ in range(2):
        driver = drive(tracking_uri)
        await driver.open()
        batch = driver.batch(model(folder), registered, model(folder), registered)
        for _ in range(2):
            await driver.backend.export(batch)
        found = sorted(client.search_model_versions(f"run_id = '{driver.run_id}'"), key=lambda one: int(one.version))
        versions += [str(one.version) for one in found]
        models = logged(client, driver)
        assert [model.model_id in one.source for model, one in zip(models, found, strict=True)] == [True, True]
    assert versions == ["1", "2", "3", "4"]
    assert str(client.get_model_version_by_alias(name, "champion").version) == "4"


async def test_a_late_registration_is_of_the_model_that_was_meant(
    drive: Drive, read: Read, tracking_uri: str, folder: Path
) -> None:
    """A registration that is tried again after a later model of the same name is a version of the earlier one."""
    driver = drive(tracking_uri)
    await driver.open()
    name = f"classifier {uuid.uuid4()}"
    whole = driver.batch(model(folder), ModelRegistered(NOW, name, "net"), model(folder))
    for place in (0, 2, 1):
        part = Batch(whole.writer, whole.lane, [whole.events[place]], [whole.sequences[place]])
        await driver.backend.export(part)
    client = read(tracking_uri)
    (version,) = client.search_model_versions(f"run_id = '{driver.run_id}'")
    tags = {one.model_id: one.tags["tracelet.event"] for one in logged(client, driver)}
    (meant,) = (model_id for model_id, event in tags.items() if event == "writer/bulk/0")
    assert meant in version.source


async def test_a_crash_under_way_makes_no_second_of_anything(
    drive: Drive, read: Read, proxy: FaultyServer, folder: Path
) -> None:
    """Whatever reply is lost while a model is logged and registered, there is one model, one link and one version."""
    paths = ("logged-models", "runs/outputs", "registered-models/create", "model-versions/create", "/alias")
    for path in paths:
        driver = drive(proxy.url)
        await driver.open()
        name = f"classifier {uuid.uuid4()}"
        batch = driver.batch(model(folder), ModelRegistered(NOW, name, "net", ("champion",)))
        proxy.fail(LoseReply(), when=lambda request: request.path.endswith(path))  # noqa: B023 - used at once
        with pytest.raises(Transient):
            await driver.backend.export(batch)
        proxy.heal()
        again = drive(proxy.url, id=driver.info.id, project=driver.info.project)
        await again.open({"run_id": driver.run_id})
        await again.backend.export(batch)
        client = read(proxy.url)
        assert len(logged(client, driver)) == 1
        assert len(client.get_run(driver.run_id).outputs.model_outputs) == 1
        assert len(client.search_model_versions(f"run_id = '{driver.run_id}'")) == 1
        assert str(client.get_model_version_by_alias(name, "champion").version) == "1"


async def test_a_model_that_was_not_logged_is_rejected(
    drive: Drive, read: Read, tracking_uri: str, folder: Path
) -> None:
    """What can't be registered is dead-lettered by itself, and says why."""
    driver = drive(tracking_uri)
    await driver.open()
    with pytest.raises(Rejected, match="no model 'other'") as caught:
        await driver.export(ModelRegistered(NOW, f"c {uuid.uuid4()}", "other"), model(folder))
    assert caught.value.indexes == frozenset({0})
    assert len(logged(read(tracking_uri), driver)) == 1


async def test_a_server_without_logged_models_says_so(drive: Drive, proxy: FaultyServer, folder: Path) -> None:
    """A server of before MLflow 3 takes no model: that is said once, and holds up nothing; what is no answer is tried
    again."""
    driver = drive(proxy.url)
    await driver.open()
    unknown = Answer(404, {"Content-Type": "text/html"}, b"<title>404 Not Found</title>")
    proxy.fail(unknown, when=lambda request: "logged-models" in request.path, for_ever=True)
    with pytest.raises(Transient, match="is not an MLflow server"):
        await driver.export(model(folder))
    proxy.fail(Answer(200, body=b"2.22.1"), when=lambda request: request.path == "/version")
    with pytest.raises(Rejected, match=r"since version 3: .* is 2\.22\.1"):
        await driver.export(model(folder))


async def test_awkward_names_are_changed_and_counted(drive: Drive, read: Read, tracking_uri: str, folder: Path) -> None:
    """Names and aliases that MLflow refuses arrive changed; what they meant is still told apart."""
    driver = drive(tracking_uri)
    await driver.open()
    unique = uuid.uuid4()
    aliases = ("v1", "latest", "a b", "")
    degraded = await driver.export(model(folder, 'a"b'), ModelRegistered(NOW, f"team/net:{unique}", 'a"b', aliases))
    assert list(degraded) == [1]
    (version,) = read(tracking_uri).search_model_versions(f"run_id = '{driver.run_id}'")
    assert version.name.startswith(f"team_net_{unique}-")
    assert len(read(tracking_uri).get_registered_model(version.name).aliases) == len(aliases)


async def test_much_metadata_costs_nothing(drive: Drive, read: Read, tracking_uri: str, folder: Path) -> None:
    """Beyond what MLflow takes as params, metadata are in the descriptor, and that is counted."""
    driver = drive(tracking_uri)
    await driver.open()
    metadata = {f"m{number}": number for number in range(150)} | {"long": "x" * 20_000}
    odd = {"nan": float("nan"), "huge": 2**100, "a@b": None}
    assert set(await driver.export(model(folder, "much", metadata=metadata), model(folder, "odd", metadata=odd))) == {
        0,
        1,
    }
    first, second = logged(read(tracking_uri), driver)
    assert (len(first.params), len(second.params)) == (100, 3)


async def test_an_empty_folder_is_no_model(drive: Drive, tracking_uri: str, tmp_path: Path) -> None:
    """A folder without files is rejected."""
    (tmp_path / "empty").mkdir()
    driver = drive(tracking_uri)
    await driver.open()
    with pytest.raises(Rejected, match="has no files"):
        await driver.export(model(tmp_path / "empty"))
