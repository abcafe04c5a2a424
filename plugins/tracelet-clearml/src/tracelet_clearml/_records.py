"""What ClearML stores: events of a task, and the rest that a task has."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import msgspec


class Record(msgspec.Struct, omit_defaults=True, tag_field="type", gc=False):
    """What every event has but a line of the log. The time is in milliseconds.

    The server's identity of an event is (task, iter, metric, variant), and the key if there is one.
    """

    task: str
    metric: str
    variant: str
    iter: int
    timestamp: int


class Scalar(Record, tag="training_stats_scalar", gc=False):
    """A point."""

    value: float
    key: str = ""


class Plot(Record, tag="plot", gc=False):
    """A plot, as plotly's JSON."""

    plot_str: str
    key: str = ""


class Sample(Record, tag="training_debug_image", gc=False):
    """A debug sample: an image, a sound, a video or a text that was uploaded.

    Attributes:
        key: its path in the storage.
        caption: kept with the event; the server shows none.
    """

    key: str
    url: str
    caption: str = ""


class Line(msgspec.Struct, tag_field="type", tag="log", gc=False):
    """A line of the console, or several.

    Attributes:
        variant: which line it is, in its run: the server gives lines random identities.
    """

    task: str
    timestamp: int
    level: str
    msg: str
    worker: str
    variant: str


AnyRecord: TypeAlias = Scalar | Plot | Sample


class Param(msgspec.Struct, omit_defaults=True):
    """A hyperparameter; those in the section "properties" are the user properties."""

    section: str
    name: str
    value: str
    type: str = ""
    description: str = ""


class TypeData(msgspec.Struct):
    """What is shown of an artifact before it is downloaded."""

    preview: str
    content_type: str | None


class Artifact(msgspec.Struct, kw_only=True):
    """A file of a task. The time is in seconds."""

    key: str
    type: str
    uri: str
    content_size: int
    hash: str
    timestamp: int
    type_data: TypeData


class Metadata(msgspec.Struct):
    """One thing that is said of a model."""

    key: str
    type: str
    value: str


class NewModel(msgspec.Struct, kw_only=True):
    """A model to be stored.

    Attributes:
        identity: the same at every delivery.
        entry: its name among the models of the task.
        package: whether the file is an archive of the model's files.
    """

    identity: str
    entry: str
    name: str
    uri: str
    file: Path
    framework: str
    iteration: int | None
    metadata: dict[str, Metadata]
    package: bool


class Registration(msgspec.Struct):
    """A model that became a version of a registered one."""

    entry: str
    name: str
    tags: list[str]
    comment: str
