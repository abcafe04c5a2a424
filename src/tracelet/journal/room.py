"""The room that a run may take: its quota, and what must stay free of the file system."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from tracelet.events import EVENT_TYPES, ConsoleLine, Kind, MediaLogged, MetricsLogged

EXPENDABLE = frozenset(
    kind
    for kind, event_type in EVENT_TYPES.items()
    if issubclass(event_type, MetricsLogged | ConsoleLine | MediaLogged)
)
"""The kinds that are given up when there is no room. The others are few, and the run is not understood without them."""

AWAITED = EXPENDABLE - {Kind.CONSOLE_LINE.value}
"""The kinds that wait for room where nothing is to be lost. Printing waits for nobody: what makes room prints, too."""

_OWN = ("journal", "blobs")
_BLOCK = 4096
_LEAST_INTERVAL = 0.5
_SILENCE = 1.0  # seconds after which who asked for room does not wait any more
_SHARE = 50  # measuring takes at most one part in so many of the time


class Room:
    """How much more a run may take; shared by all that writes to it in this process.

    What other processes write to the run is seen when it is measured.

    Args:
        place: the run's directory.
        quota: how many bytes its journal and its files may have; None is no limit. What trackers' SDKs put beside them
            does not count: nothing of it could be given back.
        min_free: how many bytes of its file system must stay free.
    """

    def __init__(self, place: Path, quota: int | None = None, min_free: int = 0) -> None:
        self._place = place
        self._quota = quota
        self._min_free = min_free
        self._lock = threading.RLock()
        self._used = 0
        self._added = 0  # since measuring began
        self._due = 0.0
        self._hopeless: int | None = None  # the least size for which waiting is of no use
        self._asked = 0  # the most that somebody waits for
        self._asked_at = 0.0
        self.granted = 0
        """How often there was room for what is `EXPENDABLE`."""

    @property
    def limited(self) -> bool:
        """Whether there is anything to heed."""
        return self._quota is not None or self._min_free > 0

    @property
    def quota(self) -> int | None:
        return self._quota

    def take(self, size: int) -> None:
        """Say that so many bytes were written; or, if they are less than 0, given back."""
        with self._lock:
            self._used += size
            self._added += size

    def grant(self, wanted: int, least: int) -> int:
        """How many bytes may be taken now: `wanted`, or half of it, and so on; 0 if that would be less than `least`."""
        while self.refusal(wanted) is not None:
            if wanted <= least:
                return 0
            wanted = max(wanted // 2 & -_BLOCK, least)
        self.admit()
        return wanted

    def admit(self) -> None:
        """Say that there was room for what is `EXPENDABLE`."""
        self.granted += 1
        self._asked = 0  # whoever still waits asks again

    def refusal(self, size: int, *, expendable: bool = True) -> str | None:
        """Why so many bytes can't be taken; None if they can.

        Args:
            expendable: whether they are for what is given up when the quota is used up.
        """
        if expendable and self._quota is not None and self.over(size):
            quota = in_words(self._quota)
            if size > self._quota:
                return f"it needs more than the quota of {quota}"
            fixed = self._hopeless is not None and size >= self._hopeless
            return f"the quota of {quota} is used up" + (", and nothing of it can be removed" if fixed else "")
        if self._min_free and self._free() - size < self._min_free:
            return f"less than {in_words(self._min_free)} would stay free on its disk"
        return None

    def over(self, size: int) -> bool:
        """Whether so many bytes more would be more than the quota."""
        return self._quota is not None and self._used + size > self._quota

    def may_come(self, size: int) -> bool:
        """Whether it is of use to wait for so many bytes; if so, that is asked for."""
        if self._quota is None or not self.over(size):
            return True  # it is the disk that is full, for others to clear
        if size > self._quota or (self._hopeless is not None and size >= self._hopeless):
            return False
        self._asked, self._asked_at = max(self._asked, size), time.monotonic()
        return True

    def asked(self) -> int:
        """How many bytes somebody waits for, the most; 0 if nobody does."""
        if time.monotonic() - self._asked_at > _SILENCE:
            self._asked = 0
        return self._asked

    def despair(self, size: int) -> None:
        """Say that waiting for so many bytes is of no use, until there is room for them."""
        self._hopeless = size if self._hopeless is None else min(size, self._hopeless)
        self._asked = 0

    def shortage(self, headroom: int, wanted: int = 0) -> int:
        """How many bytes must be given back so that there is so much room, besides what is wanted right now."""
        if self._hopeless is not None and not self.over(self._hopeless):
            self._hopeless = None
        short = 0
        if self._quota is not None:
            headroom_in_quota = min(max(headroom, self._quota // 16), self._quota // 2)
            short = self._used + min(headroom_in_quota + wanted, self._quota) - self._quota
        if self._min_free:
            short = max(short, self._min_free + headroom + wanted - self._free())
        return max(short, 0)

    def measure(self) -> None:
        """Find out what the run takes, if it is time to."""
        start = time.monotonic()
        if self._quota is None or start < self._due:
            return
        with self._lock:
            self._added = 0
        found = sum(size_on_disk(self._place / own) for own in _OWN)
        with self._lock:
            self._used = found + self._added  # what came meanwhile may count twice, until the next time
        end = time.monotonic()
        self._due = end + max(_LEAST_INTERVAL, _SHARE * (end - start))

    def _free(self) -> int:
        try:
            found = os.statvfs(self._place)
        except OSError:
            return 1 << 62  # whatever is wrong with the directory, writing to it will tell
        return found.f_bavail * found.f_frsize


def size_on_disk(place: str | os.PathLike[str]) -> int:
    """How many bytes a file, or a folder with all in it, takes; what is deleted meanwhile counts as nothing."""
    size = 0
    try:
        size = os.lstat(place).st_blocks * 512
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    size += size_on_disk(entry.path)
                else:
                    size += _blocks(entry)
    except OSError:
        pass  # a file, which has no entries, or gone
    return size


def in_words(size: int) -> str:
    """A size as people give it: exactly, in the largest unit that can say it."""
    for power, binary, decimal in ((4, "TiB", "TB"), (3, "GiB", "GB"), (2, "MiB", "MB"), (1, "KiB", "kB")):
        for base, unit in ((1024, binary), (1000, decimal)):
            if size and size % base**power == 0:
                return f"{size // base**power} {unit}"
    return f"{size:,} bytes"


def _blocks(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_blocks * 512
    except OSError:
        return 0
