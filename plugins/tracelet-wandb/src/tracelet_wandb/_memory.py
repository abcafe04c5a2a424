"""What a backend has to remember from session to session: kept by the core as its state."""

from __future__ import annotations

import msgspec

from tracelet.backend import State


class Model(msgspec.Struct, frozen=True):
    """A model that was logged: its artifact, the server's id of that, and where its files are."""

    artifact: str
    path: str
    step: int | None
    framework: str
    metadata: dict[str, object]
    id: str = ""


class Memory(msgspec.Struct):
    """The run as W&B should show it.

    Attributes:
        note: None as long as none was set.
        models: by the name they were logged under.
    """

    tags: dict[str, str] = {}
    note: str | None = None
    models: dict[str, Model] = {}

    @classmethod
    def of(cls, state: State | None) -> Memory:
        """The memory in a state."""
        if state is None or "memory" not in state:
            return cls()
        return msgspec.json.decode(state["memory"], type=cls)

    def encoded(self) -> str:
        return msgspec.json.encode(self).decode()
