"""How long the command line takes to show runs: many of them, and one with many points."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import msgspec

from bench._harness import Report, Row, alternate, main, scratch
from tracelet.codec import encode
from tracelet.events import ArtifactLogged, Event, Lane, MetricsLogged, ParamsLogged, RunFinished, RunStarted, kind_of
from tracelet.journal import Cursor, LogCount, Position, Recorder, RunDirectory, RunRecord, WriterEnd, log_key

METHOD = (
    "The whole command, from starting its interpreter to its end, in alternating rounds; the least of each. The runs "
    "have two backends, which have everything, but for those that were killed, which have nothing; their directories "
    "were just made, so they are in the page cache."
)

BACKENDS = ("mlflow", "wandb")


def measure(quick: bool) -> Report:
    few, many, points = (50, 100, 10_000) if quick else (1_000, 10_000, 1_000_000)
    with scratch() as directory:
        _make_runs(directory / "few", few)
        _make_runs(directory / "many", many)
        _make_runs(directory / "killed", few, killed=True)
        big = _make_run(directory / "big", points)
        contestants = {
            "nothing": _command("--version"),
            "few": _command("status", "--directory", directory / "few"),
            "killed": _command("status", "--directory", directory / "killed", code=1),
            "many": _command("status", "--directory", directory / "many"),
            "runs": _command("runs", "--directory", directory / "many"),
            "show": _command("show", big.path),
        }
        found = alternate(contestants, 1 if quick else 5)
    took = {name: min(times) * 1000 for name, times in found.items()}
    base = took["nothing"]
    return Report(
        benchmark="status",
        method=METHOD,
        rows=[
            Row(what="tracelet --version", figure=base, unit="ms", note="the interpreter and the imports"),
            Row(
                what=f"tracelet status, {few:,} runs",
                figure=took["few"],
                unit="ms",
                limit=1_000.0,
                note=f"{took['few'] / base:.1f} x --version",
            ),
            Row(
                what=f"tracelet status, {few:,} killed runs with something pending",
                figure=took["killed"],
                unit="ms",
                limit=1_000.0,
                note=f"{(took['killed'] - base) / few * 1000:.0f} µs a run",
            ),
            Row(
                what=f"tracelet status, {many:,} runs",
                figure=took["many"],
                unit="ms",
                limit=5_000.0,
                note=f"{(took['many'] - took['few']) / (many - few) * 1000:.0f} µs for each further run",
            ),
            Row(what=f"tracelet runs, {many:,} runs", figure=took["runs"], unit="ms", limit=1_000.0),
            Row(
                what=f"tracelet show, a run of {points:,} points",
                figure=took["show"],
                unit="ms",
                note=f"{(took['show'] - base) / points * 1000:.2f} µs a point",
            ),
        ],
    )


def _command(*arguments: object, code: int = 0) -> Callable[[], float]:
    """How long a command takes that ends with that code, in seconds."""
    command = [sys.executable, "-m", "tracelet", *map(str, arguments)]

    def run() -> float:
        begin = perf_counter()
        done = subprocess.run(command, stdout=subprocess.DEVNULL)
        assert done.returncode == code
        return perf_counter() - begin

    return run


def _make_runs(directory: Path, number: int, *, killed: bool = False) -> None:
    """Runs that differ in their records; the files of their journals and cursors are one run's."""
    model = _make_run(directory, 50, killed=killed)
    for ordinal in range(1, number):
        began = time.time() - ordinal * 60
        run = RunDirectory(directory / "runs" / _id(began, ordinal))
        for folder, _, files in os.walk(model.path):
            place = run.path / os.path.relpath(folder, model.path)
            place.mkdir(parents=True)
            for name in files:
                if name != "run.json":
                    os.link(os.path.join(folder, name), place / name)
        run.write_record(_record(run, began))


def _make_run(directory: Path, points: int, *, killed: bool = False) -> RunDirectory:
    began = time.time()
    run = RunDirectory(directory / "runs" / _id(began, 0))
    run.path.mkdir(parents=True)
    run.write_record(_record(run, began))
    recorder = Recorder(run, lambda: recorder.tend(sync=False))

    def say(event: Event) -> None:
        recorder.append(kind_of(type(event)), encode(event))

    say(RunStarted(began, "run", "bench"))
    say(ParamsLogged(began, {"lr": 3e-4, "layers": [64, 64]}))
    for step in range(points):
        say(MetricsLogged(began + step, {f"train/m{step % 10}": 1.0 / (step + 1)}, step // 10))
    file = ArtifactLogged(began, "weights.bin", "/nowhere/weights.bin", 1, 1, copied=False)
    recorder.append_bulk(kind_of(ArtifactLogged), encode(file))
    if killed:
        _kill(run, recorder)
        return run
    recorder.finish(kind_of(RunFinished), encode(RunFinished(time.time(), "completed")))
    for backend in BACKENDS:
        _deliver(run, backend, recorder)
    recorder.detach()
    return run


def _kill(run: RunDirectory, recorder: Recorder) -> None:
    """Leave a writer's logs as they are when it dies, with all the space that it had reserved."""
    record = run.writer_record(recorder.writer)
    assert record is not None
    process = msgspec.structs.replace(record.process, boot_id="of before this machine was restarted")
    data = msgspec.json.encode(msgspec.structs.replace(record, process=process))
    (run.path / "journal" / recorder.writer / "writer.json").write_bytes(data)
    recorder.detach()


def _deliver(run: RunDirectory, backend: str, recorder: Recorder) -> None:
    """What a backend's cursor says when it has everything."""
    cursor = Cursor.acquire(run.cursor(backend))
    assert cursor is not None
    with cursor:
        for lane in Lane:
            key = log_key(recorder.writer, lane)
            number = recorder.tallies()[key].recorded
            cursor.record.logs[key] = LogCount(Position(0, 0, number), delivered=number)
        cursor.record.phase, cursor.record.closed = "closed", "completed"
        cursor.record.ends = {recorder.writer: WriterEnd("completed", time.time(), time.time())}
        cursor.save()


def _record(run: RunDirectory, began: float) -> RunRecord:
    backends = {"mlflow": {"tracking_uri": "http://localhost:5000"}, "wandb": {"mode": "online", "entity": "bench"}}
    return RunRecord(id=run.id, name="run", project="bench", created=began, backends=backends, version="0")


def _id(began: float, ordinal: int) -> str:
    """As `tracelet.journal.new_run_id`, of another time."""
    digits = f"{int(began * 1000) << 80 | 7 << 76 | 2 << 62 | ordinal:032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


if __name__ == "__main__":
    main(measure)
