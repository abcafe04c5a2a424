"""An Aim tracking server, spoken to so that every write is confirmed before anything else is done.

Aim's client puts writes into a queue in memory, whose thread ends for good at the first unexpected error, and tells
nobody. Here that queue is replaced by one that hands on each write at once, and raises what goes wrong.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import aim.ext.transport.client
import aim.sdk.run
import requests
from aim.ext.transport.client import Client
from aim.ext.transport.message_utils import decode_tree, pack_args, raise_exception, unpack_args
from aim.sdk.remote_run_reporter import RemoteFileManager
from aim.sdk.repo import Repo
from aim.sdk.run import Run

log = logging.getLogger("tracelet.delivery")

_ANSWER = 60.0  # seconds


def connect(address: str) -> Repo:
    """The repository of the server at `aim://host:port`, by a connection of its own."""
    aim.ext.transport.client.requests = _BOUNDED
    aim.sdk.run.RemoteFileManager = QuietFiles
    repo = Repo(address)
    client = repo._client
    idle, client._queue = client._queue, Direct()
    idle._shutdown = True
    idle._queue.put((_nothing, ((),)))  # lets its thread see that
    return repo


class Direct:
    """In place of the client's queue (`aim.ext.transport.request_queue.RequestQueue`)."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def register_task(self, client: Client, task: Any, instructions: Iterable[tuple[bytes, bytes]]) -> None:
        send(client, instructions)

    def wait_for_finish(self) -> None:
        """There is nothing to wait for."""

    def stop(self) -> None:
        """There is nothing to stop."""


def send(client: Client, instructions: Iterable[tuple[bytes, bytes]]) -> None:
    """Have the server carry out the instructions; returns when it says that it has, raises what it raised."""
    message = pack_args(iter(instructions))
    with client._queue.lock:
        socket = client.ws
        socket.send(message)
        answer = socket.recv(timeout=_ANSWER)
    if answer != b"OK":
        raise_exception(decode_tree(unpack_args(answer)))


class QuietFiles(RemoteFileManager):  # type: ignore[misc]
    """Signs of life of a run, and no data; from a thread that must not end, since Aim would wait for it for ever."""

    def touch(self, *args: Any, **kwargs: Any) -> None:
        try:
            super().touch(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next write meets it too
            log.debug("aim: no sign of life: %s", error)


def calm(run: Run) -> None:
    """Keep what Aim does when a run's objects are collected from ending in a traceback when the server is away."""
    client = run.repo._client
    release = client.release_resource

    def quiet_release(*args: Any) -> None:
        try:
            release(*args)
        except Exception as error:  # noqa: BLE001 - called by the garbage collector
            log.debug("aim: the server did not let go: %s", error)
            detach(client)

    client.release_resource = quiet_release


def silence(client: Client) -> None:
    """End the client's heartbeat, without waiting for the second that its thread sleeps."""
    client._heartbeat_sender._shutdown = True
    client._heartbeat_sender.stop = _nothing


def detach(client: Client) -> None:
    """Give the connection up: nothing that Aim does later, for instance at exit, waits for the server any more."""
    silence(client)
    for name in ("disconnect", "release_resource", "run_instruction"):
        setattr(client, name, _nothing)
    if client._ws is not None:
        with suppress(OSError):
            client._ws.socket.close()


def _post(*args: Any, **kwargs: Any) -> requests.Response:
    return requests.post(*args, timeout=_ANSWER, **kwargs)


_BOUNDED = SimpleNamespace(get=requests.get, post=_post, ConnectionError=requests.ConnectionError)
"""What Aim's client uses of requests: its POSTs have no timeout, and would wait for a hung server for ever."""


def _nothing(*args: Any, **kwargs: Any) -> None:
    pass
