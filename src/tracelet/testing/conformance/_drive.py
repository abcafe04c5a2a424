"""What the suite's parts have in common: a backend that is driven as the core would, and asked what it shows."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from tracelet.backend import Backend, Batch, ParentRun, State, Support
from tracelet.events import LANES, Event, Lane
from tracelet.readback import Recorded
from tracelet.testing._recording import run_info

TIME = 1_700_000_000.0


class Session:
    """One opened backend.

    Attributes:
        state: what it returned from `open`.
    """

    def __init__(self, backend: Backend, state: State, before: Session | None) -> None:
        self.backend = backend
        self.state = state
        self._sequences: dict[Lane, int] = dict.fromkeys(Lane, 0) if before is None else before._sequences

    async def export(self, *events: Event) -> set[int]:
        """Deliver events, in batches as large as may be; returns the places of those that arrived degraded."""
        numbers = self._numbered(events)
        degraded: dict[tuple[Lane, int], str] = {}
        for batch in self.batches(*events):
            await self.backend.export(batch)
            degraded |= {(batch.lane, sequence): reason for sequence, reason in batch.degraded.items()}
        self._sequences = {lane: self._sequences[lane] + sum(1 for own, _ in numbers if own is lane) for lane in Lane}
        return {place for place, key in enumerate(numbers) if key in degraded}

    def batches(self, *events: Event) -> list[Batch]:
        """The batches of the events, which stay the next ones."""
        batches = []
        size = self.backend.delivery.batch_size
        numbers = self._numbered(events)
        for lane in Lane:
            own = [(event, number) for event, (where, number) in zip(events, numbers, strict=True) if where is lane]
            for start in range(0, len(own), size):
                part = own[start : start + size]
                batches.append(Batch("0000", lane, [event for event, _ in part], [number for _, number in part]))
        return batches

    def _numbered(self, events: Sequence[Event]) -> list[tuple[Lane, int]]:
        counts = dict(self._sequences)
        numbers = []
        for event in events:
            lane = LANES[type(event)]
            numbers.append((lane, counts[lane]))
            counts[lane] += 1
        return numbers


class Drive:
    """Opens one run again and again, as after starts and crashes.

    Attributes:
        states: what the backend saved, latest last.
    """

    def __init__(self, suite: Suite, options: Any, run_id: str, directory: Path) -> None:
        self.options = options
        self.run_id = run_id
        self.directory = directory
        self.states: list[State] = []
        self._suite = suite
        self._backends: list[Backend] = []

    async def start(
        self, *, state: bool = True, before: Session | None = None, parent: ParentRun | None = None
    ) -> Session:
        """Open the run.

        Args:
            state: whether the backend's state was saved before.
            before: the session that this one goes on from; None delivers from the first event on (again).
            parent: of the run.
        """
        info = run_info(self.directory, run_id=self.run_id, save_state=self.states.append, parent=parent)
        backend: Backend = self._suite.backend(self.options, info)
        self._backends.append(backend)
        opened = await backend.open(self.states[-1] if self.states and state else None)
        self.states.append(opened.state)
        return Session(backend, opened.state, before)

    async def read(self) -> Recorded:
        """What the backend shows of the run."""
        return await self._suite.read(self.options, self.run_id)

    async def close(self) -> None:
        """Close every backend that was opened."""
        for backend in self._backends:
            await backend.close()


@pytest.mark.anyio
class Suite:
    """What a plugin's test class says, and the fixtures made of it."""

    backend: ClassVar[type[Any]]
    sdks: ClassVar[Sequence[str]] = ()
    """Modules that importing the plugin must not import."""

    def make_options(self, tmp_path: Path) -> msgspec.Struct:
        """The options to test with."""
        raise NotImplementedError

    async def read(self, options: Any, run_id: str) -> Recorded:
        """What the backend shows of a run, by the backend's own means."""
        raise NotImplementedError

    def server_url(self, options: Any) -> str | None:
        """The address of the HTTP server that these options lead to, if the suite is to put faults in front of it."""
        return None

    def with_server(self, options: Any, url: str) -> Any:
        """The options with another address, which leads to the same server."""
        raise NotImplementedError

    @pytest.fixture
    def options(self, tmp_path: Path) -> msgspec.Struct:
        return self.make_options(tmp_path)

    @pytest.fixture
    def run_id(self) -> str:
        return str(uuid.uuid4())

    @pytest.fixture
    async def drive(self, options: Any, run_id: str, tmp_path: Path) -> AsyncIterator[Drive]:
        drive = Drive(self, options, run_id, tmp_path)
        yield drive
        await drive.close()

    def requires(self, *event_types: type[Event]) -> None:
        """Skip the test if the backend doesn't handle these."""
        for event_type in event_types:
            if event_type not in self.backend.handles:
                pytest.skip(f"it does not handle {event_type.__name__}")

    def support(self, event_type: type[Event]) -> Support | None:
        """What the backend declares of a type; None if it only says that it handles it."""
        handles = self.backend.handles
        return handles[event_type] if isinstance(handles, Mapping) else None

    def check_degraded(self, event_type: type[Event], degraded: set[int], count: int) -> None:
        """A fallback declares each event as degraded, and anything else no event that has nothing odd."""
        support = self.support(event_type)
        if support is not None:
            assert degraded == (set(range(count)) if support.level == "fallback" else set())
