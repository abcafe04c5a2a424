"""The two ways to MLflow behind one interface: its REST API, and its SDK."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from tracelet.backend import BlockingCalls
from tracelet_mlflow._convert import Record, Table
from tracelet_mlflow._options import Options


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


class Transport(Protocol):
    """What the backend asks of MLflow. Every method raises what `Backend.export` may raise."""

    async def find_experiment(self, name: str) -> Experiment | None: ...

    async def create_experiment(self, name: str, artifact_location: str | None) -> None:
        """Raises AlreadyExists if somebody else was faster."""

    async def get_run(self, run_id: str) -> Run | None: ...

    async def search_runs(self, experiment_id: str, tag: str, value: str) -> list[Run]:
        """The runs with a tag, the deleted among them."""

    async def create_run(self, new: NewRun) -> Run: ...

    async def update_run(self, run_id: str, status: str, end_time: int | None) -> None: ...

    async def log(self, run_id: str, table: Table, records: Sequence[Record]) -> None:
        """All the records, or none of them if one is refused."""

    async def upload(self, run: Run, path: str, source: bytes | Path) -> None:
        """Create or replace a file of the run."""

    async def aclose(self) -> None: ...


async def connect(options: Options, blocking: BlockingCalls) -> Transport:
    """The REST API where its credentials are plain headers; else the SDK, in the thread for blocking calls."""
    if options.is_http:
        from tracelet_mlflow._rest import RestTransport, find_access

        access = await blocking(find_access, options.uri)
        if access is not None:
            return RestTransport(access, options.uri, blocking)
    return await blocking(_sdk_transport, options.uri, blocking)


def _sdk_transport(uri: str, blocking: BlockingCalls) -> Transport:
    from tracelet_mlflow._sdk import SdkTransport

    return SdkTransport(uri, blocking)


def tag_filter(tag: str, value: str) -> str:
    """A filter in MLflow's search syntax."""
    quote = '"' if "'" in value else "'"
    return f"tags.`{tag}` = {quote}{value}{quote}"
