"""How scripts end, and what becomes of their runs: real scripts, in processes of their own."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import msgspec
import pytest

import tracelet
from tracelet._blocking import LaneThreads
from tracelet._bus import Bus
from tracelet._discovery import find
from tracelet._notices import rewrite, say
from tracelet._subscription import Subscription
from tracelet.backend import Outcome
from tracelet.codec import decode
from tracelet.events import Event, Kind, Lane, MetricsLogged, RunFinished
from tracelet.host import signs
from tracelet.host.deliver import LAST_EFFORT, had_its_time
from tracelet.host.keeper import Keeper
from tracelet.journal import Cursor, LogReader, Position, Recorder, RunDirectory, holder, read_cursor
from tracelet.testing import RecordingBackend

HERE = Path(__file__).parent
START = """
import os, signal, sys, threading, time, tracelet
signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the tests run in the background
run = tracelet.start_logging(exp_name='e')
run.log_metric('m', 1.0)
"""


class Ended(NamedTuple):
    code: int
    err: str
    runs: list[list[Event]]

    @property
    def outcomes(self) -> list[str]:
        """How each run ended, as the script itself said; nothing of one that it did not end."""
        return [event.outcome for run in self.runs for event in run if isinstance(event, RunFinished)]

    def values(self, number: int = 0) -> list[float]:
        return [value for e in self.runs[number] if isinstance(e, MetricsLogged) for value in e.values.values()]


class Case(NamedTuple):
    body: str
    code: int
    outcome: str


DEATH = "threading.Thread(target=lambda: 1 / 0, name='loader')"

ASYNC = """
import anyio, asyncio, os, signal, tracelet
signal.signal(signal.SIGINT, signal.default_int_handler)
async def main():
    async with tracelet.open_run(exp_name='e'):
        async with anyio.create_task_group():
            os.kill(os.getpid(), signal.SIGINT)
            await anyio.sleep(60)
"""

TERMINATED = """
import asyncio, os, signal, sys, tracelet
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
async def work():
    asyncio.get_running_loop().call_later(0.01, os.kill, os.getpid(), signal.SIGTERM)  # while it is in no task
    await asyncio.sleep(60)
"""

CASES = {
    "returns": Case(START, 0, "completed"),
    "a text as the exit code": Case(START + "sys.exit('no data')", 1, "failed"),
    "no exit code": Case(START + "sys.exit(None)", 0, "completed"),
    "exit": Case(START + "exit(3)", 3, "failed"),
    "quit": Case(START + "quit()", 0, "completed"),
    "the code of a terminated shell": Case(START + "sys.exit(143)", 143, "killed"),
    "an exit that was caught": Case(START + "try:\n    sys.exit(3)\nexcept SystemExit: pass", 0, "completed"),
    "an exit of a thread": Case(
        START + "t = threading.Thread(target=lambda: sys.exit(3)); t.start(); t.join()\nraise SystemExit",
        0,
        "completed",
    ),
    "an exception that was shown": Case(START + "sys.last_value = ValueError()  # as debuggers do", 0, "completed"),
    "a bare SystemExit, which can't be seen": Case(START + "raise SystemExit(3)", 3, "completed"),
    "an exception": Case(START + "{}['x']", 1, "failed"),
    "an exception within a function called by a module": Case(
        START + "import runpy; open('inner.py', 'w').write('1 / 0'); runpy.run_path('inner.py')", 1, "failed"
    ),
    "not enough memory": Case(
        START + "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29))\nbytearray(1 << 32)",
        1,
        "failed",
    ),
    "a dead thread": Case(START + f"t = {DEATH}; t.start(); t.join()", 0, "failed"),
    "a dead thread, and Ctrl-C": Case(
        START + f"t = {DEATH}; t.start(); t.join()\nraise KeyboardInterrupt", -signal.SIGINT, "killed"
    ),
    "a dead thread, and a run that was ended": Case(
        START + f"t = {DEATH}; t.start(); t.join()\ntracelet.stop_logging()", 0, "completed"
    ),
    "a dead thread within a block": Case(START + f"with run:\n    t = {DEATH}; t.start(); t.join()", 0, "completed"),
    "an exception of an asyncio task": Case(
        START
        + """
import asyncio
async def main():
    await asyncio.gather(asyncio.sleep(0), work())
