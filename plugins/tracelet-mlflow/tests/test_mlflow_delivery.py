"""From a training script into a real MLflow: crashes of either side, outages, and exact accounts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tracelet import RunStatus
from tracelet.journal import RunDirectory, holder
from tracelet.status import read_status
from tracelet.testing import Answer, BlackHole, FaultyServer, LoseReply, Request, ResetInBody

Read = Callable[[str], Any]


def eventually(condition: Callable[[], object], deadline: float = 60.0) -> None:
    end = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < end, f"not within {deadline:g} s"
        time.sleep(0.02)


class Script:
    """A training script in a process of its own, which logs to one MLflow."""

    def __init__(self, place: Path, uri: str, body: str) -> None:
        self.place = place
        self.uri = uri
        self.project = f"project {uuid.uuid4().hex}"
        source = place / "train.py"
        target = {"mlflow": {"tracking_uri": uri, "delivery": {"linger": 0.1}}}
        start = f"run = tracelet.start_logging({target!r}, exp_name='a run', project={self.project!r})\n"
        source.write_text("import os, sys, time, tracelet\n" + start + body)
        self.process = subprocess.Popen(
            [sys.executable, source],
            cwd=place,
            env=os.environ | {"TRACELET_DIR": str(place / "store")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, timeout: float = 90) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=timeout)
        return self.process.returncode, out, err

    def say(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
            self.process.communicate()

    @property
    def directory(self) -> RunDirectory:
        (path,) = (self.place / "store" / "runs").iterdir()
        return RunDirectory(path)

    def status(self) -> RunStatus:
        status = read_status(self.directory)
        for backend in status.backends.values():
            whole = backend.delivered + sum(backend.dropped.values()) + backend.dead_lettered + backend.pending
            assert backend.emitted == whole == status.emitted
        return status

    def delivery(self) -> int | None:
        return holder(self.directory.cursor("mlflow"))

    def kill_delivery(self) -> None:
        kill(self.delivery())
        eventually(lambda: self.delivery() is None)

    def sync(self, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tracelet", "sync", str(self.directory.path), "--timeout", str(timeout)]
        return subprocess.run(command, cwd=self.place, capture_output=True, text=True, timeout=timeout + 60)


Train = Callable[[str, str], Script]


@pytest.fixture
def train(tmp_path: Path) -> Iterator[Train]:
    """Start training scripts, and end them and their delivery processes with the test."""
    scripts: list[Script] = []

    def start(uri: str, body: str) -> Script:
        scripts.append(Script(tmp_path, uri, body))
        return scripts[-1]

    yield start
    for script in scripts:
        script.kill()
    for lock in tmp_path.glob("store/runs/*/cursors/*.lock"):
        kill(holder(lock.with_name(lock.name.removesuffix(".lock"))))


def kill(pid: int | None) -> None:
    if pid:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class Found:
    """What MLflow's own client finds of a script's run."""

    def __init__(self, client: Any, project: str) -> None:
        experiment = client.get_experiment_by_name(project)
        self.runs = client.search_runs([experiment.experiment_id]) if experiment else []
        self.points = [
            (name, point.value, point.step)
            for run in self.runs
            for name in run.data.metrics
            for point in client.get_metric_history(run.info.run_id, name)
        ]

    @property
    def status(self) -> list[str]:
        return [run.info.status for run in self.runs]


@pytest.mark.timeout(180)
def test_sigkill_of_training_loses_no_point(train: Train, tracking_uri: str, read: Read) -> None:
    """After SIGKILL of the training process MLflow has exactly the points that were said, and the run is KILLED."""
    body = """
for step in range(5_000):
    run.log_metric(f'm{step % 10}', step / 2, step)
print('said', flush=True)
time.sleep(600)
"""
    script = train(tracking_uri, body)
    assert script.say() == "said"
    script.kill()
    eventually(lambda: script.status().backends["mlflow"].state == "closed", 120)
    found = Found(read(tracking_uri), script.project)
    assert sorted(found.points) == sorted((f"m{step % 10}", step / 2, step) for step in range(5_000))
    assert found.status == ["KILLED"]
    assert script.status().backends["mlflow"].delivered == 5_002 - 1


@pytest.mark.timeout(240)
def test_sigkill_of_delivery_again_and_again_loses_and_doubles_nothing(
    train: Train, tracking_uri: str, read: Read
) -> None:
    """With the delivery process killed in the middle of its work, MLflow has every point once, in one run."""
    body = """
for step in range(4_000):
    run.log_metric('m', step / 2, step)
    time.sleep(0.003)
