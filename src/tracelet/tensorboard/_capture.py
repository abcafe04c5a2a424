"""Capture: what is given to torch's and tensorboardX's SummaryWriter becomes events of the active run as well.

The methods are replaced on the classes themselves, so that writers made earlier, subclasses that call super() and
names imported long ago are all captured. What the original returns, raises and writes stays as it is.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial, wraps
from threading import RLock, local
from types import ModuleType
from typing import Any, TypeAlias

from msgspec import Struct

import tracelet.run
from tracelet._late_import import LateImport
from tracelet.errors import RunClosed
from tracelet.tensorboard._converters import Converter, add_drawn_figure
from tracelet.tensorboard._flavours import FLAVOURS, Flavour
from tracelet.tensorboard._logdirs import context_of

Method: TypeAlias = Callable[..., Any]

_logger = logging.getLogger("tracelet")
_NONE: Any = object()  # in place of an argument that wasn't given


class _Calls:
    """Whether a thread is inside an original method, whose own calls of captured methods say nothing new."""

    __slots__ = ("drawn", "inside")

    def __init__(self) -> None:
        self.inside = False
        self.drawn: list[tuple[tuple[Any, ...], dict[str, Any]]] | None = None
        """What an `add_figure` under way has drawn."""


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
        with self._lock:
            if self._installs == 0:
                return
            flavour = self._flavours[module.__name__]
            owner = getattr(module, "SummaryWriter", None)
            for name, convert in flavour.converters.items():
                wrapped = self._scalar if name == "add_scalar" else self._method
                self._replace(owner, name, partial(wrapped, convert=convert, flavour=flavour))
            self._replace(owner, "add_figure", self._figure)
            self._replace(owner, "add_image", self._drawn)
            self._replace(getattr(module, "FileWriter", None), "add_event", self._event)
            self._replace(getattr(module, "DummyFileWriter", None), "add_event", self._event)
            self._replace(getattr(module, "DummyFileWriter", None), "add_summary", self._summary)

    def _replace(self, owner: type | None, name: str, wrapped: Callable[[Method], Method]) -> None:
        if owner is not None and name in vars(owner):
            original = vars(owner)[name]
            wrapper = wraps(original)(wrapped(original))
            setattr(owner, name, wrapper)
            self._patches.append(_Patch(owner, name, original, wrapper))

    # The wrappers. What a thread does inside of one, others of them let pass.

    def _method(self, original: Method, convert: Converter, flavour: Flavour) -> Method:
        thread = self._thread

        def method(writer: Any, /, *args: Any, **kwargs: Any) -> Any:
            calls = thread.calls
            if calls.inside or not self._installs:
                return original(writer, *args, **kwargs)
            calls.inside = True
            try:
                result = original(writer, *args, **kwargs)
            finally:
                calls.inside = False
            self._say(original, convert, writer, getattr(writer, flavour.log_dir, None), args, kwargs)
            return result

        return method

    def _scalar(self, original: Method, convert: Converter, flavour: Flavour) -> Method:
        """As any other method, but this runs once per point: the usual call is unpacked by hand, and not converted."""
        thread, log_dir, has_metadata = self._thread, flavour.log_dir, flavour.has_metadata
        runs = tracelet.run  # asked at each call: the active run changes

        def add_scalar(
            writer: Any, tag: Any = _NONE, value: Any = _NONE, step: Any = _NONE, /, *more: Any, **named: Any
        ) -> Any:
            calls = thread.calls
            usual = step is not _NONE and not more and not named
            if usual:
                if calls.inside or not self._installs:
                    return original(writer, tag, value, step)
            else:
                more = (*(one for one in (tag, value, step) if one is not _NONE), *more)
                if calls.inside or not self._installs:
                    return original(writer, *more, **named)
            calls.inside = True
            try:
                result = original(writer, tag, value, step) if usual else original(writer, *more, **named)
            finally:
                calls.inside = False
            try:
                run = runs.active_run()
                if run is None:
                    return result
                if usual:
                    context = context_of(run, getattr(writer, log_dir, None))
                    if (
                        context is None
                        and type(value) is float
                        and type(step) is int
                        and type(tag) is str
                        and not (has_metadata and getattr(writer.file_writer, "_default_metadata", None))
                    ):
                        run._log_point(tag, value, step)
                    else:
                        convert(run, writer, context, tag, value, step)
                else:
                    convert(run, writer, context_of(run, getattr(writer, log_dir, None)), *more, **named)
            except RunClosed:
                pass  # finished between the lookup and the call: as good as no run
            except Exception as error:  # noqa: BLE001  (the isolation boundary: capture never raises into training)
                self._miss(original.__name__, error)
            return result

        return add_scalar

    def _figure(self, method: Method) -> Method:
        """What the original draws, it gives to `add_image`; from there it is taken, so that nothing is drawn twice."""
        thread = self._thread

        def add_figure(writer: Any, /, *args: Any, **kwargs: Any) -> Any:
            calls = thread.calls
            if calls.inside or not self._installs:
                return method(writer, *args, **kwargs)
            calls.drawn = []
            try:
                return method(writer, *args, **kwargs)
            finally:
                calls.drawn = None

        return add_figure

    def _drawn(self, method: Method) -> Method:
        thread = self._thread

        def add_image(writer: Any, /, *args: Any, **kwargs: Any) -> Any:
            calls = thread.calls
            if calls.inside and calls.drawn is not None:
                calls.drawn.append((args, kwargs))
            return method(writer, *args, **kwargs)

        return add_image

    def _event(self, original: Method) -> Method:
        """The second layer: for events that no method made, of writers that are driven through `file_writer`."""
        thread = self._thread

        def add_event(writer: Any, event: Any, *args: Any, **kwargs: Any) -> Any:
            calls = thread.calls
            if calls.inside or not self._installs:
                return original(writer, event, *args, **kwargs)
            calls.inside = True
            try:
                result = original(writer, event, *args, **kwargs)
            finally:
                calls.inside = False
            self._say(original, self._decode, writer, writer.get_logdir(), (event, *args), kwargs)
            return result

        return add_event

    def _summary(self, original: Method) -> Method:
        """tensorboardX's, for a writer that writes no files, which makes no events of summaries."""

        def add_summary(writer: Any, summary: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(writer, summary, *args, **kwargs)
            if self._installs and not self._thread.calls.inside:
                event = sys.modules[type(writer).__module__].event_pb2.Event(summary=summary)
                self._say(original, self._decode, writer, writer.get_logdir(), (event, *args), kwargs)
            return result

        return add_summary

    def _say(
        self,
        original: Method,
        convert: Converter,
        writer: Any,
        log_dir: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        try:
            run = tracelet.run.active_run()
            if run is not None:
                context = context_of(run, log_dir)
                drawn = self._thread.calls.drawn
                if drawn and original.__name__ == "add_figure":
                    for pixels, more in drawn:
                        add_drawn_figure(run, writer, context, *pixels, **more)
                else:
                    convert(run, writer, context, *args, **kwargs)
        except RunClosed:
            pass  # finished between the lookup and the call: as good as no run
        except Exception as error:  # noqa: BLE001  (the isolation boundary: capture never raises into training)
            self._miss(original.__name__, error)

    def _decode(
        self, run: Any, writer: Any, context: Any, event: Any, step: Any = None, walltime: Any = None, **more: Any
    ) -> None:
        from tracelet.tensorboard._summaries import log_event  # seldom needed

        # What the original was given is in the event by now, if it writes files; but a step of 0 is none there.
        given = more.get("global_step", step)
        at = event.step or (None if given is None else int(given))
        for tag, problem in log_event(run, context, event, at, event.wall_time or walltime, writer=writer):
            self._miss("file_writer", ValueError(f"{tag}: {problem}"))

    def _miss(self, method: str, error: Exception) -> None:
        self.missed += 1
        if self.missed == 1:
            with suppress(Exception):  # a log handler of the user's may raise, and so may str(error)
                _logger.warning(
                    "a call of SummaryWriter.%s could not be captured (%s: %s); TensorBoard has it, the run has not. "
                    "Further ones are counted and not reported",
                    method,
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
