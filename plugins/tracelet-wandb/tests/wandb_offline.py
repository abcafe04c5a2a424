"""A reader of W&B's offline files: everything that `wandb sync` would upload, record by record."""

from __future__ import annotations

import json
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tracelet_wandb._recorded import add_config
from tracelet_wandb._session import end_open
from tracelet_wandb.readback import add_record
from tracelet_wandb.readback import logs as logs
from wandb.proto import wandb_internal_pb2 as pb

from tracelet.testing.conformance import Recorded


def records(log: Path) -> Iterator[Any]:
    """The records of a `.wandb` file, up to its torn end if it has one; written apart from the plugin's reader."""
    data = log.read_bytes()
    assert data[:7] == b":W&B" + struct.pack("<HB", 0xBEE1, 0)
    blocks = [memoryview(data)[at : at + 32_768] for at in range(0, len(data), 32_768)]
    pending = b""
    for number, block in enumerate(blocks):
        at = 0 if number else 7
        while at + 7 <= len(block):
            crc, size, kind = struct.unpack_from("<IHB", block, at)
            piece = bytes(block[at + 7 : at + 7 + size])
            if not kind or len(piece) < size:
                break
            assert crc == zlib.crc32(piece, zlib.crc32(bytes([kind])))
            pending = pending + piece if kind in (3, 4) else piece
            if kind in (1, 4):
                record = pb.Record()
                record.ParseFromString(pending)
                yield record
            at += 7 + size


def ended(log: Path) -> bool:
    """Whether the log has a last record."""
    return any(record.HasField("exit") for record in records(log))


def wait_until(condition: Callable[[], object], complaint: str, deadline: float = 30.0) -> None:
    end = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < end, complaint
        time.sleep(0.02)


def rows(folder: Path, run_id: str) -> list[dict[str, Any]]:
    """The rows of the history, in order."""
    return [_cells(record) for log in logs(folder, run_id) for record in records(log) if record.HasField("history")]


def recorded(folder: Path, run_id: str) -> Recorded:
    """What W&B will show of the run once it is synced. Ends its sessions: open ones keep up to 32 KiB for later."""
    end_open(run_id)
    paths = logs(folder, run_id)
    wait_until(lambda: ended(paths[-1]), f"the last session of {run_id} was not ended")  # others may have crashed
    ids = {record.run.run_id for log in paths for record in records(log) if record.HasField("run")}
    found = Recorded(runs=len(ids))
    config: dict[str, Any] = {}
    for log in paths:
        found.outcome = None
        for record in records(log):
            add_record(found, config, record, log.parent)
    add_config(found, config)
    return found


def _cells(record: Any) -> dict[str, Any]:
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