async def work(): 1 / 0
asyncio.run(main())
""",
        1,
        "failed",
    ),
    "Ctrl-C within asyncio": Case(ASYNC + "asyncio.run(main())", -signal.SIGINT, "killed"),
    "Ctrl-C within a group of tasks": Case(ASYNC + "anyio.run(main, backend='trio')", 1, "killed"),
    "Ctrl-C": Case(START + "os.kill(os.getpid(), signal.SIGINT); time.sleep(60)", -signal.SIGINT, "killed"),
    "Ctrl-C while a thread imports": Case(
        START
        + """
from collections import namedtuple
def work():
    while True: namedtuple('Point', 'x y')  # which evaluates a text, as imports do
threading.Thread(target=work, daemon=True).start()
os.kill(os.getpid(), signal.SIGINT); time.sleep(60)
""",
        -signal.SIGINT,
        "killed",
    ),
    "an exit after Ctrl-C that was shown": Case(
        START
        + """
try:
    os.kill(os.getpid(), signal.SIGINT); time.sleep(60)
except KeyboardInterrupt:
    pass
sys.exit(3)
""",
        3,
        "failed",
    ),
    "Ctrl-C that was caught": Case(
        START + "try:\n    os.kill(os.getpid(), signal.SIGINT); time.sleep(60)\nexcept KeyboardInterrupt: pass",
        0,
        "completed",
    ),
    "SIGTERM with a handler that exits": Case(
        START
        + "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        + "os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)",
        143,
        "killed",
    ),
    "SIGTERM with a handler that exits from asyncio": Case(
        TERMINATED
        + """
async def main():
    async with tracelet.open_run(exp_name='e'):
        await work()
asyncio.run(main())
""",
        143,
        "killed",
    ),
    "SIGTERM with a handler that exits from asyncio and a block": Case(
        TERMINATED
        + """
async def main():
    with tracelet.start_logging(exp_name='e'):
        await work()
asyncio.run(main())
""",
        143,
        "killed",
    ),
    "an exit with 0 from asyncio": Case(
        TERMINATED.replace("143", "0")
        + """
async def main():
    async with tracelet.open_run(exp_name='e'):
        await work()
asyncio.run(main())
""",
        0,
        "completed",
    ),
    "a cancellation after an exit that was caught": Case(
        TERMINATED
        + """
async def main():
    async with tracelet.open_run(exp_name='e'):
        try:
            sys.exit(143)
        except SystemExit:
            pass
        asyncio.current_task().cancel()
        await asyncio.sleep(60)
asyncio.run(main())
""",
        1,
        "failed",
    ),
    "a forked child that exits before": Case(
        START + "pid = os.fork()\nif pid == 0: sys.exit(3)\nos.waitpid(pid, 0); run.log_metric('m', 2.0)",
        0,
        "completed",
    ),
    "a thread that goes on behind the last line": Case(
        START
        + "def work():\n    threading.main_thread().join(); run.log_metric('m', 2.0)\n"
        + "threading.Thread(target=work).start()",
        0,
        "completed",
    ),
    "Ctrl-C in a thread that goes on behind the last line": Case(
        START
        + "def work():\n    threading.main_thread().join(); os.kill(os.getpid(), signal.SIGINT); time.sleep(1)\n"
        + "threading.Thread(target=work).start()",
        0,
        "killed",
    ),
    "a start in a thread": Case(
        """
import sys, threading, tracelet
thread = threading.Thread(target=lambda: tracelet.start_logging().log_metric('m', 1.0))
thread.start(); thread.join()
sys.exit(3)
""",
        3,
        "failed",
    ),
    "interactive": Case(START + "sys.ps1 = '>>> '\nsys.last_value = ValueError()\nraise ValueError", 1, "completed"),
}


def start(folder: Path, body: str, **environment: str) -> subprocess.Popen[str]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.py").write_text(body)
    places = {"TRACELET_DIR": str(folder / "store"), "PYTHONPATH": str(HERE)}
    return subprocess.Popen(
        [sys.executable, "train.py"],
        cwd=folder,
        env=os.environ | places | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(folder: Path, process: subprocess.Popen[str]) -> Ended:
    try:
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    runs = sorted((folder / "store" / "runs").glob("*"))
    return Ended(process.returncode, err, [events(RunDirectory(run)) for run in runs])


def events(run: RunDirectory) -> list[Event]:
    found: list[Event] = []
    for writer in run.writers():
        with LogReader(run.log(writer, Lane.STREAM)) as reader:
            frames = reader.read(10**6, 10**9, final=False)
            found += map(decode, frames.words, frames.payloads)
    return found


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    """All the scripts, some of them at a time."""
    waiting = list(CASES)
    running: dict[str, tuple[Path, subprocess.Popen[str]]] = {}
    done: dict[str, Ended] = {}
    while waiting or running:
        while waiting and len(running) < 4:
            name = waiting.pop()
            folder = tmp_path_factory.mktemp("script")
            running[name] = folder, start(folder, CASES[name].body)
        name = next(iter(running))
        done[name] = ended(*running.pop(name))
    return done


@pytest.mark.parametrize("name", CASES)
def test_the_outcome_is_how_the_script_ended(scripts: dict[str, Ended], name: str) -> None:
    """Whatever a script comes to, its exit code stays what it was, and its run has the outcome that it stands for."""
    script = scripts[name]
    assert script.code == CASES[name].code, script.err
    assert script.outcomes == [CASES[name].outcome], script.err
    assert "Exception ignored" not in script.err or "behind" in name  # there Python itself says so


def test_a_dead_thread_is_named(scripts: dict[str, Ended]) -> None:
    """Where a thread's death decides, one line says so, beside the traceback that threading prints as ever."""
    err = scripts["a dead thread"].err
    line = "tracelet: the run ends as failed: the thread 'loader' died of ZeroDivisionError: division by zero\n"
    assert err.count(line) == 1
    assert "Exception in thread loader:\nTraceback" in err
    for other in ("a dead thread, and Ctrl-C", "a dead thread, and a run that was ended", "an exception"):
        assert "the run ends as" not in scripts[other].err


