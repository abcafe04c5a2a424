"""A stub of W&B's server: as much of its HTTP protocol as wandb-core needs, kept in memory.

There is no W&B server to be had here. This one answers as the protocol's public client expects; what it can't show is
how a real server would take what it is sent.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import quote, unquote, urlsplit

_OPERATION = re.compile(r"(?:query|mutation)\s+(\w+)")


@dataclass
class StubArtifact:
    """A version of an artifact."""

    id: str
    name: str
    type: str
    metadata: dict[str, Any]
    description: str | None
    aliases: list[str]
    digest: str
    state: str = "PENDING"
    files: dict[str, str] = field(default_factory=dict)  # path -> digest, of the manifest
    used: bool = False


@dataclass
class StubRun:
    """A run as the server has it."""

    id: str
    fields: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, dict[int, str]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    artifacts: list[StubArtifact] = field(default_factory=list)
    exit_code: int | None = None
    upserts: int = 0

    @property
    def history(self) -> list[dict[str, Any]]:
        """The rows, in order."""
        chunk = self.lines.get("wandb-history.jsonl", {})
        return [json.loads(chunk[offset]) for offset in sorted(chunk)]

    @property
    def console(self) -> list[str]:
        chunk = self.lines.get("output.log", {})
        return [chunk[offset] for offset in sorted(chunk)]


Rule = Callable[[str, str], int | None]


class StubServer:
    """Runs in a daemon thread of this process.

    Attributes:
        runs: by id.
        blobs: of artifacts, by digest.
        links: registered collections: name to (artifact, aliases).
        operations: what was asked, in order.
    """

    def __init__(self) -> None:
        self.runs: dict[str, StubRun] = {}
        self.blobs: dict[str, bytes] = {}
        self.links: dict[str, list[tuple[StubArtifact, list[str]]]] = {}
        self.artifacts: dict[str, StubArtifact] = {}
        self.operations: list[str] = []
        self.has_registry = True
        self.lock = threading.RLock()
        self._rules: list[Rule] = []
        owner = self

        class Handler(_Handler):
            stub = owner

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def fail(self, status: int, where: str = "", times: int | None = None) -> None:
        """Answer requests whose operation or path has `where` in it with a status, for ever or so many times."""
        left = [times]

        def rule(operation: str, path: str) -> int | None:
            if where not in operation and where not in path:
                return None
            if left[0] is not None:
                if left[0] == 0:
                    return None
                left[0] -= 1
            return status

        with self.lock:
            self._rules.append(rule)

    def heal(self) -> None:
        with self.lock:
            self._rules.clear()

    def fault(self, operation: str, path: str) -> int | None:
        with self.lock:
            for rule in self._rules:
                status = rule(operation, path)
                if status is not None:
                    return status
        return None

    def __enter__(self) -> StubServer:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    # GraphQL.

    def answer(self, operation: str, query: str, variables: dict[str, Any]) -> dict[str, Any] | None:
        """The data of an answer; None for an operation that is not known."""
        method = getattr(self, f"_on_{operation.lower()}", None)
        return None if method is None else method(query, variables)

    def _on_viewer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        viewer = {"id": "user", "entity": "somebody", "username": "somebody", "flags": "{}", "teams": {"edges": []}}
        return {"viewer": viewer | {"admin": False, "email": "", "name": "Some Body", "apiKeys": {"edges": []}}}

    def _on_serverfeaturesquery(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        return {"serverInfo": {"features": []}}

    def _on_runresumestatus(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get(variables["name"])
        if run is None:
            return {"model": {"id": "project", "name": variables["project"], "bucket": None}}
        chunks = run.lines
        tail = run.history[-1:] if run.history else []
        counts = {
            "historyLineCount": len(run.history),
            "eventsLineCount": len(chunks.get("wandb-events.jsonl", {})),
            "logLineCount": len(chunks.get("output.log", {})),
        }
        return {
            "model": {
                "id": "project",
                "name": variables["project"],
                "entity": {"id": "entity", "name": "somebody"},
                "bucket": {
                    **self._bucket(run),
                    **counts,
                    "historyTail": json.dumps([json.dumps(row) for row in tail]),
                    "eventsTail": "[]",
                    "summaryMetrics": json.dumps(run.summary),
                    "wandbConfig": json.dumps({"t": run.config.get("_wandb", {}).get("t")}),
                },
            }
        }

    def _on_upsertbucket(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        name = str(variables.get("name") or variables.get("id"))
        inserted = name not in self.runs
        run = self.runs.setdefault(name, StubRun(name))
        run.upserts += 1
        run.fields.update({key: value for key, value in variables.items() if value is not None})
        if variables.get("config"):
            given = json.loads(variables["config"])
            run.config = {key: value["value"] for key, value in given.items()}
        return {"upsertBucket": {"bucket": self._bucket(run), "inserted": inserted}}

    def _bucket(self, run: StubRun) -> dict[str, Any]:
        project = run.fields.get("project") or "uncategorized"
        return {
            "id": base64.b64encode(run.id.encode()).decode(),
            "name": run.id,
            "displayName": run.fields.get("displayName") or run.id,
            "description": None,
            "config": json.dumps({key: {"value": value} for key, value in run.config.items()}),
            "summaryMetrics": json.dumps(run.summary),
            "tags": run.fields.get("tags") or [],
            "sweepName": None,
            "project": {"id": "project", "name": project, "entity": {"id": "entity", "name": "somebody"}},
            "historyLineCount": len(run.history),
        }

    def _on_createrunfiles(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        run = variables["run"]
        files = [
            {"name": name, "uploadUrl": f"{self.url}/storage/runs/{run}/{quote(name)}"} for name in variables["files"]
        ]
        return {"createRunFiles": {"runID": run, "uploadHeaders": [], "files": files}}

    def _on_runstoppedstatus(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"run": {"stopped": False}}}

    def _on_createartifact(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        given = variables.get("input") or variables
        name = given.get("artifactCollectionName") or (given.get("artifactCollectionNames") or ["?"])[0]
        known = [one for one in self.artifacts.values() if (one.name, one.digest) == (name, given.get("digest"))]
        artifact = StubArtifact(
            id=known[-1].id if known else f"artifact-{len(self.artifacts)}",
            name=name,
            type=given.get("artifactTypeName") or "?",
            metadata=json.loads(given.get("metadata") or "{}"),
            description=given.get("description"),
            aliases=[alias["alias"] for alias in given.get("aliases") or []],
            digest=given.get("digest") or "",
        )
        if known:
            artifact.state = known[-1].state
            artifact.files = known[-1].files
        self.artifacts[artifact.id] = artifact
        if given.get("runName"):  # an input has none, and is used later
            self.runs[given["runName"]].artifacts.append(artifact)
        sequence = {"id": f"sequence-{name}", "name": name, "latestArtifact": None}
        return {
            "createArtifact": {"artifact": {"id": artifact.id, "state": artifact.state, "artifactSequence": sequence}}
        }

    def _on_createartifactmanifest(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        target = f"manifests/{variables['artifactID']}"
        return self._manifest("createArtifactManifest", target)

    def _on_updateartifactmanifest(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        return self._manifest("updateArtifactManifest", f"manifests/{variables['artifactManifestID']}")

    def _manifest(self, name: str, target: str) -> dict[str, Any]:
        file = {
            "id": "file",
            "name": "wandb_manifest.json",
            "displayName": "wandb_manifest.json",
            "uploadUrl": f"{self.url}/storage/{target}",
            "uploadHeaders": [],
        }
        return {name: {"artifactManifest": {"id": target.rpartition("/")[2], "file": file}}}

    def _on_createartifactfiles(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        edges = []
        for number, spec in enumerate((variables.get("input") or variables)["artifactFiles"]):
            target = f"blobs/{base64.b64decode(spec['md5']).hex()}"
            node = {
                "id": f"file-{number}",
                "name": spec["name"],
                "displayName": spec["name"],
                "uploadUrl": f"{self.url}/storage/{target}",
                "uploadHeaders": [],
                "storagePath": target,
                "uploadMultipartUrls": None,
                "artifact": {"id": spec["artifactID"]},
            }
            edges.append({"node": node})
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def _on_commitartifact(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        artifact = self.artifacts[variables["artifactID"]]
        artifact.state = "COMMITTED"
        return {"commitArtifact": {"artifact": {"id": artifact.id, "digest": artifact.digest}}}

    def _on_useartifact(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        given = variables["input"]
        artifact = self.artifacts[given["artifactID"]]
        artifact.used = True
        self.runs[given["runName"]].artifacts.append(artifact)
        return {"useArtifact": {"artifact": {"id": artifact.id, "digest": artifact.digest}}}

    def _on_fetchorgentityfromentity(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        organization = {"name": "Some Bodies", "orgEntity": {"name": "some-bodies"}} if self.has_registry else None
        return {"entity": {"organization": organization}}

    def _on_linkartifact(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        given = variables.get("input") or variables
        artifact = self.artifacts[given["artifactId"]]
        aliases = [alias["alias"] for alias in given.get("aliases") or []]
        name = given["artifactPortfolioName"]
        self.links.setdefault(name, []).append((artifact, aliases))
        return {"linkArtifact": {"versionIndex": len(self.links[name]) - 1, "artifactMembership": None}}

    # Files.

    def stream(self, run_id: str, body: dict[str, Any]) -> None:
        """Take a request of the file stream."""
        run = self.runs.setdefault(run_id, StubRun(run_id))
        for name, chunk in (body.get("files") or {}).items():
            lines = chunk["content"]
            if name == "wandb-summary.json":
                for line in lines:
                    run.summary = json.loads(line)
            else:
                target = run.lines.setdefault(name, {})
                target.update({chunk["offset"] + number: line for number, line in enumerate(lines)})
        if body.get("complete"):
            run.exit_code = body.get("exitcode")

    def store(self, path: str, content: bytes) -> None:
        """Take an upload."""
        kind, _, rest = path.partition("/")
        if kind == "runs":
            run, _, name = rest.partition("/")
            self.runs[run].files[name] = content
        elif kind == "manifests":
            manifest = json.loads(content)
            contents = manifest["contents"].items()
            entries = {name: base64.b64decode(entry["digest"]).hex() for name, entry in contents if "ref" not in entry}
            self.artifacts[rest].files = entries
        else:
            self.blobs[rest] = content


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: clients that hang up are part of the exercise."""


