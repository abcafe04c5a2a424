"""What can be said without a file."""

from __future__ import annotations

from typing import Any

from tracelet.events._base import Context, Event, Kind, Number


class RunStarted(Event, frozen=True, gc=False, array_like=True, tag=Kind.RUN_STARTED.value):
    """A writer began to log; the first event of each writer's stream."""

    name: str
    project: str
    resumed: bool = False


class RunFinished(Event, frozen=True, gc=False, array_like=True, tag=Kind.RUN_FINISHED.value):
    """A writer has said all it had to say; the last event of its stream.

    Attributes:
        outcome: "completed", "failed" or "killed".
    """

    outcome: str


class MetricsLogged(Event, frozen=True, gc=False, array_like=True, tag=Kind.METRICS_LOGGED.value):
    """One or more numbers were measured at one step."""

    values: dict[str, Number]
    step: int
    context: Context = ()


class ParamsLogged(Event, frozen=True, gc=False, array_like=True, tag=Kind.PARAMS_LOGGED.value):
    """Hyperparameters were stated: names flattened with "/", values typed; lists stay lists."""

    values: dict[str, Any]


class TagsSet(Event, frozen=True, gc=False, array_like=True, tag=Kind.TAGS_SET.value):
    """Tags were put on the run; a later value replaces an earlier one of the same name."""

    values: dict[str, str]


class TextLogged(Event, frozen=True, gc=False, array_like=True, tag=Kind.TEXT_LOGGED.value):
    """A text was written at a step (None: of the run as a whole)."""

    name: str
    text: str
    step: int | None = None
    context: Context = ()


class NoteSet(Event, frozen=True, gc=False, array_like=True, tag=Kind.NOTE_SET.value):
    """The run's note was written: what people say of it, in Markdown; a later one replaces an earlier one."""

    text: str


class ConsoleLine(Event, frozen=True, gc=False, array_like=True, tag=Kind.CONSOLE_LINE.value):
    """The training printed something: one line, or several that came at once, without the last line's end.

    Attributes:
        stream: "stdout" or "stderr".
    """

    text: str
    stream: str = "stdout"


class DatasetUsed(Event, frozen=True, gc=False, array_like=True, tag=Kind.DATASET_USED.value):
    """The run reads a dataset.

    Attributes:
        source: where it lies, a URL or an absolute path; "" if that is not known.
        digest: what identifies its content, in whatever form the user has it; "" if there is none.
        role: what it is for, for instance "training" or "evaluation".
        schema: the columns' types, by column.
        profile: numbers about it, for instance `{"rows": 1797}`.
    """

    name: str
    source: str = ""
    digest: str = ""
    role: str = ""
    schema: dict[str, str] = {}
    profile: dict[str, Number] = {}


class HParamsLogged(Event, frozen=True, gc=False, array_like=True, tag=Kind.HPARAMS_LOGGED.value):
    """A trial was stated: its hyperparameters, and which metrics measure its success. One run may have several.

    Attributes:
        values: as of ParamsLogged.
        metrics: the names of the metrics; their values are MetricsLogged.
        domains: what a hyperparameter could have been, by its name.
        name: of the trial; "" for the run itself.
    """

    values: dict[str, Any]
    metrics: tuple[str, ...] = ()
    domains: dict[str, list[Any]] = {}
    name: str = ""


class LayoutSet(Event, frozen=True, gc=False, array_like=True, tag=Kind.LAYOUT_SET.value):
    """The charts of metrics were arranged; a later arrangement is added to an earlier one.

    Attributes:
        charts: by category and title, the chart: "Multiline" and the names of metrics, which are regular expressions;
            or "Margin" and three names: a value, its lower and its upper bound.
    """

    charts: dict[str, dict[str, tuple[str, list[str]]]]
