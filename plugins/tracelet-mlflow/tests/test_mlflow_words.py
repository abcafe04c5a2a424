"""Notes, datasets and nested runs: where MLflow's users look for them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from driver import NOW, Driver

from tracelet.backend import ParentRun
from tracelet.events import DatasetUsed, NoteSet, TagsSet

pytestmark = pytest.mark.anyio

Drive = Callable[..., Driver]
Read = Callable[[str], Any]


@pytest.fixture
def anyio_backend() -> str:
    """One event loop is enough here: the conformance suite runs on both."""
    return "asyncio"


DIGITS = DatasetUsed(
    NOW,
    "digits",
    "https://example.org/digits.csv",
    "abc123",
    "training",
    {"x": "float32", "label": "int64", "odd": "complex64"},
    {"rows": 1797, "huge": 2**70, "missing": float("nan")},
)


async def test_a_note_is_the_runs_description(drive: Drive, read: Read, tracking_uri: str) -> None:
    """The last note is where MLflow has the description; one that is too long is cut, and counted."""
    driver = drive(tracking_uri)
    await driver.open()
    assert await driver.export(NoteSet(NOW, "first"), TagsSet(NOW, {"t": "1"}), NoteSet(NOW, "# second")) == {}
    assert read(tracking_uri).get_run(driver.run_id).data.tags["mlflow.note.content"] == "# second"
    assert "8000 characters: cut" in (await driver.export(NoteSet(NOW, "x" * 9_000)))[0]
    assert read(tracking_uri).get_run(driver.run_id).data.tags["mlflow.note.content"] == "x" * 8_000


async def test_the_state_of_the_code_is_where_mlflow_shows_it(drive: Drive, read: Read, tracking_uri: str) -> None:
    """Commit, branch and remote have their own tags, and those that MLflow's run page looks at."""
    driver = drive(tracking_uri)
    await driver.open()
    said = {"git.commit": "63fb7d8", "git.branch": "main", "git.remote": "https://host/x.git", "git.dirty": "true"}
    assert await driver.export(TagsSet(NOW, said)) == {}
    tags = read(tracking_uri).get_run(driver.run_id).data.tags
    shown = {name.removeprefix("mlflow.source."): tags[name] for name in tags if name.startswith("mlflow.source.git")}
    assert shown == {"git.commit": "63fb7d8", "git.branch": "main", "git.repoURL": "https://host/x.git"}
    assert said.items() <= tags.items()


async def test_a_dataset_is_an_input_that_mlflow_understands(drive: Drive, read: Read, tracking_uri: str) -> None:
    """MLflow's own reader finds the source; schema, profile and role are where `mlflow.log_input` puts them."""
    from mlflow.data import get_source

    driver = drive(tracking_uri)
    await driver.open()
    assert await driver.export(DIGITS) == {}
    (used,) = read(tracking_uri).get_run(driver.run_id).inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("digits", "abc123")
    assert {tag.key: tag.value for tag in used.tags} == {"mlflow.data.context": "training"}
    assert get_source(used).url == "https://example.org/digits.csv"
    columns = [(column["name"], column["type"]) for column in json.loads(used.dataset.schema)["mlflow_colspec"]]
    assert columns == [("x", "float"), ("label", "long"), ("odd", "complex64")]
    profile = {"num_rows": 1797, "rows": 1797, "huge": str(2**70), "missing": "nan"}
    assert json.loads(used.dataset.profile) == profile


@pytest.mark.parametrize(
    ("source", "kind", "said"),
    [
        ("/data/digits.csv", "local", {"uri": "/data/digits.csv"}),
        ("s3://bucket/digits", "s3", {"uri": "s3://bucket/digits"}),
        ("http://host/digits", "http", {"url": "http://host/digits"}),
        ("", "code", {"tags": {}}),
    ],
)
async def test_a_source_has_a_type(
    drive: Drive, read: Read, tracking_uri: str, source: str, kind: str, said: dict[str, Any]
) -> None:
    """Where a dataset lies is said in the form of MLflow's own sources, which reads it again."""
    from mlflow.data import get_source

    driver = drive(tracking_uri)
    await driver.open()
    assert await driver.export(DatasetUsed(NOW, "digits", source)) == {}
    (used,) = read(tracking_uri).get_run(driver.run_id).inputs.dataset_inputs
    assert (used.dataset.source_type, json.loads(used.dataset.source)) == (kind, said)
    assert get_source(used)._get_source_type() == kind


async def test_datasets_are_told_apart_by_what_is_known(drive: Drive, read: Read, tracking_uri: str) -> None:
    """Without a digest the other facts make one; of a long one the whole is in a tag; a second time changes nothing."""
    driver = drive(tracking_uri)
    await driver.open()
    long = "sha256:" + "0123456789abcdef" * 4
    events = [DatasetUsed(NOW, "d", f"/data/{n}") for n in range(2)]
    events += [DatasetUsed(NOW, "d", "/data", long), DatasetUsed(NOW, "d", "/data", f"{long}0")]
    for _ in range(2):
        assert await driver.export(*events) == {}
    found = read(tracking_uri).get_run(driver.run_id).inputs.dataset_inputs
    assert len({used.dataset.digest for used in found}) == len(found) == 4
    assert sorted(tag.value for used in found for tag in used.tags) == [long, f"{long}0"]


async def test_a_dataset_in_two_roles_is_counted(drive: Drive, tracking_uri: str) -> None:
    """MLflow keeps one role of a dataset: the second is declared."""
    driver = drive(tracking_uri)
    await driver.open()
    events = [DatasetUsed(NOW, "d", "/data", "1", role) for role in ("training", "evaluation", "training")]
    assert await driver.export(*events) == {1: "a dataset in a second role: MLflow keeps the first"}


async def test_a_dataset_too_large_to_describe_costs_nothing(drive: Drive, read: Read, tracking_uri: str) -> None:
    """Beyond MLflow's limits a dataset arrives without what doesn't fit, and that is counted."""
    driver = drive(tracking_uri)
    await driver.open()
    schema = {f"column {number}": "float32" for number in range(30_000)}
    events = [DatasetUsed(NOW, "n" * 1_000), DatasetUsed(NOW, "s", "x" * 70_000), DatasetUsed(NOW, "c", schema=schema)]
    assert set(await driver.export(*events)) == {0, 1, 2}
    found = read(tracking_uri).get_run(driver.run_id).inputs.dataset_inputs
    assert sorted(used.dataset.name for used in found) == ["c", "n" * 500, "s"]


async def test_a_child_is_nested_under_its_parent(drive: Drive, read: Read, tracking_uri: str) -> None:
    """MLflow finds a run's children by the tag that its pages nest them by."""
    parent = drive(tracking_uri)
    state = await parent.open()
    child = drive(tracking_uri, project=parent.info.project, parent=ParentRun(parent.info.id, "parent", state))
    await child.open()
    client = read(tracking_uri)
    children = client.search_runs([state["experiment_id"]], f"tags.`mlflow.parentRunId` = '{parent.run_id}'")
    assert [run.info.run_id for run in children] == [child.run_id]
    orphan = drive(tracking_uri, parent=ParentRun(uuid.uuid4().hex, "parent", None))
    await orphan.open()
    assert "mlflow.parentRunId" not in client.get_run(orphan.run_id).data.tags
