"""wandb-core's transaction log, the `.wandb` file: protobuf records in LevelDB's log format.

A header of 7 bytes, then blocks of 32 KiB; in them chunks of (CRC-32, length, type) and a piece of a record
(https://github.com/google/leveldb/blob/main/doc/log_format.md, with the plain CRC-32 instead of CRC-32C).
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2 as pb

_MAGIC = b":W&B"
_HEADER = 7
_BLOCK = 32_768
_CHUNK = struct.Struct("<IHB")
_FULL, _FIRST, _LAST = 1, 2, 4


def read_records(path: Path) -> Iterator[Any]:
    """The records that are whole, up to the first that isn't: a crash leaves a torn end."""
    for content in _contents(path.read_bytes()):
        record = pb.Record()
        record.ParseFromString(content)
        yield record


def read_rows(paths: Iterable[Path]) -> dict[int, Any]:
    """The history's rows, as records, by their number (`_step`)."""
    return {
        record.history.step.num: record
        for path in paths
        for record in read_records(path)
        if record.WhichOneof("record_type") == "history"
    }


def cells(record: Any) -> dict[str, Any]:
    """A row's values by column."""
    return {(item.key or ".".join(item.nested_key)): json.loads(item.value_json) for item in record.history.item}


def _contents(data: bytes) -> Iterator[bytes]:
    if not data.startswith(_MAGIC):
        return
    at, parts = _HEADER, b""
    while at + _CHUNK.size <= len(data):
        rest = _BLOCK - at % _BLOCK
        if rest < _CHUNK.size:
            at += rest
            continue
        checksum, length, kind = _CHUNK.unpack_from(data, at)
        if kind == 0 and length == 0:  # padding up to the block's end
            at += rest
            continue
        piece = data[at + _CHUNK.size : at + _CHUNK.size + length]
        if len(piece) < length or zlib.crc32(piece, zlib.crc32(bytes([kind]))) != checksum:
            return
        at += _CHUNK.size + length
        parts = piece if kind in (_FULL, _FIRST) else parts + piece
        if kind in (_FULL, _LAST):
            yield parts
