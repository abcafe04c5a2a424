"""The event types: what a training run can say, as frozen, typed, past-tense facts.

An event is a MessagePack array whose first element is its kind (see `Kind`). Fields are only ever appended, and only
with defaults, so that an old reader skips what it does not know and a new reader fills in what an old writer left out.
Identity (writer, lane, sequence number) is not part of an event: the journal's frame carries it.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Any, TypeAlias

from msgspec import Struct

Number: TypeAlias = int | float
"""A metric's value. Integers may have any size; NaN and the infinities are values like any other."""

Scalar: TypeAlias = bool | int | float | str | None

Context: TypeAlias = tuple[tuple[str, Scalar], ...]
"""Name and value pairs, sorted by name, that tell apart points which share a name (for instance a subset or a rank)."""


class Lane(StrEnum):
    """Which of a writer's two logs a kind of event travels in; an upload in one never holds up the other."""

    STREAM = "stream"
    BULK = "bulk"


class Kind(IntEnum):
    """The number of each kind of event, in the journal for ever. Kinds without a type yet are reserved."""

    RUN_STARTED = 1
    RUN_FINISHED = 2
    METRICS_LOGGED = 3
    PARAMS_LOGGED = 4
    TAGS_SET = 5
    TEXT_LOGGED = 6
    IMAGE_LOGGED = 7
    FIGURE_LOGGED = 8
    HISTOGRAM_LOGGED = 9
    AUDIO_LOGGED = 10
    VIDEO_LOGGED = 11
    TABLE_LOGGED = 12
    MESH_LOGGED = 13
    EMBEDDING_LOGGED = 14
    GRAPH_LOGGED = 15
    CURVE_LOGGED = 16
    HPARAMS_LOGGED = 17
    LAYOUT_SET = 18
    ARTIFACT_LOGGED = 19
    MODEL_LOGGED = 20
    MODEL_REGISTERED = 21
    DATASET_USED = 22
    CONSOLE_LINE = 23
    SCHEMA_NOTE = 24


class Event(Struct, frozen=True, gc=False, array_like=True, tag=0):
    """What every event has.

    Attributes:
        time: when it was said, in seconds since the epoch; frozen at emission, so that a replay is the same replay.
    """

    time: float


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


class ArtifactLogged(Event, frozen=True, gc=False, array_like=True, tag=Kind.ARTIFACT_LOGGED.value):
    """A file is to be kept with the run.

    Attributes:
        name: where the backend shows it; "/" separates folders.
        path: the file: in the journal relative to the run's directory when it was copied there, else absolute; a
            backend always sees it absolute.
        size: in bytes, when it was logged.
        mtime_ns: the file's modification time when it was logged, in nanoseconds since the epoch.
        copied: whether the run's directory has its own copy.
    """

    name: str
    path: str
    size: int
    mtime_ns: int
    copied: bool = True


AnyEvent: TypeAlias = RunStarted | RunFinished | MetricsLogged | ParamsLogged | TagsSet | TextLogged | ArtifactLogged

EVENT_TYPES: dict[int, type[Event]] = {
    Kind.RUN_STARTED: RunStarted,
    Kind.RUN_FINISHED: RunFinished,
    Kind.METRICS_LOGGED: MetricsLogged,
    Kind.PARAMS_LOGGED: ParamsLogged,
    Kind.TAGS_SET: TagsSet,
    Kind.TEXT_LOGGED: TextLogged,
    Kind.ARTIFACT_LOGGED: ArtifactLogged,
}
"""The kinds this version can decode; a reader counts the others and goes on."""

LANES: dict[type[Event], Lane] = dict.fromkeys(EVENT_TYPES.values(), Lane.STREAM) | {ArtifactLogged: Lane.BULK}


def kind_of(event_type: type[Event]) -> int:
    """The kind number of an event type."""
    tag = event_type.__struct_config__.tag
    assert isinstance(tag, int)
    return tag