tracelet.stop_logging(timeout=60)
"""
    script = train(tracking_uri, body)
    eventually(lambda: (script.place / "store" / "runs").exists() and list(script.place.glob("store/runs/*/run.json")))
    killed: set[int] = set()
    delivered = 0
    while script.process.poll() is None and len(killed) < 4:
        pid = script.delivery()
        now = script.status().backends["mlflow"].delivered
        if pid and pid not in killed and now > delivered:
            killed.add(pid)
            delivered = now
            kill(pid)
        time.sleep(0.01)
    code, _, err = script.finish()
    assert code == 0, err
    assert len(killed) >= 2
    status = script.status().backends["mlflow"]
    assert (status.delivered, status.pending, status.dead_lettered) == (4_002, 0, 0), err
    found = Found(read(tracking_uri), script.project)
    assert sorted(found.points) == [("m", step / 2, step) for step in range(4_000)]
    assert found.status == ["FINISHED"]


def creates_run(request: Request) -> bool:
    return request.path.endswith("runs/create")


@pytest.mark.timeout(120)
def test_a_crash_between_creating_the_run_and_knowing_its_id_makes_no_second_run(
    train: Train, proxy: FaultyServer, read: Read, server: str
) -> None:
    """With the delivery process killed after MLflow has created the run and before it hears of that, there is one."""
    proxy.fail(LoseReply(), BlackHole(), when=creates_run)
    script = train(proxy.url, "run.log_metric('m', 1.0, 1)\nprint('said', flush=True)\ntime.sleep(3)\n")
    assert script.say() == "said"
    eventually(lambda: any(map(creates_run, proxy.requests)))
    kill(script.delivery())
    proxy.heal()
    code, _, err = script.finish()
    assert code == 0, err
    eventually(lambda: script.status().pending == {})
    found = Found(read(server), script.project)
    assert found.status == ["FINISHED"]
    assert found.points == [("m", 1.0, 1)]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("when", ["start", "middle", "end"])
def test_an_outage_costs_nothing(train: Train, proxy: FaultyServer, read: Read, server: str, when: str) -> None:
    """With MLflow down, the script ends in time, says what is pending, and one `tracelet sync` delivers it, once."""
    body = """
for step in range(200): run.log_metric('m', step / 2, step)
print('half', flush=True)
if os.environ.get('TEST_FLUSH'): assert run.flush(timeout=60)
print('flushed', flush=True)
while not os.path.exists('go'): time.sleep(0.01)
for step in range(200, 400): run.log_metric('m', step / 2, step)
if os.environ.get('TEST_FLUSH') == 'end': assert run.flush(timeout=60)
print('all', flush=True)
while not os.path.exists('stop'): time.sleep(0.01)
started = time.monotonic()
tracelet.stop_logging(timeout=2)
print(time.monotonic() - started, flush=True)
"""
    if when == "start":
        proxy.refuse()
        os.environ.pop("TEST_FLUSH", None)
    else:
        os.environ["TEST_FLUSH"] = when
    try:
        script = train(proxy.url, body)
        assert script.say() == "half"
        assert script.say() == "flushed"
        if when == "middle":
            proxy.refuse()
        (script.place / "go").touch()
        assert script.say() == "all"
        if when == "end":
            proxy.refuse()
        (script.place / "stop").touch()
        took = float(script.say())
        code, _, err = script.finish()
    finally:
        os.environ.pop("TEST_FLUSH", None)
    assert code == 0
    assert took < 20
    last = err.strip().splitlines()[-1]
    pending = script.status().pending["mlflow"]
    assert f"mlflow: {pending:,} event" in last
    assert last.endswith(f"tracelet sync {script.directory.path}")
    proxy.heal()
    synced = script.sync()
    assert synced.returncode == 0, synced.stdout + synced.stderr
    assert script.status().pending == {}
    assert script.status().backends["mlflow"].delivered == 402
    found = Found(read(server), script.project)
    assert sorted(found.points) == [("m", step / 2, step) for step in range(400)]
    assert found.status == ["FINISHED"]
    assert script.sync().returncode == 0
    assert len(Found(read(server), script.project).points) == 400


def logs(request: Request) -> bool:
    return request.path.endswith("runs/log-batch")


HTML = Answer(200, {"Content-Type": "text/html"}, b"<html><body>Sign in</body></html>")


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "faults",
    [
        [ResetInBody(), ResetInBody()],
        [LoseReply(), LoseReply()],
        [Answer(429, {"Retry-After": "1"})],
        [Answer(500, {}, b"storm")] * 4,
        [Answer(503, {}, b"busy"), Answer(502, {}, b"gateway")],
        [HTML],
    ],
    ids=["reset in body", "reply lost", "429", "500 storm", "503 and 502", "html"],
)
def test_faults_of_http_lose_and_double_nothing(
    train: Train, proxy: FaultyServer, read: Read, server: str, faults: list[Any]
) -> None:
    """Whatever goes wrong on the way, every point arrives once, and the retries are counted."""
    proxy.fail(*faults, when=logs)
    body = "for step in range(300): run.log_metric('m', step / 2, step)\ntracelet.stop_logging(timeout=60)\n"
    script = train(proxy.url, body)
    code, _, err = script.finish()
    assert code == 0
    status = script.status().backends["mlflow"]
    assert (status.delivered, status.pending) == (302, 0), err
    assert status.retries >= len(faults)
    assert sorted(Found(read(server), script.project).points) == [("m", step / 2, step) for step in range(300)]


@pytest.mark.timeout(120)
def test_a_black_hole_is_left_behind(train: Train, proxy: FaultyServer) -> None:
    """With a server that takes requests and never answers, the script ends in time and nothing is lost."""
    proxy.fail(BlackHole(), for_ever=True)
    body = "for step in range(300): run.log_metric('m', step / 2, step)\ntracelet.stop_logging(timeout=1)\n"
    script = train(proxy.url, body)
    code, _, err = script.finish(timeout=30)
    assert code == 0
    assert script.status().pending == {"mlflow": 302}
    assert "302 events pending" in err


@pytest.mark.timeout(120)
def test_an_upload_that_stalls_holds_up_no_scalar(train: Train, proxy: FaultyServer, read: Read, server: str) -> None:
    """While a file is under way and gets no answer, points go on arriving; healed, the file arrives, too."""
    proxy.fail(BlackHole(), when=lambda request: request.method == "PUT")
    body = """
