"""`tracelet gc`: removes what is delivered, finished and old, and nothing that somebody needs."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from typer.testing import CliRunner

import tracelet
from tracelet import Delivery, _retention
from tracelet._bus import Bus
from tracelet._discovery import from_object
from tracelet._leftovers import HIDDEN, leftovers
from tracelet._retention import Judged, Rules, StillNeeded, judge_all, remove
from tracelet.cli._app import app
from tracelet.cli._output import bytes_of
from tracelet.codec import encode
from tracelet.errors import Rejected
from tracelet.events import Kind, Lane, MetricsLogged, RunFinished, TextLogged
from tracelet.journal import Cursor, LogReader, Recorder, RunDirectory, RunRecord
from tracelet.journal.room import size_on_disk
from tracelet.journal.segment import SPARE, pack_record
from tracelet.journal.tail import cut
from tracelet.testing import RecordingBackend

NAME = "RecordingBackend"
DAY = 86_400.0
cli = CliRunner()


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    place = tmp_path / "store" / "runs"
    place.mkdir(parents=True)
    return place


def make(
    runs: Path,
    name: str,
    *,
    age: float = 0.0,
    backend: str | None = NAME,
    parent: str | None = None,
    finish: bool = True,
    deliver: bool = True,
    refuse: bool = False,
) -> Path:
    """A run, as old as that."""
    directory = RunDirectory(runs / name)
    directory.path.mkdir()
    options: dict[str, dict[str, Any]] = {} if backend is None else {backend: {}}
    record = RunRecord(id=name, name=f"run {name}", project="p", created=0.0, backends=options, version="0")
    record.parent = parent
    directory.write_record(record)
    recorder = Recorder(directory, bool)
    for step in range(10):
        recorder.append(Kind.METRICS_LOGGED, encode(MetricsLogged(1.0, {"m": 1.0}, step)))
    (directory.path / recorder.write_in(b"x" * 50_000, "bin")).touch()
    if finish:
        recorder.finish(Kind.RUN_FINISHED, encode(RunFinished(2.0, "completed")))
    if deliver and backend is not None:
        deliver_to(directory, refuse=refuse)
    grow_old(directory.path, age)
    return directory.path


def deliver_to(directory: RunDirectory, *, refuse: bool = False) -> None:
    async def export(batch: tracelet.Batch) -> None:
        if refuse:
            raise Rejected("no")

    backend = RecordingBackend(delivery=Delivery(linger=0.01), on_export=export)
    anyio.run(Bus(directory, [from_object(backend)], follow=not directory.live).run)


def grow_old(place: Path, age: float) -> None:
    moment = time.time() - age
    for path in [place, *place.rglob("*")]:
        os.utime(path, (moment, moment))


def gc(runs: Path, *arguments: str, code: int = 0) -> str:
    """What the command says."""
    result = cli.invoke(app, ["gc", "--directory", str(runs.parent), *arguments])
    assert result.exit_code == code, result.output
    return result.output


def kept(runs: Path, *arguments: str) -> dict[str, str]:
    """Why each run is kept."""
    result = cli.invoke(app, ["gc", "--directory", str(runs.parent), "--json", *arguments])
    reasons = {one["id"]: one["reason"] for one in json.loads(result.output)["kept"]}
    assert result.exit_code == ("damaged" in reasons.values())
    return reasons


def test_what_is_done_and_old_is_removed_when_asked(runs: Path) -> None:
    """Without --yes runs are listed and stay; with it the delivered, finished and old one goes with its files."""
    old, young = make(runs, "old", age=31 * DAY), make(runs, "young", age=29 * DAY)
    said = gc(runs)
    assert "1 run can go" in said
    assert "it is younger than 30d" in said
    assert "--yes" in said
    assert old.exists()
    assert "freed" in gc(runs, "--yes")
    assert not old.exists()
    assert young.exists()
    assert os.listdir(runs) == ["young"]
    assert "nothing to remove" in gc(runs, "--yes")


@pytest.mark.parametrize(("given", "goes"), [("12h", True), ("7d", False), ("0", True), ("90m", True)])
def test_ages(runs: Path, given: str, goes: bool) -> None:
    """An age is a number with a unit, or 0."""
    make(runs, "run", age=DAY)
    assert (kept(runs, "--older-than", given) == {}) is goes


def test_what_somebody_needs_is_kept(runs: Path) -> None:
    """Kept are runs that are live, pending, not closed, refused in part, without a backend, or damaged."""
    make(runs, "live", age=99 * DAY, finish=False)
    make(runs, "pending", age=99 * DAY, deliver=False)
    make(runs, "refused", age=99 * DAY, refuse=True)
    make(runs, "alone", age=99 * DAY, backend=None)
    damaged = make(runs, "damaged", age=99 * DAY)
    (damaged / "run.json").write_text("{")
    (runs / "foreign").mkdir()
    (runs / "file").touch()
    reasons = {
        "live": "live",
        "pending": "pending",
        "refused": "dead letters",
        "alone": "without a backend",
        "damaged": "damaged",
    }
    assert kept(runs, "--older-than", "0") == reasons
    del reasons["refused"]
    assert kept(runs, "--older-than", "0", "--dead-letters") == reasons
    gc(runs, "--older-than", "0", "--dead-letters", "--yes", code=1)
    assert sorted(os.listdir(runs)) == sorted([*reasons, "file", "foreign"])


@pytest.mark.parametrize(
    ("url", "stays"),
    [
        ("{run}/own", True),
        ("{run}/own/file", True),
        ("/as/a/container/sees/it/run/own", True),
        ("{run}/links", False),
        ("{run}/nothing", False),
        ("{run}", False),
        ("{run}-2/own", False),
    ],
)
def test_what_a_backend_has_only_here_is_kept(runs: Path, url: str, stays: bool) -> None:
    """A run stays while the files that a backend made of it, as its URL says, lie in the run's own directory."""
    place = make(runs, "run")
    for folder in (place / "own", runs / "run-2" / "own"):
        folder.mkdir(parents=True)
        (folder / "file").write_text("x")
    (place / "links").mkdir()
    (place / "links" / "latest").symlink_to(place / "nothing")
    cursor = Cursor.acquire(RunDirectory(place).cursor(NAME))
    assert cursor is not None
    with cursor:
        cursor.record.url = Path(url.format(run=place)).as_uri()
        cursor.save()
    assert kept(runs, "--older-than", "0") == ({"run": "only here"} if stays else {})
    said = gc(runs, "--older-than", "0", "--dead-letters", "--yes")
    assert place.exists() is stays
    assert (f"{NAME}: its own files are only here, in own" in said) is stays
    gc(runs, "run", "--undelivered", "--yes", code=0 if stays else 2)
    assert not place.exists()


