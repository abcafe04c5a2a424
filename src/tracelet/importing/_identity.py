"""Which run some event files are: an id that stays the same while they grow."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tracelet.importing._find import Group, Layout
from tracelet.importing._progress import EMBEDDING, files_of
from tracelet.importing._records import Records
from tracelet.journal import RunDirectory

FAR = 1e11
"""A time beyond all that is meant, in seconds since the epoch: the year 5138."""

_TAIL = 18  # where in an id that begins which tells the place


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
    place = _place(group.root)
    for name in _known(runs).get(_tail(place), ()):
        if not files_of(RunDirectory(runs / name)).isdisjoint(group.files):
            return name
    first = first_time(group, parse)
    return _uuid(int((time.time() if first is None else first) * 1000), _hash(os.fsencode(group.files[0]), 12), place)


def known_layout(logdir: Path, runs: Path) -> Layout | None:
    """As what the files below a log directory were imported before; None if they were not, or if it makes no odds.

    It must stay so: else each directory that is new could make other runs of what was imported.
    """
    root = os.path.realpath(logdir)
    try:
        known = _known(runs)
        folders = [os.path.realpath(path) for path in map(Path(root).joinpath, os.listdir(root)) if os.path.isdir(path)]
    except OSError:
        return None  # whoever reads them says why they can't be read
    if any(os.path.dirname(file) for file in _imported(root, known, runs)):
        return "one"
    return "each" if any(_imported(folder, known, runs) for folder in folders) else None


def _imported(root: str, known: Mapping[str, list[str]], runs: Path) -> list[str]:
    """The files below a run's own log directory that were imported and are there."""
    names = known.get(_tail(_place(Path(root))), ())
    files = {key.partition(EMBEDDING)[0] for name in names for key in files_of(RunDirectory(runs / name))}
    return [file for file in files if os.path.exists(os.path.join(root, file))]


def _known(runs: Path) -> dict[str, list[str]]:
    """The runs there are, by the ends of their ids, which tell the place."""
    found: dict[str, list[str]] = {}
    try:
        for name in sorted(os.listdir(runs)):
            found.setdefault(name[_TAIL:], []).append(name)
    except FileNotFoundError:
        pass
    return found


def _place(root: Path) -> int:
    return _hash(os.fsencode(root), 62)


def _tail(place: int) -> str:
    return _uuid(0, 0, place)[_TAIL:]


def _hash(data: bytes, bits: int) -> int:
    return int.from_bytes(hashlib.sha256(data).digest()) >> (256 - bits)


def _uuid(milliseconds: int, high: int, low: int) -> str:
    """A UUID of version 7 (RFC 9562) with 12 and 62 bits in place of random ones."""
    value = (milliseconds & (1 << 48) - 1) << 80 | 7 << 76 | high << 64 | 2 << 62 | low
    digits = f"{value:032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
