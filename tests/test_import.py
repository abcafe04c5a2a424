"""`tracelet import`: what event files hold reaches a run's journal and the backends, whole and once."""

from __future__ import annotations

import gzip
import json
import math
import os
import random
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import google_crc32c
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboardX.proto.event_pb2 import Event

import tracelet
from tracelet import media
from tracelet.codec import decode
from tracelet.events import (
    CurveLogged,
    EmbeddingLogged,
    FileLogged,
    HistogramLogged,
    HParamsLogged,
    Lane,
    LayoutSet,
    MediaLogged,
    MeshLogged,
    MetricsLogged,
    RunFinished,
    RunStarted,
    TensorLogged,
    TextLogged,
)
from tracelet.events import Event as Said
from tracelet.importing import Busy, Destination, Importer, Records, find
from tracelet.importing._decode import Decoder
from tracelet.importing._progress import ProgressFile
from tracelet.importing._run import ImportRecorder
from tracelet.journal import LogReader, RunDirectory
from tracelet.tensorboard._summaries import Summaries

NAME = "events.out.tfevents.1700000000.host.1.0"
FIRST = 1_700_000_000.0

Point = tuple[str, float, int, tuple[tuple[str, Any], ...]]


# Event files, and what becomes of them.


def framed(data: bytes) -> bytes:
    """A record of TensorFlow's."""
    length = struct.pack("<Q", len(data))
    return length + check(length) + data + check(data)


