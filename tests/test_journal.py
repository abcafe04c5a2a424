"""The journal between a writer and a reader: crashes, threads, signal handlers, damage, full disks."""

from __future__ import annotations

import dis
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tracelet._sources import newest
from tracelet.events import Lane
from tracelet.journal import (
    Cursor,
    Frames,
    LogReader,
    LogWriter,
    Position,
    Recorder,
    RunDirectory,
    RunRecord,
    Tally,
    log_key,
    tally,
)
from tracelet.journal.directory import WriterRecord
from tracelet.journal.reclaim import reclaim
from tracelet.journal.segment import (
    FRAME_SIZE,
    HEADER_SIZE,
    LOST,
    Header,
    Segment,
    pack_count,
    read_header,
    segment_numbers,
    segment_path,
    used_header,
)

WORD = 3


def payloads(frames: Frames) -> list[int]:
    return [int(payload) for payload in frames.payloads]


def read_all(directory: Path, *, final: bool = True, at_once: int = 1000) -> Frames:
    everything = Frames([], [], [], 0, Position())
    with LogReader(directory) as reader:
        while True:
            frames = reader.read(at_once, 1 << 20, final=final)
            everything.sequences += frames.sequences
            everything.words += frames.words
            everything.payloads += frames.payloads
            everything.damaged += frames.damaged
            everything.position = frames.position
            if not frames.sequences:
                return everything


def append(writer: LogWriter, *numbers: int) -> None:
    for number in numbers:
        assert writer.append(WORD, b"%d" % number)


def test_the_swap_in_append_is_nothing_but_loads_and_stores() -> None:
    """Between the check of the state and its replacement this interpreter runs no call and makes no object."""
    instructions = list(dis.get_instructions(LogWriter.append))
    start = max(at for at, instruction in enumerate(instructions) if instruction.opname == "IS_OP")
    stop = max(at for at, instruction in enumerate(instructions) if instruction.opname == "STORE_ATTR")
    inside = {instruction.opname for instruction in instructions[start + 1 : stop]}
    jumps = {name for name in inside if name.startswith("POP_JUMP")}
    assert inside - jumps <= {"LOAD_FAST", "LOAD_FAST_LOAD_FAST", "SWAP", "STORE_SUBSCR", "NOP", "CACHE", "NOT_TAKEN"}
    assert "STORE_SUBSCR" in inside


def test_what_is_appended_is_read_in_order(tmp_path: Path) -> None:
    """A reader gets every frame once, in order, through many segments, also in small portions."""
    writer = LogWriter(tmp_path, first_size=8192, largest_size=32768)
    append(writer, *range(20_000))
    writer.seal()
    frames = read_all(tmp_path, final=False, at_once=7)
    assert payloads(frames) == list(range(20_000)) == frames.sequences
    assert set(frames.words) == {WORD}
    assert frames.damaged == 0
    assert len(segment_numbers(tmp_path)) > 10


def test_a_reader_goes_on_from_a_position(tmp_path: Path) -> None:
    """A reader that starts at an earlier reader's position gets exactly what that one did not."""
    writer = LogWriter(tmp_path, first_size=8192)
    append(writer, *range(500))
    with LogReader(tmp_path) as reader:
        position = reader.read(123, 1 << 20, final=False).position
    append(writer, *range(500, 1000))
    with LogReader(tmp_path, position) as reader:
        assert payloads(reader.read(10_000, 1 << 20, final=False)) == list(range(123, 1000))
    writer.seal()


def test_a_read_is_bounded_in_bytes(tmp_path: Path) -> None:
    """One read returns no more bytes than asked for, but at least one frame, however large it is."""
    writer = LogWriter(tmp_path)
    for size in (10, 3_000_000, 10, 10):
        writer.append(WORD, b"x" * size)
    with LogReader(tmp_path) as reader:
        sizes = [[len(p) for p in reader.read(100, 20, final=False).payloads] for _ in range(4)]
    assert sizes == [[10], [3_000_000], [10, 10], []]
    writer.seal()


def test_a_live_log_is_read_while_it_is_written(tmp_path: Path) -> None:
    """A reader beside a live writer sees each frame once and never a part of one."""
    writer = LogWriter(tmp_path, first_size=8192)
    count = 30_000
    thread = threading.Thread(target=append, args=(writer, *range(count)))
    found: list[int] = []
    with LogReader(tmp_path) as reader:
        thread.start()
        while len(found) < count:
            found += payloads(reader.read(1000, 1 << 20, final=False))
    thread.join()
    assert found == list(range(count))
    writer.seal()


