"""What is said in words: params, tags, the note, texts."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from tracelet.backend import Batch
from tracelet.events import Event, MetricsLogged, NoteSet, ParamsLogged, TagsSet, TextLogged
from tracelet.substitutes import substitutes
from tracelet_mlflow._metrics import ALTERED
from tracelet_mlflow._names import Name, key, text_path
from tracelet_mlflow._records import Entry, Records

MAX_PARAM_VALUE = 6_000
MAX_TAG_VALUE = 8_000
NOTE_TAG = "mlflow.note.content"
SHOWN_TAGS = {
    "git.commit": "mlflow.source.git.commit",
    "git.branch": "mlflow.source.git.branch",
    "git.remote": "mlflow.source.git.repoURL",
}
"""What MLflow shows of a run's code, by the tag that Tracelet captures it under."""


class Text(Struct, frozen=True, gc=False):
    """One text file of the run."""

    index: int
    path: str
    content: bytes


class Words(Struct):
    """A batch's words as MLflow's records."""

    params: Records[Entry] = field(default_factory=Records)
    tags: dict[str, tuple[int, Entry]] = field(default_factory=dict)
    texts: dict[str, Text] = field(default_factory=dict)


def words(batch: Batch) -> Words:
    """The words of the batch, in order; of tags and of texts of one path, the last."""
    found = Words()
    params: dict[str, str] = {}
    for index, event in enumerate(batch.events):
        if type(event) is MetricsLogged:  # nearly all are
            continue
        for said in substitutes(event):
            _add(found, batch, index, said, params)
    return found


def _add(found: Words, batch: Batch, index: int, event: Event, params: dict[str, str]) -> None:
    if isinstance(event, ParamsLogged):
        _add_params(found, batch, index, event, params)
    elif isinstance(event, TagsSet):
        for name, given in event.values.items():
            _add_tag(found, batch, index, named(batch, index, key(name)), given)
            if name in SHOWN_TAGS:
                _add_tag(found, batch, index, SHOWN_TAGS[name], given)
    elif isinstance(event, NoteSet):
        _add_tag(found, batch, index, NOTE_TAG, event.text)
    elif isinstance(event, TextLogged):
        _add_text(found, batch, index, event)


def named(batch: Batch, index: int, name: Name) -> str:
    """The name; if it is another than the one given, that is counted."""
    if name.altered:
        batch.degrade(index, ALTERED)
    return name.text


def fitted(batch: Batch, index: int, value: str, limit: int) -> str:
    """`value` as every database behind MLflow takes it: PostgreSQL knows no NUL."""
    if "\0" in value:
        batch.degrade(index, "NUL character: replaced")
        value = value.replace("\0", "\N{REPLACEMENT CHARACTER}")
    if len(value) > limit:
        batch.degrade(index, f"longer than MLflow's {limit} characters: cut")
        value = value[:limit]
    return value


def as_text(batch: Batch, index: int, value: Any) -> str:
    """`str(value)`, as `mlflow.log_param` says it."""
    try:
        return str(value)
    except ValueError:  # an integer of more digits than Python writes
        batch.degrade(index, "integer too long to be written in digits")
        return f"<{type(value).__name__} too long to be written in digits>"


def _add_params(found: Words, batch: Batch, index: int, event: ParamsLogged, said: dict[str, str]) -> None:
    for name, given in event.values.items():
        param = named(batch, index, key(name))
        value = fitted(batch, index, as_text(batch, index, given), MAX_PARAM_VALUE)
        if said.get(param) != value:
            found.params.add(index, Entry(param, value))
        said.setdefault(param, value)


def _add_tag(found: Words, batch: Batch, index: int, tag: str, given: str) -> None:
    found.tags.pop(tag, None)
    found.tags[tag] = index, Entry(tag, fitted(batch, index, given, MAX_TAG_VALUE))


def _add_text(found: Words, batch: Batch, index: int, event: TextLogged) -> None:
    path = named(batch, index, text_path(event.name, event.step, event.context))
    if earlier := found.texts.pop(path, None):
        batch.degrade(earlier.index, "replaced by a later text of the same name and step")
    found.texts[path] = Text(index, path, event.text.encode())
