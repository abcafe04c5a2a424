"""What a backlog costs the training process: memory while ten million events wait for a backend."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from bench._harness import ROOT, Report, Row, main, scratch

METHOD = (
    "A process of its own emits the events with TRACELET_MODE=offline, so that all of them stay pending. RssAnon is "
    "what belongs to the process, read again and again: the highest reading counts, beyond the one before tracelet was "
    "imported. RssFile is libraries and the part of the journal that is mapped: page cache, which is the kernel's to "
    "take back."
)


def measure(quick: bool) -> Report:
    events = 50_000 if quick else 10_000_000
    with scratch() as directory:
        command = [sys.executable, "-m", "bench._emitter", str(events), str(directory)]
        environment = os.environ | {"TRACELET_MODE": "offline"}
        found = json.loads(
            subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment, cwd=ROOT).stdout
        )
    assert found["pending"] >= events
    own = f"{found['before_anon']:.1f} MiB before, {found['after_anon']:.1f} at the end (RssAnon)"
    return Report(
        benchmark="memory",
        method=METHOD,
        rows=[
            Row(
                what=f"memory beyond the baseline with {found['pending']:,} events pending",
                figure=found["peak_anon"] - found["before_anon"],
                unit="MiB",
                limit=64.0,
                note=own,
            ),
            Row(what="mapped files", figure=found["peak_file"] - found["before_file"], unit="MiB", note="RssFile"),
            Row(what="shared memory", figure=found["peak_shmem"] - found["before_shmem"], unit="MiB", note="RssShmem"),
            Row(
                what="the journal on the disk, per event",
                figure=found["disk"] / found["pending"],
                unit="B",
                note=f"{found['disk'] / 1e6:,.0f} MB",
            ),
        ],
    )


if __name__ == "__main__":
    main(measure)
