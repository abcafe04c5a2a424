"""Writes to a run's trees, gathered and made at once: in RocksDB here, or in one message to a tracking server."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

from aim.sdk.run import Run
from aim.storage import encoding, treeutils
from aim.storage.utils import ArrayFlag

from tracelet_aim._remote import send

log = logging.getLogger("tracelet.delivery")

Path: TypeAlias = tuple[int | str, ...]


class Store(Protocol):
    """The run's data (`seqs`) and metadata (`meta`), laid out as by Aim's `RunTracker`."""

    def array(self, sequence: Path, column: str) -> None:
        """Begin a column of a sequence."""

    def column(self, sequence: Path, column: str, keys: Sequence[int], values: Sequence[Any]) -> None:
        """Set numbers (or None) in a column."""

    def trace(self, sequence: Path, fields: Sequence[tuple[str, Any]]) -> None:
        """Set fields of a sequence's description."""

    def kind(self, context_id: int, name: str, dtype: str, kind: str) -> None:
        """List a sequence under its type, for the run and for the repository."""

    def context(self, context_id: int, keys: dict[str, Any]) -> None:
        """Keep a context, for the run and for the repository."""

    def commit(self) -> None:
        """Make the gathered writes. Returning means that they are in the repository's write-ahead log."""

    def abandon(self) -> None:
        """Let go of what the writes went to, though an error has left it in no known state."""


class LocalStore:
    """Straight into the run's two RocksDB containers, which the run has opened."""

    def __init__(self, run: Run) -> None:
        self._data = run.repo.request_container("seqs", run.hash, read_only=False)
        self._meta = run.repo.request_container("meta", run.hash, read_only=False)
        self._sequences = encoding.encode_path(("seqs", "v2", "chunks", run.hash))
        self._all = encoding.encode_path(("meta",))
        self._run = encoding.encode_path(("meta", "chunks", run.hash))
        self._renew()

    def array(self, sequence: Path, column: str) -> None:
        self._points.put(self._sequences + encoding.encode_path((*sequence, column)), encoding.encode(ArrayFlag))

    def column(self, sequence: Path, column: str, keys: Sequence[int], values: Sequence[Any]) -> None:
        prefix = self._sequences + encoding.encode_path((*sequence, column))
        put, encode, encode_path = self._points.put, encoding.encode, encoding.encode_path
        for key, value in zip(keys, values, strict=True):
            put(prefix + encode_path(key), encode(value))

    def trace(self, sequence: Path, fields: Sequence[tuple[str, Any]]) -> None:
        prefix = self._run + encoding.encode_path(("traces", *sequence))
        for name, value in fields:
            self._description.put(prefix + encoding.encode_path(name), encoding.encode(value))

    def kind(self, context_id: int, name: str, dtype: str, kind: str) -> None:
        self._put(self._all, ("traces_types", dtype, context_id, name), 1)
        self._put(self._run, ("typed_traces", kind, context_id, name), 1)

    def context(self, context_id: int, keys: dict[str, Any]) -> None:
        self._put(self._all, ("contexts", context_id), keys)
        self._put(self._run, ("contexts", context_id), keys)

    def commit(self) -> None:
        points, description = self._points, self._description
        self._renew()
        self._data.commit(points)
        self._meta.commit(description)

    def abandon(self) -> None:
        for container in (self._data, self._meta):
            try:
                container.close()
            except Exception as error:  # noqa: BLE001 - RocksDB's last words; the collector would print them
                log.debug("aim: closing failed: %s", error)

    def _put(self, root: bytes, path: Path, value: Any) -> None:
        prefix = root + encoding.encode_path(path)
        for key, content in treeutils.encode_tree(value):
            self._description.put(prefix + key, content)

    def _renew(self) -> None:
        self._points, self._description = self._data.batch(), self._meta.batch()


class RemoteStore:
    """As instructions to an Aim tracking server, in messages that it has confirmed when `commit` returns."""

    # The server takes a message apart in a time that grows with the square of its size.
    _MESSAGE = 24
    _PAIRS = 16

    def __init__(self, run: Run) -> None:
        self._client = run.repo._client
        self._data: str = run.series_run_trees[2].tree._handler
        self._meta: str = run.meta_tree.tree._handler
        self._sequences: Path = ("seqs", "v2", "chunks", run.hash)
        self._run: Path = ("meta", "chunks", run.hash)
        self._instructions: list[tuple[str, str, tuple[Any, ...], int]] = []

    def array(self, sequence: Path, column: str) -> None:
        self._add(self._data, "make_array", ((*self._sequences, *sequence, column),))

    def column(self, sequence: Path, column: str, keys: Sequence[int], values: Sequence[Any]) -> None:
        path = (*self._sequences, *sequence, column)
        pairs = list(zip(keys, values, strict=True))
        for start in range(0, len(pairs), self._PAIRS):
            part = pairs[start : start + self._PAIRS]
            self._add(self._data, "update", (path, part), len(part))

    def trace(self, sequence: Path, fields: Sequence[tuple[str, Any]]) -> None:
        if fields:
            self._add(self._meta, "update", ((*self._run, "traces", *sequence), list(fields)), len(fields))

    def kind(self, context_id: int, name: str, dtype: str, kind: str) -> None:
        self._set(("meta", "traces_types", dtype, context_id, name), 1)
        self._set((*self._run, "typed_traces", kind, context_id, name), 1)

    def context(self, context_id: int, keys: dict[str, Any]) -> None:
        self._set(("meta", "contexts", context_id), keys)
        self._set((*self._run, "contexts", context_id), keys)

    def commit(self) -> None:
        gathered, self._instructions = self._instructions, []
        message: list[tuple[str, str, tuple[Any, ...]]] = []
        size = 0
        for handler, method, arguments, weight in gathered:
            message.append((handler, method, arguments))
            size += weight
            if size >= self._MESSAGE:
                send(self._client, treeutils.encode_tree(message))
                message, size = [], 0
        if message:
            send(self._client, treeutils.encode_tree(message))

    def abandon(self) -> None:
        """Nothing: it has but the connection."""

    def _set(self, path: Path, value: Any) -> None:
        self._add(self._meta, "set", (path, value))

    def _add(self, handler: str, method: str, arguments: tuple[Any, ...], weight: int = 1) -> None:
        self._instructions.append((handler, method, arguments, weight))
