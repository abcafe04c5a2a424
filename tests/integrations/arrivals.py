"""What tests of integrations look at: the journals of the runs that were made, and what MLflow has of them."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # before MLflow is imported, here and in the delivery processes

from tracelet.codec import decode
from tracelet.events import Event, Lane, MetricsLogged, ModelLogged, ParamsLogged, RunFinished
from tracelet.journal import LogReader, RunDirectory
from tracelet.status import read_status

QUIET = ("ignore::DeprecationWarning:mlflow", "ignore::FutureWarning:mlflow")
"""For `pytest.mark.filterwarnings`: what MLflow's own client sets off."""


class Journal:
    """All runs in a folder, as their journals have them."""

    def __init__(self, store: Path) -> None:
        self._runs = store / "runs"

    def runs(self) -> list[Path]:
        return sorted(self._runs.iterdir()) if self._runs.exists() else []

    def events(self, *kinds: type[Event]) -> list[Any]:
        """Those of all runs and writers in order, the stream's first; all of them, or those of some kinds."""
        found: list[Event] = []
        for directory in map(RunDirectory, self.runs()):
            for writer in directory.writers():
                for lane in Lane:
                    with LogReader(directory.log(writer, lane)) as reader:
                        frames = reader.read(10**6, 10**9, final=False)
                        found += map(decode, frames.words, frames.payloads)
        return [event for event in found if not kinds or isinstance(event, kinds)]

    def points(self) -> list[tuple[str, Any, int]]:
        return [(name, value, e.step) for e in self.events(MetricsLogged) for name, value in e.values.items()]

    def steps(self, name: str) -> list[int]:
        return [step for one, _, step in self.points() if one == name]

    def repeated(self) -> list[tuple[str, int]]:
        """The metrics that came more than once at one step."""
        counts = Counter((name, step) for name, _, step in self.points())
        return [key for key, count in counts.items() if count > 1]

    def params(self) -> dict[str, Any]:
        """All parameters; one that was stated twice fails."""
        found: dict[str, Any] = {}
        for event in self.events(ParamsLogged):
            assert not found.keys() & event.values.keys()
            found |= event.values
        return found

    def models(self) -> list[Any]:
        return self.events(ModelLogged)

    def outcomes(self) -> list[str]:
        return [event.outcome for event in self.events(RunFinished)]


def new_database(folder: Path) -> str:
    """The URI of an MLflow database with its schema, which takes seconds to make, more at a delivery's priority."""
    from mlflow import MlflowClient

    uri = f"sqlite:///{folder}/mlflow.db"
    MlflowClient(tracking_uri=uri).search_experiments()
    return uri


class Arrived:
    """What MLflow's own client finds of the only run of a project, once all of the journals has been delivered."""

    def __init__(self, uri: str, project: str, journal: Journal) -> None:
        from mlflow import MlflowClient

        end = time.monotonic() + 150  # a busy machine has little left for delivery, which is the lowest in priority
        while any(read_status(RunDirectory(run)).pending.get("mlflow") for run in journal.runs()):
            assert time.monotonic() < end
            time.sleep(0.05)
        client = MlflowClient(tracking_uri=uri)
        experiment = client.get_experiment_by_name(project)
        assert experiment is not None
        (run,) = client.search_runs([experiment.experiment_id])
        self.status = run.info.status
        self.name = run.info.run_name
        self.params = dict(run.data.params)
        self.points = sorted(
            (name, point.value, point.step)
            for name in run.data.metrics
            for point in client.get_metric_history(run.info.run_id, name)
        )
        found = client.search_logged_models([experiment.experiment_id])
        self.models = {model.tags["tracelet.name"]: model for model in found}
