"""What a run holds, as said or as found, and the comparison of the two."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any, TypeAlias

import msgspec

from tracelet.cli._output import count
from tracelet.cli.backends import KINDS
from tracelet.events import MediaLogged
from tracelet.readback import Recorded

Thing: TypeAlias = tuple[Any, ...]
"""What identifies a thing (a name, a step), and last its value."""

Content: TypeAlias = dict[str, Counter[Thing]]
"""Each thing as often as it is there, by what people call its kind; see `tracelet.cli.backends`."""

STATUS = "run status"

_PARTLY = ("tags", "texts", "trials", "layouts", "artifacts")
"""Of these a backend may have more, of its own."""


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


def content_of(recorded: Recorded, children: Mapping[str, Recorded]) -> Content:
    """What was found, in the form of what is said.

    Args:
        recorded: the run.
        children: its child runs, by name.
    """
    documents = Counter((document(json.loads(text)),) for text in recorded.texts if text.startswith("{"))
    found: Content = {
        "metrics": Counter((name, step, value) for name, value, step in recorded.points),
        "parameters": Counter(recorded.params.items()),
        "tags": Counter(recorded.tags.items()),
        "texts": Counter((text,) for text in recorded.texts),
        "trials": documents,
        "layouts": documents,
        "artifacts": Counter(recorded.artifacts.items()),
        "models": Counter(
            (name, path, data) for name, files in recorded.models.items() for path, data in files.items()
        ),
        "registered models": Counter((name, alias) for name, own in recorded.registered.items() for alias in own),
        "datasets": Counter((name,) for name in recorded.datasets),
        "console lines": Counter((line,) for line in recorded.console),
        "notes": Counter([(recorded.note,)] if recorded.note else []),
        "child runs": Counter(
            (name, *point) for name, child in children.items() if child.parent for point in child.points
        ),
        STATUS: Counter([(None if recorded.outcome is None else recorded.outcome.value,)]),
    }
    for shown in recorded.media:
        found.setdefault(_LABELS[shown.kind], Counter())[shown.name, shown.step] += 1
    return found


def document(content: Any) -> str:
    """JSON, the same for what is equal."""
    return json.dumps(content, sort_keys=True)


_LABELS = {kind: label for label, kind in KINDS.items() if issubclass(kind, MediaLogged)}


def compare(said: Content, found: Content, handled: Collection[str]) -> list[Row]:
    """Every single thing that was said, of the kinds that a backend handles, against every one that was found."""
    kinds = [kind for kind in KINDS if kind in said and kind in handled]
    return [_compare(kind, said[kind], found.get(kind, Counter())) for kind in (*kinds, STATUS)]


def _compare(kind: str, said: Counter[Thing], found: Counter[Thing]) -> Row:
    if kind in _PARTLY:
        names = {thing[0] for thing in said}
        found = Counter({thing: number for thing, number in found.items() if thing[0] in names})
    return Row(
        kind=kind,
        emitted=said.total(),
        found=found.total(),
        missing=list(_described(said - found)),
        unexpected=list(_described(found - said)),
    )


def _described(things: Counter[Thing]) -> Iterator[str]:
    for thing in things.elements():
        *name, value = thing
        label = " at step ".join(map(str, name))
        shown = f"({count(len(value), 'byte')})" if isinstance(value, bytes) else repr(value)[:80]
        yield f"{label}: {shown}" if label else shown
