"""MLflow's REST API through httpx and msgspec: no SDK between an event and its request."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator, Sequence
from math import isfinite, isnan
from pathlib import Path
from typing import IO, Any, Literal, TypeVar
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import httpx
import msgspec

from tracelet.backend import BlockingCalls
from tracelet.errors import Rejected, Transient
from tracelet_mlflow._convert import Metric, Record, Table
from tracelet_mlflow._errors import NotFound, failure, parse_retry_after
from tracelet_mlflow._transport import Experiment, NewRun, Run, Transport, tag_filter

_API = "/api/2.0/mlflow/"
_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
_TIMEOUT = httpx.Timeout(30.0, connect=5.0)
_UPLOAD_TIMEOUT = httpx.Timeout(240.0, connect=5.0)
_PIECE = 1 << 20

T = TypeVar("T")


class Access(msgspec.Struct, frozen=True):
    """How a tracking server wants to be spoken to."""

    url: str
    headers: dict[str, str]
    auth: tuple[str, str] | None
    verify: ssl.SSLContext | bool


def find_access(uri: str) -> Access | None:
    """The server's credentials, from where MLflow itself finds them; None if only the SDK can sign its requests.

    As in the SDK, `user:password@` in the URI comes before MLFLOW_TRACKING_USERNAME, and that before the token.
    """
    from mlflow.tracking.request_header.registry import resolve_request_headers
    from mlflow.utils.credentials import get_default_host_creds

    creds = get_default_host_creds(uri)
    if creds.aws_sigv4 or creds.auth:
        return None
    headers = {str(name): str(value) for name, value in resolve_request_headers().items()}
    if workspace := os.environ.get("MLFLOW_WORKSPACE"):
        headers["X-MLFLOW-WORKSPACE"] = workspace
    parts = urlsplit(uri)
    auth: tuple[str, str] | None = None
    if parts.username is not None:
        auth = unquote(parts.username), unquote(parts.password or "")
    elif creds.username and creds.password:
        auth = creds.username, creds.password
    elif creds.token:
        headers["Authorization"] = f"Bearer {creds.token}"
    url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return Access(url, headers, auth, _tls(parts.scheme, creds.verify, creds.client_cert_path))


def _tls(scheme: str, verify: bool | str, client_cert: str | None) -> ssl.SSLContext | bool:
    """As `requests`, which the SDK uses: a bundle or a folder of authorities, its variables, a client certificate."""
    if scheme != "https":
        return True
    if verify is True:
        verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
    if isinstance(verify, str):
        is_folder = Path(verify).is_dir()
        context = ssl.create_default_context(capath=verify) if is_folder else ssl.create_default_context(cafile=verify)
    else:
        context = httpx.create_ssl_context(verify=verify)
    if client_cert is not None:
        context.load_cert_chain(client_cert)
    return context


class BrokenConnection(Transient):
    """Raised when a connection ends before the answer."""


class InternalServerError(Transient):
    """Raised when the server answers 500, which may be its own trouble or the request's."""


class _Error(msgspec.Struct):
    error_code: str
    message: str = ""


class _Nothing(msgspec.Struct):
    """The answer of a request that only stores something."""


class _ExperimentAnswer(msgspec.Struct):
    experiment: Experiment


class _RunData(msgspec.Struct):
    info: Run


class _RunAnswer(msgspec.Struct):
    run: _RunData


class _RunsAnswer(msgspec.Struct):
    runs: list[_RunData] = []


class _File(msgspec.Struct):
    path: str
    is_dir: bool = False


class _FilesAnswer(msgspec.Struct):
    files: list[_File] = []


