"""How fast scalars are imported from an event file into a backend that does nothing."""

from __future__ import annotations

import statistics
import struct
from collections.abc import Callable
from itertools import count
from pathlib import Path
from time import perf_counter, process_time

import anyio
import google_crc32c

from bench._backends import Null, NullOptions
from bench._harness import Report, Row, alternate, main, scratch
from tracelet import Delivery
from tracelet._bus import Bus
from tracelet._discovery import Target
from tracelet.importing import Destination, Importer, Records, find
from tracelet.importing._needs import event_parser

METHOD = (
    "A file of scalars under ten tags, as SummaryWriters write them, is imported into the journal of a new run, which "
    "is then delivered by a Bus in this process to a backend whose export does nothing. Beside it, in alternating "
    "rounds: reading and checking the file's records, and parsing each with protobuf as well. All of it happens in one "
    "thread, so its time is taken from the process's CPU clock, which other processes do not lengthen; medians. The "
    "best rates beside them are by the clock on the wall."
)

_BUDGET = 200_000.0


def measure(quick: bool) -> Report:
    points, rounds = (20_000, 3) if quick else (1_000_000, 5)
    with scratch() as directory:
        logs = directory / "logs"
        write(logs, points)
        fresh = count()
        found = alternate(
            {
                "import": lambda: _import(logs, directory / f"runs{next(fresh)}"),
                "records": lambda: _read(logs, len),
                "protobuf": lambda: _read(logs, _each(event_parser())),
            },
            rounds,
        )
    times = {
        "until the backend has them": [times[-1] for times in found["import"]],
        "until they are in the journal": [times[0] for times in found["import"]],
        "only read and check the records": [times[0] for times in found["records"]],
        "and parse each with protobuf": [times[0] for times in found["protobuf"]],
    }
    rows: list[Row] = []
    for what, taken in times.items():
        rate = points / statistics.median(cpu for cpu, _ in taken)
        best = points / min(wall for _, wall in taken)
        limit = None if rows else _BUDGET
        note = f"{best:,.0f} scalars/s at best"
        rows.append(Row(what=what, figure=rate, unit="scalars/s", limit=limit, at_least=True, note=note))
    return Report(benchmark="importing", method=METHOD, rows=rows)


def write(logs: Path, points: int, tags: int = 10) -> None:
    """An event file with so many scalars, as torch's SummaryWriter makes it."""
    event = type(event_parser()(b""))
    logs.mkdir()
    with (logs / "events.out.tfevents.1700000000.bench").open("wb") as file:
        file.write(framed(event(wall_time=1.7e9, file_version="brain.Event:2").SerializeToString()))
        for number in range(points):
            one = event(wall_time=1.7e9 + number * 1e-3, step=number // tags)
            one.summary.value.add(tag=f"train/metric{number % tags}", simple_value=number * 0.001)
            file.write(framed(one.SerializeToString()))


def framed(data: bytes) -> bytes:
    """A record with its length and checks."""
    length = struct.pack("<Q", len(data))
    return length + _check(length) + data + _check(data)


def _check(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


Times = list[tuple[float, float]]
"""CPU time, and time on the wall, from the beginning up to one point or several; in seconds."""


def _since(cpu: float, wall: float) -> tuple[float, float]:
    return process_time() - cpu, perf_counter() - wall


def _import(logs: Path, runs: Path) -> Times:
    """Until the journal has everything, and until the backend has."""
    target = Target(name="null", backend=Null, options=NullOptions(), delivery=Delivery())
    begin = process_time(), perf_counter()
    (group,) = find(logs).groups
    importer = Importer(group, Destination(runs, "bench", []), "bench")
    assert importer.step()
    importer.close()
    recorded = _since(*begin)
    bus = Bus(importer.directory, [target])
    anyio.run(bus.run)
    delivered = _since(*begin)
    assert bus.subscriptions[0].cursor.record.closed == "completed"
    return [recorded, delivered]


def _read(logs: Path, use: Callable[[list[bytes]], object]) -> Times:
    begin = process_time(), perf_counter()
    for path in logs.iterdir():
        with Records(path) as records:
            while found := records.read():
                use(found)
    return [_since(*begin)]


def _each(parse: Callable[[bytes], object]) -> Callable[[list[bytes]], object]:
    def use(found: list[bytes]) -> None:
        for data in found:
            parse(data)

    return use


if __name__ == "__main__":
    main(measure)
