"""The recorder: one process's two logs of a run, and what has to be done for them off the caller's path."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from tracelet.events import Lane
from tracelet.journal.blobs import copy_in, copy_tree, sync_file, write_in
from tracelet.journal.directory import RunDirectory, log_key
from tracelet.journal.process import HEARTBEAT, call_in_forked_children
from tracelet.journal.reader import Tally
from tracelet.journal.writer import LogWriter

_BULK_SIZE = 1 << 16
_LONGEST_SUFFIX = 20

DELETED = "the run's directory was deleted"


class Recorder:
    """Adds this process as a writer to a run.

    Args:
        directory: the run's.
        on_rotate: called when a segment is full; see `LogWriter`.

    Raises:
        OSError: the journal can't be created.
    """

    def __init__(self, directory: RunDirectory, on_rotate: Callable[[], object]) -> None:
        self.directory = directory
        self.writer = directory.add_writer()
        self.detached = False
        """Whether this is a forked child's copy, which must not touch the parent's journal."""
        self._on_rotate = on_rotate
        self._stream = LogWriter(directory.log(self.writer, Lane.STREAM), on_rotate=on_rotate)
        self._bulk: LogWriter | None = None
        self._lock = threading.RLock()
        self._sync_lock = threading.RLock()
        self._blob_numbers = itertools.count()
        self._unsynced = directory.essentials(self.writer)  # and blobs
        self._next_beat = 0.0
        self.append = self._stream.appender()
        """Record an event of the stream lane: (word, payload) -> whether it is in the journal."""
        call_in_forked_children(self.detach)

    def append_bulk(self, word: int, payload: bytes) -> bool:
        """Record an event of the bulk lane."""
        with self._lock:
            if self._bulk is None and not self._stream.closed:
                place = self.directory.log(self.writer, Lane.BULK)
                try:
                    self._bulk = LogWriter(place, first_size=_BULK_SIZE, on_rotate=self._on_rotate)
                except OSError as error:
                    self._stream.lose(error.strerror or str(error))
                    return False
        return self._bulk is not None and self._bulk.append(word, payload)

    def copy_in(self, source: Path) -> Path:
        """Copy a file or folder into the run's directory; returns the path relative to that. Raises OSError."""
        name = self._blob_name(source.suffix)
        if source.is_dir():
            place = copy_tree(source, self.directory.blobs, name)
            self._unsynced += list(place.rglob("*"))
        else:
            place = copy_in(source, self.directory.blobs, name)
        return self._added(place)

    def write_in(self, content: bytes | Callable[[IO[bytes]], object], suffix: str) -> Path:
        """Write a file into the run's directory; returns the path relative to that.

        Raises:
            OSError: the disk refuses; or whatever a function as the content raises.
        """
        return self._added(write_in(content, self.directory.blobs, self._blob_name(f".{suffix}")))

    def _added(self, place: Path) -> Path:
        """A blob's path relative to the run's directory; it is to be synced, and so are the folders with its name."""
        self._unsynced += [place, self.directory.blobs, self.directory.path]
        return place.relative_to(self.directory.path)

    def _blob_name(self, suffix: str) -> str:
        plain = "".join(char for char in suffix if char == "." or (char.isascii() and char.isalnum()))
        return f"{self.writer}-{next(self._blob_numbers):06}{plain[:_LONGEST_SUFFIX]}"

    def lose(self, reason: str) -> None:
        """Count an event that can't be recorded."""
        self._stream.lose(reason)

    @property
    def loss_reason(self) -> str | None:
        """Why events are being lost right now; None if they are not."""
        return next((log.loss_reason for log in self._logs().values() if log.loss_reason), None)

    def tallies(self) -> dict[str, Tally]:
        """How many events each log has, by log key."""
        return {log_key(self.writer, lane): Tally(log.sequence, log.lost) for lane, log in self._logs().items()}

    def tend(self, *, sync: bool) -> None:
        """What the keeper thread does again and again.

        Args:
            sync: also make what was recorded survive a loss of power.

        Raises:
            OSError: the disk refuses.
        """
        now = time.monotonic()
        if now >= self._next_beat:
            self._next_beat = now + HEARTBEAT
            self.directory.beat(self.writer)
        for log in self._logs().values():
            log.prepare()
        if sync:
            self.sync()
        if sync and not self.directory.path.is_dir():
            raise FileNotFoundError(str(self.directory.path))

    def sync(self) -> None:
        """Make what was recorded survive a loss of power, files included. Raises OSError."""
        with self._sync_lock:  # as in `LogWriter.sync`
            count = len(self._unsynced)  # others may add to it meanwhile
            for place in dict.fromkeys(self._unsynced[:count]):
                if place.exists():
                    sync_file(place)
            del self._unsynced[:count]
        for log in self._logs().values():
            log.sync()

    def give_up(self, reason: str, delivered: Mapping[str, int]) -> None:
        """Record nothing more, and count as lost what is not known to be delivered, by log key."""
        for lane, log in self._logs().items():
            log.give_up(reason, delivered.get(log_key(self.writer, lane), 0))

    def finish(self, word: int, payload: bytes) -> None:
        """Record the last event and seal the logs: the bulk log first, so that its end is known by the stream's.

        Raises:
            OSError: the disk refuses; the logs are sealed all the same.
        """
        try:
            if self._bulk is not None:
                self._bulk.seal()
        finally:
            self._stream.seal((word, payload))

    def detach(self) -> None:
        """Forget everything, in a forked child."""
        self.detached = True
        self._lock = threading.RLock()
        self._sync_lock = threading.RLock()
        for log in self._logs().values():
            log.detach()

    def _logs(self) -> dict[Lane, LogWriter]:
        logs = {Lane.STREAM: self._stream}
        return logs if self._bulk is None else {**logs, Lane.BULK: self._bulk}
