"""A run from its beginning to its end: how what is said reaches the journal, and how waiting and ending work."""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Protocol, overload

import msgspec

from tracelet import _values
from tracelet._deferred import Deferrals, Later
from tracelet._feed import E, Feed
from tracelet._following import Following
from tracelet._notices import say
from tracelet._segments import NOTE, resumption
from tracelet._steps import Steps
from tracelet.backend import Outcome
from tracelet.codec import encode, encode_unusual
from tracelet.errors import RunClosed
from tracelet.events import Context, Event, Kind, Number, RunFinished, RunStarted, TextLogged, kind_of
from tracelet.journal import CursorRecord, Recorder, read_cursor
from tracelet.status import RunStatus, read_status, summary

UNUSUAL = (OverflowError, UnicodeEncodeError)
"""What `encode` raises for what only `encode_unusual` can encode."""

_DISK_GRACE = 1.0  # seconds that the end of a run waits for the disk in any case
_TOGETHER = 1.0  # seconds within which the ranks of a launch end, as a rule


class Host(Protocol):
    """Where a run's subscriptions are served; see `tracelet.host`."""

    def start(self) -> None:
        """Begin to serve. Raises DeliveryFailed or OSError."""

    def wake(self) -> None:
        """Have the subscriptions look for new events now."""

    def serves(self, backend: str) -> bool:
        """Whether somebody is at work, or will be, for the backend."""

    def watch(self) -> None:
        """Look after what serves; called again and again. Raises DeliveryFailed or OSError."""

    def release(self) -> Collection[str]:
        """Let go of the subscriptions: what runs in this process ends, what has its own goes on.

        Returns:
            The backends whose delivery goes on.
        """


