"""Metrics, params and tags: what arrives in MLflow, and what is counted as degraded."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from driver import NOW, Driver
from tracelet_mlflow._metrics import points
from tracelet_mlflow._records import Records, requests
from tracelet_mlflow._words import words

from tracelet.backend import Batch
from tracelet.errors import Rejected
from tracelet.events import Context, Event, HParamsLogged, Lane, MetricsLogged, ParamsLogged, TagsSet, TextLogged

pytestmark = pytest.mark.anyio

Drive = Callable[..., Driver]
Read = Callable[[str], Any]

MILLISECOND = int(NOW * 1000)
LARGEST = 1.7976931348623157e308


def metric(value: float, step: int = 0, name: str = "m", time: float = NOW, context: Context = ()) -> MetricsLogged:
    return MetricsLogged(time, {name: value}, step, context)


async def test_points_arrive_as_they_were_said(drive: Drive, read: Read, tracking_uri: str) -> None:
    """Name, value, step and millisecond of every point are in MLflow, and nothing is counted as degraded."""
    driver = drive(tracking_uri)
    await driver.open()
    assert await driver.export(*[metric(i / 3, step=i, time=NOW + i) for i in range(50)]) == {}
    history = read(tracking_uri).get_metric_history(driver.run_id, "m")
    assert [(m.value, m.step, m.timestamp) for m in history] == [(i / 3, i, MILLISECOND + 1000 * i) for i in range(50)]


async def test_a_batch_again_changes_nothing(drive: Drive, read: Read, tracking_uri: str) -> None:
    """Idempotency.KEYED: after a second delivery, whole or overlapping, MLflow shows what it showed before."""
    driver = drive(tracking_uri)
    await driver.open()
    events: list[Event] = [metric(float(i), step=i) for i in range(20)]
    events += [metric(math.nan, step=99), ParamsLogged(NOW, {"lr": 0.1}), TagsSet(NOW, {"t": "1"})]
    events += [TextLogged(NOW, "note", "hello", 3)]
    for again in (events, events, events[10:]):
        await driver.export(*again)
    client = read(tracking_uri)
    assert len(client.get_metric_history(driver.run_id, "m")) == 21
    assert client.get_run(driver.run_id).data.params == {"lr": "0.1"}
    assert [file.path for file in client.list_artifacts(driver.run_id, "note")] == ["note/step_3.txt"]


@pytest.mark.parametrize(
    ("value", "stored", "degraded"),
    [
        (math.nan, math.nan, False),
        (math.inf, LARGEST, True),
        (-math.inf, -LARGEST, True),
        (2**53 + 1, float(2**53), True),
        (2**53, float(2**53), False),
        (10**400, LARGEST, True),
        (-(10**400), -LARGEST, True),
        (5e-324, 5e-324, False),
        (-0.0, 0.0, False),
        (7, 7.0, False),
    ],
)
async def test_values_that_mlflow_can_not_hold_are_counted(
    drive: Drive, read: Read, tracking_uri: str, value: float, stored: float, degraded: bool
) -> None:
    """A value that becomes another is degraded; its neighbours in the event and in the batch are not affected."""
    driver = drive(tracking_uri)
    await driver.open()
    reasons = await driver.export(metric(1.0, step=1), metric(value, step=2), metric(3.0, step=3))
    assert set(reasons) == ({1} if degraded else set())
    values = [m.value for m in read(tracking_uri).get_metric_history(driver.run_id, "m")]
    assert values == pytest.approx([1.0, stored, 3.0], nan_ok=True, abs=0)


@pytest.mark.parametrize(
    ("step", "time", "stored"),
    [
        (2**80, NOW, (2**63 - 1, MILLISECOND)),
        (-(2**80), NOW, (-(2**63) + 1, MILLISECOND)),
        (1, -5.0, (1, 0)),
        (1, math.nan, (1, 0)),
        (1, 1e300, (1, 2**63 - 1)),
    ],
)
async def test_steps_and_times_beyond_64_bits_are_clamped(
    drive: Drive, read: Read, tracking_uri: str, step: int, time: float, stored: tuple[int, int]
) -> None:
    """A step or time that MLflow can't hold becomes the nearest that it can, and is degraded."""
    driver = drive(tracking_uri)
    await driver.open()
    assert set(await driver.export(metric(0.5), metric(1.0, step=step, time=time))) == {1}
    history = read(tracking_uri).get_metric_history(driver.run_id, "m")
    assert stored in [(m.step, m.timestamp) for m in history]
    assert len(history) == 2


async def test_a_negative_step_is_a_step(drive: Drive, read: Read, tracking_uri: str) -> None:
    """Negative steps arrive."""
    driver = drive(tracking_uri)
    await driver.open()
    assert await driver.export(metric(1.0, step=-5)) == {}
    assert read(tracking_uri).get_metric_history(driver.run_id, "m")[0].step == -5


