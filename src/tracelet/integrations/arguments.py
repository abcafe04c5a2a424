"""Hyperparameters from the command line, for those who ask for it: `capture_arguments()`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from threading import RLock, local
from types import ModuleType, TracebackType
from typing import Any

from msgspec import Struct

from tracelet import _values, api
from tracelet._late_import import LateImport
from tracelet._redaction import redacted
from tracelet.errors import InvalidSetting
from tracelet.integrations._parsers import LIBRARIES, Library
from tracelet.integrations._said import declare
from tracelet.run import AsyncRun, Run, active_run

_BY_NAME = {library.name: library for library in LIBRARIES}

_logger = logging.getLogger("tracelet")


def capture_arguments(*libraries: str) -> ArgumentCapture:
    """Make the command line's arguments parameters of the runs that this process logs.

    Works before and after `start_logging`, and for libraries that are imported later. Of each library, the first
    command line that is parsed is taken; a parser that leaves some arguments to another is followed by that one.
    Hydra's configuration is taken for every job. Each run gets the arguments that are known when it begins, after its
    `config`, and those that are parsed while it is active. A parameter that a run has got already stays as it is.

    Parsing goes on as ever: results are not touched, and nothing is raised into it.

    Args:
        libraries: "argparse", "click" (and Typer), "hydra", "jsonargparse"; none means all of them.

    Returns:
        What is captured, and the way to end it: `remove()`, or its `with` block.

    Raises:
        InvalidSetting: there is no such library.
    """
    unknown = [name for name in libraries if name not in _BY_NAME]
    if unknown:
        raise InvalidSetting("libraries", unknown[0], f"some of {', '.join(_BY_NAME)}")
    _capture.add([_BY_NAME[name] for name in libraries or _BY_NAME])
    return _capture


class _Patch(Struct, frozen=True):
    """A method of a class, or a function of a module, replaced."""

    owner: Any
    name: str
    original: Callable[..., Any]
    wrapper: Callable[..., Any]

    def undo(self) -> None:
        # Somebody may have put a wrapper of theirs on top. It stays, and ours under it passes everything through.
        if vars(self.owner).get(self.name) is self.wrapper:
            setattr(self.owner, self.name, self.original)


class _Thread(local):
    inside = False


class ArgumentCapture:
    """The capture of command lines, made by `capture_arguments`."""

    def __init__(self) -> None:
        self._libraries: dict[str, Library] = {}
        self._parsed: dict[str, dict[str, Any]] = {}
        self._whole: set[str] = set()
        self._patches: list[_Patch] = []
        self._late_import: LateImport | None = None
        self._thread = _Thread()
        self._lock = RLock()

    @property
    def values(self) -> dict[str, Any]:
        """What is known: by name, nested names joined with "/", without secrets; of equal names the first."""
        found: dict[str, Any] = {}
        for values in self._parsed.values():
            for name, value in redacted(values).items():
                found.setdefault(name, value)
        return found

    def remove(self) -> None:
        """End the capture, and forget what was captured. Does nothing the second time."""
        with self._lock:
            if self._late_import in sys.meta_path:
                sys.meta_path.remove(self._late_import)
            self._late_import = None
            if self._state in api.on_begin:
                api.on_begin.remove(self._state)
            while self._patches:
                self._patches.pop().undo()
            for kept in (self._libraries, self._parsed, self._whole):
                kept.clear()

    def __enter__(self) -> ArgumentCapture:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.remove()

    def add(self, libraries: list[Library]) -> None:
        """Capture these as well."""
        with self._lock:
            if self._late_import is None:
                modules = [module for library in LIBRARIES for module, _, _ in library.places]
                self._late_import = LateImport(modules, self._imported)
                sys.meta_path.insert(0, self._late_import)
                api.on_begin.append(self._state)
            for library in libraries:
                if library.name not in self._libraries:
                    self._libraries[library.name] = library
                    for module, _, _ in library.places:
                        if module in sys.modules:
                            self._listen(library, sys.modules[module])

    def _imported(self, module: ModuleType) -> None:
        with self._lock:
            for library in self._libraries.values():
                self._listen(library, module)

    def _listen(self, library: Library, module: ModuleType) -> None:
        for name, owner, methods in library.places:
            place = getattr(module, owner, None)
            if name == module.__name__ and place is not None:
                for method in methods:
                    self._replace(place, method, lambda original: self._listening(library, original))

    def _replace(self, owner: Any, name: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        original = vars(owner).get(name)
        if original is not None and not any(patch.wrapper is original for patch in self._patches):
            wrapper = wraps(original)(wrap(original))
            setattr(owner, name, wrapper)
            self._patches.append(_Patch(owner, name, original, wrapper))

    def _listening(self, library: Library, original: Callable[..., Any]) -> Callable[..., Any]:
        def method(instance: Any, /, *args: Any, **kwargs: Any) -> Any:
            if library.before:
                self._hear(library, instance, (*args, *kwargs.values()), None)
                return original(instance, *args, **kwargs)
            if self._thread.inside:  # a parser of a subcommand, or a library that is made of another
                return original(instance, *args, **kwargs)
            self._thread.inside = True
            try:
                result = original(instance, *args, **kwargs)
            finally:
                self._thread.inside = False
            self._hear(library, instance, (*args, *kwargs.values()), result)
            return result

        return method

    def _state(self, run: Run | AsyncRun) -> None:
        """A run begins: what is known of command lines comes right after its own configuration."""
        for name, values in self._parsed.items():
            try:
                declare(run, values)
            except Exception as error:  # noqa: BLE001  (the isolation boundary: it must not keep a run from beginning)
                _warn(name, error)

    def _hear(self, library: Library, instance: Any, arguments: tuple[Any, ...], result: Any) -> None:
        if library.name not in self._libraries or library.name in self._whole:
            return
        try:
            parsed = library.read(instance, arguments, result)
            if parsed is None:
                return
            values = _values.parameters(parsed.values)
            if library.again:
                self._parsed[library.name] = values
            else:
                self._parsed[library.name] = values | self._parsed.get(library.name, {})
                if parsed.whole:
                    self._whole.add(library.name)
            run = active_run()
            if run is not None:
                declare(run, values)
        except Exception as error:  # noqa: BLE001  (the isolation boundary: nothing is raised into a parser)
            _warn(library.name, error)


def _warn(library: str, error: Exception) -> None:
    with suppress(Exception):  # a log handler of the user's may raise, and so may the error's own text
        _logger.warning("the arguments that %s parsed are not recorded: %r", library, error)


_capture = ArgumentCapture()