class Lifecycle:
    """What a run is, and what becomes of it; see `Run`."""

    log_dirs: Any = None
    """What tells the log directories of SummaryWriters apart; see `tracelet.tensorboard`."""

    def __init__(
        self,
        *,
        run_id: str,
        name: str,
        project: str,
        directory: Path,
        backends: tuple[str, ...] = (),
        recorder: Recorder | None = None,
        host: Host | None = None,
        following: Following | None = None,
        ranks: int = 1,
        on_finish: Callable[[], None] | None = None,
        settle: Callable[[], bool] = lambda: True,
        on_close: Callable[[], None] = lambda: None,
        begin_child: Callable[[str], Lifecycle] | None = None,
        tell: Callable[[str], None] = say,
        strict: bool = False,
        lossy: bool = False,
        defers: bool = False,
        close_timeout: float = 10.0,
    ) -> None:
        self.id = run_id
        """Unique for ever, and sortable by time."""
        self.name = name
        self.project = project
        self.directory = directory
        """The run's own directory, with its journal. An inert run's need not exist."""
        self.defers = defers
        """Whether values on a device are read later, unless a call says otherwise; see `log_metric`."""
        self._backends = backends
        self._recorder = recorder
        self._host = host
        self._following = following  # of a rank above 0
        self._ranks = ranks
        self._on_finish = on_finish  # says the last that is to be said, and may take a second
        self._settle = settle  # asked again and again, until the ended journal would survive a loss of power
        self._on_close = on_close
        self._begin_child = begin_child
        self._tell = tell
        self._children: list[Lifecycle] = []
        self._children_lock = threading.RLock()
        self._strict = strict
        self._close_timeout = close_timeout
        self._closed = False  # nothing more is taken
        self._ended = False  # and that has been said
        self._ended_by = 0  # the thread that said it
        self._ended_at = 0.0  # on the monotonic clock
        self._sealed = False  # and is in the journal
        self._leaving = False  # somebody is about to say the last
        self._gone = False  # and has done so
        self._grace_end: float | None = None
        self._lossy = lossy  # an inert run that was not meant to be
        self._unrecorded = 0
        self._count = Steps(recorder, tell).following
        self._deferrals = Deferrals(self._publish, self._lose)
        self._append: Callable[[int, bytes], bool] = self._ignore if recorder is None else recorder.append

    def __repr__(self) -> str:
        parts = [f"{self.name!r} of {self.project!r}", self.id, "" if self.active else "inert"]
        return f"<{type(self).__name__} {', '.join(filter(None, parts))}>"

    @property
    def active(self) -> bool:
        """Whether what is said is recorded; False for an inert run (a forked child's, or with logging disabled)."""
        return self._recorder is not None and not self._recorder.detached and not self._closed

    @property
    def urls(self) -> dict[str, str]:
        """Where the run can be seen, by backend; a backend appears once it has opened the run."""
        status = self.status()
        return {name: backend.url for name, backend in status.backends.items() if backend.url is not None}

    @property
    def _open_somewhere(self) -> bool:
        """Whether this run, or one below it, goes on."""
        return not self._closed or any(child._open_somewhere for child in self._children)

    def _child(self, name: str) -> Lifecycle:
        label = _values.string(name, "name")
        if self._closed:
            raise RunClosed(self.id)
        if self._recorder is None or self._recorder.detached or self._begin_child is None:
            return type(self)(
                run_id="",
                name=label,
                project=self.project,
                directory=self.directory,
                lossy=self._lossy,
                defers=self.defers,
            )
        child = self._begin_child(label)
        with self._children_lock:
            self._children = [*(one for one in self._children if one._open_somewhere), child]
        return child

    def status(self) -> RunStatus:
        """The exact account of every backend, see `RunStatus`."""
        if self._recorder is None or self._recorder.detached:
            lost = self._unrecorded if self._lossy else 0
            return RunStatus(id=self.id, name=self.name, project=self.project, emitted=lost, lost=lost, backends={})
        try:
            return read_status(self._recorder.directory, self._backends, self._recorder.tallies())
        except FileNotFoundError:
            tallies = self._recorder.tallies().values()
            emitted, lost = sum(t.recorded + t.lost for t in tallies), sum(t.lost for t in tallies)
            return RunStatus(id=self.id, name=self.name, project=self.project, emitted=emitted, lost=lost, backends={})

    @overload
    def subscribe(self, *, from_start: bool = True, linger: float = 0.05) -> Feed[Event]: ...

    @overload
    def subscribe(self, *kinds: type[E], from_start: bool = True, linger: float = 0.05) -> Feed[E]: ...

    def subscribe(self, *kinds: type[Event], from_start: bool = True, linger: float = 0.05) -> Feed[Any]:
        """What the run says, to iterate over with `async for`, on asyncio or trio.

        The events are those that a backend gets, in the order in which it gets them: from all of the run's processes,
        each in its order, with the media and files beside the others. They are read from the journal at the reader's
        own pace, so a slow reader holds up nobody, and costs no memory. The iteration ends after the last event that
        this process has said; for other ways see `Feed`.

        Args:
            kinds: the types of events, or bases of them (`MediaLogged`); none stands for all.
            from_start: begin with the run's first event; else with the next one that is said.
            linger: how long to wait, in seconds, before looking for more events when there are none.

        Returns:
            A `Feed`. That of an inert run has no events, and ends at once.

        Raises:
            TypeError: one of `kinds` is no type of events.
            InvalidSetting: `linger` is not greater than 0.
        """
        recorder = self._recorder
        directory = None if recorder is None or recorder.detached else recorder.directory
        return Feed(directory, kinds, from_start=from_start, linger=linger, over=self._is_over)

    def _is_over(self) -> bool:
        """Whether all that this process has to say is in the journal."""
        return self._sealed or self._recorder is None or self._recorder.detached

    def abandon(self) -> None:
        """End a run that could not be begun: as failed, without waiting for a backend."""
        self._end(Outcome.FAILED)
        self._let_go()

    # How the verbs publish.

    def _publish(self, event: Event, *, bulk: bool = False) -> None:
        flags = 0
        try:
            payload = encode(event)
        except UNUSUAL:
            flags, payload = encode_unusual(event)
        word = kind_of(type(event)) | flags
        recorder = self._recorder
        append = recorder.append_bulk if bulk and recorder is not None else self._append
        if not append(word, payload):
            self._refused()

    def _defer(self, moment: float, values: Mapping[str, Number | Later], step: int, context: Context) -> None:
        """Publish a MetricsLogged once its values are there."""
        if self._recorder is None or self._recorder.detached:
            self._ignore(0, b"")
            self._refused()
        elif self._closed or not self._deferrals.add(moment, values, step, context):
            raise RunClosed(self.id)

    def _lose(self, reason: str) -> None:
        if self._recorder is not None:
            self._recorder.lose(reason)

    def _refused(self) -> None:
        """An event was not recorded: if that is for want of space, it is counted; if the run is over, it is misuse."""
        if self._closed and not (self._recorder is not None and self._recorder.detached):
            raise RunClosed(self.id)

    def _ignore(self, word: int, payload: bytes) -> bool:
        self._unrecorded += 1
        return not self._closed

    # How waiting and ending work, whoever waits.

    def _deadline(self, now: float, timeout: float | None) -> float:
        return now + (self._close_timeout if timeout is None else timeout)

    def _sync(self) -> None:
        if self._recorder is not None and not self._recorder.detached:
            self._recorder.sync()

    def _delivered(self) -> Callable[[], bool | None]:
        """A function that tells whether the backends have everything said until now: None is not yet."""
        host, recorder = self._host, self._recorder
        if recorder is None or recorder.detached:
            return lambda: True
        target = {key: tally.recorded for key, tally in recorder.tallies().items()}
        if host is not None:
            host.wake()

        def check() -> bool | None:
            done = True
            for backend in self._backends:
                try:
                    record = read_cursor(recorder.directory.cursor(backend))
                except OSError:
                    return None  # no descriptor left, or a disk that has its moments
                if not self._left(record, target):
                    continue
                if host is not None and record.phase not in ("paused", "failed") and host.serves(backend):
                    return None
                done = False
            return done

        return check

    def _left(self, record: CursorRecord, target: Mapping[str, int]) -> int:
        """How many events of this process, up to a target in each log, a backend has still to take.

        The run's end is not awaited where the run goes on in another process: the backend is told of it after the last.
        Ranks of a launch are given a moment to end as well.
        """
        taken = {key: count.position.sequence for key, count in record.logs.items()}
        left = sum(max(0, at - taken.get(key, 0)) for key, at in target.items())
        if left != 1 or not self._sealed or (self._ranks > 1 and time.monotonic() - self._ended_at < _TOGETHER):
            return left
        return 0 if self._goes_on() else left

    def _goes_on(self) -> bool:
        """Whether another process logs to the run."""
        recorder = self._recorder
        if recorder is None:
            return False
        directory = recorder.directory
        others = (writer for writer in directory.writers() if writer != recorder.writer)
        return any(directory.writer_alive(writer) and not directory.finished(writer) for writer in others)

    def _awaited(self) -> dict[str, int]:
        """How many of this process's events each backend has still to take, of those that can be waited for."""
        host, recorder = self._host, self._recorder
        if host is None or recorder is None or recorder.detached:
            return {}
        target = {key: tally.recorded for key, tally in recorder.tallies().items()}
        awaited = {}
        for backend in self._backends:
            record = read_cursor(recorder.directory.cursor(backend))
            left = self._left(record, target)
            if left and record.phase not in ("paused", "failed") and host.serves(backend):
                awaited[backend] = left
        return awaited

    def _resolved(self) -> Callable[[], bool | None]:
        """A function that tells whether all deferred values said until now are in the journal: None is not yet."""
        if self._recorder is None or self._recorder.detached:
            return lambda: True
        resolved = self._deferrals.resolved()
        return lambda: resolved() or None

    def _close(self) -> Callable[[], bool | None]:
        """Take nothing more; returns what `_resolved` does, which is to be waited for before `_end`."""
        self._closed = True
        return self._resolved()

    def _end(self, outcome: Outcome) -> Callable[[], bool | None] | None:
        """Say that the run is over; returns what `_delivered` does, or None if another call has said it."""
        if self._ended:
            return None
        self._closed = self._ended = True
        self._ended_by, self._ended_at = threading.get_ident(), time.monotonic()
        recorder = self._recorder
        if recorder is None or recorder.detached:
            return lambda: True
        late = self._deferrals.stop()
        if late:
            self._tell(f"{late:,} deferred values were not there in time when the run ended, and are lost")
        try:
            recorder.end(Kind.RUN_FINISHED.value, encode(RunFinished(time.time(), outcome.value)))
        except OSError as error:
            self._tell(f"the journal in {self.directory} could not be written to the disk: {error}")
        self._sealed = True
        return self._delivered() if self._following is None else self._following.served

    def _settled(self) -> bool | None:
        """After `_end`: whether what this process has said would survive a loss of power; None is not yet."""
        recorder = self._recorder
        return recorder is None or recorder.detached or self._settle() or None

    def _grace(self, now: float) -> float:
        """Until when the disk is waited for in any case, from the first call on."""
        if self._grace_end is None:
            self._grace_end = now + _DISK_GRACE
        return self._grace_end

    def _is_gone(self) -> bool | None:
        """For a call that did not end the run itself: whether the one that did has done its waiting."""
        return self._gone or None

    def _let_go(self) -> None:
        """After `_end`: once, and never in a forked child."""
        recorder = self._recorder
        if self._leaving or (recorder is not None and recorder.detached):
            return
        self._leaving = True
        try:
            self._on_close()
            self._say_account(() if self._host is None else self._host.release())
        finally:
            self._gone = True

    def cut_off(self) -> None:
        """Say how delivery stands of a run that nobody can end any more."""
        if self.active and not self._leaving:
            self._say_account()

    def _say_account(self, going: Collection[str] = ()) -> None:
        """Say the last lines; `going` are the backends whose delivery goes on."""
        try:
            for line in () if self._following is None else self._following.lines():
                self._tell(line)
            for line in summary(self.status(), self.directory, goes_on=self._goes_on(), starting=going):
                self._tell(line)
        except (OSError, msgspec.MsgspecError) as error:
            command = f"tracelet status {shlex.quote(str(self.directory))}"
            self._tell(f"how delivery stands can't be read: {error}; `{command}` may tell")

    def begin(self, *, resumed: bool) -> None:
        """Say that this process begins to log; called once, by what makes the run."""
        self._publish(RunStarted(time.time(), self.name, self.project, resumed))
        if resumed and self._recorder is not None:
            found = resumption(self._recorder.directory, self._recorder.writer)
            if found is not None:
                number, text = found
                self._publish(TextLogged(time.time(), NOTE, text, number))