def test_the_hooks_of_others_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """threading's hook is put back with the last run; one that somebody set meanwhile is left, and works on."""
    seen: list[str] = []

    def first(args: threading.ExceptHookArgs) -> None:
        seen.append(f"first {args.exc_type.__name__}")

    monkeypatch.setattr(threading, "excepthook", first)
    hooks = _hooks()
    with tracelet.start_logging(directory=tmp_path):
        assert threading.excepthook is not first
        _die()
    assert _hooks() == hooks
    with tracelet.start_logging(directory=tmp_path):
        ours = threading.excepthook

        def second(args: threading.ExceptHookArgs) -> None:
            seen.append("second")
            ours(args)

        threading.excepthook = second
        _die()
    assert threading.excepthook is second
    with tracelet.start_logging(directory=tmp_path):
        _die()
    _die()
    assert seen == ["first ZeroDivisionError", *["second", "first ZeroDivisionError"] * 3]


def _hooks() -> list[object]:
    return [threading.excepthook, threading.Thread.start, sys.unraisablehook, sys.exit, type(exit).__call__]


class _Noted:
    """Implements `signs.Watch`."""

    def __init__(self) -> None:
        self.deaths: list[str] = []
        self.exits = self.interrupts = 0

    def exiting(self, code: object) -> None:
        self.exits += 1

    def thread_died(self, how: str) -> None:
        self.deaths.append(how)

    def interrupted(self) -> None:
        self.interrupts += 1


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Noted]:
    """What is noted while nobody else is told of dying threads."""
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    noted = _Noted()
    signs.begin(noted)
    yield noted
    signs.end(noted)


def test_only_the_scripts_own_threads_count(noted: _Noted) -> None:
    """A thread of Tracelet that dies, or one that a tracker's SDK started in one, is no failure of the script."""
    ours = threading.Thread(target=_die, name="tracelet jsonl stream")  # which starts one, as an SDK does
    for thread in (ours, threading.Thread(target=lambda: 1 / 0, name="tracelet bus")):
        thread.start()
        thread.join()
    assert noted.deaths == []
    _die("loader")
    assert noted.deaths == ["the thread 'loader' died of ZeroDivisionError: division by zero"]


def test_objects_of_others_are_not_compared(noted: _Noted) -> None:
    """What can't be raised is reported with any object, whose comparison may fail: an array's, say."""

    class Incomparable:
        def __eq__(self, other: object) -> bool:
            raise ValueError("which element?")

        __hash__ = None  # type: ignore[assignment]

    report = (ValueError, ValueError("trouble"), None, None, Incomparable())
    names = ("exc_type", "exc_value", "exc_traceback", "err_msg", "object")
    arguments: Any = SimpleNamespace(**dict(zip(names, report, strict=True)))
    sys.unraisablehook(arguments)
    assert noted.interrupts == 0


