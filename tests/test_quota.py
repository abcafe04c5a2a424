"""A run's quota, and the space that is left to others: bounded, with the vital kept, and every loss counted."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

import tracelet
from tracelet import Delivery
from tracelet._bus import Bus
from tracelet._discovery import from_object
from tracelet.codec import encode
from tracelet.errors import InvalidSetting, Rejected
from tracelet.events import (
    ArtifactLogged,
    ConsoleLine,
    Event,
    ImageLogged,
    Kind,
    Lane,
    MetricsLogged,
    ModelLogged,
    ParamsLogged,
    RunFinished,
)
from tracelet.host.keeper import Keeper
from tracelet.journal import Cursor, LogReader, LogWriter, Recorder, RunDirectory, RunRecord, tally
from tracelet.journal.blobs import sync_file
from tracelet.journal.reclaim import _alone, _sealed, reclaim
from tracelet.journal.room import Room, in_words, size_on_disk
from tracelet.journal.segment import SEALED, Header, read_header, segment_numbers, segment_path
from tracelet.status import UNDELIVERED, BackendStatus, read_status
from tracelet.testing import RecordingBackend

NAME = "RecordingBackend"
MIB = 1 << 20
SEGMENT = 1 << 16  # of the runs here, whose quota is small
ALL = 1 << 40


def begin(tmp_path: Path, *backends: str, **limits: Any) -> Recorder:
    directory = RunDirectory(tmp_path / "run")
    directory.path.mkdir(exist_ok=True)
    options: dict[str, dict[str, Any]] = {name: {} for name in backends}
    directory.write_record(RunRecord(id="run", name="n", project="p", created=0.0, backends=options, version="0"))
    return Recorder(directory, bool, **limits)


def say(recorder: Recorder, *steps: int) -> int:
    """How many of the metrics were recorded."""
    return sum(recorder.append(Kind.METRICS_LOGGED, encode(MetricsLogged(1.0, {"m": 1.0}, step))) for step in steps)


def configure(recorder: Recorder, count: int) -> int:
    """How many of the parameters were recorded."""
    return sum(
        recorder.append(Kind.PARAMS_LOGGED, encode(ParamsLogged(1.0, {f"p{n}": "x" * 50}))) for n in range(count)
    )


def finish(recorder: Recorder) -> None:
    recorder.finish(Kind.RUN_FINISHED, encode(RunFinished(2.0, "completed")))


def deliver(directory: RunDirectory, name: str = NAME, *, follow: bool = False, **given: Any) -> RecordingBackend:
    backend = RecordingBackend(delivery=Delivery(linger=0.01), **given)
    anyio.run(Bus(directory, [from_object(backend, name)], follow=follow).run)
    return backend


def account(directory: RunDirectory, name: str = NAME) -> BackendStatus:
    status = read_status(directory, [name]).backends[name]
    whole = status.delivered + sum(status.dropped.values()) + status.dead_lettered + status.pending
    assert status.emitted == whole
    return status


def steps(events: list[Event]) -> list[int | None]:
    return [event.step for event in events if isinstance(event, MetricsLogged)]


async def refuse_one(batch: tracelet.Batch) -> None:
    """An export that refuses the metric of step 5,000."""
    if 5_000 in steps(list(batch.events)):
        raise Rejected("not this one", [steps(list(batch.events)).index(5_000)])


def in_log(directory: RunDirectory, lane: Lane = Lane.STREAM, kept: list[int] | None = None) -> tuple[int, int, int]:
    """How many events a reader finds from the start, and how many it counts as damaged and as removed."""
    damaged = removed = 0
    found: list[int] = [] if kept is None else kept
    with LogReader(directory.log("0000", lane)) as reader:
        while True:
            frames = reader.read(1000, MIB, final=True)
            found += frames.sequences
            damaged += frames.damaged
            removed += frames.removed
            if not frames.sequences:
                return len(found), damaged, removed


def test_a_full_quota_drops_the_newest_metrics_and_nothing_else(tmp_path: Path) -> None:
    """Without a backend the first events stay, later metrics are counted as lost, parameters and the end get in."""
    recorder = begin(tmp_path, quota=MIB)
    recorded = say(recorder, *range(30_000))
    assert 18_000 < recorded < 22_000
    assert recorder.loss_reason == "the quota of 1 MiB is used up"
    assert configure(recorder, 3_000) == 3_000
    assert say(recorder, *range(100)) == 0
    finish(recorder)
    lost = 30_100 - recorded
    assert recorder.tallies()["0000/stream"].lost == lost
    assert tally(recorder.directory.log("0000", Lane.STREAM), final=True).lost == lost
    backend = deliver(recorder.directory, follow=True)
    assert steps(backend.events) == list(range(recorded))
    assert sum(isinstance(event, ParamsLogged) for event in backend.events) == 3_000
    assert (account(recorder.directory).dropped, backend.outcomes) == ({"not recorded": lost}, ["completed"])


def test_a_run_stays_within_its_quota(tmp_path: Path) -> None:
    """However much is logged and delivered, it takes no more than the quota; what trackers put there does not count."""
    recorder = begin(tmp_path, NAME, quota=MIB)
    (recorder.directory.path / "wandb").write_bytes(bytes(2 * MIB))
    recorded, most = 0, 0
    for portion in range(30):
        recorded += say(recorder, *range(portion * 4_000, (portion + 1) * 4_000))
        recorder.tend(sync=False)
        most = max(most, sum(size_on_disk(recorder.directory.path / own) for own in ("journal", "blobs")))
        deliver(recorder.directory)
        recorder.tend(sync=False)
    assert most <= MIB + SEGMENT
    assert recorded > 100_000, "delivery has made room again and again"
    finish(recorder)
    deliver(recorder.directory, follow=True)
    status = account(recorder.directory)
    assert status.emitted == 120_001
    assert status.delivered == recorded + 1
    assert status.pending == 0


def test_a_quota_is_of_all_writers_together(tmp_path: Path) -> None:
    """A process that goes on with a run whose quota is used up records what is vital, and hardly a metric."""
    recorder = begin(tmp_path, quota=MIB)
    say(recorder, *range(30_000))
    finish(recorder)
    later = Recorder(recorder.directory, bool, quota=MIB)
    assert say(later, *range(10_000)) < 1_500
    assert configure(later, 10) == 10
    finish(later)


def test_a_later_reader_sees_what_was_removed(tmp_path: Path) -> None:
    """A backend that comes later gets what is left, and counts the rest as removed, exactly, not as damaged."""
    recorder = begin(tmp_path, NAME, quota=MIB)
    recorded = say(recorder, *range(18_000))
    deliver(recorder.directory)
    recorder.tend(sync=False)
    recorded += say(recorder, *range(18_000, 20_000))
    finish(recorder)
    deliver(recorder.directory, follow=True)
    assert account(recorder.directory).delivered == recorded + 1 == 20_001
    late = deliver(recorder.directory, "late", follow=True)
    status = account(recorder.directory, "late")
    removed = status.dropped["removed"]
    assert status.dropped == {"removed": removed}
    assert removed > 1_000
    assert steps(late.events) == list(range(removed, 20_000))
    assert (status.emitted, status.pending, status.outcome) == (20_001, 0, "completed")
    assert in_log(recorder.directory) == (20_001 - removed, 0, removed)


def test_nothing_goes_that_a_backend_has_not(tmp_path: Path) -> None:
    """What one of two backends has not had, or a run has no backend for, is not removed however full it is."""
    recorder = begin(tmp_path, NAME, "other", quota=MIB)
    recorded = say(recorder, *range(20_000))
    deliver(recorder.directory)
    recorder.tend(sync=False)
    assert reclaim(recorder.directory, ALL) == 0
    assert in_log(recorder.directory) == (recorded, 0, 0)
    deliver(recorder.directory, "other")
    assert reclaim(recorder.directory, ALL) > MIB // 2
    finish(recorder)
    (tmp_path / "alone").mkdir()
    alone = begin(tmp_path / "alone", quota=MIB)
    say(alone, *range(20_000))
    deliver(alone.directory)
    assert reclaim(alone.directory, ALL) == 0
    finish(alone)


def test_what_a_backend_refused_stays(tmp_path: Path) -> None:
    """The segment with an event that was dead-lettered is kept, and those around it are removed."""
    recorder = begin(tmp_path, NAME, quota=8 * MIB)
    say(recorder, *range(60_000))
    deliver(recorder.directory, on_export=refuse_one)
    assert account(recorder.directory).dead_lettered == 1
    freed = reclaim(recorder.directory, ALL)
    assert freed > MIB
    kept: list[int] = []
    assert in_log(recorder.directory, kept=kept)[1] == 0
    assert 5_000 in kept
    assert 15_000 not in kept
    assert in_log(recorder.directory)[::2] == (len(kept), 60_000 - len(kept))
    finish(recorder)


def test_nothing_goes_while_letters_are_missing(tmp_path: Path) -> None:
    """Where a dead letter can't be read, nobody knows which event it was, and all of them stay."""
    recorder = begin(tmp_path, NAME, quota=8 * MIB)
    say(recorder, *range(60_000))
    deliver(recorder.directory, on_export=refuse_one)
    letters = recorder.directory.dead_letters(NAME)
    letters.write_bytes(letters.read_bytes()[:60])
    assert reclaim(recorder.directory, ALL) == 0
    assert in_log(recorder.directory) == (60_000, 0, 0)
    finish(recorder)


