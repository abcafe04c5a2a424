"""Whether a healthy backend is delivered to as fast beside bad ones as alone."""

from __future__ import annotations

import os
import signal
import statistics
import time
from contextlib import redirect_stderr, suppress
from io import StringIO
from itertools import count
from pathlib import Path

import tracelet
from bench._harness import Report, Row, alternate, main, scratch
from tracelet.journal import RunDirectory, holder, read_cursor

METHOD = (
    "A burst of points into a backend that takes everything and does nothing, in a delivery process of its own: alone, "
    "and beside four others, one down, one slow, one that ends its process with each batch, and one that hangs. The "
    "time is from the first call to the acknowledgement of the last point by the healthy one, begun when all have been "
    "opened. The figure is the median of the pairs' quotients. All the processes share the machine's cores."
)

_HEALTHY = "bench._backends:Null"
_BAD = [f"bench._lagged:{name}" for name in ("Down", "Slow", "Crashing", "Hanging")]
_PATIENCE = 120.0


def measure(quick: bool) -> Report:
    events, rounds = (5_000, 2) if quick else (1_000_000, 8)
    with scratch() as directory, redirect_stderr(StringIO()):  # which would tell of the bad ones, again and again
        numbers = count()
        contestants = {
            "alone": lambda: _delivery(directory / str(next(numbers)), [_HEALTHY], events),
            "beside": lambda: _delivery(directory / str(next(numbers)), [_HEALTHY, *_BAD], events),
        }
        found = alternate(contestants, rounds)
    quotients = [beside / alone for alone, beside in zip(found["alone"], found["beside"], strict=True)]
    low, _, high = statistics.quantiles(quotients, n=4)
    rate = events / statistics.median(found["alone"])
    note = f"{rate:,.0f} points/s alone; half of the pairs {low:.2f} to {high:.2f}"
    row = Row(
        what="beside four bad backends", figure=statistics.median(quotients), unit="x alone", limit=1.1, note=note
    )
    return Report(benchmark="isolation", method=METHOD, rows=[row])


def _delivery(directory: Path, backends: list[str], events: int) -> float:
    """How long the healthy backend took, in seconds."""
    run = tracelet.start_logging(backends, "isolation", directory=directory)
    place = RunDirectory(run.directory)
    try:
        run.log_metric("first", 0.0, 0)
        for backend in backends:
            if backend in (_HEALTHY, "bench._lagged:Slow"):
                _wait(place, backend, 2)
            else:
                _wait(place, backend, 0)
        begin = time.perf_counter()
        for step in range(events):
            run.log_metric("m", 0.5, step)
        _wait(place, _HEALTHY, events + 2)
        return time.perf_counter() - begin
    finally:
        run.finish(timeout=0.0)
        for backend in backends:  # the bad ones would go on beside the next round
            pid = holder(place.cursor(backend))
            if pid:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _wait(place: RunDirectory, backend: str, sequence: int) -> None:
    """Wait until a backend was opened, and has had so many events."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        record = read_cursor(place.cursor(backend))
        counts = record.logs.get("0000/stream")
        if record.state is not None and (counts.position.sequence if counts else 0) >= sequence:
            return
        time.sleep(0.002)
    raise RuntimeError(f"{backend} was not delivered to: {read_cursor(place.cursor(backend))}")


if __name__ == "__main__":
    main(measure)
