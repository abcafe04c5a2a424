"""Names as W&B takes them: of metrics and media, of params, and of artifacts.

A name that W&B takes is used as it is. Any other is changed, and then carries a hash of the original, so that two
names never become one.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from tracelet.events import Context, Scalar

STEP = "global_step"
"""The x axis of everything with a step: W&B's own `_step` only goes up."""

CONFIG = "tracelet"
"""The part of the run's config that says what W&B has no place for."""

_MAX_KEY = 180  # bytes: a medium's file has the name in its own, with room for step, hash and suffix
_MAX_CONFIG_KEY = 1_000
_MAX_ARTIFACT = 128
_NOT_KEY = re.compile(r"[\x00-\x1f\x7f\\*`]+")
_NOT_ARTIFACT = re.compile(r"[^A-Za-z0-9_.\-]+")
_NOT_COLLECTION = re.compile(r"[\x00-\x1f\x7f/\\#?%:]+")
_EXTENSION = re.compile(r"\.\w{1,10}$", re.ASCII)

_CONTEXT_NAME = re.compile(r"[\w.\-]+")
_CONTEXT_TEXT = re.compile(r"[^\W\d][\w.\-]*")
_CONTEXT_FLOAT = re.compile(r"-?\d+\.\d+")
_LIKE_CONTEXT = re.compile(r" [\w.\-]+=[\w.\-]+$")
_LIKE_OTHERS = ("True", "False", "None")


class Name(NamedTuple):
    """A name for W&B.

    Attributes:
        text: the name.
        altered: whether it is another than the one given.
    """

    text: str
    altered: bool


def key(name: str, context: Context = ()) -> Name:
    """The key of a metric or medium in the run's history: `loss` in the context subset=val is `loss subset=val`."""
    return _key(name, context, tuple([type(value) for _, value in context]) if context else ())


@lru_cache(maxsize=16_384)
def _key(name: str, context: Context, types: tuple[type, ...]) -> Name:
    """The types are for the cache, to which 1, 1.0 and True are one."""
    text = name + "".join(f" {name}={_context_value(value)}" for name, value in context)
    if _is_key(text) and _is_unambiguous(name, context):
        return Name(text, altered=False)
    parts = [_NOT_KEY.sub("_", part) for part in text.split("/") if part.strip(" .")]
    return Name(_hashed("/".join(parts).lstrip("_ "), _identity(name, context), _MAX_KEY), altered=True)


@lru_cache(maxsize=4_096)
def config_key(name: str) -> Name:
    """The key of a param in the run's config."""
    allowed = 0 < len(name.encode()) <= _MAX_CONFIG_KEY and name.strip() == name and not _NOT_KEY.search(name)
    if allowed and name not in ("_wandb", "wandb_version", CONFIG):
        return Name(name, altered=False)
    return Name(_hashed(_NOT_KEY.sub("_", name).strip().lstrip("_"), name, _MAX_CONFIG_KEY), altered=True)


def artifact_name(name: str, prefix: str = "") -> str:
    """The name of an artifact in W&B's project; the whole name is kept elsewhere, by its file or its metadata."""
    return _without(_NOT_ARTIFACT, name, prefix)


def collection_name(name: str) -> str:
    """The name of a collection in W&B's registry, which may have blanks."""
    return _without(_NOT_COLLECTION, name, "")


def _without(excluded: re.Pattern[str], name: str, prefix: str) -> str:
    text = prefix + name
    if len(name) > 0 and len(text) <= _MAX_ARTIFACT and not excluded.search(text):
        return text
    return _hashed(prefix + excluded.sub("-", name), name, _MAX_ARTIFACT)


def artifact_path(name: str) -> Name:
    """The path of a file in its artifact: relative, without "..", and such that it can be downloaded again."""
    parts = [_NOT_KEY.sub("_", part)[:200] for part in name.split("/") if part.strip(" .")]
    path = "/".join(parts)[-900:]
    if path == name:
        return Name(path, altered=False)
    ending = _EXTENSION.search(path)
    stem, suffix = (path[: ending.start()], ending.group()) if ending else (path, "")
    return Name(f"{stem}-{_hash(name)}{suffix}", altered=True)


def _is_key(text: str) -> bool:
    return (
        text != STEP
        and len(text.encode()) <= _MAX_KEY
        and not text.startswith("_")
        and text.strip() == text
        and not _NOT_KEY.search(text)
        and all(part.strip(" .") for part in text.split("/"))
    )


def _hashed(text: str, identity: str, limit: int) -> str:
    end = f"-{_hash(identity)}"
    return text.encode()[: limit - len(end)].decode(errors="ignore") + end if text else f"unnamed{end}"


def _context_value(value: Scalar) -> str:
    try:
        return str(value)
    except ValueError:  # an integer of more digits than Python writes
        return "int"


def _is_unambiguous(name: str, context: Context) -> bool:
    """Whether a name and its suffix can't be mistaken for another name, nor a value for one of another type."""
    return not _LIKE_CONTEXT.search(name) and all(
        _CONTEXT_NAME.fullmatch(name) and _is_plain(value) for name, value in context
    )


def _is_plain(value: Scalar) -> bool:
    if isinstance(value, str):
        return value not in _LIKE_OTHERS and _CONTEXT_TEXT.fullmatch(value) is not None
    if isinstance(value, float):
        return _CONTEXT_FLOAT.fullmatch(str(value)) is not None
    return not isinstance(value, int) or value.bit_length() <= 64


def _identity(name: str, context: Context) -> str:
    if not context:
        return name
    return json.dumps([name, [[key, hex(v) if type(v) is int else v] for key, v in context]])


def _hash(text: str) -> str:
    return blake2b(text.encode(errors="surrogatepass"), digest_size=4).hexdigest()
