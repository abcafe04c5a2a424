"""Payloads with a structure of their own: tables and graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tracelet import _arrays
from tracelet._payloads._writing import Payload, given_file, listed, text


def table(given: Any, columns: Sequence[Any] | None) -> Payload:
    """A pandas or polars frame, a mapping of columns, a sequence of mappings, or rows (with the names of columns)."""
    if isinstance(given, str | bytes):
        raise TypeError(f"a table must be a frame, columns or rows, found {_arrays.shown(given)}")
    if hasattr(given, "iter_rows"):  # polars
        names, rows = list(given.columns), given.iter_rows()
    elif hasattr(given, "itertuples"):  # pandas
        names, rows = list(given.columns), given.itertuples(index=False, name=None)
    elif isinstance(given, Mapping):
        names, rows = list(given), zip(*(listed(column) for column in given.values()), strict=True)
    else:
        given = [row if isinstance(row, Mapping) else listed(row) for row in listed(given)]
        if given and all(isinstance(row, Mapping) for row in given):
            names = list(dict.fromkeys(name for row in given for name in row))
            rows = ([row.get(name) for name in names] for row in given)
        else:
            rows = given
            names = list(range(len(given[0]))) if given and columns is None else []
    if columns is not None:
        names = list(columns)
    cells = [[_cell(value) for value in row] for row in rows]
    wrong = next((row for row in cells if len(row) != len(names)), None)
    if wrong is not None:
        raise ValueError(f"a table with {len(names)} columns has a row of {len(wrong)} cells")
    return Payload("msgpack", msgspec.msgpack.encode({"columns": [text(name) for name in names], "rows": cells}))


def _cell(value: Any) -> Any:
    if type(value) is str:
        return value if value.isascii() else text(value)
    if value is None or type(value) in (bool, int, float):
        return value if type(value) is not int or -(2**63) <= value < 2**64 else str(value)
    if str(getattr(value, "dtype", "")).startswith("datetime64"):
        return text(value)
    if hasattr(value, "item"):
        try:
            return _cell(value.item())
        except Exception:  # noqa: BLE001 - more than one element, or an object of somebody's
            return text(value)
    return text(value)


def graph(given: Any) -> Payload:
    """A path; a mapping of "nodes" and "edges"; a networkx graph; or a torch module, whose parts are the nodes."""
    if (file := given_file(given, "graph")) is not None:
        if file.format == "json" and isinstance(file.content, Path):
            given = msgspec.json.decode(file.content.read_bytes())
            if not isinstance(given, dict) or not {"nodes", "edges"} <= set(given):
                raise ValueError('a graph in JSON has "nodes" and "edges"')
        else:
            return file
    edges: list[tuple[str, str]]
    if hasattr(given, "named_modules"):
        modules = [(name or type(given).__name__, module) for name, module in given.named_modules()]
        root = modules[0][0]
        nodes = [{"id": name, "op": type(module).__name__, "label": _label(module)} for name, module in modules]
        edges = [(name.rpartition(".")[0] or root, name) for name, _ in modules[1:]]
    elif isinstance(given, Mapping) and "nodes" in given:
        nodes = [_node(node) for node in given["nodes"]]
        edges = [(text(start), text(end)) for start, end, *_ in given.get("edges", ())]
    elif hasattr(given, "nodes") and hasattr(given, "edges"):
        nodes = [_node(node) for node in given.nodes]
        edges = [(text(start), text(end)) for start, end, *_ in given.edges]
    else:
        raise TypeError(f"graph must be a path, nodes and edges, or a torch module, found {_arrays.shown(given)}")
    return Payload("json", msgspec.json.encode({"nodes": nodes, "edges": edges}))


def _node(given: Any) -> dict[str, str]:
    if isinstance(given, Mapping):
        return {key: text(given.get(key, "")) for key in ("id", "op", "label")}
    return {"id": text(given), "op": "", "label": ""}


def _label(module: Any) -> str:
    """What a torch module says of itself, without its parts."""
    return text(module.extra_repr()) if hasattr(module, "extra_repr") else ""


def document(given: Mapping[str, Any]) -> str:
    """A nested mapping as JSON; "" for an empty one. What JSON doesn't know becomes text."""
    return msgspec.json.encode(given, enc_hook=text).decode() if given else ""