def test_the_keeper_survives_whatever_it_looks_after(tmp_path: Path, eventually: Callable[..., None]) -> None:
    """A fault of any kind is said once, and what there is to look after is looked after again."""
    said: list[str] = []
    looks: list[float] = []

    def watch() -> None:
        looks.append(time.monotonic())
        raise KeyError(len(looks))

    keeper = Keeper(watch, (), said.append)
    recorder = Recorder(RunDirectory(tmp_path / "run"), keeper.nudge)
    keeper.start(recorder)
    eventually(lambda: len(looks) > 2)
    recorder.end(Kind.RUN_FINISHED.value, b"")
    eventually(keeper.settle)
    assert said == ["delivery can't be looked after (KeyError: 1); events are kept in the journal"]


def _die(name: str | None = None) -> None:
    thread = threading.Thread(target=lambda: 1 / 0, name=name)
    thread.start()
    thread.join()


def test_what_is_said_until_the_last_thread_ends_is_recorded(scripts: dict[str, Ended]) -> None:
    """The run goes on until all threads that Python waits for have ended, and whatever forked children do."""
    assert scripts["a thread that goes on behind the last line"].values() == [1.0, 2.0]
    assert scripts["a forked child that exits before"].values() == [1.0, 2.0]


# At the interpreter's end.

LATE = """
import atexit, tracelet
from tracelet.errors import RunClosed

target = {'jsonl': {'path': 'events.jsonl'}}

def begin_late():  # called last
    with tracelet.start_logging(target, exp_name='b') as late:
        late.log_metric('m', 5.0)

def say_late():
    try:
        run.log_metric('m', 4.0)
    except RunClosed as error:
        print(error)

class Last:
    def __init__(self, run): self.run, self.closed = run, RunClosed
    def __del__(self):
        try:
            self.run.log_metric('m', 6.0)
        except self.closed:
            print('too late')

atexit.register(begin_late)
atexit.register(say_late)
run = tracelet.start_logging(target, exp_name='a', host='thread')
atexit.register(lambda: run.log_metric('m', 2.0))
last = Last(run)
run.log_metric('m', 1.0)
"""


def test_what_the_interpreters_end_calls_may_log(tmp_path: Path) -> None:
    """Exit functions registered after the start still log; those before it get RunClosed, or begin a run of theirs."""
    process = start(tmp_path, LATE)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "Exception ignored" not in err
    assert re.match(r"the run \S+ is finished: log before finish\(\)(.|\n)*\ntoo late\n$", out)
    lines = [msgspec.json.decode(line) for line in (tmp_path / "events.jsonl").read_bytes().splitlines()]
    values = [line["values"]["m"] for line in lines if line["kind"] == "MetricsLogged"]
    assert values == [1.0, 2.0, 5.0]
    assert [line["outcome"] for line in lines if line["kind"] == "closed"] == ["completed"] * 2


def test_a_thread_that_cant_be_started_is_no_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the interpreter starts no thread any more, a run is journalled without the keeper and its host's."""

    def refuse(*_: object) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    with monkeypatch.context() as patched:
        patched.setattr("threading.Thread.start", refuse)
        run = tracelet.start_logging({"jsonl": {"path": str(tmp_path / "e.jsonl")}}, directory=tmp_path, host="thread")
    run.log_metric("m", 1.0)
    run.finish()
    assert run.status().pending == {"jsonl": 3}
    said = capsys.readouterr().err
    assert (
        "the backend 'jsonl' was not started: can't create new thread at interpreter shutdown; events are kept" in said
    )


def test_a_forked_child_may_begin_a_run_of_its_own(tmp_path: Path) -> None:
    """It is another run, which ends as the child does; the parent's goes on, and ends as the parent does."""
    body = """
pid = os.fork()
if pid == 0:
    own = tracelet.start_logging(exp_name='child')
    own.log_metric('m', 10.0)
    sys.exit(3)
os.waitpid(pid, 0)
run.log_metric('m', 2.0)
"""
    process = start(tmp_path, START + body)
    script = ended(tmp_path, process)
    assert script.code == 0, script.err
    assert (script.values(0), script.values(1)) == ([1.0, 2.0], [10.0])
    assert script.outcomes == ["completed", "failed"]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_workers_run_ends_as_the_worker_does(tmp_path: Path, method: str) -> None:
    """A multiprocessing worker that logs on its own (all_ranks) ends its run as failed if its function raised."""
    body = f"""
import multiprocessing, tracelet

def work(name):
    tracelet.start_logging(exp_name=name, all_ranks=True).log_metric('m', 1.0)
    if name == 'bad': raise ValueError

if __name__ == '__main__':
    for name in ('good', 'bad'):
        worker = multiprocessing.get_context({method!r}).Process(target=work, args=(name,))
        worker.start()
        worker.join()
"""
    script = ended(tmp_path, start(tmp_path, body))
    assert script.code == 0, script.err
    assert script.outcomes == ["completed", "failed"]


