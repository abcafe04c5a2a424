"""A training that the kernel kills for want of memory, in a control group of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tracelet.journal import RunDirectory
from tracelet.status import read_status

LIMIT = 220 << 20

TRAIN = """
import os, sys, tracelet
group, directory = sys.argv[1:]
with open(group + "/cgroup.procs", "w") as file:  # with what it starts
    file.write(str(os.getpid()))
backend = {"jsonl": {"path": directory + "/events.jsonl"}}
run = tracelet.start_logging(backend, "hungry", "memory", directory=directory)
for step in range(1_000):
    run.log_metric("m", step / 2, step)
taken = []
while True:
    taken.append(bytearray(16 << 20))
"""


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group with little memory; needs root, or one that is delegated to us."""
    for base, limit in (("/sys/fs/cgroup", "memory.max"), ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")):
        place = Path(base, f"tracelet-{os.getpid()}")
        if not Path(base, "cgroup.procs").exists():
            continue
        try:
            place.mkdir()
            with (place / limit).open("r+") as file:  # it is there, if memory can be limited
                file.write(str(LIMIT))
        except OSError:
            continue
        yield place
        place.rmdir()
        return
    pytest.skip("no control group with a limit of memory can be made here")


def test_an_oom_kill_loses_nothing(group: Path, tmp_path: Path, eventually: Callable[..., None]) -> None:
    """All that was said before arrives, and the run ends as killed; delivery makes do with the memory that is left."""
    done = subprocess.run([sys.executable, "-c", TRAIN, str(group), str(tmp_path)], capture_output=True, timeout=60)
    assert done.returncode == -9, done.stderr
    events = tmp_path / "events.jsonl"
    eventually(lambda: events.exists() and '"kind":"closed"' in events.read_text())
    said = list(map(json.loads, events.read_text().splitlines()))
    assert [event["step"] for event in said if event["kind"] == "MetricsLogged"] == list(range(1_000))
    assert said[-1]["outcome"] == "killed"
    (place,) = (tmp_path / "runs").iterdir()
    eventually(lambda: not (group / "cgroup.procs").read_text())  # delivery has ended
    status = read_status(RunDirectory(place)).backends["jsonl"]
    assert (status.outcome, status.pending, status.emitted) == ("killed", 0, status.delivered)
