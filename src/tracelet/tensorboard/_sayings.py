"""What one event of TensorBoard's says, by kind: from the messages and bytes in it to the verbs of a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from tracelet import _values
from tracelet.events import HParamsLogged, LayoutSet
from tracelet.tensorboard import _tensors
from tracelet.tensorboard._converters import GRAPH
from tracelet.tensorboard._values import buckets

if TYPE_CHECKING:
    from tracelet.run import AsyncRun, Run

Context: TypeAlias = Mapping[str, Any]

# By the package: where the messages are that plugins keep in a summary.
_MESSAGES = {
    "tensorboard": {
        "HParamsPluginData": "tensorboard.plugins.hparams.plugin_data_pb2",
        "MeshPluginData": "tensorboard.plugins.mesh.plugin_data_pb2",
        "Layout": "tensorboard.plugins.custom_scalar.layout_pb2",
        "GraphDef": "tensorboard.compat.proto.graph_pb2",
    },
    "tensorboardX": {
        "HParamsPluginData": "tensorboardX.proto.plugin_hparams_pb2",
        "MeshPluginData": "tensorboardX.proto.plugin_mesh_pb2",
        "Layout": "tensorboardX.proto.layout_pb2",
        "GraphDef": "tensorboardX.proto.graph_pb2",
    },
}
_CLASSES = ("true_positives", "false_positives", "true_negatives", "false_negatives")
_PARTS = {1: "vertices", 2: "faces", 3: "colors"}


class Saying:
    """What one event says, by kind."""

    def __init__(
        self, run: Run | AsyncRun, context: Context | None, event: Any, step: int | None, moment: float | None
    ) -> None:
        self.run = run
        self.context = context
        self.meshes: dict[str, dict[str, Any]] = {}
        self._where: dict[str, Any] = {"context": context, "time": moment}
        self._package = type(event).__module__.partition(".")[0]
        self._step = step
        self._time = moment

    def message(self, name: str) -> Any:
        """A class of messages, of the package that the event is of."""
        return getattr(import_module(_MESSAGES[self._package][name]), name)

    def scalar(self, name: str, context: Context | None, value: Any) -> None:
        self.run.log_metric(name, value, self._step, context=context, time=self._time)

    def image(self, name: str, data: bytes, caption: str = "") -> None:
        if data.startswith(b"GIF8"):
            self.run.log_video(name, data, self._step, **self._where)
        else:
            self.run.log_image(name, data, self._step, caption=caption or (), **self._where)

    def images(self, name: str, tensor: Any) -> None:
        """Width, height, then the images; several have the names name/0, name/1, …"""
        _, _, *found = _tensors.strings(tensor)
        for number, data in enumerate(found):
            self.image(name if len(found) == 1 else f"{name}/{number}", data)

    def audio(self, name: str, data: bytes, caption: str = "") -> None:
        self.run.log_audio(name, data, self._step, caption=caption, **self._where)

    def audios(self, name: str, tensor: Any) -> None:
        """Sounds, and in a second column a label for each; several have the names name/0, name/1, …"""
        found = _tensors.strings(tensor)
        columns = _tensors.shape_of(tensor)[1:] or [1]
        sounds = found[:: columns[0]]
        labels = found[1 :: columns[0]] if columns[0] > 1 else [b""] * len(sounds)
        for number, (data, label) in enumerate(zip(sounds, labels, strict=True)):
            self.audio(name if len(sounds) == 1 else f"{name}/{number}", data, _text(label))

    def histogram(self, name: str, counts: list[float], edges: list[float]) -> None:
        self.run.log_histogram(name, None, self._step, counts=counts, edges=edges, **self._where)

    def old_histogram(self, name: str, histo: Any) -> None:
        """A histogram of the old style, a HistogramProto."""
        self.histogram(name, *buckets(histo.min, histo.max, histo.bucket_limit, histo.bucket))

    def histograms(self, name: str, tensor: Any) -> None:
        """Rows of left edge, right edge and count."""
        found = _tensors.numbers(tensor)
        self.histogram(name, *_contiguous(list(zip(found[::3], found[1::3], found[2::3], strict=True))))

    def text(self, name: str, tensor: Any) -> None:
        self.run.log_text(name, "\n\n".join(map(_text, _tensors.strings(tensor))), self._step, **self._where)

    def pr_curve(self, name: str, tensor: Any) -> None:
        """Rows of counts by class, then precision and recall, over ascending thresholds."""
        found, (rows, columns) = _tensors.numbers(tensor), _tensors.shape_of(tensor)
        if rows != 6:
            raise ValueError(f"a precision-recall curve has 6 rows, found {rows}")
        *counts, precision, recall = (found[row * columns : (row + 1) * columns] for row in range(rows))
        self.run.log_pr_curve(
            name,
            None,
            None,
            self._step,
            precision=precision,
            recall=recall,
            counts=dict(zip(_CLASSES, counts, strict=True)),
            **self._where,
        )

    def tensor(self, name: str, tensor: Any) -> None:
        if _tensors.is_string(tensor):
            self.text(name, tensor)
        else:
            self.run.log_tensor(name, _tensors.block(tensor), self._step, **self._where)

    def part_of_mesh(self, content: bytes, tensor: Any) -> None:
        """Keep the vertices, faces or colours of a mesh until all of the event's are there."""
        data = self.message("MeshPluginData").FromString(content)
        mesh = self.meshes.setdefault(data.name, {})
        mesh[_PARTS[data.content_type]] = _points(tensor)
        if data.json_config not in ("", "{}", "null"):
            mesh["config"] = msgspec.json.decode(data.json_config)

    def mesh(self, name: str) -> None:
        """The mesh of that name; several in one have the names name/0, name/1, …"""
        parts = dict(self.meshes[name])
        config = parts.pop("config", None)
        vertices, faces, colors = (parts.get(part) for part in ("vertices", "faces", "colors"))
        if vertices is None:
            raise ValueError("a mesh without vertices")
        for number in range(len(vertices)):
            self.run.log_mesh(
                name if len(vertices) == 1 else f"{name}/{number}",
                vertices[number],
                self._step,
                faces=None if faces is None else _whole(faces[number]),
                colors=None if colors is None else _whole(colors[number]),
                config=config,
                **self._where,
            )

    def layout(self, content: bytes) -> None:
        charts: dict[str, dict[str, tuple[str, list[str]]]] = {}
        for category in self.message("Layout").FromString(content).category:
            titles = charts.setdefault(category.title, {})
            for chart in category.chart:
                if chart.WhichOneof("content") == "multiline":
                    titles[chart.title] = "Multiline", list(chart.multiline.tag)
                for number, series in enumerate(chart.margin.series):
                    title = chart.title if number == 0 else f"{chart.title} {number + 1}"
                    titles[title] = "Margin", [series.value, series.lower, series.upper]
        self.run._publish(LayoutSet(self._moment(), charts))  # not by the verb, for which it is always now

    def graph(self, content: bytes) -> None:
        """Operations, and from which ones each has its inputs (`^name` for the order alone, `name:1` for an output)."""
        nodes = self.message("GraphDef").FromString(content).node
        graph = {
            "nodes": [{"id": node.name, "op": node.op, "label": ""} for node in nodes],
            "edges": [[name.removeprefix("^").partition(":")[0], node.name] for node in nodes for name in node.input],
        }
        self.run.log_graph(GRAPH, graph, self._step, **self._where)

    def hparams(self, values: dict[str, Any], metrics: Sequence[str], domains: dict[str, list[Any]], name: str) -> None:
        """A trial of that name; its metrics are told apart from it."""
        # Not by the verb, which takes the metrics with their values: here these are events of their own.
        flat = _values.parameters(values)
        self.run._publish(HParamsLogged(self._moment(), flat, tuple(metrics), domains, name))

    def _moment(self) -> float:
        return time.time() if self._time is None else self._time


