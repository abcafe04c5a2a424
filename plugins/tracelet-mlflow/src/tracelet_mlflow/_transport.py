"""The two ways to MLflow behind one interface: its REST API, and its SDK."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TypeAlias

import msgspec

from tracelet.backend import BlockingCalls
from tracelet_mlflow._datasets import DatasetInput
from tracelet_mlflow._options import Options
from tracelet_mlflow._records import R, Table
from tracelet_mlflow._registry import LoggedModel, Registry


class Experiment(msgspec.Struct, frozen=True):
    """What MLflow calls a group of runs."""

    experiment_id: str
    lifecycle_stage: str = "active"


class Run(msgspec.Struct, frozen=True):
    """A run as MLflow has it."""

    run_id: str
    experiment_id: str
    status: str
    artifact_uri: str
    lifecycle_stage: str = "active"


class NewRun(msgspec.Struct, frozen=True):
    """A run to be created; `start_time` is in milliseconds."""

    experiment_id: str
    run_name: str
    start_time: int
    tags: dict[str, str]


Place: TypeAlias = Run | LoggedModel
"""What has files."""


class Transport(Protocol):
    """What the backend asks of MLflow. Every method raises what `Backend.export` may raise."""

    @property
    def registry(self) -> Registry:
        """What is asked about models."""

    async def find_experiment(self, name: str) -> Experiment | None: ...

    async def create_experiment(self, name: str, artifact_location: str | None) -> None:
        """Raises AlreadyExists if somebody else was faster."""

    async def get_run(self, run_id: str) -> Run | None: ...

    async def search_runs(self, experiment_id: str, tag: str, value: str) -> list[Run]:
        """The runs with a tag, the deleted among them."""

    async def create_run(self, new: NewRun) -> Run: ...

    async def update_run(self, run_id: str, status: str, end_time: int | None) -> None: ...

    async def get_tags(self, run_id: str) -> dict[str, str]: ...

    async def log(self, run_id: str, table: Table, records: Sequence[R]) -> None:
        """All the records, or none of them if one is refused."""

    async def log_input(self, run_id: str, dataset: DatasetInput) -> None:
        """Say that the run reads a dataset; MLflow keeps the first of equal name and digest."""

    async def upload(self, place: Place, path: str, source: bytes | Path) -> None:
        """Create or replace a file."""

    async def download(self, run: Run, path: str) -> bytes | None:
        """The content of a file of the run; None if there is no such file."""

    async def aclose(self) -> None: ...


async def connect(options: Options, blocking: BlockingCalls) -> Transport:
    """The REST API where its credentials are plain headers; else the SDK, in the thread for blocking calls."""
    if options.is_http:
        from tracelet_mlflow._http import find_access
        from tracelet_mlflow._rest import RestTransport

        access = await blocking(find_access, options.uri)
        if access is not None:
            return RestTransport(access, options.uri, blocking)
    return await blocking(_sdk_transport, options, blocking)


def _sdk_transport(options: Options, blocking: BlockingCalls) -> Transport:
    from tracelet_mlflow._sdk import SdkTransport

    is_new = options.database is not None and not options.database.exists()
    return SdkTransport(options.uri, blocking, options.new_artifact_root if is_new else None)


def tag_filter(tag: str, value: str) -> str:
    """A filter in MLflow's search syntax."""
    quote = '"' if "'" in value else "'"
    return f"tags.`{tag}` = {quote}{value}{quote}"
