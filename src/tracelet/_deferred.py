"""Values that a device still computes: taken without waiting for it, and recorded, in order, once they are there."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from typing import Any, NamedTuple

from tracelet import _values
from tracelet.errors import RunClosed
from tracelet.events import Context, MetricsLogged, Number

MOST = 10_000
"""So many calls may be waiting for their values. With more, a call waits for the oldest."""

_HOST = ("cpu", "meta")
_PATIENCE = 1.0  # seconds that the end of a run waits for an event that is being published
_SHORTEST, _LONGEST = 0.0005, 0.01  # seconds between two looks at whether a value is there


class Later(NamedTuple):
    """A number that is on its way.

    Attributes:
        ready: whether it can be read; raises what a device reports that has failed.
        read: it, once it is ready; raises like `ready`.
    """

    ready: Callable[[], bool]
    read: Callable[[], Number]


def later(value: Any, argument: str) -> Later | None:
    """The one element of a tensor on a device, as it is now; None for everything that can be read at once.

    A copy is queued behind the work that the device has been given, so that the tensor may change afterwards: on CUDA
    into page-locked memory of the host, on others on the device itself.
    """
    torch: Any = sys.modules.get("torch")  # who has a tensor has imported it
    tensors: Any = getattr(torch, "Tensor", ())
    if not isinstance(value, tensors):
        return None
    device = value.device
    if device.type in _HOST or value.numel() != 1 or value.is_complex():
        return None
    try:
        source = value.detach()
        # Only CUDA copies to page-locked memory by itself. Other devices might wait here, or not be done when they say.
        copy = source.to("cpu", non_blocking=True) if device.type == "cuda" else source.clone()
        ready = _recorded(getattr(torch, device.type, None), device)
    except Exception as error:  # noqa: BLE001 - a device that fails costs a counted loss, and does not end a training here
        return Later(lambda: True, _raising(error))

    def read() -> Number:
        if not ready():  # or raises: of a device that has failed, the copy holds anything
            raise RuntimeError("the device has not computed it")
        return _values.number(copy, argument)

    return Later(ready, read)


def _raising(error: Exception) -> Callable[[], Number]:
    def read() -> Number:
        raise error

    return read


def _recorded(accelerator: Any, device: Any) -> Callable[[], bool]:
    """A function that tells whether the device has done what it was given until now.

    Without events, reading is what waits. That is right where a device has one queue.
    """
    if not hasattr(accelerator, "Event"):
        return lambda: True
    event = accelerator.Event()
    if hasattr(accelerator, "current_stream"):
        event.record(accelerator.current_stream(device))
    else:
        event.record()
    return event.query  # type: ignore[no-any-return]


class _Call:
    """What one call said: an event but for its numbers."""

    __slots__ = ("context", "done", "moment", "step", "values")

    def __init__(self, moment: float, values: Mapping[str, Number | Later], step: int, context: Context) -> None:
        self.moment = moment
        self.values = values
        self.step = step
        self.context = context
        self.done = False

    def ready(self) -> bool:
        try:
            return all(value.ready() for value in self.values.values() if isinstance(value, Later))
        except Exception:  # noqa: BLE001 - of the device; reading will tell
            return True


class Deferrals:
    """The calls of one run whose values are on their way.

    A thread of its own, started with the first, waits for them and publishes in the order of the calls.

    Args:
        publish: records an event.
        lose: counts an event that can't be recorded, for a reason.
    """

    def __init__(self, publish: Callable[[MetricsLogged], None], lose: Callable[[str], None]) -> None:
        self._publish = publish
        self._lose = lose
        self._calls: deque[_Call] = deque()
        # A signal handler may log while its own thread holds the lock, and may call `put` within a `put`.
        self._lock = threading.RLock()
        self._added: SimpleQueue[None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._publishing: _Call | None = None
        self._stopped = False

    def add(self, moment: float, values: Mapping[str, Number | Later], step: int, context: Context) -> bool:
        """Publish this once its values are there; False if the run is over."""
        self._await_room()
        call = _Call(moment, values, step, context)
        with self._lock:
            self._calls.append(call)
            # Looked at afterwards, because a handler of signals may have ended the run right before.
            if self._stopped:
                if call in self._calls:
                    self._calls.remove(call)
                    return False
                return True  # it is among those that were counted as lost
            alone = self._thread is None and not self._start()
        if alone:
            self._resolve_all()
        else:
            self._added.put(None)
        return True

    def resolved(self) -> Callable[[], bool]:
        """A function that tells whether everything that was added until now is published, or lost."""
        with self._lock:
            last = self._calls[-1] if self._calls else self._publishing
        return lambda: last is None or last.done or self._stopped

    def stop(self) -> int:
        """Give up what is not there yet. Returns how many calls that were; they are counted as lost."""
        with self._lock:
            self._stopped = True
            left = len(self._calls)
            self._calls.clear()
        self._added.put(None)
        # Bounded, because this may be a signal handler's, on top of what the thread waits for.
        end = time.monotonic() + _PATIENCE
        while self._publishing is not None and time.monotonic() < end:
            time.sleep(_SHORTEST)
        for _ in range(left):
            self._lose("a deferred value was not there when the run ended")
        return left

    def _await_room(self) -> None:
        while len(self._calls) >= MOST and not self._stopped:
            time.sleep(_SHORTEST)

    def _start(self) -> bool:
        """Have the thread; False if there can't be one, for instance while the interpreter exits."""
        self._thread = threading.Thread(target=self._work, name="tracelet deferred values", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            self._thread = None
            return False
        return True

    def _work(self) -> None:
        while not self._stopped:
            self._added.get()
            self._resolve_all()

    def _resolve_all(self) -> None:
        while not self._stopped:
            try:
                call = self._calls[0]
            except IndexError:
                return
            self._resolve(call)

    def _resolve(self, call: _Call) -> None:
        pause = _SHORTEST
        while not call.ready():
            if self._stopped:
                return
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST)
        values, problem = _read(call)
        with self._lock:
            if self._stopped or call.done or self._publishing is call:
                return
            self._calls.popleft()
            self._publishing = call
        # Without the lock: who logs from a signal handler needs it, and may be keeping the journal waiting.
        try:
            if problem is not None:
                self._lose(f"a deferred value can't be read: {problem}")
            if values:
                self._publish(MetricsLogged(call.moment, values, call.step, call.context))
        except RunClosed:
            pass  # the journal was given up, and has counted this
        finally:
            call.done = True
            self._publishing = None


def _read(call: _Call) -> tuple[dict[str, Number], str | None]:
    """The values of a call that can be read, and what is wrong with the others."""
    found: dict[str, Number] = {}
    problem = None
    for name, value in call.values.items():
        try:
            found[name] = value.read() if isinstance(value, Later) else value
        except Exception as error:  # noqa: BLE001 - whatever the device, or the library on top of it, says
            problem = str(error) or type(error).__name__
    return found, problem
