"""What it costs to capture a run's surroundings: printing, logging, the beginning and end, a training's step."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

from bench._harness import ROOT, Loop, Report, Row, alternate, calls, floor, main, microseconds, scratch, timed
from bench._trainer import Job, calibrated

os.environ["TRACELET_CAPTURE"] = "0"  # each round turns on what it is about

import tracelet
from bench.training import _pairs, _row, _trainer
from tracelet.capture import Surroundings
from tracelet.capture._console import Console, Lines
from tracelet.capture._machine import Machine

METHOD = (
    "print: to /dev/null, with and without capture in alternating rounds of one process, as multiples of the floor of "
    "bench.emit. log_metric: rounds of so many calls that each has samples in it, one a second, and ends of segments. "
    "The longest hold: the longest time between two readings of the clock by a thread that does nothing else, in "
    "rounds with and without a thread that measures all the time. Start and stop: fresh interpreters, the least. The "
    "step: as in bench.training, against a training that logs to a journal only; all is captured. Each training has "
    "its own interval of samples."
)

ALL = frozenset({"git", "environment", "command", "console", "system"})
_LINE = '"epoch 3 step 1200: loss=0.3421 acc=0.912 lr=3e-4 time 12.3s/it"'

_START = """
import sys, time
sys.path.insert(0, {root!r})
import tracelet
run = tracelet.start_logging(exp_name="e", directory={directory!r})
begin = time.perf_counter()
from tracelet.capture import Surroundings
imported = time.perf_counter() - begin
begin = time.perf_counter()
surroundings = Surroundings(run, frozenset({all!r}), 10.0, print)
surroundings.start()
started = time.perf_counter() - begin
end = time.perf_counter() + 1.0
while time.perf_counter() < end:
    time.sleep(0.01)
