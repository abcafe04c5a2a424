"""Runs of the ranks above 0: what they say of numbers and media tells in its context which of them said it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from tracelet import _values
from tracelet._segments import Key
from tracelet.events import Context, Event, Number, Scalar
from tracelet.run import AsyncRun, Run

R = TypeVar("R", Run, AsyncRun)


def ranked(kind: type[R], rank: int) -> type[R]:
    """The kind of run for a rank: its events have `{"rank": rank}` in their context."""

    own: dict[str, Scalar] = {"rank": rank}

    def with_rank(context: Context) -> Context:
        return _values.context_pairs({**dict(context), **own})

    class Ranked(kind):  # type: ignore[misc,valid-type]
        def __init__(self, **arguments: Any) -> None:
            super().__init__(**arguments)
            following = self._count
            # The rank is in the key, as it is in the journal: else a name would have two counts, one without.
            self._count: Callable[[Key], int] = lambda key: following((*key[:-1], with_rank(key[-1])))

        def log_metric(
            self,
            name: str,
            value: Number,
            step: int | None = None,
            context: Mapping[str, Scalar] | None = None,
            time: float | None = None,
            defer: bool | None = None,
        ) -> None:
            super().log_metric(name, value, step, {**_values.mapping(context or {}, "context"), **own}, time, defer)

        def _log_point(self, name: str, value: float, step: int) -> None:
            self.log_metric(name, value, step)

        def _publish(self, event: Event, *, bulk: bool = False) -> None:
            if "context" in event.__struct_fields__:
                event = msgspec.structs.replace(event, context=with_rank(event.context))  # type: ignore[attr-defined]
            super()._publish(event, bulk=bulk)

        def _defer(self, moment: float, values: Mapping[str, Any], step: int, context: Context) -> None:
            super()._defer(moment, values, step, with_rank(context))

    Ranked.__name__ = Ranked.__qualname__ = kind.__name__
    return Ranked
