"""`tracelet runs`, the help, and what the shell completes: which runs there are, found quickly."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import tracelet
from tracelet.cli import _ends
from tracelet.cli._app import app
from tracelet.cli._delivery import settled
from tracelet.cli._ends import read_ending
from tracelet.cli._order import newest_first
from tracelet.cli._output import bytes_of, duration, moment
from tracelet.cli._runs import look_at
from tracelet.codec import encode
from tracelet.events import Kind, Lane, MetricsLogged, RunFinished
from tracelet.journal import LogWriter, RunDirectory, RunRecord

Log = Callable[..., RunDirectory]


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Log:
    """Log a run of one point, to the journal alone unless a backend is named."""
    monkeypatch.chdir(tmp_path)

    def begin(name: str, project: str = "vision", outcome: str = "completed", **settings: Any) -> RunDirectory:
        run = tracelet.start_logging(exp_name=name, project=project, host="thread", **settings)
        run.log_metric("loss", 0.5, 0)
        run.finish(outcome, timeout=30.0)
        return RunDirectory(run.directory)

    return begin


def runs(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["runs", *map(str, arguments)])


def names(*arguments: object) -> list[str]:
    result = runs("--json", *arguments)
    assert result.exit_code == 0, result.output
    return [found["name"] for found in json.loads(result.stdout)]


def record(run: RunDirectory, created: float, backends: dict[str, Any] | None = None) -> None:
    run.path.mkdir(parents=True, exist_ok=True)
    run.write_record(
        RunRecord(id=run.id, name=run.id, project="p", created=created, backends=backends or {}, version="0")
    )


def test_runs_are_listed_with_how_they_ended(log: Log) -> None:
    """A line for each run, the newest first, with its outcome, its events and how its delivery stands."""
    failed = log("first", outcome="failed")
    delivered = log("second", backend="jsonl")
    waiting = log("third", backend="jsonl", mode="offline")
    result = runs()
    assert result.exit_code == 0
    third, second, first = (line.split() for line in result.output.splitlines()[1:])
    assert third[4:] == ["completed", "3", waiting.id, "third", "vision", "jsonl:", "waiting,", "3", "pending"]
    assert second[4:] == ["completed", "3", delivered.id, "second", "vision", "jsonl:", "delivered"]
    assert first[4:] == ["failed", "3", failed.id, "first", "vision", "-"]
    (found,) = json.loads(runs("--json", "--limit", 1).stdout)
    assert found["id"] == waiting.id
    assert found["duration"] == pytest.approx(found["ended"] - found["started"])
    assert found["backends"] == {"jsonl": {"state": "waiting", "pending": 3}}
    assert "older runs" in runs("--limit", 2).output
    assert "older runs" not in runs("--limit", 3).output


def test_runs_are_chosen_by_project_name_and_outcome(log: Log) -> None:
    """The filters go together, names and projects may be patterns, and no such run is no error."""
    log("a1", project="x", outcome="failed")
    log("a2", project="y")
    log("b1", project="x")
    assert names("--name", "a*") == ["a2", "a1"]
    assert names("--project", "x") == ["b1", "a1"]
    assert names("--project", "x", "--outcome", "completed") == ["b1"]
    assert names("--outcome", "failed") == ["a1"]
    assert names("--outcome", "running") == []
    assert "no such runs" in runs("--name", "c*").output
    assert runs("--outcome", "wrong").exit_code == 2


def test_what_is_damaged_or_no_run_is_said(log: Log) -> None:
    """A damaged record is listed with what is wrong, and the exit code is 1; other things than runs are no fault."""
    run = log("one")
    (run.path.parent / "foreign").mkdir()
    assert runs().exit_code == 0
    assert "not a run" in runs().output
    (run.path / "run.json").write_text("{")
    result = runs()
    assert result.exit_code == 1
    assert "run.json is damaged" in result.output
    assert names("--name", "*") == []


def test_the_end_of_a_long_run_is_found_without_reading_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """How a run ended is in the last bytes of its log, whatever the events before it."""
    run = RunDirectory(tmp_path / "run")
    writer = LogWriter(run.log(run.add_writer(), Lane.STREAM), first_size=1 << 14, largest_size=1 << 14)
    for step in range(2000):
        writer.append(Kind.METRICS_LOGGED.value, encode(MetricsLogged(float(step), {"loss": 0.5}, step)))
        if step % 100 == 0:
            writer.prepare()
    writer.prepare()
    writer.seal((Kind.RUN_FINISHED.value, encode(RunFinished(12345.0, "failed"))))
    monkeypatch.setattr(_ends, "LogReader", None)
    ending = read_ending(run)
    assert (ending.outcome, ending.ended, ending.events) == ("failed", 12345.0, 2001)


def test_runs_with_ids_of_their_users_are_in_the_order_in_which_they_began(tmp_path: Path) -> None:
    """An id tells when the run began, or else its record does; one that has none has the date of its folder."""
    for name, created in {"b": 3e9, "a": 1e9, "0197c2d0-0000-7000-8000-000000000000": 0.0}.items():
        record(RunDirectory(tmp_path / name), created)  # that id is of June 2025
    (tmp_path / "empty").mkdir()
    os.utime(tmp_path / "empty", (2e9, 2e9))
    (tmp_path / ".hidden").mkdir()
    order = ["b", "empty", "0197c2d0-0000-7000-8000-000000000000", "a"]
    assert [path.name for path in newest_first(tmp_path)] == order
    assert newest_first(tmp_path / "nowhere") == []


def test_only_the_runs_that_are_shown_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With any number of runs, `runs` reads no more records than it lists."""
    for number in range(50):
        record(RunDirectory(tmp_path / "runs" / f"0197c2d0-{number:04}-7000-8000-000000000000"), float(number))
    read: set[str] = set()
    original = RunDirectory.read_record

    def counted(run: RunDirectory) -> RunRecord:
        read.add(run.id)
        return original(run)

    monkeypatch.setattr(RunDirectory, "read_record", counted)
    assert runs("--directory", tmp_path, "--limit", 5).exit_code == 0
    assert len(read) == 6  # and the next one, to tell that there are more


