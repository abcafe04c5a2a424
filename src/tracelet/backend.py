"""The contract between the core and a backend plugin: the Backend protocol and the values that cross it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from enum import Enum, StrEnum
from pathlib import Path
from typing import Literal, ParamSpec, Protocol, TypeAlias, TypeVar

import msgspec

from tracelet.delivery import Delivery
from tracelet.events import Event, Lane

P = ParamSpec("P")
T = TypeVar("T")

State: TypeAlias = dict[str, str]
"""What a backend wants to find again when it is opened anew, for instance the id its server gave the run."""

Secret = msgspec.Meta(extra={"secret": True})
"""Marks an option that must never be written to disk: `token: Annotated[str | None, Secret] = None`.

An option with one anywhere within, such as `list[Annotated[str, Secret]]`, is left out as a whole.
"""


class Outcome(StrEnum):
    """How a run ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    KILLED = "killed"


class Idempotency(Enum):
    """What delivering the same events a second time does to what the backend shows.

    After a crash the core delivers again what was not known to have arrived; this says what a reader will see then.
    """

    KEYED = "keyed"
    """Nothing: the backend recognises a record that it has."""

    OVERWRITES = "overwrites"
    """Nothing visible: the second record replaces the first, and is equal to it."""

    APPENDS = "appends"
    """The records of the batch under way at the crash may be there twice."""


class Support(msgspec.Struct, frozen=True):
    """How a backend shows one kind of event; made by `native`, `mapped` and `fallback`.

    Attributes:
        level: "native": as its own users know it. "mapped": whole, in another form. "fallback": something is lost, and
            each such event is declared by `Batch.degrade`.
        place: where its users find it.
    """

    level: Literal["native", "mapped", "fallback"]
    place: str


def native(place: str) -> Support:
    """The backend has such a thing, and shows it at that place."""
    return Support("native", place)


def mapped(place: str) -> Support:
    """The backend shows the whole of it in another form at that place."""
    return Support("mapped", place)


def fallback(place: str) -> Support:
    """The backend keeps what it can at that place; each event is counted as degraded."""
    return Support("fallback", place)


class BlockingCalls(Protocol):
    """Runs blocking functions in a daemon thread of the current lane, one at a time: `await run.blocking(f, x)`.

    A call that outlives `Delivery.timeout` can't be ended: the core declares the lane hung and replaces the process.
    """

    async def __call__(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...


class ParentRun(msgspec.Struct, frozen=True):
    """The run that a run is a part of.

    Attributes:
        id, name: as a RunInfo's.
        state: what the same backend saved for it; None if the parent isn't delivered to that backend.
    """

    id: str
    name: str
    state: State | None


class RunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The run that a backend serves.

    Attributes:
        id: the run's id, unique for ever; look a run up by it before you create one.
        name: for people (`exp_name`).
        project: the group of runs it belongs to.
        directory: the run's own directory on this machine.
        started: when its first writer started, in seconds since the epoch.
        blocking: see `BlockingCalls`.
        save_state: stores the backend's state at once, for `open` to get back; for what must not be lost between
            creating a run on the server and returning from `open`.
        parent: the run that this one is a child of (`Run.child`); None if it is none's. The core waits until the parent
            was opened.
    """

    id: str
    name: str
    project: str
    directory: Path
    started: float
    blocking: BlockingCalls
    save_state: Callable[[State], None]
    parent: ParentRun | None = None


class Opened(msgspec.Struct, frozen=True):
    """What `Backend.open` returns.

    Attributes:
        state: kept, and given to the next `open` of this run.
        url: where people find the run; None if there is no such place. A file URL that leads into the run's directory
            says that what the backend has made of the run is only there: `tracelet gc` keeps the run while it is.
    """

    state: State
    url: str | None = None


class Batch:
    """Events of one writer and lane, in the order they were said.

    Attributes:
        writer: which of the run's writers said them.
        lane: stream or bulk.
        events: at least one; each of a type that the backend `handles`.
        sequences: their numbers, ascending, one per event; (writer, lane, number) is unique in the run.
    """

    __slots__ = ("_degraded", "events", "lane", "sequences", "writer")

    def __init__(self, writer: str, lane: Lane, events: Sequence[Event], sequences: Sequence[int]) -> None:
        self.writer = writer
        self.lane = lane
        self.events = events
        self.sequences = sequences
        self._degraded: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.events)

    def degrade(self, index: int, reason: str) -> None:
        """Say that the event at `index` arrives other than it was said: it is counted once, and the reason shown.

        Counted only if this export succeeds, so it is exact also when a batch is sent again.
        """
        self._degraded.setdefault(self.sequences[index], reason)

    @property
    def degraded(self) -> dict[int, str]:
        """The reasons given to `degrade`, by sequence number."""
        return self._degraded


class Backend(Protocol):
    """A place that runs are delivered to. Implement it without a base class; the members are all there is.

    The class is called with `(options, run: RunInfo)`; no SDK may be imported before `open`, because training processes
    load the plugin's module to validate the options.

    `open`, `export` and `finish` may raise `Transient` (try again), `Denied` (credentials), `Rejected` (this will never
    be taken), or what a connection raises that fails (`ConnectionError`, `TimeoutError`, `socket.gaierror`, an
    unreachable host or network: as `Transient`); `finish` may raise `Undelivered`. Anything else is taken for a fault
    of the batch: it is halved until the events at fault are alone, and these are dead-lettered.
    """

    @property
    def delivery(self) -> Delivery:
        """How it wants to be delivered to; a class attribute."""

    @property
    def handles(self) -> Collection[type[Event]]:
        """The event types it can take: a set, or better a mapping to their `Support`; a class attribute.

        Others are counted as dropped{unsupported}. A run's start and end come as `open` and `finish`, never as events;
        a mapping may still have `RunStarted`, for how runs with a parent are shown.
        """

    @property
    def idempotency(self) -> Idempotency:
        """What delivering again does; a class attribute."""

    @property
    def Options(self) -> type[msgspec.Struct]:  # noqa: N802 - it is a class
        """A Struct with `forbid_unknown_fields=True` and a default for every field; a class attribute.

        It is built in the training process, so its `__post_init__` is where paths become absolute and environment
        variables are read; it must be idempotent.
        """

    async def open(self, state: State | None) -> Opened:
        """Find the run, or create it; never a second one. `state` is what was last saved, or None."""

    async def export(self, batch: Batch) -> None:
        """Deliver a batch. Returning means that the backend has it."""

    async def finish(self, outcome: Outcome, time: float) -> None:
        """Record how the run ended, and when (in seconds since the epoch). May come again after a crash."""

    async def close(self) -> None:
        """Let go of connections and the like. The run itself may go on, in another process."""
