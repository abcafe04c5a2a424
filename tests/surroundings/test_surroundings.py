"""The surroundings of a run as a whole: beginning, end, and that nothing of it gets in the way."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tracelet
from tracelet.capture import Surroundings, _facts, _git
from tracelet.events import ArtifactLogged, ConsoleLine, MetricsLogged, RunFinished, TagsSet

Said = Callable[..., list[Any]]
Eventually = Callable[..., None]
ALL = frozenset({"git", "environment", "command", "console", "system"})


@pytest.fixture
def told() -> list[str]:
    return []


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name in ("tracelet facts", "tracelet surroundings")]


def tags(said: Said) -> dict[str, str]:
    return {name: value for event in said(TagsSet) for name, value in event.values.items()}


def test_a_short_run_has_all_of_it(run: tracelet.Run, said: Said, told: list[str]) -> None:
    """Even one that ends right after it began has its facts, its lines and a sample, before its end."""
    surroundings = Surroundings(run, ALL, 10.0, told.append)
    surroundings.start()
    print("line")
    surroundings.stop()
    run.finish()
    assert {"command", "env.host", "env.python", "git.commit", "git.dirty"} <= tags(said).keys()
    assert {event.name for event in said(ArtifactLogged)} >= {"environment.json", "requirements.txt"}
    assert [event.text for event in said(ConsoleLine)] == ["line"]
    (sample,) = said(MetricsLogged)
    assert {"system/memory_percent", "system/process_memory_bytes"} <= sample.values.keys()
    assert [type(event) for event in said() if isinstance(event, ConsoleLine | RunFinished)][-1] is RunFinished
    assert told == []
    assert threads() == []


def test_only_what_is_wanted_is_said(run: tracelet.Run, said: Said, told: list[str]) -> None:
    """Each part can be had alone; with none, nothing is started."""
    nothing = Surroundings(run, frozenset(), 10.0, told.append)
    nothing.start()
    assert threads() == []
    nothing.stop()
    surroundings = Surroundings(run, frozenset({"command"}), 10.0, told.append)
    before = sys.stdout.write
    surroundings.start()
    assert sys.stdout.write == before
    surroundings.stop()
    assert list(tags(said)) == ["command"]
    assert len(said()) == 2


def test_samples_come_at_their_times(run: tracelet.Run, said: Said, told: list[str], eventually: Eventually) -> None:
    """The first soon, then one every interval, each at another step, and one at the end."""
    surroundings = Surroundings(run, frozenset({"system"}), 0.1, told.append)
    surroundings.start()
    eventually(lambda: len(said(MetricsLogged)) >= 3, 20.0)
    surroundings.stop()
    steps = [event.step for event in said(MetricsLogged)]
    assert steps == sorted(set(steps))
    assert steps[0] in (0, 1, 2), "steps are seconds since the run began"
    assert "system/cpu_percent" in said(MetricsLogged)[1].values


def test_stopping_twice_or_before_the_start_does_nothing(run: tracelet.Run, said: Said, told: list[str]) -> None:
    """A run that could not be begun, or that is ended from several places, is no failure."""
    surroundings = Surroundings(run, ALL, 10.0, told.append)
    surroundings.stop()
    surroundings.stop()
    surroundings.start()
    assert threads() == []
    finished = Surroundings(run, ALL, 10.0, told.append)
    run.finish()
    finished.start()
    assert threads() == []
    assert told == []


def test_a_run_that_ends_without_telling(run: tracelet.Run, told: list[str], eventually: Eventually) -> None:
    """What is said after the run's end is nobody's, and no failure."""
    surroundings = Surroundings(run, ALL, 0.1, told.append)
    surroundings.start()
    run.finish()
    print("line")
    eventually(lambda: not any(thread.name == "tracelet facts" for thread in threads()))
    surroundings.stop()
    assert told == []
    assert threads() == []


def test_the_end_does_not_wait_for_long(
    run: tracelet.Run, said: Said, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git that hangs costs the end of a run less than a second or so; the user hears what is missing."""
    asked = threading.Event()

    def hang(self: object, folders: object) -> None:
        asked.set()
        while not self._output.keywords["cancelled"]():  # type: ignore[attr-defined]
            time.sleep(0.01)
        raise _git.GitFailed("the run ended before git had answered")

    monkeypatch.setattr(_git.Git, "head", hang)
    surroundings = Surroundings(run, ALL, 10.0, told.append)
    surroundings.start()
    assert asked.wait(20)
    begin = time.monotonic()
    surroundings.stop()
    assert time.monotonic() - begin < 3.0
    assert told == ["the state of the code in git is not captured: the run ended before git had answered"]
    assert "env.host" in tags(said)


