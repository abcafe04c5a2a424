"""Notebooks: how the last cell of an IPython session ended, and what its kernel is asked to do."""

from __future__ import annotations

import sys
from typing import Any


class Cells:
    """Follows the cells that are executed from the one on that is being executed now."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        """What the last cell raised; None if it came to its end."""
        self.followed = False
        """Whether any cell has ended since."""
        ipython: Any = sys.modules.get("IPython")  # who is in a session has imported it
        self._shell: Any = ipython.get_ipython() if hasattr(ipython, "get_ipython") else None
        if self._shell is not None:
            self._shell.events.register("post_run_cell", self._note)

    @property
    def restarting(self) -> bool:
        """Whether the kernel was asked to end in order to begin anew."""
        # ipykernel ends in one way, whatever for; what it was asked is in the answer that it has prepared.
        answer = getattr(getattr(self._shell, "kernel", None), "_shutdown_message", None) or {}
        return bool(answer.get("content", {}).get("restart"))

    def close(self) -> None:
        """Follow no more."""
        if self._shell is not None:
            try:
                self._shell.events.unregister("post_run_cell", self._note)
            except ValueError:
                return  # somebody cleared the list

    def _note(self, result: Any) -> None:
        self.followed = True
        self.error = result.error_before_exec or result.error_in_exec