def check(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def scalar(tag: str, value: float, step: int, time: float = FIRST) -> bytes:
    """The record of a scalar."""
    event = Event(wall_time=time, step=step)
    event.summary.value.add(tag=tag, simple_value=value)
    return framed(event.SerializeToString())


def version() -> bytes:
    """The record that an event file begins with."""
    return framed(Event(wall_time=FIRST, file_version="brain.Event:2").SerializeToString())


def write(directory: Path, *records: bytes, name: str = NAME) -> Path:
    """An event file with these records behind the first one."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    path.write_bytes(version() + b"".join(records))
    return path


def said(run: Path) -> Iterator[tuple[Lane, Said, bytes]]:
    """What a run's journal has, lane by lane, and the content of the files."""
    directory = RunDirectory(run)
    for lane in Lane:
        for writer in directory.writers():
            with LogReader(directory.log(writer, lane)) as reader:
                while (frames := reader.read(1_000, 1 << 24, final=True)).sequences:
                    for word, payload in zip(frames.words, frames.payloads, strict=True):
                        event = decode(word, payload)
                        file = (run / event.path).read_bytes() if isinstance(event, FileLogged) else b""
                        yield lane, event, file


def content(run: Path) -> list[tuple[Lane, Said, bytes]]:
    """What a run was told, without what differs between two journals of the same."""
    found = []
    for lane, event, file in said(run):
        if not isinstance(event, RunStarted | RunFinished):
            same = msgspec.structs.replace(event, path="", mtime_ns=0) if isinstance(event, FileLogged) else event
            found.append((lane, same, file))
    return found


def points(run: Path) -> list[Point]:
    """The metrics of a run."""
    events = [event for _, event, _ in said(run) if isinstance(event, MetricsLogged)]
    return [(name, value, event.step, event.context) for event in events for name, value in event.values.items()]


def imported(logs: Path, runs: Path) -> dict[str, Importer]:
    """Import everything once; by the name of the run, what did it."""
    done = {}
    for group in find(logs).groups:
        importer = Importer(group, Destination(runs, "p", []), group.name)
        try:
            importer.step()
        finally:
            importer.close()
        done[group.name] = importer
    return done


def one(logs: Path, runs: Path) -> Path:
    """Import a log directory that is one run; the run's directory."""
    (importer,) = imported(logs, runs).values()
    return importer.directory.path


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    return tmp_path / "logs"


# What is imported.


def test_scalars_arrive_with_their_names_values_steps_and_times(logs: Path, runs: Path) -> None:
    """A scalar's tag, value, step and wall time are those of the file."""
    write(logs, scalar("loss", 0.5, 3, FIRST + 1), scalar("loss", 0.25, 4, FIRST + 2), scalar("größe", -1.0, 0, FIRST))
    events = [event for _, event, _ in content(one(logs, runs))]
    assert events == [
        MetricsLogged(FIRST + 1, {"loss": 0.5}, 3),
        MetricsLogged(FIRST + 2, {"loss": 0.25}, 4),
        MetricsLogged(FIRST, {"größe": -1.0}, 0),
    ]


def test_steps_and_values_at_the_limits_arrive(logs: Path, runs: Path) -> None:
    """Huge and negative steps, NaN and the infinities, also where the tag is known from before."""
    steps = [0, 1, 127, 128, 2**21 - 1, 2**21, 2**56 - 1, 2**56, 2**62, 2**63 - 1, -1, -(2**63)]
    values = [math.inf, -math.inf, 0.0, -0.0, 3.0e38, 1e-45]
    write(logs, *(scalar("m", 1.0, step) for step in steps), *(scalar("m", value, 5) for value in values))
    found = points(one(logs, runs))
    assert [step for _, _, step, _ in found[: len(steps)]] == steps
    assert [value for _, value, _, _ in found[len(steps) :]] == [
        struct.unpack("<f", struct.pack("<f", value))[0] for value in values
    ]
    write(logs, scalar("m", math.nan, 1), name=NAME + ".2")
    assert math.isnan(points(one(logs, runs))[-1][1])


def test_the_run_starts_and_ends_with_its_events(logs: Path, runs: Path) -> None:
    """The run's start is its first event's time, and its end that of the last one."""
    write(logs, scalar("m", 1.0, 1, FIRST + 60))
    run = one(logs, runs)
    events = [event for _, event, _ in said(run)]
    assert events[0] == RunStarted(FIRST, "logs", "p")
    assert events[-1] == RunFinished(FIRST + 60, "completed")
    assert RunDirectory(run).read_record().created == FIRST


def test_what_files_say_of_themselves_is_nothing(logs: Path, runs: Path) -> None:
    """Versions, session logs and run metadata make no events, and no run."""
    quiet = [Event(wall_time=FIRST, step=5), Event(wall_time=FIRST), Event(wall_time=FIRST)]
    quiet[0].session_log.status = 1
    quiet[1].tagged_run_metadata.tag = "step1"
    quiet[2].log_message.message = "hello"
    write(logs, *(framed(event.SerializeToString()) for event in quiet))
    (importer,) = imported(logs, runs).values()
    assert importer.report.scalars == 0
    assert not importer.directory.path.exists()


def test_what_can_not_be_understood_is_counted_and_said(logs: Path, runs: Path) -> None:
    """Values of no known kind, and records that are no events, cost nothing but themselves."""
    event = Event(wall_time=FIRST, step=1)
    event.summary.value.add(tag="bad").image.encoded_image_string = b"no image"
    event.summary.value.add(tag="m", simple_value=1.0)
    write(logs, framed(event.SerializeToString()), framed(event.SerializeToString()), framed(b"\xff\xff\xff"))
    (importer,) = imported(logs, runs).values()
    assert importer.report.misunderstood["bad"][0] == 2
    assert "format" in importer.report.misunderstood["bad"][1]
    assert importer.report.misunderstood["a record"][0] == 1
    assert [name for name, _, _, _ in points(importer.directory.path)] == ["m", "m"]


@given(st.lists(st.tuples(st.text(), st.floats(width=32), st.integers(-(2**63), 2**63 - 1), st.floats())))
@settings(deadline=None)
def test_recognised_scalars_are_those_that_protobuf_parses(values: list[tuple[str, float, int, float]]) -> None:
    """Whatever tag, value, step and time: what is said is what protobuf reads, the first time and later."""
    told: list[tuple[Any, ...]] = []

    class Run:
        def log_metric(self, name: str, value: float, step: int, *, context: Any, time: float) -> None:
            told.append((name, value, step, context, time))

    decoder = Decoder(Run(), Event.FromString, Summaries(), {"a": "b"}, {}, lambda *_: None)  # type: ignore[arg-type]
    events = [Event(wall_time=time, step=step) for _, _, step, time in values]
    for event, (tag, value, _, _) in zip(events, values, strict=True):
        event.summary.value.add(tag=tag, simple_value=value)
    decoder.log([event.SerializeToString() for event in events] * 2)
    expected = [
        (e.summary.value[0].tag, e.summary.value[0].simple_value, e.step, {"a": "b"}, e.wall_time) for e in events
    ]
    assert repr(told) == repr(expected * 2)


@given(st.binary(max_size=60), st.integers(0, 60), st.integers(0, 255))
@settings(deadline=None)
def test_changed_bytes_are_never_taken_for_a_scalar(start: bytes, place: int, byte: int) -> None:
    """Bytes that are not what protobuf would write for a scalar are left to protobuf."""
    told: list[tuple[Any, ...]] = []

    class Run:
        def log_metric(self, name: str, value: float, step: int, *, context: Any, time: float) -> None:
            told.append((name, value, step, time))

    decoder = Decoder(Run(), Event.FromString, Summaries(), None, {}, lambda *_: None)  # type: ignore[arg-type]
    event = Event(wall_time=FIRST, step=300)
    event.summary.value.add(tag="m", simple_value=1.5)
    whole = event.SerializeToString()
    changed = bytearray(whole)
    changed[place % len(whole)] = byte
    decoder.log([whole])
    for data in (bytes(changed), start, start + whole[9:]):
        told.clear()
        decoder.log([data])
        try:
            read = Event.FromString(data)
        except Exception:
            assert not told
            continue
        expected = [
            (value.tag, value.simple_value, read.step, read.wall_time)
            for value in (read.summary.value if read.WhichOneof("what") == "summary" else ())
            if value.WhichOneof("value") == "simple_value"
        ]
        assert repr(told) == repr(expected)


# Which runs there are.


def test_a_directory_with_event_files_is_one_run(logs: Path, runs: Path) -> None:
    """Directories below it are told apart by their path; its own points have no context."""
    write(logs, scalar("m", 1.0, 1))
    write(logs / "val", scalar("m", 2.0, 1))
    write(logs / "deep" / "er", scalar("m", 3.0, 1))
    assert set(points(one(logs, runs))) == {
        ("m", 1.0, 1, ()),
        ("m", 2.0, 1, (("logdir", "val"),)),
        ("m", 3.0, 1, (("logdir", "deep/er"),)),
    }


def test_directories_without_a_common_one_are_runs(logs: Path, runs: Path) -> None:
    """Each directory with event files somewhere below it is a run of its name."""
    write(logs / "first", scalar("m", 1.0, 1))
    write(logs / "second" / "train", scalar("m", 2.0, 1))
    done = imported(logs, runs)
    assert points(done["first"].directory.path) == [("m", 1.0, 1, ())]
    assert points(done["second"].directory.path) == [("m", 2.0, 1, (("logdir", "train"),))]
    assert done["first"].directory.id != done["second"].directory.id


def test_parts_of_a_run_are_one_run(logs: Path) -> None:
    """Directories that are all called train, validation and the like belong together, unless told otherwise."""
    write(logs / "train", scalar("m", 1.0, 1))
    write(logs / "Validation", scalar("m", 1.0, 1))
    assert [group.name for group in find(logs).groups] == ["logs"]
    assert [group.name for group in find(logs, "each").groups] == ["Validation", "train"]
    write(logs / "baseline", scalar("m", 1.0, 1))
    assert [group.name for group in find(logs).groups] == ["Validation", "baseline", "train"]
    assert [group.name for group in find(logs, "one").groups] == ["logs"]


def test_files_are_read_in_the_order_in_which_they_were_begun(logs: Path, runs: Path) -> None:
    """Of several files in a directory, the later ones go on where the earlier ones end."""
    write(logs, scalar("m", 2.0, 2), name="events.out.tfevents.1700000200.host.2.0")
    write(logs, scalar("m", 1.0, 1), name="events.out.tfevents.1700000100.host.9.0")
    assert [value for _, value, _, _ in points(one(logs, runs))] == [1.0, 2.0]


def test_links_are_followed_but_to_no_directory_twice(logs: Path, tmp_path: Path) -> None:
    """A link to files elsewhere counts; one that leads back is left."""
    write(tmp_path / "elsewhere", scalar("m", 1.0, 1))
    logs.mkdir()
    (logs / "linked").symlink_to(tmp_path / "elsewhere")
    (logs / "round").symlink_to(logs)
    assert [group.name for group in find(logs).groups] == ["linked"]


def test_what_can_not_be_read_is_said_and_the_rest_goes_on(logs: Path) -> None:
    """Compressed and empty files are named, and others are found."""
    write(logs, scalar("m", 1.0, 1))
    (logs / "a.tfevents.gz").write_bytes(gzip.compress(version()))
    (logs / "b.tfevents").touch()
    finding = find(logs)
    assert len(finding.groups) == 1
    assert [(problem.path.name, "gunzip" in problem.reason) for problem in finding.problems] == [
        ("a.tfevents.gz", True)
    ]
    assert [path.name for path in finding.empty] == ["b.tfevents"]


# The same as captured.


def writers() -> list[Any]:
    torch = "torch.utils.tensorboard"
    return [pytest.param(torch, id="torch"), pytest.param("tensorboardX", id="tensorboardX")]


def everything(module: str, logs: Path) -> None:
    """A training that uses what makes directories of its own."""
    writer_class = pytest.importorskip(module).SummaryWriter
    trial = {"run_name": "trial"} if module.startswith("torch") else {"name": "trial"}
    writer = writer_class(str(logs))
    for step in range(3):
        writer.add_scalar("loss", step * 0.5, step)
        writer.add_scalars("group/main", {"a": step, "b/c": step + 0.5}, step)
    writer.add_text("note", "*text*", 2)
    writer.add_hparams({"lr": 0.5, "name": "x"}, {"accuracy": 0.75}, **trial)
    writer.close()
    other = writer_class(str(logs / "val"))
    other.add_scalar("loss", 9.0, 1)
    other.close()


def all_kinds(module: str, logs: Path) -> None:
    """A training that shows one of each kind."""
    numpy = pytest.importorskip("numpy")
    torch = pytest.importorskip("torch")
    writer = pytest.importorskip(module).SummaryWriter(str(logs))
    pixels = numpy.arange(48, dtype=numpy.uint8).reshape(3, 4, 4)
    writer.add_scalar("loss", 0.5, 1)
    writer.add_image("image", pixels, 2)
    writer.add_images("images", numpy.stack([pixels] * 3), 3)
    writer.add_histogram("histogram", numpy.linspace(-3, 3, 100), 4)
    writer.add_text("text", "*text*", 6)
    writer.add_pr_curve("curve", numpy.array([0, 1, 1, 0]), numpy.array([0.1, 0.4, 0.8, 0.6]), 7)
    points, faces = torch.arange(12.0).reshape(1, 4, 3), torch.tensor([[[0, 1, 2], [1, 2, 3]]])
    writer.add_mesh("mesh", points, torch.full((1, 4, 3), 128), faces, {"camera": {"fov": 75}}, 8)
    writer.add_custom_scalars({"losses": {"all": ["Multiline", ["loss"]], "band": ["Margin", ["a", "b", "c"]]}})
    writer.add_embedding(torch.arange(6.0).reshape(3, 2), ["a", "b", "c"], global_step=9, tag="embedding")
    writer.add_hparams({"lr": 0.5, "name": "x"}, {"accuracy": 0.75})
    writer.add_graph(torch.nn.Linear(2, 3), torch.zeros(1, 2))
    if module.startswith("torch"):
        writer.add_audio("audio", torch.zeros(1, 80), 5, sample_rate=8_000)
        writer.add_tensor("tensor", torch.tensor([[1.5, 2.5]]), 10)
        writer.add_tensor("halves", torch.tensor([[1.5, 2.5]], dtype=torch.float16), 10)
        writer.add_hparams({"lr": 0.5}, {"accuracy": 0.5}, {"lr": [0.5, 1.0]}, "named", 11)
    writer.close()


def compare(imported_run: Path, captured_run: Path) -> None:
    """See that two runs were told the same, but for their times."""
    assert set(points(imported_run)) == set(points(captured_run))
    for kind in (TextLogged, HParamsLogged, LayoutSet):
        pair = [[event for _, event, _ in said(run) if isinstance(event, kind)] for run in (imported_run, captured_run)]
        assert [msgspec.structs.replace(event, time=0.0) for event in pair[0]] == [
            msgspec.structs.replace(event, time=0.0) for event in pair[1]
        ]


@pytest.mark.parametrize("module", writers())
def test_files_say_what_capture_said(module: str, logs: Path, runs: Path) -> None:
    """The same calls, captured, and imported from the files that they wrote, make the same points and trials."""
    pytest.importorskip(module)
    captured = tracelet.start_logging([], "captured", directory=runs.parent)
    everything(module, logs)
    tracelet.stop_logging()
    found = one(logs, runs.parent / "imported")
    compare(found, captured.directory)
    assert ("group/main/b/c", 1.5, 1, ()) in points(found)
    assert ("loss", 9.0, 1, (("logdir", "val"),)) in points(found)
    assert ("accuracy", 0.75, 0, ()) in points(found)
    assert {TextLogged, HParamsLogged} <= {type(event) for _, event, _ in said(found)}


@pytest.mark.timeout(240)
@pytest.mark.filterwarnings("ignore")  # of torch, tensorboardX, protobuf and matplotlib
@pytest.mark.parametrize("module", writers())
def test_files_show_what_capture_showed(module: str, logs: Path, runs: Path) -> None:
    """Of every kind, the same names, steps and contexts; and the same numbers, where files keep them."""
    numpy = pytest.importorskip("numpy")
    pytest.importorskip(module)
    captured = tracelet.start_logging([], "captured", directory=runs.parent, strict=True)
    all_kinds(module, logs)
    tracelet.stop_logging()
    found = one(logs, runs.parent / "imported")
    compare(found, captured.directory)

    shown: list[dict[tuple[Any, ...], MediaLogged]] = []
    for run in (found, captured.directory):
        media_events = [event for _, event, _ in said(run) if isinstance(event, MediaLogged)]
        shown.append(
            {
                (type(event), event.name, event.step, event.context): msgspec.structs.replace(
                    event, path=str(run / event.path)
                )
                for event in media_events
            }
        )
    assert shown[0].keys() == shown[1].keys()
    assert len(shown[0]) == (10 if module.startswith("torch") else 7)
    for key, ours in shown[0].items():
        theirs = shown[1][key]
        match ours, theirs:
            case (CurveLogged(), CurveLogged()):
                mine, other = media.curve(ours), media.curve(theirs)
                assert mine.thresholds == pytest.approx(other.thresholds)
                assert mine.x == pytest.approx(other.x)
            case (HistogramLogged(), HistogramLogged()):
                assert sum(media.histogram(ours).counts) == sum(media.histogram(theirs).counts) == 100
            case (TensorLogged(), TensorLogged()):
                assert numpy.array_equal(media.array(ours), media.array(theirs))
            case (MeshLogged(), MeshLogged()):
                assert media.mesh(ours) == media.mesh(theirs)
                assert json.loads(ours.config) == json.loads(theirs.config) == {"camera": {"fov": 75}}
            case (EmbeddingLogged(), EmbeddingLogged()):
                assert media.embedding(ours) == media.embedding(theirs)


def test_a_directory_of_the_users_is_not_taken_for_one_of_add_scalars(logs: Path, runs: Path) -> None:
    """A scalar whose tag does not begin the directory's name keeps the directory as its context."""
    write(logs, scalar("m", 1.0, 1))
    write(logs / "mode_a", scalar("m", 2.0, 1))
    write(logs / "m_a", scalar("m", 3.0, 1), scalar("n", 4.0, 1))
    assert set(points(one(logs, runs))) == {
        ("m", 1.0, 1, ()),
        ("m", 2.0, 1, (("logdir", "mode_a"),)),
        ("m/a", 3.0, 1, ()),
        ("n", 4.0, 1, (("logdir", "m_a"),)),
    }


def test_scalars_whose_tags_have_slashes_belong_to_their_writer(logs: Path, runs: Path) -> None:
    """`add_scalars("loss", {"a": …, "a/b": …})` makes one directory inside of the other."""
    write(logs)
    write(logs / "loss_a", scalar("loss", 1.0, 1))
    write(logs / "loss_a" / "b", scalar("loss", 2.0, 1))
    assert set(points(one(logs, runs))) == {("loss/a", 1.0, 1, ()), ("loss/a/b", 2.0, 1, ())}


def test_a_trial_without_a_name_has_none(logs: Path, runs: Path) -> None:
    """The directory that is named after the time is no name."""
    writer_class = pytest.importorskip("tensorboardX").SummaryWriter
    writer = writer_class(str(logs))
    writer.add_hparams({"lr": 0.5, "deep": True}, {"accuracy": 0.75})
    writer.close()
    (trial,) = [event for _, event, _ in said(one(logs, runs)) if isinstance(event, HParamsLogged)]
    assert (trial.name, trial.metrics) == ("", ("accuracy",))
    assert trial.values["lr"] == 0.5


@pytest.mark.parametrize("module", writers())
def test_embeddings_arrive_with_labels_columns_and_pictures(module: str, logs: Path, runs: Path) -> None:
    """What `add_embedding` wrote beside the event file is one event for each call, and once."""
    numpy = pytest.importorskip("numpy")
    torch = pytest.importorskip("torch")
    writer = pytest.importorskip(module).SummaryWriter(str(logs))
    vectors = torch.arange(15.0).reshape(5, 3)
    pictures = torch.zeros(5, 3, 4, 4)
    pictures[3] = 1.0
    rows = [[f"n{number}", number] for number in range(5)]
    writer.add_embedding(vectors, rows, pictures, 7, "emb", ["name", "number"])
    writer.add_embedding(vectors, ["a", "b", "c", "d", "e"], tag="plain", global_step=8)
    writer.close()
    run = one(logs, runs)
    one(logs, runs)
    found = [(event, file) for _, event, file in said(run) if isinstance(event, EmbeddingLogged)]
    assert [(event.name, event.step) for event, _ in found] == [("emb", 7), ("plain", 8)]
    with numpy.load(run / found[0][0].path) as arrays:
        assert arrays["vectors"].tolist() == vectors.tolist()
        labels = json.loads(arrays["labels"].tobytes())
        assert [[str(cell) for cell in row] for row in labels] == [[name, str(number)] for name, number in rows]
        assert arrays["images"].reshape(5, -1).mean(axis=1).tolist() == [0, 0, 0, 255, 0]
    with numpy.load(run / found[1][0].path) as arrays:
        assert json.loads(arrays["labels"].tobytes()) == ["a", "b", "c", "d", "e"]


# Damaged files.


def scalars(count: int) -> list[bytes]:
    return [scalar("m", float(number), number) for number in range(count)]


def whole(path: Path) -> list[bytes]:
    """The data of all records."""
    with Records(path) as records:
        found: list[bytes] = []
        while part := records.read():
            found += part
        return found


@pytest.mark.parametrize("place", [0, 5, 9, 14, 30], ids=["length", "high length", "check", "data", "more data"])
def test_a_flipped_byte_costs_its_record(logs: Path, runs: Path, place: int) -> None:
    """The record it is in is passed over, with its bytes counted, and the next ones are read."""
    records = scalars(10)
    bad = bytearray(records[4])
    bad[place] ^= 0x55
    write(logs, *records[:4], bytes(bad), *records[5:])
    (importer,) = imported(logs, runs).values()
    assert [step for _, _, step, _ in points(importer.directory.path)] == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert importer.report.skipped == len(records[4])


def test_garbage_in_the_middle_costs_itself(logs: Path, runs: Path) -> None:
    """Bytes that are no records are passed over, whatever they are and however many."""
    for number, garbage in enumerate([b"\0" * 5_000, random.Random(1).randbytes(3_000_000), b"\x01" + b"\0" * 11]):
        place = logs / str(number)
        write(place, *scalars(3), garbage, *scalars(2))
        (importer,) = imported(place, runs).values()
        assert importer.report.scalars == 5
        assert importer.report.skipped == len(garbage)


def test_bytes_that_are_missing_cost_the_records_they_were_of(logs: Path, runs: Path) -> None:
    """A record that was cut short in the middle of a file hides none but itself."""
    records = scalars(6)
    write(logs, *records[:2], records[2][:-9], *records[3:])
    (importer,) = imported(logs, runs).values()
    assert [step for _, _, step, _ in points(importer.directory.path)] == [0, 1, 3, 4, 5]


@pytest.mark.parametrize("cut", [1, 4, 11, 12, 20])
def test_a_torn_record_at_the_end_is_waited_for(logs: Path, runs: Path, cut: int) -> None:
    """It is no damage: once it is whole, it is imported."""
    path = write(logs, *scalars(3))
    data = path.read_bytes()
    path.write_bytes(data[:-cut])
    (importer,) = imported(logs, runs).values()
    assert (importer.report.scalars, importer.report.skipped) == (2, 0)
    assert importer.report.left == len(scalars(3)[2]) - cut
    path.write_bytes(data + scalar("m", 3.0, 3))
    (importer,) = imported(logs, runs).values()
    assert (importer.report.scalars, importer.report.skipped) == (2, 0)
    assert [step for _, _, step, _ in points(importer.directory.path)] == [0, 1, 2, 3]


@given(
    st.lists(st.binary(max_size=200), max_size=8),
    st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 255)), max_size=4),
    st.integers(0, 2_000),
    st.binary(max_size=40),
)
@settings(deadline=None, max_examples=300)
def test_no_damage_makes_a_record(
    tmp_path_factory: pytest.TempPathFactory,
    contents: list[bytes],
    flips: list[tuple[int, int]],
    at: int,
    garbage: bytes,
) -> None:
    """However bytes are changed or come in between: what is read is some of what was written, in order, to the end."""
    path = tmp_path_factory.mktemp("damaged") / NAME
    data = bytearray(b"".join(map(framed, contents)))
    data[at % (len(data) + 1) : at % (len(data) + 1)] = garbage
    for place, byte in flips:
        if data:
            data[place % len(data)] = byte
    path.write_bytes(data)
    remaining = iter(contents)
    assert all(found in remaining for found in whole(path))
    path.write_bytes(data + framed(b"the end"))
    assert whole(path)[-1:] == [b"the end"]


