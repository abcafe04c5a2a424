"""The conformance suite for backends, over a real server and a real database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
from tracelet_mlflow import MLflow, Options

from tracelet.backend import Outcome
from tracelet.testing.conformance import BackendConformance, Recorded

_OUTCOMES = {"FINISHED": Outcome.COMPLETED, "FAILED": Outcome.FAILED, "KILLED": Outcome.KILLED}


class TestMLflow(BackendConformance):
    backend = MLflow
    sdks = ("mlflow", "httpx")

    @pytest.fixture
    def options(self, tracking_uri: str) -> Options:
        return Options(tracking_uri=tracking_uri)

    async def read(self, options: Any, run_id: str) -> Recorded:
        return await anyio.to_thread.run_sync(_read, options.uri, run_id)


def _read(uri: str, run_id: str) -> Recorded:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(experiments, filter_string=f"tags.`tracelet.run_id` = '{run_id}'")
    run = runs[0]
    found = Recorded(runs=len(runs), params=run.data.params, tags=run.data.tags)
    found.outcome = _OUTCOMES.get(run.info.status)
    found.ended = None if run.info.end_time is None else run.info.end_time / 1000
    for name in run.data.metrics:
        if not name.startswith("wide/"):
            found.points += [(name, m.value, m.step) for m in client.get_metric_history(run.info.run_id, name)]
        else:
            found.points.append((name, run.data.metrics[name], 0))
    for path in _files(client, run.info.run_id, None):
        content = Path(client.download_artifacts(run.info.run_id, path)).read_bytes()
        found.artifacts[path] = content
        if path.endswith(".txt") and content:
            found.texts.append(content.decode())
    return found


def _files(client: Any, run_id: str, folder: str | None) -> list[str]:
    files: list[str] = []
    for file in client.list_artifacts(run_id, folder):
        files += _files(client, run_id, file.path) if file.is_dir else [file.path]
    return files
