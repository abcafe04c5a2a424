"""A stub of a ClearML server: its API and its file server, in memory, on free ports of the loopback.

It is no ClearML: the real one needs MongoDB, Elasticsearch and Redis. It keeps what this plugin and ClearML's SDK ask
for, with the real server's rules as its source states them: the identity of events, the subcodes of errors, required
fields, shortest names, what `force` permits, the changes of status that are possible, and published tasks that take
nothing any more.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

from clearml_stub_events import Events
from clearml_stub_store import Refusal, Store

KEY, SECRET = "stub-access-key", "stub-secret-key"


class StubServer:
    """Both servers. `revoke` makes every token invalid that was given until then.

    Attributes:
        store: projects, tasks and models.
        events: the tasks' events.
        files: what was uploaded, by path.
        logins: how many tokens were given.
        sizes: of the requests, in bytes.
        private: whether the file server wants a token from those who read, too.
    """

    def __init__(self) -> None:
        self.store = Store()
        self.events = Events(self.store)
        self.files: dict[str, bytes] = {}
        self.logins = 0
        self.sizes: list[int] = []
        self.private = False
        self._tokens: set[str] = set()
        self._lock = threading.Lock()
        self._api = _listen(self, _ApiHandler)
        self._file_server = _listen(self, _FilesHandler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._api.server_address[1]}"

    @property
    def files_url(self) -> str:
        return f"http://127.0.0.1:{self._file_server.server_address[1]}"

    def revoke(self) -> None:
        self._tokens.clear()

    def __enter__(self) -> StubServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for server in (self._api, self._file_server):
            server.shutdown()
            server.server_close()

    def login(self, authorization: str) -> dict[str, Any]:
        kind, _, value = authorization.partition(" ")
        if kind == "Bearer":
            self.require_token(authorization)
        elif kind != "Basic" or base64.b64decode(value).decode() != f"{KEY}:{SECRET}":
            raise Refusal(401, 22, "unauthorized (invalid credentials): failed to locate provided credentials")
        said = {"exp": int(time.time()) + 3_600, "api_version": "2.23", "server_version": "2.0.0", "id": self.logins}
        parts = ({"alg": "HS256", "typ": "JWT"}, said | {"feature_set": "basic", "nonce": secrets.token_hex(4)})
        encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
        token = ".".join([*encoded, "c2lnbmF0dXJl"])
        self._tokens.add(token)
        self.logins += 1
        return {"token": token}

    def require_token(self, authorization: str) -> None:
        if authorization.removeprefix("Bearer ") not in self._tokens:
            raise Refusal(401, 30, "invalid token: revoked token")

    def answer(self, action: str, body: bytes, kind: str, authorization: str) -> Any:
        with self._lock:
            self.sizes.append(len(body))
            if action == "auth.login":
                return self.login(authorization)
            self.require_token(authorization)
            if action == "events.add_batch":
                return self.events.add_batch([json.loads(line) for line in body.splitlines() if line.strip()])
            data = json.loads(body) if body.strip() else {}
            for service in (self.store, self.events):
                method = getattr(service, action.replace(".", "_"), None)
                if method is not None:
                    return method(data)
            raise Refusal(400, 1, f"endpoint is not supported: {action}")


class _Handler(BaseHTTPRequestHandler):
    stub: StubServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def reply(self, status: int, content: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Nothing."""


class _ApiHandler(_Handler):
    def _serve(self) -> None:
        body = self.body()
        action = urlsplit(self.path).path.rpartition("/")[2]
        kind, authorization = self.headers.get("Content-Type", ""), self.headers.get("Authorization", "")
        meta: dict[str, Any] = {"result_code": 200, "result_subcode": 0, "result_msg": "OK"}
        try:
            data = self.stub.answer(action, body, kind, authorization)
        except Refusal as error:
            data = {}
            meta = {"result_code": error.status, "result_subcode": error.subcode, "result_msg": str(error)}
        meta |= {"id": secrets.token_hex(8), "endpoint": {"name": action}}
        self.reply(meta["result_code"], json.dumps({"meta": meta, "data": data}).encode())

    do_GET = do_POST = do_PUT = _serve  # noqa: N815 - names of the base class


class _FilesHandler(_Handler):
    def _refused(self) -> bool:
        try:
            self.stub.require_token(self.headers.get("Authorization", ""))
        except Refusal:
            self.reply(401, b"Unauthorized", "text/plain")
            return True
        return False

    def do_POST(self) -> None:
        body = self.body()
        if self._refused():
            return
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        stored = []
        for part in message_from_bytes(head + body).get_payload():
            path = str(part.get_param("name", header="Content-Disposition")).lstrip("/")  # type: ignore[union-attr]
            self.stub.files[path] = part.get_payload(decode=True)  # type: ignore[union-attr, assignment]
            stored.append(path)
        self.reply(200, json.dumps(stored).encode(), "text/html")

    def _find(self) -> bytes | None:
        return self.stub.files.get(unquote(urlsplit(self.path).path).lstrip("/"))

    def do_GET(self) -> None:
        found = self._find()
        if self.stub.private and self._refused():
            return
        self.reply(404 if found is None else 200, found or b"", "application/octet-stream")

    def do_HEAD(self) -> None:
        found = self._find()
        self.send_response(404 if found is None else 200)
        self.send_header("Content-Length", str(len(found or b"")))
        self.end_headers()


def _listen(stub: StubServer, base: type[_Handler]) -> ThreadingHTTPServer:
    handler = type(base.__name__, (base,), {"stub": stub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.block_on_close = False
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    return server
