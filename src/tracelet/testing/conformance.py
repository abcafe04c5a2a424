"""The conformance suite for backend plugins, to run in a plugin's own tests.

    from tracelet.testing.conformance import BackendConformance, Recorded

    class TestJsonLines(BackendConformance):
        def make_options(self, tmp_path): return JsonLines.Options(path=str(tmp_path / "events.jsonl"))
        backend = JsonLines
        async def read(self, options, run_id): ...   # what the backend shows, as a Recorded

It needs pytest, and anyio's pytest plugin, which comes with anyio.
"""

from __future__ import annotations

import math
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from tracelet.backend import Backend, Batch, Idempotency, Outcome
from tracelet.events import LANES, ArtifactLogged, Event, Lane, MetricsLogged, ParamsLogged, TagsSet, TextLogged
from tracelet.testing._recorded import Recorded, Shown
from tracelet.testing._recording import run_info

__all__ = ["BackendConformance", "Recorded", "Shown"]

_TIME = 1_700_000_000.0

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
)


class _Session:
    """One opened backend, driven as the core would."""

    def __init__(self, backend: Backend, before: _Session | None) -> None:
        self.backend = backend
        self._sequences: dict[Lane, int] = dict.fromkeys(Lane, 0) if before is None else before._sequences

    async def export(self, *events: Event) -> list[Batch]:
        batches = []
        size = self.backend.delivery.batch_size
        for lane in Lane:
            own = [event for event in events if LANES[type(event)] is lane]
            for start in range(0, len(own), size):
                part = own[start : start + size]
                first = self._sequences[lane]
                self._sequences[lane] += len(part)
                batches.append(Batch("0000", lane, part, range(first, first + len(part))))
        for batch in batches:
            await self.backend.export(batch)
        return batches