AWKWARD = ["", "x" * 10_000, "acc@5", "acc#5", "acc%5", "a\nb", "a\0b", "🙂", "/a", "a//b", "..", ".", "../a", "a/"]


async def test_no_name_costs_a_point(drive: Drive, read: Read, tracking_uri: str) -> None:
    """Points, params and tags with any name arrive, each under a name of its own, and so do their neighbours."""
    driver = drive(tracking_uri)
    await driver.open()
    names = [*AWKWARD, "good", "Größe"]
    reasons = await driver.export(
        MetricsLogged(NOW, {name: float(i) for i, name in enumerate(names)}, 0),
        MetricsLogged(NOW, {"neighbour": 1.0}, 0),
        ParamsLogged(NOW, {name: i for i, name in enumerate(names)}),
        TagsSet(NOW, {name: str(i) for i, name in enumerate(names)}),
    )
    assert set(reasons) == {0, 2, 3}
    data = read(tracking_uri).get_run(driver.run_id).data
    assert sorted(data.metrics.values()) == sorted([*map(float, range(len(names))), 1.0])
    assert sorted(data.params.values()) == sorted(map(str, range(len(names))))
    assert set(map(str, range(len(names)))) <= set(data.tags.values())
    assert data.metrics["Größe"] == float(len(names) - 1)


async def test_contexts_are_told_apart(drive: Drive, read: Read, tracking_uri: str) -> None:
    """One name in two contexts is two metrics in MLflow, with the context in the name, and that is no degradation."""
    driver = drive(tracking_uri)
    await driver.open()
    contexts: list[Context] = [(), (("subset", "train"),), (("subset", "val"),)]
    assert await driver.export(*[metric(float(i), context=c) for i, c in enumerate(contexts)]) == {}
    found = read(tracking_uri).get_run(driver.run_id).data.metrics
    assert found == {"m": 0.0, "m subset:train": 1.0, "m subset:val": 2.0}


async def test_points_that_mlflow_makes_one_are_counted(drive: Drive, read: Read, tracking_uri: str) -> None:
    """Points equal in name, step, millisecond and value are one to MLflow, which is degraded; others are not."""
    driver = drive(tracking_uri)
    await driver.open()
    points = [metric(1.0), metric(1.0, time=NOW + 0.0001), metric(1.0, time=NOW + 1), metric(2.0), metric(1.0, step=1)]
    assert set(await driver.export(*points, metric(math.nan), metric(math.nan))) == {1, 6}
    assert len(read(tracking_uri).get_metric_history(driver.run_id, "m")) == 5


async def test_an_event_may_hold_any_number_of_values(drive: Drive, read: Read, tracking_uri: str) -> None:
    """An event of 10,000 values, of 300 params and of 300 tags takes several requests, and all arrive."""
    driver = drive(tracking_uri)
    await driver.open()
    await driver.export(
        MetricsLogged(NOW, {f"metric {i}": float(i) for i in range(10_000)}, 0),
        ParamsLogged(NOW, {f"p{i}": "x" * 6_000 for i in range(300)}),
        TagsSet(NOW, {f"t{i}": str(i) for i in range(300)}),
    )
    data = read(tracking_uri).get_run(driver.run_id).data
    assert data.metrics == {f"metric {i}": float(i) for i in range(10_000)}
    assert data.params == {f"p{i}": "x" * 6_000 for i in range(300)}
    assert {f"t{i}": str(i) for i in range(300)}.items() <= data.tags.items()


async def test_large_characters_do_not_make_a_request_too_large(drive: Drive, read: Read, tracking_uri: str) -> None:
    """Names and values of characters that take many bytes stay below MLflow's limit of 1 MB for a request."""
    driver = drive(tracking_uri)
    await driver.open()
    events = [metric(1.0, name=f"{i}{'語' * 240}") for i in range(900)]
    await driver.export(*events, ParamsLogged(NOW, {f"p{i}": "\x01" * 6_000 for i in range(40)}))
    data = read(tracking_uri).get_run(driver.run_id).data
    assert (len(data.metrics), len(data.params)) == (900, 40)


async def test_params_look_as_with_mlflows_log_param(drive: Drive, read: Read, tracking_uri: str) -> None:
    """The values of params are what str() makes of them."""
    driver = drive(tracking_uri)
    await driver.open()
    values = {"f": 0.1, "b": True, "n": None, "l": [1, "a"], "s": "text", "e": "", "i": 10**30}
    assert await driver.export(ParamsLogged(NOW, values)) == {}
    assert read(tracking_uri).get_run(driver.run_id).data.params == {k: str(v) for k, v in values.items()}


