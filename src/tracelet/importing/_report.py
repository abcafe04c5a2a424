"""What an import tells of itself."""

from __future__ import annotations

from msgspec import Struct


class Report(Struct):
    """What an import has done to a run.

    Attributes:
        scalars: how many points were recorded.
        said: how many events of other kinds, by the names of their types.
        skipped: damaged bytes that were passed over.
        left: bytes at the ends of files that are no whole records, yet.
        misunderstood: by tag, how many values could not be imported, and why the first one could not.
        unreadable: by file, why it could not be read, or what it does not have any more.
    """

    scalars: int = 0
    said: dict[str, int] = {}
    skipped: int = 0
    left: int = 0
    misunderstood: dict[str, tuple[int, str]] = {}
    unreadable: dict[str, str] = {}

    def misunderstand(self, tag: str, reason: str) -> None:
        """Count a value that could not be imported."""
        count, first = self.misunderstood.get(tag, (0, reason))
        self.misunderstood[tag] = count + 1, first
