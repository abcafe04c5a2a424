"""By how much logging slows a training down whose step takes 0.3 ms, while delivery runs."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from bench import _local as local
from bench._harness import ROOT, Report, Row, main, scratch
from bench._mlflow import ENVIRONMENT, Server, database, server
from bench._trainer import Job, Lap, calibrated

METHOD = (
    "Each training is a process of its own: 0.3 ms of matrix products on one core, and five scalars a step. Blocks of "
    "steps of one that logs nothing and of one that logs alternate; the figure is the median of the pairs' quotients. "
    "A training's delivery processes, and the MLflow server, run during its own blocks only, and are stopped in those "
    "of the others. They share the machine's cores with the training: the CPU time beside the figure is its own."
)

_STEP = 0.3e-3
_BUDGET = 2.0


class Trainer:
    """A training process, and the processes that deliver for it."""

    def __init__(self, process: subprocess.Popen[bytes], servers: tuple[Server, ...], share: float) -> None:
        self._process = process
        self._servers = servers
        self._share = share
        self._delivery: list[int] = []

    def begin(self, job: Job) -> None:
        """Give it its job, wait until it is ready, and stop it."""
        self._write(msgspec.json.encode(job))
        if self._read() != b"ready\n":
            raise RuntimeError(f"the training with {job.logger} did not start")
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        self._delivery = [int(pid) for pid in children.read_text().split()]
        self._signal(signal.SIGSTOP)

    def lap(self, steps: int) -> Lap:
        """Have it do so many steps (or the share of them that it is to do)."""
        self._signal(signal.SIGCONT)
        self._write(b"%d" % max(int(steps * self._share), 2))
        lap = msgspec.json.decode(self._read(), type=Lap)
        self._signal(signal.SIGSTOP)
        return lap

    def end(self) -> None:
        """End it, and its delivery: nobody wants what is still pending."""
        for pid in self._delivery:
            os.killpg(pid, signal.SIGKILL)  # and what its SDK started
        self._process.kill()
        self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._delivery:
            os.killpg(pid, number)
        for started in self._servers:
            started.signal(number)

    def _write(self, line: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + b"\n")

    def _read(self) -> bytes:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


def measure(quick: bool) -> Report:
    rounds, steps = (2, 100) if quick else (40, 1_000)
    with scratch() as directory, server(directory) as mlflow, ExitStack() as stack:
        products = calibrated(_STEP)
        sqlite = {"mlflow": {"tracking_uri": database(directory / "tracelet")}}
        http = {"tracelet_mlflow:MLflow": {"tracking_uri": mlflow.url}}
        trainers: dict[str, Trainer] = {}

        def add(what: str, job: Job, *servers: Server, share: float = 1.0) -> None:
            job = msgspec.structs.replace(job, products=products, directory=str(directory / what))
            trainers[what] = stack.enter_context(_trainer(job, servers, share))

        add("nothing", Job("nothing"))  # against itself: the noise
        add("tracelet, journal only", Job("tracelet"))
        add("tracelet, mlflow sqlite", Job("tracelet", backends=sqlite))
        add("tracelet, mlflow http", Job("tracelet", backends=http), mlflow)
        mlflow.signal(signal.SIGCONT)
        both = {"mlflow": {"tracking_uri": database(directory / "both")}}
        add("tracelet, mlflow sqlite and http", Job("tracelet", backends=both | http), mlflow)
        add("tracelet, all four backends", Job("tracelet", backends=local.backends(directory / "four")))
        add("tensorboardX's writer", Job("tensorboardX"))
        add("the MLflow SDK, sqlite", Job("mlflow", uri=database(directory / "sdk")), share=0.01)
        pairs = _pairs(trainers, rounds, steps)
    return Report(benchmark="training", method=METHOD, rows=[_row(what, laps) for what, laps in pairs.items()])


@contextmanager
def _trainer(job: Job, servers: tuple[Server, ...], share: float) -> Iterator[Trainer]:
    environment = os.environ | ENVIRONMENT | local.ENVIRONMENT | {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "bench._trainer"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        cwd=ROOT,
        env=environment,
    )
    trainer = Trainer(process, servers, share)
    try:
        trainer.begin(job)
        yield trainer
    finally:
        trainer.end()


def _pairs(trainers: dict[str, Trainer], rounds: int, steps: int) -> dict[str, list[tuple[Lap, Lap]]]:
    """Laps of the training that logs nothing, each with one of a training that does, right before or after it."""
    base = trainers["nothing"]
    pairs: dict[str, list[tuple[Lap, Lap]]] = {what: [] for what in trainers}
    for turn in range(rounds):
        for what, trainer in trainers.items():
            if turn % 2:
                logged, plain = trainer.lap(steps), base.lap(steps)
            else:
                plain, logged = base.lap(steps), trainer.lap(steps)
            pairs[what].append((plain, logged))
    return pairs


def _row(what: str, pairs: list[tuple[Lap, Lap]]) -> Row:
    percent = [(logged.wall / plain.wall - 1) * 100 for plain, logged in pairs]
    cpu = statistics.median((logged.cpu / plain.cpu - 1) * 100 for plain, logged in pairs)
    low, _, high = statistics.quantiles(percent, n=4)
    step = statistics.median(logged.wall for _, logged in pairs) * 1000
    return Row(
        what=what,
        figure=statistics.median(percent),
        unit="%",
        limit=_BUDGET if what.startswith("tracelet") else None,
        note=f"{step:.3f} ms a step; half of the pairs {low:.1f} to {high:.1f} %; its own CPU time {cpu:+.1f} %",
    )


if __name__ == "__main__":
    main(measure)
