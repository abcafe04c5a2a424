"""The files that something writes by a pattern, each version of each file once."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

_FIELD = re.compile(r"\{.*?\}")


class Written:
    """Files written since `begin`.

    Args:
        patterns: paths with fields as of `str.format`, which stand for anything.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self._globs = ["*".join(map(glob.escape, _FIELD.split(str(pattern)))) for pattern in patterns]
        self._seen: dict[str, int] = {}

    def begin(self) -> None:
        """What is there already was written by somebody else."""
        for _ in self.take():
            pass

    def take(self) -> Iterator[Path]:
        """Those that are new, or other than they were when they were taken last, the oldest first."""
        found: dict[str, int] = {}
        for name in (name for pattern in self._globs for name in glob.glob(pattern)):
            with suppress(OSError):  # removed meanwhile, or a link to nothing
                found[name] = Path(name).stat().st_mtime_ns
        for name, mtime_ns in sorted(found.items(), key=lambda pair: pair[1]):
            if self._seen.get(name) != mtime_ns:
                self._seen[name] = mtime_ns
                yield Path(name)
