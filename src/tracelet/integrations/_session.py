"""The run that an integration logs to: the active one, or else one of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias, Unpack
from weakref import WeakSet

from tracelet import _settings
from tracelet._inert import InertRun
from tracelet._notices import say
from tracelet._settings import Backends, RunSettings
from tracelet.api import start_logging
from tracelet.backend import Outcome
from tracelet.run import AsyncRun, Run, active_run

BackendNames: TypeAlias = str | list[str] | dict[str, dict[str, Any]] | None
"""What `start_logging` takes as `backend`, in types that command line parsers understand."""


class StartOptions(RunSettings, total=False):
    """The other arguments of `start_logging`."""

    config: Mapping[str, Any] | None
    tags: Mapping[str, str] | None


_begun: WeakSet[Run] = WeakSet()
"""The runs that integrations began and have not finished."""


class Session:
    """The run that one integration logs to.

    A run that is active belongs to the user: it is used, and left open. Where there is none, one of the session's own
    is begun at first use. Once that is finished, a further use goes on with the same run, under its id: stages that
    follow each other (fit, then test) are one run.

    Args:
        The arguments of `start_logging`, for a run of its own.
    """

    def __init__(
        self,
        backend: Backends = None,
        exp_name: str | None = None,
        project: str | None = None,
        **more: Unpack[StartOptions],
    ) -> None:
        given = {"backend": backend, "exp_name": exp_name, "project": project, **more}
        self._arguments = {name: value for name, value in given.items() if value is not None}
        self._own: Run | None = None

    def __getstate__(self) -> dict[str, Any]:  # another process goes on with the same run
        return {"_arguments": self._again(), "_own": None}

    @property
    def run(self) -> Run | AsyncRun:
        """The run; begins one if there is none."""
        active = active_run()
        if active is None:
            active = self._own = start_logging(**self._again())
            _begun.add(active)
            off = _settings.resolve().mode == "disabled"
            if not active.id and not off and multiprocessing.parent_process() is not None:
                say(
                    "nothing is logged in a process that multiprocessing started (ddp_spawn, notebook_launcher); "
                    "start the processes with a launcher: Lightning's ddp, torchrun, accelerate launch"
                )
        finished = bool(active.id) and not active.active  # an open_run block goes on after its run
        return inert() if finished else active

    def begin(self) -> Run | AsyncRun:
        """The run, at the start of a training: what another integration left open is no run to go on with."""
        active = active_run()
        if active is not self._own and isinstance(active, Run) and active in _begun:
            say(f"a new training begins: {active.name!r}, whose training did not end, counts as failed")
            active.finish(Outcome.FAILED)
        return self.run

    def renew(self) -> None:
        """What comes next is a run of its own, not more of the last one."""
        self.finish()
        self._own = None

    def finish(self, outcome: Outcome = Outcome.COMPLETED) -> None:
        """Finish the session's own run; one that was active before is its owner's to finish."""
        if self._own is not None:
            _begun.discard(self._own)
            self._own.finish(outcome)

    def _again(self) -> dict[str, Any]:
        """The arguments, for the run that there was if there was one."""
        if self._own is None or not self._own.id:
            return self._arguments
        rest = {name: value for name, value in self._arguments.items() if name not in ("config", "tags")}
        place = {"run_id": self._own.id, "resume": "allow", "directory": self._own.directory.parent.parent}
        return rest | place | {"exp_name": self._own.name, "project": self._own.project}


def inert() -> Run:
    """A run that takes everything and records nothing."""
    return InertRun(run_id="", name="inert", project="default", directory=Path(".tracelet"))
