"""Metrics, params, tags and words: what arrives in ClearML, and what is counted as degraded."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import anyio.to_thread
import pytest
from clearml_driver import NOW, Driver
from clearml_stub import StubServer
from clearml_stub_store import Refusal

from tracelet.errors import Rejected
from tracelet.events import (
    ConsoleLine,
    Context,
    DatasetUsed,
    LayoutSet,
    MetricsLogged,
    NoteSet,
    ParamsLogged,
    TagsSet,
    TextLogged,
)

pytestmark = pytest.mark.anyio

Drive = Callable[..., Driver]

MILLISECOND = int(NOW * 1000)
LARGEST = 3.4028234663852886e38


def metric(value: float, step: int = 0, name: str = "m", time: float = NOW, context: Context = ()) -> MetricsLogged:
    return MetricsLogged(time, {name: value}, step, context)


def scalars(stub: StubServer, driver: Driver) -> list[tuple[str, str, int, float, int]]:
    keys = ("metric", "variant", "iter", "value", "timestamp")
    return [tuple(event[key] for key in keys) for event in stub.events.of(driver.task, "training_stats_scalar")]


def log(stub: StubServer, driver: Driver) -> list[tuple[str, str, int]]:
    return [(line["level"], line["msg"], line["timestamp"]) for line in stub.events.of(driver.task, "log")]


async def sdk_task(driver: Driver) -> Any:
    from clearml import Task

    return await anyio.to_thread.run_sync(lambda: Task.get_task(task_id=driver.task))


async def test_points_arrive_as_they_were_said(drive: Drive, stub: StubServer) -> None:
    """Name, value, step and millisecond of every point are in ClearML, and nothing is counted as degraded."""
    driver = drive()
    await driver.open()
    events = [metric(i / 3, step=i, time=NOW + i, name="train/loss") for i in range(50)]
    assert await driver.export(*events) == {}
    expected = [("train", "loss", i, i / 3, MILLISECOND + 1000 * i) for i in range(50)]
    assert scalars(stub, driver) == expected
    reported = await anyio.to_thread.run_sync((await sdk_task(driver)).get_reported_scalars)
    assert reported["train"]["loss"]["y"] == [i / 3 for i in range(50)]


@pytest.mark.parametrize(
    ("name", "context", "shown"),
    [
        ("loss", (), ("loss", "loss")),
        ("train/loss", (), ("train", "loss")),
        ("a/b/c", (), ("a/b", "c")),
        ("loss", (("subset", "val"),), ("loss", "loss subset:val")),
        ("train/loss", (("rank", 1), ("subset", "val")), ("train", "loss rank:1 subset:val")),
        ("größe/損失", (), ("größe", "損失")),
    ],
)
async def test_names_are_shown_as_clearml_users_expect(
    drive: Drive, stub: StubServer, name: str, context: Context, shown: tuple[str, str]
) -> None:
    """What stands before the last "/" is the metric; contexts are variants of one metric, and so of one plot."""
    driver = drive()
    await driver.open()
    assert await driver.export(metric(1.0, name=name, context=context)) == {}
    assert [point[:2] for point in scalars(stub, driver)] == [shown]


ALIKE: list[list[tuple[str, Context]]] = [
    [("loss", ()), ("loss/loss", ())],
    [("m", (("subset", "val"),)), ("m/m subset:val", ()), ("m subset:val", ())],
    [("a-b/c", ()), ("a/b-c", ()), ("a-b-c", ())],
    [("a-b-a/b", ()), ("a-b", ()), ("a/b-a-b", ())],
    [("m", (("n", 1),)), ("m", (("n", 1.0),)), ("m", (("n", True),)), ("m", (("n", "1"),))],
    [("", ()), (" ", ()), ("_", ()), ("/", ()), ("\0", ()), ("\n", ())],
    [("x" * 5_000, ()), ("x" * 5_001, ()), ("x" * 200, ())],
    [("a/b #1", ()), ("a/b", (("c", "#1"),))],
]


@pytest.mark.parametrize("alike", ALIKE, ids=[str(group[0][0])[:10] for group in ALIKE])
async def test_names_that_look_alike_stay_apart(
    drive: Drive, stub: StubServer, alike: list[tuple[str, Context]]
) -> None:
    """Each name and context has points of its own at one step, also where the server would take two for one."""
    driver = drive()
    await driver.open()
    await driver.export(*[metric(float(at), name=name, context=context) for at, (name, context) in enumerate(alike)])
    found = scalars(stub, driver)
    assert sorted(value for *_, value, _ in found) == [float(at) for at in range(len(alike))]
    assert len({point[:2] for point in found}) == len(alike)


@pytest.mark.parametrize(
    ("value", "stored", "degraded"),
    [
        (math.nan, None, True),
        (math.inf, None, True),
        (-math.inf, None, True),
        (10**400, None, True),
        (1e39, None, True),
        (-LARGEST, -LARGEST, False),
        (2**53 + 1, float(2**53), True),
        (2**53, float(2**53), False),
        (5e-324, 5e-324, False),
        (7, 7.0, False),
    ],
)
async def test_values_that_clearml_can_not_hold_are_lines_of_the_log(
    drive: Drive, stub: StubServer, value: float, stored: float | None, degraded: bool
) -> None:
    """What the server's index has no number for is said in the log; its neighbours are not affected."""
    driver = drive()
    await driver.open()
    odd = MetricsLogged(NOW, {"a": 1.0, "m": value, "b": 2.0}, 7, (("subset", "val"),))
    reasons = await driver.export(metric(1.0), odd, metric(3.0, step=9))
    assert set(reasons) == ({1} if degraded else set())
    found = {(variant, step): number for _, variant, step, number, _ in scalars(stub, driver)}
    assert found.get(("m subset:val", 7)) == stored
    assert {("m", 0), ("m", 9), ("a subset:val", 7), ("b subset:val", 7)} <= set(found)
    lines = log(stub, driver)
    assert len(lines) == (stored is None)
    if lines:
        level, message, timestamp = lines[0]
        assert (level, timestamp) == ("warning", MILLISECOND)
        assert message.startswith("m is ")
        assert message.endswith(" at step 7 (subset: val)")


