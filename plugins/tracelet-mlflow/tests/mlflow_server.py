"""One MLflow server for all processes of a test session, since starting one takes ten seconds of processor time."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import httpx
import msgspec


class Server(msgspec.Struct, frozen=True):
    """A server that runs.

    Attributes:
        url: its address.
        store: the URI of its database, for what would take thousands of requests.
        pid: of its process group.
    """

    url: str
    store: str
    pid: int


@contextmanager
def shared(folder: Path) -> Iterator[Server]:
    """The server of a folder: who comes first starts it, who leaves last ends it.

    A user holds a shared lock for as long as it lives; so one that is killed counts no longer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "users").open("a") as users:
        with _alone(folder):
            fcntl.flock(users, fcntl.LOCK_SH)
            record = folder / "server.json"
            if not record.exists():
                record.write_bytes(msgspec.json.encode(_start(folder)))
            server = msgspec.json.decode(record.read_bytes(), type=Server)
        try:
            yield server
        finally:
            with _alone(folder), suppress(BlockingIOError):  # which says that others use it
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                record.unlink()
                _stop(server)


@contextmanager
def _alone(folder: Path) -> Iterator[IO[str]]:
    """No other process is in such a block."""
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock


def _start(folder: Path) -> Server:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    arguments = ("--host", "127.0.0.1", "--port", str(port), "--workers", "1")
    store = f"sqlite:///{folder}/mlflow.db"
    stores = ("--backend-store-uri", store, "--artifacts-destination", f"{folder}/artifacts")
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *arguments, *stores],
            env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    _STARTED.append(process)
    server = Server(f"http://127.0.0.1:{port}", store, process.pid)
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{server.url}/health", timeout=2).is_success:
                return server
        except httpx.TransportError:
            time.sleep(0.1)
    _stop(server)
    raise RuntimeError(f"the MLflow server did not start: {(folder / 'log').read_text()[-4000:]}")


_STARTED: list[subprocess.Popen[bytes]] = []
"""Kept, because whoever ends a server need not be who started it, and only its parent can wait for it."""


def _stop(server: Server) -> None:
    """End it and what it started; a child of this process leaves no zombie."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(server.pid, number)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if not _answers(server):
                break
            time.sleep(0.05)
        else:
            continue
        break
    for process in _STARTED:
        if process.pid == server.pid:
            process.wait(10)


def _answers(server: Server) -> bool:
    host, _, port = server.url.removeprefix("http://").partition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0
