"""The keeper: the one thread that looks after a run in the training process, off the path of every event."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from queue import Empty, SimpleQueue

import msgspec

from tracelet._notices import say
from tracelet.errors import DeliveryFailed
from tracelet.journal import DELETED, Recorder, read_cursor

FSYNC_INTERVAL = 0.5
"""At most this many seconds of events are lost with the machine's power."""

_TICK = 0.1
_SLOW = 0.5  # seconds that a disk may take for a sync

_MOST_REASONS = 5  # that are said of one topic

_QUOTA = "the quota of"
_ADVICE = {
    "more than the quota of": "A larger quota= holds it",
    "nothing of it can be removed": "Models stay, and so does what a backend has refused or lost; a larger quota= "
    "holds more",
    _QUOTA: "Metrics, media and console lines are recorded again once the backends have taken what is there; "
    "a larger quota= holds more",
    "would stay free": "Metrics, media, files and console lines are recorded again once there is more space; "
    "`tracelet gc` lists runs that can go, and min_free= is the limit",
}
"""By a part of the reason."""


class Keeper:
    """Prepares segments, syncs for power loss, watches delivery, and tells the user what is new, once each.

    Args:
        watch: called every tick; see `ProcessHost.watch`.
        backends: those whose links are shown once they are known.
        tell: tells the user.
    """

    def __init__(self, watch: Callable[[], None], backends: Collection[str], tell: Callable[[str], None] = say) -> None:
        # A SimpleQueue's put, unlike an Event's set, may be interrupted by a signal handler that calls it again.
        self.nudges: SimpleQueue[bool] = SimpleQueue()
        self._watch = watch
        self._backends = backends
        self._tell = tell
        self._unlinked = set(backends)
        self._delivered: dict[str, int] = {}  # by log key, to every backend; for when the cursors are deleted
        self._said: set[str] = set()
        self._told: dict[str, set[str]] = {}  # reasons of losses, by topic
        self._synced = 0.0
        self._recorder: Recorder | None = None
        self._asked: float | None = None  # to end, on the monotonic clock
        self._settled = False
        self._thread = threading.Thread(target=self._work, name="tracelet keeper", daemon=True)

    def nudge(self) -> None:
        """Look after the journal now."""
        self.nudges.put(True)

    def start(self, recorder: Recorder) -> None:
        """Start the thread, if there can be one: not while the interpreter exits. The journal does without it."""
        self._recorder = recorder
        with suppress(RuntimeError):
            self._thread.start()

    def settle(self) -> bool:
        """Have the thread end, once the ended journal would survive a loss of power; returns whether it has.

        To be asked again and again. Where there is no thread, it is done here.
        """
        if self._asked is None:
            self._asked = time.monotonic()
            self.nudges.put(False)
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            return False
        if self._recorder is not None:
            self._settle(self._recorder)
        return True

    def stop(self) -> None:
        """End the thread, without waiting for a disk, and say the last that there is to be said of the journal."""
        settled = self.settle()
        if self._recorder is None or self._asked is None:
            return
        self._tell_losses(self._recorder)
        if not settled and time.monotonic() - self._asked >= _SLOW:
            place = self._recorder.directory.path
            self._tell(f"the disk is slow: a loss of power now would lose the end of the journal ({place})")

    def _work(self) -> None:
        recorder = self._recorder
        assert recorder is not None
        while True:
            due = time.monotonic() - self._synced >= FSYNC_INTERVAL
            self._guarded("the journal", lambda: self._tend(recorder, sync=due))  # noqa: B023 - called at once
            self._guarded("delivery", self._watch)
            if due or self._unlinked:
                self._guarded("delivery", lambda: self._read_cursors(recorder))
            try:
                if not self.nudges.get(timeout=_TICK):
                    break
            except Empty:
                continue
        self._guarded("the journal", lambda: self._settle(recorder))

    def _settle(self, recorder: Recorder) -> None:
        """The last that is done for the journal."""
        if self._settled:
            return
        self._settled = True
        try:
            recorder.sync()
        except OSError as error:
            self._say_unsynced(error)
        finally:
            recorder.close()

    def _tend(self, recorder: Recorder, *, sync: bool) -> None:
        try:
            recorder.tend(sync=sync)
        except OSError as error:
            if not isinstance(error, FileNotFoundError) or not recorder.gone:
                self._say_unsynced(error)
            elif recorder.loss_reason != DELETED:
                recorder.give_up(DELETED, self._delivered)
        if sync:
            self._synced = time.monotonic()
        if recorder.room_problem is not None:
            problem = f"space can't be given back: {recorder.room_problem} ({recorder.directory.path})"
            self._say_once(f"{problem}; it is tried again", "room")
        self._tell_losses(recorder)
        waits = recorder.waiting_for
        if waits is not None:
            self._say_once(f"calls wait for room: {waits} ({recorder.directory.path}){self._advice(waits)}", "wait")

    def _tell_losses(self, recorder: Recorder) -> None:
        """Say each new reason, of one topic a few at most."""
        reasons = [] if recorder.loss_reason is None else [recorder.loss_reason]
        while recorder.losses:
            reasons.append(recorder.losses.popleft())
        for reason in reasons:
            topic = _topic(reason)
            told = self._told.setdefault(topic, set())
            most = 1 if topic in _ADVICE else _MOST_REASONS
            if reason in told or len(told) >= most:
                continue
            told.add(reason)
            more = "; any more of this kind are only counted" if len(told) == most > 1 else ""
            self._tell(
                f"events are being lost: {reason} ({recorder.directory.path}); training goes on, "
                f"and the number is said at the end{self._advice(reason)}{more}"
            )

    def _advice(self, reason: str) -> str:
        """What can be done about a loss, if there is something."""
        if _QUOTA in reason and not self._backends and not self._others():
            return ". Without a backend nothing of it is removed; a larger quota= holds more"
        return next((f". {advice}" for known, advice in _ADVICE.items() if known in reason), "")

    def _others(self) -> bool:
        """Whether another process delivers the run, such as that of rank 0."""
        try:
            return self._recorder is not None and bool(self._recorder.directory.read_record().backends)
        except (OSError, msgspec.MsgspecError):
            return False

    def _guarded(self, what: str, look_after: Callable[[], None]) -> None:
        try:
            look_after()
        except (DeliveryFailed, OSError) as error:
            self._say_once(f"{what} can't be looked after ({error}); events are kept in the journal")
        except Exception as error:  # noqa: BLE001 - whatever it is, there is more to look after, and a next time
            kind = type(error).__name__
            told = f"{what} can't be looked after ({kind}: {error}); events are kept in the journal"
            self._say_once(told, f"{what} {kind}")

    def _read_cursors(self, recorder: Recorder) -> None:
        if recorder.loss_reason == DELETED:
            return
        records = {name: read_cursor(recorder.directory.cursor(name)) for name in self._backends}
        for backend in sorted(self._unlinked):
            url = records[backend].url
            if url is not None:
                self._unlinked.discard(backend)
                self._say_once(f"{backend}: {url}")
        for key in recorder.tallies():
            reached = [record.logs[key].position.sequence if key in record.logs else 0 for record in records.values()]
            # Cursors that vanish under our eyes read as new ones; what was delivered stays delivered.
            self._delivered[key] = max(self._delivered.get(key, 0), min(reached, default=0))

    def _say_unsynced(self, error: OSError) -> None:
        self._say_once(f"the journal can't be synced to the disk: {error}")

    def _say_once(self, message: str, topic: str = "") -> None:
        """Say it unless it, or something else on the topic, was said."""
        if (topic or message) not in self._said:
            self._said.add(topic or message)
            self._tell(message)


def _topic(reason: str) -> str:
    """What reasons have in common, such as the verb."""
    return next((known for known in _ADVICE if known in reason), re.split("[(:]", reason)[0])