@pytest.mark.parametrize("taken", [True, False], ids=["one backend takes them", "no backend takes them"])
def test_what_no_backend_takes_is_kept(runs: Path, taken: bool) -> None:
    """Where all backends have left something out, it is only here; --dead-letters removes it all the same."""
    directory = RunDirectory(make(runs, "a", deliver=False))
    first = RecordingBackend(delivery=Delivery(linger=0.01), handles=None if taken else frozenset({TextLogged}))
    second = RecordingBackend(delivery=Delivery(linger=0.01), handles=frozenset({TextLogged}))
    for number, backend in enumerate((first, second)):
        anyio.run(Bus(directory, [from_object(backend, f"backend {number}")]).run)
    record = directory.read_record()
    record.backends = {"backend 0": {}, "backend 1": {}}
    directory.write_record(record)
    grow_old(directory.path, 40 * DAY)
    assert kept(runs) == ({} if taken else {"a": "left out"})
    gc(runs, "--dead-letters", "--yes")
    assert not directory.path.exists()


def test_what_is_lost_by_it_must_be_named(runs: Path) -> None:
    """What is not delivered goes only by --undelivered with the run's name, and nothing else goes with it."""
    make(runs, "pending", deliver=False)
    make(runs, "alone", backend=None)
    gc(runs, "--undelivered", "--yes", code=2)
    assert kept(runs, "alone") == {"alone": "without a backend", "pending": "not chosen"}
    gc(runs, "alone", "--undelivered", "--older-than", "1h", "--yes")
    assert len(os.listdir(runs)) == 2
    gc(runs, "alone", "--undelivered", "--yes")
    assert os.listdir(runs) == ["pending"]
    gc(runs, "pend", "--undelivered", "--yes")
    assert os.listdir(runs) == []


def test_parents_stay_with_their_children(runs: Path) -> None:
    """A parent stays as long as a child does, and goes with it."""
    make(runs, "1-parent", age=50 * DAY)
    make(runs, "2-child", age=40 * DAY, parent="1-parent")
    make(runs, "3-grandchild", age=10 * DAY, parent="2-child")
    assert kept(runs) == {"1-parent": "children", "2-child": "children", "3-grandchild": "younger"}
    assert kept(runs, "--older-than", "5d") == {}
    gc(runs, "--older-than", "5d", "--yes")
    assert os.listdir(runs) == []