def test_records_larger_than_a_chunk_are_read(tmp_path: Path) -> None:
    """A record may have any size."""
    contents = [b"a" * 10, b"b" * 5_000_000, b"c" * ((1 << 20) - 16), b"d"]
    path = tmp_path / NAME
    path.write_bytes(b"".join(map(framed, contents)))
    assert whole(path) == contents


def test_what_is_behind_the_limit_is_left(tmp_path: Path) -> None:
    """A reader with a limit sees the file as it was when it had that length."""
    path = tmp_path / NAME
    first, second = framed(b"first"), framed(b"second")
    path.write_bytes(first + second + framed(b"third"))
    for torn in (0, 1, len(second) - 1):
        with Records(path, 0, len(first) + torn) as records:
            assert records.read() == [b"first"]
            assert records.read() == []
            assert (records.offset, records.left, records.skipped) == (len(first), torn, 0)
    with Records(path, len(first), len(first) + len(second)) as records:
        assert records.read() == [b"second"]


# Again and again.


def test_a_second_import_adds_nothing(logs: Path, runs: Path) -> None:
    """It finds nothing new, and begins no writer."""
    write(logs, *scalars(3))
    run = one(logs, runs)
    before = list(said(run))
    (importer,) = imported(logs, runs).values()
    assert importer.directory.path == run
    assert importer.report.scalars == 0
    assert list(said(run)) == before