def test_a_sealed_log_gives_back_what_it_did_not_use(tmp_path: Path) -> None:
    """After sealing there is no spare segment, and the last one is as long as its content, rounded to a page."""
    writer = LogWriter(tmp_path)
    append(writer, 1, 2, 3)
    writer.prepare()
    assert len(segment_numbers(tmp_path)) == 2
    writer.seal()
    assert segment_numbers(tmp_path) == [0]
    assert segment_path(tmp_path, 0).stat().st_size == 4096
    assert not writer.append(WORD, b"4")
    assert payloads(read_all(tmp_path)) == [1, 2, 3]


CHILD = """
import sys, os
from pathlib import Path
from tracelet.journal import LogWriter
writer = LogWriter(Path(sys.argv[1]), first_size=int(sys.argv[2]))
for number in range(1_000_000_000):
    writer.append(3, b"%d" % number)
    if number % 100 == 0:
        os.write(1, b"%d\\n" % number)
"""


@pytest.mark.parametrize("first_size", [8192, 1 << 20])
def test_sigkill_loses_nothing_that_was_appended(tmp_path: Path, first_size: int) -> None:
    """After SIGKILL at any moment the log holds every frame whose append had returned, and no torn one."""
    for attempt in range(5):
        directory = tmp_path / str(attempt)
        process = subprocess.Popen([sys.executable, "-c", CHILD, directory, str(first_size)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(random.randint(1, 200))]
        process.kill()
        said += process.stdout.readlines()
        process.wait()
        process.stdout.close()
        acknowledged = max(int(line) for line in said if line.endswith(b"\n"))
        frames = read_all(directory)
        assert payloads(frames) == list(range(len(frames.payloads)))
        assert len(frames.payloads) > acknowledged
        assert frames.damaged == 0
        assert tally(directory, final=True).recorded == len(frames.payloads)


@pytest.fixture
def frantic_switching() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("frantic_switching")
@pytest.mark.parametrize("method", ["append", "append_locked"])
def test_threads_lose_nothing(tmp_path: Path, method: str) -> None:
    """Eight threads that append at once, switched as often as can be, lose no frame and no order of their own."""
    writer = LogWriter(tmp_path, first_size=8192, largest_size=65536)
    each = 8_000

    def work(thread: int) -> None:
        add: Callable[[int, bytes], bool] = getattr(writer, method)
        for number in range(each):
            assert add(WORD, b"%d" % (thread * each + number))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        writer.prepare()
    writer.seal()
    frames = read_all(tmp_path)
    assert sorted(payloads(frames)) == list(range(8 * each))
    assert frames.damaged == 0
    for number in range(8):
        own = [value for value in payloads(frames) if value // each == number]
        assert own == sorted(own)


class Interrupted(Exception):
    """What the signal handler of a test raises."""


uses_alarms = pytest.mark.timeout(120, method="thread")  # the other method takes the alarm for itself


class Alarms:
    """Have a function called from a signal handler, again and again, 50 µs after the last time it returned."""

    def __init__(self) -> None:
        self._handler: Callable[[], None] | None = None

    def start(self, handler: Callable[[], None]) -> None:
        self._handler = handler
        signal.signal(signal.SIGALRM, self._call)
        signal.setitimer(signal.ITIMER_REAL, 5e-5)

    def stop(self) -> None:
        """From here on nothing is called; a signal that is on its way finds a handler that does nothing."""
        self._handler = None
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _call(self, *_: object) -> None:
        handler = self._handler
        if handler is not None:
            try:
                handler()
            finally:
                signal.setitimer(signal.ITIMER_REAL, 5e-5)


@pytest.fixture
def alarms() -> Iterator[Alarms]:
    before = signal.getsignal(signal.SIGALRM)
    alarms = Alarms()
    yield alarms
    alarms.stop()
    signal.signal(signal.SIGALRM, before)


@uses_alarms
def test_signal_handlers_that_raise_leave_no_hole(tmp_path: Path, alarms: Alarms) -> None:
    """A handler that raises anywhere inside append costs at most the call it hit, and no other frame."""
    writer = LogWriter(tmp_path, first_size=8192, largest_size=16384)
    returned: list[int] = []
    hits = number = 0
    armed = False

    def interrupt() -> None:
        nonlocal armed
        if armed:
            armed = False
            raise Interrupted

    alarms.start(interrupt)
    while hits < 500:
        try:
            armed = True
            while True:
                number += 1
                writer.append(WORD, b"%d" % number)
                returned.append(number)
        except Interrupted:
            hits += 1
    alarms.stop()
    writer.seal()
    frames = read_all(tmp_path)
    assert frames.damaged == 0
    assert set(returned) <= set(payloads(frames))
    assert payloads(frames) == sorted(set(payloads(frames)))
    assert len(frames.payloads) <= len(returned) + hits


@uses_alarms
def test_signal_handlers_that_log_lose_nothing(tmp_path: Path, alarms: Alarms) -> None:
    """A handler that appends in the middle of an append, or of a change of segments, loses neither frame."""
    writer = LogWriter(tmp_path, first_size=8192, largest_size=16384)
    handled = 0

    def log() -> None:
        nonlocal handled
        handled += 1
        assert writer.append(WORD, b"%d" % -handled)

    alarms.start(log)
    number = 0
    while handled < 2_000:
        number += 1
        assert writer.append(WORD, b"%d" % number)
    alarms.stop()
    writer.seal()
    found = payloads(read_all(tmp_path))
    assert sorted(found) == [*range(-handled, 0), *range(1, number + 1)]


def damage(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


FRAME_LENGTH = 24  # of a frame with a payload of four digits, with its padding
assert (FRAME_SIZE + 4 + 7) & -8 == FRAME_LENGTH


def four_digit_log(directory: Path, *, sealed: bool = True, count: int = 1000) -> list[int]:
    writer = LogWriter(directory, first_size=8192 * 2, largest_size=8192 * 2)
    numbers = list(range(1000, 1000 + count))
    append(writer, *numbers)
    if sealed:
        writer.seal()
    return numbers


@pytest.mark.parametrize("where", [0, 4, 8, 12, FRAME_SIZE + 1], ids=["crc", "length", "word", "sequence", "payload"])
@pytest.mark.parametrize("sealed", [True, False])
def test_damage_costs_what_it_covers(tmp_path: Path, where: int, sealed: bool) -> None:
    """One flipped byte in a frame loses that frame alone, and the loss is counted."""
    numbers = four_digit_log(tmp_path, sealed=sealed)
    damage(segment_path(tmp_path, 0), HEADER_SIZE + 100 * FRAME_LENGTH + where, b"\xff")
    frames = read_all(tmp_path)
    assert payloads(frames) == numbers[:100] + numbers[101:]
    assert frames.damaged == 1
    assert frames.sequences[100] == 101


def test_a_zeroed_page_costs_what_it_covers(tmp_path: Path) -> None:
    """A page of zeros in the middle of a segment loses the frames it covers, counted, and no other."""
    numbers = four_digit_log(tmp_path)
    damage(segment_path(tmp_path, 0), 4096, bytes(4096))
    frames = read_all(tmp_path)
    first, last = (4096 - HEADER_SIZE) // FRAME_LENGTH, (8192 - HEADER_SIZE) // FRAME_LENGTH
    assert payloads(frames) == numbers[:first] + numbers[last + 1 :]
    assert frames.damaged == last + 1 - first


def test_a_damaged_header_costs_nothing(tmp_path: Path) -> None:
    """With the header of a segment overwritten, its frames are still read."""
    numbers = four_digit_log(tmp_path)
    assert len(segment_numbers(tmp_path)) > 1
    damage(segment_path(tmp_path, 0), 0, b"\xff" * HEADER_SIZE)
    frames = read_all(tmp_path)
    assert payloads(frames) == numbers
    assert frames.damaged == 0


@pytest.mark.parametrize("noise", [b"\xff" * HEADER_SIZE, bytes(HEADER_SIZE)], ids=["noise", "zeros"])
@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "killed"])
@pytest.mark.parametrize("count", [300, 1000], ids=["one", "several"])
def test_a_damaged_header_of_the_last_segment_costs_nothing(
    tmp_path: Path, noise: bytes, sealed: bool, count: int
) -> None:
    """Its frames are read and counted once the writer is gone; before that, it may be one that is being made."""
    numbers = four_digit_log(tmp_path, sealed=sealed, count=count)
    used = [number for number in segment_numbers(tmp_path) if used_header(segment_path(tmp_path, number), final=True)]
    damage(segment_path(tmp_path, used[-1]), 0, noise)
    frames = read_all(tmp_path)
    assert payloads(frames) == numbers
    assert frames.damaged == 0
    assert tally(tmp_path, final=True) == Tally(count, 0)
    assert tally(tmp_path, final=False).recorded < count
    assert newest(tmp_path, final=True).sequence == count


def test_a_damaged_header_after_losses(tmp_path: Path) -> None:
    """How many events were lost is known by the segment before."""
    four_digit_log(tmp_path)
    first, *_, last = segment_numbers(tmp_path)
    damage(segment_path(tmp_path, first), LOST.start, pack_count(7))
    damage(segment_path(tmp_path, last), 0, b"\xff" * HEADER_SIZE)
    assert tally(tmp_path, final=True) == Tally(1000, 7)


def test_a_spare_with_a_damaged_header_stays_one(tmp_path: Path) -> None:
    """A segment without frames holds nothing."""
    four_digit_log(tmp_path, sealed=False, count=100)
    Segment(tmp_path, 1, 8192).close()
    damage(segment_path(tmp_path, 1), 0, b"\xff" * HEADER_SIZE)
    assert tally(tmp_path, final=True) == Tally(100, 0)
    assert len(read_all(tmp_path).payloads) == 100


def test_a_writer_that_is_faster_than_who_looks_is_not_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has sealed all segments that were listed, and goes on with one that was made since."""
    directory = RunDirectory(tmp_path / "run")
    recorder = Recorder(directory, bool, quota=1 << 20)
    segments = directory.log(recorder.writer, Lane.STREAM)
    step = iter(range(1_000_000))
    numbers = segment_numbers(segments)

    def look(path: Path) -> Header | None:
        while segment_numbers(segments)[-1] < numbers[-1] + 2:  # the listed one is sealed, and another in use
            recorder.append(WORD, b"%d" % next(step))
        return read_header(path)

    monkeypatch.setattr("tracelet.journal.directory.read_header", look)
    assert not directory.finished(recorder.writer)
    recorder.finish(WORD, b"0")
    assert directory.finished(recorder.writer)


def test_a_missing_segment_is_counted(tmp_path: Path) -> None:
    """A segment that was deleted is a counted gap; what follows is read."""
    numbers = four_digit_log(tmp_path)
    held = read_all(tmp_path)
    segment_path(tmp_path, 0).unlink()
    frames = read_all(tmp_path)
    assert frames.damaged > 0
    assert frames.damaged + len(frames.payloads) == len(held.payloads) == len(numbers)
    assert payloads(frames) == numbers[frames.damaged :]


def test_a_truncated_file_is_cut_and_counted(tmp_path: Path) -> None:
    """A sealed segment that lost its end gives what is left and counts the rest."""
    numbers = four_digit_log(tmp_path, count=500)
    os.truncate(segment_path(tmp_path, 0), HEADER_SIZE + 200 * FRAME_LENGTH + 5)
    frames = read_all(tmp_path)
    assert payloads(frames) == numbers[:200]
    assert frames.damaged == 300


def test_a_torn_tail_is_waited_for_and_then_cut(tmp_path: Path) -> None:
    """Half a frame at the end is no frame: a reader waits for a live writer, and ends there after its death."""
    numbers = four_digit_log(tmp_path, sealed=False, count=100)
    end = HEADER_SIZE + 100 * FRAME_LENGTH
    whole = segment_path(tmp_path, 0).read_bytes()[end - FRAME_LENGTH : end]
    damage(segment_path(tmp_path, 0), end, whole[: FRAME_SIZE + 2])
    assert payloads(read_all(tmp_path, final=False)) == numbers
    frames = read_all(tmp_path, final=True)
    assert payloads(frames) == numbers
    assert frames.damaged == 0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_is_accounted_for(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whatever bytes are overwritten behind the header, found + damaged is what was written, and nothing is made up."""
    directory = tmp_path_factory.mktemp("log")
    count = data.draw(st.integers(1, 1200))
    numbers = four_digit_log(directory, count=count)
    for _ in range(data.draw(st.integers(1, 4))):
        path = segment_path(directory, data.draw(st.sampled_from(segment_numbers(directory))))
        offset = data.draw(st.integers(HEADER_SIZE, path.stat().st_size - 1))
        noise = data.draw(st.binary(min_size=1, max_size=64))
        damage(path, offset, noise[: path.stat().st_size - offset])
    frames = read_all(directory)
    assert [numbers[sequence] for sequence in frames.sequences] == payloads(frames)
    assert len(frames.payloads) + frames.damaged == count


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB; needs root, or a kernel that lets users mount."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", place], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_is_counted(small_disk: Path) -> None:
    """When no segment can be had, appends go on returning, each loss is counted, and vital events still get in."""
    writer = LogWriter(small_disk / "log", first_size=1 << 18)
    accepted = sum(writer.append(WORD, b"x" * 1000) is True for _ in range(2000))
    assert 500 < accepted < 1024
    assert writer.lost == 2000 - accepted
    assert writer.loss_reason == "No space left on device"
    writer.seal((2, b"the end"))
    assert writer.sequence + writer.lost == 2001
    frames = read_all(small_disk / "log")
    assert len(frames.payloads) == accepted + 1
    assert frames.payloads[-1] == b"the end"
    counted = tally(small_disk / "log", final=True)
    assert (counted.recorded, counted.lost) == (accepted + 1, 2000 - accepted)


