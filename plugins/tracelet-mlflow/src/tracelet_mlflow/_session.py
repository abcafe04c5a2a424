"""One opened run in MLflow: found or created, delivered to, and ended."""

from __future__ import annotations

import getpass
import os
from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit

from tracelet.backend import Batch, Opened, Outcome, RunInfo, State
from tracelet.errors import Denied, Transient
from tracelet.events import Lane
from tracelet_mlflow._errors import AlreadyExists
from tracelet_mlflow._export import require_active
from tracelet_mlflow._lanes import BulkLane, StreamLane
from tracelet_mlflow._names import artifact_path
from tracelet_mlflow._options import Options
from tracelet_mlflow._transport import Experiment, NewRun, Run, Transport, connect

RUN_ID_TAG = "tracelet.run_id"
PARENT_TAG = "mlflow.parentRunId"
_STATUS = {Outcome.COMPLETED: "FINISHED", Outcome.FAILED: "FAILED", Outcome.KILLED: "KILLED"}


class Session:
    """The methods are those of `tracelet.Backend`."""

    def __init__(self, options: Options, run: RunInfo) -> None:
        self._options = options
        self._info = run
        self._transport: Transport | None = None
        self._run: Run | None = None
        self._lanes: dict[Lane, StreamLane | BulkLane] = {}

    async def open(self, state: State | None) -> Opened:
        await self.close()
        self._transport = transport = await connect(self._options, self._info.blocking)
        try:
            run = await self._find_or_create(transport, state)
            require_active(run)
            if run.status != "RUNNING":
                await transport.update_run(run.run_id, "RUNNING", None)
        except BaseException:
            await self.close()
            raise
        self._run = run
        self._lanes = {
            Lane.STREAM: StreamLane(transport, run),
            Lane.BULK: BulkLane(transport, run, self._info.blocking),
        }
        return Opened(_state(run), self._link(run))

    async def export(self, batch: Batch) -> None:
        await self._lanes[batch.lane].export(batch)

    async def finish(self, outcome: Outcome, time: float) -> None:
        transport, run = self._opened()
        await transport.update_run(run.run_id, _STATUS[outcome], int(time * 1000))

    async def close(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.aclose()

    async def _find_or_create(self, transport: Transport, state: State | None) -> Run:
        """The run by its MLflow id, else by its tag, since a crash may have come before the id was stored."""
        if state is not None and (known := await transport.get_run(state["run_id"])):
            return known
        experiment = await self._find_experiment(transport) or await self._create_experiment(transport)
        found = await transport.search_runs(experiment.experiment_id, RUN_ID_TAG, self._info.id)
        if found:
            return min(found, key=lambda run: run.lifecycle_stage != "active")
        return await self._create(transport, experiment)

    async def _create(self, transport: Transport, experiment: Experiment) -> Run:
        tags = {
            RUN_ID_TAG: self._info.id,
            "mlflow.user": _user(),
            "mlflow.source.name": self._options.source_name or "",
            "mlflow.source.type": "LOCAL",
        }
        parent = self._info.parent
        if parent is not None and parent.state is not None:
            tags[PARENT_TAG] = parent.state["run_id"]
        new = NewRun(experiment.experiment_id, self._info.name, int(self._info.started * 1000), tags)
        run = await transport.create_run(new)
        self._info.save_state(_state(run))
        return run

    async def _find_experiment(self, transport: Transport) -> Experiment | None:
        experiment = await transport.find_experiment(self._info.project)
        if experiment is not None and experiment.lifecycle_stage != "active":
            raise Denied(
                f"the MLflow experiment {self._info.project!r} was deleted: restore it (mlflow experiments restore "
                f"--experiment-id {experiment.experiment_id}), or choose another project"
            )
        return experiment

    async def _create_experiment(self, transport: Transport) -> Experiment:
        name = self._info.project
        root = self._options.new_artifact_root
        with suppress(AlreadyExists):  # another run of the project was faster
            await transport.create_experiment(name, None if root is None else f"{root}/{artifact_path(name).text}")
        experiment = await self._find_experiment(transport)
        if experiment is None:
            raise Transient(f"MLflow doesn't list the experiment {name!r} that was just created")
        return experiment

    def _link(self, run: Run) -> str | None:
        """The run's page in MLflow's own interface; a database has none until somebody runs `mlflow ui` on it."""
        if not self._options.is_http:
            return None
        parts = urlsplit(self._options.uri)
        base = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        return f"{base}/#/experiments/{run.experiment_id}/runs/{run.run_id}"

    def _opened(self) -> tuple[Transport, Run]:
        assert self._transport is not None, "open comes first"
        assert self._run is not None, "open comes first"
        return self._transport, self._run


def _state(run: Run) -> State:
    return {"run_id": run.run_id, "experiment_id": run.experiment_id}


def _user() -> str:
    """Who MLflow's SDK would say it is."""
    try:
        return os.environ.get("MLFLOW_TRACKING_USERNAME") or getpass.getuser()
    except (ImportError, KeyError, OSError):  # a container whose user has no name
        return "unknown"
