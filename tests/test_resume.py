"""Going on with a run: what a later process adds to it, what it says of that, and what it takes up."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import tracelet
from tracelet import Run
from tracelet._segments import last_steps, resumption
from tracelet.codec import decode
from tracelet.errors import InvalidSetting
from tracelet.events import Event, ImageLogged, Lane, MetricsLogged, ParamsLogged, RunStarted, TextLogged
from tracelet.journal import LogReader, Position, Process, RunDirectory, WriterEnd, holder, read_cursor
from tracelet.journal.segment import HEADER_SIZE, segment_path
from tracelet.status import read_status

SAID = r"resumed \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ on \S+, process \d+ \(writer (\d{4})\); the writer before, (.*)"


@pytest.fixture
def become(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Have the runs that begin from now on say that they are logged by another process, which is dead."""
    own = Process.current()

    def become(number: int) -> None:
        process = Process(own.host, own.boot_id, 2**22 + number, number)
        monkeypatch.setattr(Process, "current", lambda: process)

    return become


def begin(tmp_path: Path, **settings: Any) -> Run:
    return tracelet.start_logging(directory=tmp_path, run_id="run", resume="allow", **settings)


def logged(tmp_path: Path, writer: str, lane: Lane = Lane.STREAM) -> list[Event]:
    with LogReader(RunDirectory(tmp_path / "runs" / "run").log(writer, lane)) as reader:
        frames = reader.read(10**6, 10**9, final=False)
    return list(map(decode, frames.words, frames.payloads))


def steps(tmp_path: Path, writer: str, name: str) -> list[int]:
    return [e.step for e in logged(tmp_path, writer) if isinstance(e, MetricsLogged) and name in e.values]


def notes(tmp_path: Path, writer: str) -> list[tuple[str, str, int | None]]:
    return [(e.name, e.text, e.step) for e in logged(tmp_path, writer) if isinstance(e, TextLogged)]


def test_counted_steps_go_on(tmp_path: Path) -> None:
    """Without a step a name goes on after the highest step of it and its context, however that was said."""
    with begin(tmp_path) as run:
        for _ in range(3):
            run.log_metric("counted", 1.0)
        run.log_metric("counted", 1.0, context={"subset": "val"})
        run.log_metrics({"stated": 1.0, "both": 1.0}, step=40)
        run.log_metric("stated", 1.0, 7)
        run.log_metric("huge", 2**70, 5)
        run.log_image("sample", np.zeros((2, 2), dtype=np.uint8))
        run.log_image("sample", np.zeros((2, 2), dtype=np.uint8), 8)
    with begin(tmp_path) as run:
        run.log_metric("counted", 1.0)
    with begin(tmp_path) as run:
        run.log_metric("counted", 1.0)
        run.log_metric("counted", 1.0)
        run.log_metric("counted", 1.0, context={"subset": "val"})
        run.log_metrics({"stated": 1.0, "new": 1.0})
        run.log_metric("huge", 1)
        run.log_metric("stated", 1.0, 2)
        run.log_image("sample", np.zeros((2, 2), dtype=np.uint8))
        run.log_image("other", np.zeros((2, 2), dtype=np.uint8))
    assert steps(tmp_path, "0001", "counted") == [3]
    assert steps(tmp_path, "0002", "counted") == [4, 5, 1]
    assert steps(tmp_path, "0002", "stated") == [41, 2]
    assert steps(tmp_path, "0002", "new") == [0]
    assert steps(tmp_path, "0002", "huge") == [6]
    images = [(e.name, e.step) for e in logged(tmp_path, "0002", Lane.BULK) if isinstance(e, ImageLogged)]
    assert images == [("sample", 9), ("other", 0)]


def test_counted_steps_go_on_beyond_damage(tmp_path: Path) -> None:
    """What is damaged in the journal does not count; what is before and behind it does."""
    with begin(tmp_path) as run:
        for step in range(300):
            run.log_metric("m", 1.0, step)
            run.log_metric(f"only {step}", 1.0, 10)
    log = RunDirectory(run.directory).log("0000", Lane.STREAM)
    with LogReader(log) as reader:
        reader.read(101, 1 << 20, final=False)  # RunStarted, and 50 of each
        start = reader.position.offset
        reader.read(1, 1 << 20, final=False)
        end = reader.position.offset
    with segment_path(log, 0).open("r+b") as file:
        file.seek(start)
        file.write(b"\xff" * (end - start))
    with begin(tmp_path) as run:
        for name in ("m", "only 49", "only 299"):
            run.log_metric(name, 1.0)
    assert start > HEADER_SIZE
    assert [steps(tmp_path, "0001", name) for name in ("m", "only 49", "only 299")] == [[300], [11], [11]]