# While the end waits.

DOWN = """
import atexit, os, signal, sys, time, tracelet
signal.signal(signal.SIGINT, signal.default_int_handler)
run = tracelet.start_logging({'faulty_backends:Down': {'mark': 'mark'}}, exp_name='e')
for step in range(1_233): run.log_metric('m', 1.0, step)
"""


def test_a_second_ctrl_c_ends_the_waiting(tmp_path: Path, eventually: Callable[..., None]) -> None:
    """Ctrl-C while the end waits, for however many runs, ends it at once, says what is left, and delivery goes on."""
    body = (
        DOWN
        + "child = run.child('c')\nchild.log_metric('m', 1.0)\n"
        + "print('ready', flush=True)\nwhile True: time.sleep(0.1)\n"
    )
    process = start(tmp_path, body, TRACELET_CLOSE_TIMEOUT="50")
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    lines = [""]
    while "waiting for" not in lines[-1]:
        lines.append(process.stderr.readline())
        assert lines[-1], "".join(lines)
    assert lines[-1] == "tracelet: waiting for faulty_backends:Down: 3 events pending, 49 s left; Ctrl-C ends it\n"
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert time.monotonic() - began < 10
    assert process.returncode == -signal.SIGINT
    assert "Exception ignored" not in err
    assert "waiting for" not in err
    parent, _ = places = sorted((tmp_path / "store" / "runs").iterdir())
    assert re.search(rf"c: .*: 3 events pending in (.|\n)*: 1,235 events pending in .*tracelet sync {parent}\n", err)
    (parent / "mark").touch()  # where the delivery processes run
    for place in places:
        (place / "mark").touch()
    cursors = [RunDirectory(place).cursor("faulty_backends:Down") for place in places]
    try:
        eventually(lambda: [read_cursor(cursor).closed for cursor in cursors] == ["killed", "killed"])
    finally:
        for cursor in cursors:
            kill(holder(cursor))


def test_all_runs_of_an_exit_have_one_deadline(tmp_path: Path) -> None:
    """However many runs are open when a script ends, it waits for them as long as for one."""
    body = """
atexit.unregister(id)
for number in range(4): run.child(str(number)).log_metric('m', 1.0)
"""
    prelude = DOWN.replace("run = ", "atexit.register(lambda: print(time.monotonic() - began))\nrun = ")
    process = start(tmp_path, prelude + body + "began = time.monotonic()\n", TRACELET_CLOSE_TIMEOUT="1.5")
    out, err = process.communicate(timeout=60)
    for place in (tmp_path / "store" / "runs").iterdir():
        kill(holder(RunDirectory(place).cursor("faulty_backends:Down")))
    assert process.returncode == 0, err
    assert 1.5 <= float(out) < 5
    assert err.count("events pending in") == 5


def kill(pid: int | None) -> None:
    """End a process that may have ended."""
    if pid:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def terminal() -> Iterator[tuple[int, Callable[[], str]]]:
    """A terminal's end for a process, and what was written to it."""
    screen, end = pty.openpty()
    written = b""

    def read() -> str:
        nonlocal written
        while select.select([screen], [], [], 0)[0]:
            written += os.read(screen, 1 << 16)
        return written.decode()

    yield end, read
    os.close(screen)
    os.close(end)


def test_on_a_terminal_one_line_tells_for_whom_it_waits(
    tmp_path: Path, terminal: tuple[int, Callable[[], str]]
) -> None:
    """It is rewritten in place while the end waits, fits the terminal, and is gone afterwards."""
    end, read = terminal
    (tmp_path / "train.py").write_text(DOWN)
    environment = {"TRACELET_DIR": "store", "PYTHONPATH": str(HERE), "TRACELET_CLOSE_TIMEOUT": "1.8", "TERM": "xterm"}
    process = subprocess.Popen([sys.executable, "train.py"], cwd=tmp_path, env=os.environ | environment, stderr=end)
    assert process.wait(60) == 0
    shown = read()
    kill(holder(RunDirectory(next((tmp_path / "store" / "runs").iterdir())).cursor("faulty_backends:Down")))
    erase = "\r\x1b[K"
    line = r"tracelet: waiting for faulty_backends:Down: 1,235 events pending, [01] s left"
    assert len(re.findall(re.escape(erase) + line, shown)) >= 2
    assert not re.search(line + r"[^\r\n]*\r\n", shown)
    assert all(len(part) < 80 for part in re.findall(line + r"[^\r\n]*", shown))
    assert re.search(re.escape(erase) + r"tracelet: faulty_backends:Down: 0 of 1,235 events delivered\r\n", shown)


