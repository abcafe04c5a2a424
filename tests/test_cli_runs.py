"""`tracelet runs`, the help, and what the shell completes: which runs there are, found quickly."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner, Result

import tracelet
from tracelet import _log_ends
from tracelet.cli import _output, _runs
from tracelet.cli._app import app
from tracelet.cli._delivery import settled, stand
from tracelet.cli._ends import read_ending
from tracelet.cli._order import newest_first
from tracelet.cli._output import bytes_of, duration, moment
from tracelet.cli._runs import find_run, look_at
from tracelet.codec import encode
from tracelet.events import Kind, Lane, MetricsLogged, RunFinished
from tracelet.journal import Cursor, LogWriter, RunDirectory, RunRecord, WriterEnd

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


def record(run: RunDirectory, created: float, name: str = "") -> None:
    run.path.mkdir(parents=True, exist_ok=True)
    run.write_record(RunRecord(id=run.id, name=name or run.id, project="p", created=created, backends={}, version="0"))


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


@contextmanager
def on_terminal(width: int) -> Iterator[StringIO]:
    """What the commands write within the block, on a terminal of this width."""
    written = StringIO()
    terminal = Console(file=written, force_terminal=True, width=width, highlight=False, color_system="standard")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_output, "console", terminal)
        yield written


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
    assert found["backends"] == {"jsonl": {"state": "waiting", "pending": 3, "dropped": {}, "dead_lettered": 0}}
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
    assert "there are no such runs" in runs("--name", "c*").output
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
    monkeypatch.setattr(_log_ends, "LogReader", None)
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


def refuse(run: RunDirectory, dropped: dict[str, int], dead_lettered: int) -> None:
    """Have a delivered run's backend drop and refuse so many of its events."""
    cursor = Cursor.acquire(run.cursor("jsonl"))
    assert cursor is not None
    with cursor:
        count = cursor.log("0000/stream")
        count.delivered -= sum(dropped.values()) + dead_lettered
        count.dropped, count.dead_lettered = dropped, dead_lettered
        cursor.save()


def test_what_a_backend_will_not_have_is_in_the_lists(log: Log) -> None:
    """`runs` and `status` say in a warning's colour what was dropped and refused of a run that is else delivered."""
    run = log("one", backend="jsonl")
    refuse(run, {"unsupported": 1}, 1)
    assert "jsonl: delivered, 1 dropped, 1 refused\n" in runs().output
    (found,) = json.loads(runs("--json").stdout)
    account = {"state": "closed", "pending": 0, "dropped": {"unsupported": 1}, "dead_lettered": 1}
    assert found["backends"] == {"jsonl": account}
    assert "closed, 1 dropped, 1 refused" in invoke("status").output
    standing = stand(look_at(run.path))
    assert standing is not None
    assert standing.in_short("jsonl") == ("jsonl: delivered, 1 dropped, 1 refused", "yellow")
    with on_terminal(80) as said:
        invoke("status")
        assert "\x1b[33mclosed (completed), 1 dropped, 1 refused" in said.getvalue()
    cursor = Cursor.acquire(run.cursor("jsonl"))
    assert cursor is not None
    with cursor:
        cursor.record.closed = None
        cursor.save()
    output = invoke("sync").output
    assert "0 events delivered, the run is closed as completed, 1 dropped (unsupported), 1 refused so far" in output


@pytest.mark.parametrize("backend", [None, "jsonl"])
def test_what_could_not_be_recorded_is_in_the_lists(log: Log, backend: str | None) -> None:
    """`runs` and `status` say how many events of a run were lost, on a terminal and in a pipe, once for each run."""
    log("one", min_free="900TB", backend=backend)
    assert json.loads(runs("--json").stdout)[0]["lost"] == 1
    (line,) = runs().output.splitlines()[1:]
    assert line.endswith("  1 lost" if backend is None else "  1 lost; jsonl: delivered")
    (line,) = invoke("status").output.splitlines()[1:]
    assert "  1 lost  " in line if backend is None else "  closed, 1 lost  " in line
    for command in ("runs", "status"):
        with on_terminal(80) as said:
            invoke(command)
            assert said.getvalue().count("\x1b[31m1 lost") == 1
            assert "dropped" not in said.getvalue()
    assert ("2 events in the journal" in said.getvalue()) is (backend is None)


# Where runs are, and which is meant.


