"""Capture: what is given to torch's and tensorboardX's SummaryWriter becomes events of the active run as well.

The methods are replaced on the classes themselves, so that writers made earlier, subclasses that call super() and
names imported long ago are all captured. What the original returns, raises and writes stays as it is.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import partial, wraps
from importlib import import_module
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


_muted: ContextVar[int] = ContextVar("tracelet_muted", default=0)  # how many blocks of `uncaptured` are around

_DELEGATES = {"add_figure": "add_image", "add_hparams": "add_scalar"}
"""The originals that call others of the methods, which say nothing new then."""

_Drawn: TypeAlias = list[tuple[tuple[Any, ...], dict[str, Any]]]


class _Calls:
    """What originals are running in a thread."""

    __slots__ = ("delegate", "drawn", "inside")

    def __init__(self) -> None:
        self.inside = False
        """Whether there is one; what it gives to its file writer says nothing new."""
        self.delegate: str | None = None
        """The method that the innermost one calls for its own purposes."""
        self.drawn: _Drawn | None = None
        """What an `add_figure` has given to that."""


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
        self._installation = 0  # the current one's number, counted in `_generation`; 0 for none
        self._generation = 0
        self._muting = 0  # blocks of `uncaptured` in the whole process
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
            self._generation += 1
            self._installation = self._generation
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
            self._installation = 0
            if self._late_import in sys.meta_path:
                sys.meta_path.remove(self._late_import)
            while self._patches:
                self._patches.pop().undo()

    @contextmanager
    def uncaptured(self) -> Iterator[None]:
        """What this task or thread tells writers inside of the block stays out of the run.

        For an integration that logs what a framework's own TensorBoard logger is about to write as well.
        """
        with self._lock:
            self._muting += 1
        _muted.set(_muted.get() + 1)  # counted: blocks of generators need not end in the order in which they began
        try:
            yield
        finally:
            _muted.set(max(0, _muted.get() - 1))
            with self._lock:
                self._muting -= 1

    def _patch(self, module: ModuleType) -> None:
        with self._lock:
            if not self._installation:
                return
            flavour = self._flavours[module.__name__]
            owner = getattr(module, "SummaryWriter", None)
            for name, convert in flavour.converters.items():
                wrapped = self._scalar if name == "add_scalar" else self._method
                self._replace(owner, name, partial(wrapped, name=name, convert=convert, flavour=flavour))
            self._replace(getattr(module, "FileWriter", None), "add_event", self._event)
            self._replace(getattr(module, "DummyFileWriter", None), "add_event", self._event)
            self._replace(getattr(module, "DummyFileWriter", None), "add_summary", self._summary)

    def _replace(self, owner: type | None, name: str, wrapped: Callable[[Method], Method]) -> None:
        if owner is not None and name in vars(owner):
            original = vars(owner)[name]
            wrapper = wraps(original)(wrapped(original))
            setattr(owner, name, wrapper)
            self._patches.append(_Patch(owner, name, original, wrapper))

    # The wrappers. One of an earlier installation, on which somebody has put another, lets everything pass.

    def _method(self, original: Method, name: str, convert: Converter, flavour: Flavour) -> Method:
        thread, installation = self._thread, self._installation
        delegate = _DELEGATES.get(name)

        def method(writer: Any, /, *args: Any, **kwargs: Any) -> Any:
            if self._installation != installation or (self._muting and _muted.get()):
                return original(writer, *args, **kwargs)
            calls = thread.calls
            if calls.delegate == name:
                if calls.drawn is not None:
                    calls.drawn.append((args, kwargs))
                return original(writer, *args, **kwargs)
            around = calls.inside, calls.delegate, calls.drawn
            drawn: _Drawn | None = [] if name == "add_figure" else None
            calls.inside, calls.delegate, calls.drawn = True, delegate, drawn
            try:
                result = original(writer, *args, **kwargs)
            finally:
                calls.inside, calls.delegate, calls.drawn = around
            if drawn:
                for pixels, more in drawn:
                    self._say(name, add_drawn_figure, writer, flavour.log_dir, pixels, more)
            else:
                self._say(name, convert, writer, flavour.log_dir, args, kwargs)
            return result

        return method

    def _scalar(self, original: Method, name: str, convert: Converter, flavour: Flavour) -> Method:
        """As any other method, but this runs once per point: the usual call is unpacked by hand, and not converted."""
        thread, installation = self._thread, self._installation
        log_dir, has_metadata = flavour.log_dir, flavour.has_metadata
        runs = tracelet.run  # asked at each call: the active run changes

        def add_scalar(
            writer: Any, tag: Any = _NONE, value: Any = _NONE, step: Any = _NONE, /, *more: Any, **named: Any
        ) -> Any:
            calls = thread.calls
            usual = step is not _NONE and not more and not named
            if not usual:
                more = (*(one for one in (tag, value, step) if one is not _NONE), *more)
            quiet = self._installation != installation or (self._muting and _muted.get()) or calls.delegate == name
            before, calls.inside = calls.inside, True
            try:
                result = original(writer, tag, value, step) if usual else original(writer, *more, **named)
            finally:
                calls.inside = before
            if quiet:
                return result
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
                self._miss(name, error)
            return result

        return add_scalar

    def _event(self, original: Method) -> Method:
        """The second layer: for events that no method made, of writers that are driven through `file_writer`."""
        thread, installation = self._thread, self._installation

        def add_event(writer: Any, event: Any, *args: Any, **kwargs: Any) -> Any:
            calls = thread.calls
            result = original(writer, event, *args, **kwargs)
            if not (calls.inside or self._installation != installation or (self._muting and _muted.get())):
                self._say("file_writer", self._decode, writer, None, (event, *args), kwargs)
            return result

        return add_event

    def _summary(self, original: Method) -> Method:
        """tensorboardX's, for a writer that writes no files, which makes no events of summaries."""
        thread, installation = self._thread, self._installation

        def add_summary(writer: Any, summary: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(writer, summary, *args, **kwargs)
            if not (thread.calls.inside or self._installation != installation or (self._muting and _muted.get())):
                self._say("file_writer", self._decode_summary, writer, None, (summary, *args), kwargs)
            return result

        return add_summary

    def _say(
        self,
        method: str,
        convert: Converter,
        writer: Any,
        log_dir: str | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        try:
            run = tracelet.run.active_run()
            if run is not None:
                place = writer.get_logdir() if log_dir is None else getattr(writer, log_dir, None)
                convert(run, writer, context_of(run, place), *args, **kwargs)
        except RunClosed:
            pass  # finished between the lookup and the call: as good as no run
        except Exception as error:  # noqa: BLE001  (the isolation boundary: capture never raises into training)
            self._miss(method, error)

    def _decode_summary(
        self, run: Any, writer: Any, context: Any, summary: Any, global_step: Any = None, walltime: Any = None
    ) -> None:
        messages = import_module(type(summary).__module__.replace("summary_pb2", "event_pb2"))
        self._decode(run, writer, context, messages.Event(summary=summary), global_step, walltime)

    def _decode(self, run: Any, writer: Any, context: Any, event: Any, step: Any = None, walltime: Any = None) -> None:
        from tracelet.tensorboard._summaries import log_event  # seldom needed

        # What the original was given is in the event by now, if it writes files; but a step of 0 is none there.
        given = (getattr(writer, "_default_metadata", None) or {}).get("global_step") if step is None else step
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