def test_a_disk_that_gets_room_again_is_used(small_disk: Path, eventually: Callable[..., None]) -> None:
    """Once there is space again, events are recorded again."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(700_000))
    writer = LogWriter(small_disk / "log", first_size=1 << 16)
    while writer.append(WORD, b"x" * 1000):
        pass
    ballast.unlink()
    eventually(lambda: writer.append(WORD, b"y" * 1000))
    assert writer.loss_reason is None
    writer.seal()
    assert len(read_all(small_disk / "log").payloads) == writer.sequence
    assert tally(small_disk / "log", final=True).lost == writer.lost > 0


def test_sync_makes_durable_what_was_appended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """sync calls fdatasync for every segment that has unsynced frames, and does nothing when there are none."""
    synced: list[int] = []
    real = os.fdatasync

    def fdatasync(fd: int) -> None:
        synced.append(os.fstat(fd).st_ino)
        real(fd)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    writer = LogWriter(tmp_path, first_size=8192)
    append(writer, *range(1000))
    writer.sync()
    inodes = {path.stat().st_ino for path in tmp_path.glob("*.seg")}
    assert set(synced) == inodes
    assert len(inodes) > 1
    synced.clear()
    writer.sync()
    assert synced == []
    writer.seal()


def test_nothing_lands_behind_the_last_event(tmp_path: Path) -> None:
    """A log that is sealed under threads that append ends with its last event, and what was accepted is before it."""
    for attempt in range(20):
        directory = tmp_path / str(attempt)
        writer = LogWriter(directory, first_size=8192, largest_size=16384)
        accepted = [0] * 3

        def work(number: int, writer: LogWriter = writer, accepted: list[int] = accepted) -> None:
            while writer.append(WORD, b"1"):
                accepted[number] += 1

        threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        while sum(accepted) < 1_000:
            writer.prepare()
        writer.seal((2, b"0"))
        for thread in threads:
            thread.join()
        frames = read_all(directory)
        assert frames.words[-1] == 2
        assert frames.words.count(2) == 1
        assert len(frames.words) == sum(accepted) + 1
        assert writer.lost == 0


def test_syncing_while_sealing_ends(tmp_path: Path) -> None:
    """A log may be sealed while another thread syncs it again and again; neither waits for the other for ever."""
    for attempt in range(50):
        writer = LogWriter(tmp_path / str(attempt), first_size=8192)
        append(writer, *range(100))
        over = threading.Event()

        def sync(writer: LogWriter = writer, over: threading.Event = over) -> None:
            while not over.is_set():
                writer.sync()

        thread = threading.Thread(target=sync, daemon=True)
        thread.start()
        writer.seal()
        over.set()
        thread.join(20)
        assert not thread.is_alive()


def test_two_may_sync_at_once(tmp_path: Path) -> None:
    """The keeper and a durable flush may sync files and logs at the same time, while more are added."""
    directory = RunDirectory(tmp_path / "run")
    recorder = Recorder(directory, bool)
    source = tmp_path / "file"
    source.write_text("x")
    errors: list[BaseException] = []
    over = threading.Event()

    def sync() -> None:
        try:
            while not over.is_set():
                recorder.sync()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=sync) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(200):
        recorder.copy_in(source)
        recorder.append(WORD, b"1")
    over.set()
    for thread in threads:
        thread.join()
    assert errors == []
    recorder.finish(2, b"end")


def test_removal_between_two_steps_of_a_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A segment that is sealed, delivered and cut to its header while a reader is in it counts as removed."""
    directory = RunDirectory(tmp_path / "run")
    directory.path.mkdir()
    directory.write_record(RunRecord(id="run", name="n", project="p", created=0.0, backends={"b": {}}, version="0"))
    writer = directory.add_writer()
    place = directory.log(writer, Lane.STREAM)
    log = LogWriter(place, first_size=8192, largest_size=8192)
    append(log, *range(50))
    real = os.pread

    def pread(fd: int, size: int, offset: int) -> bytes:
        """The header as it was, after which everything happens before the reader's next step."""
        found = real(fd, size, offset)
        monkeypatch.undo()
        append(log, *range(50, 1_000))
        with cursor_at(directory, log_key(writer, Lane.STREAM), 1_000):
            assert reclaim(directory, 1) > 0
        assert segment_path(place, 0).stat().st_size == HEADER_SIZE
        return found

    with LogReader(place) as reader:
        assert payloads(reader.read(100, 1 << 20, final=False)) == list(range(50))
        monkeypatch.setattr(os, "pread", pread)
        frames = reader.read(10_000, 1 << 20, final=False)
    assert frames.removed > 0
    assert frames.damaged == 0
    assert payloads(frames) == list(range(50 + frames.removed, 1_000))


