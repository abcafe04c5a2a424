"""How fast the journal of a long run is replayed into a backend that does nothing."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, process_time
from zlib import crc32

import anyio

from bench._backends import Null, NullOptions
from bench._harness import Report, Row, alternate, calls, floor, main, microseconds, scratch
from tracelet import Delivery
from tracelet._bus import Bus
from tracelet._discovery import Target
from tracelet.codec import decode_plain, encode
from tracelet.events import Kind, Lane, MetricsLogged, RunFinished
from tracelet.journal import Recorder, RunDirectory, RunRecord, new_run_id
from tracelet.journal.segment import FRAME, FRAME_SIZE, HEADER_SIZE, segment_numbers, segment_path

METHOD = (
    "A journal of metrics is delivered by a Bus in this process to a backend whose export does nothing: reading, "
    "checking, decoding, batching and acknowledging. Beside it, in alternating rounds: a loop that unpacks, checks and "
    "decodes the same frames from memory, and the floor of bench.emit; medians. All of it happens in one thread, so "
    "its time is taken from the process's CPU clock, which other processes do not lengthen; the replay's rate beside "
    "it is by the clock on the wall."
)

_BUDGET = 4.0  # 1 µs an event where the floor is 0.25 µs


def measure(quick: bool) -> Report:
    events, rounds = (20_000, 3) if quick else (1_000_000, 7)
    with scratch() as scratch_directory:
        directory = record(scratch_directory, events)
        found = alternate(
            {
                "default": lambda: _replay(directory, Delivery()),
                "large": lambda: _replay(directory, Delivery(batch_size=10_000, batch_bytes=10_000_000)),
                "decode": lambda: _decode(directory),
                "floor": lambda: (calls({"floor": floor()}, rounds=5, count=5_000)["floor"].p50 / 1e9, 1.0),
            },
            rounds,
        )
    base = statistics.median(cpu for cpu, _ in found["floor"])
    cost = {name: statistics.median(cpu for cpu, _ in times) / events for name, times in found.items()}
    rate = {name: events / min(wall for _, wall in times) for name, times in found.items()}
    rows = [Row(what="the floor", figure=1.0, unit="x floor", note=microseconds(base * 1e9))]
    for name, what, limit in (
        ("default", "replay, batches of 1,000 (the default)", _BUDGET),
        ("large", "replay, batches of 10,000", None),
        ("decode", "only unpack, check and decode", None),
    ):
        note = f"{microseconds(cost[name] * 1e9)}; {rate[name]:,.0f} events/s at best"
        rows.append(Row(what=f"{what}: per event", figure=cost[name] / base, unit="x floor", limit=limit, note=note))
    rows.append(Row(what="replay beyond decoding", figure=cost["default"] / cost["decode"], unit="x decoding"))
    return Report(benchmark="replay", method=METHOD, rows=rows)


def record(root: Path, events: int, names: int = 10) -> RunDirectory:
    """A finished run of so many metrics under so many names."""
    directory = RunDirectory(root / new_run_id())
    recorder = Recorder(directory, bool)
    now = time.time()
    directory.write_record(
        RunRecord(id=directory.id, name="replay", project="bench", created=now, backends={}, version="0")
    )
    for number in range(events):
        event = MetricsLogged(now + number * 1e-3, {f"metric{number % names}": number * 0.001}, number // names)
        recorder.append(Kind.METRICS_LOGGED.value, encode(event))
    recorder.finish(Kind.RUN_FINISHED.value, encode(RunFinished(now, "completed")))
    return directory


class _Watch:
    """Takes the CPU time of this process, and the time on the wall, of a block; in seconds."""

    def __enter__(self) -> _Watch:
        self._cpu, self._wall = process_time(), perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.times = process_time() - self._cpu, perf_counter() - self._wall


def _replay(directory: RunDirectory, delivery: Delivery) -> tuple[float, float]:
    with _fresh_cursor(directory):
        target = Target(name="null", backend=Null, options=NullOptions(), delivery=delivery)
        bus = Bus(directory, [target])
        with _Watch() as watch:
            anyio.run(bus.run)
        assert bus.subscriptions[0].cursor.record.closed == "completed"
    return watch.times


@contextmanager
def _fresh_cursor(directory: RunDirectory) -> Iterator[None]:
    path = directory.cursor("null")
    path.unlink(missing_ok=True)
    yield
    path.unlink(missing_ok=True)


def _decode(directory: RunDirectory) -> tuple[float, float]:
    """What no reader of this journal can do without."""
    log = directory.log(directory.writers()[0], Lane.STREAM)
    segments = [segment_path(log, number).read_bytes() for number in segment_numbers(log)]
    with _Watch() as watch:
        for data in segments:
            _decode_segment(data)
    return watch.times


def _decode_segment(data: bytes) -> None:
    unpack, size, check, decode = FRAME.unpack_from, FRAME_SIZE, crc32, decode_plain
    offset, end = HEADER_SIZE, len(data) - size
    while offset <= end:
        crc, length, word, number = unpack(data, offset)
        if not length:
            break
        stop = offset + size + length
        payload = data[offset + size : stop]
        if check(payload, word ^ number) != crc:
            raise AssertionError("a damaged frame")
        decode(payload)
        offset = (stop + 7) & -8


if __name__ == "__main__":
    main(measure)