begin = time.perf_counter()
surroundings.stop()
print(imported, started, time.perf_counter() - begin, file=sys.__stderr__)
run.finish()
"""


def measure(quick: bool) -> Report:
    with scratch() as directory:
        run = tracelet.start_logging(exp_name="surroundings", directory=directory)
        try:
            rows = _printing(run, 4 if quick else 60)
            rows += _logging(run, *((2, 2_000) if quick else (6, 600_000)))
            rows += _measuring(directory, 0.05 if quick else 3.0)
        finally:
            run.finish()
        rows += _start_and_stop(directory, 1 if quick else 7)
        rows += _steps(directory, *((2, 100) if quick else (40, 1_000)))
    return Report(benchmark="surroundings", method=METHOD, rows=rows)


def _printing(run: tracelet.Run, rounds: int) -> list[Row]:
    with Path(os.devnull).open("w") as sink:
        plain = timed(f"print({_LINE}, file=sink)", sink=sink)
        found = calls(
            {
                "floor": floor(),
                "print": plain,
                "captured": _listening(plain, run, sink),
                "flooded": _listening(plain, run, sink, flooded=True),
            },
            rounds=rounds,
            count=2_000,
        )
    base, original = found["floor"].p50, found["print"].p50
    names = {"captured": "print, captured: beyond the original", "flooded": "the same, of a line that is left out"}
    return [
        Row(what="print alone", figure=original / base, unit="x floor", note=microseconds(original)),
        *(
            Row(
                what=what,
                figure=(found[name].p50 - original) / base,
                unit="x floor",
                limit=8.0,
                note=f"+{microseconds(found[name].p50 - original)}; p99 {microseconds(found[name].p99)}",
            )
            for name, what in names.items()
        ),
    ]


def _listening(loop: Loop, run: tracelet.Run, sink: TextIO, *, flooded: bool = False) -> Loop:
    def listening(count: int) -> list[int]:
        console = Console(run, _nobody)
        with contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
            console.start()
        for _, lines in console._streams:
            assert isinstance(lines, Lines)
            lines._left = 0 if flooded else 10 * count
        try:
            return loop(count)
        finally:
            console.stop()

    return listening


def _logging(run: tracelet.Run, rounds: int, count: int) -> list[Row]:
    usual = timed('log("train/loss", 0.5, i)', log=run.log_metric)
    few = max(count // 100, 1_000)
    found = calls(
        {"floor": _at_most(floor(), few), "off": usual, "on": _surrounded(usual, run)}, rounds=rounds, count=count
    )
    base, off, on = found["floor"].p50, found["off"], found["on"]
    rows = []
    for cost, what in (
        (off, "log_metric, nothing captured"),
        (on, "log_metric, console and machine captured, a sample each second"),
    ):
        rows += [
            Row(what=f"{what}, p50", figure=cost.p50 / base, unit="x floor", limit=4.0, note=microseconds(cost.p50)),
            Row(what=f"{what}, p99", figure=cost.p99 / base, unit="x floor", limit=20.0, note=microseconds(cost.p99)),
        ]
    return [
        *rows,
        Row(what="the captured against the other, p50", figure=on.p50 / off.p50, unit="x", limit=1.1),
        Row(what="the captured against the other, p99", figure=on.p99 / off.p99, unit="x", limit=1.25),
    ]


def _at_most(loop: Loop, most: int) -> Loop:
    return lambda count: loop(min(count, most))


def _surrounded(loop: Loop, run: tracelet.Run) -> Loop:
    def surrounded(count: int) -> list[int]:
        surroundings = Surroundings(run, ALL - {"git", "environment", "command"}, 1.0, _nobody)
        surroundings.start()
        try:
            return loop(count)
        finally:
            surroundings.stop()

    return surrounded


def _measuring(directory: Path, seconds: float) -> list[Row]:
    machine = Machine(directory, _nobody)
    machine.measure()
    samples = 3 if seconds < 1 else 200
    wall, cpu = time.perf_counter(), time.thread_time()
    for _ in range(samples):
        machine.measure()
    wall, cpu = (time.perf_counter() - wall) / samples, (time.thread_time() - cpu) / samples
    gaps = alternate({"alone": lambda: _gap(seconds), "beside": lambda: _beside(machine, seconds)}, 3)
    machine.close()
    alone, beside = statistics.median(gaps["alone"]), statistics.median(gaps["beside"])
    return [
        Row(what="one sample", figure=wall * 1000, unit="ms", note=f"of which CPU time {cpu * 1000:.2f} ms"),
        Row(
            what="one core's share, a sample each 10 s",
            figure=cpu * 10,
            unit="%",
            note=f"each second {cpu * 100:.2f} %",
        ),
        Row(
            what="the longest hold, measuring all the time",
            figure=beside * 1e3,
            unit="ms",
            note=f"{alone * 1e3:.2f} ms without",
        ),
    ]


def _beside(machine: Machine, seconds: float) -> float:
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            machine.measure()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        return _gap(seconds)
    finally:
        over.set()
        thread.join()


def _gap(seconds: float) -> float:
    clock = time.perf_counter
    longest, last = 0.0, clock()
    end = last + seconds
    while last < end:
        now = clock()
        longest, last = max(longest, now - last), now
    return longest


def _start_and_stop(directory: Path, rounds: int) -> list[Row]:
    code = _START.format(root=str(ROOT), directory=str(directory / "starts"), all=set(ALL))
    found: list[tuple[float, ...]] = []
    for _ in range(rounds):
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
        found.append(tuple(map(float, done.stderr.splitlines()[0].split())))
    imported, started, stopped = (min(times) * 1000 for times in zip(*found, strict=True))
    return [
        Row(what="import tracelet.capture, in start_logging", figure=imported, unit="ms"),
        Row(what="start", figure=started, unit="ms", limit=2.0),
        Row(what="stop, of a run of a second", figure=stopped, unit="ms"),
    ]


def _steps(directory: Path, rounds: int, steps: int) -> list[Row]:
    jobs = {
        "nothing": Job("tracelet"),
        "tracelet: a step, a sample each 10 s": Job("surrounded", interval=10.0),
        "tracelet: a step, a sample each second": Job("surrounded", interval=1.0),
    }
    products = calibrated(0.3e-3)
    with ExitStack() as stack:
        trainers = {}
        for what, job in jobs.items():
            job.products, job.directory = products, str(directory / what)
            trainers[what] = stack.enter_context(_trainer(job, (), 1.0))
        pairs = _pairs(trainers, rounds, steps)
    return [
        _row(f"step: {what}".replace("step: nothing", "step: against itself"), laps) for what, laps in pairs.items()
    ]


def _nobody(message: str) -> None:
    """What is told in a benchmark."""


if __name__ == "__main__":
    main(measure)
