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
import requests
import sqlalchemy.exc
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from tracelet.backend import BlockingCalls
from tracelet.errors import Rejected, TraceletError, Transient
from tracelet_mlflow._convert import Metric, Record, Table
from tracelet_mlflow._errors import NotFound, failure
from tracelet_mlflow._transport import Experiment, NewRun, Run, tag_filter

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
    """Speaks through an MlflowClient; built in the blocking thread, since a new database gets its schema here."""

    def __init__(self, uri: str, blocking: BlockingCalls) -> None:
        _leave_retries_to_the_core()
        self._blocking = blocking
        self._is_local = urlsplit(uri).scheme.partition("+")[0] in ("sqlite", "postgresql", "mysql", "mssql")
        self._client: Any = self._guarded(MlflowClient, tracking_uri=uri)

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

    async def log(self, run_id: str, table: Table, records: Sequence[Record]) -> None:
        await self._call(self._log, run_id, table, records)

    async def upload(self, run: Run, path: str, source: bytes | Path) -> None:
        await self._call(self._upload, run.run_id, path, source)

    async def aclose(self) -> None:
        """Nothing: the SDK keeps its connections for the process."""

    def _log(self, run_id: str, table: Table, records: Sequence[Record]) -> None:
        self._client.log_batch(run_id, **{table: [_entity(table, record) for record in records]})

    def _upload(self, run_id: str, path: str, source: bytes | Path) -> None:
        """Through a link or file of the wanted name, because the SDK keeps the name that a file has."""
        folder, _, name = path.rpartition("/")
        with TemporaryDirectory(prefix="tracelet-mlflow-") as temporary:
            named = Path(temporary, name)
            if isinstance(source, bytes):
                named.write_bytes(source)
            else:
                named.symlink_to(source)
            self._client.log_artifact(run_id, str(named), folder or None)

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


def _entity(table: Table, record: Record) -> Any:
    if isinstance(record, Metric):
        return mlflow.entities.Metric(record.key, record.value, record.timestamp, record.step)
    kind = mlflow.entities.Param if table == "params" else mlflow.entities.RunTag
    return kind(record.key, record.value)
