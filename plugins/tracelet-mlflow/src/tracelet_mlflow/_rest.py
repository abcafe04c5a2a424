"""MLflow's REST API through httpx and msgspec: no SDK between an event and its request."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import msgspec

from tracelet.backend import BlockingCalls
from tracelet.errors import Rejected
from tracelet_mlflow._datasets import DatasetInput
from tracelet_mlflow._errors import NotFound
from tracelet_mlflow._http import Access, Http, InternalServerError, Nothing
from tracelet_mlflow._records import Entry, R, Table
from tracelet_mlflow._rest_registry import RestRegistry
from tracelet_mlflow._transport import Experiment, NewRun, Place, Run, Transport, tag_filter

_PIECE = 1 << 20


class _ExperimentAnswer(msgspec.Struct):
    experiment: Experiment


class _Data(msgspec.Struct):
    tags: list[Entry] = []


class _FoundRun(msgspec.Struct):
    info: Run
    data: _Data = msgspec.field(default_factory=_Data)


class _RunAnswer(msgspec.Struct):
    run: _FoundRun


class _RunsAnswer(msgspec.Struct):
    runs: list[_FoundRun] = []


class _File(msgspec.Struct):
    path: str
    is_dir: bool = False


class _FilesAnswer(msgspec.Struct):
    files: list[_File] = []


class RestTransport:
    """Speaks to a tracking server. Artifacts that it doesn't proxy go through the SDK to where they are stored."""

    def __init__(self, access: Access, uri: str, blocking: BlockingCalls) -> None:
        self._http = Http(access)
        self._uri = uri
        self._blocking = blocking
        self._sdk: Transport | None = None
        self.registry = RestRegistry(self._http)

    async def find_experiment(self, name: str) -> Experiment | None:
        try:
            answer = await self._http.get("experiments/get-by-name", _ExperimentAnswer, experiment_name=name)
        except NotFound:
            return None
        return answer.experiment

    async def create_experiment(self, name: str, artifact_location: str | None) -> None:
        body = {"name": name} | ({} if artifact_location is None else {"artifact_location": artifact_location})
        await self._http.post("experiments/create", body, Nothing)

    async def get_run(self, run_id: str) -> Run | None:
        try:
            answer = await self._http.get("runs/get", _RunAnswer, run_id=run_id)
        except NotFound:
            return None
        return answer.run.info

    async def get_tags(self, run_id: str) -> dict[str, str]:
        answer = await self._http.get("runs/get", _RunAnswer, run_id=run_id)
        return {tag.key: tag.value for tag in answer.run.data.tags}

    async def search_runs(self, experiment_id: str, tag: str, value: str) -> list[Run]:
        body = {
            "experiment_ids": [experiment_id],
            "filter": tag_filter(tag, value),
            "run_view_type": "ALL",
            "max_results": 10,
        }
        answer = await self._http.post("runs/search", body, _RunsAnswer)
        return [run.info for run in answer.runs]

    async def create_run(self, new: NewRun) -> Run:
        body = msgspec.to_builtins(new)
        body["tags"] = [{"key": key, "value": value} for key, value in new.tags.items()]
        answer = await self._http.post("runs/create", body, _RunAnswer)
        return answer.run.info

    async def update_run(self, run_id: str, status: str, end_time: int | None) -> None:
        body = {"run_id": run_id, "status": status} | ({} if end_time is None else {"end_time": end_time})
        await self._http.post("runs/update", body, Nothing)

    async def log(self, run_id: str, table: Table, records: Sequence[R]) -> None:
        body: dict[str, Any] = {"run_id": run_id, table: records}
        await self._http.post("runs/log-batch", body, Nothing)

    async def log_input(self, run_id: str, dataset: DatasetInput) -> None:
        await self._http.post("runs/log-inputs", {"run_id": run_id, "datasets": [dataset]}, Nothing)

    async def upload(self, place: Place, path: str, source: bytes | Path) -> None:
        root = _proxied(place)
        if root is None:
            await (await self._through_sdk()).upload(place, path, source)
            return
        try:
            if isinstance(source, bytes):
                await self._http.put_file(f"{root}/{path}", source, len(source))
            else:
                with await self._blocking(source.open, "rb") as file:
                    await self._http.put_file(f"{root}/{path}", self._pieces(file), os.fstat(file.fileno()).st_size)
        except InternalServerError:
            if isinstance(place, Run):
                await self._require_place(place, path)
            raise

    async def download(self, run: Run, path: str) -> bytes | None:
        root = _proxied(run)
        if root is None:
            return await (await self._through_sdk()).download(run, path)
        if not await self._is_file(run, path):  # the server answers 500 for what is not there
            return None
        return await self._http.get_file(f"{root}/{path}")

    async def aclose(self) -> None:
        await self._http.aclose()

    async def _is_file(self, run: Run, path: str) -> bool:
        parent = path.rpartition("/")[0]
        return any(file.path == path and not file.is_dir for file in await self._files(run, parent))

    async def _files(self, run: Run, folder: str) -> list[_File]:
        return (await self._http.get("artifacts/list", _FilesAnswer, run_id=run.run_id, path=folder)).files

    async def _require_place(self, run: Run, path: str) -> None:
        """Raises Rejected if a folder is where the file would be, or a file where one of its folders would be.

        A server that keeps artifacts in a file system answers that with a 500, for ever.
        """
        parts = path.split("/")
        for depth in range(1, len(parts) + 1):
            here, parent = "/".join(parts[:depth]), "/".join(parts[: depth - 1])
            files = await self._files(run, parent)
            if any(file.path == here and file.is_dir == (here == path) for file in files):
                raise Rejected(f"{path}: MLflow has {here!r} as a {'folder' if here == path else 'file'} already")

    async def _through_sdk(self) -> Transport:
        if self._sdk is None:
            self._sdk = await self._blocking(self._make_sdk)
        return self._sdk

    def _make_sdk(self) -> Transport:
        from tracelet_mlflow._sdk import SdkTransport

        return SdkTransport(self._uri, self._blocking)

    async def _pieces(self, file: IO[bytes]) -> AsyncIterator[bytes]:
        while piece := await self._blocking(file.read, _PIECE):
            yield piece


def _proxied(place: Place) -> str | None:
    """The path under which the server proxies the place's files, if it does."""
    root = urlsplit(place.artifact_uri)
    return root.path if root.scheme == "mlflow-artifacts" and not root.netloc else None
