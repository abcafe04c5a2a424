"""Runs: created once, found again, ended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from driver import NOW, Driver, blocking
from tracelet_mlflow import MLflow, Options

import tracelet
from tracelet.backend import Outcome, RunInfo
from tracelet.errors import Denied
from tracelet.events import MetricsLogged

pytestmark = pytest.mark.anyio

Drive = Callable[..., Driver]
Read = Callable[[str], Any]


def runs_of(client: Any, project: str) -> list[Any]:
    from mlflow.entities import ViewType

    experiment = client.get_experiment_by_name(project)
    return list(client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL))


async def test_a_run_looks_as_mlflow_users_expect(drive: Drive, read: Read, tracking_uri: str) -> None:
    """Experiment, name, start, user and source are set, and the state holds MLflow's ids."""
    driver = drive(tracking_uri)
    state = await driver.open()
    run = read(tracking_uri).get_run(driver.run_id)
    experiment = read(tracking_uri).get_experiment(run.info.experiment_id)
    assert experiment.name == driver.info.project
    assert (run.info.run_name, run.info.status, run.info.start_time) == ("a run", "RUNNING", int(NOW * 1000))
    assert state == {"run_id": run.info.run_id, "experiment_id": experiment.experiment_id}
    assert driver.saved == [state]
    assert run.data.tags["tracelet.run_id"] == driver.info.id
    assert run.data.tags["mlflow.user"]
    assert run.data.tags["mlflow.source.name"] == Options().source_name != ""
    assert run.data.tags["mlflow.source.type"] == "LOCAL"


async def test_the_link_leads_to_the_run(drive: Drive, server: str, database: str) -> None:
    """A server's run has its page as link, without the password of the URI; a database has none."""
    parts = urlsplit(server)
    driver = drive(f"http://user:secret@{parts.netloc}/")
    opened = await driver.backend.open(None)
    assert opened.url == f"{server}/#/experiments/{opened.state['experiment_id']}/runs/{opened.state['run_id']}"
    assert (await drive(database).backend.open(None)).url is None


@pytest.mark.parametrize("knows_state", [True, False], ids=["with its id", "by its tag"])
async def test_opening_again_finds_the_run(drive: Drive, read: Read, tracking_uri: str, knows_state: bool) -> None:
    """A second open, also without the state that a crash may have cost, gives the same run and creates none."""
    first = drive(tracking_uri)
    state = await first.open()
    again = drive(tracking_uri, id=first.info.id, project=first.info.project)
    assert await again.open(state if knows_state else None) == state
    assert len(runs_of(read(tracking_uri), first.info.project)) == 1


async def test_a_state_of_another_store_does_not_matter(drive: Drive, read: Read, tracking_uri: str) -> None:
    """An id that the store doesn't know is no reason to fail: the run is looked for by its tag, then created."""
    driver = drive(tracking_uri)
    await driver.open({"run_id": "0" * 32, "experiment_id": "77"})
    assert [run.info.run_id for run in runs_of(read(tracking_uri), driver.info.project)] == [driver.run_id]


@pytest.mark.parametrize("outcome", list(Outcome))
async def test_the_outcome_is_recorded(drive: Drive, read: Read, tracking_uri: str, outcome: Outcome) -> None:
    """completed is FINISHED, failed is FAILED, killed is KILLED, at the time it ended."""
    driver = drive(tracking_uri)
    await driver.open()
    await driver.export(MetricsLogged(NOW + 5, {"m": 1.0}, 0))
    await driver.backend.finish(outcome, NOW + 60)
    info = read(tracking_uri).get_run(driver.run_id).info
    expected = {"completed": "FINISHED", "failed": "FAILED", "killed": "KILLED"}
    assert info.status == expected[outcome.value]
    assert info.end_time == int((NOW + 60) * 1000)


async def test_a_finished_run_goes_on(drive: Drive, read: Read, tracking_uri: str) -> None:
    """A run that is opened again runs again, takes more, and ends again."""
    first = drive(tracking_uri)
    state = await first.open()
    await first.backend.finish(Outcome.FAILED, NOW + 60)
    again = drive(tracking_uri, id=first.info.id, project=first.info.project)
    await again.open(state)
    assert read(tracking_uri).get_run(first.run_id).info.status == "RUNNING"
    await again.export(MetricsLogged(NOW, {"m": 1.0}, 0))
    await again.backend.finish(Outcome.COMPLETED, NOW + 60)
    run = read(tracking_uri).get_run(first.run_id)
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"m": 1.0})


