"""What a run says, as JSON: numbers that JSON has not are strings, and huge integers keep all their digits."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import islice
from typing import Any

import msgspec

from tracelet.cli._delivery import Standing
from tracelet.cli._ends import Ending
from tracelet.cli._record import FILE_KINDS, Points, RunRecorded
from tracelet.cli._runs import Found
from tracelet.cli._series import Series
from tracelet.cli.runs import lasted

_CHUNK = 10_000  # points that are encoded at once


def write_run(
    found: Found, ending: Ending, standing: Standing | None, said: RunRecorded, write: Callable[[str], object]
) -> None:
    """Write all of it; the points, if they were kept, a metric a line."""
    everything = _run(found, ending, standing, said)
    if not said.points:
        metrics = [_metric(series) | {"curve": series.curve()} for series in said.series.values()]
        write(msgspec.json.format(_encode(everything | {"metrics": metrics})).decode() + "\n")
        return
    write(_text(everything)[:-1] + ',"metrics":[')
    for number, (key, series) in enumerate(said.series.items()):
        write(("," if number else "") + "\n" + _text(_metric(series))[:-1] + ',"points":[')
        _write_points(said.points[key], write)
        write("]}")
    write("]}\n")


def plain(value: Any) -> Any:
    """The value as what `msgspec.json` can encode."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        try:
            return msgspec.Raw(str(value).encode())
        except ValueError:  # more digits than the interpreter turns into text
            return hex(value)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def _run(found: Found, ending: Ending, standing: Standing | None, said: RunRecorded) -> dict[str, Any]:
    record = found.record
    assert record is not None
    return {
        "id": record.id,
        "name": record.name,
        "project": record.project,
        "parent": record.parent,
        "directory": str(found.directory.path),
        "started": found.started,
        "ended": ending.ended,
        "duration": lasted(found, ending),
        "outcome": ending.outcome,
        "events": ending.events,
        "lost": ending.lost,
        "damaged": said.damaged,
        "removed": said.removed,
        "unreadable": said.unknown,
        "writers": ending.writers,
        "params": said.params,
        "tags": said.tags,
        "note": said.note,
        "trials": said.trials,
        "texts": {name: {"count": number, "latest": text} for name, (number, text) in said.texts.items()},
        "datasets": [msgspec.structs.asdict(dataset) for dataset in said.datasets],
        "console_lines": said.console,
        "files": {FILE_KINDS[kind]: msgspec.to_builtins(files) for kind, files in said.files.items()},
        "registered_models": said.registered,
        "points_of_further_metrics": said.beyond,
        "backends": None if standing is None else msgspec.to_builtins(standing.status.backends),
    }


def _metric(series: Series) -> dict[str, Any]:
    return {
        "name": series.name,
        "context": dict(series.context),
        "count": series.points,
        "first": series.first,
        "last": series.last,
        "min": series.low,
        "max": series.high,
        "last_step": series.last_step,
        "min_step": series.first_step,
        "max_step": series.top_step,
        "steps_back": series.back,
        "nan": series.nan,
        "infinite": series.infinite,
    }


def _write_points(points: Points, write: Callable[[str], object]) -> None:
    left, separator = iter(points), ""
    while chunk := list(islice(left, _CHUNK)):
        write(separator + _text(chunk)[1:-1])
        separator = ","


def _text(value: Any) -> str:
    return _encode(value).decode()


def _encode(value: Any) -> bytes:
    return msgspec.json.encode(plain(value))
