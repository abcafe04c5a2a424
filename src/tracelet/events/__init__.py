"""The event types: what a training run can say, as frozen, typed, past-tense facts.

An event is a MessagePack array whose first element is its kind (see `Kind`). Fields are only ever appended, and only
with defaults, so that an old reader skips what it does not know and a new reader fills in what an old writer left out.
Identity (writer, lane, sequence number) is not part of an event: the journal's frame carries it.
"""

from __future__ import annotations

from tracelet.events._base import Context, Event, Kind, Lane, Number, Scalar
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
    MediaLogged,
    MeshLogged,
    ModelLogged,
    ModelRegistered,
    TableLogged,
    TensorLogged,
    VideoLogged,
)
from tracelet.events._registry import (
    EVENT_TYPES,
    LANES,
    AnyEvent,
    kind_of,
)

__all__ = [
    "EVENT_TYPES",
    "LANES",
    "AnyEvent",
    "ArtifactLogged",
    "AudioLogged",
    "ConsoleLine",
    "Context",
    "CurveLogged",
    "DatasetUsed",
    "EmbeddingLogged",
    "Event",
    "FigureLogged",
    "FileLogged",
    "GraphLogged",
    "HParamsLogged",
    "HistogramLogged",
    "ImageLogged",
    "Kind",
    "Lane",
    "LayoutSet",
    "MediaLogged",
    "MeshLogged",
    "MetricsLogged",
    "ModelLogged",
    "ModelRegistered",
    "NoteSet",
    "Number",
    "ParamsLogged",
    "RunFinished",
    "RunStarted",
    "Scalar",
    "TableLogged",
    "TagsSet",
    "TensorLogged",
    "TextLogged",
    "VideoLogged",
    "kind_of",
]
