"""The verbs: what they take, what they refuse, and what ends up in the journal."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from enum import Enum
from fractions import Fraction
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tracelet
from tracelet import Outcome, Run
from tracelet.codec import decode
from tracelet.errors import (
    InvalidOptions,
    InvalidSetting,
    JournalUnavailable,
    RunClosed,
    RunExists,
    RunNotFound,
    UnknownBackend,
)
from tracelet.events import (
    ArtifactLogged,
    Event,
    Kind,
    Lane,
    MetricsLogged,
    ParamsLogged,
    RunFinished,
    RunStarted,
    TagsSet,
    TextLogged,
)
from tracelet.journal import LogReader, RunDirectory
from tracelet.run import outcome_of


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    run = tracelet.start_logging(exp_name="test", project="tests", directory=tmp_path)
    yield run
    tracelet.stop_logging()


def journal(run: Run, lane: Lane = Lane.STREAM) -> list[Event]:
    directory = RunDirectory(run.directory)
    events: list[Event] = []
    for writer in directory.writers():
        with LogReader(directory.log(writer, lane)) as reader:
            frames = reader.read(10**6, 10**9, final=False)
            assert not frames.damaged
            events += map(decode, frames.words, frames.payloads)
    return events


def said(run: Run) -> list[Event]:
    return [event for event in journal(run) if not isinstance(event, RunStarted | RunFinished)]


def points(run: Run) -> list[tuple[dict[str, Any], int]]:
    return [(event.values, event.step) for event in said(run) if isinstance(event, MetricsLogged)]


class Ticket:
    def __index__(self) -> int:
        return 7

    def __repr__(self) -> str:
        return "Ticket()"


def test_a_metric_is_an_event(run: Run) -> None:
    """log_metric records name, value, step, context and time as they are given."""
    run.log_metric("loss", 0.5, 3, context={"subset": "val", "fold": 1}, time=12.5)
    assert said(run) == [MetricsLogged(12.5, {"loss": 0.5}, 3, (("fold", 1), ("subset", "val")))]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1),
        (True, 1),
        (2**70, 2**70),
        (math.inf, math.inf),
        (np.float32(0.5), 0.5),
        (np.float64(0.1), 0.1),
        (np.int64(3), 3),
        (np.bool_(True), 1),
        (np.array(2.5), 2.5),
        (np.array([2.5]), 2.5),
        (np.float16(1.5), 1.5),
        (Ticket(), 7),
    ],
    ids=repr,
)
def test_numbers_of_all_kinds_are_taken(run: Run, value: Any, expected: float) -> None:
    """Python and NumPy numbers, and arrays of one element, are recorded as int or float."""
    run.log_metric("m", value, 0)
    (values, _), *_ = points(run)
    assert values == {"m": expected}
    assert type(values["m"]) is type(expected)


def test_nan_is_a_value(run: Run) -> None:
    """NaN is recorded as NaN."""
    run.log_metric("m", math.nan, 0)
    assert math.isnan(points(run)[0][0]["m"])


BAD_CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("log_metric", ("m", "1.0", 0), {}, r"^value must be a number, found str '1\.0'$"),
    ("log_metric", ("m", None, 0), {}, r"^value must be a number, found NoneType None$"),
    ("log_metric", ("m", 1j, 0), {}, r"^value must be a number, found complex"),
    ("log_metric", ("m", np.array([1, 2]), 0), {}, r"^value must be one number, found ndarray of shape \(2,\)"),
    ("log_metric", ("m", [1.0], 0), {}, r"^value must be a number, found list"),
    ("log_metric", (3, 1.0, 0), {}, r"^name must be a str, found int 3$"),
    ("log_metric", (b"m", 1.0, 0), {}, r"^name must be a str, found bytes"),
    ("log_metric", ("m", 1.0, 1.5), {}, r"^step must be an int or None, found float 1\.5$"),
    ("log_metric", ("m", 1.0, "1"), {}, r"^step must be an int or None, found str '1'$"),
    ("log_metric", ("m", Fraction(10**400), 0), {}, r"^value must be a number, found Fraction"),
    ("log_metric", ("m", 1.0, 0), {"time": 10**400}, r"^time must be a time in seconds"),
    ("log_metric", ("m", 1.0, 0), {"context": "val"}, r"^context must be a mapping"),
    ("log_metric", ("m", 1.0, 0), {"context": {1: 2}}, r"^a name in context must be a str, found int 1$"),
    ("log_metric", ("m", 1.0, 0), {"time": "now"}, r"^time must be a number"),
    ("log_metrics", ([("m", 1.0)],), {}, r"^values must be a mapping, found list"),
    ("log_metrics", ({"m": "x"},), {}, r"^values\['m'\] must be a number"),
    ("log_metrics", ({3: 1.0},), {}, r"^a name in values must be a str"),
    ("log_params", ("lr=1",), {}, r"^values must be a mapping"),
    ("set_tags", (["a"],), {}, r"^values must be a mapping"),
    ("set_tags", ({1: "a"},), {}, r"^a name in values must be a str"),
    ("log_text", ("t", 3), {}, r"^text must be a str, found int 3$"),
    ("log_text", (3, "t"), {}, r"^name must be a str"),
    ("log_artifact", (3,), {}, r"^path must be a str or path, found int$"),
]


@pytest.mark.parametrize(("verb", "args", "kwargs", "message"), BAD_CALLS)
def test_wrong_types_are_refused_by_name(
    run: Run, verb: str, args: tuple[Any, ...], kwargs: dict[str, Any], message: str
) -> None:
    """A wrong type is a TypeError at the call that names the argument, and nothing is recorded."""
    with pytest.raises(TypeError, match=message):
        getattr(run, verb)(*args, **kwargs)
    assert said(run) == []


@pytest.mark.parametrize("name", ["", "x" * 10_000, "@#%", "größe", "損失", "a\nb", "a\0b", "a\ud800b", "🎉"])
def test_any_name_is_taken(run: Run, name: str) -> None:
    """Whatever the name, neither the point nor its neighbours are lost."""
    run.log_metric("before", 1.0, 0)
    run.log_metric(name, 2.0, 1)
    run.log_metrics({"x": 3.0, name: 4.0, "y": 5.0}, 2)
    run.log_metric("after", 6.0, 3)
    kept = name.encode("utf-8", "backslashreplace").decode()
    assert points(run) == [
        ({"before": 1.0}, 0),
        ({kept: 2.0}, 1),
        ({"x": 3.0, kept: 4.0, "y": 5.0}, 2),
        ({"after": 6.0}, 3),
    ]


@pytest.mark.parametrize("step", [-5, 2**63, 2**70, -(2**70), True, np.int32(4)], ids=repr)
def test_any_step_is_taken(run: Run, step: Any) -> None:
    """Steps may be negative, huge, or NumPy integers."""
    run.log_metric("m", 1.0, step)
    assert points(run) == [({"m": 1.0}, int(step))]


def test_steps_may_repeat_and_go_back(run: Run) -> None:
    """Repeated and decreasing steps are recorded as they are, in the order they were said."""
    for step in (5, 5, 3, -1, 3):
        run.log_metric("m", 1.0, step)
    assert [step for _, step in points(run)] == [5, 5, 3, -1, 3]


def test_without_a_step_each_name_and_context_counts(run: Run) -> None:
    """Without a step each name, and each context of a name, counts up from 0."""
    run.log_metric("a", 1.0)
    run.log_metric("a", 1.0)
    run.log_metric("b", 1.0)
    run.log_metric("a", 1.0, context={"s": 1})
    run.log_metrics({"a": 1.0, "b": 1.0, "c": 1.0})
    assert points(run) == [
        ({"a": 1.0}, 0),
        ({"a": 1.0}, 1),
        ({"b": 1.0}, 0),
        ({"a": 1.0}, 0),
        ({"a": 1.0}, 2),
        ({"b": 1.0}, 1),
        ({"c": 1.0}, 0),
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(
    name=st.text(),
    value=st.one_of(st.floats(allow_nan=False), st.integers(), st.booleans()),
    step=st.one_of(st.none(), st.integers()),
    context=st.dictionaries(st.text(max_size=5), st.one_of(st.text(), st.integers(), st.none()), max_size=3),
)
def test_anything_well_typed_is_recorded(run: Run, name: str, value: Any, step: Any, context: dict[str, Any]) -> None:
    """Every well-typed call adds exactly one event, with its value."""
    before = run.status().emitted
    run.log_metric(name, value, step, context=context)
    assert run.status().emitted == before + 1
    last = said(run)[-1]
    assert isinstance(last, MetricsLogged)
    assert list(last.values.values()) == [value]


def test_params_are_flattened_and_keep_their_types(run: Run) -> None:
    """Nested parameters get names with slashes; scalars keep their type, other objects become text."""
    run.log_params({"lr": 1e-3, "net": {"layers": [64, 64], "act": "relu", "deep": {"on": True}}, "none": None})
    others: dict[Any, Any] = {"path": Path("a/b"), "np": np.float32(0.5), 3: "three", "empty": {}, "shape": (1, 2)}
    run.log_params(others)
    assert [event.values for event in said(run) if isinstance(event, ParamsLogged)] == [
        {"lr": 1e-3, "net/layers": [64, 64], "net/act": "relu", "net/deep/on": True, "none": None},
        {"path": "a/b", "np": 0.5, "3": "three", "empty": "{}", "shape": [1, 2]},
    ]


class Colour(Enum):
    RED = "red"


class Mute:
    def __str__(self) -> str:
        raise RuntimeError("no")


def test_params_of_unusual_types(run: Run) -> None:
    """NumPy scalars and enums become plain values, and an object without a text is named."""
    odd = {"a": np.float64(0.5), "b": np.str_("x"), "c": Colour.RED, "d": Kind.TAGS_SET, "e": np.arange(3), "f": Mute()}
    run.log_params(odd)
    run.set_tags({"t": Mute()})  # type: ignore[dict-item]
    mute = "<Mute, whose text can't be had: RuntimeError>"
    assert [getattr(event, "values", None) for event in said(run)] == [
        {"a": 0.5, "b": "x", "c": "red", "d": 5, "e": "[0 1 2]", "f": mute},
        {"t": mute},
    ]


class Lazy(dict[str, Any]):
    def __getitem__(self, key: str) -> Any:
        raise LookupError("not set")


def test_params_that_make_trouble_end_no_training(run: Run) -> None:
    """Mappings that raise, contain themselves, or name one thing twice lose nothing but what can't be read."""
    circle: dict[str, Any] = {"a": 1}
    circle["self"] = circle
    run.log_params(Lazy(x=1))
    run.log_params(circle)
    unusual: dict[Any, Any] = {Mute(): 1, "a": {"b": 1}, "a/b": 2}
    run.log_params(unusual)
    lazy, circular, twice = (event.values for event in said(run) if isinstance(event, ParamsLogged))
    assert lazy == {"x": "<str, whose text can't be had: LookupError>"}
    assert circular["a"] == circular["self/self/a"] == 1
    assert (twice["a/b"], twice["a/b#2"]) == (1, 2)


