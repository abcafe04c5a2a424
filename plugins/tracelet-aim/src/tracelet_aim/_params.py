"""Params, tags and the like: what Aim keeps as attributes of the run."""

from __future__ import annotations

from typing import Any

from tracelet.backend import Batch
from tracelet.events import DatasetUsed, ModelLogged, ModelRegistered, ParamsLogged, TagsSet
from tracelet_aim._names import key, tree
from tracelet_aim._session import ATTRIBUTE, Session

HPARAMS = "hparams"
_LABEL = 200
_CHANGED = "name or value changed: Aim has no empty names, and integers of 64 bits"


def nest(known: dict[str, Any], name: str) -> tuple[tuple[str, ...], bool]:
    """Where the param `optimizer/lr` goes (`run.hparams.optimizer.lr`), and whether that is another name.

    A name that can't be nested, since a part of it is empty or a value, stays one flat name.
    """
    parts = tuple(name.split("/"))
    if not all(parts):
        flat = key(name)
        return (flat.text,), flat.altered
    place: Any = known
    for part in parts[:-1]:
        place = place.get(part, {})
        if not isinstance(place, dict):
            return (name,), True
    if isinstance(place.get(parts[-1]), dict) and place[parts[-1]]:
        return (f"{name}/",), True
    return parts, False


def set_params(session: Session, batch: Batch, events: list[tuple[int, ParamsLogged]]) -> None:
    """Merge params into `run["hparams"]`."""
    known: dict[str, Any] = _copied(session.get((HPARAMS,)) or {})
    for index, event in events:
        for name, given in event.values.items():
            path, altered = nest(known, name)
            value, changed = tree(given)
            if altered or changed:
                batch.degrade(index, _CHANGED)
            place = known
            for part in path[:-1]:
                place = place.setdefault(part, {})
            place[path[-1]] = value
    session.set((HPARAMS,), known)


def set_tags(session: Session, batch: Batch, events: list[tuple[int, TagsSet]]) -> None:
    """Tags are labels `name=value` of the run, and, for queries, `run.tracelet.tags`."""
    known: dict[str, str] = dict(session.get((ATTRIBUTE, "tags")) or {})
    before = dict(known)
    for index, event in events:
        for name, value in event.values.items():
            named = key(name)
            if named.altered:
                batch.degrade(index, _CHANGED)
            known[named.text] = value
    wanted = {name: _label(name, value) for name, value in known.items()}
    stale = {_label(name, value) for name, value in before.items()} - set(wanted.values())
    present = set(session.run.tags)
    for label in stale & present:
        session.run.remove_tag(label)
    for label in wanted.values():
        if label not in present and len(label) <= _LABEL:
            session.run.add_tag(label)
            present.add(label)
    session.set((ATTRIBUTE, "tags"), known)


def set_dataset(session: Session, batch: Batch, index: int, event: DatasetUsed) -> None:
    """`run["datasets"][name]`; the same dataset in another role gets the role added to its name."""
    named = key(event.name)
    fields = {"source": event.source, "digest": event.digest, "role": event.role}
    value, changed = tree(fields | {"schema": event.schema, "profile": event.profile})
    if named.altered or changed:
        batch.degrade(index, _CHANGED)
    name = named.text
    other = session.get(("datasets", name))
    if other is not None and other.get("role") != event.role:
        name = f"{name} ({event.role})"
    session.set(("datasets", name), value)


def set_model(session: Session, batch: Batch, index: int, event: ModelLogged, files: list[str]) -> None:
    """`run["models"][name]`: what is known of the model, and which artifacts it is made of."""
    metadata, changed = tree(event.metadata)
    if changed:
        batch.degrade(index, _CHANGED)
    fields = {"framework": event.framework, "step": event.step, "metadata": metadata, "files": files}
    session.set(("models", key(event.name).text), fields)


def set_registered(session: Session, batch: Batch, index: int, event: ModelRegistered) -> None:
    """`run["registered_models"][name]`."""
    batch.degrade(index, "Aim has no model registry: kept as an attribute of the run")
    fields = {"model": event.model, "aliases": list(event.aliases), "description": event.description}
    session.set(("registered_models", key(event.name).text), fields)


def _label(name: str, value: str) -> str:
    return f"{name}={value}" if value else name


def _copied(value: Any) -> Any:
    return {name: _copied(item) for name, item in value.items()} if isinstance(value, dict) else value