def test_on_a_usual_terminal_the_line_tells_how_to_end_it(
    tmp_path: Path, terminal: tuple[int, Callable[[], str]]
) -> None:
    """All of it is in 80 columns, for one backend."""
    end, read = terminal
    termios.tcsetwinsize(end, (24, 80))
    (tmp_path / "other.py").write_text("from faulty_backends import Down as D")
    (tmp_path / "train.py").write_text(DOWN.replace("faulty_backends:Down", "other:D"))
    environment = {"TRACELET_DIR": "store", "PYTHONPATH": str(HERE), "TRACELET_CLOSE_TIMEOUT": "1.8", "TERM": "xterm"}
    process = subprocess.Popen([sys.executable, "train.py"], cwd=tmp_path, env=os.environ | environment, stderr=end)
    assert process.wait(60) == 0
    kill(holder(RunDirectory(next((tmp_path / "store" / "runs").iterdir())).cursor("other:D")))
    line = r"tracelet: waiting for other:D: 1,235 events pending, [01] s left; Ctrl-C ends it"
    assert re.search(line + "[\r\x1b]", read())


def test_the_line_promises_nothing_in_a_thread(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], eventually: Callable[..., None]
) -> None:
    """Ctrl-C interrupts the main thread, and no other that ends the run."""
    sys.path.append(str(HERE))
    try:
        run = tracelet.start_logging("faulty_backends:Down", directory=tmp_path, host="thread", close_timeout=1.8)
        eventually(lambda: run.status().backends["faulty_backends:Down"].delivered == 1)  # the start
        run.log_metric("m", 1.0)
        thread = threading.Thread(target=tracelet.stop_logging)
        thread.start()
        thread.join()
    finally:
        sys.path.remove(str(HERE))
    assert re.search(
        r"tracelet: waiting for faulty_backends:Down: 2 events pending, [01] s left\n", capsys.readouterr().err
    )


def test_a_second_end_waits_for_the_first_ones_last_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As that at the interpreter's exit, while a thread that does not hold it up ends the run."""
    order: list[str] = []
    speaking, returned = threading.Event(), threading.Event()

    class Slow:
        def write(self, text: str) -> None:
            speaking.set()
            returned.wait(0.5)
            order.append("said")

        def flush(self) -> None:
            pass

    run = tracelet.start_logging("jsonl", directory=tmp_path, mode="offline")
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", Slow())
        thread = threading.Thread(target=run.finish)
        thread.start()
        assert speaking.wait(20)
        run.finish()
        order.append("returned")
        returned.set()
        thread.join()
    assert order == ["said", "said", "returned"]


def test_a_delivery_process_that_is_starting_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At a deadline that comes before it has begun, it is not said that nobody delivers."""
    real = subprocess.Popen
    started: list[subprocess.Popen[bytes]] = []

    def begin(_: Sequence[str], **arguments: Any) -> subprocess.Popen[bytes]:
        started.append(real([sys.executable, "-c", "import time; time.sleep(60)"], **arguments))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", begin)
    run = tracelet.start_logging({"jsonl": {"path": str(tmp_path / "e")}}, directory=tmp_path, close_timeout=0)
    run.finish()
    started[0].kill()
    started[0].wait()
    line = (
        f"jsonl: 2 events pending in {run.directory} (starting, the backend was not reached yet); a delivery process "
    )
    assert f"{line}is starting and goes on with it; should that give up: tracelet sync {run.directory}\n" in (
        capsys.readouterr().err
    )


def test_a_run_that_was_cut_off_with_its_loop_tells_what_is_left(tmp_path: Path) -> None:
    """Where an exit comes from the loop itself, nobody ends the block; what is pending is said all the same."""
    body = """
