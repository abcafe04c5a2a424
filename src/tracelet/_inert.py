"""Inert runs: everything can be said to them, they look at nothing, and a call costs next to nothing."""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping
from typing import Any

from tracelet.backend import Outcome
from tracelet.events import Number, Scalar
from tracelet.run import AsyncRun, Run


class Silent:
    """The verbs of a run, doing nothing: not even reading a tensor, which would wait for its device."""

    def log_metric(
        self,
        name: str,
        value: Number,
        step: int | None = None,
        context: Mapping[str, Scalar] | None = None,
        time: float | None = None,
        defer: bool | None = None,
    ) -> None:
        pass

    def _log_point(self, name: str, value: float, step: int) -> None:
        pass

    def log_metrics(
        self,
        values: Mapping[str, Number],
        step: int | None = None,
        *,
        context: Mapping[str, Scalar] | None = None,
        time: float | None = None,
        defer: bool | None = None,
    ) -> None:
        pass

    def _nothing(self, *_: Any, **__: Any) -> None:
        pass

    log_params = set_tags = log_text = log_console = set_note = use_dataset = _nothing
    log_artifact = log_model = register_model = log_graph = log_tensor = _nothing
    log_image = log_figure = log_audio = log_video = log_table = log_mesh = log_embedding = _nothing
    log_histogram = log_curve = log_pr_curve = log_roc_curve = log_hparams = set_layout = _nothing


class InertRun(Silent, Run):
    """A `Run` that records nothing. Once it is finished, it answers as every finished run does."""

    def finish(self, outcome: str | Outcome | None = None, timeout: float | None = None) -> None:
        self.__class__ = Run  # type: ignore[assignment]
        self.finish(outcome, timeout)


class InertAsyncRun(Silent, AsyncRun):
    """An `AsyncRun` that records nothing. Once it is finished, it answers as every finished run does."""

    async def finish(self, outcome: str | Outcome | None = None, timeout: float | None = None) -> None:
        self.__class__ = AsyncRun  # type: ignore[assignment]
        await self.finish(outcome, timeout)


def silence_in_forked_children(run: Run | AsyncRun) -> None:
    """Make a run inert in every process that is forked from now on."""
    reference = weakref.ref(run)

    def silence() -> None:
        run = reference()
        if run is not None:
            run.__class__ = InertRun if isinstance(run, Run) else InertAsyncRun

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=silence)
