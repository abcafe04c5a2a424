"""The account of journals that are damaged, or written by a later version: exact, and nothing else is lost."""

from __future__ import annotations

import os
from pathlib import Path

import anyio
import pytest

import tracelet
from tracelet import BackendStatus, Delivery, Outcome
from tracelet._bus import Bus
from tracelet._discovery import from_object
from tracelet.codec import encode
from tracelet.events import Event, Kind, Lane, MetricsLogged, RunFinished
from tracelet.journal import Recorder, RunDirectory, RunRecord
from tracelet.journal.segment import segment_path
from tracelet.status import read_status
from tracelet.testing import RecordingBackend

NAME = "RecordingBackend"


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    directory = RunDirectory(tmp_path / "run")
    directory.path.mkdir()
    record = RunRecord(id="run", name="n", project="p", created=0.0, backends={NAME: {}}, version="0")
    directory.write_record(record)
    return Recorder(directory, bool)


def say(recorder: Recorder, *steps: int) -> None:
    for step in steps:
        assert recorder.append(Kind.METRICS_LOGGED, encode(MetricsLogged(1.0, {"m": 1.0}, step)))


def finish(recorder: Recorder) -> None:
    recorder.finish(Kind.RUN_FINISHED, encode(RunFinished(2.0, "completed")))


def deliver(directory: RunDirectory) -> tuple[RecordingBackend, BackendStatus]:
    backend = RecordingBackend(delivery=Delivery(linger=0.01, batch_size=10))
    anyio.run(Bus(directory, [from_object(backend)]).run)
    status = read_status(directory).backends[NAME]
    whole = status.delivered + sum(status.dropped.values()) + status.dead_lettered + status.pending
    assert status.emitted == whole
    return backend, status


def steps(events: list[Event]) -> list[int]:
    return [event.step for event in events if isinstance(event, MetricsLogged)]


def test_damage_is_dropped_and_counted(recorder: Recorder) -> None:
    """What damage has destroyed is dropped{damaged}; everything around it is delivered, and the run is closed."""
    say(recorder, *range(100))
    finish(recorder)
    segment = segment_path(recorder.directory.log("0000", Lane.STREAM), 0)
    data = bytearray(segment.read_bytes())
    data[1_000:1_100] = os.urandom(100)
    segment.write_bytes(data)
    backend, status = deliver(recorder.directory)
    lost = status.dropped["damaged"]
    assert 2 <= lost <= 4
    assert status.dropped == {"damaged": lost}
    assert len(steps(backend.events)) == 100 - lost
    assert (status.emitted, status.pending, status.outcome) == (101, 0, "completed")


def test_a_run_whose_end_is_damaged_is_still_closed(recorder: Recorder) -> None:
    """Without its RunFinished a sealed journal is closed as killed, and the lost event is counted."""
    say(recorder, *range(10))
    end = recorder.tallies()["0000/stream"].recorded
    finish(recorder)
    segment = segment_path(recorder.directory.log("0000", Lane.STREAM), 0)
    data = bytearray(segment.read_bytes())
    data[data.index(b"completed")] ^= 0xFF
    segment.write_bytes(data)
    backend, status = deliver(recorder.directory)
    assert steps(backend.events) == list(range(10))
    assert (status.dropped, status.pending, status.outcome) == ({"damaged": 1}, 0, "killed")
    assert status.emitted == end + 1


def test_what_a_later_version_says_is_counted_and_skipped(recorder: Recorder) -> None:
    """Kinds that this version does not know, and events it can't decode, are dropped by reason; the others arrive."""
    say(recorder, 0)
    recorder.append(200, b"from the future")
    recorder.append(Kind.SCHEMA_NOTE, b"reserved")
    say(recorder, 1)
    recorder.append(Kind.METRICS_LOGGED, b"no MessagePack")
    say(recorder, 2)
    finish(recorder)
    backend, status = deliver(recorder.directory)
    assert steps(backend.events) == [0, 1, 2]
    assert status.dropped == {"unknown kind": 2, "undecodable": 1}
    assert (status.delivered, status.pending) == (4, 0)


def test_names_with_lone_surrogates_are_degraded(tmp_path: Path) -> None:
    """A name that had to be repaired counts as degraded in every backend."""
    backend = RecordingBackend(delivery=Delivery(linger=0.01))

    async def train() -> BackendStatus:
        async with tracelet.open_run(backend, directory=tmp_path) as run:
            run.log_metric("a\ud800", 1.0, 0)
            run.log_metric("b", 1.0, 1)
        return run.status().backends[NAME]

    assert anyio.run(train).degraded == 1
    assert steps(backend.events) == [0, 1]


def test_delivering_again_what_is_delivered_does_nothing(recorder: Recorder) -> None:
    """A second delivery of a delivered run does not even open the backend."""
    say(recorder, *range(10))
    finish(recorder)
    deliver(recorder.directory)
    backend, status = deliver(recorder.directory)
    assert (backend.opened, backend.events, backend.outcomes) == ([], [], [])
    assert (status.delivered, status.state) == (11, "closed")


def test_a_delivery_that_stops_before_the_end_is_known_goes_on_with_it(recorder: Recorder) -> None:
    """When the backend can't be told how the run ended, the next delivery tells it, with the run's own outcome."""

    async def refuse(_: Outcome) -> None:
        raise RuntimeError("not now")

    say(recorder, *range(5))
    finish(recorder)
    failing = RecordingBackend(delivery=Delivery(linger=0.01), on_finish=refuse)
    anyio.run(Bus(recorder.directory, [from_object(failing)]).run)
    status = read_status(recorder.directory).backends[NAME]
    assert (status.delivered, status.pending, status.state) == (5, 1, "failed")
    backend, status = deliver(recorder.directory)
    assert backend.events == []
    assert backend.endings == [(Outcome.COMPLETED, 2.0)]
    assert (status.delivered, status.dropped, status.pending) == (6, {}, 0)


def test_delivery_beside_a_live_run_takes_all_there_is(recorder: Recorder) -> None:
    """Without following the run, delivery ends at the end of what was said, also when bytes bound its batches."""
    say(recorder, *range(1_000))
    backend = RecordingBackend(delivery=Delivery(linger=0.01, batch_bytes=500))
    anyio.run(Bus(recorder.directory, [from_object(backend)], follow=False).run)
    assert steps(backend.events) == list(range(1_000))
    assert backend.outcomes == []
    finish(recorder)


def test_a_run_ended_when_it_said_so(recorder: Recorder) -> None:
    """However late it is delivered, a run ended at the time of its RunFinished."""
    say(recorder, 0)
    finish(recorder)
    backend, _ = deliver(recorder.directory)
    assert backend.endings == [("completed", 2.0)]
    assert backend.closed == 1
