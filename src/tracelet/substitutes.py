"""For backend plugins: what says the same as an event, where the backend has nothing like it.

A trial becomes parameters and a text, an arrangement of charts a text for each chart. Nothing is lost: the text has the
whole, as JSON.
"""

from __future__ import annotations

import json
import math
from typing import Any

from tracelet.events import Event, HParamsLogged, LayoutSet, ParamsLogged, TextLogged


def substitutes(event: Event) -> tuple[Event, ...]:
    """What a backend without trials and layouts takes in an event's place; any other event as it is.

    A trial is `ParamsLogged` and a text "hparams", or "hparams/<its name>": `{"name", "values", "metrics", "domains"}`.
    A chart of a layout is a text "layout/<category>/<title>": `{"category", "title", "kind", "metrics"}`; so a later
    layout adds to an earlier one, and replaces charts of the same title. Numbers that JSON has not are text.
    """
    if isinstance(event, HParamsLogged):
        about = {"name": event.name, "values": event.values, "metrics": event.metrics, "domains": event.domains}
        name = f"hparams/{event.name}" if event.name else "hparams"
        return ParamsLogged(event.time, event.values), TextLogged(event.time, name, _json(about))
    if isinstance(event, LayoutSet):
        return tuple(
            TextLogged(
                event.time,
                f"layout/{category}/{title}",
                _json({"category": category, "title": title, "kind": kind, "metrics": metrics}),
            )
            for category, charts in event.charts.items()
            for title, (kind, metrics) in charts.items()
        )
    return (event,)


def _json(value: Any) -> str:
    return json.dumps(_sayable(value), ensure_ascii=False, indent=2)


def _sayable(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _sayable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_sayable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return hex(value)  # whose length Python doesn't limit, as it does that of digits
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