def cursor_at(directory: RunDirectory, log: str, sequence: int) -> Cursor:
    """The cursor of a backend that has had so many events."""
    cursor = Cursor.acquire(directory.cursor("b"))
    assert cursor is not None
    cursor.log(log).position = Position(0, HEADER_SIZE, sequence)
    cursor.save()
    return cursor


def test_a_spare_that_somebody_deleted_is_not_written_to(tmp_path: Path) -> None:
    """What is logged after the segment made in advance was deleted goes to one that readers find."""
    writer = LogWriter(tmp_path, first_size=8192)
    append(writer, *range(100))
    writer.prepare()
    segment_path(tmp_path, 1).unlink()
    append(writer, *range(100, 1_000))
    writer.seal()
    assert payloads(read_all(tmp_path)) == list(range(1_000))


@pytest.fixture
def record(tmp_path: Path) -> Callable[..., bool]:
    """Says something else of a writer, which is this process; gives whether it counts as alive."""
    directory = RunDirectory(tmp_path / "run")
    writer = directory.add_writer()
    path = directory.path / "journal" / writer / "writer.json"
    found = directory.writer_record(writer)
    assert found is not None

    def say(*, silent: float = 0.0, **changes: Any) -> bool:
        process = msgspec.structs.replace(found.process, **changes)
        path.write_bytes(msgspec.json.encode(WriterRecord(process=process, created=0.0)))
        os.utime(path, (time.time() - silent,) * 2)
        return directory.writer_alive(writer)

    return say


