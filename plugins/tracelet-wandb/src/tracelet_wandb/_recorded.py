"""What W&B shows of a run, in the conformance suite's terms: from rows, config and files, wherever these are from."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from typing import Any

from tracelet import events, media
from tracelet.backend import Outcome
from tracelet.readback import Recorded, Shown

OUTCOMES = {0: Outcome.COMPLETED, 1: Outcome.FAILED, 255: Outcome.KILLED}
_PRE = re.compile(r"<pre[^>]*>(.*)</pre>", re.DOTALL)
Read = Callable[[str], bytes]


def add_row(found: Recorded, row: dict[str, Any], read: Read) -> None:
    """Add what a row of the history has; `read` gives the content of a file of the run."""
    for name, value in row.items():
        if name == "global_step" or name.startswith("_") or _is_beside(row, name):
            continue
        if not isinstance(value, dict):
            found.points.append((name, _number(value), row["global_step"]))
        elif value["_type"] == "html-file" and row["_tracelet_kind"] == "TextLogged":
            found.texts.append(html.unescape(_text(read(value["path"]))))
        else:
            kind = getattr(events, row["_tracelet_kind"])
            shown = name.removesuffix("_table") if kind is events.CurveLogged else name
            beside = [read(other["path"]) for part, other in row.items() if part != name and _is_beside(row, part)]
            if kind is events.MeshLogged:
                beside = [html.unescape(_text(page)).encode() for page in beside]
            found.media.append(Shown(kind, shown, row["global_step"], _content(kind, value, read), beside))


def _is_beside(row: dict[str, Any], name: str) -> bool:
    """Whether it is a part of the medium that the row has: an embedding's images, a mesh's config."""
    value, kind = row[name], row.get("_tracelet_kind")
    if not isinstance(value, dict):
        return False
    return (kind, value["_type"]) in (("EmbeddingLogged", "image-file"), ("MeshLogged", "html-file"))


def _text(page: bytes) -> str:
    content = _PRE.search(page.decode())
    assert content
    return content[1]


def add_config(found: Recorded, config: dict[str, Any]) -> None:
    """Add params, and what the plugin keeps in the config for want of a better place."""
    about = config.pop("tracelet", {})
    found.parent = about.get("parent")
    found.ended = about.get("ended")
    found.tags.update(about.get("tags", {}))
    found.params.update({name: str(value) for name, value in config.items() if not name.startswith("_")})


def add_artifact(
    found: Recorded, kind: str, metadata: dict[str, Any], files: dict[str, bytes], aliases: list[str]
) -> None:
    """Add an artifact's version."""
    if kind == "file":
        found.artifacts.update(files)
    elif kind == "tensor":
        found.media.append(Shown(events.TensorLogged, metadata["name"], metadata["step"], list(files.values())))
    elif kind == "dataset":
        if metadata["name"] not in found.datasets:
            found.datasets.append(metadata["name"])
    elif kind == "model":
        found.models[metadata["name"]] = files
        if "registered_as" in metadata:
            found.registered[metadata["registered_as"]] = [alias for alias in aliases if alias != "latest"]


def _number(value: Any) -> Any:
    return float(value) if value in ("NaN", "Infinity", "-Infinity") else value


def _content(kind: type, value: dict[str, Any], read: Read) -> Any:
    match value["_type"]:
        case "histogram":
            return media.Histogram(value["values"], value["bins"])
        case "images/separated":
            return [read(path) for path in value["filenames"]]
        case "plotly-file":
            return read(value["path"]).decode()
        case "table-file":
            return _table(kind, json.loads(read(value["path"])))
        case "graph-file":
            graph = json.loads(read(value["path"]))
            nodes = [media.Node(node["id"], node["class_name"], "") for node in graph["nodes"]]
            return media.Graph(nodes, [tuple(edge) for edge in graph["edges"]])
        case "object3D-file" if value["path"].endswith(".pts.json"):
            return media.Mesh(json.loads(read(value["path"])), None, None)
    return [read(value["path"])]


def _table(kind: type, table: dict[str, Any]) -> Any:
    columns, rows = table["columns"], table["data"]
    if kind is events.EmbeddingLogged:
        at = next(at for at in range(len(columns) + 1) if columns[at:] == _dimensions(len(columns) - at))
        return _embedding(columns[:at], [row[:at] for row in rows], [row[at:] for row in rows])
    if kind is events.CurveLogged:
        given = dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True))
        thresholds = given.get("threshold")
        counts = {name: given[name] for name in columns[3:]} or None
        return media.Curve(given[columns[0]], given[columns[1]], columns[0], columns[1], thresholds, counts)
    return media.Table(columns, rows)


def _dimensions(width: int) -> list[str]:
    return [f"d{number}" for number in range(width)]


def _embedding(known: list[str], cells: list[list[str]], vectors: list[list[float]]) -> media.Embedding:
    labels = [row[0] for row in cells] if known else None
    if known in ([], ["label"]):
        return media.Embedding(vectors, labels)
    return media.Embedding(vectors, labels, known, cells)
