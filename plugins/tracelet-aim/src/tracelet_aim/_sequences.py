"""Where in the run a name's values go: Aim's sequences, each of one context, name and type."""

from __future__ import annotations

from typing import Any

from aim.sdk.run import Run
from aim.sdk.tracker import SequenceInfo
from aim.sdk.utils import check_types_compatibility
from aim.storage.context import Context as AimContext
from msgspec import Struct

from tracelet.events import Context
from tracelet_aim._names import context_keys
from tracelet_aim._store import Store

LOGS = "logs"
LOG_LINE = "aim.log_line"
_RESERVED = (LOGS, "__log_records")
_METRICS = ("int", "float", "float64", "number")
_LABELS = {
    "float": "metric",
    "aim.text": "text",
    "list(aim.image)": "images",
    "aim.audio": "audio",
    "aim.figure": "figure",
    "aim.distribution": "distribution",
}


class Place(Struct, frozen=True):
    """A sequence: its context, its name in Aim, Aim's own record of it, and why it isn't quite as was said."""

    context_id: int
    context: dict[str, Any]
    name: str
    info: SequenceInfo
    altered: tuple[str, ...]


def context_id(context: Context) -> int:
    """Aim's number for a context."""
    return int(AimContext(context_keys(context)[0]).idx)


class Sequences:
    """The sequences of one run. It shares Aim's records of them with the run's own tracker."""

    def __init__(self, run: Run, store: Store) -> None:
        self._tracker = run._tracker
        self._store = store

    def place(self, name: str, context: Context, dtype: str) -> Place:
        """The sequence for values of a type: under the name, unless that holds values of another kind already."""
        keys, altered = context_keys(context)
        reasons = ("context changed: Aim has no empty names, and integers of 64 bits",) if altered else ()
        aim_context = AimContext(keys)
        if aim_context not in self._tracker.contexts:
            self._store.context(aim_context.idx, keys)
            self._tracker.contexts[aim_context] = aim_context.idx
            self._tracker._idx_to_ctx[aim_context.idx] = aim_context
        free = name
        while not self._fits(aim_context.idx, free, dtype, bool(keys)):
            free = f"{free} ({_LABELS.get(dtype, dtype)})"
        if free != name:
            reasons = (*reasons, "Aim has values of another kind under the name: the kind was added to it")
        return Place(aim_context.idx, keys, free, self._tracker.sequence_infos[aim_context.idx, free], reasons)

    def _fits(self, context_id: int, name: str, dtype: str, has_context: bool) -> bool:
        if name in _RESERVED and not has_context and dtype != LOG_LINE:
            return False
        info = self._tracker.sequence_infos[context_id, name]
        if not info.initialized:
            return True
        if dtype == "float":
            return info.dtype in _METRICS
        return bool(check_types_compatibility(dtype, info.dtype))

    def track(self, place: Place, value: Any, time: float, step: int) -> None:
        """Store an object, as `run.track` does, with the time of the event."""
        self._tracker._track(value, time, place.name, step, None, context=place.context)
        if place.info.count == 0:  # Aim takes negative steps, but then has no last one, and can't resume the sequence
            trace = [("last", value), ("last_step", step)]
            for field, content in trace:
                self._tracker.meta_run_tree["traces", place.context_id, place.name, field] = content