NOBODY = (1 << 22) + 1  # larger than the kernel's largest number of a process


@pytest.mark.parametrize("changes", [{"host": "elsewhere"}, {"namespace": 1}], ids=["host", "container"])
def test_who_can_not_be_seen_lives_while_its_heart_beats(record: Callable[..., bool], changes: dict[str, Any]) -> None:
    """Numbers of another host's or container's processes mean nothing here: the last sign of life decides."""
    assert record(silent=50, pid=NOBODY, **changes)
    assert not record(silent=70, **changes)


def test_who_can_be_seen_needs_no_heartbeat(record: Callable[..., bool]) -> None:
    """A writer of this host and container lives as long as its process, also if its record says no namespace."""
    for known in ({}, {"namespace": 0}):
        assert record(silent=70, **known)
        assert not record(pid=NOBODY, **known)
        assert not record(started=1, **known)
        assert not record(boot_id="an earlier one", **known)


def test_a_process_that_is_hidden_from_us_lives(record: Callable[..., bool], monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else's process of which nothing can be read counts as alive; one that began at another time does not."""

    def kill(pid: int, number: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "kill", kill)
    assert record(pid=NOBODY)
    assert not record(started=1)
    monkeypatch.setattr(os, "kill", lambda pid, number: None)
    assert not record(pid=NOBODY)  # it is our own, and was there a moment ago