class _Handler(BaseHTTPRequestHandler):
    stub: StubServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self._body()
        path = unquote(urlsplit(self.path).path)
        if path == "/graphql":
            self._graphql(json.loads(body))
        elif path.endswith("/file_stream"):
            if not self._failed("file_stream", path):
                with self.stub.lock:
                    self.stub.stream(path.split("/")[-2], json.loads(body))
                self._answer(200, {})
        else:
            self._answer(404, {"error": path})

    def do_PUT(self) -> None:
        body = self._body()
        path = unquote(urlsplit(self.path).path).removeprefix("/storage/")
        if not self._failed("upload", path):
            with self.stub.lock:
                self.stub.store(path, body)
            self._answer(200, {})

    def do_GET(self) -> None:
        self._answer(404, {})

    def _graphql(self, body: dict[str, Any]) -> None:
        found = _OPERATION.search(body["query"])
        operation = body.get("operationName") or (found[1] if found else "")
        with self.stub.lock:
            self.stub.operations.append(operation)
        if self._failed(operation, "/graphql"):
            return
        with self.stub.lock:
            data = self.stub.answer(operation, body["query"], body.get("variables") or {})
        if data is None:
            self._answer(200, {"data": None, "errors": [{"message": f"the stub knows no {operation}"}]})
        else:
            self._answer(200, {"data": data})

    def _failed(self, operation: str, path: str) -> bool:
        status = self.stub.fault(operation, path)
        if status is None:
            return False
        self._answer(status, {"error": f"the stub answers {status}"})
        return True

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            parts = []
            while size := int(self.rfile.readline().strip() or b"0", 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        """Nothing."""