def test_a_part_that_fails_is_said_once_and_the_others_go_on(
    run: tracelet.Run, said: Said, told: list[str], monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    """Whatever is raised in one of them, and even by the telling."""

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(_facts, "environment", fail)
    monkeypatch.setattr(run, "log_metrics", fail)
    surroundings = Surroundings(run, ALL, 0.1, told.append)
    surroundings.start()
    eventually(lambda: len(told) == 2, 20.0)
    surroundings.stop()
    assert sorted(told) == [
        "the environment is not captured: OSError: [Errno 30] Read-only file system",
        "what the machine does is not captured: OSError: [Errno 30] Read-only file system",
    ]
    assert {"command", "git.commit"} <= tags(said).keys()


def test_facts_that_cant_be_imported(
    run: tracelet.Run, said: Said, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is said, and is no failure of the training; its lines are captured all the same."""
    failures: list[object] = []
    monkeypatch.setattr(threading, "excepthook", failures.append)
    monkeypatch.setitem(sys.modules, "tracelet.capture._facts", None)
    monkeypatch.delattr(tracelet.capture, "_facts")
    surroundings = Surroundings(run, frozenset({"console", "git", "command"}), 10.0, told.append)
    surroundings.start()
    print("line")
    surroundings.stop()
    assert len(told) == 1
    assert told[0].startswith("nothing is captured of command, git: ModuleNotFoundError: ")
    assert [event.text for event in said(ConsoleLine)] == ["line"]
    assert failures == []


def test_a_machine_that_has_no_metrics(
    run: tracelet.Run, said: Said, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without psutil, or where it fails altogether, that is said, and lines are captured all the same."""
    monkeypatch.setitem(sys.modules, "tracelet.capture._machine", None)
    surroundings = Surroundings(run, frozenset({"console", "system"}), 0.1, told.append)
    surroundings.start()
    print("line")
    surroundings.stop()
    assert len(told) == 1
    assert told[0].startswith("what the machine does is not captured: ")
    assert [event.text for event in said(ConsoleLine)] == ["line"]


def test_other_ranks_say_what_is_theirs(
    run: tracelet.Run, said: Said, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What holds for all ranks is said by the first alone; lines of the others are marked."""
    monkeypatch.setenv("RANK", "2")
    surroundings = Surroundings(run, ALL, 10.0, told.append)
    surroundings.start()
    print("line")
    surroundings.stop()
    assert tags(said) == {}
    assert [event.text for event in said(ConsoleLine)] == ["[rank 2] line"]
    assert len(said(MetricsLogged)) == 1


def test_no_more_threads(run: tracelet.Run, told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started any more, that is said, and the run goes on."""

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    surroundings = Surroundings(run, ALL, 10.0, told.append)
    surroundings.start()
    monkeypatch.undo()
    surroundings.stop()
    assert told == ["some of the surroundings can't be captured: can't start new thread"]


_SCRIPT = """
import os, signal, sys, threading, time, tracelet
from tracelet.capture import Surroundings
run = tracelet.start_logging(exp_name="e", directory=sys.argv[1])
surroundings = Surroundings(run, frozenset({"git", "environment", "command", "console", "system"}), 0.1, print)
surroundings.start()
over = threading.Event()
def hold():  # a lock that no thread of the children will ever release
    with surroundings._console._streams[0][1]._lock:
        over.wait()
if surroundings._console._streams:
    threading.Thread(target=hold, daemon=True).start()
children = []
for _ in range(20):  # while the threads import what they need
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        import psutil, platform, subprocess
        surroundings.stop()
        print("the child's", flush=True)
        os._exit(0 if threading.active_count() == 1 else 3)
    children.append(child)
    time.sleep(0.005)
print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
over.set()
surroundings.stop()
run.finish()
"""


def test_children_that_are_forked_meanwhile(tmp_path: Path) -> None:
    """They can import, they don't hang, and they say nothing; nor do they end the parent's capture."""
    quiet = ["-W", "ignore::DeprecationWarning"]  # that such forks are no good idea
    done = subprocess.run(
        [sys.executable, *quiet, "-c", _SCRIPT, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
    )
    assert str([0] * 20) in done.stdout
    assert done.stderr == ""
    listed = subprocess.run(
        [sys.executable, "-c", _READ, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
    )
    assert listed.stdout == "0 1 True\n"


_READ = """
import sys
from pathlib import Path
from tracelet.codec import decode
from tracelet.events import ConsoleLine, Lane, MetricsLogged
from tracelet.journal import LogReader, RunDirectory
(place,) = (Path(sys.argv[1]) / "runs").iterdir()
with LogReader(RunDirectory(place).log("0000", Lane.STREAM)) as reader:
    frames = reader.read(10**6, 10**9, final=False)
    events = list(map(decode, frames.words, frames.payloads))
lines = [event.text for event in events if isinstance(event, ConsoleLine)]
print(lines.count("the child's"), len(lines), any(isinstance(event, MetricsLogged) for event in events))
"""


def test_without_standard_streams(tmp_path: Path) -> None:
    """A program whose output was closed before it began runs as ever, and has its facts."""
    script = _SCRIPT.replace("for _ in range(20)", "for _ in range(0)").replace('{"git", ', '{').replace(", print)", ", str)")  # fmt: skip  # noqa: E501
    code = 'exec "$0" -c "$1" "$2" >&- 2>&-'
    done = subprocess.run(["/bin/sh", "-c", code, sys.executable, script, str(tmp_path)], timeout=60, check=False)
    assert done.returncode == 0
    listed = subprocess.run(
        [sys.executable, "-c", _READ, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
    )
    assert listed.stdout == "0 0 True\n"


def test_it_is_not_imported_with_tracelet() -> None:
    """`import tracelet` costs nothing for it, and its start brings in nothing that is slow to import."""
    code = (
        "import sys, tracelet; print('tracelet.capture' in sys.modules); import tracelet.capture; "
        "print(*({'psutil', 'pynvml'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout == "False\n\n"


def test_unwritable_places(run: tracelet.Run, told: list[str], said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no temporary file can be made, tags, lines and samples are there, and the rest is said to be missing."""
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", "/proc/nowhere")
    surroundings = Surroundings(run, ALL, 10.0, told.append)
    surroundings.start()
    surroundings.stop()
    assert "git.commit" in tags(said)
    assert said(ArtifactLogged) == []
    assert any(message.startswith("the environment is not captured: FileNotFoundError") for message in told)
