"""The best loops over the SDKs and interfaces of ClearML, Aim and W&B, without an account or another machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import httpx
import msgspec

from bench._harness import ROOT
from bench._mlflow import database

ENVIRONMENT = {"WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true", "WANDB_MODE": "offline"}
HAS_AIM = find_spec("aim") is not None

_BATCH = 5_000
_STUB = """
import sys, time
sys.path.insert(0, sys.argv[1])
from clearml_stub import KEY, SECRET, StubServer
with StubServer() as server:
    print(server.url, server.files_url, KEY, SECRET, flush=True)
    sys.stdin.read()
"""


class Point(Protocol):
    """A metric."""

    @property
    def key(self) -> str: ...
    @property
    def value(self) -> float: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def step(self) -> int: ...


class ClearMLServer(msgspec.Struct, frozen=True):
    """The options that lead to the stub of a ClearML server."""

    options: dict[str, Any]


class _Event(msgspec.Struct, frozen=True):
    type: str
    task: str
    metric: str
    variant: str
    iter: int
    value: float
    timestamp: int


@contextmanager
def clearml() -> Iterator[ClearMLServer]:
    """A stub of a server for the duration of a block, in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", _STUB, str(ROOT / "plugins" / "tracelet-clearml" / "tests")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        api, files, key, secret = process.stdout.readline().split()
        hosts = {"api_host": api, "files_host": files, "web_host": files}
        yield ClearMLServer(hosts | {"access_key": key, "secret_key": secret})
    finally:
        process.terminate()
        process.wait()


def backends(directory: Path) -> dict[str, dict[str, Any]]:
    """Options for the four of them (or three, where there is no Aim), each in a place of its own on this machine."""
    directory.mkdir()
    found: dict[str, dict[str, Any]] = {
        "mlflow": {"tracking_uri": database(directory / "mlflow")},
        "wandb": {"mode": "offline", "dir": str(directory / "wandb")},
        "clearml": {"offline": True, "offline_folder": str(directory / "clearml")},
    }
    return found | ({"aim": {"repo": str(directory / "aim")}} if HAS_AIM else {})


def clearml_loop(server: ClearMLServer, points: Sequence[Point]) -> Callable[[], float]:
    """Requests of `events.add_batch`, as large as the plugin's."""
    options = server.options
    client = httpx.Client(base_url=options["api_host"], timeout=60.0)
    login = client.post("/auth.login", auth=(options["access_key"], options["secret_key"])).raise_for_status()
    client.headers["Authorization"] = f"Bearer {login.json()['data']['token']}"
    project = _post(client, "projects.create", {"name": "raw loop", "description": ""})["id"]
    encode = msgspec.json.Encoder().encode_lines

    def loop() -> float:
        task = _post(client, "tasks.create", {"name": "raw loop", "type": "training", "project": project})["id"]
        _post(client, "tasks.started", {"task": task})
        begin = time.perf_counter()
        for at in range(0, len(points), _BATCH):
            lines = encode(
                [
                    _Event(
                        "training_stats_scalar", task, point.key, point.key, point.step, point.value, point.timestamp
                    )
                    for point in points[at : at + _BATCH]
                ]
            )
            headers = {"Content-Type": "application/json-lines"}
            client.post("/v2.23/events.add_batch", content=lines, headers=headers).raise_for_status()
        return time.perf_counter() - begin

    return loop


def _post(client: httpx.Client, route: str, body: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = client.post(f"/v2.23/{route}", json=body).raise_for_status().json()["data"]
    return answer


def aim_loop(repository: str, points: Sequence[Point]) -> Callable[[], float]:
    """`run.track`, a point a call."""
    from aim import Repo, Run

    repo = Repo.from_path(repository, init=True)

    def loop() -> float:
        run = Run(repo=repo, system_tracking_interval=None, log_system_params=False, capture_terminal_logs=False)
        begin = time.perf_counter()
        for point in points:
            run.track(point.value, name=point.key, step=point.step)
        taken = time.perf_counter() - begin
        run.close()
        return taken

    return loop


def wandb_loop(directory: str, points: Sequence[Point]) -> Callable[[], float]:
    """`run.log`, a point a call."""
    import wandb

    os.makedirs(directory, exist_ok=True)

    def loop() -> float:
        settings = wandb.Settings(mode="offline", root_dir=directory, silent=True, console="off", x_disable_stats=True)
        run = wandb.init(project="raw", settings=settings, reinit="create_new")
        begin = time.perf_counter()
        for point in points:
            run.log({point.key: point.value})
        taken = time.perf_counter() - begin
        run.finish()
        return taken

    return loop
