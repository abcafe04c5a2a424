"""Metrics, params, tags and what is said of the run: the values and types that Aim then has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from aim_driver import NOW, Driver
from tracelet_aim.readback import open_run, points

from tracelet.backend import Outcome, ParentRun
from tracelet.events import (
    DatasetUsed,
    ImageLogged,
    MetricsLogged,
    NoteSet,
    ParamsLogged,
    TagsSet,
    TextLogged,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def read(driver: Driver) -> Any:
    return open_run(driver.options.path, driver.hash)


@pytest.fixture
async def driver(drive: Callable[..., Driver]) -> Driver:
    driver = drive()
    await driver.open()
    return driver


async def test_a_later_point_of_a_step_replaces_the_earlier(driver: Driver) -> None:
    """In one batch the replaced one is counted as degraded; Aim's last value is the one that stays."""
    degraded = await driver.export(
        MetricsLogged(NOW, {"m": 1.0, "n": 1.0}, 1),
        MetricsLogged(NOW, {"m": 2.0}, 1),
        MetricsLogged(NOW, {"m": 3.0}, 1, (("a", 1),)),
        MetricsLogged(NOW, {"m": 4.0}, 1, (("a", True),)),  # the same context to Aim
        MetricsLogged(NOW, {"m": 5.0}, 1, (("a", "1"),)),
    )
    assert sorted(degraded) == [0, 2]
    assert sorted(points(read(driver))) == [("m", 2.0, 1), ("m", 4.0, 1), ("m", 5.0, 1), ("n", 1.0, 1)]
    trace = read(driver).meta_run_tree["traces"]
    assert sorted(context["m"]["last"] for context in trace.values()) == [2.0, 4.0, 5.0]


async def test_integers_beyond_64_bits(driver: Driver) -> None:
    """They are the nearest float, or infinity; only what is not exact is degraded."""
    degraded = await driver.export(
        MetricsLogged(NOW, {"m": 2**63 - 1}, 1),
        MetricsLogged(NOW, {"m": 2**70}, 2),
        MetricsLogged(NOW, {"m": 2**70 + 1}, 3),
        MetricsLogged(NOW, {"m": -(10**400)}, 4),
    )
    assert sorted(degraded) == [2, 3]
    found = {step: value for _, value, step in points(read(driver))}
    assert found == {1: float(2**63 - 1), 2: 2.0**70, 3: 2.0**70, 4: float("-inf")}


@pytest.mark.parametrize("step", [2**63, -(2**63) - 1, 10**30])
async def test_steps_beyond_64_bits_are_the_nearest(driver: Driver, step: int) -> None:
    """And are counted as degraded."""
    assert list(await driver.export(MetricsLogged(NOW, {"m": 1.0}, step))) == [0]
    nearest = 2**63 - 1 if step > 0 else -(2**63)
    assert points(read(driver)) == [("m", 1.0, nearest)]


async def test_negative_steps_can_be_resumed(drive: Callable[..., Driver], driver: Driver) -> None:
    """Aim itself loses the description of a sequence that has negative steps only."""
    await driver.export(MetricsLogged(NOW, {"m": 1.0}, -5), TextLogged(NOW, "t", "one", -3))
    await driver.backend.close()
    again = drive(id=driver.info.id)
    await again.open()
    await again.export(MetricsLogged(NOW, {"m": 2.0}, -2), TextLogged(NOW, "t", "two", -2))
    assert points(read(driver)) == [("m", 1.0, -5), ("m", 2.0, -2)]
    (traces,) = read(driver).meta_run_tree["traces"].values()
    assert (traces["m"]["last_step"], traces["m"]["first_step"], traces["t"]["last_step"]) == (-2, -5, -2)


async def test_empty_names_get_one_of_their_own(driver: Driver) -> None:
    """No two names become one."""
    names = ["", "(no name)", "(no name)(no name)", "(no name) x"]
    degraded = await driver.export(*(MetricsLogged(NOW, {name: 1.0}, 1) for name in names))
    assert sorted(degraded) == [0, 1, 2]
    found = {name for name, _, _ in points(read(driver))}
    assert len(found) == len(names)
    assert names[3] in found


async def test_contexts_keep_their_types(driver: Driver) -> None:
    """Aim's contexts are mappings, and so are Tracelet's."""
    context = (("f", 0.5), ("huge", 2**80), ("n", 1), ("on", True), ("subset", "val"), ("z", None))
    degraded = await driver.export(MetricsLogged(NOW, {"m": 1.0}, 1, context))
    (metric,) = read(driver).metrics()
    found = metric.context.to_dict()
    assert found == dict(context) | {"huge": str(2**80)}
    assert {name: type(value) for name, value in found.items()}["on"] is bool
    assert list(degraded) == [0]


async def test_a_metric_and_a_text_of_one_name(driver: Driver) -> None:
    """The one that comes second gets its kind added, in later batches and sessions too."""
    assert await driver.export(TextLogged(NOW, "same", "text", 1)) == {}
    assert list(await driver.export(MetricsLogged(NOW, {"same": 1.0}, 1))) == [0]
    assert list(await driver.export(MetricsLogged(NOW, {"same": 2.0}, 2))) == [0]
    assert points(read(driver)) == [("same (metric)", 1.0, 1), ("same (metric)", 2.0, 2)]


