"""`tracelet doctor`: what is needed, and whether runs are whole; exact, and without a false alarm."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from tracelet import Delivery
from tracelet._bus import Bus
from tracelet._discovery import from_object
from tracelet.checks import Check, clock, folder, ok, problem
from tracelet.cli import _checks
from tracelet.cli._app import app
from tracelet.cli._probe import Probe
from tracelet.codec import encode
from tracelet.errors import Rejected
from tracelet.events import ArtifactLogged, Kind, Lane, MetricsLogged, RunFinished
from tracelet.journal import Cursor, Process, Recorder, RunDirectory, RunRecord
from tracelet.journal.cursor import _SLOT
from tracelet.journal.fsck import RunFound, look_over
from tracelet.journal.reclaim import reclaim
from tracelet.journal.segment import HEADER_SIZE, segment_path
from tracelet.testing import RecordingBackend

NAME = "RecordingBackend"


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    """Of a run that is to be written."""
    directory = RunDirectory(tmp_path / "store" / "runs" / "run")
    directory.path.mkdir(parents=True)
    directory.write_record(RunRecord(id="run", name="n", project="p", created=0.0, backends={NAME: {}}, version="0"))
    return directory


def write(directory: RunDirectory, count: int = 1_000, *, quota: int | None = None, end: bool = True) -> Recorder:
    recorder = Recorder(directory, bool, quota=quota)
    for step in range(count):
        recorder.append(Kind.METRICS_LOGGED, encode(MetricsLogged(1.0, {"m": 1.0}, step)))
    for number in range(3):
        place = recorder.write_in(b"%d" % number, "bin")
        event = ArtifactLogged(1.0, f"a{number}", str(place), 1, 1, True)
        assert recorder.append_bulk(Kind.ARTIFACT_LOGGED, encode(event))
    if end:
        recorder.finish(Kind.RUN_FINISHED, encode(RunFinished(2.0, "completed")))
    return recorder


def deliver(directory: RunDirectory, **given: Any) -> None:
    backend = RecordingBackend(delivery=Delivery(linger=0.01, batch_size=100), **given)
    anyio.run(Bus(directory, [from_object(backend)]).run)


def damage(found: RunFound) -> list[tuple[str, str]]:
    return [(finding.what, finding.text) for finding in found.findings if finding.level == "damage"]


def said(found: RunFound) -> list[tuple[str, str, str]]:
    return [(finding.level, finding.what, finding.text) for finding in found.findings]


def snapshot(place: Path) -> dict[str, tuple[int, int]]:
    """Whatever changes when a file is written, made or deleted."""
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in [place, *place.rglob("*")]}


def test_a_whole_run_is_whole(directory: RunDirectory) -> None:
    """Of a finished and delivered run everything is found, nothing is said, and nothing is changed."""
    write(directory)
    deliver(directory)
    before = snapshot(directory.path)
    found = look_over(directory)
    assert snapshot(directory.path) == before
    assert found.findings == []
    assert not found.live
    stream, bulk = found.logs["0000/stream"], found.logs["0000/bulk"]
    assert (stream.found, stream.recorded, stream.damaged, stream.segments, stream.spares) == (1_001, 1_001, 0, 1, 0)
    assert (bulk.found, bulk.recorded) == (3, 3)
    assert found.size > 20_000


def overwrite(path: Path, offset: int, data: bytes) -> int:
    with path.open("r+b") as file:
        file.seek(offset)
        return file.write(data)


def test_damaged_events_are_counted_exactly(directory: RunDirectory) -> None:
    """Which events can't be read is said by their numbers."""
    write(directory)
    segment = segment_path(directory.log("0000", Lane.STREAM), 0)
    size = (segment.read_bytes().index(b"\xa1m", HEADER_SIZE + 60) - segment.read_bytes().index(b"\xa1m")) or 1
    overwrite(segment, HEADER_SIZE + 10 * size + 30, b"\xff")
    overwrite(segment, HEADER_SIZE + 20 * size + 30, b"\xff" * (size + 1))
    found = look_over(directory)
    assert damage(found) == [("0000/stream", "3 of 1,001 events can't be read: 10, 20-21")]
    assert (found.logs["0000/stream"].found, found.logs["0000/stream"].damaged) == (998, 3)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_is_found(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whatever is overwritten in a log, the events that are left and those that are damaged are all there were."""
    directory = RunDirectory(tmp_path_factory.mktemp("run"))
    directory.write_record(RunRecord(id="run", name="n", project="p", created=0.0, backends={}, version="0"))
    count = data.draw(st.integers(1, 400))
    write(directory, count)
    path = segment_path(directory.log("0000", Lane.STREAM), 0)
    original = path.read_bytes()
    for _ in range(data.draw(st.integers(1, 3))):
        noise = data.draw(st.binary(min_size=1, max_size=64))
        overwrite(path, data.draw(st.integers(HEADER_SIZE, len(original.rstrip(b"\0")) - 1)), noise)
    log = look_over(directory).logs["0000/stream"]
    assert log.found + log.damaged == log.recorded == count + 1


@pytest.mark.parametrize(
    ("break_it", "what", "text"),
    [
        (lambda d: (d.path / "run.json").unlink(), "run.json", "it is missing"),
        (lambda d: (d.path / "run.json").write_text("{"), "run.json", "can't be read"),
        (lambda d: (d.path / "journal/0000/writer.json").unlink(), "writer 0000", "nobody reads its events"),
        (lambda d: [overwrite(d.cursor(NAME), slot, b"x" * 40) for slot in (0, _SLOT)],
         f"cursor of {NAME}", "both records are damaged"),
        (lambda d: (d.blobs / "0000-000001.bin").unlink(), "blobs", "1 of 3 files of events are missing"),
        (lambda d: os.truncate(segment_path(d.log("0000", Lane.STREAM), 0), 4096), "0000/stream, 000000.seg",
         "it ends before its last event"),
        (lambda d: overwrite(segment_path(d.log("0000", Lane.BULK), 0), 0, bytes(64)), "0000/bulk, 000000.seg",
         "its header is damaged"),
    ],
    ids=["record", "torn record", "writer", "cursor", "blob", "truncated", "header"],
)  # fmt: skip
def test_what_is_missing_or_broken_is_damage(
    directory: RunDirectory, break_it: Callable[[RunDirectory], Any], what: str, text: str
) -> None:
    """Each part of a run that is broken is named."""
    write(directory)
    deliver(directory)
    break_it(directory)
    found = [(name, words) for name, words in damage(look_over(directory)) if name == what]
    assert found, damage(look_over(directory))
    assert text in found[0][1]


@pytest.mark.parametrize("folder_too", [False, True], ids=["files", "folder"])
def test_a_log_without_any_segment_is_damage(directory: RunDirectory, folder_too: bool) -> None:
    """Every writer has a stream: one of which nothing is left is not taken for an empty one."""
    write(directory)
    shutil.rmtree(directory.log("0000", Lane.BULK))  # which is made when it is needed
    shutil.rmtree(directory.blobs)
    stream = directory.log("0000", Lane.STREAM)
    shutil.rmtree(stream)
    if not folder_too:
        stream.mkdir()
    rewrite(directory, process=Process(host="elsewhere", boot_id="", pid=1, started=1))
    os.utime(directory.path / "journal/0000/writer.json", (1, 1))  # it is silent
    text = "it has no segments: whatever its writer recorded there is gone"
    assert damage(look_over(directory)) == [("0000/stream", text)]


def rewrite(directory: RunDirectory, **changes: Any) -> None:
    """Change what is said of the first writer."""
    record = directory.writer_record("0000")
    assert record is not None
    changed = msgspec.json.encode(msgspec.structs.replace(record, **changes))
    (directory.path / "journal/0000/writer.json").write_bytes(changed)


def test_a_run_that_just_began_may_have_no_segment_yet(directory: RunDirectory) -> None:
    """A writer's process is given a moment to make its first segment, and a run one to have its first writer."""
    os.utime(directory.path / "run.json", (1, 1))
    assert damage(look_over(directory)) == [("journal", "it has no writers: whatever was recorded is gone")]
    os.utime(directory.path / "run.json")
    assert look_over(directory).findings == []
    directory.add_writer()
    assert look_over(directory).findings == []
    rewrite(directory, created=time.time() - 3_600)
    assert [what for what, _ in damage(look_over(directory))] == ["0000/stream"]


def test_what_costs_nothing_is_no_damage(directory: RunDirectory) -> None:
    """One damaged record of a cursor, and files without an event, are warnings."""
    write(directory)
    deliver(directory)
    overwrite(directory.cursor(NAME), 0, b"x" * 40)
    (directory.blobs / "0000-000009.bin").touch()
    found = look_over(directory)
    assert not found.damaged
    assert said(found) == [
        ("warning", f"cursor of {NAME}", "one of its two records is damaged; the other one holds"),
        ("warning", "blobs", "1 of 4 files belong to no event: 0000-000009.bin"),
    ]


def test_a_file_of_a_live_writer_may_be_without_its_event_yet(directory: RunDirectory) -> None:
    """The file of an event is there before the event, so nothing is said of it while its writer goes on."""
    recorder = write(directory, end=False)
    recorder.write_in(b"x", "bin")
    assert look_over(directory).findings == []
    recorder.finish(Kind.RUN_FINISHED, encode(RunFinished(2.0, "completed")))
    assert [finding.what for finding in look_over(directory).findings] == ["blobs"]


def test_cursors_and_dead_letters_are_compared_with_the_log(directory: RunDirectory) -> None:
    """A cursor that stands behind the end of its log, and dead letters that are not all there, are damage."""

    async def refuse(batch: Any) -> None:
        if any(isinstance(event, MetricsLogged) and event.step in (3, 4) for event in batch.events):
            raise Rejected("no")

    write(directory)
    deliver(directory, on_export=refuse)
    letters = directory.dead_letters(NAME)
    assert not look_over(directory).damaged
    letters.write_bytes(letters.read_bytes().splitlines(keepends=True)[0])
    segment_path(directory.log("0000", Lane.BULK), 0).unlink()
    assert damage(look_over(directory)) == [
        (f"cursor of {NAME}, 0000/bulk", "it stands behind event 3, and the log ends with 0"),
        (f"dead letters of {NAME}", "1 of 2 are missing"),
    ]


def test_what_was_removed_is_no_damage(directory: RunDirectory) -> None:
    """Events that were removed for space, and their files, are noted with their number."""
    recorder = write(directory, 15_000, quota=1 << 20, end=False)
    recorder.finish(Kind.RUN_FINISHED, encode(RunFinished(2.0, "completed")))
    deliver(directory)
    reclaim(directory, 1 << 40)
    found = look_over(directory)
    assert not found.damaged
    log = found.logs["0000/stream"]
    assert log.removed > 10_000
    assert log.found + log.removed == log.recorded
    assert ("note", "0000/stream") in {finding[:2] for finding in said(found)}


@pytest.mark.parametrize("mark", [b"", b"TRACELT1"], ids=["empty", "marked"])
def test_a_segment_that_was_being_made_is_a_spare(directory: RunDirectory, mark: bytes) -> None:
    """A writer that is killed between two steps of making one has lost nothing."""
    write(directory, end=False).detach()
    segments = directory.log("0000", Lane.STREAM)
    (segments / "000007.seg").write_bytes(mark + bytes(8192 - len(mark)))
    assert damage(look_over(directory)) == []
    (segments / "000007.seg").write_bytes(b"noise" + bytes(8192))
    assert [what for what, _ in damage(look_over(directory))] == ["0000/stream, 000007.seg"]


WRITER = """
import sys, tracelet
from pathlib import Path
options = {"jsonl": {"path": sys.argv[2], "delivery": {"linger": 0.01}}}
run = tracelet.start_logging(options, directory=sys.argv[1], run_id="run", quota="1MB", min_free=0, host="thread")
print("there", flush=True)
for step in range(100_000_000):
    run.log_metric("m", 1.0, step)
    if step % 100 == 0:
        run.log_image("noise", b"\\x89PNG" + bytes(2_000))
"""


def test_beside_a_live_writer_nothing_is_taken_for_damage(tmp_path: Path) -> None:
    """A run that is written, delivered, and cut for space meanwhile is whole; when it is killed, too."""
    directory = RunDirectory(tmp_path / "runs" / "run")
    arguments = [sys.executable, "-c", WRITER, str(tmp_path), str(tmp_path / "events.jsonl")]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        start, removed, looks = time.monotonic(), 0, 0
        while time.monotonic() < start + 1.5 or not removed:
            found = look_over(directory)
            looks += 1
            assert damage(found) == [], f"look {looks}"
            assert found.live
            removed = sum(log.removed for log in found.logs.values())
            assert time.monotonic() < start + 60
    finally:
        process.kill()
        process.communicate()
    found = look_over(directory)
    assert damage(found) == []
    assert not found.live
    log = found.logs["0000/stream"]
    assert log.found + log.removed == log.recorded
    assert any("its writer was killed" in text for _, _, text in said(found))


def doctor(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["doctor", *map(str, arguments)])


def test_the_command_looks_over_runs(directory: RunDirectory) -> None:
    """With a run, or with --all, it tells what is whole and what is damaged, and its exit code does, too."""
    write(directory)
    store = directory.path.parent.parent
    result = doctor("run", "--directory", store)
    assert result.exit_code == 0, result.output
    assert "whole" in result.output
    assert "0000/stream: 1,001 of 1,001 events" in result.output
    assert "MB/s" in result.output or "kB/s" in result.output
    overwrite(segment_path(directory.log("0000", Lane.STREAM), 0), 200, b"\xff" * 8)
    result = doctor("--all", "--directory", store)
    assert result.exit_code == 1
    assert "damaged" in result.output
    (found,) = json.loads(doctor("--all", "--directory", store, "--json").output)
    assert found["damaged"] is True
    assert found["logs"]["0000/stream"]["damaged"] >= 1
    assert doctor("nosuchrun", "--directory", store).exit_code == 2


def test_the_machine_is_examined(tmp_path: Path, directory: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions, settings, the folder, plugins, pending events and chosen backends are looked at; nothing is made."""
    write(directory)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRACELET_BACKEND", "jsonl")
    before = snapshot(directory.path.parent.parent)
    result = doctor("--directory", directory.path.parent.parent)
    assert result.exit_code == 0, result.output
    assert snapshot(directory.path.parent.parent).keys() == before.keys()
    for expected in ("Tracelet ", "backend from TRACELET_BACKEND", "can be reserved", "plugin jsonl", "tracelet-jsonl"):
        assert expected in result.output
    assert "1,004 events of 1 run are pending, and nobody delivers them: tracelet sync" in result.output
    assert "a file in" in result.output


def test_the_name_of_a_plugin_may_be_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It does not run into what is said of it, and that a plugin is broken comes with what to do."""
    broken = ("brokenimport", problem("the backend 'brokenimport' can't be used: no", "mend its package"))
    monkeypatch.setattr(_checks, "plugins", lambda: iter([broken]))
    result = doctor("--directory", tmp_path)
    assert result.exit_code == 1
    assert "problem   plugin brokenimport the backend 'brokenimport'" in result.output
    monkeypatch.undo()
    monkeypatch.setattr(_checks, "installed", lambda: {"nosuchbackend": None})
    ((name, check),) = _checks.plugins()
    assert (name, check.level, check.advice) == ("nosuchbackend", "problem", "mend its package, or remove it")


def test_problems_are_said_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unusable folder, too little space and a wrong setting are problems, and the exit code is 1."""
    file = tmp_path / "file"
    file.touch()
    result = doctor("--directory", file / "store")
    assert result.exit_code == 1
    assert "is no folder: set TRACELET_DIR" in result.output
    monkeypatch.setenv("TRACELET_MIN_FREE", "900TB")
    result = doctor("--directory", tmp_path)
    assert result.exit_code == 1
    assert "less than min_free, 900 TB" in result.output
    assert "tracelet gc" in result.output
    monkeypatch.setenv("TRACELET_MODE", "onlin")
    result = doctor("--directory", tmp_path, "--json")
    assert result.exit_code == 1
    assert [one["about"] for one in json.loads(result.output) if one["level"] == "problem"] == ["settings"]


def test_network_file_systems_are_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On NFS and the like doctor says what may go wrong."""
    from tracelet._settings import resolve

    monkeypatch.setattr(_checks, "_file_system", lambda _: "nfs4")
    found = list(_checks.place(resolve(directory=tmp_path)))
    assert [one.level for one in found] == ["ok", "warning", "ok"]
    assert "nfs4" in found[1].text


PLUGIN = """
import os, subprocess, sys, time
import msgspec
from tracelet.checks import ok, warning
from tracelet.testing import RecordingBackend

class Options(msgspec.Struct, forbid_unknown_fields=True):
    how: str = "well"
    pids: str = ""

class Backend:
    delivery = RecordingBackend().delivery
    handles = frozenset()
    idempotency = RecordingBackend.idempotency
    Options = Options
    open = export = finish = close = lambda self, *_: None

    @staticmethod
    async def check(options):
        print("the SDK says hello")
        if options.pids:
            service, child = subprocess.Popen(["sleep", "600"]), os.fork()
            if not child:
                time.sleep(600)
            with open(options.pids, "a") as file:
                print(service.pid, child, file=file)
        match options.how:
            case "hang":
                time.sleep(600)
            case "die":
                os._exit(7)
            case "raise":
                raise ConnectionRefusedError("http://user:secret@host refuses")
        return [ok("fine"), warning("but", "mend it")]
"""


def test_a_backend_that_hangs_or_dies_does_not_hold_up_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each backend is asked in a process of its own, with a time limit; whatever it does is told, without secrets."""
    (tmp_path / "odd_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    start = time.monotonic()
    probes = {how: Probe("odd_plugin:Backend", {"how": how}) for how in ("well", "die", "raise", "hang")}
    found = {how: probes[how].result(5.0 if how != "hang" else 2.0) for how in probes}
    assert time.monotonic() - start < 10
    assert found["well"] == [ok("fine"), Check("warning", "but", "mend it")]
    assert [one.text for one in found["hang"]] == ["no answer within 2 s"]
    assert "died with exit code 7" in found["die"][0].text
    assert found["raise"][0].level == "problem"
    assert "host refuses" in found["raise"][0].text
    assert "secret" not in found["raise"][0].text
    (unknown,) = Probe("nosuch", {}).result(10.0)
    assert (unknown.level, "nosuch" in unknown.text) == ("problem", True)


def test_what_a_check_starts_does_not_hold_it_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., None]
) -> None:
    """An answer counts once the check has ended, a time limit holds, and what an SDK has started is ended with it."""
    (tmp_path / "odd_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    pids = tmp_path / "pids"
    start = time.monotonic()
    probes = {
        how: Probe("odd_plugin:Backend", {"how": how, "pids": str(pids)}) for how in ("well", "hang", "never asked")
    }
    eventually(lambda: pids.exists() and len(pids.read_text().splitlines()) == 3)
    assert [one.level for one in probes["well"].result(10.0)] == ["ok", "warning"]
    assert [one.text for one in probes["hang"].result(0.1)] == ["no answer within 0.1 s"]
    assert time.monotonic() - start < 30
    del probes
    started = [int(pid) for pid in pids.read_text().split()]
    assert len(started) == 6
    eventually(lambda: all(Process.of(pid).started <= 0 for pid in started))


def test_clocks_are_compared() -> None:
    """A server's clock that is minutes off is a warning; a missing or odd date is none."""
    from email.utils import formatdate

    assert clock(formatdate(time.time(), usegmt=True)) == []
    (found,) = clock(formatdate(time.time() - 600, usegmt=True))
    assert found.level == "warning"
    assert "ahead of" in found.text
    assert clock(None) == clock("yesterday") == []


def test_folders_are_looked_at_not_made(tmp_path: Path) -> None:
    """A folder that can be made is fine and is not made; one below a file is a problem."""
    assert folder(tmp_path, "it:") == ok(f"it: {tmp_path}")
    assert folder(tmp_path / "a" / "b", "it:").level == "ok"
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    assert folder(tmp_path / "file" / "x", "it:").level == "problem"


def test_a_run_that_rank_0_has_not_begun_is_a_warning(directory: RunDirectory) -> None:
    """A run that has only its journal is said, since nobody knows where to deliver it; what is no run is left out."""
    write(directory)
    (directory.path / "run.json").unlink()
    (directory.path.parent / "foreign").mkdir()
    (found,) = _checks.at_work([directory.path, directory.path.parent / "foreign"])
    text = "1 run without a run.json: rank 0 has not begun it, or it was deleted"
    assert (found.level, found.text) == ("warning", text)
    (found,) = _checks.at_work([])
    assert (found.level, found.text) == ("ok", "no runs yet")


def test_what_is_pending_is_said_for_each_backend(directory: RunDirectory) -> None:
    """Of a live run, too: who delivers how much, what is in the way, and what nobody delivers."""
    record = directory.read_record()
    record.backends = {NAME: {}, "other": {}}
    directory.write_record(record)
    recorder = write(directory, end=False)

    def told() -> list[tuple[str, str]]:
        return [(one.level, one.text) for one in _checks.at_work([directory.path])]

    assert told() == [("warning", "2,006 events of 1 run are pending, and nobody delivers them")]
    nobodys = ("warning", "1,003 events of 1 run are pending, and nobody delivers them")
    with held(directory, NAME) as cursor:
        who = f"process {os.getpid()} delivers run to {NAME}: 1,003 pending"
        assert told() == [("ok", who), nobodys]
        cursor.record.phase, cursor.record.last_error = "retrying", "it is down"
        cursor.save()
        assert told() == [("warning", f"{who}, retrying: it is down"), nobodys]
        with held(directory, "other"):
            assert [level for level, _ in told()] == ["warning", "ok"]
    recorder.finish(Kind.RUN_FINISHED, encode(RunFinished(2.0, "completed")))
    deliver(directory)
    record.backends = {NAME: {}}
    directory.write_record(record)
    assert told() == [("ok", "1 run, nothing waits to be delivered")]
    with held(directory, NAME) as cursor:
        cursor.record.closed = None
        cursor.save()
    assert told() == [("warning", "1 run is over, and a backend was not told")]


def held(directory: RunDirectory, backend: str) -> Cursor:
    """A backend's cursor, in the hands of this process."""
    cursor = Cursor.acquire(directory.cursor(backend))
    assert cursor is not None
    return cursor