class RestTransport:
    """Speaks to a tracking server. Artifacts that it doesn't proxy go through the SDK to where they are stored."""

    def __init__(self, access: Access, uri: str, blocking: BlockingCalls) -> None:
        self._client = httpx.AsyncClient(
            base_url=access.url, headers=access.headers, auth=access.auth, verify=access.verify, timeout=_TIMEOUT
        )
        self._url = access.url
        self._uri = uri
        self._blocking = blocking
        self._sdk: Transport | None = None

    async def find_experiment(self, name: str) -> Experiment | None:
        try:
            answer = await self._get("experiments/get-by-name", _ExperimentAnswer, experiment_name=name)
        except NotFound:
            return None
        return answer.experiment

    async def create_experiment(self, name: str, artifact_location: str | None) -> None:
        body = {"name": name} | ({} if artifact_location is None else {"artifact_location": artifact_location})
        await self._post("experiments/create", body, _Nothing)

    async def get_run(self, run_id: str) -> Run | None:
        try:
            answer = await self._get("runs/get", _RunAnswer, run_id=run_id)
        except NotFound:
            return None
        return answer.run.info

    async def search_runs(self, experiment_id: str, tag: str, value: str) -> list[Run]:
        body = {
            "experiment_ids": [experiment_id],
            "filter": tag_filter(tag, value),
            "run_view_type": "ALL",
            "max_results": 10,
        }
        answer = await self._post("runs/search", body, _RunsAnswer)
        return [run.info for run in answer.runs]

    async def create_run(self, new: NewRun) -> Run:
        body = msgspec.to_builtins(new)
        body["tags"] = [{"key": key, "value": value} for key, value in new.tags.items()]
        answer = await self._post("runs/create", body, _RunAnswer)
        return answer.run.info

    async def update_run(self, run_id: str, status: str, end_time: int | None) -> None:
        body = {"run_id": run_id, "status": status} | ({} if end_time is None else {"end_time": end_time})
        await self._post("runs/update", body, _Nothing)

    async def log(self, run_id: str, table: Table, records: Sequence[Record]) -> None:
        await self._post(
            "runs/log-batch", {"run_id": run_id, table: [_as_json(record) for record in records]}, _Nothing
        )

    async def upload(self, run: Run, path: str, source: bytes | Path) -> None:
        root = urlsplit(run.artifact_uri)
        if root.scheme != "mlflow-artifacts" or root.netloc:
            await self._upload_with_sdk(run, path, source)
            return
        try:
            if isinstance(source, bytes):
                await self._put(f"{root.path}/{path}", source, len(source))
            else:
                with await self._blocking(source.open, "rb") as file:
                    await self._put(f"{root.path}/{path}", self._pieces(file), os.fstat(file.fileno()).st_size)
        except InternalServerError:
            await self._require_place(run, path)
            raise

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _require_place(self, run: Run, path: str) -> None:
        """Raises Rejected if a folder is where the file would be, or a file where one of its folders would be.

        A server that keeps artifacts in a file system answers that with a 500, for ever.
        """
        parts = path.split("/")
        for depth in range(1, len(parts) + 1):
            here, parent = "/".join(parts[:depth]), "/".join(parts[: depth - 1])
            answer = await self._get("artifacts/list", _FilesAnswer, run_id=run.run_id, path=parent)
            if any(file.path == here and file.is_dir == (here == path) for file in answer.files):
                raise Rejected(f"{path}: MLflow has {here!r} as a {'folder' if here == path else 'file'} already")

    async def _upload_with_sdk(self, run: Run, path: str, source: bytes | Path) -> None:
        if self._sdk is None:
            self._sdk = await self._blocking(self._make_sdk)
        await self._sdk.upload(run, path, source)

    def _make_sdk(self) -> Transport:
        from tracelet_mlflow._sdk import SdkTransport

        return SdkTransport(self._uri, self._blocking)

    async def _pieces(self, file: IO[bytes]) -> AsyncIterator[bytes]:
        while piece := await self._blocking(file.read, _PIECE):
            yield piece

    async def _put(self, path: str, content: bytes | AsyncIterator[bytes], size: int) -> None:
        request = self._client.build_request(
            "PUT",
            _ARTIFACTS + quote(path),
            content=content,
            headers={"Content-Length": str(size), "Content-Type": "application/octet-stream"},
            timeout=_UPLOAD_TIMEOUT,
        )
        response = await self._send(request)
        if response.content:  # the server answers nothing, or an empty object
            self._decoded(response, _Nothing)

    async def _get(self, path: str, answer: type[T], /, **params: str) -> T:
        request = self._client.build_request("GET", _API + path, params=params)
        try:
            response = await self._send(request)
        except (
            BrokenConnection
        ):  # a server may close a kept connection at any time, and does after a 500; a GET can be repeated
            response = await self._send(request)
        return self._decoded(response, answer)

    async def _post(self, path: str, body: dict[str, Any], answer: type[T]) -> T:
        headers = {"Content-Type": "application/json"}
        request = self._client.build_request("POST", _API + path, content=msgspec.json.encode(body), headers=headers)
        return self._decoded(await self._send(request), answer)

    async def _send(self, request: httpx.Request) -> httpx.Response:
        try:
            response = await self._client.send(request)
        except (httpx.NetworkError, httpx.ProtocolError) as error:
            raise BrokenConnection(f"{self._url}: {_reason(error)}") from error
        except httpx.HTTPError as error:
            raise Transient(f"{self._url}: {_reason(error)}") from error
        if response.status_code == httpx.codes.INTERNAL_SERVER_ERROR:
            raise InternalServerError(f"{self._url}: {_summary(response)}", _retry_after(response))
        if not response.is_success:
            raise self._refusal(response)
        return response

    def _decoded(self, response: httpx.Response, answer: type[T]) -> T:
        try:
            return msgspec.json.decode(response.content, type=answer)
        except msgspec.DecodeError as error:
            raise Transient(self._not_mlflow(response)) from error

    def _refusal(self, response: httpx.Response) -> Exception:
        retry_after = _retry_after(response)
        try:
            error = msgspec.json.decode(response.content, type=_Error)
        except msgspec.DecodeError:
            if response.is_redirect or response.status_code in (404, 405):
                return Transient(self._not_mlflow(response), retry_after)
            return failure(response.status_code, "", f"{self._url}: {_summary(response)}", retry_after)
        reason = f"{self._url}: {error.error_code}: {error.message}"
        return failure(response.status_code, error.error_code, reason, retry_after)

    def _not_mlflow(self, response: httpx.Response) -> str:
        return f"{self._url} is not an MLflow server? It answered {_summary(response)}"


def _reason(error: BaseException) -> str:
    """The error's name, and the first text in its chain: some event loops leave the outer ones empty."""
    cause: BaseException | None = error
    while cause is not None and not str(cause):
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__ if cause is None else f"{type(error).__name__}: {cause}"


def _retry_after(response: httpx.Response) -> float | None:
    return parse_retry_after(response.headers.get("Retry-After"))


def _summary(response: httpx.Response) -> str:
    """The status line, the type, and the beginning of the body on one line."""
    kind = response.headers.get("Location") or response.headers.get("Content-Type", "no type")
    start = " ".join(response.content[:200].decode(errors="replace").split())
    return f"{response.status_code} {response.reason_phrase}, {kind}: {start}"


def _as_json(record: Record) -> dict[str, Any]:
    if isinstance(record, Metric):
        return {
            "key": record.key,
            "value": record.value if isfinite(record.value) else _non_finite(record.value),
            "timestamp": record.timestamp,
            "step": record.step,
        }
    return {"key": record.key, "value": record.value}


def _non_finite(value: float) -> Literal["NaN", "Infinity", "-Infinity"]:
    """Protobuf's JSON strings: MLflow cuts a request short, with status 200, at a bare NaN or Infinity."""
    if isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"
