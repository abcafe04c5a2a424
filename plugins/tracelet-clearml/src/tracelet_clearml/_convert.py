"""Events of the stream to ClearML's records; what ClearML can't hold as it was said is marked with `Batch.degrade`."""

from __future__ import annotations

import json
from math import isfinite, nan
from typing import Any, NamedTuple

import msgspec

from tracelet.backend import Batch
from tracelet.events import (
    ConsoleLine,
    Context,
    DatasetUsed,
    Event,
    MetricsLogged,
    NoteSet,
    Number,
    ParamsLogged,
    TagsSet,
    TextLogged,
)
from tracelet.substitutes import substitutes
from tracelet_clearml._names import Series, parameter, series
from tracelet_clearml._records import Line, Param, Scalar

PROPERTIES = "properties"
"""The section of the hyperparameters that ClearML shows as user properties."""

GENERAL = "General"
DATASETS = "Datasets"

_INT64 = 2**63 - 1
_LARGEST = 3.4028234663852886e38  # the server's index has 32-bit floats, and refuses what they can't hold
_LAST_MS = 253_402_300_799_999  # the year 9999, where the server's dates end
_LONGEST_MESSAGE = 1 << 20
_LONGEST_VALUE = 100_000


class Content(msgspec.Struct):
    """A batch of the stream as ClearML's records.

    Attributes:
        texts: the texts, with their places in the batch.
        tags: by name.
    """

    scalars: list[Scalar] = []
    lines: list[Line] = []
    params: dict[tuple[str, str], Param] = {}
    tags: dict[str, str] = {}
    texts: list[tuple[int, TextLogged]] = []
    note: str | None = None


def convert(batch: Batch, task: str, worker: str) -> Content:
    """The batch's records, in order, for a task."""
    content = Content()
    lines: dict[Any, _Line] = {}
    for index, event in enumerate(batch.events):
        if type(event) is MetricsLogged:  # nearly all are, and `match` takes longer
            _add_points(content, batch, index, event, lines, task, worker)
            continue
        for said in substitutes(event):
            _add(content, batch, index, said, task, worker)
    return content


def _add(content: Content, batch: Batch, index: int, event: Event, task: str, worker: str) -> None:
    match event:
        case ParamsLogged():
            for name, value in event.values.items():
                _add_param(content, batch, index, GENERAL, name, *_typed(value))
        case TagsSet():
            content.tags |= event.values
        case TextLogged():
            content.texts.append((index, event))
        case ConsoleLine():
            level = "error" if event.stream == "stderr" else "info"
            _add_line(content, batch, index, event, level, event.text, task, worker)
        case NoteSet():
            content.note = event.text
        case DatasetUsed():
            _add_dataset(content, batch, index, event)


def milliseconds(batch: Batch, index: int, event: Event) -> int:
    """When an event was said, within what the server's dates can say."""
    said = event.time * 1000
    if 0 <= said <= _LAST_MS:
        return int(said)
    batch.degrade(index, "time before 1970 or after 9999: the nearest possible is stored")
    return _LAST_MS if isfinite(said) and said > 0 else 0


def iteration(batch: Batch, index: int, step: int) -> int:
    """A step, within the server's 64 bits."""
    if -_INT64 <= step <= _INT64:
        return step
    batch.degrade(index, "step beyond 64 bits: the nearest possible is stored")
    return max(-_INT64, min(step, _INT64))


def place(batch: Batch, index: int, name: str, context: Context) -> Series:
    """Where something of a name is shown."""
    found = series(name, context)
    if found.altered:
        batch.degrade(index, "name not fit for ClearML: changed, with a hash of the original")
    return found


class _Line(NamedTuple):
    """One series in a batch, and the steps that it has points at: of several at a step the server keeps one."""

    where: Series
    steps: set[int]


