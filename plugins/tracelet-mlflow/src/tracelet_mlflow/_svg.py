"""Histograms and curves drawn as SVG, which MLflow's pages show as images."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from xml.sax.saxutils import escape

from tracelet.media import Curve, Histogram

_WIDTH, _HEIGHT, _MARGIN = 640, 400, 60
_LEFT, _RIGHT, _TOP, _BOTTOM = _MARGIN, _WIDTH - 20, 20, _HEIGHT - _MARGIN
_MAX_POINTS = 10_000


class _Scale:
    """From values to places on the drawing."""

    def __init__(self, values: Iterable[float], low_place: int, high_place: int) -> None:
        finite = [value for value in values if isfinite(value)] or [0.0, 1.0]
        self.low, self.high = min(finite), max(finite)
        self._low_place = low_place
        self._factor = (high_place - low_place) / ((self.high - self.low) or 1.0)

    def __call__(self, value: float) -> float:
        return self._low_place + (value - self.low) * self._factor


def histogram(content: Histogram, title: str) -> bytes:
    """Bars between the edges."""
    x = _Scale(content.edges, _LEFT, _RIGHT)
    y = _Scale([0.0, *content.counts], _BOTTOM, _TOP)
    bars = [
        f'<rect x="{x(left):.2f}" y="{y(count):.2f}" width="{max(x(right) - x(left) - 0.5, 0.5):.2f}" '
        f'height="{max(_BOTTOM - y(count), 0):.2f}" fill="#1f77b4"/>'
        for count, left, right in zip(content.counts, content.edges, content.edges[1:], strict=False)
        if isfinite(count) and isfinite(left) and isfinite(right)
    ]
    return _drawing(bars, x, y, title, "", "")


def curve(content: Curve, title: str) -> bytes:
    """A line through the points; of very many, through some."""
    stride = max(1, len(content.x) // _MAX_POINTS)
    points = list(zip(content.x[::stride], content.y[::stride], strict=True))
    x = _Scale((point[0] for point in points), _LEFT, _RIGHT)
    y = _Scale((point[1] for point in points), _BOTTOM, _TOP)
    places = " ".join(f"{x(a):.2f},{y(b):.2f}" for a, b in points if isfinite(a) and isfinite(b))
    line = f'<polyline points="{places}" fill="none" stroke="#1f77b4" stroke-width="2"/>'
    return _drawing([line], x, y, title, content.x_label, content.y_label)


def _drawing(shapes: list[str], x: _Scale, y: _Scale, title: str, x_label: str, y_label: str) -> bytes:
    middle, center = (_LEFT + _RIGHT) // 2, (_TOP + _BOTTOM) // 2
    words = [
        _text(middle, _TOP - 6, "middle", title),
        _text(_LEFT, _BOTTOM + 18, "start", f"{x.low:.6g}"),
        _text(_RIGHT, _BOTTOM + 18, "end", f"{x.high:.6g}"),
        _text(middle, _BOTTOM + 36, "middle", x_label),
        _text(_LEFT - 6, _BOTTOM, "end", f"{y.low:.6g}"),
        _text(_LEFT - 6, _TOP + 6, "end", f"{y.high:.6g}"),
        _text(16, center, "middle", y_label, f' transform="rotate(-90 16 {center})"'),
    ]
    axes = f'<path d="M{_LEFT} {_TOP}V{_BOTTOM}H{_RIGHT}" fill="none" stroke="#444"/>'
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#fff"/>'
    )
    return "\n".join([head, *shapes, axes, *words, "</svg>\n"]).encode(errors="replace")


def _text(x: int, y: int, anchor: str, text: str, more: str = "") -> str:
    printable = "".join(character for character in text if character.isprintable())
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{more}>{escape(printable)}</text>'
