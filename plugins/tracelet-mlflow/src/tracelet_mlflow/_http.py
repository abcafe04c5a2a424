"""HTTP with a tracking server: credentials, requests, and what its answers mean."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import httpx
import msgspec

from tracelet.errors import Transient
from tracelet_mlflow._errors import failure, parse_retry_after

_API = "/api/2.0/mlflow/"
_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
_TIMEOUT = httpx.Timeout(30.0, connect=5.0)
_UPLOAD_TIMEOUT = httpx.Timeout(240.0, connect=5.0)
_JSON = {"Content-Type": "application/json"}

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


class NotMLflow(Transient):
    """Raised when an answer is none of MLflow's: of a proxy, or of a version that doesn't know the request."""


class _Error(msgspec.Struct):
    error_code: str
    message: str = ""


class Nothing(msgspec.Struct):
    """The answer of a request that only stores something."""


class Http:
    """Sends requests to one tracking server; raises what `Backend.export` may raise."""

    def __init__(self, access: Access) -> None:
        self.url = access.url
        self._client = httpx.AsyncClient(
            base_url=access.url, headers=access.headers, auth=access.auth, verify=access.verify, timeout=_TIMEOUT
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def get(self, path: str, answer: type[T], /, **params: str) -> T:
        """Ask something of the API."""
        return self._decoded(await self._got(_API + path, params), answer)

    async def post(self, path: str, body: Any, answer: type[T]) -> T:
        """Have the API do something."""
        return await self.send("POST", path, body, answer)

    async def send(self, method: str, path: str, body: Any, answer: type[T]) -> T:
        """As `post`, with another method."""
        request = self._client.build_request(method, _API + path, content=msgspec.json.encode(body), headers=_JSON)
        return self._decoded(await self._send(request), answer)

    async def version(self) -> str:
        """The server's version, as in "3.5.0"."""
        return (await self._got("/version", {})).text.strip()

    async def put_file(self, path: str, content: bytes | AsyncIterator[bytes], size: int) -> None:
        """Store a file that the server proxies."""
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        request = self._client.build_request(
            "PUT", _ARTIFACTS + quote(path), content=content, headers=headers, timeout=_UPLOAD_TIMEOUT
        )
        response = await self._send(request)
        if response.content:  # the server answers nothing, or an empty object
            self._decoded(response, Nothing)

    async def get_file(self, path: str) -> bytes:
        """The content of a file that the server proxies."""
        return (await self._got(_ARTIFACTS + quote(path), {})).content

    async def _got(self, path: str, params: dict[str, str]) -> httpx.Response:
        request = self._client.build_request("GET", path, params=params)
        try:
            return await self._send(request)
        except BrokenConnection:  # a server may close a kept connection at any time, and does after a 500
            return await self._send(request)  # a GET can be repeated

    async def _send(self, request: httpx.Request) -> httpx.Response:
        try:
            response = await self._client.send(request)
        except (httpx.NetworkError, httpx.ProtocolError) as error:
            raise BrokenConnection(f"{self.url}: {_reason(error)}") from error
        except httpx.HTTPError as error:
            raise Transient(f"{self.url}: {_reason(error)}") from error
        if response.status_code == httpx.codes.INTERNAL_SERVER_ERROR:
            raise InternalServerError(f"{self.url}: {_summary(response)}", _retry_after(response))
        if not response.is_success:
            raise self._refusal(response)
        return response

    def _decoded(self, response: httpx.Response, answer: type[T]) -> T:
        try:
            return msgspec.json.decode(response.content, type=answer)
        except msgspec.DecodeError as error:
            raise NotMLflow(self._not_mlflow(response)) from error

    def _refusal(self, response: httpx.Response) -> Exception:
        retry_after = _retry_after(response)
        try:
            error = msgspec.json.decode(response.content, type=_Error)
        except msgspec.DecodeError:
            if response.is_redirect or response.status_code in (404, 405):
                return NotMLflow(self._not_mlflow(response), retry_after)
            return failure(response.status_code, "", f"{self.url}: {_summary(response)}", retry_after)
        reason = f"{self.url}: {error.error_code}: {error.message}"
        return failure(response.status_code, error.error_code, reason, retry_after)

    def _not_mlflow(self, response: httpx.Response) -> str:
        return f"{self.url} is not an MLflow server? It answered {_summary(response)}"


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
