"""Capture: what is given to torch's and tensorboardX's SummaryWriter becomes events of the active run as well.

The methods are replaced on the classes themselves, so that writers made earlier, subclasses that call super() and
names imported long ago are all captured. What the original returns, raises and writes stays as it is.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import wraps
from threading import RLock, local
from types import ModuleType
from typing import Any, TypeAlias

from msgspec import Struct

import tracelet.run
from tracelet.errors import RunClosed
from tracelet.tensorboard._convert import FLAVOURS, Converter, Flavour
from tracelet.tensorboard._late_import import LateImport
from tracelet.tensorboard._logdirs import context_of

Method: TypeAlias = Callable[..., Any]

_logger = logging.getLogger("tracelet")


class _Calls:
    """Whether a thread is inside an original method, whose own calls of captured methods say nothing new."""

    __slots__ = ("inside",)

    def __init__(self) -> None:
        self.inside = False


class _Thread(local):
    """Each thread's calls, as an object of their own: a second attribute of a `local` costs as much as the first."""

    def __init__(self) -> None:
        self.calls = _Calls()


class _Patch(Struct, frozen=True):
    """One method of one class, replaced."""

    owner: type
    name: str
    original: Method
    wrapper: Method

    def undo(self) -> None:
        # Somebody may have put a wrapper of theirs on top. It stays, and ours under it passes everything through.
        if vars(self.owner).get(self.name) is self.wrapper:
            setattr(self.owner, self.name, self.original)


class Capture:
    """Replaces methods of SummaryWriters, those already imported and those to come.

    Attributes:
        missed: how many calls of captured methods could not be made an event since the first `install`.
    """

    def __init__(self, flavours: Sequence[Flavour]) -> None:
        self.missed = 0
        self._flavours = {flavour.module: flavour for flavour in flavours}
        self._late_import = LateImport(self._flavours, self._patch)
        self._installs = 0
        self._patches: list[_Patch] = []
        self._thread = _Thread()
        self._lock = RLock()  # re-entrant: a signal handler may stop logging while it is being started

    def install(self) -> None:
        """Begins to capture. Calls are counted: capture ends when each has had its `uninstall`."""
        with self._lock:
            self._installs += 1
            if self._installs > 1:
                return
            self.missed = 0
            sys.meta_path.insert(0, self._late_import)
            for name in self._flavours:
                if name in sys.modules:
                    self._patch(sys.modules[name])

    def uninstall(self) -> None:
        """Undoes one `install`; the last one puts every method back. Without an `install`, does nothing."""
        with self._lock:
            if self._installs == 0:
                return
            self._installs -= 1
            if self._installs > 0:
                return
            if self._late_import in sys.meta_path:
                sys.meta_path.remove(self._late_import)
            while self._patches:
                self._patches.pop().undo()

    @contextmanager
    def uncaptured(self) -> Iterator[None]:
        """What this thread tells writers inside of the block stays out of the run.

        For an integration that logs what a framework's own TensorBoard logger is about to write as well.
        """
        calls = self._thread.calls
        before, calls.inside = calls.inside, True
        try:
            yield
        finally:
            calls.inside = before

    def _patch(self, module: ModuleType) -> None:
        owner = getattr(module, "SummaryWriter", None)
        with self._lock:
            if owner is None or self._installs == 0:
                return
            flavour = self._flavours[module.__name__]
            for name, convert in flavour.converters.items():
                if name in vars(owner):
                    original = vars(owner)[name]
                    wrapper = self._wrapper(original, convert, flavour.log_dir, name in flavour.direct)
                    setattr(owner, name, wrapper)
                    self._patches.append(_Patch(owner, name, original, wrapper))

    def _wrapper(self, original: Method, convert: Converter, log_dir: str, direct: bool) -> Method:
        thread = self._thread
        runs = tracelet.run  # asked at each call: the active run changes

        @wraps(original)
        def method(writer: Any, /, *args: Any, **kwargs: Any) -> Any:
            calls = thread.calls
            if calls.inside or not self._installs:
                return original(writer, *args, **kwargs)
            usual = direct and len(args) == 3 and not kwargs
            calls.inside = True
            try:
                if usual:  # unpacked by hand, here and below, a call takes two thirds of the time
                    tag, value, step = args
                    result = original(writer, tag, value, step)
                else:
                    result = original(writer, *args, **kwargs)
            finally:
                calls.inside = False
            try:
                run = runs.active_run()
                if run is not None:
                    context = context_of(run, getattr(writer, log_dir, None))
                    if usual and context is None and type(value) is float and type(step) is int:
                        run.log_metric(tag, value, step)
                    else:
                        convert(run, writer, context, *args, **kwargs)
            except RunClosed:
                pass  # finished between the lookup and the call: as good as no run
            except Exception as error:  # noqa: BLE001  (the isolation boundary: capture never raises into training)
                self._miss(original, error)
            return result

        return method

    def _miss(self, method: Method, error: Exception) -> None:
        self.missed += 1
        if self.missed == 1:
            with suppress(Exception):  # a log handler of the user's may raise, and so may str(error)
                _logger.warning(
                    "a call of SummaryWriter.%s could not be captured (%s: %s); TensorBoard has it, the run has not. "
                    "Further ones are counted and not reported",
                    method.__name__,
                    type(error).__name__,
                    error,
                )


_capture = Capture(FLAVOURS)

install = _capture.install
uninstall = _capture.uninstall
uncaptured = _capture.uncaptured


def missed() -> int:
    """How many captured calls could not be made an event since capture began."""
    return _capture.missed