def test_earlier_journals_are_read_only_where_steps_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that begins, and one that goes on and states its steps, read nothing; else they are read once."""
    read: list[Path] = []
    original = LogReader.__init__

    def note(self: LogReader, directory: Path, position: Position = Position()) -> None:
        read.append(directory)
        original(self, directory, position)

    with begin(tmp_path) as run:
        with monkeypatch.context() as patched:
            patched.setattr(LogReader, "__init__", note)
            run.log_metric("m", 1.0)
        assert read == []
    with begin(tmp_path) as run:
        with monkeypatch.context() as patched:
            patched.setattr(LogReader, "__init__", note)
            run.log_metric("m", 1.0, 5)
            assert read == []
            for name in ("a", "b", "c"):
                run.log_metric(name, 1.0)
        assert read == [RunDirectory(run.directory).log("0000", Lane.STREAM)]


def test_steps_that_cant_be_read_begin_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A disk that refuses to read the earlier steps is said, and ends no training."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    begin(tmp_path).log_metric("m", 1.0)
    with begin(tmp_path) as run:
        with monkeypatch.context() as patched:
            patched.setattr(LogReader, "read", refuse)
            run.log_metric("m", 1.0)
        run.log_metric("m", 1.0)
    assert steps(tmp_path, "0001", "m") == [0, 1]
    assert "the steps logged before can't be read ([Errno 5] Input/output error)" in capsys.readouterr().err


def test_a_resumed_run_says_so(tmp_path: Path, become: Callable[[int], None]) -> None:
    """Each resumption is a text in the run, with its number as the step; the run's first start is none, nor is the
    next stage of one process."""
    for number, process in enumerate((1, 1, 2, 2, 3)):
        become(process)
        run = begin(tmp_path)
        run.log_text("mine", str(number))
        run.finish()
    assert [notes(tmp_path, f"000{number}")[-1] for number in range(5)] == [
        ("mine", str(number), None) for number in range(5)
    ]
    assert [len(notes(tmp_path, f"000{number}")) for number in range(5)] == [1, 1, 2, 1, 2]
    for number, writer, before in ((1, "0002", "0001"), (2, "0004", "0003")):
        name, text, step = notes(tmp_path, writer)[0]
        assert (name, step) == ("tracelet/segments", number)
        found = re.fullmatch(SAID, text)
        assert found
        assert found.groups() == (writer, f"{before}, had finished")


def test_a_further_rank_is_no_resumption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, become: Callable[[int], None]
) -> None:
    """Ranks that log to the run from its beginning say nothing of it, and do not count as resumptions later."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    become(1)
    with begin(tmp_path, all_ranks=True, close_timeout=0) as run:
        run.log_metric("m", 1.0)
    monkeypatch.setenv("RANK", "0")
    for process in (2, 3):
        become(process)
        with begin(tmp_path, all_ranks=True) as run:
            run.log_metric("m", 1.0, 500)
    monkeypatch.setenv("RANK", "1")
    become(4)
    with begin(tmp_path, all_ranks=True) as run:
        run.log_metric("m", 1.0)
        run.log_metrics({"m": 1.0})
    assert notes(tmp_path, "0000") == notes(tmp_path, "0001") == notes(tmp_path, "0003") == []
    ((_, text, step),) = notes(tmp_path, "0002")
    assert (text.partition("; ")[2], step) == ("the writer before, 0001, had finished", 1)
    assert steps(tmp_path, "0003", "m") == [1, 2]