open("stalling.bin", "wb").write(b"content")
run.log_artifact("stalling.bin")
deadline = time.monotonic() + 60
for step in range(300):
    run.log_metric("m", step / 2, step)
while run.status().backends["mlflow"].delivered < 301:
    assert time.monotonic() < deadline, run.status()
    time.sleep(0.05)
assert run.status().backends["mlflow"].pending == 1, run.status()
run.finish(timeout=0)
"""
    script = train(proxy.url, body)
    code, _, err = script.finish(timeout=90)
    assert code == 0, err
    assert len([request for request in proxy.requests if request.method == "PUT"]) == 1
    script.kill_delivery()  # nobody waits for the reply
    done = script.sync()
    assert done.returncode == 0, done.stdout + done.stderr
    found = Found(read(server), script.project)
    assert sorted(found.points) == [("m", step / 2, step) for step in range(300)]
    assert [file.path for file in read(server).list_artifacts(found.runs[0].info.run_id)] == ["stalling.bin"]


@pytest.mark.timeout(120)
def test_refused_credentials_are_said(train: Train, proxy: FaultyServer) -> None:
    """A 401 pauses delivery and is named in the last line; the script doesn't wait for its deadline."""
    proxy.fail(Answer(401, {}, b"who are you?"), for_ever=True)
    body = """
run.log_metric('m', 1.0, 1)
while run.status().backends['mlflow'].state != 'paused': time.sleep(0.01)
assert not run.flush(timeout=60)
"""
    script = train(proxy.url, body)
    code, _, err = script.finish(timeout=60)
    assert code == 0, err
    assert "paused: Denied" in err
    assert "401" in err


@pytest.mark.timeout(120)
def test_poison_costs_itself(train: Train, tracking_uri: str, read: Read) -> None:
    """Of a thousand points and a changed parameter, the parameter alone is refused, kept, and counted."""
    body = """
run.log_params({'lr': 1})
for step in range(1_000): run.log_metric('m', step / 2, step)
run.log_params({'lr': 2, 'other': 3})
run.log_metric('m', 500.0, 1_000)
tracelet.stop_logging(timeout=60)
"""
    script = train(tracking_uri, body)
    code, _, err = script.finish()
    assert code == 0
    status = script.status().backends["mlflow"]
    assert (status.dead_lettered, status.pending) == (1, 0), err
    found = Found(read(tracking_uri), script.project)
    assert sorted(found.points) == [("m", step / 2, step) for step in range(1_001)]
    assert found.runs[0].data.params == {"lr": "1", "other": "3"}
    letters = script.directory.dead_letters("mlflow").read_text()
    assert '"lr":2' in letters


@pytest.mark.timeout(120)
def test_points_that_mlflow_makes_one_are_counted(train: Train, tracking_uri: str, read: Read) -> None:
    """Equal points of one millisecond are one in MLflow, and counted as degraded."""
    body = "for _ in range(5): run.log_metric('m', 1.0, 1, time=1_700_000_000.0)\ntracelet.stop_logging(timeout=60)\n"
    script = train(tracking_uri, body)
    assert script.finish()[0] == 0
    assert script.status().backends["mlflow"].degraded == 4
    assert Found(read(tracking_uri), script.project).points == [("m", 1.0, 1)]
