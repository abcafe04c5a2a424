"""What the benchmarks share: statements timed in alternating rounds, the report, and the command line.

A figure that counts is a ratio of two things measured in the same rounds of one process: load on the machine, which
comes and goes, then meets both of them alike.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, TypeVar

import msgspec
import typer
from rich.console import Console
from rich.table import Table

T = TypeVar("T")

ROOT = Path(__file__).resolve().parent.parent
"""Where `python -m bench` works."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One figure.

    Attributes:
        limit: the budget; None for a figure that is there for orientation.
        at_least: whether the figure must reach the limit; else it must not exceed it.
        note: absolute times and the like.
    """

    what: str
    figure: float
    unit: str
    limit: float | None = None
    at_least: bool = False
    note: str = ""

    @property
    def verdict(self) -> str:
        """ "met", "missed", or nothing where there is no budget."""
        if self.limit is None:
            return ""
        met = self.figure >= self.limit if self.at_least else self.figure <= self.limit
        return "met" if met else "missed"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a benchmark found; `method` says how, in a sentence or two."""

    benchmark: str
    method: str
    rows: list[Row]


# Timing.

Loop = Callable[[int], list[int]]

_TIMED = """
def make(clock, {names}):
    def loop(count):
        times = [0] * count
        for i in range(count):
            begin = clock()
            {statement}
            times[i] = clock() - begin
        times.sort()
        return times
    return loop
"""


def timed(statement: str, **names: object) -> Loop:
    """A function that runs a statement so many times, and returns how long each took, in ascending nanoseconds.

    As in `timeit`, the statement stands in the loop itself, so that no call of ours is measured with it; `i` counts.
    """
    from time import perf_counter_ns

    made: dict[str, Any] = {}
    exec(_TIMED.format(names=", ".join(names), statement=statement), made)
    loop: Loop = made["make"](perf_counter_ns, **names)
    return loop


def alternate(contestants: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """Run the contestants in turn, in each second round in the opposite order; returns each one's results."""
    results: dict[str, list[T]] = {name: [] for name in contestants}
    for contestant in contestants.values():
        contestant()  # warms up; a first call may import, allocate or open something
    for turn in range(rounds):
        for name in list(contestants)[:: -1 if turn % 2 else 1]:
            results[name].append(contestants[name]())
    return results


class Calls(msgspec.Struct, frozen=True):
    """What one call costs, in nanoseconds: the medians over the rounds of two figures of each round.

    Attributes:
        p50: the mean of the middle half; the clock ticks too coarsely (10 ns) for the median itself.
        p99: what one call in a hundred takes longer than.
    """

    p50: float
    p99: float

    @classmethod
    def of(cls, rounds: list[list[int]], clock: float = 0.0) -> Calls:
        """From the ascending times of each round; `clock` is what reading the clock takes."""
        middle = statistics.median(_middle(times) for times in rounds)
        p99 = statistics.median(times[len(times) * 99 // 100] for times in rounds)
        return cls(middle - clock, p99 - clock)


def _middle(ascending: list[int]) -> float:
    quarter = len(ascending) // 4
    return statistics.fmean(ascending[quarter:-quarter])


def calls(loops: Mapping[str, Loop], *, rounds: int, count: int) -> dict[str, Calls]:
    """Time statements against each other; what reading the clock costs is measured beside them and subtracted."""
    contestants = {"clock": timed("pass")} | dict(loops)
    results = alternate({name: _bind(loop, count) for name, loop in contestants.items()}, rounds)
    clock = Calls.of(results.pop("clock")).p50
    return {name: Calls.of(times, clock) for name, times in results.items()}


def _bind(loop: Loop, count: int) -> Callable[[], list[int]]:
    return lambda: loop(count)


def floor() -> Loop:
    """The least that recording a metric can take: make one event, encode it, and copy it into memory that is mapped."""
    import mmap

    import msgspec.msgpack

    from tracelet.events import MetricsLogged

    return timed(
        "payload = encode(Event(time, {name: 0.5}, i, ())); room[0 : len(payload)] = payload",
        Event=MetricsLogged,
        encode=msgspec.msgpack.Encoder().encode,
        name="train/loss",
        room=mmap.mmap(-1, 4096),
        time=1.7e9,
    )


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory on the disk for the duration of a block."""
    with TemporaryDirectory(prefix="tracelet-bench-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


# The command line.


def main(measure: Callable[[bool], Report]) -> None:
    """The command line of a benchmark; `measure` takes whether it is to be quick."""

    def command(
        quick: Annotated[bool, typer.Option(help="A few rounds: to see that it works, not to measure.")] = False,
        check: Annotated[bool, typer.Option(help="Exit with 1 if a budget is missed.")] = False,
        json: Annotated[
            typer.FileTextWrite | None, typer.Option(help="Write JSON there; - is standard output.")
        ] = None,
    ) -> None:
        report = measure(quick)
        show(report, Console(stderr=json is not None and json.name == "<stdout>"))
        if json is not None:
            json.write(msgspec.json.encode(as_dict(report, quick)).decode() + "\n")
        if check and any(row.verdict == "missed" for row in report.rows):
            raise typer.Exit(1)

    command.__doc__ = sys.modules["__main__"].__doc__
    typer.run(command)


def as_dict(report: Report, quick: bool) -> dict[str, Any]:
    """A report as JSON has it."""
    rows = [msgspec.to_builtins(row) | {"verdict": row.verdict} for row in report.rows]
    machine = {"python": platform.python_version(), "cpus": os.cpu_count(), "machine": platform.machine()}
    return msgspec.structs.asdict(report) | {"quick": quick, **machine, "rows": rows}


def show(report: Report, console: Console) -> None:
    """Print a report."""
    table = Table(
        title=f"bench.{report.benchmark}", caption=report.method, title_justify="left", caption_justify="left"
    )
    table.add_column("what")
    table.add_column("figure", justify="right")
    table.add_column("budget", justify="right")
    table.add_column("")
    table.add_column("for orientation")
    for row in report.rows:
        sign = "≥" if row.at_least else "≤"
        budget = "" if row.limit is None else f"{sign} {shown(row.limit)} {row.unit}"
        colour = {"met": "green", "missed": "red", "": "default"}[row.verdict]
        verdict = f"[{colour}]{row.verdict}[/]"
        table.add_row(row.what, f"{shown(row.figure)} {row.unit}", budget, verdict, row.note)
    console.print(table)


def shown(figure: float) -> str:
    """A figure with three significant digits, or as a whole number."""
    return f"{figure:,.0f}" if abs(figure) >= 100 or figure == int(figure) else f"{figure:.3g}"


def microseconds(nanoseconds: float) -> str:
    """A time in µs, for a note."""
    return f"{nanoseconds / 1000:.2f} µs"
