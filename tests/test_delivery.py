"""Delivery processes: crashes of either side, bad backends, forks, and how scripts end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from tracelet._discovery import find
from tracelet.errors import DeliveryFailed
from tracelet.host.process import Hello, ProcessHost
from tracelet.journal import RunDirectory, holder, read_cursor
from tracelet.status import RunStatus, read_status

HERE = Path(__file__).parent


class Script:
    """A training script in a process of its own, with the file backend beside others."""

    def __init__(self, tmp_path: Path, body: str, *, backends: str = "jsonl") -> None:
        self.place = tmp_path
        self.file = tmp_path / "events.jsonl"
        prelude = f"import os, sys, time, tracelet\nBACKENDS = {backends!r}.split()\n"
        prelude += f"TARGETS = {{n: ({{'path': {str(self.file)!r}}} if n == 'jsonl' else {{}}) for n in BACKENDS}}\n"
        source = tmp_path / "train.py"
        source.write_text(prelude + body)
        environment = os.environ | {"TRACELET_DIR": str(tmp_path / "store"), "PYTHONPATH": str(HERE)}
        self.process = subprocess.Popen(
            [sys.executable, source],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, timeout: float = 60) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=timeout)
        return self.process.returncode, out, err

    def say(self) -> str:
        """The next line that the script printed."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
            self.process.communicate()

    @property
    def run(self) -> RunDirectory:
        (path,) = (self.place / "store" / "runs").iterdir()
        return RunDirectory(path)

    def status(self) -> RunStatus:
        return read_status(self.run)

    def lines(self) -> list[dict[str, Any]]:
        whole = self.file.read_bytes().rpartition(b"\n")[0]  # the last line may be in the making
        return [msgspec.json.decode(line) for line in whole.splitlines()]

    def steps(self) -> list[int]:
        return [line["step"] for line in self.lines() if line["kind"] == "MetricsLogged"]

    def closed(self) -> list[str]:
        return [line["outcome"] for line in self.lines() if line["kind"] == "closed"]


Train = Callable[..., Script]


@pytest.fixture
def train(tmp_path: Path) -> Iterator[Train]:
    """Start training scripts, and end them and their delivery processes with the test."""
    scripts: list[Script] = []

    def start(body: str, *, backends: str = "jsonl") -> Script:
        scripts.append(Script(tmp_path, body, backends=backends))
        return scripts[-1]

    yield start
    for script in scripts:
        script.kill()
    for lock in tmp_path.glob("store/runs/*/cursors/*.lock"):
        kill(holder(lock.with_name(lock.name.removesuffix(".lock"))))


def kill(pid: int | None) -> None:
    """End a process that may have ended."""
    if pid:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def check_account(status: RunStatus) -> None:
    for backend in status.backends.values():
        whole = backend.delivered + sum(backend.dropped.values()) + backend.dead_lettered + backend.pending
        assert backend.emitted == whole == status.emitted


START = "run = tracelet.start_logging(TARGETS, exp_name='e', project='p')\n"


def test_a_script_is_delivered_and_closed(tmp_path: Path, train: Train) -> None:
    """When a script has ended, everything it said has arrived, and the run is completed."""
    script = train(START + "for i in range(1000): run.log_metric('m', i / 2, i)\n")
    code, _, err = script.finish()
    assert code == 0
    assert script.steps() == list(range(1000))
    assert script.closed() == ["completed"]
    assert "jsonl: 1,002 of 1,002 events delivered" in err
    status = script.status()
    check_account(status)
    assert status.backends["jsonl"].state == "closed"


def test_delivery_from_a_thread(tmp_path: Path, train: Train) -> None:
    """With host="thread" no process is started, and everything arrives."""
    body = START.replace("project='p'", "project='p', host='thread'")
    script = train(body + "for i in range(1000): run.log_metric('m', i / 2, i)\nassert run.flush()\n")
    code, _, err = script.finish()
    assert code == 0, err
    assert script.steps() == list(range(1000))
    assert script.closed() == ["completed"]
    assert not list(script.run.path.glob("delivery-*"))
    check_account(script.status())