TENSORS: dict[str, Callable[[Saying, str, Any], None]] = {
    "images": Saying.images,
    "audio": Saying.audios,
    "histograms": Saying.histograms,
    "text": Saying.text,
    "pr_curves": Saying.pr_curve,
}
"""By the plugin of TensorBoard, what says its tensors."""


def _contiguous(buckets: list[tuple[float, float, float]]) -> tuple[list[float], list[float]]:
    """Counts and edges of buckets, of which those without a width are made one that has one."""
    wide = [bucket for bucket in buckets if bucket[0] < bucket[1]]
    flat = [bucket for bucket in buckets if bucket[0] == bucket[1]]
    if not wide:
        if not flat:
            return [0.0], [0.0, 1.0]
        return [sum(count for _, _, count in flat)], [flat[0][0] - 0.5, flat[0][0] + 0.5]
    counts, edges = [wide[0][2]], [wide[0][0], wide[0][1]]
    for left, right, count in wide[1:]:
        if left > edges[-1]:
            counts, edges = [*counts, 0.0], [*edges, left]
        counts.append(count)
        edges.append(right)
    return counts, edges


def _points(tensor: Any) -> list[list[list[float]]]:
    """A tensor (meshes, points, 3) as lists."""
    found, shape = _tensors.numbers(tensor), _tensors.shape_of(tensor)
    if len(shape) == 2:
        shape = [1, *shape]
    if len(shape) != 3 or shape[2] != 3:
        raise ValueError(f"the points of a mesh have the shape (meshes, points, 3), found {shape}")
    rows = [found[start : start + 3] for start in range(0, len(found), 3)]
    return [rows[start : start + shape[1]] for start in range(0, len(rows), shape[1])]


def _whole(rows: list[list[float]]) -> list[list[int]]:
    return [[int(number) for number in row] for row in rows]


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
