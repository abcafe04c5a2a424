"""Curves, meshes, embeddings and tables as plotly figures, in plotly's JSON; plotly itself is not needed."""

from __future__ import annotations

import math
from html import escape
from typing import Any, TypeAlias

import msgspec

from tracelet import media

Figure: TypeAlias = dict[str, Any]


def curve(content: media.Curve, name: str) -> Figure:
    """A line; thresholds, where there are any, are shown with the points, and counts are kept as `meta`."""
    trace: Figure = {"type": "scatter", "mode": "lines", "name": name, "x": content.x, "y": content.y}
    if content.thresholds is not None:
        trace |= {"customdata": content.thresholds, "hovertemplate": "%{x}, %{y} (threshold %{customdata})"}
    axes = {"xaxis": {"title": {"text": content.x_label}}, "yaxis": {"title": {"text": content.y_label}}}
    if content.counts is not None:
        trace["meta"] = content.counts
    return {"data": [trace], "layout": {"title": {"text": name}, **axes}}


def mesh(content: media.Mesh, name: str) -> Figure:
    """Triangles with coloured vertices; or points in space, if there are no faces. What is said of how to show them is
    kept as `meta`: it is for three.js, and plotly has no such lights and cameras."""
    x, y, z = _columns(content.vertices, 3)
    colors = None if content.colors is None else ["rgb({},{},{})".format(*color[:3]) for color in content.colors]
    trace: Figure
    if content.faces is None:
        trace = {"type": "scatter3d", "mode": "markers", "marker": {"size": 2}, "x": x, "y": y, "z": z}
        if colors is not None:
            trace["marker"]["color"] = colors
    else:
        i, j, k = _columns(content.faces, 3)
        trace = {"type": "mesh3d", "x": x, "y": y, "z": z, "i": i, "j": j, "k": k}
        if colors is not None:
            trace["vertexcolor"] = colors
    if content.config:
        trace["meta"] = content.config
    return {"data": [trace], "layout": {"title": {"text": name}, "scene": {"aspectmode": "data"}}}


def embedding(content: media.Embedding, name: str) -> Figure:
    """Points at the vectors' first three numbers, which show what is known of them; the whole vectors are their
    `customdata`, and all columns `meta`."""
    width = min(3, len(content.vectors[0]) if content.vectors else 2)
    axes = dict(zip("xyz", _columns(content.vectors, max(width, 2)), strict=False))
    trace: Figure = {"type": "scatter3d" if width == 3 else "scatter", "mode": "markers", **axes}
    trace |= {"marker": {"size": 3}, "customdata": content.vectors}
    if content.labels is not None:
        trace["text"] = content.labels
    if content.columns is not None and content.rows is not None:
        trace["hovertext"] = [described(content.columns, row) for row in content.rows]
        trace["meta"] = {"columns": content.columns, "rows": content.rows}
    return {"data": [trace], "layout": {"title": {"text": name}}}


def described(columns: list[str], row: list[str]) -> str:
    """A row, for a point's label."""
    return "<br>".join(f"{escape(name)}: {escape(cell)}" for name, cell in zip(columns, row, strict=True))


def table(content: media.Table, name: str) -> Figure:
    """A table with the cells' own types; numbers that JSON can't say are text."""
    cells = [[_cell(row[number]) for row in content.rows] for number in range(len(content.columns))]
    trace = {"type": "table", "header": {"values": content.columns}, "cells": {"values": cells}}
    return {"data": [trace], "layout": {"title": {"text": name}}}


def to_json(figure: Figure) -> tuple[str, bool]:
    """Plotly's JSON, and whether there were numbers that are none, and are gaps in it."""
    encoded = msgspec.json.encode(figure).decode()
    return encoded, _has_gaps(figure["data"])


def _columns(rows: list[list[Any]], width: int) -> list[list[Any]]:
    return [[row[number] if number < len(row) else 0.0 for row in rows] for number in range(width)]


def _cell(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _has_gaps(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_gaps, value.values()))
    if isinstance(value, list):
        return any(map(_has_gaps, value))
    return isinstance(value, float) and not math.isfinite(value)