def test_the_oldest_go_until_the_rest_is_small_enough(runs: Path) -> None:
    """--keep-size removes the oldest, whatever their age, and only as many as needed; never what is needed."""
    for number in range(5):
        make(runs, f"run{number}", age=(5 - number) * DAY, deliver=number != 0)
    sizes = [one.size for one in judge_all(runs, Rules(0.0, keep_size=0))]
    keep = sum(sizes) - sizes[1] - sizes[2] // 2
    assert kept(runs, "--keep-size", str(keep)) == {"run0": "pending", "run3": "enough room", "run4": "enough room"}
    gc(runs, "--keep-size", str(keep), "--yes")
    assert sorted(os.listdir(runs)) == ["run0", "run3", "run4"]
    assert set(kept(runs, "--keep-size", "50GB").values()) == {"pending", "enough room"}
    assert kept(runs, "--keep-size", "0", "--older-than", "36h") == {"run0": "pending", "run4": "younger"}


def test_an_interrupted_removal_is_brought_to_its_end(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A removal that is killed leaves no run behind, only something hidden, which goes the next time."""
    make(runs, "run", age=99 * DAY)

    def interrupt(_: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", interrupt)
        result = cli.invoke(app, ["gc", "--directory", str(runs.parent), "--yes"])
    assert result.exit_code != 0
    assert os.listdir(runs) == [f"{HIDDEN}run"]
    assert "left by a crash" in gc(runs)
    make(runs, "run", age=99 * DAY)  # another one of the same id
    gc(runs, "--yes")
    assert os.listdir(runs) == []


def test_who_delivers_keeps_the_run(runs: Path) -> None:
    """While another process has a run's cursor, the run is neither listed for removal nor removed."""
    place = make(runs, "run", age=99 * DAY)
    (one,) = judge_all(runs, Rules(0.0))
    assert one.kept is None
    code = (
        "import sys; from pathlib import Path; from tracelet.journal import Cursor; "
        "cursor = Cursor.acquire(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    arguments = [sys.executable, "-c", code, str(RunDirectory(place).cursor(NAME))]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(StillNeeded, match="another process delivers"):
            remove(one, Rules(0.0))
        assert kept(runs, "--older-than", "0") == {"run": "live"}
        process.communicate()
    assert place.exists()
    remove(one, Rules(0.0))
    assert not place.exists()


def test_a_run_that_goes_on_meanwhile_is_kept(runs: Path) -> None:
    """A writer that comes between the decision and the removal is seen, and the run stays with what it says."""
    place = make(runs, "run", age=99 * DAY)
    (one,) = judge_all(runs, Rules(0.0))
    recorder = Recorder(RunDirectory(place), bool)
    with pytest.raises(StillNeeded, match="a process logs to it"):
        remove(one, Rules(0.0))
    recorder.finish(Kind.RUN_FINISHED, encode(RunFinished(2.0, "completed")))
    with pytest.raises(StillNeeded, match="1 pending"):
        remove(one, Rules(0.0))
    assert place.exists()


def test_a_run_that_a_writer_comes_to_is_kept(runs: Path) -> None:
    """While a writer is being added to a run, it is not removed."""
    place = make(runs, "run", age=99 * DAY)
    (one,) = judge_all(runs, Rules(0.0))
    with RunDirectory(place).claimed() as there:
        assert there
        with pytest.raises(StillNeeded, match="a process begins to log to it"):
            remove(one, Rules(0.0))
    assert place.exists()


def test_a_writer_and_a_removal_at_once(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that comes while a run is being removed waits for that, and then has a place of its own."""
    waits = threading.Event()
    real = fcntl.flock

    def flock(fd: int, operation: int) -> None:
        if operation == fcntl.LOCK_EX:
            waits.set()
        real(fd, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    place = make(runs, "run", age=99 * DAY)
    directory = RunDirectory(place)
    began: list[str] = []
    with directory.claimed() as there:
        assert there
        thread = threading.Thread(target=lambda: began.append(directory.add_writer()))
        thread.start()
        with directory.claimed() as again:
            assert not again
        assert waits.wait(10)
        place.rename(runs / f"{HIDDEN}run")
    thread.join(10)
    assert began == ["0000"]
    assert directory.writers() == ["0000"]
    assert "0000" in os.listdir(runs / f"{HIDDEN}run" / "journal")


def test_what_crashes_left_goes_too(runs: Path) -> None:
    """Half-written files of long ago, and the spares of dead writers, are removed; those of live ones are not."""
    place = make(runs, "run", age=99 * DAY)
    stale, fresh = place / ".run.json.1.abcd", place / ".run.json.2.abcd"
    stale.write_text("x")
    fresh.write_text("x")
    os.utime(stale, (0, 0))
    grown = make(runs, "live", finish=False, deliver=False)
    live = Recorder(RunDirectory(grown), bool)
    live.tend(sync=False)
    code = (
        "import os, sys; from pathlib import Path; from tracelet.journal import *; "
        "r = Recorder(RunDirectory(Path(sys.argv[1])), bool); r.append(3, b'x'); r.tend(sync=False); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(place)], check=False)
    used, spare = (place / "journal" / "0001" / Lane.STREAM.value / f"00000{number}.seg" for number in (0, 1))
    assert spare.exists()
    assert {Path(path) for path in json.loads(gc(runs, "--json"))["leftovers"]} == {stale, spare, used}
    gc(runs, "--yes")
    assert not stale.exists()
    assert not spare.exists()
    assert used.stat().st_size == 4096
    assert fresh.exists()
    assert len(list((grown / "journal" / "0001" / "stream").iterdir())) == 2


@pytest.mark.parametrize("changes", [{"host": "elsewhere"}, {"boot_id": "another"}, {"namespace": 1}], ids=repr)
def test_the_spare_of_who_can_not_be_seen_stays_for_days(runs: Path, changes: dict[str, Any]) -> None:
    """A writer on another host or in another container may be silent for long, and go on: its spare is its own."""
    directory = RunDirectory(make(runs, "run", finish=False))
    recorder = Recorder(directory, bool)
    recorder.tend(sync=False)
    writer = directory.path / "journal" / recorder.writer / "writer.json"
    record = directory.writer_record(recorder.writer)
    assert record is not None
    process = msgspec.structs.replace(record.process, **changes)
    writer.write_bytes(msgspec.json.encode(msgspec.structs.replace(record, process=process)))
    grow_old(writer, 2 * DAY)
    assert leftovers(runs) == []
    grow_old(writer, 4 * DAY)
    assert [one.path.name for one in leftovers(runs)] == ["000000.seg", "000001.seg"]


IN_A_CONTAINER = """
import sys
from pathlib import Path
from tracelet.journal import Recorder, RunDirectory
recorder = Recorder(RunDirectory(Path(sys.argv[1])), bool)
recorder.append(3, b"0")
recorder.tend(sync=False)
print("there", flush=True)
sys.stdin.read()
for number in range(1, 40_000):
    recorder.append(3, b"%d" % number)
recorder.finish(2, b"end")
"""


def in_a_container(*command: str) -> list[str]:
    """What runs a command with process numbers of its own."""
    return ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc", *command]


def test_a_writer_in_a_container_loses_nothing(runs: Path) -> None:
    """A process whose number means nothing here counts as alive, and what gc finds of it stays."""
    if shutil.which("unshare") is None or subprocess.run(in_a_container("true"), capture_output=True).returncode:
        pytest.skip("processes can't have numbers of their own here")
    place = make(runs, "run")
    command = in_a_container(sys.executable, "-c", IN_A_CONTAINER, str(place))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        assert RunDirectory(place).live
        assert "nothing to remove" in gc(runs, "--older-than", "0", "--yes")
        process.communicate(timeout=60)
    with LogReader(RunDirectory(place).log("0001", Lane.STREAM)) as reader:
        found = reader.read(100_000, 1 << 26, final=True)
    assert len(found.sequences) == 40_001
    assert not RunDirectory(place).live


def test_who_comes_too_late_makes_no_new_run(runs: Path) -> None:
    """A cursor of a run that was removed can't be had, and nothing of the run comes back."""
    place = make(runs, "run", age=99 * DAY)
    gc(runs, "--yes")
    with pytest.raises(FileNotFoundError):
        Cursor.acquire(RunDirectory(place).cursor(NAME))
    assert os.listdir(runs) == []


def test_what_can_not_be_removed_is_said(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that can't be removed is said, the others go, and the exit code tells."""
    make(runs, "first", age=99 * DAY)
    make(runs, "second", age=98 * DAY)
    real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        if self.name == "first":
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    said = gc(runs, "--yes", code=1)
    assert "first: [Errno 13] Permission denied" in said.replace("\n", "")
    assert os.listdir(runs) == ["first"]


@pytest.mark.parametrize("arguments", [["--older-than", "soon"], ["--keep-size", "much"], ["nosuchrun"]])
def test_wrong_options(runs: Path, arguments: list[str]) -> None:
    """What can't be understood is an error with what is expected."""
    gc(runs, *arguments, code=2)


def test_a_run_is_named_by_its_name_or_the_end_of_its_id(runs: Path) -> None:
    """What removes runs takes no more than the one that is meant: a name that several have removes none."""
    one, two = make(runs, "01a2-aaaa"), make(runs, "01a2-bbbb")
    record = RunDirectory(two).read_record()
    gc(runs, "01a2", "--yes", code=2)
    record.name = RunDirectory(one).read_record().name
    RunDirectory(two).write_record(record)
    assert "2 runs are called 'run 01a2-aaaa'" in gc(runs, record.name, "--yes", code=2)
    gc(runs, "bbbb", "--yes")
    assert os.listdir(runs) == [one.name]
    gc(runs, record.name, "--yes")
    assert f"there are no runs in {runs.parent}\n" == gc(runs, "--yes")


def test_many_runs_are_summed_up(runs: Path) -> None:
    """Of many runs that are kept, the reasons are counted."""
    template = make(runs, "run", deliver=False, age=3 * DAY)
    for number in range(30):
        shutil.copytree(template, runs / f"copy{number}", copy_function=shutil.copy2)
    said = gc(runs, "--older-than", "0")
    assert "31 runs are kept" in said
    assert "31  not delivered everywhere" in said
    assert "tracelet sync" in said
    assert leftovers(runs) == []


def test_locks_that_a_file_system_has_not(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where folders can't be locked, writers begin all the same."""

    def flock(fd: int, operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", flock)
    directory = RunDirectory(runs / "run")
    assert directory.add_writer() == "0000"
    with pytest.raises(OSError, match="not supported"):
        Cursor.acquire(directory.cursor(NAME))


def test_thousands_of_runs_are_judged_at_once(runs: Path) -> None:
    """What it takes to choose among runs grows with their number, and not with its square."""
    record = RunRecord(id="", name="n", project="p", created=0.0, backends={}, version="0")
    compared = 0

    class Counted(Judged):
        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return self is other

    judged: list[Judged] = [
        Counted(directory=RunDirectory(runs / f"{number}"), record=record, age=1.0) for number in range(1_000)
    ]
    _retention._choose(judged, Rules(0.0))
    assert all(one.kept is None for one in judged)
    assert compared == 0


def test_each_run_is_said_as_it_is_removed(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --yes a line tells of each run once it is gone, and the table has only those that are kept."""
    make(runs, "first", age=40 * DAY)
    make(runs, "second", age=39 * DAY)
    make(runs, "third")
    said: list[str] = []

    def seen(one: Judged, rules: Rules) -> int:
        said.append(" ".join(str(part) for part in shown))
        return remove(one, rules)

    shown: list[Any] = []
    monkeypatch.setattr("tracelet.cli.gc.remove", seen)
    monkeypatch.setattr("tracelet.cli.gc.show", lambda *parts: shown.append(parts))
    gc(runs, "--yes")
    assert "first" not in said[0]
    assert "removed" in said[1]
    assert "first" in said[1]
    assert "second" not in said[1]
    monkeypatch.undo()
    assert "removed" not in gc(runs, "--yes")


def test_two_at_once_are_no_problem(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that another gc has removed meanwhile, or is about to, is no problem; one that stays is."""
    gone, going, stays = (make(runs, name, age=99 * DAY) for name in ("gone", "going", "stays"))

    def beside(one: Judged, rules: Rules) -> int:
        if one.directory.path == gone:
            shutil.rmtree(gone)
            return remove(one, rules)
        with one.directory.claimed():
            try:
                return remove(one, rules)
            finally:
                if one.directory.path == going:
                    shutil.rmtree(going)

    monkeypatch.setattr("tracelet.cli.gc.remove", beside)
    said = gc(runs, "--yes", code=1)
    assert "the run stays is kept: a process begins to log to it" in said
    assert "the run going is kept" not in said
    assert "No such file" not in said
    shutil.rmtree(stays)
    make(runs, "gone", age=99 * DAY)
    make(runs, "going", age=99 * DAY)
    assert "0 B freed" in gc(runs, "--yes")


def killed(runs: Path, name: str, events: list[bytes]) -> tuple[Path, Path]:
    """A run of one process that died after it had said so much; and the segment of its stream."""
    place = make(runs, name, backend=None, finish=False)
    code = (
        "import os, sys; from pathlib import Path; from tracelet.journal import *; "
        "r = Recorder(RunDirectory(Path(sys.argv[1])), bool); "
        "[r.append(3, bytes.fromhex(data)) for data in sys.argv[2:]]; os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(place), *(data.hex() for data in events)], check=False)
    return place, place / "journal" / "0001" / Lane.STREAM.value / "000000.seg"


def read(place: Path) -> list[bytes]:
    with LogReader(RunDirectory(place).log("0001", Lane.STREAM)) as reader:
        return reader.read(100_000, 1 << 26, final=True).payloads


@pytest.mark.parametrize("last", [b"x", bytes(3), bytes(4096), bytes(50_000), b"x" * 3985, b"x" * 4000])
def test_what_a_killed_writer_had_reserved_is_given_back(runs: Path, last: bytes) -> None:
    """Of a run that stays, the unused pages behind the last event go, and not one event with them."""
    place, segment = killed(runs, "run", [b"first", last])
    before = segment.stat()
    assert read(place) == [b"first", last]
    (found,) = leftovers(runs)
    assert (found.path, found.reserved) == (segment, True)
    assert f"left by a crash, unused at the end of: {segment}" in gc(runs)
    said = gc(runs, "--yes")
    assert "freed" in said
    size = segment.stat().st_size
    assert size % 4096 == 0
    assert 64 + 20 + len(b"first") + 20 + len(last) <= size <= 64 + 20 + 8 + 20 + len(last) + 8 + 4096
    assert before.st_size - size == found.size
    assert segment.stat().st_blocks < before.st_blocks
    assert read(place) == [b"first", last]
    assert RunDirectory(place).tallies({})["0001/stream"].recorded == 2
    assert leftovers(runs) == []


def test_where_it_is_not_sure_that_space_is_unused_it_stays(runs: Path) -> None:
    """Behind a frame that is not whole, before what is no zero, and of a segment without a header, all stays."""
    place, segment = killed(runs, "run", [b"first", b"second"])
    whole = segment.read_bytes()
    second = whole.index(b"second")
    for offset in (second, 40, 0, len(whole) - 1, len(whole) - 10_000):
        data = bytearray(whole)
        data[offset] ^= 1
        segment.write_bytes(data)
        assert leftovers(runs) == [], offset
        assert cut(segment) == 0
        assert segment.read_bytes() == data
    segment.write_bytes(whole)
    spare = segment.with_name("000001.seg")
    spare.write_bytes(whole[:16] + pack_record(SPARE, 0) + whole[48:])
    assert spare not in [one.path for one in leftovers(runs)]
    live = Recorder(RunDirectory(place), bool)
    live.append(3, b"x")
    assert [one.path for one in leftovers(runs)] == [segment]


def test_what_goes_with_a_run_is_not_counted_again(runs: Path) -> None:
    """What a crash left in a run that goes is part of it, and sizes are those of before the removal."""
    place = make(runs, "run", age=99 * DAY)
    (place / ".run.json.1.abcd").write_bytes(b"x" * 10_000)
    grow_old(place, 99 * DAY)
    size = size_on_disk(place)
    said = gc(runs)
    assert "left by a crash" not in said
    assert f"1 run can go, which frees {bytes_of(size)}." in said
    other = make(runs, "young")
    (other / ".run.json.1.abcd").write_bytes(b"x" * 10_000)
    os.utime(other / ".run.json.1.abcd", (0, 0))
    said = gc(runs, "--yes")
    assert f".run.json.1.abcd  {bytes_of(12_288)}" in said
    assert "0 B" not in said
    assert f"{bytes_of(size + 12_288)} freed" in said


def test_of_many_leftovers_the_rest_is_summed_up(runs: Path) -> None:
    """Twenty are named."""
    place = make(runs, "run")
    for number in range(25):
        (place / f".run.json.{number}.abcd").write_bytes(b"x" * 4096)
        os.utime(place / f".run.json.{number}.abcd", (0, 0))
    said = gc(runs)
    assert said.count("left by a crash") == 20
    assert "and 5 more of these, 20.5 kB\n" in said
    assert "0 runs and 25 leftovers can go" in said
