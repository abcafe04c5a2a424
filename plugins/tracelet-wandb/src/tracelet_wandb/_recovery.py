"""What earlier sessions of a run had and W&B may not: rows that were in wandb-core's hands when it was killed."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2 as pb

from tracelet_wandb._transactions import read_rows

_LENGTH = struct.Struct("<I")
_KEPT = 1 << 18


class Tail:
    """The last records that were sent, in a file of ours: wandb-core writes its own log in blocks of 32 KiB.

    Args:
        path: of the file; an older one is beside it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._older = path.with_name(path.name + ".1")
        self._file: int | None = None

    def append(self, records: Iterable[Any]) -> None:
        """Keep records, before they are sent; outlives this process."""
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        contents = [record.SerializeToString() for record in records]
        data = b"".join([_LENGTH.pack(len(content)) + content for content in contents])
        while data:
            data = data[os.write(self._file, data) :]
        if os.fstat(self._file).st_size > _KEPT:
            self.close()
            self._path.replace(self._older)

    def read(self) -> list[Any]:
        """The records, oldest first."""
        return [record for path in (self._older, self._path) for record in _records(path)]

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def sessions(folder: Path, run_id: str) -> list[Path]:
    """The transaction logs of a run's sessions on this machine, oldest first."""
    return sorted(folder.glob(f"wandb/*run-*-{run_id}-*/run-{run_id}.wandb"))


def lost_records(logs: list[Path], tail: list[Any], *, first: int | None) -> list[Any]:
    """The records that have to be sent again, in order.

    Args:
        logs: of the earlier sessions.
        tail: what was sent last.
        first: the number of the first row that the server lacks; None offline, where the logs are what arrives.
    """
    stored = read_rows(logs)
    if first is None:
        rows = {
            record.history.step.num: record
            for record in tail
            if record.WhichOneof("record_type") == "history" and record.history.step.num not in stored
        }
    else:
        stored |= {r.history.step.num: r for r in tail if r.WhichOneof("record_type") == "history"}
        rows = {number: record for number, record in stored.items() if number >= first}
    others = [record for record in tail if record.WhichOneof("record_type") == "config"]
    return _clean([*others, *(rows[number] for number in sorted(rows))])


def restore_media(records: Iterable[Any], folders: Iterable[Path], run: Any) -> None:
    """Give the session the files that rows of other sessions refer to."""
    for record in records:
        for item in record.history.item:
            if '"_type"' in item.value_json:
                for path in _paths(json.loads(item.value_json)):
                    _restore(path, folders, run)


def _restore(path: str, folders: Iterable[Path], run: Any) -> None:
    target = Path(run.dir, path)
    for folder in folders:
        source = folder / "files" / path
        if source.is_file() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            run._publish_file(path)


def _paths(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            if name == "path" and isinstance(item, str):
                yield item
            elif name == "filenames":
                yield from item
            else:
                yield from _paths(item)
    elif isinstance(value, list):
        for item in value:
            yield from _paths(item)


def _records(path: Path) -> Iterator[Any]:
    data = b""
    with suppress(FileNotFoundError):
        data = path.read_bytes()
    at = 0
    while at + _LENGTH.size <= len(data):
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size + length
        if at <= len(data):
            record = pb.Record()
            record.ParseFromString(data[at - length : at])
            yield record


def _clean(records: Iterable[Any]) -> list[Any]:
    """Without what another session's wandb-core noted in them."""
    for record in records:
        record.ClearField("num")
        record.ClearField("control")
        record.ClearField("_info")
    return list(records)
