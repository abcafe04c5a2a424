"""Which types of events there are."""

from __future__ import annotations

from typing import TypeAlias, get_args

from tracelet.events._base import Event, Lane
from tracelet.events._facts import (
    ConsoleLine,
    DatasetUsed,
    HParamsLogged,
    LayoutSet,
    MetricsLogged,
    NoteSet,
    ParamsLogged,
    RunFinished,
    RunStarted,
    TagsSet,
    TextLogged,
)
from tracelet.events._files import (
    ArtifactLogged,
    AudioLogged,
    CurveLogged,
    EmbeddingLogged,
    FigureLogged,
    FileLogged,
    GraphLogged,
    HistogramLogged,
    ImageLogged,
    MeshLogged,
    ModelLogged,
    ModelRegistered,
    TableLogged,
    TensorLogged,
    VideoLogged,
)

AnyEvent: TypeAlias = (
    RunStarted
    | RunFinished
    | MetricsLogged
    | ParamsLogged
    | TagsSet
    | TextLogged
    | ImageLogged
    | FigureLogged
    | HistogramLogged
    | AudioLogged
    | VideoLogged
    | TableLogged
    | MeshLogged
    | EmbeddingLogged
    | GraphLogged
    | CurveLogged
    | ArtifactLogged
    | ModelLogged
    | ModelRegistered
    | DatasetUsed
    | ConsoleLine
    | NoteSet
    | HParamsLogged
    | LayoutSet
    | TensorLogged
)

EVENT_TYPES: dict[int, type[Event]] = {
    event_type.__struct_config__.tag: event_type for event_type in get_args(AnyEvent)
}
"""The kinds this version can decode; a reader counts the others and goes on."""

LANES: dict[type[Event], Lane] = {
    event_type: Lane.BULK if issubclass(event_type, FileLogged | ModelRegistered) else Lane.STREAM
    for event_type in EVENT_TYPES.values()
}


def kind_of(event_type: type[Event]) -> int:
    """The kind number of an event type."""
    tag = event_type.__struct_config__.tag
    assert isinstance(tag, int)
    return tag