@pytest.mark.parametrize(
    ("step", "time", "stored"),
    [
        (2**80, NOW, (2**63 - 1, MILLISECOND)),
        (-(2**80), NOW, (-(2**63) + 1, MILLISECOND)),
        (1, -5.0, (1, 0)),
        (1, math.nan, (1, 0)),
        (1, 1e300, (1, 253_402_300_799_999)),
    ],
)
async def test_steps_and_times_beyond_are_clamped(
    drive: Drive, stub: StubServer, step: int, time: float, stored: tuple[int, int]
) -> None:
    """A step or time that ClearML can't hold becomes the nearest that it can, and is degraded."""
    driver = drive()
    await driver.open()
    assert set(await driver.export(metric(0.5), metric(1.0, step=step, time=time))) == {1}
    assert stored in [(at, timestamp) for _, _, at, _, timestamp in scalars(stub, driver)]


async def test_points_that_clearml_makes_one_are_counted(drive: Drive, stub: StubServer) -> None:
    """Of points with one name and step ClearML keeps the last, which is degraded; other contexts are others."""
    driver = drive()
    await driver.open()
    context = (("subset", "val"),)
    assert set(await driver.export(metric(1.0), metric(2.0), metric(3.0, context=context), metric(4.0, step=1))) == {1}
    assert sorted(value for *_, value, _ in scalars(stub, driver)) == [2.0, 3.0, 4.0]


async def test_params_come_back_with_their_types(drive: Drive) -> None:
    """The SDK casts every parameter back to what it was."""
    driver = drive()
    await driver.open()
    values = {"f": 0.1, "b": True, "n": None, "l": [1, 2], "mixed": [1, "a", None], "s": "text", "i": 10**30, "a.b": 1}
    assert await driver.export(ParamsLogged(NOW, values)) == {}
    task = await sdk_task(driver)
    found = await anyio.to_thread.run_sync(lambda: task.get_parameters(cast=True))
    assert found == {f"General/{name}": value for name, value in values.items()}


async def test_a_later_param_replaces_an_earlier_one(drive: Drive) -> None:
    """ClearML's parameters can be changed; others stay."""
    driver = drive()
    await driver.open()
    await driver.export(ParamsLogged(NOW, {"lr": 1, "kept": "yes"}), ParamsLogged(NOW, {"lr": 2}))
    await driver.export(ParamsLogged(NOW, {"lr": 3}))
    assert (await sdk_task(driver)).get_parameters() == {"General/lr": "3", "General/kept": "yes"}


async def test_no_name_of_a_param_costs_another(drive: Drive, stub: StubServer) -> None:
    """Names that the server refuses or cuts are changed, and so is a value that is too long; that is degraded."""
    driver = drive()
    await driver.open()
    names = ["", " ", "a", " a", "a ", "nul\0", "x" * 10_000, "a__b", "$", ".", "größe"]
    reasons = await driver.export(
        ParamsLogged(NOW, {name: at for at, name in enumerate(names)}), ParamsLogged(NOW, {"long": "x" * 100_001})
    )
    assert set(reasons) == {0, 1}
    general = stub.store.tasks[driver.task]["hyperparams"]["General"]
    assert sorted(int(param["value"]) for param in general.values() if len(param["value"]) < 9) == [*range(len(names))]
    assert len(general["long"]["value"]) == 100_000


async def test_tags_are_tags_and_properties(drive: Drive, stub: StubServer) -> None:
    """A tag is name:value among the task's tags, replaced with its value, also after a crash; others' tags stay."""
    driver = drive()
    state = await driver.open()
    stub.store.tasks[driver.task]["tags"] = ["theirs"]
    assert (
        await driver.export(TagsSet(NOW, {"stage": "first", "baseline": ""}), TagsSet(NOW, {"long": "x" * 500})) == {}
    )
    again = drive(id=driver.info.id, project=driver.info.project)
    await again.open(state)
    await again.export(TagsSet(NOW, {"stage": "second"}))
    assert (await sdk_task(driver)).get_tags() == ["baseline", "stage:second", "theirs"]
    properties = (await sdk_task(driver)).get_user_properties(value_only=True)
    assert properties == {"stage": "second", "baseline": "", "long": "x" * 500}