@pytest.mark.parametrize("others", [1, 0], ids=["nobody takes them", "one takes them"])
def test_files_that_no_backend_takes_stay(tmp_path: Path, others: int) -> None:
    """What each backend has left out is nowhere else."""
    names = [NAME, "other"]
    recorder = begin(tmp_path, *names, quota=64 * MIB)
    files = [log_file(recorder, ArtifactLogged, "weights") for _ in range(2_600)]
    say(recorder, *range(60_000))
    deliver(recorder.directory, handles=frozenset({MetricsLogged}))
    deliver(recorder.directory, "other", handles=frozenset({MetricsLogged}) if others else None)
    assert account(recorder.directory).dropped == {"unsupported": 2_600}
    assert reclaim(recorder.directory, ALL) > 0  # of the metrics
    gone = [path for path in files if not path.exists()]
    assert (gone == []) is bool(others)
    finish(recorder)


def test_metrics_are_recorded_again_once_there_is_room(tmp_path: Path) -> None:
    """After the backends have had what is there, nothing is lost any more."""
    recorder = begin(tmp_path, NAME, quota=MIB)
    say(recorder, *range(30_000))
    assert recorder.loss_reason is not None
    lost = recorder.tallies()["0000/stream"].lost
    deliver(recorder.directory)
    recorder.tend(sync=False)
    assert recorder.loss_reason is None
    assert say(recorder, *range(2_000)) == 2_000
    assert recorder.tallies()["0000/stream"].lost == lost
    finish(recorder)