def test_what_was_written_since_is_added(logs: Path, runs: Path) -> None:
    """Longer files, new files and new directories go on in the same run."""
    path = write(logs, *scalars(2))
    run = one(logs, runs)
    with path.open("ab") as file:
        file.write(scalar("m", 2.0, 2))
    write(logs, scalar("m", 3.0, 3), name="events.out.tfevents.1700000500.host.1.0")
    write(logs / "val", scalar("m", 4.0, 4), name="events.out.tfevents.1600000000.host.1.0")
    assert one(logs, runs) == run
    assert [step for _, _, step, _ in points(run)] == [0, 1, 4, 2, 3]
    starts = [event.resumed for _, event, _ in said(run) if isinstance(event, RunStarted)]
    assert starts == [False, True]


def test_the_run_is_the_same_whatever_becomes_of_its_first_file(logs: Path, runs: Path) -> None:
    """Its id is made of the place, the first file's name and time, and a beginning that is damaged changes nothing."""
    path = write(logs, *scalars(2))
    run = one(logs, runs)
    assert one(logs, runs.parent / "other").name == run.name
    assert UUID(run.name).version == 7
    assert int(run.name.replace("-", "")[:12], 16) == FIRST * 1000
    data = bytearray(path.read_bytes())
    data[3] ^= 0xFF
    path.write_bytes(bytes(data) + scalar("m", 2.0, 2))
    assert one(logs, runs) == run
    assert [step for _, _, step, _ in points(run)] == [0, 1, 2]