def test_a_thread_whose_delivery_has_ended_is_no_trouble(tmp_path: Path, train: Train) -> None:
    """With host="thread" and its only backend failed, flush is False and the script ends well."""
    body = """
run = tracelet.start_logging('faulty_backends:Unopenable', host='thread')
run.log_metric('m', 1.0, 0)
while run.status().backends['faulty_backends:Unopenable'].state != 'failed': time.sleep(0.01)
time.sleep(0.1)
assert not run.flush(timeout=60)
tracelet.stop_logging()
assert tracelet.active_run() is None
"""
    script = train(body, backends="")
    code, _, err = script.finish()
    assert code == 0, err
    assert "3 events pending" in err


def test_blocking_calls_work_at_exit(tmp_path: Path, train: Train) -> None:
    """With host="thread" and a script that just ends, a backend's first blocking call may come at exit."""
    body = """
run = tracelet.start_logging('faulty_backends:Threaded', host='thread')
for i in range(20): run.log_metric('m', 1.0, i)
"""
    script = train(body, backends="")
    code, _, err = script.finish()
    assert code == 0, err
    assert "22 of 22 events delivered" in err
    assert script.status().backends["faulty_backends:Threaded"].dead_lettered == 0


def test_a_delivery_process_that_cant_be_started_is_tried_again(tmp_path: Path, train: Train) -> None:
    """When the system has no process to spare for a moment, delivery begins later, and the others at once."""
    body = """
import subprocess
real, failures = subprocess.Popen, []
def refuse(command, *args, **kwargs):
    if 'faulty_backends:Base' in command and len(failures) < 2:
        failures.append(1)
        raise BlockingIOError(11, 'Resource temporarily unavailable')
    return real(command, *args, **kwargs)
subprocess.Popen = refuse
run = tracelet.start_logging({'faulty_backends:Base': {}, **TARGETS})
run.log_metric('m', 1.0, 0)
assert run.flush(timeout=30)
assert len(failures) == 2
"""
    script = train(body)
    code, _, err = script.finish()
    assert code == 0, err
    assert script.status().pending == {}
    assert "Resource temporarily unavailable" in err


class Processes:
    """Stands in for the processes that a host starts, and for the time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
        self.now = 0.0
        self.started: list[tuple[str, Any]] = []
        self.trouble: dict[str, Exception] = {}  # of whoever reads that backend's cursor
        self._place = place
        monkeypatch.setattr(subprocess, "Popen", self._start)
        monkeypatch.setattr("tracelet.host.process.read_cursor", self._read)
        monkeypatch.setattr("tracelet.host.process.time", SimpleNamespace(monotonic=lambda: self.now))

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.started]

    def _read(self, path: Path) -> Any:
        if path.name in self.trouble:
            raise self.trouble[path.name]
        return read_cursor(path)

    def _start(self, command: list[str], **_: object) -> Any:
        pipe = (self._place / f"stdin {len(self.started)}").open("w+b", buffering=0)
        process: Any = SimpleNamespace(stdin=pipe, code=None, poll=lambda: process.code)
        self.started.append((command[-1], process))
        return process

    def hello(self, number: int) -> Hello:
        """What the process was told."""
        told = (self._place / f"stdin {number}").read_bytes()
        return msgspec.json.decode(told[4:], type=Hello)


@pytest.fixture
def processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Processes:
    return Processes(monkeypatch, tmp_path)


def host_of(tmp_path: Path, *backends: str) -> ProcessHost:
    (tmp_path / "run").mkdir()
    targets = [msgspec.structs.replace(find("jsonl"), name=name) for name in backends]
    return ProcessHost(RunDirectory(tmp_path / "run"), targets)


ODD_TROUBLE = [
    OSError(24, "Too many open files"),
    UnicodeEncodeError("utf-8", "\udce9", 0, 1, "not allowed"),
    KeyError(),
]


@pytest.mark.parametrize("trouble", ODD_TROUBLE)
def test_whatever_fails_for_one_backend_is_tried_again(
    tmp_path: Path, processes: Processes, trouble: Exception
) -> None:
    """It is that backend's failure, at the start and when its process has died; the other is looked after meanwhile."""
    host = host_of(tmp_path, "jsonl", "other")
    processes.trouble["jsonl"] = trouble
    with pytest.raises(DeliveryFailed, match="'jsonl' was not started"):
        host.start()
    assert processes.names == ["other"]
    host.watch()
    processes.now = 1.0
    with pytest.raises(DeliveryFailed, match="'jsonl' was not started"):
        host.watch()
    processes.trouble.clear()
    processes.now = 10.0
    host.watch()
    assert processes.names == ["other", "jsonl"]
    processes.trouble["jsonl"] = processes.trouble["other"] = trouble
    for _, process in processes.started:
        process.code = 1
    with pytest.raises(DeliveryFailed, match="'jsonl, other' was not started"):
        host.watch()
    assert host.serves("jsonl")
    processes.trouble.clear()
    processes.now = 100.0
    host.watch()
    assert processes.names[2:] == ["jsonl", "other"]
    host.release()


