"""How fast a journal is delivered to each backend, beside the best loop over httpx or the backend's SDK."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from itertools import count
from time import perf_counter
from typing import Any

import anyio
import httpx
import msgspec

from bench import _local as local
from bench._harness import Report, Row, alternate, main, scratch
from bench._mlflow import ENVIRONMENT, database, server
from bench.replay import record
from tracelet import Opened, RunInfo, State
from tracelet._bus import Bus
from tracelet._discovery import find
from tracelet.backend import Backend
from tracelet.journal import RunDirectory

METHOD = (
    "The same points, as many per request, each time into a fresh run of one store; Tracelet and the raw loop "
    "alternate, in one process. The loops: 1,000 points a request over httpx, and by MlflowClient.log_batch; 5,000 a "
    "request over httpx to the stub of ClearML's server that the plugin's tests use, in another process; Aim's "
    "run.track, and wandb's run.log, of a point a call, as there is no faster public way into either. Tracelet's time "
    "is from the return of the backend's open, which has imported the SDK and created the run, to the acknowledgement "
    "of the last event: reading the journal, decoding, converting, and the cursor file are in it. The raw loop has "
    "its points in memory, and its time is that of the loop alone. The figure is the median of the pairs' quotients."
)

_BATCH = 1_000


class Point(msgspec.Struct, frozen=True):
    """A metric as `runs/log-batch` takes it."""

    key: str
    value: float
    timestamp: int
    step: int


class Request(msgspec.Struct, frozen=True):
    """The body of `runs/log-batch`."""

    run_id: str
    metrics: list[Point]


class Timed:
    """The MLflow backend, which notes when the first batch may begin."""

    def __init__(self, backend: Backend) -> None:
        self.handles = backend.handles
        self.export = backend.export
        self.finish = backend.finish
        self.close = backend.close
        self.opened = 0.0
        self._backend = backend

    async def open(self, state: State | None) -> Opened:
        opened = await self._backend.open(state)
        self.opened = time.monotonic()
        return opened


class Deliveries:
    """Delivers one run's journal again and again, each time as another run."""

    def __init__(self, directory: RunDirectory, name: str, backend: str, options: dict[str, Any]) -> None:
        self._directory = directory
        self._name = name
        self._target = find(backend, options)
        self._numbers = count()

    def __call__(self) -> float:
        """How long it took, in seconds."""
        made: list[Timed] = []
        name = f"{self._name}-{next(self._numbers)}"  # of the cursor and the run

        def make(options: msgspec.Struct, run: RunInfo) -> Timed:
            fresh = msgspec.structs.replace(run, id=f"{run.id}-{name}", name=name)
            made.append(Timed(self._target.backend(options, fresh)))
            return made[-1]

        target: Any = msgspec.structs.replace(self._target, name=name, backend=make)
        bus = Bus(self._directory, [target])
        anyio.run(bus.run)
        subscription = bus.subscriptions[0]
        found = subscription.cursor.record
        if found.closed is None or found.retries:
            raise RuntimeError(f"delivery failed: {found}")
        return subscription.last_progress - made[0].opened


def measure(quick: bool) -> Report:
    os.environ.update(ENVIRONMENT | local.ENVIRONMENT)
    events, rounds = (200, 2) if quick else (30_000, 8)
    rows = []
    with scratch() as directory:
        journal, points = record(directory, events), _points(events)

        def compare(what: str, backend: str, options: dict[str, Any], raw: Callable[[], float], limit: float) -> None:
            deliveries = Deliveries(journal, what.replace(" ", "-"), backend, options)
            rows.append(_compare(what, events, deliveries, raw, rounds, limit))

        with server(directory) as mlflow:
            compare("MLflow http", "mlflow", {"tracking_uri": mlflow.url}, _http_loop(mlflow.url, points), 1.0)
        sqlite = database(directory / "local")
        compare("MLflow sqlite", "mlflow", {"tracking_uri": sqlite}, _sdk_loop(sqlite, points), 1.0)
        with local.clearml() as clearml:
            compare("ClearML stub", "clearml", clearml.options, local.clearml_loop(clearml, points), 1.0)
        if local.HAS_AIM:
            aim = str(directory / "aim")
            compare("Aim", "aim", {"repo": aim}, local.aim_loop(aim, points), 1.0)
        wandb = str(directory / "wandb")
        compare("wandb offline", "wandb", {"mode": "offline", "dir": wandb}, local.wandb_loop(wandb, points), 5.0)
    return Report(benchmark="delivery", method=METHOD, rows=rows)


def _compare(
    what: str, events: int, tracelet: Callable[[], float], raw: Callable[[], float], rounds: int, limit: float
) -> Row:
    found = alternate({"tracelet": tracelet, "raw": raw}, rounds)
    quotients = [raw / own for own, raw in zip(found["tracelet"], found["raw"], strict=True)]
    low, _, high = statistics.quantiles(quotients, n=4)
    rates = {name: events / statistics.median(times) for name, times in found.items()}
    note = f"{rates['tracelet']:,.0f} points/s, the loop {rates['raw']:,.0f}; half of the pairs {low:.2f} to {high:.2f}"
    figure = statistics.median(quotients)
    return Row(what=what, figure=figure, unit="x the loop", limit=limit, at_least=True, note=note)


def _points(events: int, names: int = 10) -> list[Point]:
    """What `record` puts in the journal."""
    now = int(time.time() * 1000)
    return [Point(f"metric{n % names}", n * 0.001, now + n, n // names) for n in range(events)]


def _http_loop(url: str, points: list[Point]) -> Callable[[], float]:
    client = httpx.Client(base_url=url, timeout=60.0)
    encode = msgspec.json.encode
    headers = {"Content-Type": "application/json"}

    def post(path: str, body: object) -> dict[str, Any]:
        response = client.post(f"/api/2.0/mlflow/{path}", content=encode(body), headers=headers).raise_for_status()
        answer: dict[str, Any] = msgspec.json.decode(response.content)
        return answer

    experiment: str = post("experiments/create", {"name": "raw"})["experiment_id"]

    def loop() -> float:
        run: str = post("runs/create", {"experiment_id": experiment})["run"]["info"]["run_id"]
        begin = perf_counter()
        for at in range(0, len(points), _BATCH):
            post("runs/log-batch", Request(run, points[at : at + _BATCH]))
        return perf_counter() - begin

    return loop


def _sdk_loop(uri: str, points: list[Point]) -> Callable[[], float]:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    client = MlflowClient(tracking_uri=uri)
    experiment = client.create_experiment("raw")

    def loop() -> float:
        run = client.create_run(experiment).info.run_id
        begin = perf_counter()
        for at in range(0, len(points), _BATCH):
            chunk = points[at : at + _BATCH]
            client.log_batch(run, [Metric(point.key, point.value, point.timestamp, point.step) for point in chunk])
        return perf_counter() - begin

    return loop


if __name__ == "__main__":
    main(measure)