def test_paths_that_are_none_are_a_counted_loss(run: Run) -> None:
    """A path that no file can have is a loss like that of a file that is missing."""
    run.log_artifact("x" * 300)
    run.log_artifact("a\0b")
    assert run.status().lost == 2


def test_an_unknown_outcome_ends_nothing(run: Run) -> None:
    """finish with a word that is no outcome says which there are, and the run goes on."""
    with pytest.raises(InvalidSetting, match="outcome must be one of completed, failed, killed, found 'success'"):
        run.finish("success")
    run.log_metric("m", 1.0)
    assert run.active


def test_a_backend_is_asked_for_once(tmp_path: Path) -> None:
    """The same backend twice is a mistake that is said, not a subscription that waits for ever."""
    with pytest.raises(InvalidSetting, match="'jsonl'"):
        tracelet.start_logging(["jsonl", "jsonl"], directory=tmp_path)


def test_config_and_tags_are_stated_at_the_start(tmp_path: Path) -> None:
    """config= and tags= are recorded as parameters and tags."""
    with tracelet.start_logging(config={"a": {"b": 1}}, tags={"k": "v"}, directory=tmp_path) as run:
        assert [type(event) for event in said(run)] == [ParamsLogged, TagsSet]


def test_texts_of_any_size(run: Run) -> None:
    """A text of many megabytes is recorded whole."""
    text = "täxt" * 3_000_000
    run.log_text("t", text, 4)
    run.log_text("t", "of the run")
    events = said(run)
    assert isinstance(events[0], TextLogged)
    assert (events[0].text, events[0].step) == (text, 4)
    assert isinstance(events[1], TextLogged)
    assert events[1].step is None


