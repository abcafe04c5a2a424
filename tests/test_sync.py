"""`tracelet sync`: delivery after the training, beside it, and after crashes of either."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from textwrap import dedent
from typing import Any

import anyio
import msgspec
import pytest

from tracelet import Batch, Delivery
from tracelet._bus import Bus
from tracelet._discovery import from_object
from tracelet.cli._runs import NO_RECORD
from tracelet.codec import encode
from tracelet.events import Kind, MetricsLogged, RunFinished
from tracelet.host.sync import add_backend
from tracelet.journal import Recorder, RunDirectory, RunRecord, holder, read_cursor
from tracelet.status import BackendStatus, read_status
from tracelet.testing import RecordingBackend

Eventually = Callable[..., None]
Process = subprocess.Popen[str]

POINTS = 200
LOGGING = f"""
for step in range({POINTS}):
    run.log_metric("loss", step / 7, step)
"""


class Place:
    """A working directory with runs, and processes that train and sync there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.mark = path / "healed"
        self._processes: list[Process] = []

    def start_training(self, backends: dict[str, dict[str, Any]], then: str = "", *, online: bool = False) -> Process:
        """A process that logs, says "logged" and does what `then` says."""
        source = f"import os, signal, sys, tracelet\nrun = tracelet.start_logging({backends!r}, 'exp')\n{LOGGING}"
        return self._start([sys.executable, "-c", f"{source}\nprint('logged', flush=True)\n{then}"], online=online)

    def train(self, backends: dict[str, dict[str, Any]], then: str = "run.finish()", *, online: bool = False) -> None:
        self.start_training(backends, then, online=online).communicate(timeout=60)

    def start_sync(self, *arguments: object) -> Process:
        return self._start([sys.executable, "-m", "tracelet", "sync", *map(str, arguments)], online=True)

    def sync(self, *arguments: object) -> tuple[int, str]:
        process = self.start_sync(*arguments)
        out, errors = process.communicate(timeout=60)
        assert "Traceback" not in errors
        return process.returncode, out + errors

    def start_holding(self, cursor: Path) -> Process:
        """A process that holds a cursor, and says so."""
        hold = f"cursor = Cursor.acquire(Path({str(cursor)!r})); print('held', flush=True); sys.stdin.read()"
        source = f"import sys; from pathlib import Path; from tracelet.journal import Cursor; {hold}"
        return self._start([sys.executable, "-c", source], online=True)

    def add_module(self, name: str, source: str) -> None:
        (self.path / f"{name}.py").write_text(dedent(source))

    @property
    def runs(self) -> list[RunDirectory]:
        return [RunDirectory(path) for path in sorted(self.path.glob(".tracelet/runs/*"))]

    @property
    def run(self) -> RunDirectory:
        (run,) = self.runs
        return run

    def status(self, backend: str) -> BackendStatus:
        return read_status(self.run).backends[backend]

    def lines(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(line) for line in (self.path / "events.jsonl").read_bytes().splitlines()]

    def steps(self) -> list[int]:
        return [line["step"] for line in self.lines() if line["kind"] == "MetricsLogged"]

    def closed(self) -> list[str]:
        return [line["outcome"] for line in self.lines() if line["kind"] == "closed"]

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()
        for run in self.runs:
            for lock in (run.path / "cursors").glob("*.lock"):
                pid = holder(lock.with_suffix(""))
                if pid not in (None, os.getpid()):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

    def _start(self, command: list[str], *, online: bool) -> Process:
        environment = os.environ | {
            "TRACELET_MODE": "online" if online else "offline",
            "PYTHONPATH": f"{Path(__file__).parent}{os.pathsep}{self.path}",
            "PYTHONWARNINGS": "error",
        }
        environment.pop("TRACELET_DIR", None)
        process = subprocess.Popen(
            command,
            cwd=self.path,
            env=environment,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._processes.append(process)
        return process


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.end()


def said(process: Process) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_an_offline_run_is_delivered_once_and_closed_with_its_outcome(place: Place) -> None:
    """What was logged offline arrives exactly once, and the run ends as the training said."""
    place.train({"jsonl": {}}, "run.finish('failed')")
    code, output = place.sync()
    assert code == 0, output
    assert place.steps() == list(range(POINTS))
    assert place.closed() == ["failed"]
    assert f"{POINTS + 2} events delivered, the run is closed as failed" in output
    assert place.run.id in output


def test_a_killed_run_is_closed_as_killed(place: Place) -> None:
    """After SIGKILL of an offline training everything that was logged arrives, and the run counts as killed."""
    place.train({"jsonl": {}}, "os.kill(os.getpid(), signal.SIGKILL)")
    code, output = place.sync()
    assert code == 0, output
    assert place.steps() == list(range(POINTS))
    assert place.closed() == ["killed"]


def test_a_second_sync_has_nothing_to_do(place: Place) -> None:
    """A run that is delivered and closed is not opened again."""
    place.train({"jsonl": {}})
    place.sync()
    before = place.lines()
    code, output = place.sync()
    assert (code, output) == (0, "nothing to do: nothing is pending\n")
    assert place.sync(place.run.id[:20]) == (code, output)
    assert place.lines() == before


def test_a_directory_without_runs_is_said(place: Place) -> None:
    """A directory of other things has no runs, and one of them is none."""
    foreign = place.path / ".tracelet" / "runs" / "foreign"
    foreign.mkdir(parents=True)
    assert place.sync() == (0, f"there are no runs in {foreign.parents[1]}\n")
    code, output = place.sync("foreign")
    assert code == 2
    assert "foreign is no run" in output


def test_a_backend_is_added_to_a_finished_run(place: Place) -> None:
    """A backend that the run never had gets it from the journal, from the beginning."""
    place.train({"faulty_backends:Base": {}}, online=True)
    code, output = place.sync(place.run.path, "--backend", "jsonl")
    assert code == 0, output
    assert place.steps() == list(range(POINTS))
    assert place.closed() == ["completed"]
    assert list(place.run.read_record().backends) == ["faulty_backends:Base", "jsonl"]
    assert place.sync(place.run.path, "--backend", "jsonl") == (0, "nothing to do: nothing is pending\n")


def test_a_backend_is_added_to_what_the_record_has_by_then(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who adds a backend waits for others that write the record, and takes nothing of theirs back."""
    place.train({"faulty_backends:Base": {}})
    waits = threading.Event()
    real = fcntl.flock

    def flock(fd: int, operation: int) -> None:
        waits.set()
        real(fd, operation)

    with place.run.claimed():
        monkeypatch.setattr(fcntl, "flock", flock)
        thread = threading.Thread(target=add_backend, args=(place.run, "jsonl"))
        thread.start()
        assert waits.wait(30)
        record = place.run.read_record()
        record.backends["other"] = {}
        place.run.write_record(record)
    thread.join(30)
    assert list(place.run.read_record().backends) == ["faulty_backends:Base", "other", "jsonl"]


def test_a_file_that_is_gone_costs_itself(place: Place) -> None:
    """A copy that somebody deleted before its turn is a dead letter with its reason; its neighbours arrive."""
    for name in ("kept", "lost"):
        (place.path / f"{name}.bin").write_bytes(name.encode())
    place.train({"jsonl": {}}, "run.log_artifact('kept.bin'); run.log_artifact('lost.bin'); run.finish()")
    (lost,) = (blob for blob in (place.run.path / "blobs").iterdir() if blob.read_bytes() == b"lost")
    lost.unlink()
    code, output = place.sync()
    assert code == 0, output
    assert "refused so far" in output
    assert [line["name"] for line in place.lines() if line["kind"] == "ArtifactLogged"] == ["kept.bin"]
    assert place.status("jsonl").dead_lettered == 1
    (letter,) = map(msgspec.json.decode, (place.run.path / "dead" / "jsonl.jsonl").read_bytes().splitlines())
    assert (letter["event"]["name"], letter["reason"]) == ("lost.bin", "the file was gone when its turn came")


def test_a_backend_that_the_run_has_keeps_its_options(place: Place) -> None:
    """--backend with a backend of the run's delivers to where the training said."""
    place.train({"jsonl": {"path": "elsewhere.jsonl"}})
    code, output = place.sync("--backend", "jsonl")
    assert code == 0, output
    assert (place.path / "elsewhere.jsonl").exists()
    assert not (place.path / "events.jsonl").exists()


def test_only_the_backend_that_is_named_is_delivered_to(place: Place) -> None:
    """With --backend, what is pending for the other backends stays pending."""
    place.train({"jsonl": {}, "faulty_backends:Down": {}})
    code, output = place.sync("--backend", "jsonl")
    assert code == 0, output
    assert place.closed() == ["completed"]
    assert place.status("faulty_backends:Down").delivered == 0


def test_beside_a_live_run_its_own_delivery_is_left_alone(place: Place, eventually: Eventually) -> None:
    """What the training delivers itself is skipped, and sync says which process has it."""
    training = place.start_training({"faulty_backends:Down": {}}, "sys.stdin.read()", online=True)
    said(training)
    cursor = place.run.cursor("faulty_backends:Down")
    eventually(lambda: holder(cursor))
    pid = holder(cursor)
    code, output = place.sync("--timeout", 1)
    assert code == 0, output
    assert f"faulty_backends:Down: left to the training's own delivery (process {pid})\n" in output
    assert holder(cursor) == pid
    code, output = place.sync("--json")
    assert code == 0, output
    result = msgspec.json.decode(next(line for line in output.splitlines() if line.startswith("{")))
    assert (result["complete"], result["newly_delivered"], result["live"]) == (False, 0, True)


def test_what_is_said_meanwhile_is_not_of_the_sync(place: Place) -> None:
    """Beside an offline training that goes on saying things, sync is done once it has delivered what was there."""
    place.add_module(
        "busy",
        """
        import anyio
        from faulty_backends import Base
        from pathlib import Path
        from tracelet import Delivery
        class Busy(Base):
            delivery = Delivery(timeout=30.0)
            async def export(self, batch):
                size = Path(self.options.mark).stat().st_size
                while Path(self.options.mark).stat().st_size < size + 2:  # it says something more meanwhile
                    await anyio.sleep(0.001)
        """,
    )
    place.mark.touch()
    say = "import time; file = open('healed', 'ab', 0)\n"
    say += "while not time.sleep(0.001): run.log_metric('loss', 1.0), file.write(b'x')"
    training = place.start_training({"busy:Busy": {"mark": str(place.mark)}}, say)
    said(training)
    code, output = place.sync()
    assert code == 0, output
    assert "the training goes on" in output
    assert "pending" not in output
    assert place.status("busy:Busy").pending > 0


def test_a_live_offline_run_is_drained_and_left_open(place: Place) -> None:
    """What a training logs offline can be delivered while it goes on; the next sync closes the run."""
    training = place.start_training({"jsonl": {}}, "sys.stdin.read()\nrun.log_metric('loss', 1.0, 1000)\nrun.finish()")
    said(training)
    code, output = place.sync()
    assert code == 0, output
    assert "the training goes on" in output
    assert place.steps() == list(range(POINTS))
    assert place.closed() == []
    assert place.sync() == (0, "nothing to do: nothing is pending\n")
    training.communicate("", timeout=60)
    code, output = place.sync()
    assert code == 0, output
    assert place.steps() == [*range(POINTS), 1000]
    assert place.closed() == ["completed"]


def test_a_run_that_is_finished_in_a_process_that_goes_on_is_closed(place: Place) -> None:
    """A run is over once it is finished, also if its process, a notebook for instance, lives."""
    training = place.start_training({"jsonl": {}}, "run.finish()\nprint('finished', flush=True)\nsys.stdin.read()")
    assert [said(training), said(training)] == ["logged\n", "finished\n"]
    code, output = place.sync()
    assert code == 0, output
    assert place.closed() == ["completed"]


def test_a_delivery_process_that_gets_nowhere_is_taken_over(place: Place, eventually: Eventually) -> None:
    """A delivery process that outlived its training and fails is ended, and sync delivers in its stead."""
    backend = "faulty_backends:Down"
    place.train({backend: {"mark": str(place.mark)}}, "run.finish(timeout=0)", online=True)
    cursor = place.run.cursor(backend)
    eventually(lambda: read_cursor(cursor).phase == "retrying")
    assert holder(cursor) is not None
    code, output = place.sync("--timeout", 0.5)
    assert code == 1
    assert f"{POINTS + 2} pending: Transient: the server is down" in output
    assert holder(cursor) is None
    place.mark.touch()
    code, output = place.sync()
    assert code == 0, output
    status = place.status(backend)
    assert (status.delivered, status.pending, status.outcome) == (POINTS + 2, 0, "completed")


def test_a_delivery_process_that_gets_on_is_waited_for(place: Place, eventually: Eventually) -> None:
    """A delivery process that outlived its training and delivers may finish its work, and close the run."""
    place.add_module(
        "waiting",
        """
        import anyio, os
        from faulty_backends import Base
        from tracelet import Delivery
        class Waiting(Base):
            delivery = Delivery(linger=0.02, timeout=60.0)
            async def export(self, batch):
                while not self.healed:
                    await anyio.sleep(0.02)
            async def finish(self, outcome, time):
                with open(self.options.mark, "a") as file:
                    print(os.getpid(), outcome.value, file=file)
        """,
    )
    backend = "waiting:Waiting"
    place.train({backend: {"mark": str(place.mark)}}, "run.finish(timeout=0)", online=True)
    cursor = place.run.cursor(backend)
    eventually(lambda: read_cursor(cursor).phase == "running")
    left = holder(cursor)
    process = place.start_sync()
    assert f"{POINTS + 2} events to deliver" in said(process)
    place.mark.touch()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert place.mark.read_text() == f"{left} completed\n"


def test_a_cursor_that_somebody_else_holds_is_left_to_them(place: Place) -> None:
    """Whoever else delivers a finished run, another sync for instance, is not ended."""
    place.train({"jsonl": {}})
    other = place.start_holding(place.run.cursor("jsonl"))
    said(other)
    code, output = place.sync("--timeout", 0)
    assert code == 1
    assert f"left to process {other.pid}" in output
    assert other.poll() is None


def test_sync_gives_up_on_a_server_that_stays_down(place: Place) -> None:
    """Without progress for the timeout, sync ends with what is pending and why, and the other backends go on."""
    place.train({"faulty_backends:Down": {"mark": str(place.mark)}, "jsonl": {}})
    code, output = place.sync("--timeout", 1)
    assert code == 1
    assert "pending: Transient: the server is down" in output
    assert place.closed() == ["completed"]
    place.mark.touch()
    code, output = place.sync()
    assert code == 0, output
    assert place.status("faulty_backends:Down").delivered == POINTS + 2


def test_a_backend_that_is_down_costs_its_timeout_once(place: Place) -> None:
    """Of several runs for a server that is down, those after the first don't wait for it as long again."""
    for _ in range(3):
        place.train({"faulty_backends:Down": {}})
    started = time.monotonic()
    code, output = place.sync("--timeout", 4)
    assert time.monotonic() - started < 10
    assert code == 1
    assert output.count("pending: Transient: the server is down") == 3


def test_refused_credentials_end_the_attempt_at_once(place: Place) -> None:
    """A server that refuses the credentials is not asked again, and its words are shown."""
    place.add_module(
        "denying",
        """
        from faulty_backends import Base
        from tracelet.errors import Denied
        class Denying(Base):
            async def open(self, state):
                raise Denied("no such key")
        """,
    )
    place.train({"denying:Denying": {}})
    code, output = place.sync("--timeout", 3600)
    assert code == 1
    assert f"{POINTS + 2} pending: Denied: no such key" in output


def test_a_backend_that_is_not_installed_costs_the_others_nothing(place: Place) -> None:
    """A backend that can't be loaded here is named with its error; the others are delivered to."""
    place.train({"faulty_backends:Base": {}, "jsonl": {}})
    record = place.run.read_record()
    place.run.write_record(msgspec.structs.replace(record, backends={"gone:Gone": {}, **record.backends}))
    code, output = place.sync()
    assert code == 1
    assert "the backend 'gone:Gone' (a class named by its path) can't be used" in output
    assert place.closed() == ["completed"]


def test_a_call_that_hangs_does_not_keep_sync_from_ending(place: Place) -> None:
    """An SDK's call that never returns ends with an error, and so does the process."""
    place.train({"faulty_backends:CallHanging": {}})
    code, output = place.sync()
    assert code == 1
    assert "did not return within 0.5 s" in output


def test_a_damaged_record_is_said_and_the_other_runs_go_on(place: Place) -> None:
    """A run whose run.json is damaged is named; it costs the other runs nothing."""
    place.train({"jsonl": {}})
    damaged = place.run
    (damaged.path / "run.json").write_text('{"id": ')
    place.train({"jsonl": {}})
    code, output = place.sync()
    assert code == 1
    assert f"{damaged.id}: run.json is damaged" in output
    assert place.closed() == ["completed"]
    (damaged.path / "run.json").unlink()
    message = f"{damaged.id}: {NO_RECORD}\n"
    assert place.sync(damaged.id) == (1, message)
    assert place.sync() == (1, message)


def test_an_interrupted_sync_loses_nothing(place: Place) -> None:
    """Ctrl-C ends sync with 130 and a count of what is pending; the next one delivers that."""
    place.train({"faulty_backends:Down": {"mark": str(place.mark)}})
    process = place.start_sync()
    assert "to deliver" in said(process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "pending, and nothing is lost" in output
    place.mark.touch()
    code, output = place.sync()
    assert code == 0, output


@pytest.mark.parametrize("arguments", [["no-such-run"], ["--backend", "no-such-backend"], ["--timeout", "soon"]])
def test_what_is_not_there_is_a_usage_error(place: Place, arguments: list[str]) -> None:
    """A run or backend that does not exist, and a wrong option, end with 2 before anything is done."""
    place.train({"jsonl": {}})
    code, output = place.sync(*arguments)
    assert code == 2
    assert "Error" in output
    assert not (place.path / "events.jsonl").exists()


def test_a_backend_has_the_options_of_the_project(place: Place) -> None:
    """A backend that is added, and the secrets that are not kept with a run, come from pyproject.toml."""
    place.add_module(
        "guarded",
        """
        from typing import Annotated
        import msgspec
        from tracelet import Secret
        from tracelet_jsonl import JsonLines, JsonLinesOptions

        class Guarded(JsonLines):
            class Options(JsonLinesOptions, forbid_unknown_fields=True):
                token: Annotated[str | None, Secret] = None
                url: str = ""

            def __init__(self, options, run):
                assert (options.token, options.url) == ("of-the-project", "http://me:of-the-project@host/")
                super().__init__(options, run)
        """,
    )
    login = "http://me:of-the-project@host/"
    table = f"token = 'of-the-project'\nurl = '{login}'\npath = 'elsewhere.jsonl'\n"
    table = f"[tool.tracelet.backend.'guarded:Guarded']\n{table}"
    (place.path / "pyproject.toml").write_text(table)
    place.train({"guarded:Guarded": {"path": "events.jsonl", "url": login}})
    code, out = place.sync()
    assert code == 0, out
    assert place.lines()  # what the run was begun with holds
    place.train({})
    code, out = place.sync("--backend", "guarded:Guarded")
    assert code == 0, out
    assert (place.path / "elsewhere.jsonl").exists()
    assert not any(b"of-the-project" in file.read_bytes() for file in place.path.rglob("run.json"))


def test_what_comes_faster_than_it_is_delivered_holds_up_no_sync(tmp_path: Path) -> None:
    """Of a run that goes on, what was there at the beginning is delivered, and a little of what came meanwhile."""
    directory = RunDirectory(tmp_path / "run")
    recorder = Recorder(directory, bool)
    directory.write_record(RunRecord(id="run", name="n", project="p", created=0.0, backends={}, version="0"))

    def say(count: int) -> None:
        for step in range(count):
            recorder.append(Kind.METRICS_LOGGED, encode(MetricsLogged(1.0, {"m": 1.0}, step)))

    async def export(batch: Batch) -> None:
        say(2 * len(batch))

    backend = RecordingBackend(delivery=Delivery(batch_size=10, linger=0.01), on_export=export)
    say(100)
    anyio.run(Bus(directory, [from_object(backend)], follow=False).run)
    assert 100 <= len(backend.events) < 200
    recorder.finish(Kind.RUN_FINISHED, encode(RunFinished(1.0, "completed")))
