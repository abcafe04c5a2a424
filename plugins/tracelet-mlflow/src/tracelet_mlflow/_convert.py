"""Events to MLflow's records, and records to requests within MLflow's limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf, isfinite, isnan
from typing import Any, Literal, TypeAlias, TypeVar

from msgspec import Struct, field

from tracelet.backend import Batch
from tracelet.events import ArtifactLogged, Event, MetricsLogged, Number, ParamsLogged, TagsSet, TextLogged
from tracelet_mlflow._names import Name, artifact_path, key, key_in_context, text_path

MAX_PARAM_VALUE = 6_000
MAX_TAG_VALUE = 8_000
_MAX_REQUEST = 950_000
_INT64 = 2**63 - 1


class Metric(Struct, frozen=True, gc=False):
    """One point. The value may be any float; the timestamp is in milliseconds."""

    index: int
    key: str
    value: float
    timestamp: int
    step: int


class Entry(Struct, frozen=True, gc=False):
    """One param or tag."""

    index: int
    key: str
    value: str


class Upload(Struct, frozen=True, gc=False):
    """One file of the run: the text itself, or the event that tells where the file is."""

    index: int
    path: str
    source: bytes | ArtifactLogged


Record: TypeAlias = Metric | Entry
Table: TypeAlias = Literal["metrics", "params", "tags"]
R = TypeVar("R", Metric, Entry)

LIMITS: dict[Table, int] = {"metrics": 1_000, "params": 100, "tags": 100}


class Content(Struct):
    """A batch as MLflow's records; `index` in each is the event's place in the batch."""

    metrics: list[Metric] = field(default_factory=list)
    params: list[Entry] = field(default_factory=list)
    tags: dict[str, Entry] = field(default_factory=dict)
    texts: dict[str, Upload] = field(default_factory=dict)
    artifacts: list[Upload] = field(default_factory=list)


def convert(batch: Batch) -> Content:
    """The batch's records, in order; what MLflow can't hold as it was said is marked with `batch.degrade`."""
    content = Content()
    points: set[tuple[object, ...]] = set()
    params: dict[str, str] = {}
    for index, event in enumerate(batch.events):
        if isinstance(event, MetricsLogged):
            _add_metrics(content, batch, index, event, points)
        elif isinstance(event, ParamsLogged):
            _add_params(content, batch, index, event, params)
        elif isinstance(event, TagsSet):
            _add_tags(content, batch, index, event)
        elif isinstance(event, TextLogged):
            _add_text(content, batch, index, event)
        elif isinstance(event, ArtifactLogged):
            path = _named(batch, index, artifact_path(event.name))
            content.artifacts.append(Upload(index, path, event))
    return content


def requests(table: Table, records: Sequence[R]) -> Iterator[list[R]]:
    """The records in lists that MLflow takes: by number, by size, and, since it refuses a repeated one, by param."""
    limit = LIMITS[table]
    chunk: list[R] = []
    keys: set[str] = set()
    size = 0
    for record in records:
        weight = _weight(record)
        repeated = table == "params" and record.key in keys
        if chunk and (repeated or len(chunk) == limit or size + weight > _MAX_REQUEST):
            yield chunk
            chunk, size = [], 0
            keys.clear()
        chunk.append(record)
        keys.add(record.key)
        size += weight
    if chunk:
        yield chunk


def _weight(record: Record) -> int:
    """The most bytes a record can take as JSON: keys have nothing to escape, values six bytes a character."""
    if isinstance(record, Metric):
        return 128 + 4 * len(record.key)
    return 64 + 4 * len(record.key) + 6 * len(record.value)


def _named(batch: Batch, index: int, name: Name) -> str:
    if name.altered:
        batch.degrade(index, "name not allowed by MLflow: changed, with a hash of the original")
    return name.text


def _add_metrics(
    content: Content, batch: Batch, index: int, event: MetricsLogged, points: set[tuple[object, ...]]
) -> None:
    timestamp = _timestamp(batch, index, event)
    step = max(-_INT64, min(event.step, _INT64))
    if step != event.step:
        batch.degrade(index, "step beyond 64 bits: the nearest possible is stored")
    for name, number in event.values.items():
        metric_key = _named(batch, index, key_in_context(name, event.context))
        value = number if type(number) is float else _as_float(batch, index, number)
        point = (metric_key, timestamp, step, "nan" if value != value else value)
        if point in points:
            batch.degrade(index, "same name, step, millisecond and value as another point: MLflow keeps one")
            continue
        points.add(point)
        if value in (inf, -inf):
            batch.degrade(index, "infinity: MLflow stores the largest float")
        content.metrics.append(Metric(index, metric_key, value, timestamp, step))


def _timestamp(batch: Batch, index: int, event: Event) -> int:
    milliseconds = event.time * 1000
    if 0 <= milliseconds < _INT64:
        return int(milliseconds)
    batch.degrade(index, "time before 1970 or beyond 64 bits: the nearest possible is stored")
    return _INT64 if isfinite(milliseconds) and milliseconds > 0 else 0


def _as_float(batch: Batch, index: int, number: Number) -> float:
    try:
        value = float(number)
    except OverflowError:
        return inf if number > 0 else -inf
    if value != number and not isnan(value):
        batch.degrade(index, "integer not exact as a 64-bit float")
    return value


def _add_params(content: Content, batch: Batch, index: int, event: ParamsLogged, said: dict[str, str]) -> None:
    for name, given in event.values.items():
        param = _named(batch, index, key(name))
        value = _text(batch, index, _str(batch, index, given), MAX_PARAM_VALUE)
        if said.get(param) != value:
            content.params.append(Entry(index, param, value))
        said.setdefault(param, value)


def _add_tags(content: Content, batch: Batch, index: int, event: TagsSet) -> None:
    for name, given in event.values.items():
        tag = _named(batch, index, key(name))
        content.tags.pop(tag, None)
        content.tags[tag] = Entry(index, tag, _text(batch, index, given, MAX_TAG_VALUE))


def _add_text(content: Content, batch: Batch, index: int, event: TextLogged) -> None:
    path = _named(batch, index, text_path(event.name, event.step, event.context))
    if earlier := content.texts.pop(path, None):
        batch.degrade(earlier.index, "replaced by a later text of the same name and step")
    content.texts[path] = Upload(index, path, event.text.encode())


def _str(batch: Batch, index: int, value: Any) -> str:
    try:
        return str(value)
    except ValueError:  # an integer of more digits than Python writes
        batch.degrade(index, "integer too long to be written in digits")
        return f"<{type(value).__name__} too long to be written in digits>"


def _text(batch: Batch, index: int, value: str, limit: int) -> str:
    """`value` as every database behind MLflow takes it: PostgreSQL knows no NUL."""
    if "\0" in value:
        batch.degrade(index, "NUL character: replaced")
        value = value.replace("\0", "\N{REPLACEMENT CHARACTER}")
    if len(value) > limit:
        batch.degrade(index, f"longer than MLflow's {limit} characters: cut")
        value = value[:limit]
    return value
