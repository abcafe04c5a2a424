"""`tracelet import`, again: files that changed since the last import, or since it was killed, cost only themselves."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import google_crc32c
import pytest
from tensorboardX.proto.event_pb2 import Event

from tracelet.codec import decode
from tracelet.events import EmbeddingLogged, HParamsLogged, Lane, MetricsLogged
from tracelet.events import Event as Said
from tracelet.importing import Destination, Importer, Records, Report, find
from tracelet.journal import LogReader, RunDirectory

A, B = "events.out.tfevents.1700000000.host.1.0", "events.out.tfevents.1700000001.host.1.1"
FIRST = 1_700_000_000.0


def framed(event: Event) -> bytes:
    """A record of TensorFlow's."""
    data: bytes = event.SerializeToString()
    length = struct.pack("<Q", len(data))
    return length + check(length) + data + check(data)


def check(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def write(path: Path, tag: str, count: int) -> Path:
    """An event file with as many scalars of one tag."""
    path.parent.mkdir(parents=True, exist_ok=True)
    events = [Event(wall_time=FIRST, file_version="brain.Event:2")]
    for step in range(count):
        events.append(Event(wall_time=FIRST, step=step))
        events[-1].summary.value.add(tag=tag, simple_value=1.0)
    path.write_bytes(b"".join(map(framed, events)))
    return path


def put(path: Path, *values: tuple[str, Any]) -> None:
    """An event file with values: scalars, and what the HParams plugin reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    records = [Event(wall_time=FIRST, file_version="brain.Event:2")]
    for tag, value in values:
        records.append(Event(wall_time=FIRST, step=1))
        if isinstance(value, float):
            records[-1].summary.value.add(tag=tag, simple_value=value)
        else:
            plugin = records[-1].summary.value.add(tag=tag).metadata.plugin_data
            plugin.plugin_name, plugin.content = "hparams", value.SerializeToString()
    path.write_bytes(b"".join(map(framed, records)))


def events(run: Path) -> list[Said]:
    """What the journal's stream has, in that order."""
    directory, found = RunDirectory(run), list[Said]()
    for writer in directory.writers():
        with LogReader(directory.log(writer, Lane.STREAM)) as reader:
            while (frames := reader.read(1_000, 1 << 24, final=True)).sequences:
                found += map(decode, frames.words, frames.payloads)
    return found


def steps(run: Path, tag: str) -> list[int | None]:
    """The steps of a metric, in the order in which the journal has them."""
    return [event.step for event in events(run) if isinstance(event, MetricsLogged) and tag in event.values]


def embedded(run: Path) -> list[str]:
    """The names of the embeddings, in the order in which the journal has them."""
    directory, found = RunDirectory(run), list[str]()
    for writer in directory.writers():
        with LogReader(directory.log(writer, Lane.BULK)) as reader:
            while (frames := reader.read(1_000, 1 << 24, final=True)).sequences:
                events = map(decode, frames.words, frames.payloads)
                found += [event.name for event in events if isinstance(event, EmbeddingLogged)]
    return found


def imported(logs: Path, runs: Path) -> tuple[Path, Report]:
    """Import a log directory that is one run; the run's directory, and what was done."""
    (group,) = find(logs).groups
    importer = Importer(group, Destination(runs, "p", []), group.name)
    try:
        importer.step()
    finally:
        importer.close()
    return importer.directory.path, importer.report


_KILLED = """
import os, sys
from pathlib import Path
from tracelet.importing import Destination, Importer, _importer, _records, find

logs, runs, unreadable, left = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
_records._CHUNK = 2000
_importer.CHECKPOINT = float(sys.argv[5])

class Records(_importer.Records):
    def __init__(self, path, *others):
        if path.name == unreadable:
            raise OSError(116, "Stale file handle", str(path))
        super().__init__(path, *others)

def advanced(size, records):
    global left
    left -= records
    if records and left <= 0:
        os._exit(9)

def begun(*arguments, begin=_importer.Importer._begin, **options):
    if sys.argv[6]:
        os.unlink(sys.argv[6])
    begin(*arguments, **options)

_importer.Records = Records
_importer.Importer._begin = begun
(group,) = find(logs).groups
importer = Importer(group, Destination(runs, "p", []), group.name, advanced)
importer.step()
importer.close()
"""


def killed(
    logs: Path, runs: Path, records: int, unreadable: str = "", vanish: str = "", checkpoint: float = 1e9
) -> None:
    """An import that is killed when it has read so many records."""
    command = [sys.executable, "-c", _KILLED, str(logs), str(runs), unreadable, str(records), str(checkpoint), vanish]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 9, done.stderr


def command(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TRACELET_")}
    return subprocess.run(
        [sys.executable, "-m", "tracelet", "import", *map(str, arguments)],
        cwd=cwd,
        env=clean | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / ".tracelet" / "runs"


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    return tmp_path / "logs"


# Killed, and then files are not what they were.


@pytest.mark.parametrize("checkpoint", [0.0, 1e9])
def test_a_file_that_became_shorter_costs_the_next_one_nothing(logs: Path, runs: Path, checkpoint: float) -> None:
    """What the journal has of a file, and the file no longer has, is said; the next file is imported whole."""
    write(logs / A, "a", 500)
    write(logs / B, "b", 300)
    killed(logs, runs, 400, checkpoint=checkpoint)
    write(logs / A, "a", 10)
    run, report = imported(logs, runs)
    assert steps(run, "b") == list(range(300))
    assert 0 < len(steps(run, "a")) < 500
    assert list(report.unreadable) == [A]
    assert "no longer has" in report.unreadable[A]
    writers = RunDirectory(run).writers()
    assert steps(imported(logs, runs)[0], "b") == list(range(300))
    assert RunDirectory(run).writers() == writers


@pytest.mark.parametrize("checkpoint", [0.0, 1e9])
def test_a_file_that_could_not_be_opened_before_the_kill_is_imported_behind_it(
    logs: Path, runs: Path, checkpoint: float
) -> None:
    """The events that the journal has are not taken for those of the file that it has none of."""
    write(logs / A, "a", 300)
    write(logs / B, "b", 500)
    killed(logs, runs, 250, unreadable=A, checkpoint=checkpoint)
    killed(logs, runs, 350, checkpoint=checkpoint)
    run, report = imported(logs, runs)
    assert steps(run, "a") == list(range(300))
    assert steps(run, "b") == list(range(500))
    assert not report.unreadable


def test_a_file_that_went_costs_only_itself_until_it_comes_back(logs: Path, runs: Path) -> None:
    """It is named, the others are imported, nothing is repeated, and when it is back the rest of it follows."""
    content = write(logs / A, "a", 500).read_bytes()
    write(logs / B, "b", 300)
    killed(logs, runs, 300)
    (logs / A).unlink()
    run, report = imported(logs, runs)
    assert steps(run, "b") == list(range(300))
    assert list(report.unreadable) == [A]
    writers = RunDirectory(run).writers()
    assert not imported(logs, runs)[1].unreadable
    assert RunDirectory(run).writers() == writers
    assert 0 < len(steps(run, "a")) < 500
    (logs / A).write_bytes(content)
    imported(logs, runs)
    assert steps(run, "a") == list(range(500))
    assert steps(run, "b") == list(range(300))


def test_a_read_that_fails_is_tried_again_by_the_next_import(
    logs: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read before the error is imported, and the rest of the file is the next import's."""
    write(logs / A, "a", 500)
    write(logs / B, "b", 300)
    read, chunks = Records.read, list[int]()

    def fail(self: Any) -> list[bytes]:
        chunks.append(1)
        if len(chunks) == 8:  # behind the looks at the files' first events
            raise OSError(5, "Input/output error")
        return read(self)

    with monkeypatch.context() as patch:
        patch.setattr("tracelet.importing._records._CHUNK", 2000)
        patch.setattr(Records, "read", fail)
        _, report = imported(logs, runs)
    assert report.unreadable == {A: "Input/output error"}
    run, report = imported(logs, runs)
    assert not report.unreadable
    assert steps(run, "a") == list(range(500))
    assert steps(run, "b") == list(range(300))


@pytest.mark.parametrize("gone", ["before", "after"])
def test_an_embedding_that_is_missing_at_one_of_two_times_costs_only_itself(
    logs: Path, runs: Path, tmp_path: Path, gone: str
) -> None:
    """Killed with or without it: the next embedding and the metrics are there once, and so is this one in the end."""
    write(logs / A, "m", 300)
    names = ["one", "two"]
    blocks = (f'embeddings {{ tensor_name: "{name}" tensor_path: "{name}.tsv" }}' for name in names)
    (logs / "projector_config.pbtxt").write_text("\n".join(blocks))
    for name in names:
        (logs / f"{name}.tsv").write_text("1\t2\n3\t4\n")
    vectors, away = logs / "one.tsv", tmp_path / "away.tsv"
    vanish = str(vectors) if gone == "before" else ""
    killed(logs, runs, 302, vanish=vanish, checkpoint=1e9)
    if gone == "before":
        vectors.write_text("1\t2\n3\t4\n")
    else:
        vectors.rename(away)
    run, report = imported(logs, runs)
    assert steps(run, "m") == list(range(300))
    if gone == "after":
        assert list(report.unreadable.values()) == ["its vectors are gone"]
        assert embedded(run) == ["one", "two"]
        away.rename(vectors)
        imported(logs, runs)
    assert sorted(embedded(run)) == names


def test_a_file_that_is_shorter_than_what_was_imported_is_said(logs: Path, tmp_path: Path) -> None:
    """Each time, and with exit code 1; nothing else is new."""
    write(logs / A, "a", 50)
    assert command(logs, cwd=tmp_path).returncode == 0
    write(logs / A, "a", 20)
    for _ in range(2):
        done = command(logs, cwd=tmp_path)
        assert done.returncode == 1
        assert "were imported before" in done.stdout
        assert "nothing new" in done.stdout


# Which directory is which run.


def test_a_link_beside_the_versions_is_none_of_the_runs(logs: Path, tmp_path: Path) -> None:
    """Each version is a run of its own name, wherever the link leads by then."""
    write(logs / "version_0" / A, "a", 3)
    (logs / "latest").symlink_to("version_0")
    first = find(logs).groups
    write(logs / "version_1" / B, "a", 3)
    (logs / "latest").unlink()
    (logs / "latest").symlink_to("version_1")
    assert [(group.name, group.root) for group in first] == [("version_0", logs / "version_0")]
    assert [group.name for group in find(logs).groups] == ["version_0", "version_1"]


def test_links_to_directories_elsewhere_are_runs_by_where_they_lead(logs: Path, tmp_path: Path) -> None:
    """A second link to the same directory, or the first one under another name, is the same run."""
    write(tmp_path / "store" / "one" / A, "a", 3)
    logs.mkdir()
    (logs / "x").symlink_to(tmp_path / "store" / "one")
    (logs / "y").symlink_to(tmp_path / "store" / "one")
    (before,) = find(logs).groups
    (logs / "x").unlink()
    (after,) = find(logs).groups
    assert (before.name, after.name) == ("x", "y")
    assert before.root == after.root == tmp_path / "store" / "one"


def test_trials_below_a_common_experiment_keep_their_directories(logs: Path, runs: Path) -> None:
    """TensorFlow's layout, with the experiment in LOGDIR alone: the metrics of a trial are told by their context."""
    plugin = pytest.importorskip("tensorboardX.proto.plugin_hparams_pb2")
    experiment = plugin.HParamsPluginData()
    experiment.experiment.name = "search"
    put(logs / A, ("_hparams_/experiment", experiment))
    for number, rate in enumerate((0.25, 0.5)):
        begun = plugin.HParamsPluginData()
        begun.session_start_info.hparams["lr"].number_value = rate
        put(logs / f"run-{number}" / B, ("_hparams_/session_start_info", begun), ("accuracy", rate))
    run, _ = imported(logs, runs)
    metrics = [event for event in events(run) if isinstance(event, MetricsLogged)]
    assert [(event.values, event.context) for event in metrics] == [
        ({"accuracy": 0.25}, (("logdir", "run-0"),)),
        ({"accuracy": 0.5}, (("logdir", "run-1"),)),
    ]
    assert [event.values for event in events(run) if isinstance(event, HParamsLogged)] == [{"lr": 0.25}, {"lr": 0.5}]


def runs_of(runs: Path) -> list[tuple[str, int]]:
    """The names of the runs there are, and how many points of the metric "m" each has."""
    return sorted((RunDirectory(run).read_record().name, len(steps(run, "m"))) for run in runs.iterdir())


def test_what_was_one_run_stays_one(logs: Path, runs: Path, tmp_path: Path) -> None:
    """A directory that is new, and no part of a run by its name, is added to it."""
    write(logs / "train" / A, "m", 10)
    write(logs / "val" / B, "m", 5)
    command(logs, cwd=tmp_path)
    write(logs / "finetune" / A, "m", 3)
    assert command(logs, cwd=tmp_path).returncode == 0
    assert runs_of(runs) == [("logs", 18)]


def test_what_were_several_runs_stay_so(logs: Path, runs: Path, tmp_path: Path) -> None:
    """A file in LOGDIR itself is one more run, with `--each` said or not."""
    write(logs / "a" / A, "m", 10)
    write(logs / "b" / B, "m", 5)
    command(logs, cwd=tmp_path)
    write(logs / A, "m", 3)
    assert command(logs, cwd=tmp_path).returncode == 0
    assert runs_of(runs) == [("a", 10), ("b", 5), ("logs", 3)]


def test_the_option_decides_against_what_was_before(logs: Path, runs: Path, tmp_path: Path) -> None:
    """`--one-run` makes one of what were several, and that stays."""
    write(logs / "a" / A, "m", 10)
    command(logs, cwd=tmp_path)
    command(logs, "--one-run", cwd=tmp_path)
    write(logs / "b" / B, "m", 5)
    command(logs, cwd=tmp_path)
    assert runs_of(runs) == [("a", 10), ("logs", 15)]


# What the exit code says.


def test_what_is_damaged_is_said_and_the_exit_code_is_0(logs: Path, tmp_path: Path) -> None:
    """The file was read to its end: nothing that an import could still get is missing."""
    path = write(logs / A, "m", 10)
    content = bytearray(path.read_bytes())
    content[200] ^= 0xFF
    path.write_bytes(content)
    done = command(logs, cwd=tmp_path)
    assert "damaged bytes skipped" in done.stdout
    assert done.returncode == 0


def test_a_value_that_makes_no_sense_is_said_and_the_exit_code_is_0(logs: Path, tmp_path: Path) -> None:
    """The same for records that are whole and say nothing that can be understood."""
    bad = Event(wall_time=FIRST)
    bad.summary.value.add(tag="bad").image.encoded_image_string = b"none"
    with write(logs / A, "m", 10).open("ab") as file:
        file.write(framed(bad))
    done = command(logs, cwd=tmp_path)
    assert "bad: 1 value not imported" in done.stdout
    assert done.returncode == 0


def test_names_of_embeddings_may_have_any_letters(logs: Path, runs: Path) -> None:
    """The file that names them has the bytes of such letters in octal; other characters are escaped one by one."""
    write(logs / A, "m", 1)
    name = 'größe "\\n'
    (logs / "größe.tsv").write_text("1\t2\n")
    escaped = r"gr\303\266\303\237e"
    text = rf'embeddings {{ tensor_name: "{escaped} \"\\n" tensor_path: "{escaped}.tsv" }}'
    (logs / "projector_config.pbtxt").write_text(text)
    assert embedded(imported(logs, runs)[0]) == [name]
