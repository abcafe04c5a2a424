"""Names as MLflow takes them: keys of metrics, params and tags, the paths of artifacts, names of images and models.

A name that MLflow takes is used as it is. Any other is changed, and then carries a hash of the original, so that two
names never become one.
"""

from __future__ import annotations

import json
import posixpath
import re
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from tracelet.events import Context, Scalar

MAX_KEY = 250
_KEY = re.compile(r"[/\w.\- :]+")
_NOT_KEY = re.compile(r"[^/\w.\- :]+")
_NOT_PATH = re.compile(r"[\x00-\x1f\x7f\\%#?:]+")
_NOT_MODEL = re.compile(r"[\x00-\x1f\x7f/:.%\"'\\]+")
_NOT_REGISTERED = re.compile(r"[\x00-\x1f\x7f/:@\\]+")
_NOT_ALIAS = re.compile(r"[^\w\-]+")
_VERSION = re.compile(r"[vV]\d+")
_MAX_COMPONENT = 200
_MAX_PATH = 800

_CONTEXT_NAME = re.compile(r"[\w.\-]+")
_CONTEXT_TEXT = re.compile(r"[^\W\d][\w.\-]*")
_CONTEXT_FLOAT = re.compile(r"-?\d+\.\d+")
_LIKE_CONTEXT = re.compile(r" [\w.\-]+[:=][\w.\-]+$")
_LIKE_STEP = re.compile(r"(^|/)step_(?=-?\d)")
_NOT_IMAGE = re.compile(r"[+~]+")
_MAX_IMAGE = 120
_LIKE_OTHERS = ("True", "False", "None")

_EXTENSIONS = frozenset(
    """.txt .md .rst .html .htm .json .jsonl .yaml .yml .toml .ini .cfg .csv .tsv .xml .svg .log .py .js .sh .sql .tex
    .diff .patch""".split()  # noqa: SIM905 - two lines instead of 24
)


class Name(NamedTuple):
    """A name for MLflow.

    Attributes:
        text: the name.
        altered: whether it is another than the one given.
    """

    text: str
    altered: bool


@lru_cache(maxsize=16_384)
def key(name: str) -> Name:
    """The key of a metric without a context, a param or a tag."""
    if _is_key(name) and not _LIKE_CONTEXT.search(name):
        return Name(name, altered=False)
    return Name(_hashed_key(name, name), altered=True)


def key_in_context(name: str, context: Context) -> Name:
    """The key of a metric: `loss` in the context subset=val is `loss subset:val`."""
    if not context:
        return key(name)
    return _key_in_context(name, context, tuple([type(value) for _, value in context]))


@lru_cache(maxsize=16_384)
def _key_in_context(name: str, context: Context, types: tuple[type, ...]) -> Name:
    """The types are for the cache, to which 1, 1.0 and True are one."""
    text = name + _suffix(context, ":")
    if _is_key(text) and _is_unambiguous(name, context):
        return Name(text, altered=False)
    return Name(_hashed_key(text, _identity(name, context)), altered=True)


def artifact_path(name: str) -> Name:
    """The path of an artifact inside the run: relative, without "..", and such that it can be downloaded again."""
    path = _clean_path(name)
    if path == name:
        return Name(path, altered=False)
    stem, extension = posixpath.splitext(path)
    return Name(f"{stem}-{_hash(name)}{extension}", altered=True)


def text_path(name: str, step: int | None, context: Context) -> Name:
    """The path of a text: `note.txt`, `note/step_7.txt`, `note subset=val/step_7.txt`; a known extension is kept."""
    stem, extension = posixpath.splitext(name)
    if extension.lower() not in _EXTENSIONS:
        stem, extension = name, ".txt"
    said = stem + _suffix(context, "=")
    folder = _clean_path(said)
    altered = folder != said or not _is_unambiguous(stem, context)
    if altered:
        folder = f"{folder}-{_hash(_identity(stem, context))}"
    return Name(folder + (extension if step is None else f"/step_{step}{extension}"), altered)


def media_folder(name: str, context: Context) -> Name:
    """The folder of what is shown under a name, whose files are `step_<n>.<suffix>`; no name can be taken for one."""
    said = name + _suffix(context, "=")
    folder = _LIKE_STEP.sub(r"\1step-", _clean_path(said))
    if folder == said and _is_unambiguous(name, context):
        return Name(folder, altered=False)
    return Name(f"{folder}-{_hash(_identity(name, context))}", altered=True)


def image_key(name: str, context: Context) -> Name:
    """The name of an image in MLflow's image charts, as it is in a file's name: with "~" for "/"."""
    said = name + _suffix(context, "=")
    text = _NOT_IMAGE.sub("_", _clean_path(said))
    if text == said and len(text.encode()) <= _MAX_IMAGE and _is_unambiguous(name, context):
        return Name(text.replace("/", "~"), altered=False)
    end = f"-{_hash(_identity(name, context))}"
    return Name(_cut(text.replace("/", "~"), _MAX_IMAGE - len(end)) + end, altered=True)


def model_name(name: str) -> Name:
    """The name of a logged model."""
    text = _cut(_NOT_MODEL.sub("_", name), _MAX_COMPONENT)
    if text == name and text.strip():
        return Name(text, altered=False)
    return Name(f"{text}-{_hash(name)}", altered=True)


def registered_name(name: str) -> Name:
    """The name of a registered model, which MLflow's pages and URIs have as a part of a path."""
    text = _cut(_NOT_REGISTERED.sub("_", name), _MAX_COMPONENT)
    if text == name and text.strip() and text not in (".", ".."):
        return Name(text, altered=False)
    return Name(f"{text.strip('.')}-{_hash(name)}", altered=True)


def alias(name: str) -> Name:
    """An alias of a version; "latest" and "v1" have a meaning of MLflow's own."""
    text = _NOT_ALIAS.sub("_", name)[:MAX_KEY]
    if text == name and text and text.lower() != "latest" and not _VERSION.fullmatch(text):
        return Name(text, altered=False)
    return Name(f"{text[: MAX_KEY - 9]}-{_hash(name)}", altered=True)


def _is_key(text: str) -> bool:
    """MLflow's own rule: the allowed characters, and a name that is its own normal form when read as a path."""
    return (
        len(text) <= MAX_KEY
        and _KEY.fullmatch(text) is not None
        and posixpath.normpath(text) == text
        and text != "."
        and not text.startswith(("/", ".."))
    )


def _hashed_key(text: str, identity: str) -> str:
    parts = [part.lstrip(".") or "_" for part in _NOT_KEY.sub("_", text).split("/") if part]
    end = f"-{_hash(identity)}"
    return ("/".join(parts) or "_")[: MAX_KEY - len(end)] + end


def _clean_path(name: str) -> str:
    parts = [part for part in _NOT_PATH.sub("_", name).split("/") if part not in ("", ".")]
    parts = [_cut("_" if part == ".." else part, _MAX_COMPONENT) for part in parts]
    while len("/".join(parts).encode()) > _MAX_PATH:
        del parts[0]
    return "/".join(parts) or "_"


def _cut(text: str, size: int) -> str:
    return text.encode()[:size].decode(errors="ignore")


def _suffix(context: Context, joint: str) -> str:
    return "".join(f" {name}{joint}{_context_value(value)}" for name, value in context)


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
