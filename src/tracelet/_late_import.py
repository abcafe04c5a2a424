"""A hook for modules that are imported later: it imports nothing itself, and leaves module and loader as they were."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class LateImport:
    """A finder for the front of `sys.meta_path` that calls back once one of the modules has been executed."""

    def __init__(self, modules: Collection[str], imported: Callable[[ModuleType], None]) -> None:
        self._modules = modules
        self._imported = imported

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        if fullname not in self._modules:
            return None
        spec = self._from_the_finders_behind(fullname, path, target)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            self._follow(spec.loader)
        return spec

    def _from_the_finders_behind(self, *module: Any) -> ModuleSpec | None:
        # Only those behind this one: a hook like this in front of it asks it, and would be asked in turn for ever.
        finders = iter(sys.meta_path)
        for finder in finders:
            if finder is self:
                break
        specs = (finder.find_spec(*module) for finder in finders if hasattr(finder, "find_spec"))
        return next((spec for spec in specs if spec is not None), None)

    def _follow(self, loader: Any) -> None:
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            vars(loader).pop("exec_module", None)
            execute(module)
            if module.__name__ in self._modules:  # some loaders serve several modules
                self._imported(module)

        loader.exec_module = exec_module