import asyncio, os, signal, sys, tracelet
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
async def main():
    async with tracelet.open_run('faulty_backends:Down', exp_name='e') as run:
        run.log_metric('m', 1.0)
        asyncio.get_running_loop().call_later(0.01, os.kill, os.getpid(), signal.SIGTERM)
        await asyncio.sleep(60)
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
"""
    script = ended(tmp_path, start(tmp_path, body))
    (place,) = (tmp_path / "store" / "runs").iterdir()
    assert script.code == 143
    assert script.outcomes == []
    line = rf"tracelet: faulty_backends:Down: 2 events pending in {place} \(.*\); deliver with: tracelet sync {place}\n"
    assert len(re.findall(line, script.err)) == 1


def test_what_is_said_meanwhile_has_a_line_of_its_own(
    terminal: tuple[int, Callable[[], str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It replaces the one that is rewritten, which is cut to fit; a terminal that is much too narrow has none."""
    end, read = terminal
    erase = "\r\x1b[K"
    with open(os.dup(end), "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        termios.tcsetwinsize(end, (24, 30))
        assert rewrite("waiting for a backend; Ctrl-C ends it")
        assert rewrite("waiting for another backend; Ctrl-C ends it")
        say("said")
        termios.tcsetwinsize(end, (24, 10))
        assert not rewrite("waiting")
    shown = [
        f"{erase}tracelet: waiting for a backe",
        f"{erase}tracelet: waiting for another",
        f"{erase}tracelet: said\r\n",
    ]
    assert read() == "".join(shown)


@pytest.mark.anyio
async def test_an_async_runs_end_tells_it_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Elsewhere than on a terminal the line is said once, and not at all within the first second."""
    import anyio

    sys.path.append(str(HERE))
    try:
        async with tracelet.open_run("faulty_backends:Down", directory=tmp_path, close_timeout=2.4) as run:
            with anyio.fail_after(30):
                while not run.status().backends["faulty_backends:Down"].delivered:  # the start
                    await anyio.sleep(0.01)
            run.log_metric("m", 1.0)
    finally:
        sys.path.remove(str(HERE))
    said = capsys.readouterr().err
    assert said.count("waiting for") == 1
    assert "tracelet: waiting for faulty_backends:Down: 2 events pending, 1 s left\n" in said


@pytest.mark.anyio
async def test_a_run_begun_in_an_event_loop_ends_beside_it(tmp_path: Path) -> None:
    """start_logging may be called in a loop, and its end may be awaited in a thread while the loop goes on."""
    import anyio.to_thread

    async def take_time(_: Outcome) -> None:
        await anyio.sleep(0.3)

    backend = RecordingBackend(on_finish=take_time)
    run = tracelet.start_logging(backend, directory=tmp_path, host="thread")
    run.log_metric("m", 1.0)
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await anyio.sleep(0.005)
            ticks += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tick)
        await anyio.to_thread.run_sync(tracelet.stop_logging)
        tasks.cancel_scope.cancel()
    assert ticks > 5
    assert backend.outcomes == [Outcome.COMPLETED]
    assert tracelet.active_run() is None
    tracelet.stop_logging()


# Where the disk is slow.


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """No sync comes back until the event is set."""
    event, sync = threading.Event(), os.fdatasync

    def wait(fd: int) -> None:
        event.wait(20)
        sync(fd)

    monkeypatch.setattr(os, "fdatasync", wait)
    yield event
    event.set()


def settled(run: RunDirectory) -> bool:
    """Whether the journal's last segment was cut to what is in it, which follows its sync."""
    (segment,) = run.log("0000", Lane.STREAM).iterdir()
    return segment.stat().st_size == 4096


def test_the_deadline_holds_for_the_disk(
    tmp_path: Path, slow_disk: threading.Event, capsys: pytest.CaptureFixture[str], eventually: Callable[..., None]
) -> None:
    """The end of the journal is there for the backends at once; for its sync is waited as for them, and it goes on."""
    backend = RecordingBackend()
    run = tracelet.start_logging(backend, directory=tmp_path, host="thread", close_timeout=1.5)
    run.log_metric("m", 1.0)
    began = time.monotonic()
    run.finish()
    assert 1.4 < time.monotonic() - began < 10
    assert backend.outcomes == [Outcome.COMPLETED]
    place = RunDirectory(run.directory)
    assert not settled(place)
    line = f"tracelet: the disk is slow: a loss of power now would lose the end of the journal ({run.directory})\n"
    assert capsys.readouterr().err.count(line) == 1
    slow_disk.set()
    eventually(lambda: settled(place))
    assert not run.active


@pytest.mark.anyio
async def test_a_loop_goes_on_while_the_disk_is_slow(tmp_path: Path, slow_disk: threading.Event) -> None:
    """The end of an asynchronous run waits for the sync, and lets the loop's other tasks get on."""
    import anyio

    backend = RecordingBackend()
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while not backend.outcomes:
            await anyio.sleep(0.01)
        while ticks < 10:
            await anyio.sleep(0.01)
            ticks += 1
        slow_disk.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tick)
        async with tracelet.open_run(backend, directory=tmp_path) as run:
            run.log_metric("m", 1.0)
    assert ticks == 10
    assert settled(RunDirectory(run.directory))


