"""What capturing a SummaryWriter's `add_scalar` adds to it, as a multiple of the floor."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import tracelet
import tracelet.tensorboard
from bench._harness import Calls, Loop, Report, Row, calls, floor, main, microseconds, scratch, timed

METHOD = (
    "Each call is timed by itself, without the clock; p50. Beyond the original: the method with capture against the "
    "method without, in alternating rounds of one process; the writers' queues are long enough, and emptied between "
    "the rounds, that no call waits for the thread that writes event files. Beyond an empty original: the same where "
    "the class's own add_scalar is replaced by one that does nothing, for the precision that two larger figures lack."
)

_BUDGET = 6.0  # 1.5 µs where the floor is 0.25 µs
_STATEMENT = 'writer.add_scalar("train/loss", 0.5, i)'
_WRITERS = {"torch": "torch.utils.tensorboard", "tensorboardX": "tensorboardX"}


def measure(quick: bool) -> Report:
    rounds, count = (4, 500) if quick else (60, 2_000)
    with scratch() as directory:
        run = tracelet.start_logging(exp_name="capture", directory=directory)
        tracelet.tensorboard.uninstall()  # each round installs it where it is wanted
        try:
            rows = _own(directory, rounds, count)
            for name, module in _WRITERS.items():
                with suppress(ImportError):
                    rows += _foreign(name, importlib.import_module(module).SummaryWriter, directory, rounds, count)
        finally:
            tracelet.tensorboard.install()
            run.finish()
    return Report(benchmark="capture", method=METHOD, rows=rows)


def _own(directory: Path, rounds: int, count: int) -> list[Row]:
    writer = tracelet.tensorboard.SummaryWriter(str(directory / "train"))
    found = calls({"floor": floor(), "own": timed(_STATEMENT, writer=writer)}, rounds=rounds, count=count)
    base, own = found["floor"].p50, found["own"].p50
    return [
        Row(what="the floor", figure=1.0, unit="x floor", note=microseconds(base)),
        Row(what="tracelet.tensorboard.SummaryWriter", figure=own / base, unit="x floor", note=microseconds(own)),
    ]


def _foreign(name: str, kind: Any, directory: Path, rounds: int, count: int) -> list[Row]:
    train, val = (kind(str(directory / folder), max_queue=1_000_000) for folder in ("train", "val"))
    original = kind.add_scalar
    try:
        real = _compare(train, rounds, count)
        kind.add_scalar = _nothing
        bare, second = _compare(train, rounds, count), _compare(val, rounds, count)
    finally:
        kind.add_scalar = original
        train.close()
        val.close()
    plain = real["plain"].p50
    return [
        Row(
            what=f"{name}: the original alone",
            figure=plain / real["floor"].p50,
            unit="x floor",
            note=microseconds(plain),
        ),
        _beyond(f"{name}: beyond the original", real, _BUDGET),
        _beyond(f"{name}: beyond an empty original", bare, _BUDGET),
        _beyond(f"{name}: the same, second log directory", second),
    ]


def _compare(writer: Any, rounds: int, count: int) -> dict[str, Calls]:
    loop = timed(_STATEMENT, writer=writer)

    def plain(count: int) -> list[int]:
        times = loop(count)
        writer.flush()
        return times

    return calls({"floor": floor(), "plain": plain, "captured": _captured(plain)}, rounds=rounds, count=count)


def _beyond(what: str, found: dict[str, Calls], limit: float | None = None) -> Row:
    added = found["captured"].p50 - found["plain"].p50
    return Row(
        what=what, figure=added / found["floor"].p50, unit="x floor", limit=limit, note=f"+{microseconds(added)}"
    )


def _captured(loop: Loop) -> Callable[[int], list[int]]:
    def captured(count: int) -> list[int]:
        tracelet.tensorboard.install()
        try:
            return loop(count)
        finally:
            tracelet.tensorboard.uninstall()

    return captured


def _nothing(
    self: object, tag: str, scalar_value: object, global_step: object = None, walltime: object = None, **_: object
) -> None:
    """In place of a writer's own `add_scalar`."""


if __name__ == "__main__":
    main(measure)
