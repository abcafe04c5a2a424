"""A training process of bench.training: does as many steps as standard input says, and says how long they took."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec
import numpy

METRICS = tuple(f"train/metric{number}" for number in range(5))

Say: TypeAlias = Callable[[int], None]
"""Logs the five scalars of a step."""


class Job(msgspec.Struct):
    """What kind of training this is.

    Attributes:
        logger: "nothing", "tracelet", "surrounded" (by all that tracelet captures), "tensorboardX" or "mlflow".
        products: how many matrix products a step takes.
        backends: for tracelet.
        directory: where the loggers may write.
        uri: for mlflow.
        interval: of system metrics, in seconds.
    """

    logger: str
    products: int = 0
    backends: dict[str, dict[str, Any]] = {}
    directory: str = ""
    uri: str = ""
    interval: float = 10.0


class Lap(msgspec.Struct):
    """What a step took on average, in seconds: on the wall, and of this process's CPU time."""

    wall: float
    cpu: float


class Step:
    """A training step: a chain of products of matrices, in one thread."""

    def __init__(self, products: int) -> None:
        random = numpy.random.default_rng(0)
        self._weights = random.standard_normal((96, 96)) / 96**0.5
        self._inputs = random.standard_normal((64, 96))
        self._products = range(products)

    def __call__(self) -> float:
        activations = self._inputs
        for _ in self._products:
            activations = numpy.tanh(activations @ self._weights)
        return float(activations[0, 0])


def calibrated(seconds: float) -> int:
    """How many products take so long; on a machine that is busy with other things, at its best."""
    step, best = Step(100), float("inf")
    for _ in range(100):
        begin = time.perf_counter()
        step()
        best = min(best, time.perf_counter() - begin)
    return max(round(seconds / best * 100), 1)


def nothing(job: Job) -> Say:
    return lambda step: None


def tracelet(job: Job) -> Say:
    import tracelet

    run = tracelet.start_logging(job.backends, exp_name="training", directory=job.directory)
    log = run.log_metric
    log("train/first", 0.0, 0)
    if not run.flush(timeout=120.0):
        raise RuntimeError(f"delivery did not begin: {run.status()}")

    def say(step: int) -> None:
        for name in METRICS:
            log(name, 0.5, step)

    return say


def surrounded(job: Job) -> Say:
    import tracelet as package
    from tracelet.capture import Surroundings

    say = tracelet(job)
    run = package.active_run()
    assert run is not None
    wanted = frozenset({"git", "environment", "command", "console", "system"})
    Surroundings(run, wanted, job.interval, lambda message: None).start()
    return say


def tensorboard(job: Job) -> Say:
    import tensorboardX

    add = tensorboardX.SummaryWriter(job.directory).add_scalar

    def say(step: int) -> None:
        for name in METRICS:
            add(name, 0.5, step)

    return say


def mlflow(job: Job) -> Say:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=job.uri)
    run_id = client.create_run(client.create_experiment("sdk")).info.run_id

    def say(step: int) -> None:
        for name in METRICS:
            client.log_metric(run_id, name, 0.5, step=step)

    return say


LOGGERS: dict[str, Callable[[Job], Say]] = {
    "nothing": nothing,
    "tracelet": tracelet,
    "surrounded": surrounded,
    "tensorboardX": tensorboard,
    "mlflow": mlflow,
}


def main() -> None:
    """Take a job, then numbers of steps, one a line, until the input ends."""
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)
    train, say = Step(job.products), LOGGERS[job.logger](job)
    print("ready", flush=True)
    done = 0
    for line in sys.stdin.buffer:
        count = int(line)
        begin, cpu = time.perf_counter(), time.process_time()
        for step in range(done, done + count):
            train()
            say(step)
        lap = Lap((time.perf_counter() - begin) / count, (time.process_time() - cpu) / count)
        done += count
        print(msgspec.json.encode(lap).decode(), flush=True)


if __name__ == "__main__":
    main()
