"""What a backend shows of a run, read back by the backend's own means.

A plugin may offer a *reader*: a function `read(options, run_id) -> Recorded` under the plugin's name in the entry point
group "tracelet.readers". Its conformance tests use it, and so does `tracelet demo`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, TypeAlias, cast

import msgspec

from tracelet import media
from tracelet.backend import Outcome
from tracelet.events import MediaLogged

GROUP = "tracelet.readers"

Content: TypeAlias = (
    list[bytes] | media.Histogram | media.Table | media.Curve | media.Mesh | media.Embedding | media.Graph | str | None
)


class Shown(msgspec.Struct, frozen=True):
    """One medium as a backend shows it.

    Attributes:
        kind: which of the media it is there.
        name: as the backend shows it.
        step: None if the backend shows none.
        content: files, or what `tracelet.media` makes of the event, or for a plotly figure its JSON; whatever the
            backend gives back. None if it gives back only that the medium is there.
        beside: files that belong to content that is none: all images of an embedding in one, the config of a mesh.
    """

    kind: type[MediaLogged]
    name: str
    step: int | None
    content: Content = None
    beside: list[bytes] = []


class Recorded(msgspec.Struct, kw_only=True):
    """What a backend shows of a run.

    Attributes:
        runs: how many runs there are under the id.
        points: every (name as the backend shows it, value, step), in any order.
        params, tags: as text.
        texts: the texts' contents, in any order; and of trials and layouts, what `tracelet.substitutes` makes of them.
        artifacts: the files' contents, by name as the backend shows it.
        media: in any order.
        models: of each logged model, its files' contents by their path within it; a model of one file has it under "".
        registered: of each registered model, the aliases of the version that this run made.
        versions: of each registered model, how many versions it has, where the backend counts them.
        datasets: the names of the datasets used.
        console: what was printed, line by line.
        note: the run's note.
        parent: the parent run's id, in Tracelet's terms or as its state has it.
        outcome: as given to `finish`; None while the run is open.
        ended: when, in seconds since the epoch; None if the backend doesn't show that.
    """

    runs: int
    points: list[tuple[str, int | float, int]] = []
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    texts: list[str] = []
    artifacts: dict[str, bytes] = {}
    media: list[Shown] = []
    models: dict[str, dict[str, bytes]] = {}
    registered: dict[str, list[str]] = {}
    versions: dict[str, int] = {}
    datasets: list[str] = []
    console: list[str] = []
    note: str | None = None
    parent: str | None = None
    outcome: Outcome | None = None
    ended: float | None = None


Reader: TypeAlias = Callable[[Any, str], Recorded]
"""Called with the backend's options, as its `Options`, and a run's id; it blocks, and raises LookupError if there is no
such run."""


def reader(backend: str) -> Reader | None:
    """The reader of an installed backend; None if its plugin offers none. Raises ImportError."""
    point = next((point for point in entry_points(group=GROUP) if point.name == backend), None)
    return None if point is None else cast(Reader, point.load())
