"""Datasets as MLflow's dataset inputs, as `mlflow.log_input` makes them."""

from __future__ import annotations

import re
from hashlib import blake2b
from math import isfinite
from typing import Any
from urllib.parse import urlsplit

import msgspec

from tracelet.backend import Batch
from tracelet.events import DatasetUsed, Number
from tracelet_mlflow._records import Entry
from tracelet_mlflow._words import fitted

CONTEXT_TAG = "mlflow.data.context"
DIGEST_TAG = "tracelet.digest"

_MAX_NAME, _MAX_DIGEST, _MAX_SOURCE, _MAX_TAG = 500, 36, 65_535, 500
_MAX_SCHEMA, _MAX_PROFILE = 1_048_575, 16_777_215
_TYPES = {
    "boolean": "bool boolean bool_ logical",
    "integer": "int8 int16 int32 uint8 uint16 i1 i2 i4",
    "long": "int int64 uint32 bigint i8 integer64",
    "float": "float16 float32 f4 halffloat",
    "double": "f float float64 f8 number numeric",
    "string": "str object string utf8 large_string category varchar text",
    "binary": "bytes large_binary blob",
    "datetime": "datetime64 datetime64[ns] datetime64[us] timestamp date",
}
_COLUMN_TYPES = {name: kind for kind, names in _TYPES.items() for name in names.split()}
_SCHEME = re.compile(r"[A-Za-z][\w+.\-]*://")


class Dataset(msgspec.Struct, frozen=True, omit_defaults=True):
    """The dataset itself, which runs of one experiment share; all but the name and digest may be JSON."""

    name: str
    digest: str
    source_type: str
    source: str
    schema: str | None = None
    profile: str | None = None


class DatasetInput(msgspec.Struct, frozen=True):
    """A dataset that a run reads, and its tags."""

    dataset: Dataset
    tags: list[Entry]


def dataset_input(batch: Batch, index: int, event: DatasetUsed) -> DatasetInput:
    """The event as MLflow has it; what doesn't fit is marked as degraded."""
    source_type, source = _source(event.source)
    if len(source) > _MAX_SOURCE:
        batch.degrade(index, f"a dataset's source of more than {_MAX_SOURCE} characters: left out")
        source_type, source = _source("")
    digest = event.digest or _hash(_json([event.source, event.schema, _profile(event.profile)]).encode())
    tags = [Entry(CONTEXT_TAG, fitted(batch, index, event.role, _MAX_TAG))] if event.role else []
    if len(digest) > _MAX_DIGEST:
        tags.append(Entry(DIGEST_TAG, fitted(batch, index, digest, _MAX_TAG)))
        digest = f"{digest[: _MAX_DIGEST - 9]}-{_hash(digest.encode())}"
    dataset = Dataset(
        fitted(batch, index, event.name, _MAX_NAME),
        fitted(batch, index, digest, _MAX_DIGEST),
        source_type,
        source,
        _within(batch, index, "schema", _schema(event.schema), _MAX_SCHEMA),
        _within(batch, index, "profile", _profile(event.profile), _MAX_PROFILE),
    )
    return DatasetInput(dataset, tags)


def _source(source: str) -> tuple[str, str]:
    """The type and the JSON that `mlflow.data.get_source` reads again."""
    scheme = urlsplit(source).scheme if _SCHEME.match(source) else ""
    if scheme in ("http", "https"):
        return "http", _json({"url": source})
    if source:
        return "local" if scheme in ("", "file") else scheme, _json({"uri": source})
    return "code", _json({"tags": {}})


def _schema(columns: dict[str, str]) -> str | None:
    specs = [
        {"type": _COLUMN_TYPES.get(kind.lower(), kind), "name": name, "required": True}
        for name, kind in columns.items()
    ]
    return _json({"mlflow_colspec": specs}) if specs else None


def _profile(numbers: dict[str, Number]) -> str | None:
    """MLflow's pages show `num_rows`. What JSON has no number for is text."""
    said = {name: number if _is_json(number) else str(number) for name, number in numbers.items()}
    return _json(({"num_rows": said["rows"]} if "rows" in said else {}) | said) if said else None


def _is_json(number: Number) -> bool:
    return isfinite(number) if isinstance(number, float) else number.bit_length() < 64


def _within(batch: Batch, index: int, what: str, text: str | None, limit: int) -> str | None:
    if text is None or len(text) <= limit:
        return text
    batch.degrade(index, f"a dataset's {what} of more than {limit} characters: left out")
    return None


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _hash(data: bytes) -> str:
    return blake2b(data, digest_size=4).hexdigest()
