"""The checkpoints that Lightning's ModelCheckpoint wrote, until they are models of the run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from msgspec import Struct


class Checkpoint(Struct):
    """A file or folder, as it was when it was written.

    Attributes:
        metadata: its score, what was monitored, and whether it is the best or the last.
    """

    path: str
    mtime_ns: int
    step: int | None
    metadata: dict[str, Any] = {}
    taken: bool = False


class Checkpoints:
    """What several ModelCheckpoints wrote, each version of each file once."""

    def __init__(self) -> None:
        self._files: dict[str, Checkpoint] = {}

    def note(self, callback: Any) -> None:
        """Look at what a ModelCheckpoint has written, right after it wrote something."""
        best, last = str(callback.best_model_path), str(callback.last_model_path)
        scores = {str(path): score for path, score in callback.best_k_models.items()}
        for path in dict.fromkeys((*scores, best, last)):
            if not os.path.exists(path) or os.path.islink(path):  # a link leads to one of the others
                continue
            mtime_ns = os.stat(path).st_mtime_ns
            known = self._files.get(path)
            if known is None or known.mtime_ns != mtime_ns:
                newest = path == getattr(callback, "_last_checkpoint_saved", path)
                step = getattr(callback, "_last_global_step_saved", None) if newest else None
                known = self._files[path] = Checkpoint(path, mtime_ns, step)
            score = scores.get(path, callback.current_score if path == last else None)
            about = {
                "score": None if score is None else float(score),
                "monitor": callback.monitor,
                "mode": None if callback.monitor is None else callback.mode,
                "aliases": [name for name, its in (("best", best), ("last", last)) if its == path],
            }
            known.metadata = {name: value for name, value in about.items() if value not in (None, [])}

    def take(self) -> Iterator[Checkpoint]:
        """Those that are still there, each once."""
        for checkpoint in self._files.values():
            if not checkpoint.taken and os.path.exists(checkpoint.path):
                checkpoint.taken = True
                yield checkpoint
