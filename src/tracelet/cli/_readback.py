"""How the demo asks a backend, by the backend's own means, what it has of a run."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from tracelet.cli._content import Content
from tracelet.cli._digits import PROJECT

Options = Mapping[str, Any]


class ReadBack(msgspec.Struct, frozen=True):
    """What the demo knows of a backend.

    Attributes:
        client: what it is asked through.
        options: from the demo's directory, the backend's.
        finished: its word for a run that was completed.
        read: from the resolved options, a run's id, and the names of its texts, what is there. It raises LookupError
            if there is no such run.
        viewer: from the resolved options, the command that shows the runs; None if the link is enough.
    """

    client: str
    options: Callable[[Path], dict[str, Any]]
    finished: str
    read: Callable[[Options, str, set[str]], Content]
    viewer: Callable[[Options], str | None]


def _mlflow_options(directory: Path) -> dict[str, Any]:
    if os.environ.get("MLFLOW_TRACKING_URI"):
        return {}
    return {"tracking_uri": f"sqlite:///{directory / 'mlflow.db'}"}


def _read_mlflow(options: Options, run_id: str, texts: set[str]) -> Content:
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=options["tracking_uri"])
    experiment = client.get_experiment_by_name(PROJECT)
    if experiment is None:
        raise LookupError(f"no experiment {PROJECT!r}")
    runs = client.search_runs([experiment.experiment_id], f"tags.`tracelet.run_id` = '{run_id}'")
    if len(runs) != 1:
        raise LookupError(f"{len(runs)} runs with the tag tracelet.run_id = {run_id}")
    run = runs[0]
    files = dict(_mlflow_files(client, run.info.run_id))
    return Content(
        points=Counter(
            (point.key, point.step, point.value)
            for key in run.data.metrics
            for point in client.get_metric_history(run.info.run_id, key)
        ),
        params=Counter(run.data.params.items()),
        texts=Counter((name, data.decode()) for name, data in files.items() if name in texts),
        files=Counter((name, data) for name, data in files.items() if name not in texts),
        status=Counter([("status", run.info.status)]),
    )


def _mlflow_files(client: Any, run_id: str, folder: str | None = None) -> Iterator[tuple[str, bytes]]:
    for entry in client.list_artifacts(run_id, folder):
        if entry.is_dir:
            yield from _mlflow_files(client, run_id, entry.path)
            continue
        with TemporaryDirectory() as place:
            yield entry.path, Path(client.download_artifacts(run_id, entry.path, place)).read_bytes()


def _mlflow_viewer(options: Options) -> str | None:
    uri = options["tracking_uri"]
    return None if uri.startswith("http") else shlex.join([_script("mlflow"), "ui", "--backend-store-uri", uri])


READ_BACK = {
    "mlflow": ReadBack(
        client="mlflow.MlflowClient",
        options=_mlflow_options,
        finished="FINISHED",
        read=_read_mlflow,
        viewer=_mlflow_viewer,
    ),
}
"""By backend."""


def _script(name: str) -> str:
    """What to type for a command that was installed beside this Python, also where that is not on the PATH."""
    beside = Path(sys.executable).with_name(name)
    return name if shutil.which(name) == str(beside) or not beside.exists() else os.path.relpath(beside)
