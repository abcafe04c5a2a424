"""`tracelet show`: what a run says, whatever it says and whatever became of it."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import tracelet
from tracelet.cli._app import app
from tracelet.cli._ends import read_ending
from tracelet.cli._plot import curve, fits_log
from tracelet.cli._record import MOST_SERIES, RunRecorded
from tracelet.cli._series import MOST_BUCKETS, Series
from tracelet.codec import encode
from tracelet.events import Kind, Lane, MetricsLogged, RunFinished
from tracelet.journal import LogWriter, Recorder, RunDirectory
from tracelet.journal.segment import HEADER_SIZE, RECORD, REMOVED, pack_record, read_header, segment_path

Say = Callable[[tracelet.Run], None]
Log = Callable[..., RunDirectory]


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Log:
    """Log a run to the journal alone; what is logged is the function's to say."""
    monkeypatch.chdir(tmp_path)

    def begin(say: Say, **settings: Any) -> RunDirectory:
        run = tracelet.start_logging(**{"exp_name": "exp", "project": "vision", "host": "thread", **settings})
        say(run)
        run.finish(timeout=0.0)
        return RunDirectory(run.directory)

    return begin


def show(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["show", *map(str, arguments)])


def as_json(*arguments: object) -> Any:
    result = show(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def table(result: Result) -> dict[str, list[str]]:
    """The table of metrics, by name."""
    rows = iter(result.output.splitlines())
    for line in rows:
        if line.split()[:2] == ["name", "points"]:
            break
    found: dict[str, list[str]] = {}
    for line in rows:
        if not line.strip():
            break
        name, *cells = line.split()
        found[name] = cells
    return found


def test_everything_that_was_said_is_shown(log: Log) -> None:
    """Name, outcome, parameters, tags, note, metrics and counts of files are in the text and in the JSON."""

    def say(run: tracelet.Run) -> None:
        run.log_params({"lr": 3e-4, "model": {"layers": [64, 64]}})
        run.log_params({"lr": 1e-3})
        run.set_tags({"stage": "draft"})
        run.set_note("Why it was run.\nAnd more.")
        for step in range(10):
            run.log_metric("loss", 1.0 - step / 10, step)
        run.log_metrics({"f1": 0.5}, step=9, context={"subset": "val"})
        run.log_text("sample", "a text", 3)
        run.log_console("one\ntwo")
        run.use_dataset("https://example.org/mnist", role="training")
        run.log_table("worst", [{"image": 17}], step=9)
        run.log_artifact(Path(__file__), "code/test.py")

    run = log(say)
    result = show(run.id)
    assert result.exit_code == 0
    lines = [" ".join(line.split()) for line in result.output.splitlines()]
    size = Path(__file__).stat().st_size / 1000
    for expected in (
        "exp vision",
        f"id {run.id}",
        "outcome completed",
        "events 22",
        "lr 0.001",
        "model/layers [64, 64]",
        "stage draft",
        "Why it was run.",
        "And more.",
        "name context points first last min max last step",
        "f1 subset=val 1 0.5 0.5 0.5 0.5 9",
        "loss 10 1 0.1 0.1 1 9",
        f"artifacts 1, {size:.1f} kB: code/test.py",
        "texts 1: sample",
        "console 2 lines",
        "datasets mnist (training)",
        "none: the events are in the journal; tracelet sync --backend NAME delivers them",
    ):
        assert expected in lines, result.output
    found = as_json(run.id)
    assert (found["name"], found["project"], found["outcome"]) == ("exp", "vision", "completed")
    assert found["params"] == {"lr": 1e-3, "model/layers": [64, 64]}
    assert found["files"]["artifact"]["names"] == {"code/test.py": 1}
    (f1, loss) = sorted(found["metrics"], key=lambda metric: str(metric["name"]))
    assert f1["context"] == {"subset": "val"}
    assert loss["curve"] == [[step, 1.0 - step / 10] for step in range(10)]
    assert found["ended"] == pytest.approx(found["started"] + found["duration"])


def test_what_no_float_holds_is_shown_and_written_as_it_is(log: Log) -> None:
    """NaN, infinities, huge integers and steps are counted, shown, and whole in the JSON with all points."""
    values = [1.0, math.nan, math.inf, -math.inf, 2.0]
    huge = 10**400 + 7

    def say(run: tracelet.Run) -> None:
        for step, value in enumerate(values):
            run.log_metric("odd", value, step)
        run.log_metric("huge", huge, 10**30)
        run.log_metric("huge", -(2**60) - 1, -(10**30))
        run.log_metric("huge", 7, 5)
        run.log_metric("digits", 10**6000, 0)
        run.log_metric("nan", math.nan, 0)

    run = log(say)
    rows = table(show(run.id, "--plots"))
    assert rows["odd"] == ["5", "1", "2", "1", "2", "4", "1", "NaN,", "2", "infinite"]
    assert rows["huge"][:5] == ["3", "1e+400", "7", "-1.1529e+18", "1e+400"]
    assert rows["digits"][1] == "1e+6000"
    assert rows["nan"][1:5] == ["nan", "nan", "-", "-"]
    found = {metric["name"]: metric["points"] for metric in as_json(run.id, "--points")["metrics"]}
    assert [point[1] for point in found["odd"]] == [1.0, "NaN", "Infinity", "-Infinity", 2.0]
    assert [point[:2] for point in found["huge"]] == [[10**30, huge], [-(10**30), -(2**60) - 1], [5, 7]]
    assert type(found["huge"][2][1]) is int
    assert int(found["digits"][0][1], 16) == 10**6000
    assert all(type(point[2]) is float for points in found.values() for point in points)


def test_steps_that_go_back_are_counted_and_plotted_in_order(log: Log) -> None:
    """Repeated steps are averaged in the curve, and the table says how often the steps went back."""

    def say(run: tracelet.Run) -> None:
        for step in (0, 1, 2, 1, 2, 3, 0):
            run.log_metric("loss", float(step), step)
        run.log_metric("loss", 2.0, 0)

    run = log(say)
    assert table(show(run.id))["loss"] == ["8", "0", "2", "0", "3", "0", "step", "went", "back", "2", "times"]
    (metric,) = as_json(run.id)["metrics"]
    assert metric["steps_back"] == 2
    assert metric["curve"] == [[0.0, pytest.approx(2 / 3)], [1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]


def test_only_the_metrics_asked_for_are_shown_and_plotted(log: Log) -> None:
    """--metric takes patterns, plots large, and a name that nothing has is an error that tells which there are."""

    def say(run: tracelet.Run) -> None:
        for step in range(50):
            run.log_metrics({"train/loss": math.exp(-step), "val/loss": 1.0, "val/f1": step / 50}, step)

    run = log(say)
    result = show(run.id, "--metric", "val/*", "--metric", "nothing")
    assert list(table(result)) == ["val/f1", "val/loss"]
    assert "train/loss" not in result.output
    assert sum("┤" in line for line in result.output.splitlines()) == 4
    assert "┤" not in show(run.id, "--metric", "val/*", "--no-plots").output
    assert "log" in next(line for line in show(run.id, "--plots").output.splitlines() if "train/loss  log" in line)
    missing = show(run.id, "--metric", "val/los")
    assert missing.exit_code == 2
    assert "val/loss" in missing.output
    assert "train/loss" in [metric["name"] for metric in as_json(run.id)["metrics"]]
    assert show(run.id, "--points").exit_code == 2


def test_the_machines_metrics_are_folded(log: Log) -> None:
    """Of metrics of the machine only the number is shown, unless they are asked for; the JSON has them."""

    def say(run: tracelet.Run) -> None:
        run.log_metric("loss", 0.5, 0)
        run.log_metrics({f"system/gpu_{number}_percent": 50.0 + number for number in range(34)}, 0)

    run = log(say)
    folded = show(run.id, "--plots")
    assert [*table(folded)] == ["loss", "34"]  # and the line that counts the others
    assert "  34 metrics of the machine (system/…): shown with --system\n" in folded.output
    assert "gpu" not in folded.output
    assert len(table(show(run.id, "--system"))) == 35
    assert "--system" not in show(run.id, "--system").output
    assert [*table(show(run.id, "--metric", "system/gpu_3_*"))] == ["system/gpu_3_percent"]
    assert len(as_json(run.id)["metrics"]) == 35
    only = log(lambda run: run.log_metric("system/cpu_percent", 1.0, 0))
    assert "\nMetrics\n  1 metric of the machine" in show(only.id).output


def test_bytes_have_units(log: Log) -> None:
    """A metric whose name ends in bytes, or bytes per second, is shown with units, in the table and at the plot."""

    def say(run: tracelet.Run) -> None:
        run.log_metrics({"system/memory_bytes": 13958643712.0, "sent_bytes_per_second": 0.5, "kilobytes": 5e6}, 0)
        run.log_metrics({"system/memory_bytes": 512.0, "sent_bytes_per_second": 2.5e3, "kilobytes": math.nan}, 1)
        run.log_metrics({"bytes": 10**400, "data/Bytes": -2048}, 0)

    result = show(log(say).id, "--system")
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in result.output.splitlines() if line.split()}
    assert lines["system/memory_bytes"] == "2 13.96 GB 512 B 512 B 13.96 GB 1"
    assert lines["sent_bytes_per_second"] == "2 0.5 B/s 2.5 kB/s 0.5 B/s 2.5 kB/s 1"
    assert lines["kilobytes"].startswith("2 5e+06 nan")
    assert lines["bytes"].startswith("1 1e+400")
    assert lines["data/Bytes"].startswith("1 -2.048 kB")
    heading, *plot = show("--metric", "system/memory_bytes").output.splitlines()
    assert heading.endswith("    first   last    min       max  last step")  # aligned to the right, as numbers are
    plot = plot[3:]
    assert plot[0].startswith("13.96 GB ┤")
    assert any(line.startswith("   512 B ┤") for line in plot)


def test_where_no_terminal_is_there_are_neither_plots_nor_escapes(log: Log) -> None:
    """The plain text has every line whole and nothing but printable characters, whatever names were logged."""
    name = "a\x1b[31mred\nname " + "long " * 60

    def say(run: tracelet.Run) -> None:
        run.log_metric(name, 0.5, 0)
        run.log_metric(name, 0.6, 1)
        run.log_params({name: "x\x1b[0m\ty"})

    output = show(log(say).id, "--no-plots").output
    assert output.isascii()
    assert all(line.isprintable() for line in output.splitlines())
    assert "a\\x1b[31mred\\nname " + "long " * 60 in output
    assert "┤" not in show(log(say).id).output


def test_a_live_run_and_a_killed_one_are_shown_as_such(tmp_path: Path, log: Log) -> None:
    """While its process lives a run is running; killed, it keeps every point and is killed."""
    script = (
        "import sys, time, tracelet; run = tracelet.start_logging(exp_name='live', directory=sys.argv[1]); "
        "[run.log_metric('loss', 0.5, step) for step in range(1000)]; print(run.id, flush=True); time.sleep(100)"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process:
        try:
            run_id = process.stdout.readline().strip()
            live = as_json(run_id, "--directory", tmp_path)
        finally:
            os.kill(process.pid, signal.SIGKILL)
    killed = as_json(run_id, "--directory", tmp_path)
    assert (live["outcome"], live["ended"]) == ("running", None)
    assert killed["outcome"] == "killed"
    assert killed["started"] < killed["ended"]
    assert [found["metrics"][0]["count"] for found in (live, killed)] == [1000, 1000]
    assert "outcome       killed" in show(run_id, "--directory", tmp_path).output


def test_several_processes_make_one_run(log: Log) -> None:
    """A run that goes on has the points of all its writers, and ends as the latest did."""
    run = log(lambda run: run.log_metric("loss", 1.0, 0), run_id="mine")
    log(lambda run: run.log_metric("loss", 2.0, 1), run_id="mine", resume="must")
    result = show("mine")
    assert table(result)["loss"][:3] == ["2", "1", "2"]
    assert "2 have logged to it" in result.output
    other = Recorder(run, lambda: None)
    other.detach()  # one that died at once: not this process's writer any more
    (run.path / "journal" / "0002" / "writer.json").write_bytes(b"{}")
    assert as_json("mine")["outcome"] == "killed"


def test_the_end_of_other_ranks_is_not_the_runs(tmp_path: Path) -> None:
    """Of the ranks that log to one run, rank 0 tells how it ended."""
    run = RunDirectory(tmp_path / "run")
    for rank, outcome in enumerate(("completed", "failed")):
        writer = LogWriter(run.log(run.add_writer(rank, 2), Lane.STREAM))
        writer.seal((Kind.RUN_FINISHED.value, encode(RunFinished(100.0 + rank, outcome))))
    ending = read_ending(run)
    assert (ending.outcome, ending.ended, ending.events, ending.writers) == ("completed", 100.0, 2, 2)


def test_what_was_given_up_for_its_space_is_counted(log: Log) -> None:
    """Events of a segment that was removed are said to be, and are no damage; the others are shown."""

    def say(run: tracelet.Run) -> None:
        for step in range(30_000):
            run.log_metric("loss", 0.5, step)

    run = log(say)
    path = segment_path(run.log("0000", Lane.STREAM), 0)
    header = read_header(path)
    assert header is not None
    with path.open("r+b") as file:
        file.seek(RECORD.start)
        file.write(pack_record(REMOVED, header.first, header.end, header.next))
        file.truncate(HEADER_SIZE)
    found = as_json(run.id)
    assert (found["damaged"], found["removed"], found["outcome"]) == (0, header.next, "completed")
    assert found["metrics"][0]["count"] == 30_000 + 1 - header.next
    assert f"given up      {header.next:,} events, which all backends had" in show(run.id).output


def test_what_was_captured_of_the_code_is_at_the_top(log: Log) -> None:
    """The command and the commit are shown beside the outcome, and not again among the tags."""
    tags = {"command": "python train.py", "git.commit": "a" * 40, "git.branch": "main", "git.dirty": "true", "x": "y"}
    output = show(log(lambda run: run.set_tags(tags)).id).output
    assert "  command       python train.py\n" in output
    assert f"  commit        {'a' * 12} of main, with changes that are not committed\n" in output
    assert "Tags\n  x  y\n" in output


def test_damaged_events_are_counted(log: Log) -> None:
    """Bytes that changed on the disk cost the events they belong to, which are counted; the others are shown."""

    def say(run: tracelet.Run) -> None:
        for step in range(100):
            run.log_metric("loss", 0.5, step)

    run = log(say)
    path = segment_path(run.log("0000", Lane.STREAM), 0)
    data = bytearray(path.read_bytes())
    data[2000] ^= 0xFF
    path.write_bytes(data)
    assert table(show(run.id))["loss"][0] == "99"
    assert "1 event in the journal can't be read any more" in show(run.id).output
    assert as_json(run.id)["damaged"] == 1


def test_a_run_whose_record_is_gone_or_damaged_is_an_error(log: Log) -> None:
    """Without run.json there is nothing to show; the error says what is wrong, and the exit code is 1."""
    run = log(lambda run: None)
    (run.path / "run.json").write_text("{")
    assert show(run.id).exit_code == 1
    (run.path / "run.json").unlink()
    result = show(run.id)
    assert result.exit_code == 1
    assert "run.json is missing" in result.output
    assert show("nothing").exit_code == 2


def test_without_a_run_the_newest_is_shown(log: Log, tmp_path: Path) -> None:
    """`show` alone is about the run that began last; where there is none, that is an error."""
    log(lambda run: None, exp_name="older")
    log(lambda run: None, exp_name="newer")
    (tmp_path / ".tracelet" / "runs" / "foreign").mkdir()
    assert show().output.startswith("newer  vision\n")
    (tmp_path / "empty").mkdir()
    result = show("--directory", tmp_path / "empty")
    assert result.exit_code == 2
    assert f"there are no runs in {tmp_path / 'empty'}" in result.output


def test_a_curve_takes_bounded_memory_whatever_is_logged() -> None:
    """Millions of steps end in at most so many means, which lie where the points do."""
    series = Series("loss", ())
    for start in range(0, 200_000, 20_000):
        series.steps += range(start, start + 20_000)
        series.values += [float(step) for step in range(start, start + 20_000)]
        series.take()
    points = series.curve()
    assert MOST_BUCKETS / 2 <= len(points) <= MOST_BUCKETS
    assert (points[0][0], points[-1][0]) == (0.0, 199_999.0)
    assert all(abs(x - y) <= 512 for x, y in points)
    assert (series.points, series.low, series.high, series.first_step, series.top_step) == (2e5, 0, 199_999, 0, 199_999)


def test_metrics_beyond_what_is_told_apart_are_counted(tmp_path: Path) -> None:
    """Names without end, as of a step in the name, cost no memory without end, and no point goes unmentioned."""
    run = RunDirectory(tmp_path / "run")
    writer = LogWriter(run.log(run.add_writer(), Lane.STREAM))
    for number in range(MOST_SERIES + 5):
        writer.append(Kind.METRICS_LOGGED.value, encode(MetricsLogged(1.0, {f"loss/{number}": 0.5}, 0)))
    said = RunRecorded()
    said.read(run)
    writer.seal()
    assert (len(said.series), said.beyond) == (MOST_SERIES, 5)


@pytest.mark.parametrize(
    ("points", "log_scale"),
    [([(0, 1.0), (1, 1e-3)], True), ([(0, 1.0), (1, 0.5)], False), ([(0, 1e3), (1, 0.0)], False), ([], False)],
)
def test_the_scale_is_logarithmic_where_that_says_more(points: list[tuple[float, float]], log_scale: bool) -> None:
    """Positive values that are far apart are drawn by their logarithms."""
    assert fits_log(points) is log_scale


def test_a_curve_is_drawn_by_its_steps() -> None:
    """What lies between two points is on the line between them, and the axis has the first and the last step."""
    lines = list(curve([(0.0, 0.0), (90.0, 0.0), (100.0, 1.0)], 54, 5, log=False, axis=True, ascii_only=True))
    assert lines[0].rstrip().endswith("*")
    assert lines[4].count("*") > 40
    assert lines[6].split() == ["0", "100"]
    assert all(len(line) <= 54 for line in lines)
    for extremes in ([(0.0, -1.7e308), (1.0, 1.7e308)], [(-1e300, 1.0), (1e300, 2.0)], [(3.0, 0.0)], [(0.0, 5e-324)]):
        drawn = list(curve(extremes, 40, 4, log=False, axis=True))
        assert any("⠀" < char <= "⣿" for char in "".join(drawn))
