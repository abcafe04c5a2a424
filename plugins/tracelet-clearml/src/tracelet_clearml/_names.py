"""Names as ClearML takes them: series of metrics, parameters, tasks, and the paths of files.

A name that ClearML takes is used as it is. Any other is changed, and then carries a hash of the original, so that two
names never become one.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from tracelet.events import Context, Scalar

_LONGEST = 200
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
_LIKE_SUFFIX = re.compile(r"(?: [\w.\-]+:[\w.\-]+| #\d+)$")
_CONTEXT_NAME = re.compile(r"[\w.\-]+")
_CONTEXT_TEXT = re.compile(r"[^\W\d][\w.\-]*")
_CONTEXT_FLOAT = re.compile(r"-?\d+\.\d+")
_LIKE_OTHERS = ("True", "False", "None")
_SHORTEST = 3  # of a task's, a model's and a project's name
_NOT_PATH = re.compile(r"[^A-Za-z0-9 ()._~-]+")


class Name(NamedTuple):
    """A name for ClearML, and whether it is another than the one given."""

    text: str
    altered: bool


class Series(NamedTuple):
    """Where the points of a name are shown: the variants of a metric share a plot.

    Attributes:
        key: tells the server's records apart where it would take two series for one; "" where it wouldn't.
        altered: whether the name could not be kept.
    """

    metric: str
    variant: str
    key: str
    altered: bool


def series(name: str, context: Context) -> Series:
    """`train/loss` is the variant "loss" of the metric "train", `loss` the variant "loss" of the metric "loss", and in
    the context subset=val the variant is "loss subset:val"."""
    if not context:
        return _series(name, (), ())
    return _series(name, context, tuple([type(value) for _, value in context]))


@lru_cache(maxsize=16_384)
def _series(name: str, context: Context, types: tuple[type, ...]) -> Series:
    """The types are for the cache, to which 1, 1.0 and True are one."""
    metric, slash, last = name.rpartition("/")
    if not slash:
        metric = last
    kept = (
        _is_plain_text(metric)
        and _is_plain_text(last)
        and not (slash and metric == last)  # which "loss" is, where it is "loss/loss"
        and not _LIKE_SUFFIX.search(last)
        and all(_CONTEXT_NAME.fullmatch(key) and _is_plain(value) for key, value in context)
    )
    variant = last + "".join(f" {key}:{_text(value)}" for key, value in context)
    if not kept or len(variant) > _LONGEST:
        metric = _cleaned(metric)
        variant = _with_hash(_cleaned(variant), _identity(name, context))
    # The server's identity of a record joins metric and variant with "-": see `Series.key`.
    key = _hash(json.dumps([metric, variant])) if "-" in metric else ""
    return Series(metric, variant, key, not kept or len(variant) > _LONGEST)


@lru_cache(maxsize=16_384)
def parameter(name: str) -> Name:
    """The name of a hyperparameter or property, whose blanks at either end the server would cut off."""
    if _is_plain_text(name) and name == name.strip():
        return Name(name, altered=False)
    return Name(_with_hash(_cleaned(name), name), altered=True)


def model(name: str) -> Name:
    """The name of a model: at least three characters, no blanks at either end."""
    if _is_plain_text(name) and name == name.strip() and len(name) >= _SHORTEST:
        return Name(name, altered=False)
    return Name(_with_hash(_cleaned(name), name), altered=True)


def task(name: str) -> str:
    """The name of a task, which need not be its alone: at least three characters, no blanks at either end."""
    return _cleaned(name).ljust(_SHORTEST, "_")


def project(name: str) -> str:
    """The name of a project; "/" separates it from the projects in which it is."""
    parts = [part.strip()[:_LONGEST] for part in _CONTROL.sub("_", name).split("/")]
    return "/".join(part for part in parts if part) or "_"


def padded(project_name: str) -> str:
    """The name of a project that has to be created: each part has at least three characters."""
    return "/".join(part.ljust(_SHORTEST, "_") for part in project_name.split("/"))


def tag(name: str, value: str) -> str | None:
    """The tag that says what a property says: `stage:first`, or `baseline` for one without a value; None if that would
    be too long to be shown as a tag."""
    text = f"{name}:{value}" if value else name
    return text if _is_plain_text(text) else None


def component(text: str) -> str:
    """Any text as one part of a path, in ASCII; different texts give different parts.

    "/" and all that is special in a URL become what the SDK makes of them, `.slash.` and, for "?", `0x3f`; there is no
    "%", which the SDK doesn't quote.
    """
    escaped = text.replace("0x", "0x30x").replace(".slash.", "0x2eslash.").replace("/", ".slash.")
    escaped = _NOT_PATH.sub(_as_hex, escaped)
    if not escaped.strip(". ") or escaped != escaped.strip(" ") or escaped[0] == "." or len(escaped) > _LONGEST:
        return f"{escaped[:100].strip('. ')}-{_hash(text)}"
    return escaped


def _as_hex(match: re.Match[str]) -> str:
    return "".join(f"0x{byte:02x}" for byte in match[0].encode(errors="surrogatepass"))


def _is_plain_text(text: str) -> bool:
    return bool(text.strip()) and len(text) <= _LONGEST and _CONTROL.search(text) is None


def _is_plain(value: Scalar) -> bool:
    if isinstance(value, str):
        return value not in _LIKE_OTHERS and _CONTEXT_TEXT.fullmatch(value) is not None
    if isinstance(value, float):
        return _CONTEXT_FLOAT.fullmatch(str(value)) is not None
    return not isinstance(value, int) or value.bit_length() <= 64


def _text(value: Scalar) -> str:
    try:
        return str(value)
    except ValueError:  # an integer of more digits than Python writes
        return "int"


def _cleaned(text: str) -> str:
    return _CONTROL.sub("_", text).strip()[:_LONGEST] or "_"


def _with_hash(text: str, identity: str) -> str:
    end = f"-{_hash(identity)}"
    return text[: _LONGEST - len(end)] + end


def _identity(name: str, context: Context) -> str:
    if not context:
        return name
    return json.dumps([name, [[key, hex(v) if type(v) is int else v] for key, v in context]])


def _hash(text: str) -> str:
    return blake2b(text.encode(errors="surrogatepass"), digest_size=4).hexdigest()