def test_other_files_in_the_same_place_are_another_run(logs: Path, runs: Path) -> None:
    """A training that was deleted and started anew, with files of its own, does not go on with the old run."""
    first = one(write(logs, *scalars(2)).parent, runs)
    (logs / NAME).unlink()
    write(logs, *scalars(3), name="events.out.tfevents.1700009999.host.1.0")
    second = one(logs, runs)
    assert first != second
    assert (len(points(first)), len(points(second))) == (2, 3)


def test_two_imports_at_once_are_one(logs: Path, runs: Path) -> None:
    """The second one says who is at it, and does nothing."""
    write(logs, *scalars(2))
    (group,) = find(logs).groups
    first = Importer(group, Destination(runs, "p", []), "a")
    with pytest.raises(Busy, match=str(os.getpid())):
        Importer(group, Destination(runs, "p", []), "a")
    first.step()
    first.close()
    assert len(points(first.directory.path)) == 2


def test_progress_is_recorded_behind_a_sync_of_the_journal(
    logs: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a loss of power the journal may have more than the record says, and never less."""
    calls: list[Any] = []
    sync, record = ImportRecorder.sync, ProgressFile.write

    def note_sync(self: ImportRecorder) -> None:
        sync(self)
        calls.append("sync")

    def note_record(self: ProgressFile, progress: Any) -> None:
        calls.append(sum(sum(counts.values()) for counts in progress.counts.values()))
        record(self, progress)

    monkeypatch.setattr(ImportRecorder, "sync", note_sync)
    monkeypatch.setattr(ProgressFile, "write", note_record)
    monkeypatch.setattr("tracelet.importing._importer.CHECKPOINT", 0.0)
    write(logs, *scalars(100))
    one(logs, runs)
    made = [(before, call) for before, call in pairwise(calls) if call != "sync"]
    assert max(call for _, call in made) == 100
    grown = [before for (before, call), (_, earlier) in zip(made[1:], made, strict=False) if call > earlier]
    assert grown
    assert set(grown) == {"sync"}


def test_a_full_disk_stops_the_import_and_the_next_one_goes_on(
    logs: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left out: the import ends with an error, and what the journal has is not imported twice."""
    write(logs, *scalars(40_000))

    def refuse(supply: Any, *_: Any) -> None:
        supply.problem = "No space left on device"

    with monkeypatch.context() as patch:
        patch.setattr("tracelet.journal.supply.Supply._create", refuse)
        patch.setattr("tracelet.importing._records._CHUNK", 10_000)  # so that much is read before
        with pytest.raises(OSError, match="No space left"):
            imported(logs, runs)
    (run,) = runs.iterdir()
    assert 0 < len(points(run)) < 40_000
    assert one(logs, runs) == run
    assert [step for _, _, step, _ in points(run)] == list(range(40_000))


def test_times_beyond_all_years_do_not_confuse_the_run(logs: Path, runs: Path) -> None:
    """Events keep them, and the run's own start, end and record do not."""
    write(logs, *(scalar("m", 1.0, 1, time) for time in (math.inf, 1e300, math.nan, -5.0, FIRST + 1)))
    run = one(logs, runs)
    assert one(logs, runs) == run
    events = [event for _, event, _ in said(run)]
    assert repr([event.time for event in events[1:-1]]) == repr([math.inf, 1e300, math.nan, -5.0, FIRST + 1])
    assert (events[0].time, events[-1].time) == (FIRST, FIRST + 1)


_KILLED = """
import itertools, os, signal, sys
from pathlib import Path
from tracelet.importing import Destination, Importer, _importer, _progress, _records, _run, find
from tracelet.journal import Recorder

left = int(sys.argv[3])

def deadly(function):
    def call(*args, **kwargs):
        strike()
        result = function(*args, **kwargs)
        strike()
        return result
    return call

def strike():
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

def init(self, *args, original=_run.ImportRecorder.__init__):
    strike()
    original(self, *args)
    strike()
    self.append = deadly(self.append)
    self.append_at_once = deadly(self.append_at_once)

_importer.CHECKPOINT = float(sys.argv[4])
_records._CHUNK = 200
_run.ImportRecorder.__init__ = init
for owner, name in (
    (_run.ImportRecorder, "append_bulk"), (_run.ImportRecorder, "write_in"), (Recorder, "finish"),
    (_progress.ProgressFile, "write"), (_progress.ProgressFile, "mark"), (_progress.ProgressFile, "forget_marks"),
):
    setattr(owner, name, deadly(getattr(owner, name)))
(group,) = find(Path(sys.argv[1])).groups
importer = Importer(group, Destination(Path(sys.argv[2]), "p", []), group.name)
importer.step()
importer.close()
"""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(6))
def test_a_killed_import_goes_on_where_it_was(logs: Path, runs: Path, seed: int) -> None:
    """Killed anywhere, again and again, while the files grow: in the end everything is there, in order and once."""
    pytest.importorskip("PIL")
    everything("tensorboardX", logs)
    writer = pytest.importorskip("tensorboardX").SummaryWriter(str(logs / "media"))
    for step in range(6):
        writer.add_image("picture", _image(step), step)
        writer.add_histogram("h", [1.0, 2.0, step], step)
        writer.add_text("t", f"text {step}", step)
    bad = Event(wall_time=FIRST)
    bad.summary.value.add(tag="bad").image.encoded_image_string = b"none"
    writer.close()
    (media,) = (logs / "media").glob("*tfevents*")
    with media.open("ab") as file:
        file.write(framed(bad.SerializeToString()) + scalar("after", 1.0, 1))
    expected = content(one(logs, runs.parent / "whole"))
    assert len(expected) > 30
    chance, kills = random.Random(seed), 0
    while True:
        done = killed(logs, runs, chance, 60 * (kills + 1) if kills < 5 else 0)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        kills += 1
    (run,) = runs.iterdir()
    assert content(run) == expected
    files = sum(isinstance(event, FileLogged) for _, event, _ in expected)
    assert files <= len(os.listdir(run / "blobs")) <= files + kills  # a kill may come between a file and its event
    assert kills
    assert one(logs, runs) == run
    assert content(run) == expected


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(2))
def test_a_killed_import_of_files_that_grow_loses_and_repeats_nothing(logs: Path, runs: Path, seed: int) -> None:
    """What was added between the kill and the next import comes after what had been under way."""
    chance, steps = random.Random(seed), dict.fromkeys(("", "a", "b"), 0)
    for kills in range(8):
        for part in steps:
            if not kills:
                write(logs / part)
            with (logs / part / NAME).open("ab") as file:
                for _ in range(chance.randint(0, 12)):
                    file.write(scalar(f"m{part}", 1.0, steps[part]))
                    steps[part] += 1
        done = killed(logs, runs, chance, 60 if kills < 7 else 0)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
    assert done.returncode == 0
    (run,) = runs.iterdir()
    for part, count in steps.items():
        assert [step for name, _, step, _ in points(run) if name == f"m{part}"] == list(range(count))


