"""Of metrics: values, steps, names, contexts, and what a second delivery does."""

from __future__ import annotations

import math

import pytest

from tracelet.backend import Idempotency
from tracelet.events import MetricsLogged
from tracelet.testing.conformance._drive import TIME, Drive, Suite

HOSTILE_NAMES = (
    "",
    " ",
    "x" * 10_000,
    "@#%",
    "a@b",
    "a#b",
    "größe/ß",
    "損失",
    "new\nline",
    "nul\0",
    "../up",
    "/root",
    "a//b",
    ".",
    "\\ud800",
    "tab\t",
    "'\"`;--",
    "_step",
    "step",
)


class Points(Suite):
    """Numbers."""

    async def test_metrics_arrive(self, drive: Drive) -> None:
        """Every point arrives with its value and step, whatever the order of the steps.

        Of points with the same name and step a backend that overwrites shows the last.
        """
        self.requires(MetricsLogged)
        session = await drive.start()
        steps = [5, 3, 3, -1, 0, 10**9]
        await session.export(
            *(MetricsLogged(TIME + at, {"loss": at / 4, "acc": -at}, step) for at, step in enumerate(steps))
        )
        found = await drive.read()
        expected = [("loss", at / 4, step) for at, step in enumerate(steps)]
        expected += [("acc", float(-at), step) for at, step in enumerate(steps)]
        if self.backend.idempotency is Idempotency.OVERWRITES:
            last = {(name, step): value for name, value, step in expected}
            expected = [(name, value, step) for (name, step), value in last.items()]
        assert sorted(found.points) == sorted(expected)

    async def test_numbers_that_are_none_arrive(self, drive: Drive) -> None:
        """NaN and the infinities arrive, or are declared as degraded; their neighbours arrive as they are."""
        self.requires(MetricsLogged)
        session = await drive.start()
        odd = {1: math.nan, 2: math.inf, 3: -math.inf, 4: 2**70, 5: 10**400, 6: 1e308}
        events = [MetricsLogged(TIME, {"odd": value}, step) for step, value in odd.items()]
        degraded = await session.export(MetricsLogged(TIME, {"m": 0.5}, 0), *events)
        points = {(name, step): value for name, value, step in (await drive.read()).points}
        assert points["m", 0] == 0.5
        assert 0 not in degraded
        for step, value in odd.items():
            shown = points.get(("odd", step))
            same = shown is not None and (shown == value or (math.isnan(shown) and value != value))
            assert same or step in degraded, f"{value} is shown as {shown}, and was not declared as degraded"

    async def test_hostile_names_lose_nothing(self, drive: Drive) -> None:
        """Names that no backend likes arrive under names of their own, and their neighbours as they are."""
        self.requires(MetricsLogged)
        session = await drive.start()
        events = [MetricsLogged(TIME, {name: float(at), "good": 1.0}, at) for at, name in enumerate(HOSTILE_NAMES)]
        degraded = await session.export(*events)
        points = (await drive.read()).points
        by_step = {step: name for name, _, step in points if name != "good"}
        assert len(set(by_step.values())) == len(HOSTILE_NAMES)
        for at, name in enumerate(HOSTILE_NAMES):
            assert by_step[at] == name or at in degraded
            assert ("good", 1.0, at) in points

    async def test_contexts_keep_points_apart(self, drive: Drive) -> None:
        """Points of one name and step in different contexts are different points."""
        self.requires(MetricsLogged)
        session = await drive.start()
        contexts = ((), (("subset", "val"),), (("subset", "test"),), (("subset", "a b"),), (("subset", "a"), ("x", 1)))
        await session.export(*(MetricsLogged(TIME, {"m": 1.0}, 1, context) for context in contexts))
        assert len((await drive.read()).points) == len(contexts)

    async def test_a_large_batch_arrives(self, drive: Drive) -> None:
        """As many events as a batch may have arrive, and one event with thousands of values, too."""
        self.requires(MetricsLogged)
        session = await drive.start()
        count = session.backend.delivery.batch_size + 1
        await session.export(
            *(MetricsLogged(TIME, {"m": float(step)}, step) for step in range(count)),
            MetricsLogged(TIME, {f"wide/{number}": float(number) for number in range(1_100)}, 0),
        )
        points = (await drive.read()).points
        assert sorted(step for name, _, step in points if name == "m") == list(range(count))
        assert {name: value for name, value, _ in points if name != "m"} == {
            f"wide/{number}": float(number) for number in range(1_100)
        }

    async def test_an_event_without_values_is_nothing(self, drive: Drive) -> None:
        """An event that says nothing changes nothing."""
        self.requires(MetricsLogged)
        session = await drive.start()
        await session.export(MetricsLogged(TIME, {}, 1), MetricsLogged(TIME, {"m": 1.0}, 2))
        assert (await drive.read()).points == [("m", 1.0, 2)]

    async def test_delivering_again_does_what_is_declared(self, drive: Drive) -> None:
        """A batch that comes again after a crash is shown once, unless the plugin declares that it appends."""
        if self.backend.idempotency is Idempotency.APPENDS:
            pytest.skip("it declares that it appends")
        events = [MetricsLogged(TIME + at, {"m": float(at)}, at) for at in range(100)]
        for _ in range(3):
            session = await drive.start()
            await session.export(*events)
        assert sorted((await drive.read()).points) == [("m", float(at), at) for at in range(100)]
