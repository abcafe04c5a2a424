"""What a run holds, as said or as found, and the comparison of the two."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec


class Content(msgspec.Struct):
    """Each thing as often as it is there.

    Attributes:
        points: metrics, as (name, step, value).
        params: as (name, value).
        texts: as (name, text).
        files: artifacts, as (name, bytes).
        status: how the run ended, in the backend's word.
    """

    points: Counter[tuple[str, int, float]] = msgspec.field(default_factory=Counter)
    params: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)
    texts: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)
    files: Counter[tuple[str, bytes]] = msgspec.field(default_factory=Counter)
    status: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)


class Row(msgspec.Struct, frozen=True):
    """The comparison of one kind of things.

    Attributes:
        emitted, found: how many.
        missing: what was said and not found.
        unexpected: what was found and not said; a changed value is both.
    """

    kind: str
    emitted: int
    found: int
    missing: list[str]
    unexpected: list[str]

    @property
    def equal(self) -> bool:
        return not self.missing and not self.unexpected


_KINDS = {
    "metric points": "points",
    "parameters": "params",
    "texts": "texts",
    "artifacts": "files",
    "run status": "status",
}


def compare(said: Content, found: Content) -> list[Row]:
    """Every single thing that was said against every one that was found."""
    return [_compare(kind, getattr(said, field), getattr(found, field)) for kind, field in _KINDS.items()]


def _compare(kind: str, said: Counter[tuple[Any, ...]], found: Counter[tuple[Any, ...]]) -> Row:
    return Row(
        kind=kind,
        emitted=said.total(),
        found=found.total(),
        missing=list(_described(said - found)),
        unexpected=list(_described(found - said)),
    )


def _described(things: Counter[tuple[Any, ...]]) -> Iterator[str]:
    for thing in things.elements():
        *name, value = thing
        label = " at step ".join(map(str, name))
        yield f"{label} ({len(value):,} bytes)" if isinstance(value, bytes) else f"{label}: {value!r:.80}"