def test_a_log_looks_for_room_by_itself(tmp_path: Path, eventually: Callable[..., None]) -> None:
    """Also while nobody tends it, a log that found no room looks again after a while."""
    room = Room(tmp_path, quota=MIB)
    writer = LogWriter(tmp_path / "log", first_size=SEGMENT, largest_size=SEGMENT, room=room)
    while writer.append(Kind.METRICS_LOGGED, b"x" * 1_000):
        pass
    assert writer.loss_reason == "the quota of 1 MiB is used up"
    room.take(-MIB // 2)
    eventually(lambda: writer.append(Kind.METRICS_LOGGED, b"x"))
    assert writer.loss_reason is None
    writer.seal()


def test_what_is_vital_and_large_is_recorded(tmp_path: Path) -> None:
    """A large event of a vital kind gets in where there is room for small ones only; a metric does not."""
    room = Room(tmp_path, quota=3 * SEGMENT)
    writer = LogWriter(tmp_path / "log", first_size=SEGMENT, largest_size=SEGMENT, room=room)
    assert not writer.append(Kind.METRICS_LOGGED, bytes(3 * SEGMENT))
    assert writer.append(Kind.METRICS_LOGGED, b"x")
    assert writer.append(Kind.PARAMS_LOGGED, bytes(3 * SEGMENT))
    assert writer.lost == 1
    writer.seal()


class Interrupting(Room):
    """A room that a signal handler interrupts when it is asked for the `at`th time since `hook` was set."""

    hook: Callable[[], object] | None = None
    at = 0

    def refusal(self, size: int, *, expendable: bool = True) -> str | None:
        if self.hook is not None:
            self.at -= 1
            if self.at < 0:
                hook, self.hook = self.hook, None
                hook()
        return super().refusal(size, expendable=expendable)


def end_and_make_room(writer: LogWriter, room: Room) -> None:
    writer.seal((Kind.RUN_FINISHED, b"the end"))
    room.take(-3 * SEGMENT)


@pytest.mark.parametrize("what", ["seal", "seal and make room", "vital", "metric"])
@pytest.mark.parametrize("kinds", [(Kind.METRICS_LOGGED, Kind.PARAMS_LOGGED), (Kind.PARAMS_LOGGED,)], ids=len)
@pytest.mark.parametrize("size", [1_000, 2 * SEGMENT], ids=["small", "large"])
def test_signal_handlers_while_room_is_looked_for(tmp_path: Path, what: str, kinds: tuple[int, ...], size: int) -> None:
    """A handler that logs, or ends the log, right while room is looked for, finds a log that stays in order."""
    for at in range(8):
        room = Interrupting(tmp_path, quota=3 * SEGMENT)
        log = tmp_path / str(at)
        writer = LogWriter(log, first_size=SEGMENT, largest_size=SEGMENT, room=room)
        hooks: dict[str, Callable[[], object]] = {
            "seal": partial(writer.seal, (Kind.RUN_FINISHED, b"the end")),
            "seal and make room": partial(end_and_make_room, writer, room),
            "vital": partial(writer.append, Kind.PARAMS_LOGGED, b"x" * 2_000),
            "metric": partial(writer.append, Kind.METRICS_LOGGED, b"x" * 2_000),
        }
        room.hook, room.at = hooks[what], at
        said = [*kinds] * (200_000 // size)
        taken = sum(bool(writer.append(kind, b"x" * size)) for kind in said)
        if room.hook is not None:
            assert size > SEGMENT or at > 5
            room.hook = None
            hooks[what]()
        assert writer.closed is what.startswith("seal")
        writer.prepare()
        writer.seal((Kind.RUN_FINISHED, b"the end"))
        with LogReader(log) as reader:
            frames = reader.read(1_000, 16 * MIB, final=True)
        assert frames.damaged == 0
        assert frames.words[-1] == Kind.RUN_FINISHED
        assert frames.words.count(Kind.RUN_FINISHED) == 1
        assert frames.words.count(Kind.PARAMS_LOGGED) + frames.words.count(Kind.METRICS_LOGGED) - taken in (0, 1)
        counted = tally(log, final=True)
        assert (counted.recorded, counted.lost) == (len(frames.words), writer.lost)
        if not what.startswith("seal"):
            assert counted.recorded + counted.lost == len(said) + 1 + 1
        states = {header.state for number in segment_numbers(log) if (header := read_header(segment_path(log, number)))}
        assert states == {SEALED}


def log_file(recorder: Recorder, kind: type[ArtifactLogged | ImageLogged | ModelLogged], name: str) -> Path:
    """Have a file in the journal."""
    place = recorder.write_in(b"x" * 100, "png")
    path = recorder.directory.path / place
    stat = path.stat()
    file = (1.0, name, str(place), stat.st_size, stat.st_mtime_ns, True)
    event = kind(*file, 0, (), "png") if kind is ImageLogged else kind(*file)
    assert recorder.append_bulk(kind.__struct_config__.tag, encode(event))  # type: ignore[arg-type]
    return path


def test_files_go_with_their_events(tmp_path: Path) -> None:
    """The files of removed events are deleted, and those of events that are there, and models, are kept."""
    recorder = begin(tmp_path, NAME, quota=64 * MIB)
    first = [log_file(recorder, ImageLogged, "image") for _ in range(1_500)]
    assert all(path.exists() for path in first)
    deliver(recorder.directory)
    assert reclaim(recorder.directory, ALL) > MIB
    found, damaged, removed = in_log(recorder.directory, Lane.BULK)
    assert (found + removed, damaged) == (1_500, 0)
    assert removed > 500
    assert {path for path in first if path.exists()} == set(first[removed:])
    finish(recorder)


def test_models_stay(tmp_path: Path) -> None:
    """A model may still be registered, so it stays, with the events that are beside it."""
    recorder = begin(tmp_path, NAME, quota=MIB * 64)
    model = log_file(recorder, ModelLogged, "model")
    for _ in range(2_600):
        log_file(recorder, ImageLogged, "image")
    deliver(recorder.directory)
    assert reclaim(recorder.directory, ALL) > MIB
    assert model.exists()
    kept: list[int] = []
    assert in_log(recorder.directory, Lane.BULK, kept)[1] == 0
    assert kept[0] == 0
    finish(recorder)


def test_media_are_refused_and_artifacts_are_not(tmp_path: Path) -> None:
    """With the quota used up an image is a counted loss, and an artifact is kept."""
    with tracelet.start_logging(directory=tmp_path, quota="1MB", min_free=0) as run:
        for _ in range(10):
            run.log_image("noise", bytes([0x89]) + b"PNG" + random.randbytes(200_000))
        artifact = tmp_path / "model.bin"
        artifact.write_bytes(bytes(500_000))
        run.log_artifact(artifact)
        picture = tmp_path / "picture.png"
        picture.write_bytes(b"\x89PNG" + random.randbytes(200_000))
        lost = run.status().lost
        run.log_image("given", picture)
        assert run.status().lost == lost + 1
        lost = run.status().lost
        assert 6 <= lost <= 9
        copies = list((run.directory / "blobs").iterdir())
        assert sum(path.suffix == ".bin" for path in copies) == 1
        assert len(copies) == 12 - lost
        assert run.status().emitted == 1 + 11 + 1


STEPS = ["pwrite", "fdatasync", "ftruncate", "unlink", "fsync"]


class Killed(BaseException):
    """Stands for the death of the process."""


def test_a_crash_at_any_step_of_removing_changes_no_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After each system call of a removal a reader counts the same, and the next removal brings it to its end."""
    original = begin(tmp_path, NAME, quota=MIB)
    say(original, *range(4_000))
    place = log_file(original, ImageLogged, "image")
    for _ in range(1000):
        event = ImageLogged(1.0, "i", str(place), 100, place.stat().st_mtime_ns, False, 0, (), "png")
        original.append_bulk(Kind.IMAGE_LOGGED, encode(event))
    deliver(original.directory)
    finish(original)
    calls = {"left": 0}

    def counted(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            if calls["left"] == 0:
                raise Killed
            calls["left"] -= 1
            return real(*args, **kwargs)

        return call

    survived = 0
    while True:
        place = tmp_path / str(survived)
        shutil.copytree(original.directory.path, place)
        directory = RunDirectory(place)
        with monkeypatch.context() as patch:
            for name in STEPS:
                patch.setattr(os, name, counted(name))
            calls["left"] = survived
            try:
                reclaim(directory, ALL)
            except Killed:
                over = False
            else:
                over = True
        for lane, count in ((Lane.STREAM, 4_001), (Lane.BULK, 1_001)):
            found, damaged, removed = in_log(directory, lane)
            assert (found + removed, damaged) == (count, 0), f"killed after {survived} calls"
        reclaim(directory, ALL)
        assert [len(segment_numbers(directory.log("0000", lane))) for lane in Lane] == [2, 2]
        assert read_status(directory, [NAME]).emitted == 5_002
        shutil.rmtree(place)
        if over:
            break
        survived += 1
    assert survived > 10


def test_a_reader_in_the_middle_of_what_is_removed(tmp_path: Path) -> None:
    """A reader that stands in a segment when it is removed counts what it has not read, and goes on behind it."""
    recorder = begin(tmp_path, NAME, quota=MIB)
    say(recorder, *range(10_000))
    deliver(recorder.directory)
    with LogReader(recorder.directory.log("0000", Lane.STREAM)) as reader:
        found = len(reader.read(100, MIB, final=False).sequences)
        reclaim(recorder.directory, ALL)
        removed = 0
        while (frames := reader.read(100_000, 16 * MIB, final=False)).sequences or frames.removed:
            found += len(frames.sequences)
            removed += frames.removed
            assert frames.damaged == 0
    assert removed > 0
    assert found + removed == 10_000
    finish(recorder)


def test_a_segment_that_is_removed_while_a_reader_goes_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that finds its next segment gone, right after it has looked, goes on behind what was removed."""
    recorder = begin(tmp_path, NAME, quota=MIB)
    say(recorder, *range(10_000))
    deliver(recorder.directory)
    finish(recorder)
    deliver(recorder.directory)
    looked: list[Path] = []

    def look(path: Path) -> Header | None:
        header = read_header(path)
        if not looked:
            looked.append(path)
            reclaim(recorder.directory, ALL)
            assert not path.exists()
        return header

    log = recorder.directory.log("0000", Lane.STREAM)
    second = read_header(segment_path(log, 1))
    assert second is not None
    with LogReader(log) as reader:
        found = len(reader.read(second.first, MIB, final=True).sequences)
        assert found == second.first, "it stands at the end of the first segment"
        monkeypatch.setattr("tracelet.journal.segment.read_header", look)
        removed = 0
        while (frames := reader.read(1_000, MIB, final=True)).sequences:
            found += len(frames.sequences)
            removed += frames.removed
            assert frames.damaged == 0
    assert looked
    assert found + removed == 10_001


CHILD = """
import sys, tracelet
from tracelet.journal import room
options = {"jsonl": {"path": sys.argv[2], "delivery": {"linger": 0.01}}}
run = tracelet.start_logging(options, directory=sys.argv[1], run_id="run", resume="allow", quota="600 kB", min_free=0,
                             host="thread", on_full=sys.argv[3])
for step in range(100_000_000):
    run.log_metric("m", 1.0, step)
    if step % 5_000 == 0:
        print(step, flush=True)
"""


@pytest.mark.parametrize("on_full", ["drop", "block"])
def test_sigkill_while_space_is_given_back(tmp_path: Path, on_full: str) -> None:
    """A writer that is killed again and again within its quota leaves exact accounts, and loses nothing else."""
    directory = RunDirectory(tmp_path / "runs" / "run")
    for attempt in range(3):
        arguments = [sys.executable, "-c", CHILD, str(tmp_path), str(tmp_path / "events.jsonl"), on_full]
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE)
        assert process.stdout is not None
        for _ in range(4 + attempt):
            assert process.stdout.readline()
        process.kill()
        process.wait()
        process.stdout.close()
    from tracelet._discovery import find

    anyio.run(Bus(directory, [find("jsonl", {"path": str(tmp_path / "events.jsonl")})]).run)
    status = read_status(directory).backends["jsonl"]
    assert status.emitted == status.delivered + sum(status.dropped.values())
    assert set(status.dropped) <= ({"not recorded"} if on_full == "drop" else set())
    assert (status.pending, status.dead_lettered, status.outcome) == (0, 0, "killed")
    assert size_on_disk(directory.path / "journal") < 600_000 + 3 * SEGMENT


def test_a_patient_run_waits_and_loses_nothing(tmp_path: Path, eventually: Callable[..., None]) -> None:
    """With on_full="block" metrics wait until the backends have taken enough, and meanwhile others may log."""
    recorder = begin(tmp_path, NAME, quota=MIB, patient=True)
    done: list[int] = []
    thread = threading.Thread(target=lambda: done.append(say(recorder, *range(60_000))), daemon=True)
    thread.start()
    eventually(lambda: recorder.waiting_for is not None)
    assert recorder.waiting_for == "the quota of 1 MiB is used up"
    assert configure(recorder, 100) == 100
    assert not recorder.append(Kind.CONSOLE_LINE, encode(ConsoleLine(1.0, "printing waits for nobody")))
    assert not done
    while thread.is_alive():
        deliver(recorder.directory)
        recorder.tend(sync=False)
    finish(recorder)
    deliver(recorder.directory, follow=True)
    assert done == [60_000]
    assert not recorder.waiting_for
    status = account(recorder.directory)
    assert (status.delivered, status.dropped) == (60_101, {"not recorded": 1})


def test_a_waiting_call_can_be_interrupted(tmp_path: Path) -> None:
    """A signal handler that raises ends the wait, as Ctrl-C does."""
    recorder = begin(tmp_path, NAME, quota=MIB, patient=True)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            say(recorder, *range(100_000))
    finally:
        timer.cancel()
        signal.signal(signal.SIGUSR1, before)
    finish(recorder)
    assert account(recorder.directory).pending == recorder.tallies()["0000/stream"].recorded


def test_finishing_ends_the_waiting(tmp_path: Path, eventually: Callable[..., None]) -> None:
    """A run with a call that waits for room is finished all the same, and that call learns that it was too late."""
    run = tracelet.start_logging(
        {"faulty_backends:Locked": {}}, directory=tmp_path, quota=MIB, min_free=0, on_full="block", host="thread"
    )
    raised: list[BaseException] = []

    def log() -> None:
        try:
            for step in range(100_000):
                run.log_metric("m", 1.0, step)
        except tracelet.errors.RunClosed as error:
            raised.append(error)

    thread = threading.Thread(target=log)
    thread.start()
    eventually(lambda: run._recorder is not None and run._recorder.waiting_for)
    start = time.monotonic()
    run.finish(timeout=0.2)
    assert time.monotonic() - start < 5
    thread.join(5)
    assert len(raised) == 1
    assert run.status().lost == 0


@pytest.mark.parametrize(
    "settings", [{"quota": "1MB"}, {"quota": "1MB", "mode": "offline", "backend": "jsonl"}], ids=["none", "offline"]
)
def test_waiting_for_what_never_comes_is_refused(tmp_path: Path, settings: Any) -> None:
    """on_full="block" needs a delivery that makes room."""
    with pytest.raises(InvalidSetting, match="where nothing is delivered"):
        tracelet.start_logging(directory=tmp_path, on_full="block", **settings)


def test_a_loop_must_not_wait_for_itself(tmp_path: Path) -> None:
    """on_full="block" is refused where the waiting would hold up the delivery."""

    async def run() -> None:
        async with tracelet.open_run(RecordingBackend(), directory=tmp_path, on_full="block", quota="1MB"):
            raise AssertionError("not refused")

    with pytest.raises(InvalidSetting, match="host='loop'"):
        anyio.run(run)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB and 40 files; needs root, or a kernel that lets users mount."""
    place = tmp_path / "disk"
    place.mkdir()
    options = "size=8m,nr_inodes=40"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", place], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def free(place: Path) -> int:
    found = os.statvfs(place)
    return found.f_bavail * found.f_frsize


def test_a_patient_log_waits_for_a_full_disk(small_disk: Path, eventually: Callable[..., None]) -> None:
    """Also where the disk itself is full, a patient log waits for space instead of losing metrics."""
    writer = LogWriter(small_disk / "log", first_size=SEGMENT, patient=True)
    append = writer.appender()
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(8 * MIB - 2 * SEGMENT))
    thread = threading.Thread(target=lambda: [append(Kind.METRICS_LOGGED, b"x" * 1_000) for _ in range(1_000)])
    thread.start()
    eventually(lambda: writer.waiting_for == "No space left on device")
    ballast.unlink()
    thread.join(30)
    assert (writer.sequence, writer.lost) == (1_000, 0)
    writer.seal()


def test_a_patient_run_gives_back_what_is_delivered_where_the_disk_is_full(small_disk: Path) -> None:
    """With nothing but the disk as a limit it goes on as long as the backends take what is there."""
    backend = RecordingBackend(delivery=Delivery(linger=0.01))
    run = tracelet.start_logging(
        backend, directory=small_disk, host="thread", min_free=0, on_full="block", capture=["console"]
    )
    for step in range(250_000):
        run.log_metric("some/longer/name/of/a/metric", 1.0, step)
    run.finish(timeout=60)
    status = run.status()
    assert (status.lost, status.pending) == (0, {})
    assert steps(backend.events) == list(range(250_000))


@pytest.mark.parametrize("given", [["console"], []], ids=["captured", "alone"])
def test_what_is_said_of_a_shortage_is_not_lost_for_it(
    tmp_path: Path, given: list[str], capsys: pytest.CaptureFixture[str], eventually: Callable[..., None]
) -> None:
    """A patient run loses nothing, not even the lines that say for what it waits."""
    locked: dict[str, dict[str, Any]] = {"faulty_backends:Locked": {}}
    limits: Any = {"quota": MIB, "min_free": 0, "on_full": "block", "host": "thread"}
    run = tracelet.start_logging(locked, directory=tmp_path, capture=given, **limits)

    def log() -> None:
        with suppress(tracelet.errors.RunClosed):
            for step in range(100_000):
                run.log_metric("m", 1.0, step)

    thread = threading.Thread(target=log)
    thread.start()
    eventually(lambda: "calls wait for room" in capsys.readouterr().err)
    run.finish(timeout=0.2)
    thread.join(5)
    assert run.status().lost == 0


def test_others_keep_their_space(small_disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Below min_free metrics and files are counted losses, said with what to do; the vital gets in."""
    with tracelet.start_logging(directory=small_disk, min_free="3MiB") as run:
        for step in range(150_000):
            run.log_metric("some/longer/name/of/a/metric", 1.0, step)
        lost = run.status().lost
        assert lost > 10_000
        assert free(small_disk) >= 3 * MIB
        file = small_disk.parent / "file"
        file.write_bytes(bytes(MIB))
        run.log_artifact(file)
        assert run.status().lost == lost + 1
        for number in range(2_000):
            run.log_params({f"p{number}": "x" * 30})
        assert run.status().lost == lost + 1
        assert free(small_disk) >= 3 * MIB - 4 * SEGMENT
    said = capsys.readouterr().err
    assert said.count("events are being lost") == 1
    assert "less than 3 MiB would stay free on its disk" in said
    assert "tracelet gc" in said


def test_space_that_others_give_back_is_used(small_disk: Path, eventually: Callable[..., None]) -> None:
    """When there is space again, metrics are recorded again."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(4 * MIB))
    with tracelet.start_logging(directory=small_disk, min_free="3MiB") as run:
        for step in range(100_000):
            run.log_metric("m", 1.0, step)
        assert run.status().lost
        ballast.unlink()
        assert run._recorder is not None
        eventually(lambda: run._recorder is not None and run._recorder.loss_reason is None)
        lost = run.status().lost
        for step in range(1_000):
            run.log_metric("m", 1.0, step)
        assert run.status().lost == lost


def test_a_disk_without_inodes_is_a_full_one(small_disk: Path) -> None:
    """Where no more files can be made, files and events are counted losses."""
    with tracelet.start_logging(directory=small_disk, min_free=0) as run:
        for number in range(40):
            with pytest.MonkeyPatch.context():
                try:
                    (small_disk / f"file{number}").touch()
                except OSError:
                    break
        before = run.status()
        run.log_artifact(__file__)
        after = run.status()
        assert (after.emitted - before.emitted, after.lost - before.lost) == (1, 1)


def test_the_keeper_says_what_waits_once(tmp_path: Path) -> None:
    """That calls wait for room is said once, with the reason and what ends it."""
    recorder = begin(tmp_path, NAME, quota=MIB, patient=True)
    said: list[str] = []
    keeper = Keeper(lambda: None, [], said.append)
    threading.Thread(target=lambda: say(recorder, *range(100_000)), daemon=True).start()
    keeper.start(recorder)
    while not said:
        time.sleep(0.01)
    finish(recorder)
    keeper.stop()
    assert len(said) == 1
    assert said[0].startswith("calls wait for room: the quota of 1 MiB is used up")


@pytest.mark.parametrize(
    ("size", "words"), [(MIB, "1 MiB"), (10**10, "10 GB"), (1234, "1,234 bytes"), (0, "0 bytes"), (64 << 20, "64 MiB")]
)
def test_sizes_are_said_as_they_are_given(size: int, words: str) -> None:
    """A size is said in the largest unit that says it exactly."""
    assert in_words(size) == words


def test_removing_needs_the_cursors_on_the_disk_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is removed the cursors are synced, or a loss of power could take them back to what is gone."""
    recorder = begin(tmp_path, NAME, quota=MIB)
    say(recorder, *range(5_000))
    deliver(recorder.directory)
    synced: list[Path] = []
    monkeypatch.setattr("tracelet.journal.reclaim.sync_file", synced.append)
    monkeypatch.setattr(os, "ftruncate", lambda *_: synced.append(Path("cut")))
    reclaim(recorder.directory, ALL)
    assert synced[0] == recorder.directory.cursor(NAME)
    assert Path("cut") in synced
    monkeypatch.undo()
    finish(recorder)


def log_copy(recorder: Recorder, source: Path, kind: type[ArtifactLogged | ModelLogged] = ArtifactLogged) -> Path:
    """Have a copy of a file in the journal, as the verbs do."""
    place = recorder.copy_in(source)
    path = recorder.directory.path / place
    stat = path.stat()
    event = kind(1.0, "file", str(place), stat.st_size, stat.st_mtime_ns, True)
    assert recorder.append_bulk(kind.__struct_config__.tag, encode(event))  # type: ignore[arg-type]
    return path


def of_size(tmp_path: Path, size: int) -> Path:
    path = tmp_path / f"{size}.bin"
    path.write_bytes(random.randbytes(size))
    return path


def used(recorder: Recorder) -> int:
    return sum(size_on_disk(recorder.directory.path / own) for own in ("journal", "blobs"))


def test_large_files_go_although_their_events_are_few(tmp_path: Path) -> None:
    """With a backend that keeps up, artifacts of many times the quota cost no metric, and it is kept."""
    recorder, most = begin(tmp_path, NAME, quota=4 * MIB), 0
    source = of_size(tmp_path, 400_000)
    for portion in range(25):
        log_copy(recorder, source)
        assert say(recorder, *range(portion * 1_000, (portion + 1) * 1_000)) == 1_000
        deliver(recorder.directory)
        recorder.tend(sync=True)
        most = max(most, used(recorder))
    assert most <= 4 * MIB
    finish(recorder)
    deliver(recorder.directory, follow=True)
    status = account(recorder.directory)
    assert (status.delivered, status.dropped) == (25_026, {})


def test_models_keep_nothing_else_from_being_removed(tmp_path: Path) -> None:
    """Artifacts between models are removed, and each model stays."""
    recorder = begin(tmp_path, NAME, quota=4 * MIB)
    small, large = of_size(tmp_path, 1_000), of_size(tmp_path, 400_000)
    models, artifacts = [], []
    for _ in range(6):
        models.append(log_copy(recorder, small, ModelLogged))
        artifacts.append(log_copy(recorder, large))
    deliver(recorder.directory)
    assert reclaim(recorder.directory, ALL) > 2 * MIB
    assert all(model.exists() for model in models)
    assert not any(artifact.exists() for artifact in artifacts)
    finish(recorder)


def test_a_segment_that_ends_early_gives_its_space_back(tmp_path: Path) -> None:
    """What was reserved for a segment and not used is free once it is synced, whoever has removed it by then."""
    room = Room(tmp_path, quota=16 * MIB)
    writer = LogWriter(tmp_path / "log", first_size=MIB, largest_size=MIB, room=room)
    writer.append(Kind.IMAGE_LOGGED, b"x" * 100)
    assert writer.rotate()
    assert writer.rotate(), "there is nothing in it yet"
    assert segment_numbers(tmp_path / "log") == [0, 1]
    writer.append(Kind.IMAGE_LOGGED, b"x" * 100)
    assert writer.rotate()
    os.truncate(segment_path(tmp_path / "log", 1), 64)
    writer.sync()
    assert [segment_path(tmp_path / "log", n).stat().st_size for n in (0, 1, 2)] == [4096, 64, MIB]
    assert not room.over(16 * MIB - 2 * MIB - 4096)
    assert room.over(16 * MIB - 2 * MIB - 4095)
    writer.seal()


def test_files_of_a_finished_process_can_go_later(tmp_path: Path) -> None:
    """A process that goes on with a run gives back what those before it took, the last file too."""
    recorder = begin(tmp_path, NAME, quota=4 * MIB)
    path = log_copy(recorder, of_size(tmp_path, 100_000))
    finish(recorder)
    deliver(recorder.directory)
    later = Recorder(recorder.directory, bool, quota=4 * MIB)
    assert reclaim(recorder.directory, ALL) > 100_000
    assert not path.exists()
    finish(later)


@pytest.mark.parametrize("given", ["bytes", "function"])
def test_room_is_made_for_a_large_file(tmp_path: Path, given: str) -> None:
    """A file for which there would be room, were the delivered removed, is taken in, however large it is."""
    recorder = begin(tmp_path, NAME, quota=4 * MIB)
    for _ in range(9):
        log_copy(recorder, of_size(tmp_path, 400_000))
    deliver(recorder.directory)
    content = bytes(3_000_000)
    place = recorder.write_in(content if given == "bytes" else lambda file: file.write(content), "png")
    event = ImageLogged(1.0, "large", str(place), len(content), 1, True, 0, (), "png")
    assert recorder.append_bulk(Kind.IMAGE_LOGGED, encode(event))
    assert (recorder.directory.path / place).exists()
    assert used(recorder) <= 4 * MIB
    finish(recorder)


@pytest.mark.parametrize("given", ["bytes", "function"])
def test_no_room_is_made_in_vain(tmp_path: Path, given: str) -> None:
    """A file that no quota of this size could hold is refused, whether or not calls wait, and leaves nothing behind."""
    recorder = begin(tmp_path, NAME, quota=MIB, patient=given == "bytes")
    path = log_copy(recorder, of_size(tmp_path, 100_000))
    deliver(recorder.directory)
    content = bytes(2 * MIB)
    with pytest.raises(OSError, match="quota of 1 MiB"):
        recorder.write_in(content if given == "bytes" else lambda file: file.write(content), "png")
    assert path.exists(), "nothing is removed for it"
    assert not list(recorder.directory.blobs.glob("*.png"))
    finish(recorder)


def test_the_file_of_a_lost_event_is_deleted(tmp_path: Path) -> None:
    """Where there is room for an image's file and not for its event, the file does not stay without it."""
    recorder = begin(tmp_path, NAME, quota=4 * MIB)
    place = recorder.write_in(b"x" * 1_000, "png")
    recorder._room.take(4 * MIB)
    event = ImageLogged(1.0, "i", str(place), 1_000, 1, True, 0, (), "png")
    assert not recorder.append_bulk(Kind.IMAGE_LOGGED, encode(event))
    assert not (recorder.directory.path / place).exists()
    finish(recorder)


def test_nobody_waits_for_what_is_never_removed(tmp_path: Path, eventually: Callable[..., None]) -> None:
    """With on_full="block" calls wait while anything is to be delivered, then lose, and record once there is room."""
    recorder = begin(tmp_path, NAME, quota=MIB, patient=True)
    for _ in range(2):
        log_copy(recorder, of_size(tmp_path, 400_000), ModelLogged)
    done: list[int] = []
    thread = threading.Thread(target=lambda: done.append(say(recorder, *range(10_000))), daemon=True)
    thread.start()
    said: list[str] = []
    keeper = Keeper(lambda: None, [NAME], said.append)

    def tended() -> bool:
        recorder._next_reclaim = 0.0
        keeper._tend(recorder, sync=False)
        return True

    eventually(lambda: tended() and recorder._ends)
    for _ in range(20):
        tended()
    assert thread.is_alive(), "there is something that was not delivered"
    deliver(recorder.directory)
    eventually(lambda: tended() and not thread.is_alive())
    assert done[0] < 10_000
    assert (recorder.waiting_for, recorder.tallies()["0000/stream"].lost) == (None, 10_000 - done[0])
    lost = [line for line in said if "are being lost" in line]
    assert len(lost) == 1
    assert "quota of 1 MiB is used up, and nothing of it can be removed" in lost[0]
    assert "Models stay" in lost[0]
    with pytest.raises(OSError, match="nothing of it can be removed"):
        recorder.write_in(bytes(500_000), "png")
    for path in recorder.directory.blobs.iterdir():
        path.unlink()
    recorder._room._due = 0.0
    tended()
    assert say(recorder, *range(1_000)) == 1_000
    recorder.write_in(bytes(100_000), "png")
    finish(recorder)


def test_one_attempt_to_make_room_at_a_time(tmp_path: Path) -> None:
    """While one process or thread gives back space of a run, others leave it alone, and wait if they are told to."""
    recorder = begin(tmp_path, NAME, quota=MIB)
    say(recorder, *range(10_000))
    deliver(recorder.directory)
    with _alone(recorder.directory, 0.0):
        with pytest.raises(BlockingIOError):
            reclaim(recorder.directory, ALL)
        recorder.tend(sync=False)
        assert recorder.room_problem is None
        lock = recorder.directory.path / "reclaim.lock"
        held = [fd for fd in os.listdir("/proc/self/fd") if os.path.realpath(f"/proc/self/fd/{fd}") == str(lock)]
        childs = os.dup(int(held[0]))  # as a forked child has
    freed: list[int] = []
    barrier = threading.Barrier(3)

    def work() -> None:
        barrier.wait()
        freed.append(reclaim(recorder.directory, ALL, 10.0))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    os.close(childs)
    assert sorted(freed)[:2] == [0, 0]
    assert sorted(freed)[2] > SEGMENT
    found, damaged, removed = in_log(recorder.directory)
    assert (found + removed, damaged) == (10_000, 0)
    finish(recorder)


def test_what_others_removed_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A segment or a file that another process removes right when it is looked at is passed over."""
    recorder = begin(tmp_path, NAME, quota=4 * MIB)
    for _ in range(3):
        log_copy(recorder, of_size(tmp_path, 300_000))

    def vanishing(place: Path) -> None:
        place.unlink() if place.is_file() else None
        sync_file(place)

    blobs = list(recorder.directory.blobs.iterdir())
    recorder._unsynced = [*blobs, recorder.directory.blobs]
    monkeypatch.setattr("tracelet.journal.recorder.sync_file", vanishing)
    recorder.tend(sync=True)
    assert not any(path.exists() for path in blobs)
    monkeypatch.undo()
    deliver(recorder.directory)

    def sealed(log: Path) -> Iterator[Any]:
        for segment in _sealed(log):
            segment.path.unlink()
            yield segment

    monkeypatch.setattr("tracelet.journal.reclaim._sealed", sealed)
    assert reclaim(recorder.directory, ALL) == 0
    finish(recorder)


def test_a_missing_file_is_not_a_deleted_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recorder gives up when the run's directory is gone, and not because something else is."""
    recorder = begin(tmp_path, NAME, quota=MIB)
    said: list[str] = []
    keeper = Keeper(lambda: None, [], said.append)
    with monkeypatch.context() as patch:
        patch.setattr(recorder, "sync", partial(os.stat, tmp_path / "nothing"))
        keeper._tend(recorder, sync=True)
    assert recorder.loss_reason is None
    assert "can't be synced" in said[0]
    shutil.rmtree(recorder.directory.path)
    (recorder.directory.path / "blobs").mkdir(parents=True)  # another rank keeps a file right then
    keeper._tend(recorder, sync=True)
    assert recorder.loss_reason == "the run's directory was deleted"


def test_a_rank_knows_that_another_delivers(tmp_path: Path) -> None:
    """A process that delivers nothing itself says what a full quota means by the run's backends, not by its own."""
    (tmp_path / "alone").mkdir()
    for place, backends, words in ((tmp_path, [NAME], "recorded again once"), (tmp_path / "alone", [], "Without a")):
        recorder = begin(place, *backends, quota=MIB)
        said: list[str] = []
        keeper = Keeper(lambda: None, [], said.append)
        keeper._recorder = recorder
        say(recorder, *range(30_000))
        keeper._tend(recorder, sync=False)
        assert len(said) == 1
        assert words in said[0]
        finish(recorder)


def test_room_that_can_t_be_made_stops_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When space can't be given back, that is said as such, tried again after a while, and the journal is synced."""
    recorder = begin(tmp_path, NAME, quota=MIB)
    say(recorder, *range(20_000))
    said: list[str] = []
    keeper = Keeper(lambda: None, [NAME], said.append)
    tried: list[int] = []

    def refuse(directory: RunDirectory, wanted: int, patience: float) -> int:
        tried.append(wanted)
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tracelet.journal.recorder.reclaim", refuse)
    for _ in range(2):
        say(recorder, 1)
        keeper._tend(recorder, sync=True)
        assert recorder._stream._synced == recorder.tallies()["0000/stream"].recorded
    assert len(tried) == 1
    assert [line for line in said if "13" in line] == [
        f"space can't be given back: [Errno 13] Permission denied ({recorder.directory.path}); it is tried again"
    ]
    assert not any("synced" in line for line in said)
    finish(recorder)


def test_what_an_sdk_lost_stays(tmp_path: Path) -> None:
    """A log of which a backend's SDK took and lost events is kept: they are nowhere else, and nobody knows which."""
    recorder = begin(tmp_path, NAME, quota=MIB)
    say(recorder, *range(10_000))
    deliver(recorder.directory)
    cursor = Cursor.acquire(recorder.directory.cursor(NAME))
    assert cursor is not None
    with cursor:
        count = cursor.log("0000/stream")
        count.delivered -= 5
        count.dropped[UNDELIVERED] = 5
        cursor.save()
    assert reclaim(recorder.directory, ALL) == 0
    assert in_log(recorder.directory) == (10_000, 0, 0)
    finish(recorder)
