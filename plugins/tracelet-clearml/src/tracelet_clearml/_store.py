"""What the export asks of a task, wherever it is kept: on a server, or in a folder for later import."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from tracelet.backend import Opened, Outcome, State
from tracelet_clearml._records import AnyRecord, Artifact, Line, NewModel, Param, Registration


class Uploaded(msgspec.Struct, frozen=True):
    """Where a file is: its path in the storage, and its address."""

    key: str
    url: str


class TaskStore(Protocol):
    """A task. Every method raises what `Backend.export` may raise."""

    @property
    def task(self) -> str:
        """The task's id; known once it is open."""

    async def open(self, state: State | None) -> Opened:
        """Find the task, or create it, and have it running."""

    async def add_records(self, records: Sequence[AnyRecord]) -> None: ...

    async def add_lines(self, lines: Sequence[Line]) -> None:
        """Lines that are there already are not added again."""

    async def set_params(self, params: Sequence[Param]) -> None: ...

    async def properties(self) -> dict[str, str]:
        """The user properties, by name."""

    async def change_tags(self, add: Sequence[str], remove: Sequence[str]) -> None: ...

    async def set_comment(self, text: str) -> None: ...

    async def upload(self, folder: str, parts: Sequence[str], source: bytes | Path) -> Uploaded:
        """Keep a file under the task's own path in `folder` ("metrics", "artifacts", "models")."""

    async def add_artifact(self, artifact: Artifact) -> None: ...

    async def add_model(self, model: NewModel) -> None: ...

    async def register(self, registration: Registration) -> None:
        """Raises Rejected if the task has no such model."""

    async def finish(self, outcome: Outcome, time: float) -> None: ...

    async def aclose(self) -> None: ...
