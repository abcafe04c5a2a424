"""What a backlog costs the training process: memory while ten million events wait for a backend."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec

from bench._harness import Report, Row, main, scratch

METHOD = (
    "A process of its own emits the events with TRACELET_MODE=offline, so that all of them stay pending. RssAnon is "
    "what belongs to the process, read again and again: the highest reading counts, beyond the one before tracelet was "
    "imported. RssFile is the part of the journal that is mapped; it is page cache, which the kernel takes back at will."
)

_MEBI = 1024.0  # /proc counts in KiB


class Reading(msgspec.Struct):
    """What a process has in memory, in MiB."""

    anon: float
    file: float
    shmem: float


class Found(msgspec.Struct):
    """What the emitting process says; `disk` in bytes."""

    before: Reading
    peak: Reading
    after: Reading
    pending: int
    disk: int


def measure(quick: bool) -> Report:
    events = 50_000 if quick else 10_000_000
    with scratch() as directory:
        command = [sys.executable, "-m", "bench.memory", "--emit", str(events), str(directory)]
        environment = os.environ | {"TRACELET_MODE": "offline"}
        root = Path(__file__).resolve().parent.parent
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment, cwd=root).stdout
    found = msgspec.json.decode(output, type=Found)
    assert found.pending >= events
    rows = [
        Row(
            what=f"memory beyond the baseline with {found.pending:,} events pending",
            figure=found.peak.anon - found.before.anon,
            unit="MiB",
            limit=64.0,
            note=f"{found.before.anon:.1f} MiB before, {found.after.anon:.1f} at the end (RssAnon)",
        ),
        Row(what="mapped pages of the journal", figure=found.peak.file - found.before.file, unit="MiB", note="RssFile"),
        Row(what="shared memory", figure=found.peak.shmem - found.before.shmem, unit="MiB", note="RssShmem"),
        Row(
            what="the journal on the disk, per event",
            figure=found.disk / found.pending,
            unit="B",
            note=f"{found.disk / 1e6:,.0f} MB",
        ),
    ]
    return Report(benchmark="memory", method=METHOD, rows=rows)


def _emit(events: int, directory: Path) -> Found:
    before = peak = _read()
    import tracelet

    run = tracelet.start_logging({"bench._backends:Null": {}}, exp_name="memory", directory=directory)
    for step in range(events):
        run.log_metric("train/loss", 0.5, step)
        if step % 50_000 == 0:
            now = _read()
            peak = Reading(*(max(old, new) for old, new in zip(_fields(peak), _fields(now), strict=True)))
    pending = run.status().backends["bench._backends:Null"].pending
    after = _read()
    disk = sum(file.stat().st_size for file in run.directory.rglob("*.seg"))
    run.finish()
    return Found(before=before, peak=peak, after=after, pending=pending, disk=disk)


def _fields(reading: Reading) -> tuple[float, ...]:
    return reading.anon, reading.file, reading.shmem


def _read() -> Reading:
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    sizes = {words[0]: float(words[1]) / _MEBI for words in lines if words[0].startswith("Rss")}
    return Reading(anon=sizes["RssAnon:"], file=sizes["RssFile:"], shmem=sizes["RssShmem:"])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--emit"]:
        sys.stdout.buffer.write(msgspec.json.encode(_emit(int(sys.argv[2]), Path(sys.argv[3]))))
    else:
        main(measure)