@pytest.mark.parametrize("command", ["runs", "status", "status --pending", "sync", "sync --backend jsonl", "gc"])
def test_where_there_are_no_runs_that_is_said(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is no fault of the default directory, nor of an empty one; but one that was named has to be there."""
    monkeypatch.chdir(tmp_path)
    words = command.split()
    empty, nowhere = tmp_path / "empty", tmp_path / "nowhere"
    (empty / "runs" / "foreign").mkdir(parents=True)
    result = invoke(*words)
    assert (result.exit_code, result.output) == (0, f"there are no runs in {tmp_path / '.tracelet'}\n")
    result = invoke(*words, "--directory", empty)
    assert result.exit_code == 0
    assert f"there are no runs in {empty}\n" in result.output or "not a run" in result.output
    result = invoke(*words, "--directory", nowhere)
    assert result.exit_code == 2
    assert f"there is no directory {nowhere} (--directory)" in result.output
    monkeypatch.setenv("TRACELET_DIR", str(nowhere))
    result = invoke(*words)
    assert result.exit_code == 2
    assert f"there is no directory {nowhere} (TRACELET_DIR)" in result.output
    monkeypatch.delenv("TRACELET_DIR")
    (tmp_path / "pyproject.toml").write_text('[tool.tracelet]\ndirectory = "nowhere"\n')
    assert invoke(*words).exit_code == 2
    assert not nowhere.exists()


def test_the_folder_of_runs_is_not_their_directory(tmp_path: Path) -> None:
    """Who names the folder in which the runs lie is told that the one above it is meant."""
    record(RunDirectory(tmp_path / "runs" / "one"), 1.0)
    result = runs("--directory", tmp_path / "runs")
    assert result.exit_code == 2
    assert "name the directory above it" in result.output


def test_a_run_is_found_by_what_tells_it_from_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path goes before an id, then come the beginning and the end of one, and last a name; records wait till then."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs"
    one, two, three = (f"01a20ad7-ae39-7d6d-822d-7c970e2e9b{end}" for end in ("4e", "5e", "5f"))
    for number, run in enumerate((one, two, three)):
        record(RunDirectory(folder / run), float(number), name=("first", "twin", "twin")[number])
    record(RunDirectory(folder / "mnist"), 0.0, name=one)
    record(RunDirectory(folder / "slash"), 0.0, name="group/one")
    record(RunDirectory(tmp_path / "first"), 0.0)
    assert find_run("first", folder) == tmp_path / "first"
    shutil.rmtree(tmp_path / "first")
    assert find_run("first", folder) == folder / one
    assert find_run("mnist", folder) == folder / "mnist"
    assert find_run("group/one", folder) == folder / "slash"
    monkeypatch.setattr(_runs, "_name", None)
    assert find_run(one, folder) == folder / one
    assert find_run(one[:-1], folder) == folder / one
    assert find_run("9b4e", folder) == folder / one
    assert find_run("nist", folder) == folder / "mnist"


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("01a2", "2 runs have ids that begin with '01a2'"),
        ("-aaaa", "2 runs have ids that end with '-aaaa'"),
        ("twin", "2 runs are called 'twin'"),
    ],
)
def test_where_several_runs_are_meant_they_are_listed(tmp_path: Path, given: str, problem: str) -> None:
    """An ambiguous beginning, end or name picks none: the error lists the runs, the newest first, with their ids."""
    folder = tmp_path / "runs"
    for number, run in enumerate(("01a2-aaaa", "01a2-bbbb", "0000-aaaa")):
        record(RunDirectory(folder / run), float(number), name="other" if run == "01a2-bbbb" else "twin")
    with pytest.raises(typer.BadParameter, match=problem) as error:
        find_run(given, folder)
    _, *lines = error.value.message.splitlines()
    ids = [line.split()[0] for line in lines]
    assert ids == (["01a2-bbbb", "01a2-aaaa"] if given == "01a2" else ["0000-aaaa", "01a2-aaaa"])
    assert all(line.endswith("  twin") for line in lines if "aaaa" in line)


def test_what_is_no_run_or_too_short_is_not_found(tmp_path: Path) -> None:
    """An end of three characters, a part of an id or a name, and a folder of other things are no run."""
    folder = tmp_path / "runs"
    record(RunDirectory(folder / "01a2-bbbb"), 0.0, name="other")
    (folder / "foreign").mkdir()
    for given in ("bbb", "a2-bb", "oth", "Other"):
        with pytest.raises(typer.BadParameter, match="there is no run"):
            find_run(given, folder)
    with pytest.raises(typer.BadParameter, match="is no run"):
        find_run("foreign", folder)
    with pytest.raises(typer.BadParameter, match="there is no directory /no/where, nor a run of the name"):
        find_run("/no/where", folder)
    with pytest.raises(typer.BadParameter, match="there are no runs in"):
        find_run("other", tmp_path / "nowhere" / "runs")


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


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a disk that is always full")
@pytest.mark.parametrize("command", ["runs", "runs --json", "show --json", "status", "gc", "--help", "doctor"])
def test_output_that_can_not_be_written_is_said(log: Log, command: str) -> None:
    """Where the output goes to a disk that is full, one line tells, and the exit code is 1."""
    log("one")
    with open("/dev/full", "w") as full:
        arguments = [sys.executable, "-m", "tracelet", *command.split()]
        done = subprocess.run(arguments, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "the output can't be written: No space left on device\n")


def test_whoever_reads_the_output_may_stop(log: Log) -> None:
    """That is no error to be shown."""
    log("one")
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        arguments = [sys.executable, "-m", "tracelet", "runs"]
        done = subprocess.run(arguments, stdout=pipe, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "")


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


def test_the_program_alone_shows_its_help() -> None:
    """Without a command it shows what there is, which is no error; a command that is not there is one."""
    result = invoke()
    assert (result.exit_code, result.output) == (0, invoke("--help").output)
    assert invoke("nosuch").exit_code == 2


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


def test_a_writer_that_was_taken_for_dead_may_go_on(log: Log) -> None:
    """A run that was closed as killed is looked at again once one of its writers shows that it lives."""
    run = log("a", backend="jsonl")
    cursor = Cursor.acquire(run.cursor("jsonl"))
    assert cursor is not None
    with cursor:
        sign = run.last_sign("0000")
        cursor.record.ends = {"0000": WriterEnd("killed", sign, sign)}
        cursor.save()
    assert settled(look_at(run.path))
    os.utime(run.path / "journal" / "0000" / "writer.json", (sign + 30, sign + 30))
    assert not settled(look_at(run.path))