@pytest.mark.anyio
class BackendConformance:
    """Subclass it, set `backend`, and implement `make_options` and `read`."""

    backend: ClassVar[type[Any]]
    sdks: ClassVar[Sequence[str]] = ()
    """Modules that importing the plugin must not import."""

    def make_options(self, tmp_path: Path) -> msgspec.Struct:
        """The options to test with."""
        raise NotImplementedError

    async def read(self, options: Any, run_id: str) -> Recorded:
        """What the backend shows of a run, by the backend's own means."""
        raise NotImplementedError

    @pytest.fixture
    def options(self, tmp_path: Path) -> msgspec.Struct:
        return self.make_options(tmp_path)

    @pytest.fixture
    def run_id(self) -> str:
        return str(uuid.uuid4())

    @pytest.fixture
    async def states(self) -> AsyncIterator[list[dict[str, str]]]:
        """What the backend saved, latest last."""
        self._backends: list[Backend] = []
        yield []
        for backend in self._backends:
            await backend.close()

    async def start(
        self,
        options: Any,
        run_id: str,
        tmp_path: Path,
        states: list[dict[str, str]],
        *,
        state: bool = True,
        before: _Session | None = None,
    ) -> _Session:
        """Open the run, as after a start or a crash.

        Args:
            state: whether the backend's state was saved before.
            before: the session that this one goes on from; None delivers from the first event on (again).
        """
        info = run_info(tmp_path, run_id=run_id, save_state=states.append)
        backend: Backend = self.backend(options, info)
        self._backends.append(backend)
        opened = await backend.open(states[-1] if states and state else None)
        states.append(opened.state)
        return _Session(backend, before)

    def handles(self, event_type: type[Event]) -> None:
        if event_type not in self.backend.handles:
            pytest.skip(f"it does not handle {event_type.__name__}")

    def test_importing_the_plugin_imports_no_sdk(self) -> None:
        """The module that holds the backend class can be imported without its SDK."""
        code = f"import sys, {self.backend.__module__}; print(*sys.modules)"
        loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert not set(self.sdks) & set(loaded.stdout.split())

    def test_options_are_resolved_once(self, options: msgspec.Struct) -> None:
        """Options that went to disk and back are the same options."""
        assert msgspec.convert(msgspec.to_builtins(options), type(options)) == options

    def test_it_declares_what_the_core_needs(self) -> None:
        """It handles only known event types, and every option has a default."""
        assert set(self.backend.handles) <= set(LANES)
        assert isinstance(self.backend.idempotency, Idempotency)
        self.backend.Options()

    async def test_a_second_open_finds_the_run(
        self, options: Any, run_id: str, tmp_path: Path, states: list[dict[str, str]]
    ) -> None:
        """Opening a run again, with its state, goes on with it."""
        first = await self.start(options, run_id, tmp_path, states)
        await first.export(MetricsLogged(_TIME, {"m": 1.0}, 1))
        second = await self.start(options, run_id, tmp_path, states, before=first)
        await second.export(MetricsLogged(_TIME, {"m": 2.0}, 2))
        found = await self.read(options, run_id)
        assert found.runs == 1
        assert sorted(step for _, _, step in found.points) == [1, 2]

    async def test_a_crash_before_the_state_was_saved_makes_no_second_run(
        self, options: Any, run_id: str, tmp_path: Path, states: list[dict[str, str]]
    ) -> None:
        """Opening a run again without its state finds it by its id."""
        await self.start(options, run_id, tmp_path, states)
        await self.start(options, run_id, tmp_path, states, state=False)
        assert (await self.read(options, run_id)).runs == 1

    async def test_metrics_arrive(
        self, options: Any, run_id: str, tmp_path: Path, states: list[dict[str, str]]
    ) -> None:
        """Every point arrives with its value and step, whatever the order of the steps."""
        self.handles(MetricsLogged)
        session = await self.start(options, run_id, tmp_path, states)
        steps = [5, 3, 3, -1, 0, 10**9]
        await session.export(
            *(MetricsLogged(_TIME + at, {"loss": at / 4, "acc": -at}, step) for at, step in enumerate(steps))
        )
        found = await self.read(options, run_id)
        expected = [("loss", at / 4, step) for at, step in enumerate(steps)]
        expected += [("acc", float(-at), step) for at, step in enumerate(steps)]
        if self.backend.idempotency is Idempotency.OVERWRITES:
            expected = [point for point in expected if (point[0], point[2]) in {(p[0], p[2]) for p in found.points}]
            expected = [(name, value, step) for (name, step), value in {(n, s): v for n, v, s in expected}.items()]
        assert sorted(found.points) == sorted(expected)

    async def test_numbers_that_are_none_arrive(
        self, options: Any, run_id: str, tmp_path: Path, states: list[dict[str, str]]
    ) -> None:
        """NaN and the infinities arrive, or are declared as degraded; their neighbours arrive as they are."""
        self.handles(MetricsLogged)
        session = await self.start(options, run_id, tmp_path, states)
        odd = {1: math.nan, 2: math.inf, 3: -math.inf, 4: 2**70, 5: 10**400, 6: 1e308}
        events = [MetricsLogged(_TIME, {"odd": value}, step) for step, value in odd.items()]
        batches = await session.export(MetricsLogged(_TIME, {"m": 0.5}, 0), *events)
        degraded = {sequence for batch in batches for sequence in batch.degraded}
        points = {(name, step): value for name, value, step in (await self.read(options, run_id)).points}
        assert points["m", 0] == 0.5
        for step, value in odd.items():
            shown = points.get(("odd", step))
            same = shown is not None and (shown == value or (math.isnan(shown) and value != value))
            assert same or step in degraded, f"{value} is shown as {shown}, and was not declared as degraded"

    async def test_hostile_names_lose_nothing(
        self, options: Any, run_id: str, tmp_path: Path, states: list[dict[str, str]]
    ) -> None:
        """Names that no backend likes arrive under names of their own, and their neighbours as they are."""
        self.handles(MetricsLogged)
        session = await self.start(options, run_id, tmp_path, states)
        events = [MetricsLogged(_TIME, {name: float(at), "good": 1.0}, at) for at, name in enumerate(HOSTILE_NAMES)]
        batches = await session.export(*events)
        degraded = {sequence for batch in batches for sequence in batch.degraded}
        points = (await self.read(options, run_id)).points
        by_step = {step: name for name, _, step in points if name != "good"}
        assert len(set(by_step.values())) == len(HOSTILE_NAMES)
        for at, name in enumerate(HOSTILE_NAMES):
            assert by_step[at] == name or at in degraded
            assert ("good", 1.0, at) in points

    async def test_contexts_keep_points_apart(
        self, options: Any, run_id: str, tmp_path: Path, states: list[dict[str, str]]
    ) -> None:
        """Points of one name and step in different contexts are different points."""
        self.handles(MetricsLogged)
        session = await self.start(options, run_id, tmp_path, states)
        contexts = ((), (("subset", "val"),), (("subset", "test"),), (("subset", "a b"),), (("subset", "a"), ("x", 1)))
        await session.export(*(MetricsLogged(_TIME, {"m": 1.0}, 1, context) for context in contexts))
        assert len((await self.read(options, run_id)).points) == len(contexts)

    async def test_a_large_batch_arrives(
        self, options: Any, run_id: str, tmp_path: Path, states: list[dict[str, str]]
    ) -> None:
        """As many events as a batch may have arrive, and one event with thousands of values, too."""
        self.handles(MetricsLogged)
        session = await self.start(options, run_id, tmp_path, states)
        count = self.backend.delivery.batch_size + 1
        await session.export(
            *(MetricsLogged(_TIME, {"m": float(step)}, step) for step in range(count)),
            MetricsLogged(_TIME, {f"wide/{number}": float(number) for number in range(2_500)}, 0),
        )
        points = (await self.read(options, run_id)).points
        assert sorted(step for name, _, step in points if name == "m") == list(range(count))
        assert {name: value for name, value, _ in points if name != "m"} == {
            f"wide/{number}": float(number) for number in range(2_500)
        }

    async def test_delivering_again_does_what_is_declared(
        self, options: Any, run_id: str, tmp_path: Path, states: list[dict[str, str]]
    ) -> None:
        """A batch that comes again after a crash is shown once, unless the plugin declares that it appends."""
        if self.backend.idempotency is Idempotency.APPENDS:
            pytest.skip("it declares that it appends")
        events = [MetricsLogged(_TIME + at, {"m": float(at)}, at) for at in range(100)]
        for _ in range(3):
            session = await self.start(options, run_id, tmp_path, states)
            await session.export(*events)
        points = (await self.read(options, run_id)).points
        assert sorted(points) == [("m", float(at), at) for at in range(100)]

    async def test_params_and_tags_arrive(
        self, options: Any, run_id: str, tmp_path: Path, states: list[dict[str, str]]
    ) -> None:
        """Parameters and tags are found under their names; delivering parameters again is no conflict."""
        self.handles(ParamsLogged)
        self.handles(TagsSet)
        session = await self.start(options, run_id, tmp_path, states)
        params = ParamsLogged(_TIME, {"lr": 0.001, "name": "adam", "on": True, "nothing": None, "sizes": [1, 2]})
        await session.export(params, TagsSet(_TIME, {"stage": "first"}), params, TagsSet(_TIME, {"stage": "second"}))
        found = await self.read(options, run_id)
        assert found.params["lr"] == "0.001"
        assert found.params["name"] == "adam"
        assert set(found.params) >= {"on", "nothing", "sizes"}
        assert found.tags["stage"] == "second"

    async def test_texts_arrive(self, options: Any, run_id: str, tmp_path: Path, states: list[dict[str, str]]) -> None:
        """Texts arrive whole, of the run and of a step, several of one name too."""
        self.handles(TextLogged)
        session = await self.start(options, run_id, tmp_path, states)
        texts = ["of the run", "größer\nals eine Zeile", "second", "x" * 100_000]
        await session.export(
            TextLogged(_TIME, "note", texts[0]),
            TextLogged(_TIME, "sample", texts[1], 1),
            TextLogged(_TIME, "sample", texts[2], 2),
            TextLogged(_TIME, "a/b c@d", texts[3]),
        )
        assert sorted((await self.read(options, run_id)).texts) == sorted(texts)

    async def test_artifacts_arrive(
        self, options: Any, run_id: str, tmp_path: Path, states: list[dict[str, str]]
    ) -> None:
        """Files arrive byte for byte, empty and binary ones too, and a second delivery replaces the first."""
        self.handles(ArtifactLogged)
        session = await self.start(options, run_id, tmp_path, states)
        contents = {"model.bin": bytes(range(256)) * 1000, "deep/er/empty.txt": b""}
        events = []
        for number, (name, content) in enumerate(contents.items()):
            path = tmp_path / f"blob-{number}"
            path.write_bytes(content)
            events.append(ArtifactLogged(_TIME, name, str(path), len(content), path.stat().st_mtime_ns))
        await session.export(*events)
        await session.export(*events)
        found = (await self.read(options, run_id)).artifacts
        assert {name: found.get(name) for name in contents} == contents

    @pytest.mark.parametrize("outcome", list(Outcome))
    async def test_it_finishes_with_each_outcome(
        self, options: Any, run_id: str, tmp_path: Path, states: list[dict[str, str]], outcome: Outcome
    ) -> None:
        """The outcome and its time are recorded; finishing again after a crash is fine."""
        session = await self.start(options, run_id, tmp_path, states)
        await session.backend.finish(outcome, _TIME + 60)
        await session.backend.close()
        again = await self.start(options, run_id, tmp_path, states)
        await again.backend.finish(outcome, _TIME + 60)
        found = await self.read(options, run_id)
        assert found.outcome is outcome
        assert found.ended in (None, _TIME + 60)
        assert found.runs == 1