def test_what_every_backend_has_been_told_the_end_of_is_settled(log: Log) -> None:
    """A run is settled once every writer's end has reached every backend, and no more so when it goes on."""
    assert settled(look_at(log("one", backend="jsonl", run_id="mine").path))
    assert settled(look_at(log("two").path))
    assert not settled(look_at(log("three", backend="jsonl", mode="offline").path))
    again = log("one", backend="jsonl", run_id="mine", resume="must", mode="offline")
    assert not settled(look_at(again.path))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.44, "0.4 s"),
        (59.4, "59 s"),
        (59.7, "1 min"),
        (3599, "59 min 59 s"),
        (86_399, "23 h 59 min"),
        (9e4, "1 d 1 h"),
    ],
)
def test_durations_are_in_two_units(seconds: float, text: str) -> None:
    """A length of time is as short as it can be said."""
    assert duration(seconds) == text


def test_sizes_and_times_are_shown_whatever_they_are() -> None:
    """A time that no calendar has is shown as a number."""
    assert [bytes_of(size) for size in (0, 1500, 2.5e6, 1e15)] == ["0 B", "1.5 kB", "2.5 MB", "1000.0 TB"]
    assert moment(1e20) == "1e+20"


# Help and completion.


def test_the_help_has_every_command_with_an_example() -> None:
    """The commands are in sections, with their whole summaries, and each one's help ends with examples and codes."""
    output = CliRunner().invoke(app, ["--help"]).output
    for section in ("Look at runs:", "Deliver:", "Set up:"):
        assert section in output
    assert "Other commands:" not in output
    assert "..." not in output.partition("Look at runs:")[2]
    for command in (info.name or info.callback.__name__ for info in app.registered_commands if info.callback):
        text = CliRunner().invoke(app, [command, "--help"]).output
        assert f"  {command} " in output
        assert f"Examples:\n    tracelet {command}" in text, command
        assert "Exit codes:\n    0 " in text, command
        assert not set(text) & set("╭│─┌") or command == "show"


def complete(words: str, shell: str, **variables: str) -> list[str]:
    """What a shell is given, by the program itself as it is installed."""
    count = len(words.split(" ")) - 1
    own = {"_TRACELET_COMPLETE": f"complete_{shell}", "COMP_WORDS": words, "COMP_CWORD": str(count)}
    fish = {"_TYPER_COMPLETE_ARGS": words, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    code = "import sys; sys.argv[0] = 'tracelet'; from tracelet.cli import main; main()"
    environment = {**os.environ, **own, **fish, **variables}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert not done.stderr
    return done.stdout.split("\n")[:-1] if done.stdout.endswith("\n") else done.stdout.split("\n")


def test_the_shell_completes_ids_and_backends(log: Log, tmp_path: Path) -> None:
    """Ids come the newest first, with names where the shell shows them, and from the directory that is named."""
    older, newer = log("older"), log("newer")
    assert [word for word in complete("tracelet show ", "bash") if word] == [newer.id, older.id]
    where = f"--directory {tmp_path / '.tracelet'} {older.id[:-1]}"
    (line,) = filter(None, complete(f"tracelet status {where}", "fish", TRACELET_DIR="/nowhere"))
    assert line.split("\t") == [older.id, "older (vision)"]
    assert "jsonl" in complete("tracelet sync --backend js", "bash")


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_script_for_bash_works(log: Log, tmp_path: Path) -> None:
    """What --show-completion prints makes bash complete the beginning of an id."""
    run = log("one")
    program = tmp_path / "tracelet"
    program.write_text(f"#!{sys.executable}\nfrom tracelet.cli import main\nmain()\n")
    program.chmod(0o755)
    script = (
        'eval "$(tracelet --show-completion bash)"; COMP_WORDS=(tracelet show "$1"); COMP_CWORD=2; '
        '_tracelet_completion tracelet; echo "${COMPREPLY[@]}"'
    )
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = ["bash", "--norc", "-c", script, "bash", run.id[:13]]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == [run.id], done.stderr
