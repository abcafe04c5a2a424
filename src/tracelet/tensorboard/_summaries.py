"""From an event of TensorBoard's, an `Event` protobuf, to what a run says: for event files, and for writers that are
given such events.

Taken are the classes of TensorBoard (which torch uses) and of tensorboardX alike; neither is imported here, but for the
messages that plugins of TensorBoard keep in a summary, and these from the package that the event is of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from msgspec import Struct, field

from tracelet.errors import TraceletError
from tracelet.tensorboard import _tensors
from tracelet.tensorboard._converters import GRAPH
from tracelet.tensorboard._sayings import TENSORS, Context, Saying

if TYPE_CHECKING:
    from tracelet.run import AsyncRun, Run

LAYOUT_TAG = "custom_scalars__config__"

# By the plugin: what TensorFlow 1 adds to a tag, whose own name is then the display name.
_SUFFIXES = {
    "scalars": "/scalar_summary",
    "images": "/image_summary",
    "histograms": "/histogram_summary",
    "audio": "/audio_summary",
    "pr_curves": "/pr_curves",
}
_TEXT_SUFFIX = "/text_summary"


class Trial(Struct):
    """What an experiment says of the trials that follow: what their hyperparameters could be, and their metrics."""

    domains: dict[str, list[Any]] = {}
    metrics: list[str] = []


class Remembered(Struct):
    """What later events of a log directory take for granted.

    Attributes:
        plugins: by tag, the plugin, its data and the display name, which TensorFlow writes with a tag's first value
            only.
    """

    trial: Trial = field(default_factory=Trial)
    plugins: dict[str, tuple[str, bytes, str]] = {}


class Summaries:
    """The events of one log directory, in their order.

    Args:
        aliases: by the tag of scalars, the name and context that they have in the run instead of the event's.
        trial: the name of the trial whose hyperparameters are stated here.
        remembered: as an earlier reader of the directory left it.
    """

    def __init__(
        self,
        aliases: Mapping[str, tuple[str, Context | None]] | None = None,
        trial: str = "",
        remembered: Remembered | None = None,
    ) -> None:
        self.remembered = remembered or Remembered()
        self._aliases = aliases or {}
        self._trial = trial

    def log(
        self, run: Run | AsyncRun, context: Context | None, event: Any, step: int | None, time: float | None
    ) -> list[tuple[str, str]]:
        """Say what an event says.

        Args:
            step, time: as in `Run.log_metric`; the event's own are not looked at.

        Returns:
            What could not be understood: the tag, and why.

        Raises:
            OSError: the run can't record it.
            RunClosed: the run is finished.
        """
        what = event.WhichOneof("what")
        saying = Saying(run, context, event, step, time)
        problems: list[tuple[str, str]] = []
        if what == "graph_def":
            _attempt(problems, GRAPH, lambda: saying.graph(event.graph_def))
        elif what == "summary":
            for value in event.summary.value:
                _attempt(problems, value.tag, lambda: self._log_value(saying, value))  # noqa: B023 - called at once
            for name in saying.meshes:
                _attempt(problems, name, lambda: saying.mesh(name))  # noqa: B023
        return problems

    def _log_value(self, saying: Saying, value: Any) -> None:
        kind = value.WhichOneof("value")
        if kind == "simple_value":
            name, context = self._aliases.get(value.tag, (value.tag, saying.context))
            saying.scalar(name, context, value.simple_value)
        elif kind == "image":
            saying.image(value.tag, value.image.encoded_image_string)
        elif kind == "audio":
            saying.audio(value.tag, value.audio.encoded_audio_string)
        elif kind == "histo":
            saying.old_histogram(value.tag, value.histo)
        else:
            plugin, content, name = self._plugin(value)
            if plugin == "hparams":
                self._hparams(saying, content)
            elif kind == "tensor":
                self._log_tensor(saying, plugin, content, name, value)
            elif kind is not None:
                raise ValueError(f"values of the kind {kind} are not supported")

    def _plugin(self, value: Any) -> tuple[str, bytes, str]:
        """The plugin of a value, its data, and the value's name without what the plugin's writer added to it."""
        tag, data = value.tag, value.metadata.plugin_data
        if data.plugin_name:
            shown = value.metadata.display_name
            name = tag
            if data.plugin_name == "text":
                name = tag.removesuffix(_TEXT_SUFFIX)
            elif shown and tag == shown + _SUFFIXES.get(data.plugin_name, "/"):
                name = shown
            if data.plugin_name != "hparams":
                self.remembered.plugins[tag] = data.plugin_name, bytes(data.content), name
            return data.plugin_name, data.content, name
        return self.remembered.plugins.get(tag, ("", b"", tag))

    def _log_tensor(self, saying: Saying, plugin: str, content: bytes, name: str, value: Any) -> None:
        tensor = value.tensor
        if plugin == "scalars":
            (number,) = _tensors.numbers(tensor)
            name, context = self._aliases.get(value.tag, (name, saying.context))
            saying.scalar(name, context, number)
        elif plugin == "mesh":
            saying.part_of_mesh(content, tensor)
        elif value.tag == LAYOUT_TAG or plugin == "custom_scalars":
            saying.layout(_tensors.strings(tensor)[0])
        else:
            TENSORS.get(plugin, Saying.tensor)(saying, name, tensor)

    def _hparams(self, saying: Saying, content: bytes) -> None:
        data = saying.message("HParamsPluginData").FromString(content)
        kind = data.WhichOneof("data")
        if kind == "experiment":
            self.remembered.trial = Trial(
                {
                    info.name: [_plain(item) for item in info.domain_discrete.values]
                    for info in data.experiment.hparam_infos
                    if info.domain_discrete.values
                },
                [metric.name.tag for metric in data.experiment.metric_infos],
            )
        elif kind == "session_start_info":
            given = data.session_start_info.hparams
            trial = self.remembered.trial
            values = {key: _plain(given[key]) for key in sorted(given)}
            saying.hparams(values, trial.metrics, trial.domains, self._trial)


_writers: WeakKeyDictionary[object, Summaries] = WeakKeyDictionary()


def log_event(
    run: Run | AsyncRun,
    context: Context | None,
    event: Any,
    step: int | None = None,
    time: float | None = None,
    *,
    writer: object | None = None,
) -> list[tuple[str, str]]:
    """Say what a single event says; see `Summaries.log`.

    Args:
        writer: who wrote it; what its events say of its later ones (the experiment of a trial) is remembered.
    """
    summaries = Summaries() if writer is None else _writers.setdefault(writer, Summaries())
    return summaries.log(run, context, event, step, time)


def _attempt(problems: list[tuple[str, str]], tag: str, say: Callable[[], None]) -> None:
    try:
        say()
    except (OSError, MemoryError, TraceletError):
        raise
    except Exception as error:  # noqa: BLE001 - the bytes are other people's, and so is what reads them
        problems.append((tag, f"{error or type(error).__name__}"))


def _plain(value: Any) -> Any:
    """What a protobuf Value stands for."""
    kind = value.WhichOneof("kind")
    if kind == "list_value":
        return [_plain(item) for item in value.list_value.values]
    return None if kind in (None, "null_value") else getattr(value, kind)