def test_artifacts_are_copied_before_the_call_returns(run: Run, tmp_path: Path) -> None:
    """The copy has what the file held at the call, whatever happens to the file afterwards."""
    path = tmp_path / "model.bin"
    path.write_bytes(b"first")
    run.log_artifact(path)
    path.write_bytes(b"second, longer")
    run.log_artifact(str(path), "models/second.bin", copy=False)
    first, second = journal(run, Lane.BULK)
    assert isinstance(first, ArtifactLogged)
    assert isinstance(second, ArtifactLogged)
    assert (first.name, first.size, first.copied) == ("model.bin", 5, True)
    assert (run.directory / first.path).read_bytes() == b"first"
    assert (second.name, second.path, second.copied) == ("models/second.bin", str(path), False)


def test_a_folder_is_its_files(run: Run, tmp_path: Path) -> None:
    """Logging a folder keeps every file in it under its relative name."""
    for name in ("a.txt", "sub/b.txt"):
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_text(name)
    run.log_artifact(tmp_path / "out", "result")
    names = [event.name for event in journal(run, Lane.BULK) if isinstance(event, ArtifactLogged)]
    assert names == ["result/a.txt", "result/sub/b.txt"]


def test_an_artifact_that_is_not_there_is_a_counted_loss(tmp_path: Path) -> None:
    """A missing file raises nothing into training code, and is counted; with strict it raises."""
    with tracelet.start_logging(directory=tmp_path) as run:
        run.log_artifact(tmp_path / "missing")
        run.log_metric("m", 1.0)
        assert run.status().lost == 1
    with (
        tracelet.start_logging(directory=tmp_path, strict=True) as strict,
        pytest.raises(FileNotFoundError, match="missing"),
    ):
        strict.log_artifact(tmp_path / "missing")