async def test_values_that_do_not_fit_are_cut_and_counted(drive: Drive, read: Read, tracking_uri: str) -> None:
    """Params are cut at 6,000 characters and tags at 8,000, NUL is replaced, endless integers are described."""
    driver = drive(tracking_uri)
    await driver.open()
    reasons = await driver.export(
        ParamsLogged(NOW, {"long": "x" * 6_001}),
        ParamsLogged(NOW, {"fits": "x" * 6_000}),
        TagsSet(NOW, {"long": "x" * 8_001}),
        TagsSet(NOW, {"fits": "x" * 8_000}),
        ParamsLogged(NOW, {"nul": "a\0b"}),
        ParamsLogged(NOW, {"endless": 10**5_000}),
    )
    assert set(reasons) == {0, 2, 4, 5}
    data = read(tracking_uri).get_run(driver.run_id).data
    assert (len(data.params["long"]), len(data.params["fits"])) == (6_000, 6_000)
    assert (len(data.tags["long"]), len(data.tags["fits"])) == (8_000, 8_000)
    assert data.params["nul"] == "a\N{REPLACEMENT CHARACTER}b"
    assert "too long" in data.params["endless"]


async def test_the_last_of_repeated_tags_counts(drive: Drive, read: Read, tracking_uri: str) -> None:
    """A later tag replaces an earlier one, within a batch and between batches."""
    driver = drive(tracking_uri)
    await driver.open()
    assert await driver.export(TagsSet(NOW, {"t": "1"}), TagsSet(NOW, {"t": "2"})) == {}
    assert read(tracking_uri).get_run(driver.run_id).data.tags["t"] == "2"
    await driver.export(TagsSet(NOW, {"t": "3"}))
    assert read(tracking_uri).get_run(driver.run_id).data.tags["t"] == "3"


async def test_a_repeated_param_is_no_conflict(drive: Drive, read: Read, tracking_uri: str) -> None:
    """The same value again is taken as it is, within a batch and between batches."""
    driver = drive(tracking_uri)
    await driver.open()
    assert await driver.export(ParamsLogged(NOW, {"lr": 1}), ParamsLogged(NOW, {"lr": 1})) == {}
    assert await driver.export(ParamsLogged(NOW, {"lr": 1})) == {}
    assert read(tracking_uri).get_run(driver.run_id).data.params == {"lr": "1"}


@pytest.mark.parametrize("earlier", [True, False], ids=["between batches", "within a batch"])
async def test_only_the_conflicting_param_is_rejected(
    drive: Drive, read: Read, tracking_uri: str, earlier: bool
) -> None:
    """MLflow's params are immutable: a second value is rejected by its event; everything else arrives."""
    driver = drive(tracking_uri)
    await driver.open()
    first = ParamsLogged(NOW, {"lr": 1})
    if earlier:
        await driver.export(first)
    with pytest.raises(Rejected, match="Changing param values") as caught:
        await driver.export(
            first,
            metric(1.0),
            ParamsLogged(NOW, {"a": 1, "lr": 2, "b": 2}),
            ParamsLogged(NOW, {"c": 3}),
            TagsSet(NOW, {"t": "1"}),
        )
    assert caught.value.indexes == frozenset({2})
    data = read(tracking_uri).get_run(driver.run_id).data
    assert data.params == {"lr": "1", "a": "1", "b": "2", "c": "3"}
    assert data.metrics == {"m": 1.0}
    assert data.tags["t"] == "1"


def test_requests_keep_to_every_limit() -> None:
    """No request holds more than 1,000 metrics, 100 params or 100 tags, nor one param twice; the order is kept."""
    values = {f"k{i}": i for i in range(2_500)}
    events: list[Event] = [MetricsLogged(NOW, {k: float(v) for k, v in values.items()}, 0), ParamsLogged(NOW, values)]
    events += [ParamsLogged(NOW, {"k2499": "again"}), TagsSet(NOW, {k: str(v) for k, v in values.items()})]
    batch = Batch("w", Lane.STREAM, events, range(len(events)))
    said = words(batch)
    metrics = list(requests("metrics", points(batch)))
    params = list(requests("params", said.params))
    tags = Records([tag for _, tag in said.tags.values()], [index for index, _ in said.tags.values()])
    assert [len(part) for part in metrics] == [1_000, 1_000, 500]
    assert [record.value for part in metrics for record in part.items] == [float(i) for i in range(2_500)]
    assert [len(part) for part in params] == [100] * 25 + [1]
    assert [len(part) for part in requests("tags", tags)] == [100] * 25


async def test_a_second_trials_other_value_is_in_its_text(drive: Drive, read: Read, tracking_uri: str) -> None:
    """MLflow keeps a param's first value: the trial counts as degraded, its other params and its text arrive."""
    driver = drive(tracking_uri)
    await driver.open()
    assert await driver.export(HParamsLogged(NOW, {"lr": 0.1}, name="first")) == {}
    degraded = await driver.export(HParamsLogged(NOW, {"lr": 0.5, "depth": 3}, name="second"), metric(1.0))
    assert list(degraded) == [0]
    assert "another value" in degraded[0]
    client = read(tracking_uri)
    assert client.get_run(driver.run_id).data.params == {"lr": "0.1", "depth": "3"}
    assert {file.path for file in client.list_artifacts(driver.run_id, "hparams")} == {
        "hparams/first.txt",
        "hparams/second.txt",
    }
