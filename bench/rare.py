"""What the rare calls cost that cost more: those that begin a new segment, and those that copy a file."""

from __future__ import annotations

import os
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import tracelet
from bench._harness import Report, Row, alternate, main, scratch
from tracelet.codec import encode
from tracelet.events import Kind, MetricsLogged
from tracelet.journal import LogWriter

METHOD = (
    "A new segment: the append that finds its segment full, with the next one prepared (as the keeper thread does it) "
    "and without; medians over the segments. Artifacts: log_artifact of one file that is in the page cache, in "
    "alternating rounds with shutil.copyfile to the same disk; medians."
)

_WORD = Kind.METRICS_LOGGED.value


def measure(quick: bool) -> Report:
    with scratch() as directory:
        rows = _rotation(directory, 4 if quick else 40)
        for mebibytes in (1,) if quick else (1, 64, 256):
            rows += _artifact(directory, mebibytes, 3 if quick else 7)
    return Report(benchmark="rare", method=METHOD, rows=rows)


def _rotation(directory: Path, segments: int) -> list[Row]:
    usual, bare = (statistics.median(_fill(directory / str(it), segments, prepare=it)) * 1e6 for it in (True, False))
    what = "an append that begins a new segment"
    return [
        Row(what=f"{what}, prepared", figure=usual, unit="µs"),
        Row(what=f"{what}, not prepared", figure=bare, unit="µs", note=f"{bare / usual:.1f} x the prepared"),
    ]


def _fill(directory: Path, segments: int, *, prepare: bool) -> list[float]:
    """How long the first append to each segment takes, in seconds."""
    begun: list[bool] = []
    log = LogWriter(directory, first_size=1 << 20, largest_size=1 << 20, on_rotate=lambda: begun.append(True))
    payload = encode(MetricsLogged(1.7e9, {"train/loss": 0.5}, 1, ()))
    times: list[float] = []
    while len(times) < segments:
        if prepare:
            log.prepare()
        while not begun:
            took = _timed(lambda: log.append(_WORD, payload))
        times.append(took)
        begun.clear()
        log.sync()
    log.seal()
    return times


def _timed(call: Callable[[], object], emptied: Path | None = None) -> float:
    """How long a call takes, in seconds; the folder that it fills is emptied afterwards."""
    begin = perf_counter()
    call()
    took = perf_counter() - begin
    for file in emptied.iterdir() if emptied is not None else ():
        file.unlink()
    return took


def _artifact(directory: Path, mebibytes: int, rounds: int) -> list[Row]:
    source = directory / "model.bin"
    copies = directory / "copies"
    copies.mkdir(exist_ok=True)
    source.write_bytes(os.urandom(1 << 20) * mebibytes)
    run = tracelet.start_logging(exp_name="rare", directory=directory)
    try:
        found = alternate(
            {
                "copied": lambda: _timed(lambda: run.log_artifact(source), run.directory / "blobs"),
                "not copied": lambda: _timed(lambda: run.log_artifact(source, copy=False)),
                "copyfile": lambda: _timed(lambda: shutil.copyfile(source, copies / source.name), copies),
            },
            rounds,
        )
    finally:
        run.finish()
        shutil.rmtree(run.directory)
    times = {name: statistics.median(seconds) for name, seconds in found.items()}
    base = times["copyfile"]
    return [
        Row(
            what=f"log_artifact of {mebibytes} MiB, {name}",
            figure=times[name] / base,
            unit="x copyfile",
            note=f"{times[name] * 1000:.2f} ms",
        )
        for name in ("copied", "not copied")
    ]


if __name__ == "__main__":
    main(measure)