@pytest.mark.anyio
async def test_a_run_that_cant_begin_is_said_by_one_exception(tmp_path: Path) -> None:
    """open_run raises what start_logging does, in no group, and the process is left as it was."""
    (tmp_path / "file").touch()
    with pytest.raises(JournalUnavailable, match="no journal can be written in"):
        async with tracelet.open_run(directory=tmp_path / "file", strict=True):
            raise AssertionError
    assert tracelet.active_run() is None


def test_a_finished_run_takes_nothing(tmp_path: Path) -> None:
    """Logging to a finished run is misuse; finishing it again is not."""
    run = tracelet.start_logging(directory=tmp_path)
    tracelet.stop_logging()
    calls: dict[str, tuple[Any, ...]] = {
        "log_metric": ("m", 1.0),
        "log_metrics": ({"m": 1.0},),
        "log_text": ("t", "x"),
        "log_artifact": (__file__,),
        "log_params": ({"a": 1},),
        "set_tags": ({"a": "b"},),
    }
    for verb, args in calls.items():
        with pytest.raises(RunClosed, match=rf"the run {run.id} is finished: .*resume='allow'"):
            getattr(run, verb)(*args)
    run.finish()
    tracelet.stop_logging()
    assert tracelet.active_run() is None


def test_a_second_start_finishes_the_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """start_logging again, as in a notebook, ends the first run with a notice."""
    first = tracelet.start_logging(exp_name="first", directory=tmp_path)
    second = tracelet.start_logging(exp_name="second", directory=tmp_path)
    assert "finishing 'first'" in capsys.readouterr().err
    assert not first.active
    assert tracelet.active_run() is second
    assert isinstance(journal(first)[-1], RunFinished)
    tracelet.stop_logging()


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(None, "completed"), (ValueError("x"), "failed"), (KeyboardInterrupt(), "killed"), (SystemExit(0), "completed")],
    ids=repr,
)
def test_a_block_ends_the_run_as_it_ended(tmp_path: Path, error: BaseException | None, outcome: str) -> None:
    """As a context manager the run takes its outcome from the exception."""
    run = tracelet.start_logging(directory=tmp_path)
    expected = pytest.raises(type(error)) if error is not None else nullcontext()
    with expected, run:
        if error is not None:
            raise error
    last = journal(run)[-1]
    assert isinstance(last, RunFinished)
    assert last.outcome == outcome


