"""Which run some event files are: an id that stays the same while they grow."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tracelet.importing._find import Group
from tracelet.importing._progress import files_of
from tracelet.importing._records import Records
from tracelet.journal import RunDirectory

FAR = 1e11
"""A time beyond all that is meant, in seconds since the epoch: the year 5138."""


def event_of(parse: Callable[[bytes], Any], data: bytes) -> Any | None:
    """The event of a record; None if it is none."""
    try:
        return parse(data)
    except Exception:  # noqa: BLE001 - whole bytes that are no event: they are said to be, and counted, when they are read
        return None


def first_time(group: Group, parse: Callable[[bytes], Any]) -> float | None:
    """When the first event of the run was written, in seconds since the epoch."""
    for file in group.files:
        try:
            with Records(group.root / file) as records:
                for data in records.read()[:1]:
                    event = event_of(parse, data)
                    if event is not None and 0 < event.wall_time < FAR:
                        return float(event.wall_time)
        except OSError:
            continue
    return None


def run_id(group: Group, runs: Path, parse: Callable[[bytes], Any]) -> str:
    """The id of the run that these files make: a UUID like those of other runs, but of what stays the same in them.

    It has the time of the first event, and hashes of the first file's name and of the place. A run with that hash of
    the place, into which one of these files was imported, is this one, whatever files were begun or damaged since.
    """
    place = _hash(os.fsencode(group.root), 62)
    tail = _uuid(0, 0, place)[18:]
    try:
        known = sorted(name for name in os.listdir(runs) if name.endswith(tail))
    except FileNotFoundError:
        known = []
    for name in known:
        if not files_of(RunDirectory(runs / name)).isdisjoint(group.files):
            return name
    first = first_time(group, parse)
    return _uuid(int((time.time() if first is None else first) * 1000), _hash(os.fsencode(group.files[0]), 12), place)


def _hash(data: bytes, bits: int) -> int:
    return int.from_bytes(hashlib.sha256(data).digest()) >> (256 - bits)


def _uuid(milliseconds: int, high: int, low: int) -> str:
    """A UUID of version 7 (RFC 9562) with 12 and 62 bits in place of random ones."""
    value = (milliseconds & (1 << 48) - 1) << 80 | 7 << 76 | high << 64 | 2 << 62 | low
    digits = f"{value:032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
