"""What a call costs where nothing is recorded: with logging disabled, in another rank, in a forked child."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec

import tracelet
from bench._harness import Calls, Report, Row, calls, main, scratch, timed
from tracelet.run import Run

METHOD = (
    "Ten calls in a row are timed with perf_counter_ns; the clock's own cost is measured in the same rounds and "
    "subtracted, quantiles are those of a round, the median over the rounds. The floor is a method in Python that has "
    "the signature of log_metric and does nothing."
)

_LIMIT = 0.1
_VERBS = {
    "log_metric": 'run.log_metric("loss", 0.5, i)',
    "log_metrics": "run.log_metrics(values, i)",
    "log_text": 'run.log_text("note", "text", i)',
    "log_image": 'run.log_image("sample", values, i)',
    "log_params": "run.log_params(values)",
}


class _Floor:
    def log_metric(
        self, name: object, value: object, step: object = None, context: object = None, time: object = None
    ) -> None:
        pass


def measure(quick: bool) -> Report:
    rounds, count = (5, 1_000) if quick else (50, 5_000)
    with scratch() as directory:
        disabled = tracelet.start_logging(mode="disabled", directory=directory)
        rows = _rows("disabled", disabled, rounds, count)
        os.environ["RANK"] = "1"
        rows += _rows("rank 1", tracelet.start_logging(directory=directory), rounds, count)
        del os.environ["RANK"]
        run = tracelet.start_logging(directory=directory)
        rows += _in_a_child(directory, lambda: _rows("a forked child", run, rounds, count))
        run.finish()
    return Report(benchmark="inert", method=METHOD, rows=rows)


def _rows(where: str, run: Run, rounds: int, count: int) -> list[Row]:
    values = {"loss": 0.5}
    loops = {name: timed("; ".join([call] * 10), run=run, values=values) for name, call in _VERBS.items()}
    floor = timed("; ".join(['run.log_metric("loss", 0.5, i)'] * 10), run=_Floor())
    found = calls({"the floor": floor, **loops}, rounds=rounds, count=count // 10)
    return [
        Row(
            what=f"{where}: {name}, p50",
            figure=_each(cost),
            unit="µs",
            limit=None if name == "the floor" else _LIMIT,
            note=f"{cost.p50 / found['the floor'].p50:.1f} x the floor",
        )
        for name, cost in found.items()
    ]


def _each(cost: Calls) -> float:
    return cost.p50 / 10 / 1_000


def _in_a_child(directory: Path, measure: Callable[[], list[Row]]) -> list[Row]:
    file = directory / "rows.json"
    pid = os.fork()
    if pid == 0:
        try:
            file.write_bytes(msgspec.json.encode(measure()))
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    return msgspec.json.decode(file.read_bytes(), type=list[Row])


if __name__ == "__main__":
    main(measure)