def test_a_cursor_that_makes_trouble_is_tried_again(
    tmp_path: Path, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes wrong before a process can be started for the first time has it started soon after."""
    host = host_of(tmp_path, "jsonl")
    with monkeypatch.context() as patched:
        patched.setattr("tracelet.host.process.Cursor", None)
        with pytest.raises(DeliveryFailed, match="'jsonl' was not started: AttributeError: "):
            host.start()
    host.watch()
    assert processes.names == ["jsonl"]
    host.release()


def test_a_delivery_process_is_told_where_modules_are(
    tmp_path: Path, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In folders whose names are no UTF-8, too; a working directory that is gone is left out."""
    place = os.fsdecode(b"/tmp/caf\xe9")
    host = host_of(tmp_path, "jsonl")
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    monkeypatch.setattr(sys, "path", [place, "", Path("/pathlike"), "/nul\ud800", "/last"])
    host.start()
    assert processes.hello(0).path == [place, "/last"]
    host.release()


def test_a_python_that_does_not_know_itself_starts_no_process(
    tmp_path: Path, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Python is embedded in another program, that is said, with the way out."""
    host = host_of(tmp_path, "jsonl")
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", None)
        with pytest.raises(DeliveryFailed, match=r"doesn't know its own program \(sys\.executable\).*host='thread'"):
            host.start()
    processes.now = 10.0
    host.watch()
    assert processes.names == ["jsonl"]
    host.release()


def test_a_process_that_could_not_be_told_is_replaced(tmp_path: Path, processes: Processes) -> None:
    """One that dies before it has read what to deliver has a successor."""
    host = host_of(tmp_path, "jsonl")
    (tmp_path / "full").touch()
    pipe = (tmp_path / "full").open("rb", buffering=0)
    dead: Any = SimpleNamespace(stdin=pipe, code=None, poll=lambda: dead.code)  # its pipe can't be written to
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(subprocess, "Popen", lambda *_, **__: dead)
        with pytest.raises(DeliveryFailed):
            host.start()
    assert pipe.closed
    host.wake()
    dead.code = 1
    host.watch()
    processes.now = 10.0
    host.watch()
    assert processes.names == ["jsonl"]
    host.release()


def test_an_async_run_delivers_from_a_process(tmp_path: Path, train: Train) -> None:
    """open_run takes host="process", too."""
    body = """
import asyncio

async def main():
    async with tracelet.open_run(TARGETS, exp_name='e', project='p', host='process') as run:
        for i in range(1000): run.log_metric('m', 1.0, i)
        assert await run.flush(durable=True)

asyncio.run(main())
"""
    script = train(body)
    code, _, err = script.finish()
    assert code == 0, err
    assert script.steps() == list(range(1000))
    assert list(script.run.path.glob("delivery-*"))


def test_sigkill_of_training_loses_nothing(tmp_path: Path, train: Train, eventually: Callable[..., None]) -> None:
    """After SIGKILL of the training process all it said arrives, and the run is closed as killed."""
    body = START + "for i in range(20_000): run.log_metric('m', 1.0, i)\nprint('said', flush=True)\ntime.sleep(600)\n"
    script = train(body)
    assert script.say() == "said"
    script.kill()
    eventually(lambda: script.file.exists() and script.closed())
    assert script.steps() == list(range(20_000))
    assert script.closed() == ["killed"]
    eventually(lambda: script.status().backends["jsonl"].state == "closed")
    check_account(script.status())
    assert script.status().emitted == 20_001


def test_sigkill_of_delivery_again_and_again_loses_nothing(
    tmp_path: Path, train: Train, eventually: Callable[..., None]
) -> None:
    """With the delivery process killed repeatedly, every point arrives once and the account stays exact."""
    body = (
        START
        + """
for i in range(3_000):
    run.log_metric('m', 1.0, i)
    time.sleep(0.001)
"""
    )
    script = train(body)
    eventually(lambda: (tmp_path / "store" / "runs").exists() and script.file.exists())
    killed: set[int] = set()
    while script.process.poll() is None and len(killed) < 8:
        pid = holder(script.run.cursor("jsonl"))
        if pid and pid not in killed:
            before = len(script.lines())
            eventually(lambda before=before: len(script.lines()) > before or script.process.poll() is not None)
            if script.process.poll() is None:
                killed.add(pid)
                kill(pid)
    code, _, err = script.finish()
    assert code == 0, err
    assert len(killed) >= 3
    eventually(lambda: script.status().pending == {})
    assert script.steps() == list(range(3_000))
    assert script.closed() == ["completed"]
    check_account(script.status())
    assert script.status().backends["jsonl"].delivered == 3_002


BAD = [
    "Raising",
    "Unopenable",
    "Unfinishable",
    "Unclosable",
    "Exiting",
    "LoopBlocking",
    "CallHanging",
    "NeverReturning",
]


@pytest.mark.parametrize("name", BAD)
def test_a_bad_backend_changes_nothing_for_the_other(
    tmp_path: Path, train: Train, name: str, eventually: Callable[..., None]
) -> None:
    """Beside a backend that raises, exits, blocks or hangs, the other gets everything within the run."""
    body = (
        START
        + """
for i in range(2_000): run.log_metric('m', 1.0, i)
deadline = time.monotonic() + 30
while run.status().backends['jsonl'].delivered < 2_001:
    assert time.monotonic() < deadline
    time.sleep(0.01)
tracelet.stop_logging(timeout=0.5)
"""
    )
    script = train(body, backends=f"faulty_backends:{name} jsonl")
    code, _, err = script.finish()
    assert code == 0, err
    assert script.steps() == list(range(2_000))
    eventually(lambda: script.closed() == ["completed"])
    if name in ("Raising", "Unclosable"):
        eventually(lambda: script.status().backends[f"faulty_backends:{name}"].outcome)
    status = script.status()
    check_account(status)
    bad = status.backends[f"faulty_backends:{name}"]
    if name == "Raising":
        assert bad.dead_lettered == 2_000
        assert bad.outcome == "completed"
    elif name == "Unclosable":
        assert (bad.pending, bad.outcome) == (0, "completed")
    else:
        assert bad.pending > 0
        assert f"faulty_backends:{name}: {bad.pending:,} event{'' if bad.pending == 1 else 's'} pending" in err


def test_several_bad_backends_at_once_change_nothing_for_the_healthy_one(
    tmp_path: Path, train: Train, eventually: Callable[..., None]
) -> None:
    """Beside one that is down, one that is slow, one that crashes and one that hangs, a backend gets everything."""
    names = ["Down", "Slow", "Exiting", "CallHanging"]
    body = (
        START
        + """
for i in range(20_000): run.log_metric('m', 1.0, i)
deadline = time.monotonic() + 60
while run.status().backends['jsonl'].delivered < 20_001:
    assert time.monotonic() < deadline
    time.sleep(0.01)
assert not run.flush(timeout=0.1)
tracelet.stop_logging(timeout=0.5)
"""
    )
    script = train(body, backends=" ".join(["jsonl", *(f"faulty_backends:{name}" for name in names)]))
    code, _, err = script.finish()
    assert code == 0, err
    assert script.steps() == list(range(20_000))
    eventually(lambda: script.closed() == ["completed"])
    status = script.status()
    check_account(status)
    assert status.backends["jsonl"].retries == 0
    for name in names:
        assert status.backends[f"faulty_backends:{name}"].pending > 0


@pytest.mark.parametrize("name", ["Exiting", "CallHanging"])
def test_a_backend_that_recovers_gets_everything(tmp_path: Path, train: Train, name: str) -> None:
    """A delivery process that exits or hangs is replaced, and the next one goes on where it stopped."""
    body = f"""
mark = {str(tmp_path / "mark")!r}
run = tracelet.start_logging({{'faulty_backends:{name}': {{'mark': mark}}}}, exp_name='e', project='p')
for i in range(100): run.log_metric('m', 1.0, i)
from tracelet.journal import RunDirectory, holder
cursor = RunDirectory(run.directory).cursor('faulty_backends:{name}')
processes = set()
deadline = time.monotonic() + 30
while len(processes - {{None}}) < 2:  # until the first one was replaced
    assert time.monotonic() < deadline
    processes.add(holder(cursor))
    time.sleep(0.01)
open(mark, 'w').close()
assert run.flush(timeout=30)
"""
    script = train(body, backends="")
    code, _, err = script.finish()
    assert code == 0, err
    status = script.status()
    check_account(status)
    assert status.backends[f"faulty_backends:{name}"].delivered == 102


def test_a_script_ends_in_time_when_the_server_is_down(tmp_path: Path, train: Train) -> None:
    """With nothing getting through, the script ends within its deadline with code 0 and says what is pending."""
    body = (
        START
        + """
for i in range(100): run.log_metric('m', 1.0, i)
started = time.monotonic()
while run.status().backends['faulty_backends:Down'].last_error is None:  # it takes its time to begin
    assert time.monotonic() < started + 30
    time.sleep(0.01)
started = time.monotonic()
tracelet.stop_logging(timeout=1)
print(time.monotonic() - started)
"""
    )
    script = train(body, backends="faulty_backends:Down")
    code, out, err = script.finish()
    assert code == 0
    assert 1 <= float(out) < 10
    last = err.strip().splitlines()[-1]
    assert "102 events pending" in last
    assert "the server is down" in last
    assert last.endswith(f"tracelet sync {script.run.path}")
    assert holder(script.run.cursor("faulty_backends:Down")), "delivery goes on by itself"


@pytest.mark.parametrize(
    ("ending", "code", "outcome"),
    [
        ("tracelet.stop_logging()", 0, "completed"),
        ("pass", 0, "completed"),
        ("raise ValueError('mine')", 1, "failed"),
        ("sys.exit(3)", 3, "failed"),
        ("sys.exit(0)", 0, "completed"),
        ("raise KeyboardInterrupt", 130, "killed"),
        ("tracelet.stop_logging('failed')", 0, "failed"),
        ("os._exit(0)", 0, "killed"),
        ("with run: raise ValueError", 1, "failed"),
    ],
)
def test_the_outcome_is_how_the_script_ended(
    tmp_path: Path, train: Train, ending: str, code: int, outcome: str, eventually: Callable[..., None]
) -> None:
    """The run is completed, failed or killed as the script's own end was."""
    script = train(START + "run.log_metric('m', 1.0)\n" + ending + "\n")
    found, _, _ = script.finish()
    assert found == (code if code != 130 else -signal.SIGINT)
    eventually(lambda: script.file.exists() and script.closed() == [outcome])
    assert script.steps() == [0]


def test_a_forked_worker_never_writes_into_the_run(tmp_path: Path, train: Train) -> None:
    """A forked child may log, stop and exit as it likes: nothing of it arrives, and it delays nothing."""
    body = (
        START
        + """
run.log_metric('parent', 1.0, 0)
children = []
for _ in range(4):
    pid = os.fork()
    if pid == 0:
        run.log_metric('child', 2.0, 1)
        assert tracelet.active_run() is run and not run.active
        tracelet.stop_logging()
        sys.exit(0)
    children.append(pid)
for pid in children:
    assert os.waitpid(pid, 0)[1] == 0
run.log_metric('parent', 1.0, 2)
"""
    )
    script = train(body)
    code, _, err = script.finish()
    assert code == 0, err
    assert script.steps() == [0, 2]
    assert script.closed() == ["completed"]
    assert script.status().emitted == 4


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_multiprocessing_worker_never_writes_into_the_run(tmp_path: Path, train: Train, method: str) -> None:
    """Workers of multiprocessing, however started, get an inert run, also where they execute the script again."""
    body = f"""
import multiprocessing

def work(number):
    run = tracelet.active_run()
    if run is not None:
        run.log_metric('worker', 1.0, number)
    own = tracelet.start_logging(TARGETS, exp_name='worker')
    own.log_metric('worker', 1.0, number)
    assert not own.active
    return number

if __name__ == '__main__':
    run = tracelet.start_logging(TARGETS, exp_name='e', project='p')
    run.log_metric('m', 1.0, 7)
    with multiprocessing.get_context({method!r}).Pool(2) as pool:
        assert pool.map(work, range(4)) == [0, 1, 2, 3]
"""
    script = train(body)
    code, _, err = script.finish()
    assert code == 0, err
    assert script.steps() == [7]
    assert script.closed() == ["completed"]


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_script_that_is_executed_again_begins_no_second_run(tmp_path: Path, train: Train, method: str) -> None:
    """Where no `if __name__` is around the start, it is executed in the worker, too, before that is a child's run."""
    body = (
        START
        + f"""
import multiprocessing

def work():
    run.log_metric('worker', 1.0, 1)
    print(run.active, flush=True)

if __name__ == '__main__':
    worker = multiprocessing.get_context({method!r}).Process(target=work)
    worker.start()
    worker.join()
    run.log_metric('m', 1.0, 7)
"""
    )
    script = train(body)
    code, out, err = script.finish()
    assert (code, out) == (0, "False\n"), err
    assert script.steps() == [7]
    assert script.status().emitted == 3


def test_a_data_loader_worker_never_writes_into_the_run(tmp_path: Path, train: Train) -> None:
    """Forked workers of torch's DataLoader log nothing, hang nothing, and delay nothing."""
    pytest.importorskip("torch")
    body = (
        START
        + """
from torch.utils.data import DataLoader, Dataset

class Data(Dataset):
    def __len__(self): return 8
    def __getitem__(self, index):
        run.log_metric('worker', 1.0, index)
        return float(index)

for epoch in range(2):
    for step, batch in enumerate(DataLoader(Data(), batch_size=2, num_workers=2)):
        run.log_metric('m', batch.sum().item(), step)
"""
    )
    script = train(body)
    code, _, err = script.finish()
    assert code == 0, err
    assert script.steps() == [0, 1, 2, 3] * 2
    assert script.closed() == ["completed"]


def test_a_long_lived_child_does_not_delay_the_end(
    tmp_path: Path, train: Train, eventually: Callable[..., None]
) -> None:
    """A forked child that outlives the training, and holds its descriptors, delays neither the end nor the close."""
    body = (
        START
        + """
run.log_metric('m', 1.0, 0)
pid = os.fork()
if pid == 0:
    time.sleep(600)
    os._exit(0)
print(pid, flush=True)
os.kill(os.getpid(), 9)
"""
    )
    script = train(body)
    child = int(script.say())
    try:
        eventually(lambda: script.file.exists() and script.closed() == ["killed"])
        eventually(lambda: holder(script.run.cursor("jsonl")) is None)
    finally:
        os.kill(child, signal.SIGKILL)
        script.finish()


def test_secrets_are_nowhere_on_disk_or_in_the_process_list(tmp_path: Path, train: Train) -> None:
    """A secret option reaches the delivery process, and no file, log, message or command line."""
    secret = "canary-7f3a"
    body = f"""
run = tracelet.start_logging({{'faulty_backends:Leaky': {{'token': {secret!r}}}}}, exp_name='e')
deadline = time.monotonic() + 30
while run.status().backends['faulty_backends:Leaky'].state != 'failed':
    assert time.monotonic() < deadline
    for process in os.listdir('/proc'):
        if process.isdecimal():
            try:
                assert {secret!r}.encode() not in open(f'/proc/{{process}}/cmdline', 'rb').read()
            except OSError:
                pass
assert "can't reach http://localhost" in run.status().backends['faulty_backends:Leaky'].last_error
"""
    script = train(body, backends="")
    code, out, err = script.finish()
    assert code == 0, err
    assert secret not in out + err
    for file in script.run.path.rglob("*"):
        if file.is_file():
            assert secret.encode() not in file.read_bytes(), file


def test_a_run_goes_on_under_its_id(tmp_path: Path, train: Train) -> None:
    """A second process with the run's id adds to the same run, and its outcome is the run's."""
    body = "run = tracelet.start_logging(TARGETS, exp_name='e', run_id='mine', resume='allow')\n"
    first = train(body + "run.log_metric('m', 1.0, 0)\ntracelet.stop_logging('failed')\n")
    assert first.finish()[0] == 0
    second = train(body + "run.log_metric('m', 1.0, 1)\n")
    assert second.finish()[0] == 0
    assert second.steps() == [0, 1]
    assert second.closed() == ["failed", "completed"]
    assert sum(line["kind"] == "opened" for line in second.lines()) == 1
    assert second.run.writers() == ["0000", "0001"]
    check_account(second.status())


def test_offline_only_journals(tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """With TRACELET_MODE=offline no process is started, and everything is in the journal."""
    monkeypatch.setenv("TRACELET_MODE", "offline")
    script = train(START + "for i in range(10): run.log_metric('m', 1.0, i)\n")
    code, _, err = script.finish()
    assert code == 0
    assert not script.file.exists()
    assert not list(script.run.path.glob("delivery-*"))
    assert script.status().pending == {"jsonl": 12}
    assert "12 events pending" in err


def test_disabled_does_nothing(tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """With TRACELET_MODE=disabled nothing is written, and no value is looked at: not even to refuse it."""
    monkeypatch.setenv("TRACELET_MODE", "disabled")
    body = START + "run.log_metric('m', 'x')\nrun.log_params(3)\nprint(threading.active_count())\n"
    code, out, err = train("import threading\n" + body).finish()
    assert (code, out.strip(), err) == (0, "1", "")
    assert not (tmp_path / "store").exists()


def test_waiting_does_not_begin_at_start(tmp_path: Path, train: Train) -> None:
    """start_logging returns before a backend that never opens could have."""
    body = (
        "started = time.monotonic()\n" + START + "print(time.monotonic() - started)\ntracelet.stop_logging(timeout=0)\n"
    )
    script = train(body, backends="faulty_backends:Down")
    code, out, _ = script.finish()
    assert code == 0
    assert float(out) < 5


def test_a_backend_that_cant_be_imported_costs_only_itself(tmp_path: Path, train: Train) -> None:
    """A plugin that raises on import is said and shown, keeps its options for later, and the other goes on."""
    (tmp_path / "broken_plugin.py").write_text("raise RuntimeError('no luck')\n")
    body = """
targets = {'broken_plugin:Plugin': {'url': 'http://me:hush@host', 'token': 'hush', 'size': 3}, **TARGETS}
run = tracelet.start_logging(targets, exp_name='e', project='p')
for i in range(100): run.log_metric('m', 1.0, i)
"""
    script = train(body)
    code, _, err = script.finish()
    assert code == 0, err
    assert script.steps() == list(range(100))
    assert "'broken_plugin:Plugin' (a class named by its path) can't be used" in err
    status = script.status()
    check_account(status)
    broken = status.backends["broken_plugin:Plugin"]
    assert (broken.state, broken.pending) == ("failed", 102)
    assert "no luck" in str(broken.last_error)
    assert script.run.read_record().backends["broken_plugin:Plugin"] == {"url": "http://host", "size": 3}


def test_a_forked_child_does_not_keep_the_cursor(tmp_path: Path, train: Train) -> None:
    """Where delivery runs in a thread of the training, a forked child that outlives it does not hold the cursor."""
    body = (
        START.replace("project='p'", "project='p', host='thread'")
        + """
run.log_metric('m', 1.0, 0)
assert run.flush()
pid = os.fork()
if pid == 0:
    time.sleep(600)
    os._exit(0)
print(pid, flush=True)
"""
    )
    script = train(body)
    child = int(script.say())
    try:
        assert script.process.wait(30) == 0
        assert holder(script.run.cursor("jsonl")) is None
    finally:
        os.kill(child, signal.SIGKILL)
        script.finish()
