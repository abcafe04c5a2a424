"""What stands behind a SummaryWriter of ours for code that reaches for its `file_writer`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import tracelet.run
from tracelet.tensorboard import _values as values
from tracelet.tensorboard._logdirs import context_of

if TYPE_CHECKING:
    from tracelet.tensorboard._event_files import EventFiles


class FileWriter:
    """Takes TensorBoard's events and summaries, which are protobuf messages of its or of tensorboardX's, to the run.

    Args:
        log_dir: what tells its events from those of other writers.
        files: where they are written as well; None writes no files.
    """

    def __init__(self, log_dir: str, files: EventFiles | None = None) -> None:
        self._log_dir = log_dir
        self._files = files
        self._default_metadata: dict[str, Any] = {}

    def get_logdir(self) -> str:
        """The log directory."""
        return self._log_dir

    def add_event(self, event: Any, step: Any = None, walltime: float | None = None) -> None:
        """Log an `Event`; step and walltime replace its own.

        Raises:
            ValueError: something in it can't be understood.
        """
        from tracelet.tensorboard._summaries import log_event  # seldom needed

        step = self._default_metadata.get("global_step") if step is None else step
        walltime = self._default_metadata.get("walltime") if walltime is None else walltime
        if self._files is not None:
            self._files.add_event(event, step, walltime)
        run = tracelet.run.active_run()
        if run is None:
            return
        at = event.step or None if step is None else values.step(step)
        time = event.wall_time or None if walltime is None else values.time(walltime)
        problems = log_event(run, context_of(run, self._log_dir), event, at, time, writer=self)
        if problems:
            raise ValueError("; ".join(f"{tag}: {problem}" for tag, problem in problems))

    def add_summary(self, summary: Any, global_step: Any = None, walltime: float | None = None) -> None:
        """Log a `Summary`; see `add_event`."""
        messages = import_module(type(summary).__module__.replace("summary_pb2", "event_pb2"))
        self.add_event(messages.Event(summary=summary), global_step, walltime)

    def add_graph(self, graph_profile: Any, walltime: float | None = None) -> None:
        """Log the `GraphDef` of a pair of graph and profile."""
        self.add_onnx_graph(graph_profile[0], walltime)

    def add_onnx_graph(self, graph: Any, walltime: float | None = None) -> None:
        """Log a `GraphDef`."""
        messages = import_module(type(graph).__module__.replace("graph_pb2", "event_pb2"))
        self.add_event(messages.Event(graph_def=graph.SerializeToString()), None, walltime)

    def flush(self) -> None:
        """Does nothing: what was logged is in the run's journal already."""

    def close(self) -> None:
        """Does nothing."""

    def reopen(self) -> None:
        """Does nothing."""
