"""What a process that goes on with a run wants to know of those that logged to it before."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, TypeAlias

import msgspec

from tracelet.codec import HUGE_NUMBERS, decode
from tracelet.events import Context, Event, Kind, Lane, MediaLogged, MetricsLogged
from tracelet.journal import LogReader, RunDirectory

NOTE = "tracelet/segments"
"""The name of the texts in a run that say when, where and after what it went on."""

Key: TypeAlias = tuple[Any, ...]
"""What counted steps belong to: (name, context); of media (type, name, context)."""

_CHUNK = 10_000, 1 << 22  # events and bytes that are read at once


class _Point(msgspec.Struct, array_like=True, frozen=True, gc=False, tag=Kind.METRICS_LOGGED.value):
    """A MetricsLogged, of which the numbers are not looked at."""

    time: float
    values: dict[str, msgspec.Raw]
    step: int
    context: Context = ()


_decode_point = msgspec.msgpack.Decoder(_Point).decode


def resumption(directory: RunDirectory, writer: str) -> tuple[int, str] | None:
    """Which resumption of the run begins with a writer, counted from 1, and what there is to say of it.

    None where the process goes on with a run that it has logged to itself: the next stage of the same training. Ranks
    above 0 are no resumptions.
    """
    records = {name: directory.writer_record(name) for name in directory.writers() if int(name) <= int(writer)}
    leading = [(name, record) for name, record in records.items() if record is not None and record.rank == 0]
    changes = [one.process != other.process for (_, one), (_, other) in pairwise(leading)]
    if not changes or not changes[-1]:
        return None
    (before, _), (_, record) = leading[-2:]
    text = time.strftime("resumed %Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
    text += f" on {record.process.host}, process {record.process.pid} (writer {writer}); "
    return sum(changes), f"{text}the writer before, {before}, {_state(directory, before)}"


def last_steps(directory: RunDirectory, writer: str, lane: Lane) -> dict[Key, int]:
    """The highest step of all that was logged before, by writers of the same rank that have ended.

    Damaged parts, and those that were given up for their space, are not there any more, and not counted.

    Raises:
        OSError: a journal can't be read.
    """
    own = getattr(directory.writer_record(writer), "rank", 0)
    steps: dict[Key, int] = {}
    for earlier in directory.writers():
        record = directory.writer_record(earlier)
        if int(earlier) >= int(writer) or record is None or record.rank != own:
            continue
        if directory.finished(earlier) or not directory.writer_alive(earlier):
            for key, step in _steps(directory, earlier, lane):
                if step > steps.get(key, -1):
                    steps[key] = step
    return steps


def _steps(directory: RunDirectory, writer: str, lane: Lane) -> Iterator[tuple[Key, int]]:
    with LogReader(directory.log(writer, lane)) as reader:
        while (frames := reader.read(*_CHUNK, final=True)).sequences:
            for word, payload in zip(frames.words, frames.payloads, strict=True):
                if word == Kind.METRICS_LOGGED.value:
                    point = _decode_point(payload)
                    context, step = point.context, point.step
                    for name in point.values:
                        yield (name, context), step
                elif lane is Lane.BULK or word & HUGE_NUMBERS:
                    yield from _unusual_steps(word, payload)


def _unusual_steps(word: int, payload: bytes) -> Iterator[tuple[Key, int]]:
    try:
        event: Event = decode(word, payload)
    except msgspec.DecodeError:
        return  # of a kind that this version does not know
    if isinstance(event, MetricsLogged):
        for name in event.values:
            yield (name, event.context), event.step
    elif isinstance(event, MediaLogged) and event.step is not None:
        yield (type(event), event.name, event.context), event.step


def _state(directory: RunDirectory, writer: str) -> str:
    if directory.finished(writer):
        return "had finished"
    return "is still logging" if directory.writer_alive(writer) else "was killed"
