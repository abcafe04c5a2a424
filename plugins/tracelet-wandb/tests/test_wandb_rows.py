"""Rows as they lie in W&B's files: values, steps, times, axes, and which events they hold."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import wandb_offline
from wandb_driver import NOW, Driver, points

from tracelet.events import ConsoleLine, MetricsLogged, NoteSet, ParamsLogged, TagsSet, TextLogged

pytestmark = pytest.mark.anyio

Drive = Callable[..., Driver]


@pytest.fixture(params=["asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The conformance suite has both; what is tested here blocks in threads."""
    return str(request.param)


def rows(driver: Driver) -> list[dict[str, Any]]:
    records(driver)
    return wandb_offline.rows(Path(driver.options.dir or ""), driver.id)


def records(driver: Driver) -> list[Any]:
    """Every record of the run, once its session has ended."""
    folder = Path(driver.options.dir or "")
    wandb_offline.recorded(folder, driver.id)
    return [record for log in wandb_offline.logs(folder, driver.id) for record in wandb_offline.records(log)]


async def test_metrics_of_a_step_share_a_row(drive: Drive) -> None:
    """Events of one step and moment are one row, with its step, times and events; the others have rows of their own."""
    driver = drive()
    await driver.open()
    await driver.export(
        MetricsLogged(NOW + 1, {"a": 0.5, "b": 2}, 7),
        MetricsLogged(NOW + 1.25, {"c": -1.5}, 7, (("subset", "val"),)),
        MetricsLogged(NOW + 2, {"a": 0.25}, 3),
        MetricsLogged(NOW + 2, {"a": 0.75}, 7),
        MetricsLogged(NOW + 2.5, {"b": 1.0}, 7),
    )
    common = {"_runtime": 1.0, "_timestamp": NOW + 1, "_step": 0}
    assert rows(driver) == [
        common | {"_tracelet": "0000/stream/0-1", "global_step": 7, "a": 0.5, "b": 2, "c subset=val": -1.5},
        {"_step": 1, "_timestamp": NOW + 2, "_runtime": 2.0, "_tracelet": "0000/stream/2", "global_step": 3, "a": 0.25},
        {
            "_step": 2,
            "_timestamp": NOW + 2,
            "_runtime": 2.0,
            "_tracelet": "0000/stream/3-4",
            "global_step": 7,
            "a": 0.75,
            "b": 1.0,
        },
    ]


async def test_events_of_different_moments_keep_their_times(drive: Drive) -> None:
    """Events of one step that are seconds apart are rows of their own."""
    driver = drive()
    await driver.open()
    await driver.export(MetricsLogged(NOW, {"a": 1.0}, 1), MetricsLogged(NOW + 5, {"b": 1.0}, 1))
    assert [row["_timestamp"] for row in rows(driver)] == [NOW, NOW + 5]


async def test_every_name_has_its_axis_once(drive: Drive) -> None:
    """Charts are over global_step, which is said once for each name in a session."""
    driver = drive()
    await driver.open()
    await driver.export(*points(1, 2, name="a"))
    await driver.export(*points(3, name="a"), *points(3, name="b"), TextLogged(NOW, "note", "x"))
    metrics = [(r.metric.name, r.metric.step_metric) for r in records(driver) if r.HasField("metric")]
    assert metrics == [("a", "global_step"), ("b", "global_step"), ("note", "global_step")]


async def test_the_summary_has_the_last_values(drive: Drive) -> None:
    """The run's summary is what was said last, without the columns that are for readers of rows."""
    driver = drive()
    await driver.open()
    await driver.export(*points(8, 4))
    summaries = [r.summary.update for r in records(driver) if r.HasField("summary")]
    shown = {item.key: json.loads(item.value_json) for item in summaries[0]}
    assert shown == {"_step": 1, "_timestamp": NOW + 4, "_runtime": 4.0, "global_step": 4, "m": 1.0}


@pytest.mark.parametrize(
    ("value", "shown", "degraded"),
    [
        (math.inf, math.inf, False),
        (-math.inf, -math.inf, False),
        (2**63 - 1, 2**63 - 1, False),
        (-(2**63), -(2**63), False),
        (2**63, float(2**63), True),
        (10**400, math.inf, True),
        (5e-324, 5e-324, False),
    ],
)
async def test_odd_numbers(drive: Drive, value: Any, shown: Any, degraded: bool) -> None:
    """Numbers arrive exactly within 64 bits; beyond them as floats, which is declared."""
    driver = drive()
    await driver.open()
    reasons = await driver.export(MetricsLogged(NOW, {"m": value, "n": 0.5}, 1))
    assert bool(reasons) is degraded
    (row,) = rows(driver)
    assert (row["m"], row["n"]) == (shown, 0.5)
    assert type(row["m"]) is type(shown)


