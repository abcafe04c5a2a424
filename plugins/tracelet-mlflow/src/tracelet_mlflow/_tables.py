"""The list of a run's tables, which `mlflow.load_table` looks into: the tag `mlflow.loggedArtifacts`."""

from __future__ import annotations

import msgspec

from tracelet_mlflow._records import Entry
from tracelet_mlflow._transport import Run, Transport
from tracelet_mlflow._words import MAX_TAG_VALUE

TAG = "mlflow.loggedArtifacts"


class _Listed(msgspec.Struct, frozen=True):
    path: str
    type: str


class Tables:
    """The list of one run, as long as a tag may be."""

    def __init__(self) -> None:
        self._known: list[_Listed] | None = None

    async def add(self, transport: Transport, run: Run, path: str) -> bool:
        """List a table; whether all that were listed before still are."""
        if self._known is None:
            self._known = await _listed(transport, run)
        table = _Listed(path, "table")
        if table in self._known:
            return True
        known = [*self._known, table]
        while len(text := msgspec.json.encode(known).decode()) > MAX_TAG_VALUE and len(known) > 1:
            del known[0]
        await transport.log(run.run_id, "tags", [Entry(TAG, text)])
        complete = len(known) > len(self._known)
        self._known = known
        return complete


async def _listed(transport: Transport, run: Run) -> list[_Listed]:
    tags = await transport.get_tags(run.run_id)
    try:
        return msgspec.json.decode(tags.get(TAG, "[]"), type=list[_Listed])
    except msgspec.DecodeError:  # somebody else's
        return []