async def test_a_deleted_experiment_is_said_to_be_deleted(drive: Drive, read: Read, tracking_uri: str) -> None:
    """A project whose experiment is in MLflow's bin is refused with what to do about it."""
    client = read(tracking_uri)
    driver = drive(tracking_uri)
    client.delete_experiment(client.create_experiment(driver.info.project))
    with pytest.raises(Denied, match=r"was deleted: restore it .* or choose another project"):
        await driver.open()


async def test_a_deleted_run_is_said_to_be_deleted(drive: Drive, read: Read, tracking_uri: str) -> None:
    """Deleting the run in MLflow pauses delivery until it is restored; opening again makes no second run."""
    driver = drive(tracking_uri)
    state = await driver.open()
    read(tracking_uri).delete_run(driver.run_id)
    with pytest.raises(Denied, match="was deleted: restore it"):
        await driver.export(MetricsLogged(NOW, {"m": 1.0}, 0), MetricsLogged(NOW, {"m": 2.0}, 1))
    for known in (state, None):
        with pytest.raises(Denied, match="was deleted: restore it"):
            await drive(tracking_uri, id=driver.info.id, project=driver.info.project).open(known)
    read(tracking_uri).restore_run(driver.run_id)
    await driver.export(MetricsLogged(NOW, {"m": 3.0}, 2))
    assert read(tracking_uri).get_run(driver.run_id).data.metrics == {"m": 3.0}


async def test_an_odd_id_and_project_are_no_obstacle(drive: Drive, tracking_uri: str) -> None:
    """Quotes in the id, and spaces and letters of any language in the project, are found again."""
    names = {"id": "it's me", "project": f"Größe / 学習 'x' {id(drive)} {tracking_uri[-9:]}"}
    state = await drive(tracking_uri, **names).open()
    assert await drive(tracking_uri, **names).open() == state


async def test_a_new_database_keeps_its_artifacts_beside_it(
    tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database is created with its folder, and the artifacts lie beside it wherever the delivery process runs."""
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    info = RunInfo(
        id="r", name="r", project="../p", directory=tmp_path, started=NOW, blocking=blocking, save_state=lambda _: None
    )
    opened = await MLflow(Options(tracking_uri=uri), info).open(None)
    location = read(uri).get_run(opened.state["run_id"]).info.artifact_uri
    assert location.startswith(f"file://{tmp_path}/new/mlruns/")
    assert ".." not in location
    assert read(uri).get_experiment("0").artifact_location == f"file://{tmp_path}/new/mlruns/0"  # MLflow's "Default"
    assert list(elsewhere.iterdir()) == []


async def test_a_run_that_goes_on_with_other_params_keeps_the_first(
    read: Read, database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """MLflow's params can't change: a resumed run's other value is refused, counted and said; the rest arrives."""
    target = {"mlflow": {"tracking_uri": database}}
    place: Any = {"directory": tmp_path, "run_id": tmp_path.name, "resume": "allow", "host": "thread"}
    for lr in (0.1, 0.2):
        config = {"lr": lr, "layers": 3, f"only {lr}": True}
        async with tracelet.open_run(target, project=tmp_path.name, config=config, **place) as run:
            run.log_metric("m", lr)
            assert await run.flush(timeout=60)
    (found,) = runs_of(read(database), tmp_path.name)
    assert found.data.params == {"lr": "0.1", "layers": "3", "only 0.1": "True", "only 0.2": "True"}
    assert [(point.value, point.step) for point in read(database).get_metric_history(found.info.run_id, "m")] == [
        (0.1, 0),
        (0.2, 1),
    ]
    account = run.status().backends["mlflow"]
    assert (account.dead_lettered, account.pending, account.outcome) == (1, 0, "completed")
    assert "Changing param values is not allowed" in str(account.last_error)
    assert "1 refused (kept in " in capsys.readouterr().err.splitlines()[-1]