# Jobs that are told to end.

PATIENT = """
import anyio
from faulty_backends import Base, Down
from tracelet import Delivery

class Patient(Base):
    delivery = Delivery(linger=0.02, batch_size=10)

    async def export(self, batch):
        await anyio.sleep(0.1)
"""


def delivery(cursor: Path, eventually: Callable[..., None]) -> int:
    """The process that holds a cursor; one that takes it just now has not said its number yet."""
    eventually(lambda: holder(cursor))
    return holder(cursor) or delivery(cursor, eventually)


def test_delivery_that_is_terminated_with_its_training_still_delivers(
    tmp_path: Path, eventually: Callable[..., None]
) -> None:
    """SIGTERM to all processes of a job, as schedulers send it: what is pending arrives, and the run was killed."""
    (tmp_path / "patient.py").write_text(PATIENT)
    body = """
import time, tracelet
run = tracelet.start_logging('patient:Patient', exp_name='e')
for step in range(100): run.log_metric('m', 1.0, step)
while not run.status().backends['patient:Patient'].delivered > 1: time.sleep(0.01)
print('ready', flush=True)
time.sleep(60)
"""
    process = start(tmp_path, body)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    run = RunDirectory(next((tmp_path / "store" / "runs").iterdir()))
    cursor = run.cursor("patient:Patient")
    pid = delivery(cursor, eventually)
    os.kill(pid, signal.SIGTERM)
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGTERM
    assert read_cursor(cursor).logs["0000/stream"].delivered < 101
    eventually(lambda: read_cursor(cursor).closed == "killed")
    eventually(lambda: not Path(f"/proc/{pid}/stat").exists() or holder(cursor) is None)
    assert read_cursor(cursor).logs["0000/stream"].delivered == 101


def test_delivery_that_is_terminated_while_it_is_stuck_ends(tmp_path: Path, eventually: Callable[..., None]) -> None:
    """SIGTERM ends a process whose server is down at once; another follows as long as the training goes on."""
    process = start(tmp_path, DOWN + "print('ready', flush=True)\nwhile True: time.sleep(0.1)\n")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    cursor = RunDirectory(next((tmp_path / "store" / "runs").iterdir())).cursor("faulty_backends:Down")
    eventually(lambda: read_cursor(cursor).phase == "retrying")
    first = delivery(cursor, eventually)
    os.kill(first, signal.SIGTERM)
    eventually(lambda: holder(cursor) != first, 4)
    eventually(lambda: delivery(cursor, eventually) != first and read_cursor(cursor).phase == "retrying")
    process.kill()
    process.communicate(timeout=30)
    second = delivery(cursor, eventually)
    os.kill(second, signal.SIGTERM)
    eventually(lambda: holder(cursor) is None, 4)


@pytest.mark.parametrize(
    ("since", "progress", "phase", "said", "over"),
    [
        (1.0, 0.5, "running", 10, False),
        (1.0, 0.5, "paused", 10, True),
        (LAST_EFFORT - 1, 0.5, "running", 10, False),
        (LAST_EFFORT + 1, 0.5, "running", 10, True),
        (LAST_EFFORT - 1, 9.0, "running", 10, True),
        (LAST_EFFORT - 1, 9.0, "running", 0, False),
        (1.0, 9.0, "running", 10, False),
    ],
)
def test_how_long_a_terminated_delivery_goes_on(
    tmp_path: Path, since: float, progress: float, phase: str, said: int, over: bool
) -> None:
    """Up to its last effort while things get through or there is nothing to do; not where nothing gets through."""
    run = tracelet.start_logging({"jsonl": {"path": str(tmp_path / "e")}}, directory=tmp_path, mode="offline")
    for _ in range(said):
        run.log_metric("m", 1.0)
    directory, now = RunDirectory(run.directory), time.monotonic()
    target = find("jsonl", {"path": str(tmp_path / "e")})
    cursor = Cursor.acquire(directory.cursor("jsonl"))
    assert cursor is not None
    with cursor:
        cursor.record.phase = phase
        if not said:
            count = cursor.log("0000/stream")
            count.position, count.delivered = Position(sequence=1), 1
        cursor.save()
        bus = Bus(directory, [target])
        threads = LaneThreads("jsonl")
        bus.subscriptions.append(Subscription(target, directory, cursor, blocking=threads))
        threads.stop()
        bus.subscriptions[0].last_progress = now - progress
        assert had_its_time(bus, directory, now - since) is over
    run.finish()