def _add_points(
    content: Content, batch: Batch, index: int, event: MetricsLogged, lines: dict[Any, _Line], task: str, worker: str
) -> None:
    step, context, said = event.step, event.context, event.time * 1000
    if not -_INT64 <= step <= _INT64:
        step = iteration(batch, index, step)
    timestamp = int(said) if 0 <= said <= _LAST_MS else milliseconds(batch, index, event)
    lost: dict[str, Number] = {}
    for name, number in event.values.items():
        value = number if type(number) is float else _as_float(batch, index, number)
        if not -_LARGEST <= value <= _LARGEST:
            lost[name] = number
            continue
        line = lines.get(series(name, context) if context else name)
        if line is None:
            where = series(name, context)
            line = lines[where if context else name] = _Line(where, set())
        (metric, variant, key, altered), steps = line
        if altered:
            place(batch, index, name, context)
        if step in steps:
            batch.degrade(index, "same name and step as another point: ClearML keeps the last")
        steps.add(step)
        content.scalars.append(Scalar(task, metric, variant, step, timestamp, value, key))
    if lost:
        batch.degrade(index, "NaN, infinity, or beyond 32-bit floats: ClearML can't store it; a line in the log")
        numbers = ", ".join(f"{name} is {_shown(number)}" for name, number in lost.items())
        around = f" ({', '.join(f'{key}: {value}' for key, value in context)})" if context else ""
        message = f"{numbers} at step {event.step}{around}"
        _add_line(content, batch, index, event, "warning", message, task, worker)


def _as_float(batch: Batch, index: int, number: Number) -> float:
    try:
        value = float(number)
    except OverflowError:
        return nan
    if value != number:
        batch.degrade(index, "integer not exact as a 64-bit float")
    return value


def _shown(number: Number) -> str:
    return repr(float(number)) if isinstance(number, float) else f"an integer of {number.bit_length()} bits"


def _add_line(
    content: Content, batch: Batch, index: int, event: Event, level: str, text: str, task: str, worker: str
) -> None:
    """A line's identity is its event's, since it is how one that has arrived is known at the next delivery."""
    timestamp = milliseconds(batch, index, event)
    identity = f"{batch.writer}/{batch.lane.value}/{batch.sequences[index]}"
    for part, start in enumerate(range(0, max(len(text), 1), _LONGEST_MESSAGE)):
        message = text[start : start + _LONGEST_MESSAGE]
        variant = f"{identity}.{part}" if part else identity
        content.lines.append(Line(task, timestamp, level, message, worker, variant))


def _add_param(
    content: Content, batch: Batch, index: int, section: str, name: str, value: str, kind: str, description: str = ""
) -> None:
    named = parameter(name)
    if named.altered:
        batch.degrade(index, "name not fit for ClearML: changed, with a hash of the original")
    if len(value) > _LONGEST_VALUE:
        batch.degrade(index, f"longer than {_LONGEST_VALUE} characters: cut")
        value = value[:_LONGEST_VALUE]
    content.params.pop((section, named.text), None)
    content.params[section, named.text] = Param(section, named.text, value, kind, description)


def properties(batch: Batch, content: Content) -> dict[str, str]:
    """Tags as user properties, by their names in ClearML."""
    said: dict[str, str] = {}
    for name, value in content.tags.items():
        named = parameter(name)
        if named.altered or len(value) > _LONGEST_VALUE:
            for index, event in enumerate(batch.events):
                if isinstance(event, TagsSet) and name in event.values:
                    batch.degrade(index, "tag not fit for ClearML: its name is changed, or its value cut")
        said[named.text] = value[:_LONGEST_VALUE]
    return said


def _typed(value: Any) -> tuple[str, str]:
    """A parameter's text and type, as the SDK writes them, so that `Task.get_parameters(cast=True)` gives it back."""
    if value is None:
        return "", ""
    if isinstance(value, list):
        kinds = {type(item).__name__ for item in value}
        try:
            return json.dumps(value), f"list/{kinds.pop()}" if len(kinds) == 1 else "list"
        except ValueError:  # an integer of more digits than Python writes
            return "<a list with an integer too long to be written>", "str"
    try:
        return str(value), type(value).__name__
    except ValueError:
        return "<an integer too long to be written in digits>", "str"


def _add_dataset(content: Content, batch: Batch, index: int, event: DatasetUsed) -> None:
    """Where the SDK lists the datasets that a task got: the hyperparameters' section "Datasets"."""
    about = {"role": event.role, "digest": event.digest, "schema": event.schema, "profile": event.profile}
    said = {key: value for key, value in about.items() if value}
    description = msgspec.json.encode(said, enc_hook=str).decode() if said else ""
    source = event.source or event.digest
    _add_param(content, batch, index, DATASETS, event.name, source, "str", description)
