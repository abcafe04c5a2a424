"""Embeddings: `projector_config.pbtxt` beside event files, and the tables and pictures that it names."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from tracelet.tensorboard._sayings import Context

PROJECTOR = "projector_config.pbtxt"

_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|[{}]|[^\s{}":]+')
_ESCAPE = re.compile(r"(?:\\[0-7]{3})+|\\.")  # the bytes of a character, or one that is escaped
_STEP = re.compile(r":(\d+)$")


class Embedding(Struct):
    """What the projector's configuration says of one embedding; paths are absolute, "" for none.

    Attributes:
        key: what tells it from the others of its file.
        images: a picture with all pictures, in rows of a square; each has the size (width, height).
    """

    key: str
    name: str
    step: int
    vectors: str
    labels: str = ""
    images: str = ""
    size: tuple[int, int] = (0, 0)


def embeddings(config: Path) -> dict[str, Embedding]:
    """The embeddings of a file, by key; those whose vectors aren't there are left out. Raises OSError."""
    found: dict[str, Embedding] = {}
    for fields in _blocks(config.read_text("utf-8", "backslashreplace")):
        tensor = fields.get("tensor_name", [""])[0]
        vectors = _place(config, fields.get("tensor_path"))
        if not os.path.isfile(vectors):
            continue
        step = _STEP.search(tensor)
        width, height = [*(int(size) for size in fields.get("single_image_dim", ())), 0, 0][:2]
        found[tensor] = Embedding(
            tensor,
            tensor[: step.start()] if step else tensor,
            int(step[1]) if step else 0,
            vectors,
            _place(config, fields.get("metadata_path")),
            _place(config, fields.get("image_path")),
            (width, height),
        )
    return found


def log_embedding(run: Any, embedding: Embedding, context: Context | None) -> None:
    """Say an embedding; its time is that of its file. Raises OSError or ValueError if its files can't be used."""
    rows = [line.split("\t") for line in _lines(embedding.vectors)]
    vectors = [[float(cell) for cell in row] for row in rows]
    labels: list[Any] | None = None
    columns: list[str] | None = None
    if embedding.labels:
        labels = _lines(embedding.labels)
        if "\t" in labels[0]:  # only then there is a heading
            columns, *cells = (line.split("\t") for line in labels)
            labels = cells
    run.log_embedding(
        embedding.name,
        vectors,
        embedding.step,
        labels=labels,
        columns=columns,
        images=_images(embedding, len(vectors)) if embedding.images and all(embedding.size) else None,
        context=context,
        time=os.stat(embedding.vectors).st_mtime,
    )


def _lines(path: str) -> list[str]:
    return Path(path).read_text("utf-8", "backslashreplace").removesuffix("\n").split("\n")


def _images(embedding: Embedding, count: int) -> Any:
    """The pictures (n, height, width, 3), cut out of the one that has them all."""
    from importlib import import_module

    pixels = import_module("tracelet._arrays").pixels
    with import_module("PIL.Image").open(embedding.images) as sheet:
        found = pixels(sheet.convert("RGB"))
    width, height = embedding.size
    across, down = found.shape[1] // width, found.shape[0] // height
    if across * down < count:
        raise ValueError(f"{embedding.images} has room for {across * down} pictures, and there are {count} vectors")
    tiles = found[: down * height, : across * width].reshape(down, height, across, width, 3)
    return tiles.swapaxes(1, 2).reshape(-1, height, width, 3)[:count]


def _place(config: Path, given: list[str] | None) -> str:
    return str(config.parent / given[0]) if given else ""


def _blocks(text: str) -> list[Mapping[str, list[str]]]:
    """The fields of each `embeddings { … }` in protobuf's text format, those of inner blocks among them."""
    blocks: list[dict[str, list[str]]] = []
    depth, field = 0, ""
    for token in _TOKEN.finditer(text):
        word = token[0]
        if word == "{":
            depth += 1
            if depth == 1 and field == "embeddings":
                blocks.append({})
            field = ""
        elif word == "}":
            depth, field = depth - 1, ""
        elif field and depth and blocks:
            value = _ESCAPE.sub(_unescaped, token[1]) if token[1] is not None else word
            blocks[-1].setdefault(field, []).append(value)
            field = ""
        else:
            field = word
    return list(blocks)


def _unescaped(match: re.Match[str]) -> str:
    if len(match[0]) > 2:
        return bytes(int(code, 8) & 0xFF for code in match[0].split("\\")[1:]).decode("utf-8", "backslashreplace")
    code = match[0][1]
    return {"n": "\n", "t": "\t", "r": "\r"}.get(code, code)
