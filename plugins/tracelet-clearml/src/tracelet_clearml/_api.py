"""ClearML's REST API through httpx and msgspec: no SDK between an event and its request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Generic, TypeVar

import httpx
import msgspec

from tracelet.errors import Denied, Transient
from tracelet_clearml._access import Access
from tracelet_clearml._errors import failure, parse_retry_after

_VERSION = "v2.13"  # the oldest that has artifacts and models one by one: servers since 1.0
_TIMEOUT = httpx.Timeout(60.0, connect=5.0)
_UPLOAD_TIMEOUT = httpx.Timeout(240.0, connect=5.0)
_JSON = "application/json"
_LINES = "application/json-lines"
_BOUNDARY = b"tracelet-1f0c3a52d8e94b6fa7"

T = TypeVar("T")


class _Meta(msgspec.Struct):
    result_code: int = 200
    result_subcode: int = 0
    result_msg: str = ""


class _Answer(msgspec.Struct, Generic[T]):
    meta: _Meta
    data: T


class _Refusal(msgspec.Struct):
    meta: _Meta


class _Token(msgspec.Struct):
    token: str


class Nothing(msgspec.Struct):
    """The data of an answer of which nothing is needed."""


class Api:
    """Speaks to a server, as whoever `access` says.

    Every method raises Transient, Denied, or Rejected (and its kinds in `_errors`).
    """

    def __init__(self, access: Access) -> None:
        headers = {"X-ClearML-Client": "tracelet", "X-ClearML-Worker": access.worker}
        self._client = httpx.AsyncClient(headers=headers, verify=access.verify, timeout=_TIMEOUT)
        self._access = access
        self._token: str | None = None

    async def call(self, action: str, answer: type[T], /, **body: Any) -> T:
        """Call `service.action` with a JSON object."""
        return await self._post(action, msgspec.json.encode(body), _JSON, answer)

    async def send_lines(self, action: str, lines: bytes, answer: type[T]) -> T:
        """Call `service.action` with a JSON value on each line."""
        return await self._post(action, lines, _LINES, answer)

    async def upload(self, key: str, content: AsyncIterator[bytes], size: int, kind: str) -> None:
        """Store a file on the file server under a path of plain ASCII."""
        head = b'--%s\r\nContent-Disposition: form-data; name="%s"; filename="%s"\r\nContent-Type: %s\r\n\r\n' % (
            _BOUNDARY,
            key.encode("ascii"),
            key.rpartition("/")[2].encode("ascii"),
            kind.encode("ascii"),
        )
        tail = b"\r\n--%s--\r\n" % _BOUNDARY

        async def body() -> AsyncIterator[bytes]:
            yield head
            async for piece in content:
                yield piece
            yield tail

        request = self._client.build_request(
            "POST",
            self._access.files + "/",
            content=body(),
            headers={
                "Content-Type": f"multipart/form-data; boundary={_BOUNDARY.decode()}",
                "Content-Length": str(len(head) + size + len(tail)),
                "Authorization": await self._bearer(),
            },
            timeout=_UPLOAD_TIMEOUT,
        )
        response = await self._send(request, self._access.files)
        if response.status_code == httpx.codes.UNAUTHORIZED:
            self._token = None  # the body is spent: the next attempt is the core's
            raise (Transient if self._renewable else Denied)(f"{self._access.files}: {_summary(response)}")
        if not response.is_success:
            reason = f"{self._access.files}: {_summary(response)}"
            raise failure(response.status_code, 0, reason, _retry_after(response))
        if response.content.lstrip().startswith(b"<"):
            raise Transient(f"{self._access.files} is not a ClearML file server? {_summary(response)}")
        try:
            stored = msgspec.json.decode(response.content, type=list[str])
        except msgspec.DecodeError:
            return  # not every file server says what it has stored, as ClearML's own does
        if key not in stored:
            raise Transient(f"{self._access.files} stored {stored}, not {key!r}")

    async def aclose(self) -> None:
        await self._client.aclose()

    @property
    def _renewable(self) -> bool:
        return self._access.key is not None

    async def _bearer(self) -> str:
        if self._token is None:
            self._token = await self._login() if self._renewable else self._access.token
        return f"Bearer {self._token}"

    async def _login(self) -> str:
        assert self._access.key is not None
        request = self._client.build_request("POST", f"{self._access.api}/auth.login", json={})
        basic = httpx.BasicAuth(self._access.key, self._access.secret or "")
        response = await self._send(request, self._access.api, auth=basic)
        return self._decoded(response, _Token).token

    async def _post(self, action: str, body: bytes, kind: str, answer: type[T]) -> T:
        url = f"{self._access.api}/{_VERSION}/{action}"
        for attempt in (1, 2):
            bearer = await self._bearer()
            headers = {"Content-Type": kind, "Authorization": bearer}
            request = self._client.build_request("POST", url, content=body, headers=headers)
            response = await self._send(request, self._access.api)
            if response.status_code != httpx.codes.UNAUTHORIZED or attempt == 2 or not self._renewable:
                return self._decoded(response, answer)
            if bearer == f"Bearer {self._token}":  # else the other lane has a new one already
                self._token = None
        raise AssertionError("the second attempt returns")

    async def _send(self, request: httpx.Request, host: str, auth: httpx.Auth | None = None) -> httpx.Response:
        try:
            return await self._client.send(request, auth=auth)
        except httpx.HTTPError as error:
            raise Transient(f"{host}: {_reason(error)}") from error

    def _decoded(self, response: httpx.Response, answer: type[T]) -> T:
        """The data of an answer, if both its status and what it says of itself are a success."""
        host = self._access.api
        try:
            if response.is_success:
                refusal = msgspec.json.decode(response.content, type=_Refusal)
                if refusal.meta.result_code == httpx.codes.OK:
                    return msgspec.json.decode(response.content, type=_Answer[answer]).data  # type: ignore[valid-type]
            meta = msgspec.json.decode(response.content, type=_Refusal).meta
        except msgspec.DecodeError as error:
            status = response.status_code
            if response.is_success or response.is_redirect or status in (404, 405):
                raise Transient(f"{host} is not a ClearML API server? It answered {_summary(response)}") from error
            raise failure(status, 0, f"{host}: {_summary(response)}", _retry_after(response)) from error
        code = meta.result_code if response.is_success else response.status_code
        reason = f"{host}: {code}/{meta.result_subcode}: {meta.result_msg}"
        raise failure(code, meta.result_subcode, reason, _retry_after(response))


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
