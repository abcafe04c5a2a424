"""`tracelet status`: the list of runs, the account of one, and what it makes of damage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner, Result

import tracelet
from tracelet.cli._app import app
from tracelet.cli._runs import NO_RECORD
from tracelet.journal import Cursor, RunDirectory
from tracelet.status import read_status

Train = Callable[..., RunDirectory]


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """Log a run of ten points, delivered to a file unless it is offline."""

    def log(name: str = "exp", *, mode: str = "offline", backend: Any = "jsonl") -> RunDirectory:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("TRACELET_MODE", mode)
        run = tracelet.start_logging(backend, name, "project", host="thread")
        for step in range(10):
            run.log_metric("loss", 0.5, step)
        run.finish(timeout=30.0)
        return RunDirectory(run.directory)

    return log


def status(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["status", *map(str, arguments)])


def rows(result: Result) -> list[list[str]]:
    return [line.split() for line in result.output.splitlines()[1:]]


def test_runs_are_listed_the_newest_first(train: Train) -> None:
    """The list has a line per run and backend, with the account, and nothing in it is cut."""
    older = train("first", mode="online")
    newer = train("a-name-that-is-longer-than-any-terminal-is-wide-" * 3)
    result = status()
    assert result.exit_code == 1
    (first, second) = rows(result)
    assert first[2:] == [newer.id, newer.read_record().name, "project", "jsonl", "0", "12", "waiting", "-"]
    assert second[2:] == [older.id, "first", "project", "jsonl", "12", "0", "closed", "completed"]


def test_a_limit_says_what_it_leaves_out(train: Train) -> None:
    """Older runs than the limit allows are counted."""
    for name in ("one", "two", "three"):
        train(name, backend=None)
    result = status("--limit", 1)
    assert result.exit_code == 0
    assert "three" in result.output
    assert "2 older runs not shown: --limit 3" in result.output


def test_what_is_pending_of_older_runs_counts(train: Train) -> None:
    """A run that is not shown, and has something pending, is counted, and ends the command with 1 like one that is."""
    old = train("old")
    train("new", mode="online")
    result = status("--limit", 1)
    assert result.exit_code == 1
    assert "old " not in result.output
    assert "1 older run not shown: --limit 2; of them 1 with something pending: --pending" in result.output
    assert [row[2] for row in rows(status("--pending"))] == [old.id]
    train("newer")
    limited = status("--pending", "--limit", 1)
    assert limited.exit_code == 1
    assert "1 older run not shown, 1 with something pending: --limit 2" in limited.output
    (old.path / "run.json").write_text("{")
    said = status("--limit", 1).output
    assert "2 older runs not shown: --limit 3; of them 1 damaged: --pending" in said
    said = status("--pending", "--limit", 1).output
    assert "1 older run not shown, 1 damaged: --limit 2" in said


def test_where_nothing_is_pending_that_is_said(train: Train) -> None:
    """--pending of runs that are all delivered lists none, and ends with 0."""
    run = train(mode="online")
    result = status("--pending")
    assert (result.exit_code, result.output) == (0, f"nothing is pending in {run.path.parents[1]}\n")


def test_what_is_delivered_and_not_closed_is_not_done(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is over is work for sync until every backend knows how it ended; while it goes on it is not."""
    run = train(mode="online")
    cursor = Cursor.acquire(run.cursor("jsonl"))
    assert cursor is not None
    with cursor:
        cursor.record.closed, cursor.record.phase = None, "running"  # as when delivery was killed right before it
        cursor.save()
        result = status(run.id)
        assert result.exit_code == 1  # it is not closed yet
        assert "tracelet sync" not in result.output
    for arguments in ([], ["--pending"], ["--limit", 1]):
        result = status(*arguments)
        assert result.exit_code == 1
        assert [row[8:10] for row in rows(result)] == [["not", "closed"]]
    assert f"\nClose it with: tracelet sync {run.path}\n" in status(run.id).output
    assert "jsonl: not closed" in CliRunner().invoke(app, ["runs"]).output
    said = CliRunner().invoke(app, ["show", run.id]).output
    assert f"  Close it with: tracelet sync {run.path}\n" in said
    monkeypatch.setattr(RunDirectory, "live", True)
    assert status().exit_code == 0
    assert status("--pending").output.startswith("nothing is pending")
    assert "tracelet sync" not in status(run.id).output
    monkeypatch.undo()
    monkeypatch.chdir(run.path.parents[2])
    assert CliRunner().invoke(app, ["sync"]).exit_code == 0
    assert status().exit_code == 0


def test_nothing_is_advised_where_somebody_is_at_it(train: Train) -> None:
    """While a process delivers a backend's events, the account says so, and does not tell to deliver them."""
    run = train()
    record = run.read_record()
    record.backends["other"] = {}
    run.write_record(record)
    first, second = (Cursor.acquire(run.cursor(name)) for name in ("jsonl", "other"))
    assert first is not None
    assert second is not None
    with first:
        with second:
            result = status(run.id)
            assert result.exit_code == 1
            assert "delivered by process" in result.output
            assert "tracelet sync" not in result.output
        assert f"tracelet sync {run.path}" in status(run.id).output  # which nobody delivers to the other one


