"""How old scalars are when they arrive, while files of 100 MB are uploaded in the other lane."""

from __future__ import annotations

import os
import time
from array import array
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import tracelet
from bench._harness import Report, Row, main, scratch
from bench._mlflow import ENVIRONMENT, server
from tracelet._discovery import find

METHOD = (
    "A process logs scalars at an even rate for ten seconds, and after two of them ten files of 10 MB; each scalar's "
    "lag is from the call to the return of the export that it was in. The budget is 10,000 scalars a second; MLflow's "
    "own server takes fewer on this machine, so it gets 1,000. The figure is the 99th percentile in lingers of the "
    "backend."
)

_MB = 1 << 20
_TICK = 0.01


def measure(quick: bool) -> Report:
    os.environ.update(ENVIRONMENT)
    seconds, megabytes = (0.3, 1) if quick else (10.0, 10)
    rows = []
    with scratch() as directory:
        file = directory / "10MB.bin"
        file.write_bytes(os.urandom(megabytes * _MB))
        inner: dict[str, tuple[str, dict[str, Any], int]] = {
            "null": ("bench._backends:Null", {}, 10_000),
        }
        if find_spec("tracelet_aim") and find_spec("aim"):
            inner["aim"] = ("aim", {"repo": str(directory / "aim")}, 10_000)
        if find_spec("tracelet_wandb"):
            inner["wandb, offline"] = ("wandb", {"mode": "offline", "dir": str(directory / "wandb")}, 10_000)
        for name, (backend, options, rate) in inner.items():
            rows += _rows(name, backend, options, rate, seconds, file, directory)
        with server(directory) as mlflow:
            rows += _rows("mlflow http", "mlflow", {"tracking_uri": mlflow.url}, 1_000, seconds, file, directory)
    return Report(benchmark="lag", method=METHOD, rows=rows)


def _rows(
    name: str, backend: str, options: dict[str, Any], rate: int, seconds: float, file: Path, directory: Path
) -> list[Row]:
    found = {}
    for what, artifacts in (("without files", 0), ("with 100 MB of files", 10)):
        record = directory / f"{name}-{artifacts}"
        found[what] = _run(backend, options, rate, seconds, file, artifacts, record)
    linger = find(backend, options).delivery.linger
    return [
        Row(
            what=f"{name}, {rate:,}/s, {what}",
            figure=_percentile(lags, 99) / linger,
            unit="lingers",
            limit=2.0 if "with " in what else None,
            note=f"linger {linger:g} s; p50 {_percentile(lags, 50):.2f} s, p99 {_percentile(lags, 99):.2f} s",
        )
        for what, lags in found.items()
    ]


def _percentile(lags: array[float], percent: int) -> float:
    return sorted(lags)[min(len(lags) * percent // 100, len(lags) - 1)]


def _run(
    backend: str, options: dict[str, Any], rate: int, seconds: float, file: Path, artifacts: int, record: Path
) -> array[float]:
    """Log at a rate, and return the lags."""
    delivery = _delivery(backend, options)
    lagged = {"inner": backend, "options": options, "record": str(record), "delivery": delivery}
    place = record.parent / "runs"  # each point that arrives has to be one that is said here, so nothing is captured
    run = tracelet.start_logging({"bench._lagged:Lagged": lagged}, "lag", "bench", directory=place, capture=False)
    run.flush(timeout=60.0)  # opened
    begin = time.perf_counter()
    said = step = 0
    while (elapsed := time.perf_counter() - begin) < seconds:
        due = int(elapsed * rate)
        for step in range(said, due):
            run.log_metric(f"metric{step % 10}", 0.5, step // 10)
        said = max(said, due)
        if artifacts and elapsed > seconds / 5:
            for number in range(artifacts):
                run.log_artifact(file, f"file-{number}.bin")
            artifacts = 0
        time.sleep(_TICK)
    run.finish(timeout=120.0)
    lags = array("d")
    lags.frombytes(record.read_bytes())
    if len(lags) != said:
        raise RuntimeError(f"{said} points were logged, {len(lags)} arrived: {run.status()}")
    return lags


def _delivery(backend: str, options: dict[str, Any]) -> dict[str, Any]:
    """What the backend inside declares."""
    import msgspec

    return msgspec.structs.asdict(find(backend, options).delivery)


if __name__ == "__main__":
    main(measure)