def test_threads_log_to_one_run(run: Run) -> None:
    """Threads may log at once; nothing is lost."""

    def work(number: int) -> None:
        for step in range(2_000):
            run.log_metric(f"t{number}", 1.0, step)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(points(run)) == 8_000


def test_mistakes_in_settings_are_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong settings raise at the start and say what is possible."""
    with pytest.raises(UnknownBackend, match="Did you mean 'jsonl'"):
        tracelet.start_logging("jsonll", directory=tmp_path)
    with pytest.raises(TypeError, match="backend must be a name"):
        tracelet.start_logging(3, directory=tmp_path)  # type: ignore[arg-type]
    with pytest.raises(InvalidSetting, match="host must be one of process, thread here, found 'loop'"):
        tracelet.start_logging(host="loop", directory=tmp_path)
    with pytest.raises(InvalidSetting, match="resume must be one of allow, must, never"):
        tracelet.start_logging(run_id="x", resume="maybe", directory=tmp_path)  # type: ignore[arg-type]
    with pytest.raises(InvalidSetting, match="run_id must be usable as the name of a directory"):
        tracelet.start_logging(run_id="../x", directory=tmp_path)
    with pytest.raises(RunNotFound, match="there is no run 'x'"):
        tracelet.start_logging(run_id="x", resume="must", directory=tmp_path)
    tracelet.start_logging(run_id="x", directory=tmp_path)
    tracelet.stop_logging()
    with pytest.raises(RunExists, match="resume='allow'"):
        tracelet.start_logging(run_id="x", directory=tmp_path)
    monkeypatch.setenv("TRACELET_MODE", "onlin")
    with pytest.raises(InvalidSetting, match="TRACELET_MODE must be one of online, offline, disabled, found 'onlin'"):
        tracelet.start_logging(directory=tmp_path)


def test_settings_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TRACELET_DIR, TRACELET_BACKEND, TRACELET_PROJECT and TRACELET_RUN_ID stand in for arguments."""
    monkeypatch.setenv("TRACELET_DIR", str(tmp_path))
    monkeypatch.setenv("TRACELET_BACKEND", "jsonl, ")
    monkeypatch.setenv("TRACELET_PROJECT", "from-env")
    monkeypatch.setenv("TRACELET_RUN_ID", "the-run")
    monkeypatch.setenv("TRACELET_MODE", "offline")
    for _ in range(2):
        with tracelet.start_logging() as run:
            assert (run.id, run.project) == ("the-run", "from-env")
            assert run.directory == tmp_path / "runs" / "the-run"
            assert list(run.status().backends) == ["jsonl"]
    assert RunDirectory(run.directory).writers() == ["0000", "0001"]


@pytest.mark.parametrize("variable", ["RANK", "LOCAL_RANK"])
def test_other_ranks_get_an_inert_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """A rank other than 0 may log as it likes, and nothing is recorded."""
    monkeypatch.setenv(variable, "1")
    with tracelet.start_logging("jsonl", directory=tmp_path / "store") as run:
        run.log_metric("m", 1.0)
        run.log_artifact(__file__)
        assert run.flush(durable=True)
        assert not run.active
        assert run.status().emitted == 0
    assert not (tmp_path / "store").exists()


def test_a_context_is_part_of_no_other(run: Run) -> None:
    """Contexts are recorded sorted, so that equal ones are the same."""
    run.log_metric("m", 1.0, 0, context={"b": 1, "a": "x"})
    run.log_metric("m", 1.0, 0, context={"a": "x", "b": 1})
    first, second = said(run)
    assert isinstance(first, MetricsLogged)
    assert isinstance(second, MetricsLogged)
    assert first.context == second.context == (("a", "x"), ("b", 1))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"config": [1]}, "config must be a mapping, found list"),
        ({"tags": "x"}, "tags must be a mapping, found str"),
        ({"tags": {1: "x"}}, "a name in tags must be a str, found int 1"),
        ({"backend": {"jsonl": {"delivery": 3}}}, "the option 'delivery' of jsonl must be a mapping, found int$"),
    ],
)
def test_what_no_run_can_begin_with_begins_none(tmp_path: Path, given: Any, said: str) -> None:
    """A wrong argument is named before there is a run, and leaves nothing on the disk."""
    with pytest.raises(TypeError, match=said):
        tracelet.start_logging(directory=tmp_path / "store", **given)
    assert tracelet.active_run() is None
    assert not (tmp_path / "store").exists()


