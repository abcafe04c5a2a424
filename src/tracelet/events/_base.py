"""What all events have in common: their kinds, their lanes, and the types of their fields."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import TypeAlias

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
    NOTE_SET = 25
    TENSOR_LOGGED = 26


class Event(Struct, frozen=True, gc=False, array_like=True, tag=0):
    """What every event has.

    Attributes:
        time: when it was said, in seconds since the epoch; frozen at emission, so that a replay is the same replay.
    """

    time: float
