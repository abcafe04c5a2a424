"""What `run.log_metric` costs the caller, as a multiple of the floor."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import numpy

import tracelet
from bench._harness import Calls, Loop, Report, Row, calls, floor, main, microseconds, scratch, timed
from tracelet import codec
from tracelet.events import Kind, MetricsLogged
from tracelet.journal import LogWriter
from tracelet.journal.segment import FRAME, FRAME_SIZE

METHOD = (
    "Each call is timed by itself with perf_counter_ns; the clock's own cost is measured in the same rounds and "
    "subtracted. Quantiles are those of a round, the median over the rounds. Both p50 and p99 are given as multiples "
    "of the floor's p50; the floor: make one event, encode it, copy it into an anonymous mmap."
)

_P50, _P50_UNUSUAL, _P99 = 4.0, 6.0, 20.0
_USUAL = 'log("train/loss", 0.5, i)'


class Spinner:
    """A thread that computes in pure Python, while it is wanted, and so never gives the GIL away by itself."""

    def __init__(self) -> None:
        self._wanted = threading.Event()
        self._over = False
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def beside(self, loop: Loop) -> Loop:
        """The loop, run while the thread computes."""

        def spinning(count: int) -> list[int]:
            self._wanted.set()
            try:
                return loop(count)
            finally:
                self._wanted.clear()

        return spinning

    def stop(self) -> None:
        self._over = True
        self._wanted.set()
        self._thread.join()

    def _spin(self) -> None:
        while self._wanted.wait() and not self._over:
            for _ in range(1_000):
                pass


def measure(quick: bool) -> Report:
    rounds, count = (5, 2_000) if quick else (100, 5_000)
    with scratch() as directory:
        run = tracelet.start_logging(exp_name="emit", directory=directory)
        spinner = Spinner()
        log = run.log_metric
        try:
            found = calls(
                {
                    "floor": floor(),
                    "alone": timed(_USUAL, log=log),
                    "beside a CPU-bound thread": spinner.beside(timed(_USUAL, log=log)),
                    "with context": timed('log("loss", 0.5, i, context=context)', log=log, context={"subset": "val"}),
                    "NumPy value": timed('log("train/loss", value, i)', log=log, value=numpy.float32(0.5)),
                    "no step": timed('log("train/loss", 0.5)', log=log),
                    "5 at once (log_metrics)": timed(
                        "log(values, i)", log=run.log_metrics, values={f"metric{n}": 0.5 for n in range(5)}
                    ),
                },
                rounds=rounds,
                count=count,
            )
        finally:
            spinner.stop()
            run.finish()
        base = found.pop("floor")
        rows = [Row(what="the floor, p50", figure=1.0, unit="x floor", note=microseconds(base.p50))]
        for what, cost in found.items():
            rows += _variant(what, cost, base)
        rows += _parts(directory, base, rounds, count)
    return Report(benchmark="emit", method=METHOD, rows=rows)


def _variant(what: str, cost: Calls, base: Calls) -> list[Row]:
    usual = what in ("alone", "beside a CPU-bound thread")
    limit = None if "at once" in what else _P50 if usual else _P50_UNUSUAL
    p50 = Row(what=f"{what}, p50", figure=cost.p50 / base.p50, unit="x floor", limit=limit, note=microseconds(cost.p50))
    p99 = cost.p99 / base.p50
    return [
        p50,
        Row(
            what=f"{what}, p99",
            figure=p99,
            unit="x floor",
            limit=_P99 if usual else None,
            note=microseconds(cost.p99),
        ),
    ]


def _parts(directory: Path, base: Calls, rounds: int, count: int) -> list[Row]:
    """What one `log_metric` consists of; each part by itself, in loops too short to time single calls of it."""
    event = MetricsLogged(1.7e9, {"train/loss": 0.5}, 1, ())
    payload = codec.encode(event)
    frame = bytes(FRAME_SIZE) + payload
    log = LogWriter(directory / "parts")
    word = Kind.METRICS_LOGGED.value
    ten: Callable[[str], str] = lambda statement: "; ".join([statement] * 10)  # noqa: E731
    loops = {
        "time.time()": timed(ten("now()"), now=time.time),
        "make the event": timed(ten('Event(1.7e9, {"train/loss": 0.5}, i, ())'), Event=MetricsLogged),
        "encode it": timed(ten("encode(event)"), encode=codec.encode, event=event),
        "CRC": timed(ten("crc(payload, 3 ^ i)"), crc=crc32, payload=payload),
        "pack the frame": timed(ten("pack(1, 2, 3, i) + payload"), pack=FRAME.pack, payload=payload),
        "store it": timed(ten("room[8 : 8 + size] = frame"), room=bytearray(4096), frame=frame, size=len(frame)),
        "all of LogWriter.append": timed(ten("append(word, payload)"), append=log.append, word=word, payload=payload),
    }
    found = calls(loops, rounds=rounds, count=count // 10)
    log.seal()
    return [
        Row(
            what=f"  of which: {name}",
            figure=cost.p50 / 10 / base.p50,
            unit="x floor",
            note=microseconds(cost.p50 / 10),
        )
        for name, cost in found.items()
    ]


if __name__ == "__main__":
    main(measure)
