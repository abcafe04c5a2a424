"""Names as Aim takes them: any text but the empty one; of files only what stays in the run's folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from tracelet.events import Context

NAMELESS = "(no name)"
_INT64 = 2**63
_SEGMENT = 255
_PATH = 1_000


class Name(Struct, frozen=True, gc=False):
    """A name as Aim has it, and whether it is another than was given."""

    text: str
    altered: bool


def key(name: str) -> Name:
    """Aim's keys must not be empty. No two names get the same one: what looks like the stand-in gets one more of it."""
    if not name.replace(NAMELESS, ""):
        return Name(name + NAMELESS, True)
    return Name(name, False)


def context_keys(context: Context) -> tuple[dict[str, Any], bool]:
    """The context as Aim's dict, and whether anything in it had to be changed."""
    altered = False
    keys: dict[str, Any] = {}
    for name, value in context:
        named = key(name)
        storable = value
        if isinstance(value, int) and not -_INT64 <= value < _INT64:
            storable, altered = str(value), True
        altered |= named.altered
        keys[named.text] = storable
    return keys, altered


def tree(value: Any) -> tuple[Any, bool]:
    """A value as Aim's trees take it, and whether it is another than was given.

    Aim's integers have 64 bits, longer ones become text; keys of mappings are texts that are not empty.
    """
    if value is None or isinstance(value, bool | float | str):
        return value, False
    if isinstance(value, int):
        return (value, False) if -_INT64 <= value < _INT64 else (str(value), True)
    if isinstance(value, Mapping):
        changed = False
        result: dict[str, Any] = {}
        for name, item in value.items():
            named = key(name) if isinstance(name, str) else Name(str(name) or NAMELESS, True)
            result[named.text], item_changed = tree(item)
            changed |= named.altered or item_changed
        return result, changed
    if isinstance(value, list | tuple):
        pairs = [tree(item) for item in value]
        return [item for item, _ in pairs], any(changed for _, changed in pairs)
    return str(value), True


def artifact_path(name: str) -> Name:
    """A relative path that stays in its folder; a changed one ends with a hash of the name, before the suffix."""
    parts = name.split("/")
    kept = [_segment(part) for part in parts if part not in ("", ".", "..")]
    path = "/".join(kept)
    if path == name and path and len(path.encode()) <= _PATH:
        return Name(name, False)
    stem, dot, suffix = (kept[-1] if kept else "file").rpartition(".")
    if not stem or len(suffix) > 16:
        stem, dot, suffix = stem + dot + suffix, "", ""
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    last = f"{_cut(stem, _SEGMENT - 32)}-{digest}{dot}{suffix}"
    folders = kept[:-1] if len(path.encode()) <= _PATH else []
    return Name("/".join([*folders, last]), True)


def _segment(part: str) -> str:
    clean = "".join(character if character.isprintable() else "_" for character in part)
    return clean if len(clean.encode()) <= _SEGMENT else _cut(clean, _SEGMENT - 32)


def _cut(text: str, size: int) -> str:
    return text.encode()[:size].decode(errors="ignore")