async def test_a_metric_named_as_the_terminal_log(driver: Driver) -> None:
    """It doesn't take the place of the console's lines."""
    assert list(await driver.export(MetricsLogged(NOW, {"logs": 1.0}, 1))) == [0]
    assert await driver.export(MetricsLogged(NOW, {"logs": 1.0}, 1, (("a", 1),))) == {}
    assert sorted(name for name, _, _ in points(read(driver))) == ["logs", "logs (metric)"]


async def test_params_are_nested_and_typed(driver: Driver) -> None:
    """`optimizer/lr` is `run.hparams.optimizer.lr`, and queries see its number."""
    from aim import Repo

    values: dict[str, Any] = {
        "optimizer/lr": 0.1,
        "n": 3,
        "on": True,
        "none": None,
        "sizes": [1, 2.5, "x"],
        "name": "adam",
        "d": {},
    }
    assert await driver.export(ParamsLogged(NOW, values)) == {}
    assert await driver.export(ParamsLogged(NOW, {"optimizer/eps": 1e-8, "n": 4})) == {}
    expected = {"optimizer": {"lr": 0.1, "eps": 1e-8}, "on": True, "none": None, "sizes": [1, 2.5, "x"], "n": 4}
    found = read(driver)["hparams"]
    assert found == expected | {"name": "adam", "d": {}}
    assert type(found["on"]) is bool
    repo = Repo.from_path(driver.options.path)
    for query, count in (("run.hparams.optimizer.lr == 0.1 and run.hparams.n == 4", 1), ("run.hparams.n == 3", 0)):
        assert len(list(repo.query_runs(query, report_mode=0).iter_runs())) == count


async def test_params_that_can_not_be_nested(driver: Driver) -> None:
    """They keep a flat name; nothing overwrites another."""
    values = {"a": 1, "a/b": 2, "c/d": 3, "c": 4, "": 5, "//": 6, "huge": 2**70}
    degraded = await driver.export(*(ParamsLogged(NOW, {name: value}) for name, value in values.items()))
    found = read(driver)["hparams"]
    assert found == {"a": 1, "a/b": 2, "c": {"d": 3}, "c/": 4, "(no name)": 5, "//": 6, "huge": str(2**70)}
    assert sorted(degraded) == [1, 3, 4, 6]
    assert await driver.export(ParamsLogged(NOW, values)) is not None
    assert read(driver)["hparams"] == found


async def test_tags_are_labels(driver: Driver) -> None:
    """A later value replaces the label of an earlier one; long ones are attributes only."""
    await driver.export(TagsSet(NOW, {"stage": "first", "empty": "", "long": "x" * 5_000}))
    await driver.export(TagsSet(NOW, {"stage": "second"}), TagsSet(NOW, {"stage": "third"}))
    run = read(driver)
    assert sorted(run.tags) == ["empty", "stage=third"]
    assert run["tracelet", "tags"] == {"stage": "third", "empty": "", "long": "x" * 5_000}


async def test_what_is_known_of_the_run(drive: Callable[..., Driver]) -> None:
    """Name, experiment, times, note, datasets, parent and outcome, where Aim's users look for them."""
    parent = ParentRun("parent-id", "the parent", {"hash": "f" * 24})
    driver = drive(name="größe", parent=parent)
    await driver.open()
    await driver.export(
        NoteSet(NOW, "first"),
        NoteSet(NOW, "# second"),
        DatasetUsed(NOW, "digits", "/data", "abc", "training", {"x": "float"}, {"rows": 10}),
        DatasetUsed(NOW, "digits", "/data", "def", "evaluation"),
    )
    assert read(driver).active
    await driver.backend.finish(Outcome.FAILED, NOW + 60)
    run = read(driver)
    assert (run.name, run.experiment, run.description) == ("größe", driver.info.project, "# second")
    assert (run.creation_time, run.end_time, run.active) == (int(NOW) + 0.25, NOW + 60, False)
    assert run["tracelet", "outcome"] == "failed"
    assert run["tracelet", "parent"] == {"id": "parent-id", "name": "the parent", "hash": "f" * 24}
    assert run["tracelet", "run_id"] == driver.info.id
    assert run["datasets"]["digits"]["profile"] == {"rows": 10}
    assert run["datasets"]["digits (evaluation)"]["digest"] == "def"


async def test_what_users_change_stays(drive: Callable[..., Driver], driver: Driver) -> None:
    """A name given to the run in Aim is not replaced when delivery goes on."""
    session: Any = driver.backend._session
    session.run.name = "renamed"
    await driver.backend.close()
    again = drive(id=driver.info.id)
    await again.open()
    assert read(driver).name == "renamed"


async def test_closing_does_not_end_the_run(driver: Driver) -> None:
    """Another process may go on with it; Aim itself would note an end."""
    await driver.backend.close()
    assert read(driver).end_time is None


async def test_a_repeated_text_is_counted(driver: Driver) -> None:
    """Of texts of one name and step the last stays."""
    degraded = await driver.export(TextLogged(NOW, "t", "one"), TextLogged(NOW, "t", "two", 0))
    assert list(degraded) == [0]
    run = read(driver)
    (name,) = [name for name, _, _ in run.iter_sequence_info_by_type("aim.text")]
    assert name == "t"
    assert ImageLogged in driver.backend.handles
