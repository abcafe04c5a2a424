"""Which lines of the log need not be added again: the server gives lines random identities, and would double them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tracelet_clearml._records import Line


class SentLines:
    """What is known of the lines that have arrived.

    Attributes:
        certain: whether all lines that have arrived are known here. They are not after a crash, nor while it is unknown
            whether a request was served.
    """

    def __init__(self, *, certain: bool) -> None:
        self.certain = certain
        self._latest: set[str] = set()

    def missing(self, lines: Sequence[Line], there: Collection[str] = ()) -> list[Line]:
        """The lines that are neither among those of the latest batch, which may come again in parts, nor in `there`."""
        return [line for line in lines if line.variant not in self._latest and line.variant not in there]

    def arrived(self, lines: Sequence[Line]) -> None:
        """All of these lines have arrived."""
        identities = {line.variant for line in lines}
        self._latest = self._latest | identities if self._latest & identities else identities
        self.certain = True
