"""From a training script into a real Aim: crashes of either side, an outage, and exact accounts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aim_server import AimServer
from tracelet_aim.readback import recorded

from tracelet.backend import Outcome
from tracelet.journal import RunDirectory, holder
from tracelet.status import BackendStatus, read_status

_EVERYTHING = """
import numpy as np
with open("file.txt", "w") as file:
    file.write("content")
run.log_params({"optimizer/lr": 0.1})
run.set_tags({"stage": "first"})
run.set_note("# A note")
run.log_text("sample", "a text", step=1)
run.log_image("picture", np.zeros((4, 4, 3), np.uint8), step=1)
run.log_artifact("file.txt", "files/file.txt")
run.log_console("a line")
"""


class Script:
    """A training script in a process of its own, which logs to one Aim repository."""

    def __init__(self, place: Path, repo: str, body: str) -> None:
        self.place = place
        options = {"repo": repo, "artifacts_uri": str(place / "artifacts"), "delivery": {"linger": 0.1}}
        start = f"run = tracelet.start_logging({{'aim': {options!r}}}, exp_name='a run', project='a project')\n"
        source = place / "train.py"
        source.write_text("import os, sys, time, tracelet\n" + start + body)
        self.process = subprocess.Popen(
            [sys.executable, source],
            cwd=place,
            env=os.environ | {"TRACELET_DIR": str(place / "store")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def finish(self) -> None:
        self.process.communicate("\n", timeout=60)
        assert self.process.returncode == 0

    def say(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    @property
    def directory(self) -> RunDirectory:
        (path,) = (self.place / "store" / "runs").iterdir()
        return RunDirectory(path)

    def status(self) -> BackendStatus:
        status = read_status(self.directory).backends["aim"]
        whole = status.delivered + sum(status.dropped.values()) + status.dead_lettered + status.pending
        assert status.emitted == whole
        return status

    def delivery(self) -> int | None:
        return holder(self.directory.cursor("aim"))

    def sync(self) -> None:
        command = [sys.executable, "-m", "tracelet", "sync", str(self.directory.path), "--timeout", "60"]
        subprocess.run(command, cwd=self.place, capture_output=True, timeout=100, check=True)


@pytest.fixture
def train(tmp_path: Path) -> Iterator[Callable[[str, str], Script]]:
    """Start training scripts, and end them and their delivery processes with the test."""
    scripts: list[Script] = []

    def start(repo: str, body: str) -> Script:
        scripts.append(Script(tmp_path, repo, body))
        return scripts[-1]

    yield start
    for script in scripts:
        script.process.kill()
        script.process.communicate()
        kill(script.delivery())


def kill(pid: int | None) -> None:
    if pid:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def eventually(condition: Callable[[], Any], deadline: float = 60.0) -> None:
    end = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < end, f"not within {deadline:g} s"
        time.sleep(0.05)


def delivered(script: Script) -> bool:
    with suppress(OSError, ValueError, KeyError):
        status = script.status()
        return status.delivered > 1 and status.pending == 0
    return False


def test_everything_a_script_logs_arrives(train: Callable[[str, str], Script], repository: str) -> None:
    """In a repository of this machine, through the delivery process, with nothing dropped and nothing degraded."""
    points = "for step in range(1000):\n    run.log_metric('loss', 1 / (step + 1), step=step)\n"
    script = train(repository, _EVERYTHING + points + "tracelet.stop_logging()")
    script.finish()
    script.sync()
    status = script.status()
    assert (status.pending, status.dropped, status.dead_lettered, status.degraded) == (0, {}, 0, 0)
    found = recorded(repository, script.directory.read_record().id)
    assert sorted(found.points) == sorted(("loss", 1 / (step + 1), step) for step in range(1000))
    assert (found.params["optimizer/lr"], found.tags["stage"], found.note) == ("0.1", "first", "# A note")
    assert (found.texts, found.artifacts) == (["a text"], {"files/file.txt": b"content"})
    assert (len(found.media), "a line" in found.console) == (1, True)
    assert (found.runs, found.outcome) == (1, Outcome.COMPLETED)


def test_killed_delivery_and_training(train: Callable[[str, str], Script], repository: str) -> None:
    """SIGKILL of the delivery process, then of the training: every point arrives, in one run, which was killed."""
    body = """
for step in range(3000):
    run.log_metric("loss", float(step), step=step)
    if step == 1000:
        print("half", flush=True)
        sys.stdin.readline()
print("logged", flush=True)
time.sleep(100)
"""
    script = train(repository, body)
    assert script.say() == "half"
    eventually(lambda: delivered(script))
    kill(script.delivery())
    assert script.process.stdin is not None
    script.process.stdin.write("\n")
    script.process.stdin.flush()
    assert script.say() == "logged"
    script.process.kill()
    script.process.wait()
    eventually(lambda: script.delivery() is None)
    script.sync()
    status = script.status()
    assert (status.pending, status.dead_lettered, status.outcome) == (0, 0, "killed")
    found = recorded(repository, script.directory.read_record().id)
    assert sorted(step for _, _, step in found.points) == list(range(3000))
    assert (found.runs, found.outcome) == (1, Outcome.KILLED)


def test_a_server_that_comes_back(train: Callable[[str, str], Script], own_server: AimServer) -> None:
    """A script that logs while the server is away ends in time; what it logged is delivered later."""
    body = "print('on', flush=True)\nsys.stdin.readline()\n" + _EVERYTHING
    body += "for step in range(300):\n    run.log_metric('loss', float(step), step=step)\n"
    script = train(own_server.address, body + "tracelet.stop_logging(timeout=1)")
    assert script.say() == "on"
    own_server.stop()
    script.finish()
    own_server.start()
    eventually(lambda: script.delivery() is None or delivered(script))
    eventually(lambda: script.delivery() is None)
    script.sync()
    status = script.status()
    assert (status.pending, status.dropped, status.dead_lettered) == (0, {}, 0)
    found = recorded(str(own_server.folder), script.directory.read_record().id)
    assert sorted(step for _, _, step in found.points) == list(range(300))
    assert (found.runs, found.texts, found.outcome) == (1, ["a text"], Outcome.COMPLETED)