def killed(logs: Path, runs: Path, chance: random.Random, latest: int) -> subprocess.CompletedProcess[str]:
    """An import that is killed at one of so many places (0: nowhere), with records of its progress often or seldom."""
    place = chance.randint(1, latest) if latest else 0
    command = [sys.executable, "-c", _KILLED, str(logs), str(runs), str(place), chance.choice(["0", "1e9"])]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def _image(step: int) -> Any:
    numpy = pytest.importorskip("numpy")
    return numpy.full((3, 4, 4), step * 40, numpy.uint8)


# The command.


def command(*arguments: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TRACELET_")}
    return subprocess.run(
        [sys.executable, "-m", "tracelet", "import", *map(str, arguments)],
        cwd=cwd,
        env=clean | {"COLUMNS": "200"} | environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def test_the_command_imports_and_delivers(logs: Path, tmp_path: Path) -> None:
    """It shows the plan and what became of each run; again, it finds nothing new and delivers nothing twice."""
    write(logs / "one", *scalars(5))
    write(logs / "two", *scalars(2))
    arguments = (logs, "--backend", "jsonl", "--project", "vision")
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 scalars" in done.stdout
    assert "closed as completed" in done.stdout
    assert str(logs / "two") in done.stdout
    path = tmp_path / "events.jsonl"
    lines = path.read_text().splitlines()
    assert sum("MetricsLogged" in line for line in lines) == 7
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("nothing new") == 2
    assert "everything is delivered" in done.stdout
    assert path.read_text().splitlines() == lines


def test_backends_come_from_the_environment_and_later(logs: Path, tmp_path: Path) -> None:
    """Without a backend the journal keeps all; TRACELET_BACKEND, at a later import, gets it from the beginning."""
    write(logs, *scalars(2))
    done = command(logs, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "tracelet sync --backend" in done.stdout
    done = command(logs, cwd=tmp_path, TRACELET_BACKEND="jsonl", TRACELET_MODE="offline")
    assert "TRACELET_MODE=offline" in done.stdout
    assert not (tmp_path / "events.jsonl").exists()
    done = command(logs, cwd=tmp_path, TRACELET_BACKEND="jsonl")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "events.jsonl").read_text().count("MetricsLogged") == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no event files"),
        (["--one-run", "--each"], "exclude each other"),
        (["--backend", "nonesuch"], "no backend named 'nonesuch'"),
    ],
)
def test_wrong_use_is_told_and_exits_with_2(logs: Path, tmp_path: Path, arguments: Sequence[str], words: str) -> None:
    """An empty directory, options that exclude each other, an unknown backend."""
    logs.mkdir()
    done = command(logs, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert words in " ".join(done.stderr.replace("│", " ").split())
    assert not (tmp_path / ".tracelet").exists()


def test_a_name_is_for_one_run(logs: Path, tmp_path: Path) -> None:
    """`--exp-name` names the run, and is refused where there are several."""
    write(logs / "a", *scalars(1))
    write(logs / "b", *scalars(1))
    done = command(logs, "--exp-name", "mine", cwd=tmp_path)
    assert done.returncode == 2
    assert "--one-run" in done.stderr
    done = command(logs, "--exp-name", "mine", "--one-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / ".tracelet" / "runs").iterdir()
    assert RunDirectory(run).read_record().name == "mine"


def test_a_file_that_can_not_be_opened_is_a_problem(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named with the reason, and the others are found."""
    write(logs, *scalars(1))
    secret = write(logs / "val", *scalars(1))
    original = Path.open

    def refuse(path: Path, *args: Any, **kwargs: Any) -> Any:
        if path == secret:
            raise PermissionError(13, "Permission denied", str(path))
        return original(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    finding = find(logs)
    assert [problem.path for problem in finding.problems] == [secret]
    assert [group.files for group in finding.groups] == [[NAME]]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_said_and_told_by_the_exit_code(logs: Path, tmp_path: Path) -> None:
    """A file without permission costs itself."""
    write(logs, *scalars(3))
    write(logs, *scalars(2), name=NAME + ".secret").chmod(0)
    done = command(logs, cwd=tmp_path)
    assert done.returncode == 1
    assert "Permission denied" in done.stdout
    assert "3 scalars" in done.stdout


def test_a_compressed_file_is_told_by_the_exit_code(logs: Path, tmp_path: Path) -> None:
    """The others are imported, and the exit code is 1."""
    write(logs, *scalars(3))
    (logs / "x.tfevents.gz").write_bytes(gzip.compress(version()))
    done = command(logs, cwd=tmp_path)
    assert done.returncode == 1
    assert "gunzip" in done.stdout
    assert "3 scalars" in done.stdout


def test_a_library_that_is_missing_is_named(logs: Path, tmp_path: Path) -> None:
    """With what to install, before anything is begun."""
    write(logs, *scalars(3))
    (tmp_path / "google_crc32c.py").write_text("raise ImportError('there is none')")
    done = command(logs, cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "google-crc32c" in done.stderr
    assert "'.[import]'" in done.stderr
    assert not (tmp_path / ".tracelet").exists()


def test_following_imports_what_is_written_until_it_is_interrupted(
    logs: Path, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    """With `--follow`, points are delivered as they are written; Ctrl-C ends the run as completed."""
    path = write(logs, *scalars(2))
    process = subprocess.Popen(
        [sys.executable, "-m", "tracelet", "import", str(logs), "--backend", "jsonl", "--follow"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    events = tmp_path / "events.jsonl"
    try:
        eventually(lambda: events.exists() and events.read_text().count("MetricsLogged") == 2)
        with path.open("ab") as file:
            file.write(scalar("m", 2.0, 2))
        eventually(lambda: events.read_text().count("MetricsLogged") == 3)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, output
    assert "3 scalars" in output
    (run,) = (tmp_path / ".tracelet" / "runs").iterdir()
    assert [event.outcome for _, event, _ in said(run) if isinstance(event, RunFinished)] == ["completed"]


@pytest.mark.timeout(240)
@pytest.mark.filterwarnings("ignore")  # of MLflow, which is imported here
def test_mlflow_has_each_point_once(logs: Path, tmp_path: Path) -> None:
    """A real MLflow database has the points, also after a second import, of what the file has grown by."""
    client_class = pytest.importorskip("mlflow").MlflowClient
    pytest.importorskip("tracelet_mlflow")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    path = write(logs, *scalars(4))
    for count in (4, 5):
        if count == 5:
            with path.open("ab") as file:
                file.write(scalar("m", 4.0, 4))
        done = command(logs, "--backend", "mlflow", "--project", "p", cwd=tmp_path, MLFLOW_TRACKING_URI=uri)
        assert done.returncode == 0, done.stdout + done.stderr
        client = client_class(uri)
        experiment = client.get_experiment_by_name("p")
        (run,) = client.search_runs([experiment.experiment_id])
        history = client.get_metric_history(run.info.run_id, "m")
        assert sorted((metric.step, metric.value) for metric in history) == [(n, float(n)) for n in range(count)]
        assert run.info.status == "FINISHED"
        assert run.info.start_time == FIRST * 1000
