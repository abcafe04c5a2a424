"""A loopback HTTP server that misbehaves on request, and otherwise forwards to a real one.

with FaultyServer(upstream="http://127.0.0.1:5000") as server:
    server.fail(Answer(429, {"Retry-After": "7"}), LoseReply())      # the next two requests
    server.fail(BlackHole(), when=lambda request: request.path.endswith("log-batch"))
    ...                                                              # point the client at server.url
    assert server.requests[0].method == "POST"
"""

from __future__ import annotations

import http.client
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

_HOP_BY_HOP = frozenset(("connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"))


@dataclass(frozen=True)
class Request:
    """A request as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """Answers without asking the upstream."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class BlackHole:
    """Takes the request and never answers."""


@dataclass(frozen=True)
class ResetInBody:
    """Promises a body, sends a piece of it, and resets the connection."""


@dataclass(frozen=True)
class LoseReply:
    """Lets the upstream do its work, and resets the connection instead of forwarding the reply."""


Fault = Answer | BlackHole | ResetInBody | LoseReply


@dataclass
class _Plan:
    faults: list[Fault]
    when: Callable[[Request], bool]
    for_ever: bool


class FaultyServer:
    """Runs in daemon threads of this process, so that it serves tests of any event loop.

    Args:
        upstream: the server that requests without a fault are forwarded to; None answers them 502.
        tls: speaks TLS with this server-side context.
    """

    def __init__(self, upstream: str | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self._upstream = upstream
        self._tls = tls
        self._plans: list[_Plan] = []
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._port = 0
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    def fail(self, *faults: Fault, when: Callable[[Request], bool] = lambda _: True, for_ever: bool = False) -> None:
        """Plan faults for the next requests that match `when`, in order; with `for_ever` the last one stays."""
        with self._lock:
            self._plans.append(_Plan(list(faults), when, for_ever))

    def heal(self) -> None:
        """Forget the planned faults, and accept connections again."""
        with self._lock:
            self._plans.clear()
        if self._server is None:
            self._listen()

    def refuse(self) -> None:
        """Close the listening socket: connections are refused until `heal`."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def __enter__(self) -> FaultyServer:
        self._listen()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self.refuse()

    def _listen(self) -> None:
        owner = self

        class Handler(_Handler):
            faulty = owner

        self._server = _Server(("127.0.0.1", self._port), Handler)
        if self._tls is not None:
            self._server.socket = self._tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def _fault_for(self, request: Request) -> Fault | None:
        with self._lock:
            self.requests.append(request)
            for plan in self._plans:
                if plan.faults and plan.when(request):
                    return plan.faults[0] if plan.for_ever and len(plan.faults) == 1 else plan.faults.pop(0)
        return None

    def _forward(self, request: Request) -> Answer:
        if self._upstream is None:
            return Answer(502, body=b"no upstream")
        parts = urlsplit(self._upstream)
        assert parts.hostname is not None
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
        try:
            headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
            connection.request(request.method, request.path, request.body, headers | {"Host": parts.netloc})
            reply = connection.getresponse()
            return Answer(reply.status, dict(reply.getheaders()), reply.read())
        finally:
            connection.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: clients that hang up are part of the exercise."""


class _Handler(BaseHTTPRequestHandler):
    faulty: FaultyServer
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        request = Request(self.command, self.path, dict(self.headers.items()), self.rfile.read(size))
        fault = self.faulty._fault_for(request)
        if isinstance(fault, BlackHole):
            self.faulty._ended.wait()
            self._reset()
        elif isinstance(fault, ResetInBody):
            self._answer(Answer(200, {"Content-Type": "application/json"}, b'{"run": '), promised=4_096)
            self._reset()
        elif isinstance(fault, LoseReply):
            self.faulty._forward(request)
            self._reset()
        else:
            self._answer(fault if isinstance(fault, Answer) else self.faulty._forward(request))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 - names of the base class

    def _answer(self, answer: Answer, promised: int | None = None) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body) if promised is None else promised))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(answer.body)
        self.wfile.flush()

    def _reset(self) -> None:
        """End the connection with a TCP reset rather than a polite end of file."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def log_message(self, *args: object) -> None:
        """Nothing: the tests look at `requests`."""