def test_an_option_that_cant_be_recorded_begins_no_run(tmp_path: Path) -> None:
    """A backend's option that no UTF-8 can hold is named before there is a run, and leaves nothing on the disk."""
    with pytest.raises(InvalidOptions, match="'path' must be text that UTF-8 can hold"):
        tracelet.start_logging({"jsonl": {"path": "caf\udce9.jsonl"}}, directory=tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_git_ignores_the_runs(tmp_path: Path) -> None:
    """In a folder that Tracelet makes for them; one that was there is left as it is."""
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "mine").mkdir()
    for folder in ("made", "mine"):
        tracelet.start_logging(directory=tmp_path / folder)
        tracelet.stop_logging()
    status = ["git", "-C", str(tmp_path), "status", "--porcelain"]
    assert subprocess.run(status, check=True, capture_output=True, text=True).stdout == "?? mine/\n"


def test_a_start_that_is_refused_ends_nothing(tmp_path: Path) -> None:
    """The run before goes on when the next one can't begin for a wrong argument."""
    run = tracelet.start_logging(directory=tmp_path)
    with pytest.raises(InvalidSetting):
        tracelet.start_logging(directory=tmp_path, mode="ofline")  # type: ignore[arg-type]
    assert run.active
    assert tracelet.active_run() is run
    run.finish()


def test_offline_nothing_is_flushed(tmp_path: Path) -> None:
    """`flush` says whether the backends have it, and offline they don't."""
    with tracelet.start_logging("jsonl", directory=tmp_path, mode="offline") as run:
        run.log_metric("m", 1.0)
        assert not run.flush()
    with tracelet.start_logging(directory=tmp_path) as run:
        assert run.flush()


def test_a_child_of_a_run_without_a_journal_counts_its_losses(tmp_path: Path) -> None:
    """What can't be recorded is counted in children, too."""
    (tmp_path / "file").touch()
    with tracelet.start_logging(directory=tmp_path / "file") as run, run.child("part") as part:
        part.log_metric("m", 1.0)
        assert part.status().lost == 1


def test_an_outcome_is_told_while_asyncio_is_being_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread may be in the middle of it when the script ends."""
    monkeypatch.setitem(sys.modules, "asyncio", ModuleType("asyncio"))
    assert outcome_of(ValueError()) is Outcome.FAILED


def test_a_line_stays_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names are never written raw to the terminal: they could move its cursor, or look like a line of Tracelet's."""
    with tracelet.start_logging(directory=tmp_path) as run, run.child("evil\x1b[31m\nfake: 5 of 5 \x9b") as part:
        part.log_artifact("missing")
    (lost, number) = capsys.readouterr().err.splitlines()
    assert lost.startswith("tracelet: evil\\x1b[31m fake: 5 of 5 \\x9b: events are being lost: log_artifact: ")
    assert number.endswith("1 of 3 events could not be recorded and are lost")


def test_each_file_that_is_lost_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Several at once, too; of one kind five, and then the number is said at the end."""
    with tracelet.start_logging(directory=tmp_path) as run:
        for number in range(8):
            run.log_artifact(f"missing-{number}")
        run.log_image("i", tmp_path / "no.png")
    said = capsys.readouterr().err
    assert [f"missing-{number}" in said for number in range(8)] == [True] * 5 + [False] * 3
    assert said.count("any more of this kind are only counted") == 1
    assert "no.png" in said
    assert "9 of 11 events could not be recorded" in said


def test_a_checkout_that_is_not_installed_logs_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no distribution, as in a frozen application, the version is not known, and that is all."""

    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("tracelet._version.version", missing)
    with tracelet.start_logging(directory=tmp_path) as run:
        run.log_metric("m", 1.0)
    assert RunDirectory(run.directory).read_record().version == "unknown"
