"""The demo's own record of what it logs: every call is timed, and written down without Tracelet's help."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from tracelet.cli._content import STATUS, Content, document
from tracelet.run import Run


class Clock(msgspec.Struct):
    """How long something took, in seconds, call by call."""

    durations: list[float] = []

    @property
    def total(self) -> float:
        return sum(self.durations)

    @property
    def median(self) -> float:
        return statistics.median(self.durations)

    def time(self, function: Callable[..., object], *args: object, **options: object) -> None:
        started = time.perf_counter()
        function(*args, **options)
        self.durations.append(time.perf_counter() - started)


class Log:
    """A SummaryWriter and a run.

    Attributes:
        said: everything, as it has to be found in a backend.
        clocks: by method.
        children: the ids of the child runs, by name.
    """

    def __init__(self, writer: Any, run: Run) -> None:
        self.said: Content = {STATUS: Counter([("completed",)])}
        self.clocks: dict[str, Clock] = {}
        self.children: dict[str, str] = {}
        self._writer = writer
        self._run = run
        self._open: list[Run] = []

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self._say("metrics", (name, step, float(value)))
        self._time(self._writer.add_scalar, name, value, step)

    def add_scalars(self, name: str, values: dict[str, float], step: int) -> None:
        self._say("metrics", *((f"{name}/{key}", step, float(value)) for key, value in values.items()))
        self._time(self._writer.add_scalars, name, values, step)

    def params(self, values: dict[str, Any]) -> None:
        """What the run was given as its config."""
        self._say("parameters", *((name, str(value)) for name, value in values.items()))

    def set_tags(self, values: dict[str, str]) -> None:
        self._say("tags", *values.items())
        self._time(self._run.set_tags, values)

    def log_hparams(
        self, values: dict[str, Any], metrics: dict[str, float], step: int, domains: dict[str, list[Any]], name: str
    ) -> None:
        self._say("trials", (_trial(values, [*metrics], domains, name),))
        new = {(key, str(value)) for key, value in values.items()} - self.said.get("parameters", Counter()).keys()
        self._say("parameters", *new)
        self._say("metrics", *((key, step, value) for key, value in metrics.items()))
        self._time(self._run.log_hparams, values, metrics, step, domains=domains, name=name)

    def set_layout(self, charts: dict[str, dict[str, tuple[str, list[str]]]]) -> None:
        for category, titles in charts.items():
            self._say("layouts", *((_chart(category, title, *chart),) for title, chart in titles.items()))
        self._time(self._run.set_layout, charts)

    def set_note(self, text: str) -> None:
        self.said["notes"] = Counter([(text,)])
        self._time(self._run.set_note, text)

    def log_text(self, name: str, text: str) -> None:
        self._say("texts", (text,))
        self._time(self._run.log_text, name, text)

    def log_console(self, line: str) -> None:
        self._say("console lines", (line,))
        self._time(self._run.log_console, line)

    def use_dataset(self, data: Any, name: str, **options: Any) -> None:
        self._say("datasets", (name,))
        self._time(self._run.use_dataset, data, name, **options)

    def show(self, kind: str, verb: str, name: str, *content: Any, step: int, **options: Any) -> None:
        """Log a medium of a kind with one of the run's verbs."""
        self._say(kind, (name, step))
        self._time(getattr(self._run, verb), name, *content, step=step, **options)

    def log_artifact(self, path: Path, name: str) -> None:
        self._say("artifacts", (name, path.read_bytes()))
        self._time(self._run.log_artifact, path, name)

    def log_model(self, folder: Path, name: str, **options: Any) -> None:
        files = (file for file in folder.rglob("*") if file.is_file())
        self._say("models", *((name, file.relative_to(folder).as_posix(), file.read_bytes()) for file in files))
        self._time(self._run.log_model, folder, name, **options)

    def register_model(self, name: str, alias: str) -> None:
        self._say("registered models", (name, alias))
        self._time(self._run.register_model, name, alias=alias)

    def child(self, name: str, points: dict[str, float]) -> None:
        """A child run that has a few points at step 0."""
        self._say("child runs", *((name, key, value, 0) for key, value in points.items()))
        child = self._run.child(name)
        self._open.append(child)
        self.children[name] = child.id
        child.log_metrics(points, step=0)

    def finish_children(self, timeout: float) -> None:
        """Wait for each child's delivery, which begins when the parent's is under way; so long at most, in seconds."""
        while self._open:
            self._open.pop(0).finish(timeout=timeout)

    def _say(self, kind: str, *things: tuple[Any, ...]) -> None:
        self.said.setdefault(kind, Counter()).update(things)

    def _time(self, method: Callable[..., object], *args: object, **options: object) -> None:
        self.clocks.setdefault(method.__name__, Clock()).time(method, *args, **options)


def _trial(values: dict[str, Any], metrics: list[str], domains: dict[str, list[Any]], name: str) -> str:
    """What a backend has of a trial."""
    return document({"name": name, "values": values, "metrics": metrics, "domains": domains})


def _chart(category: str, title: str, kind: str, metrics: list[str]) -> str:
    """What a backend has of a layout's chart."""
    return document({"category": category, "title": title, "kind": kind, "metrics": metrics})
