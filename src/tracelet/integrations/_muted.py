"""A framework's own TensorBoard logger, kept out of the run while an integration says the same."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from threading import RLock
from typing import Any
from weakref import finalize

from tracelet.tensorboard import uncaptured


def _always(*_: Any, **__: Any) -> bool:
    return True


class Muted:
    """Methods of a class whose words to SummaryWriters stay out of the run while there is somebody who mutes them.

    The writers get them as ever; and what is said to a writer elsewhere is captured as ever.

    Args:
        owner: the class.
        names: of its methods.
        applies: asked at each call, with the call's arguments: whether this one is muted.
    """

    def __init__(self, owner: type, names: tuple[str, ...], applies: Callable[..., bool] = _always) -> None:
        self._owner, self._names, self._applies = owner, names, applies
        self._by = 0
        self._undo: list[Callable[[], None]] = []
        self._lock = RLock()

    def mute(self, by: object) -> Callable[[], object]:
        """Mute them until the function that is returned is called, or `by` is gone."""
        with self._lock:
            self._by += 1
            if self._by == 1:
                self._undo = [self._replace(name) for name in self._names]
        ending = finalize(by, self._unmute)
        ending.atexit = False
        return ending

    def _unmute(self) -> None:
        with self._lock:
            self._by -= 1
            if self._by == 0:
                while self._undo:
                    self._undo.pop()()

    def _replace(self, name: str) -> Callable[[], None]:
        owner = self._owner
        inherited, original = name not in vars(owner), getattr(owner, name)

        @wraps(original)
        def method(*args: Any, **kwargs: Any) -> Any:
            if self._by == 0 or not self._applies(*args, **kwargs):
                return original(*args, **kwargs)
            with uncaptured():
                return original(*args, **kwargs)

        def undo() -> None:
            # Somebody may have put a wrapper of theirs on top. It stays, and ours under it passes everything through.
            if vars(owner).get(name) is method:
                if inherited:
                    delattr(owner, name)
                else:
                    setattr(owner, name, original)

        setattr(owner, name, method)
        return undo
