"""MLflow's SDK in the thread for blocking calls: SQL stores, and servers whose requests only the SDK can sign."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

import mlflow.entities
import mlflow.store.db.utils
import msgspec
import requests
import sqlalchemy.exc
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from tracelet.backend import BlockingCalls
from tracelet.errors import Rejected, TraceletError, Transient
from tracelet_mlflow._datasets import DatasetInput
from tracelet_mlflow._errors import NotFound, failure
from tracelet_mlflow._records import Entry, Point, R, Table
from tracelet_mlflow._sdk_registry import SdkRegistry
from tracelet_mlflow._transport import Experiment, NewRun, Place, Run, tag_filter

_TEMPORARY = (
    sqlalchemy.exc.OperationalError,
    sqlalchemy.exc.InterfaceError,
    sqlalchemy.exc.TimeoutError,
    requests.exceptions.RequestException,
)
_STORAGE_CLIENTS = frozenset(("boto3", "botocore", "google", "azure", "urllib3", "paramiko", "pysftp"))
"""The packages through which MLflow reaches artifact stores, and whose errors it lets through."""

P = ParamSpec("P")
T = TypeVar("T")


class SdkTransport:
    """Speaks through an MlflowClient; built in the blocking thread, since a new database gets its schema here.

    Args:
        artifact_root: for a new database, the folder of the experiment "Default" that MLflow makes in it; its own
            choice would be in the working directory.
    """

    def __init__(self, uri: str, blocking: BlockingCalls, artifact_root: str | None = None) -> None:
        _leave_retries_to_the_core()
        self._blocking = blocking
        self._is_local = urlsplit(uri).scheme.partition("+")[0] in ("sqlite", "postgresql", "mysql", "mssql")
        if artifact_root is not None:
            self._guarded(SqlAlchemyStore, uri, artifact_root)
        self._client: Any = self._guarded(MlflowClient, tracking_uri=uri)
        self.registry = SdkRegistry(self._client, self._call)

    async def find_experiment(self, name: str) -> Experiment | None:
        found = await self._call(self._client.get_experiment_by_name, name)
        return None if found is None else Experiment(found.experiment_id, found.lifecycle_stage)

    async def create_experiment(self, name: str, artifact_location: str | None) -> None:
        await self._call(self._client.create_experiment, name, artifact_location=artifact_location)

    async def get_run(self, run_id: str) -> Run | None:
        try:
            return _run(await self._call(self._client.get_run, run_id))
        except NotFound:
            return None

    async def get_tags(self, run_id: str) -> dict[str, str]:
        return dict((await self._call(self._client.get_run, run_id)).data.tags)

    async def search_runs(self, experiment_id: str, tag: str, value: str) -> list[Run]:
        found = await self._call(
            self._client.search_runs,
            [experiment_id],
            filter_string=tag_filter(tag, value),
            run_view_type=mlflow.entities.ViewType.ALL,
            max_results=10,
        )
        return [_run(run) for run in found]

    async def create_run(self, new: NewRun) -> Run:
        return _run(
            await self._call(
                self._client.create_run,
                new.experiment_id,
                start_time=new.start_time,
                tags=new.tags,
                run_name=new.run_name,
            )
        )

    async def update_run(self, run_id: str, status: str, end_time: int | None) -> None:
        if end_time is None:
            await self._call(self._client.update_run, run_id, status=status)
        else:
            await self._call(self._client.set_terminated, run_id, status=status, end_time=end_time)

    async def log(self, run_id: str, table: Table, records: Sequence[R]) -> None:
        await self._call(self._log, run_id, table, records)

    async def log_input(self, run_id: str, dataset: DatasetInput) -> None:
        entity = mlflow.entities.DatasetInput(
            mlflow.entities.Dataset(**msgspec.structs.asdict(dataset.dataset)),
            [mlflow.entities.InputTag(tag.key, tag.value) for tag in dataset.tags],
        )
        await self._call(self._client.log_inputs, run_id, [entity])

    async def upload(self, place: Place, path: str, source: bytes | Path) -> None:
        await self._call(self._upload, place, path, source)

    async def download(self, run: Run, path: str) -> bytes | None:
        return await self._call(self._download, run.run_id, path)

    async def aclose(self) -> None:
        """Nothing: the SDK keeps its connections for the process."""

    def _log(self, run_id: str, table: Table, records: Sequence[R]) -> None:
        self._client.log_batch(run_id, **{table: _entities(table, records)})

    def _upload(self, place: Place, path: str, source: bytes | Path) -> None:
        """Through a link or file of the wanted name, because the SDK keeps the name that a file has."""
        folder, _, name = path.rpartition("/")
        with TemporaryDirectory(prefix="tracelet-mlflow-") as temporary:
            named = Path(temporary, name)
            if isinstance(source, bytes):
                named.write_bytes(source)
            else:
                named.symlink_to(source)
            if isinstance(place, Run):
                self._client.log_artifact(place.run_id, str(named), folder or None)
            else:
                self._client.log_model_artifact(place.model_id, str(named), folder or None)

    def _download(self, run_id: str, path: str) -> bytes | None:
        files = self._client.list_artifacts(run_id, path.rpartition("/")[0])
        if not any(file.path == path and not file.is_dir for file in files):
            return None
        with TemporaryDirectory(prefix="tracelet-mlflow-") as temporary:
            return Path(self._client.download_artifacts(run_id, path, temporary)).read_bytes()

    async def _call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._blocking(self._guarded, function, *args, **kwargs)

    def _guarded(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except MlflowException as error:
            raise self._translated(error) from error
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise Rejected(f"a file and a folder of one name: {error}") from error
        except _TEMPORARY as error:
            raise Transient(f"{type(error).__name__}: {error}") from error
        except Exception as error:
            if type(error).__module__.partition(".")[0] in _STORAGE_CLIENTS:
                raise Transient(f"artifact store: {type(error).__name__}: {error}") from error
            raise

    def _translated(self, error: MlflowException) -> TraceletError:
        """As over HTTP; but an internal error of a store in this process is about the data, not about a server."""
        reason = f"{error.error_code}: {error.message}"
        if self._is_local and error.error_code == "INTERNAL_ERROR":
            return Rejected(reason)
        return failure(error.get_http_status_code(), error.error_code, reason)


def _leave_retries_to_the_core() -> None:
    """The core retries, and can be seen doing it; the SDK's own retries would take minutes inside one call."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    mlflow.store.db.utils.MAX_RETRY_COUNT = 1  # it has no variable, and sleeps for 100 s before a database is given up


def _run(run: Any) -> Run:
    info = run.info
    return Run(info.run_id, info.experiment_id, info.status, info.artifact_uri, info.lifecycle_stage)


def _entities(table: Table, records: Sequence[Point | Entry]) -> list[Any]:
    if table == "metrics":
        metric = mlflow.entities.Metric
        return [metric(one.key, float(one.value), one.timestamp, one.step) for one in records if isinstance(one, Point)]
    kind = mlflow.entities.Param if table == "params" else mlflow.entities.RunTag
    return [kind(one.key, one.value) for one in records]