async def test_steps_of_64_bits(drive: Drive) -> None:
    """Steps arrive as they are; those that W&B's server would take for floats are declared."""
    driver = drive()
    await driver.open()
    steps = [-(2**63), -1, 2**63 - 1, 2**63, 10**30]
    reasons = await driver.export(*(MetricsLogged(NOW, {"m": 0.5}, step) for step in steps))
    assert [row["global_step"] for row in rows(driver)] == steps
    assert sorted(reasons) == [3, 4]


async def test_names_that_are_taken(drive: Drive) -> None:
    """W&B's own names, and the axis, can't be a user's: these get a hash, and that is declared."""
    driver = drive()
    await driver.open()
    names = ["_step", "_timestamp", "_x", "global_step", "a*", "loss subset=val", "", "x" * 500, "good"]
    reasons = await driver.export(*(MetricsLogged(NOW, {name: 1.0}, at) for at, name in enumerate(names)))
    shown = [next(name for name in row if name != "global_step" and not name.startswith("_")) for row in rows(driver)]
    assert shown[-1] == "good"
    assert sorted(reasons) == list(range(8))
    assert len(set(shown)) == len(names)
    assert all(len(name) <= 180 for name in shown)


async def test_params_keep_their_types(drive: Drive) -> None:
    """Params are typed in the config; what JSON has no word for is text, and declared."""
    driver = drive()
    await driver.open()
    given = {"lr": 0.1, "on": True, "n": None, "layers": [1, [2, "x"]], "name": "ä", "tracelet": 1, "_wandb": 2}
    reasons = await driver.export(
        ParamsLogged(NOW, given), ParamsLogged(NOW, {"nan": math.nan, "huge": 2**70, "list": [math.inf]})
    )
    config = {}
    for record in records(driver):
        for item in record.config.update if record.HasField("config") else ():
            config[item.key] = json.loads(item.value_json)
    assert {name: config[name] for name in ("lr", "on", "n", "layers", "name")} == dict(list(given.items())[:5])
    assert config["nan"] == "nan"
    assert config["huge"] == hex(2**70)
    assert config["list"] == ["inf"]
    assert sorted(reasons) == [0, 1]


async def test_tags_are_where_wandb_shows_them(drive: Drive) -> None:
    """A tag is `name:value` among the run's tags, the latest value alone, in a later session too."""
    driver = drive()
    opened = await driver.open()
    await driver.export(TagsSet(NOW, {"stage": "first", "flag": ""}), TagsSet(NOW, {"stage": "second"}))
    reasons = await driver.export(TagsSet(NOW, {"long": "x" * 100}), NoteSet(NOW, "note"))
    assert list(reasons) == [0]
    again = drive(run={"id": driver.id})
    await again.open(opened.state | driver.saved[-1])
    await again.export(TagsSet(NOW, {"stage": "third"}))
    last = [record.run for record in records(driver) if record.HasField("run")][-1]
    tags = list(last.tags)
    assert tags[:2] == ["stage:third", "flag"]
    assert tags[2].startswith("long:xxx")
    assert len(tags[2]) == 64
    assert last.notes == "note"


async def test_console_lines_are_logs(drive: Drive) -> None:
    """Lines go where W&B shows what a run printed."""
    driver = drive()
    await driver.open()
    await driver.export(ConsoleLine(NOW, "one"), ConsoleLine(NOW, "two\nthree", "stderr"))
    lines = [record.output_logger.line for record in records(driver) if record.HasField("output_logger")]
    assert lines == ["one\n", "two\nthree\n"]


async def test_several_runs_in_one_process(drive: Drive) -> None:
    """Runs that are open at the same time have each their own rows."""
    first, second = drive(), drive()
    await first.open()
    await second.open()
    await first.export(*points(1))
    await second.export(*points(2))
    await first.export(*points(3))
    assert [row["global_step"] for row in rows(first)] == [1, 3]
    assert [row["global_step"] for row in rows(second)] == [2]