@pytest.mark.parametrize("failing", ["tasks_edit_hyper_params", "tasks_update_tags"])
async def test_a_retried_batch_still_takes_old_tags_away(
    drive: Drive, stub: StubServer, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """Tags are changed before the properties that tell which tags are old, wherever a failure comes between."""

    def refuse(body: Any) -> Any:
        raise Refusal(400, 12, "validation error")

    driver = drive()
    await driver.open()
    await driver.export(TagsSet(NOW, {"stage": "first"}))
    with monkeypatch.context() as broken:
        broken.setattr(stub.store, failing, refuse)
        with pytest.raises(Rejected):
            await driver.export(TagsSet(NOW, {"stage": "second"}))
    await driver.export(TagsSet(NOW, {"stage": "second"}))
    assert stub.store.tasks[driver.task]["tags"] == ["stage:second"]


async def test_texts_are_debug_samples(drive: Drive, stub: StubServer) -> None:
    """A text is a file among the debug samples, at its step and time; one of the run is beside that of step 0."""
    driver = drive()
    await driver.open()
    context = (("subset", "val"),)
    texts = [TextLogged(NOW, "note", "of the run"), TextLogged(NOW, "note", "at 0", 0), TextLogged(NOW, "note", "", 1)]
    assert await driver.export(*texts, TextLogged(NOW, "a/note", "größe", 2, context)) == {}
    task = await sdk_task(driver)
    (found,) = await anyio.to_thread.run_sync(lambda: task.get_debug_samples("a", "note subset:val"))
    assert (found["iter"], found["timestamp"]) == (2, MILLISECOND)
    assert stub.files[found["key"]] == "größe".encode()
    folder = f"{driver.info.project}/a run.{driver.task}/metrics"
    assert found["key"] == f"{folder}/a/note subset0x3aval/00000002.txt"
    own = {path.removeprefix(f"{folder}/"): data for path, data in stub.files.items() if path.startswith(folder)}
    assert own["note/note/run.txt"] == b"of the run"
    assert own["note/note/00000000.txt"] == b"at 0"
    assert len(stub.events.of(driver.task, "training_debug_image")) == 4


async def test_console_lines_have_levels(drive: Drive, stub: StubServer) -> None:
    """What was printed has the level "info", or "error" if it went to stderr; a huge print becomes several lines."""
    driver = drive()
    await driver.open()
    huge = "x" * ((1 << 20) + 1)
    assert (
        await driver.export(ConsoleLine(NOW, "out"), ConsoleLine(NOW + 1, "err", "stderr"), ConsoleLine(NOW + 2, huge))
        == {}
    )
    found = log(stub, driver)
    assert found[:2] == [("info", "out", MILLISECOND), ("error", "err", MILLISECOND + 1000)]
    assert "".join(message for _, message, _ in found[2:]) == huge


async def test_a_dataset_and_a_note_are_where_people_look(drive: Drive) -> None:
    """A dataset is a parameter of the section "Datasets", with all that is known in its description; a note is the
    task's comment."""
    driver = drive()
    await driver.open()
    dataset = DatasetUsed(NOW, "digits", "s3://b/d.csv", "abc", "training", {"x": "float"}, {"rows": 1797})
    assert await driver.export(dataset, NoteSet(NOW, "first"), NoteSet(NOW, "**second**")) == {}
    task = await sdk_task(driver)
    assert task.get_parameters()["Datasets/digits"] == "s3://b/d.csv"
    description = task.data.hyperparams["Datasets"]["digits"].description
    assert description == '{"role":"training","digest":"abc","schema":{"x":"float"},"profile":{"rows":1797}}'
    assert task.comment == "**second**"


async def test_a_large_event_takes_several_requests(drive: Drive, stub: StubServer) -> None:
    """No request has more than 15 MiB, and every point arrives."""
    driver = drive()
    await driver.open()
    values = {f"{'x' * 150}{i}": float(i) for i in range(40_000)}
    assert await driver.export(MetricsLogged(NOW, values, 0)) == {}
    assert {value for *_, value, _ in scalars(stub, driver)} == set(values.values())
    assert max(stub.sizes) <= 15 << 20


async def test_every_chart_of_a_layout_is_a_text(drive: Drive, stub: StubServer) -> None:
    """Several texts of one event don't share their file."""
    driver = drive()
    await driver.open()
    charts = {"losses": {"one": ("Multiline", ["a"]), "two": ("Multiline", ["b"])}}
    assert await driver.export(LayoutSet(NOW, charts)) == {}
    samples = stub.events.of(driver.task, "training_debug_image")
    found = {sample["variant"]: json.loads(stub.files[sample["key"]])["metrics"] for sample in samples}
    assert found == {"one": ["a"], "two": ["b"]}
