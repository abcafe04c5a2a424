"""The stub's events."""

from __future__ import annotations

import hashlib
import math
import uuid
from typing import Any

from clearml_stub_store import Fields, Refusal, Store

_TYPES = ("training_stats_scalar", "plot", "training_debug_image", "log")
_LARGEST = 3.4028234663852886e38  # of Elasticsearch's type "float"
_LONGEST_KEYWORD = 32_766  # bytes


class Events:
    """A method for each endpoint, its name with "_" for "."."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.stored: dict[str, dict[str, Fields]] = {kind: {} for kind in _TYPES}
        """By type and by identity, which is random for lines of the log."""

    def of(self, task: str, kind: str) -> list[Fields]:
        found = [event for event in self.stored[kind].values() if event["task"] == task]
        return sorted(found, key=lambda event: (event.get("iter", 0), event["timestamp"]))

    def add_batch(self, events: list[Fields]) -> Fields:
        if not events:
            raise Refusal(400, 17, "batch request contains no items")
        reasons: dict[str, int] = {}
        added = 0
        for event in events:
            problem = self._problem(event)
            if problem is not None:
                reasons[problem] = reasons.get(problem, 0) + 1
                continue
            added += 1
            kind = event["type"]
            if kind == "log":
                identity = uuid.uuid4().hex
            else:
                parts = [str(event[key]) for key in ("task", "iter", "metric", "variant", "key") if key in event]
                identity = hashlib.md5("-".join(parts).encode(), usedforsecurity=False).hexdigest()
            self.stored[kind][identity] = event
        if not added:
            raise Refusal(400, 131, f"events not added: {reasons}")
        return {"added": added, "errors": sum(reasons.values()), "errors_info": reasons}

    def _problem(self, event: Fields) -> str | None:
        if event.get("type") not in _TYPES:
            return f"Invalid event type {event.get('type')}"
        if "task" not in event:
            return "Event must have a 'task' field"
        task = self._store.tasks.get(event["task"])
        if task is None or task["status"] in ("published", "publishing"):
            return f"Invalid task id {event['task']}"
        if abs(event.get("iter") or 0) >= 2**63:
            return f"Iteration number should not exceed {2**63 - 1}"
        value = event.get("value", 0.0)
        texts = [str(event.get(key, "")) for key in ("metric", "variant", "key", "url")]
        if not isinstance(value, int | float) or math.isnan(value) or abs(value) > _LARGEST:
            return "Error when indexing events batch"
        if any(len(text.encode()) > _LONGEST_KEYWORD for text in texts):
            return "Error when indexing events batch"
        return None

    def events_get_task_log(self, body: Fields) -> Fields:
        self._store.task(body)
        earlier = body.get("navigate_earlier", True)
        lines = sorted(self.of(body["task"], "log"), key=lambda line: int(line["timestamp"]), reverse=earlier)
        start = body.get("from_timestamp")
        if start:
            lines = [line for line in lines if (line["timestamp"] < start if earlier else line["timestamp"] > start)]
        size = body.get("batch_size") or 500
        lines, rest = lines[:size], lines[size:]
        lines += [line for line in rest if line["timestamp"] == lines[-1]["timestamp"]]
        if earlier == (body.get("order") == "asc"):
            lines.reverse()
        return {"events": lines, "returned": len(lines), "total": len(self.of(body["task"], "log"))}

    def events_get_task_events(self, body: Fields) -> Fields:
        events = self.of(body["task"], body["event_type"])
        start = int(body.get("scroll_id") or 0)
        page = events[start : start + int(body.get("batch_size") or 500)]
        following = start + len(page)
        return {"events": page, "returned": len(page), "total": len(events), "scroll_id": str(following)}

    def events_scalar_metrics_iter_histogram(self, body: Fields) -> Fields:
        found: dict[str, dict[str, Any]] = {}
        for event in self.of(body["task"], "training_stats_scalar"):
            line = found.setdefault(event["metric"], {}).setdefault(
                event["variant"], {"name": event["variant"], "x": [], "y": []}
            )
            line["x"].append(event["iter"])
            line["y"].append(event["value"])
        return found

    def events_get_task_plots(self, body: Fields) -> Fields:
        plots = self.of(body["task"], "plot")
        return {"plots": plots, "returned": len(plots), "total": len(plots)}

    def events_debug_images(self, body: Fields) -> Fields:
        wanted = body["metrics"][0]
        found: list[Fields] = []
        for event in [] if body.get("scroll_id") else self.of(wanted["task"], "training_debug_image"):
            if event["metric"] == wanted["metric"] and event["variant"] in (
                wanted.get("variants") or [event["variant"]]
            ):
                found.append({"iter": event["iter"], "events": [event]})
        return {"scroll_id": "end", "metrics": [{"task": wanted["task"], "iterations": found}]}
