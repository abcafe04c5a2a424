"""A feed: what a run says, for the program that logs it, read from the journal at the reader's own pace."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar, cast

from tracelet._notices import say
from tracelet._sources import Portion, Source, newest
from tracelet.delivery import Delivery
from tracelet.errors import InvalidSetting
from tracelet.events import EVENT_TYPES, LANES, Event, Lane, RunFinished, RunStarted
from tracelet.journal import Position, RunDirectory, log_key

E = TypeVar("E", bound=Event)

_LIFECYCLE = (RunStarted, RunFinished)
_BATCH, _BATCH_BYTES = 256, 1 << 18


class Feed(Generic[E]):
    """The events of a run, as an asynchronous iterator, on asyncio or trio. Made by `run.subscribe`.

    It ends after the last event of the run. `end` ends it earlier, and so does leaving its `async with` block: what was
    said before still comes. Leaving the loop with `break`, or cancelling it, needs nothing more. Tasks that iterate
    over one feed share its events.

    What was removed from the journal for want of room before the feed came to it, is missing: the user is told how many
    events that are, once it happens, and in the end if it were more.

    Args:
        directory: the run's; None for one that has no journal.
        kinds, from_start, linger: see `run.subscribe`.
        over: tells whether this process has said its last.

    Raises, while it is iterated over:
        OSError: the journal can't be read.
    """

    def __init__(
        self,
        directory: RunDirectory | None,
        kinds: tuple[type[E], ...],
        *,
        from_start: bool,
        linger: float,
        over: Callable[[], bool],
    ) -> None:
        self._sources: dict[str, Source] = {}
        self._directory = directory
        self._kinds = wanted(kinds)
        self._lanes = [lane for lane in Lane if any(LANES[kind] is lane for kind in self._kinds)]
        if not linger > 0:
            raise InvalidSetting("linger", linger, "greater than 0")
        self._linger = linger
        self._run_over = over
        self._delivery = Delivery(batch_size=_BATCH, batch_bytes=_BATCH_BYTES)
        self._buffer: deque[Event] = deque()
        self._missed = self._missed_said = 0  # events of any kind that were removed, and how many of them were said
        self._ending = False
        self._ends: dict[str, int] | None = None  # by log, once the feed is ending: events before it still come
        self._over = directory is None
        if not from_start:
            self._skip()

    def __aiter__(self) -> Feed[E]:
        return self

    async def __anext__(self) -> E:
        while not self._buffer:
            if self._over:
                raise StopAsyncIteration
            await self._refill()
        return cast(E, self._buffer.popleft())

    def end(self) -> None:
        """Have the iteration end, after what was said before this."""
        self._ending = True

    async def aclose(self) -> None:
        """End the iteration at once."""
        self._buffer.clear()
        self._stop()

    async def __aenter__(self) -> Feed[E]:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.end()

    def __del__(self) -> None:
        for source in self._sources.values():
            source.close()

    async def _refill(self) -> None:
        """Read what there is, or wait for a moment if there is nothing."""
        import anyio.lowlevel

        await anyio.lowlevel.checkpoint()  # a reader that is behind must not keep the event loop to itself
        more = self._read_all()
        if not self._buffer and not more and not self._over:
            await anyio.sleep(self._linger)

    def _read_all(self) -> bool:
        """Take a portion of every log; True if there is more to be had at once."""
        directory = self._directory
        assert directory is not None
        over = self._run_over()  # asked before reading: what was said until then is there to be read
        if (over or self._ending) and self._ends is None:
            self._ends = self._present_ends(directory)
        more = False
        for writer in directory.writers():
            for lane in self._lanes:
                source = self._source(directory, writer, lane)
                if source.ended or self._at_end(source):
                    continue
                portion = self._read(directory, source)
                self._buffer.extend(portion.events)
                if self._ends is None:
                    more |= portion.full
                else:
                    more |= not (source.ended or self._at_end(source) or portion.empty)
        if self._ends is not None and not more:
            self._stop()
        return more

    def _present_ends(self, directory: RunDirectory) -> dict[str, int]:
        """Where the logs end by now: those of other processes may go on and on."""
        ends = {}
        for writer in directory.writers():
            final = not directory.writer_alive(writer)
            for lane in self._lanes:
                ends[log_key(writer, lane)] = newest(directory.log(writer, lane), final=final).sequence
        return ends

    def _at_end(self, source: Source) -> bool:
        return self._ends is not None and source.position.sequence >= self._ends.get(source.key, 0)

    def _read(self, directory: RunDirectory, source: Source) -> Portion:
        now = time.time()
        portion = source.read(self._delivery, self._kinds, final=False, now=now)
        if portion.empty and not source.ended and not directory.writer_alive(source.writer):
            portion = source.read(self._delivery, self._kinds, final=True, now=now)
        self._missed += portion.dropped.get("removed", 0)
        if not self._missed_said:
            self._say_missed()
        return portion

    def _source(self, directory: RunDirectory, writer: str, lane: Lane) -> Source:
        key = log_key(writer, lane)
        if key not in self._sources:
            self._sources[key] = Source(directory, writer, lane, Position())
        return self._sources[key]

    def _skip(self) -> None:
        """Begin behind what has been said by now."""
        directory = self._directory
        for writer in () if directory is None else directory.writers():
            assert directory is not None
            for lane in self._lanes:
                position = newest(directory.log(writer, lane), final=False)
                self._sources[log_key(writer, lane)] = Source(directory, writer, lane, position)

    def _say_missed(self) -> None:
        if self._missed > self._missed_said:
            events, they = ("event", "it was") if self._missed == 1 else ("events", "they were")
            say(
                f"a subscription has missed {self._missed:,} {events}{' in all' if self._missed_said else ''}: "
                f"{they} removed for want of room (quota, min_free) before it came to read them"
            )
            self._missed_said = self._missed

    def _stop(self) -> None:
        self._over = True
        self._say_missed()
        for source in self._sources.values():
            source.close()


def wanted(kinds: tuple[type[Event], ...]) -> frozenset[type[Event]]:
    """The types that are meant by types and their bases; none stands for all.

    Raises:
        TypeError: one is no type of events, or one that nobody is given.
    """
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, Event)):
            raise TypeError(f"subscribe takes types of tracelet.events, found {kind!r:.80}")
        if kind in _LIFECYCLE:
            raise TypeError(f"{kind.__name__} can't be subscribed to: a subscription begins and ends with the run")
    given = frozenset(EVENT_TYPES.values()) - frozenset(_LIFECYCLE)
    return frozenset(event_type for event_type in given if issubclass(event_type, kinds or Event))