def test_a_rank_counts_as_one_process_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the verb, a name and context have one count in a rank, which goes on when the run does."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    picture, val = np.zeros((2, 2), dtype=np.uint8), {"subset": "val"}
    for _ in range(2):
        with begin(tmp_path, all_ranks=True, close_timeout=0) as run:
            for _ in range(2):
                run.log_metric("m", 1.0)
                run.log_metrics({"m": 1.0})
                run.log_metric("of val", 1.0, context=val)
                run.log_metrics({"of val": 1.0}, context={"rank": 7, **val})
                run.log_image("sample", picture)
    for writer, first in (("0000", 0), ("0001", 4)):
        counted = list(range(first, first + 4))
        assert steps(tmp_path, writer, "m") == steps(tmp_path, writer, "of val") == counted
        images = [event.step for event in logged(tmp_path, writer, Lane.BULK) if isinstance(event, ImageLogged)]
        assert images == [first // 2, first // 2 + 1]


def test_a_run_keeps_its_name_and_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it is asked to be called when it goes on is not used, and that is said where it differs."""
    begin(tmp_path, exp_name="train", project="a").finish()
    begin(tmp_path, exp_name="train", project="a").finish()
    begin(tmp_path).finish()
    assert "is not used" not in capsys.readouterr().err
    with begin(tmp_path, exp_name="evaluate", project="b") as run:
        assert (run.name, run.project) == ("train", "a")
    errors = capsys.readouterr().err
    assert errors.count("the run goes on as 'train': exp_name 'evaluate' is not used") == 1
    assert errors.count("the run stays in the project 'a': project 'b' is not used") == 1
    monkeypatch.setenv("RANK", "1")
    with begin(tmp_path, exp_name="evaluate", all_ranks=True) as run:
        assert run.name == "train"
    assert "is not used" not in capsys.readouterr().err  # rank 0 has said it
    record = RunDirectory(run.directory).read_record()
    assert (record.name, record.project) == ("train", "a")


@pytest.mark.parametrize("run_id", ["", " ", "a ", "a\nb", "\x7f"])
def test_ids_that_nobody_could_type_are_refused(tmp_path: Path, run_id: str) -> None:
    """An id is the name of a directory, and stands in commands."""
    with pytest.raises(InvalidSetting, match="run_id must be printable text, not empty, and without spaces at its"):
        tracelet.start_logging(directory=tmp_path, run_id=run_id)


def test_an_id_is_no_option(tmp_path: Path) -> None:
    """`tracelet sync` and the others would take it for one."""
    with pytest.raises(InvalidSetting, match="run_id must be something that does not begin as an option"):
        tracelet.start_logging(directory=tmp_path, run_id="-f")


def test_the_command_can_be_pasted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever the id, a shell takes the path in what is said as one word."""
    tracelet.start_logging("jsonl", directory=tmp_path, run_id="it's (mine)", mode="offline").finish()
    command = capsys.readouterr().err.rpartition("; deliver with: ")[2]
    assert shlex.split(command) == ["tracelet", "sync", str(tmp_path / "runs" / "it's (mine)")]


def test_writers_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """Also from the 10,000th on, whose number is longer."""
    for step in range(3):
        with begin(tmp_path) as run:
            run.log_metric("m", 1.0, step)
    directory = RunDirectory(run.directory)
    for name, new in (("0001", "9999"), ("0002", "10000")):
        (run.directory / "journal" / name).rename(run.directory / "journal" / new)
    assert directory.writers() == ["0000", "9999", "10000"]
    assert last_steps(directory, "10000", Lane.STREAM) == {("m", ()): 1}
    ends = {name: WriterEnd(name, 1.0, 1.0) for name in directory.writers()}
    end = directory.run_end(ends)
    assert end is not None
    assert end.outcome == "10000"


def test_a_change_of_process_is_seen_after_ten_thousand(tmp_path: Path, become: Callable[[int], None]) -> None:
    """The writer before is the one of the number before."""
    for process in (1, 1, 2):
        become(process)
        begin(tmp_path).finish()
    directory = RunDirectory(tmp_path / "runs" / "run")
    for name, new in (("0001", "9999"), ("0002", "10000")):
        (directory.path / "journal" / name).rename(directory.path / "journal" / new)
    found = resumption(directory, "10000")
    assert found is not None
    assert found[1].endswith("the writer before, 9999, had finished")


@pytest.mark.anyio
async def test_two_processes_may_log_to_a_run_at_once(tmp_path: Path, become: Callable[[int], None]) -> None:
    """Each is a writer of its own; the later one says that the other goes on."""
    arguments = {"directory": tmp_path, "run_id": "run", "resume": "allow"}
    async with tracelet.open_run(**arguments) as first:  # type: ignore[arg-type]
        become(1)
        async with tracelet.open_run(**arguments) as second:  # type: ignore[arg-type]
            first.log_metric("m", 1.0, 1)
            second.log_metric("m", 2.0, 1)
    assert steps(tmp_path, "0000", "m") == steps(tmp_path, "0001", "m") == [1]
    ((_, text, _),) = notes(tmp_path, "0001")
    assert text.endswith("the writer before, 0000, is still logging")


FIRST = """
import os, time, tracelet
run = tracelet.start_logging(TARGET, exp_name='e', run_id='run', config={'lr': 0.1, 'layers': 3})
run.log_metric('counted', 1.0)
while not run.status().backends['jsonl'].delivered > 1: time.sleep(0.01)
for step in range(20_000): run.log_metric('m', 1.0, step)
os.kill(os.getpid(), 9)
"""


def test_a_run_goes_on_while_its_first_part_is_being_delivered(tmp_path: Path, eventually: Callable[..., None]) -> None:
    """A requeued job's process may begin before delivery has caught up with the killed one: everything arrives once."""
    target = {"jsonl": {"path": str(tmp_path / "events.jsonl"), "delivery": {"batch_size": 20, "linger": 0.01}}}
    (tmp_path / "train.py").write_text(f"TARGET = {target!r}" + FIRST)
    environment = os.environ | {"TRACELET_DIR": str(tmp_path)}
    killed = subprocess.run([sys.executable, "train.py"], cwd=tmp_path, env=environment, timeout=60, check=False)
    assert killed.returncode == -9
    place = RunDirectory(tmp_path / "runs" / "run")
    assert read_status(place).pending
    run = begin(tmp_path, backend=target, config={"lr": 0.2})
    try:
        for step in range(19_900, 20_100):
            run.log_metric("m", 2.0, step)
        run.log_metric("counted", 1.0)
        eventually(lambda: run.flush(timeout=1))
        run.finish("failed", timeout=60)
        eventually(lambda: read_cursor(place.cursor("jsonl")).closed == "failed")
    finally:
        run.finish(timeout=0)
        pid = holder(place.cursor("jsonl"))
        if pid:
            os.kill(pid, 9)
    lines = [msgspec.json.decode(line) for line in (tmp_path / "events.jsonl").read_bytes().splitlines()]
    points = [(line["values"], line["step"]) for line in lines if line["kind"] == "MetricsLogged"]
    expected = [({"m": 1.0}, step) for step in range(20_000)] + [({"counted": 1.0}, 0)]
    expected += [({"m": 2.0}, step) for step in range(19_900, 20_100)] + [({"counted": 1.0}, 1)]
    assert sorted(points, key=repr) == sorted(expected, key=repr)
    assert sum(line["kind"] == "opened" for line in lines) == 1
    assert [line["outcome"] for line in lines if line["kind"] == "closed"][-1] == "failed"
    (text,) = [line["text"] for line in lines if line["kind"] == "TextLogged"]
    assert text.endswith("the writer before, 0000, was killed")
    assert [event.values for event in logged(tmp_path, "0001") if isinstance(event, ParamsLogged)] == [{"lr": 0.2}]
    assert [event.resumed for event in logged(tmp_path, "0001") if isinstance(event, RunStarted)] == [True]
    account = read_status(place).backends["jsonl"]
    assert (account.pending, account.delivered) == (0, account.emitted)


def test_a_run_that_goes_on_without_a_backend_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The backend that is not named any more gets nothing until a sync, and that is said when the run begins."""
    backend = {"jsonl": {"path": str(tmp_path / "events.jsonl")}}
    begin(tmp_path, backend=backend, host="thread").finish()
    begin(tmp_path, backend=backend, host="thread").finish()
    begin(tmp_path, mode="offline").finish()
    assert "had the run before" not in capsys.readouterr().err
    begin(tmp_path).finish()
    assert "jsonl had the run before, and now gets what is said only with `tracelet sync`" in capsys.readouterr().err