def test_sync_tells_a_script_what_it_did(train: Train) -> None:
    """`sync --json` writes a line of JSON for each run and backend, and what is for people goes to standard error."""
    run = train()
    train(mode="online")
    result = CliRunner().invoke(app, ["sync", "--json"])
    assert result.exit_code == 0
    (line,) = result.stdout.splitlines()
    found = msgspec.json.decode(line)
    assert (found["id"], found["backend"], found["complete"], found["newly_delivered"]) == (run.id, "jsonl", True, 12)
    assert (found["pending"], found["outcome"], found["problem"]) == (0, "completed", None)
    assert "12 events to deliver" in result.stderr
    again = CliRunner().invoke(app, ["sync", "--json"])
    assert (again.exit_code, again.stdout) == (0, "")
    assert "nothing to do" in CliRunner().invoke(app, ["sync"]).stdout


def test_a_wrong_setting_is_a_usage_error(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting in the environment that makes no sense ends with 2 and a message, not with a traceback."""
    monkeypatch.setenv("TRACELET_MODE", "wrong")
    result = status()
    assert result.exit_code == 2
    assert "TRACELET_MODE" in result.output


def test_a_run_is_found_by_id_name_and_path(train: Train) -> None:
    """A run's account is shown for its id, an unambiguous beginning or end of that, its name, and its directory."""
    run = train(mode="online")
    outputs = {status(given).output for given in (run.id, run.id[:20], run.id[-4:], "exp", run.path)}
    (output,) = outputs
    fields = dict(line.strip().split(maxsplit=1) for line in output.partition("\njsonl\n")[2].splitlines())
    assert fields["delivered"] == fields["emitted"] == "12"
    assert fields["pending"] == fields["dropped"] == fields["dead-lettered"] == fields["degraded"] == "0"
    assert (fields["state"], fields["outcome"]) == ("closed", "completed")


def test_an_ambiguous_or_unknown_run_is_a_usage_error(train: Train) -> None:
    """A beginning that several ids share, or none has, ends with 2 and says so."""
    runs = [train("one"), train("two")]
    result = status("0")
    assert result.exit_code == 2
    assert all(run.id in result.output for run in runs)
    assert status("nothing").exit_code == 2


def test_pending_events_come_with_the_command_that_delivers_them(train: Train) -> None:
    """A run with something pending ends with 1, and with what to do about it."""
    run = train()
    result = status(run.id)
    assert result.exit_code == 1
    assert f"tracelet sync {run.path}" in result.output


def test_json_has_the_whole_account(train: Train) -> None:
    """--json gives what `RunStatus` has, and which process delivers."""
    run = train()
    cursor = Cursor.acquire(run.cursor("jsonl"))
    assert cursor is not None
    found = msgspec.json.decode(status(run.id, "--json").output)
    cursor.release()
    account = msgspec.to_builtins(read_status(run))
    assert found["backends"]["jsonl"].pop("delivered_by") is not None
    assert found == account | {"directory": str(run.path), "started": run.read_record().created}
    (listed,) = msgspec.json.decode(status("--json").output)
    assert listed["id"] == run.id


def test_damaged_and_foreign_directories_are_shown_as_such(train: Train, tmp_path: Path) -> None:
    """What is no run, or one whose record can't be read, is listed with what is wrong with it."""
    run = train(mode="online")
    damaged = train()
    (damaged.path / "run.json").write_text("{")
    (run.path.parent / "foreign").mkdir()
    (run.path.parent / "a-file").touch()
    result = status()
    assert result.exit_code == 1
    problems = {line.split()[2]: line for line in result.output.splitlines()[1:]}
    assert "run.json is damaged" in problems[damaged.id]
    assert "not a run" in problems["foreign"]
    assert "not a run" in problems["a-file"]
    assert "closed" in problems[run.id]
    assert "run.json is damaged" in status(damaged.id).output
    assert status("--json").exit_code == 1


def test_a_run_that_rank_0_has_not_begun_is_said_in_words(train: Train) -> None:
    """Of a run without run.json it is said what that means, and that its backends are not known; the exit code is 1."""
    run = train()
    (run.path / "run.json").unlink()
    for arguments in ([run.id], [], [run.id, "--watch"]):
        result = status(*arguments)
        assert result.exit_code == 1
        assert f"{NO_RECORD}\n" in result.output
    assert "rank 0 has not begun the run" in NO_RECORD


def test_what_became_of_every_event_is_in_the_account(train: Train) -> None:
    """Dropped events are shown by reason, dead-lettered ones and the last error as they are counted."""
    run = train(mode="online")
    cursor = Cursor.acquire(run.cursor("jsonl"))
    assert cursor is not None
    count = cursor.log("0000/stream")
    count.delivered, count.dropped, count.dead_lettered = 7, {"unsupported": 3, "behind": 1}, 1
    cursor.record.last_error = "a point was refused"
    cursor.save()
    cursor.release()
    fields = [line.strip().split("  ", 1) for line in status(run.id).output.splitlines() if "  " in line.strip()]
    account = {name: value.strip() for name, value in fields}
    assert (account["dropped (unsupported)"], account["dropped (behind)"]) == ("3", "1")
    assert (account["delivered"], account["dead-lettered"]) == ("7", "1")
    assert account["last error"] == "a point was refused"
