"""Tracelet: the event bus of experiment tracking."""

from typing import TYPE_CHECKING, Any

from tracelet._feed import Feed
from tracelet._settings import RunSettings
from tracelet.api import open_run, start_logging, stop_logging
from tracelet.backend import Backend, Batch, Idempotency, Opened, Outcome, RunInfo, Secret, State
from tracelet.delivery import Delivery
from tracelet.run import AsyncRun, Run, active_run
from tracelet.status import BackendStatus, RunStatus

if TYPE_CHECKING:
    from tracelet import tensorboard

__all__ = [
    "AsyncRun",
    "Backend",
    "BackendStatus",
    "Batch",
    "Delivery",
    "Feed",
    "Idempotency",
    "Opened",
    "Outcome",
    "Run",
    "RunInfo",
    "RunSettings",
    "RunStatus",
    "Secret",
    "State",
    "active_run",
    "open_run",
    "start_logging",
    "stop_logging",
    "tensorboard",
]


if not TYPE_CHECKING:  # type checkers are to know what is not there

    def __getattr__(name: str) -> Any:
        """`tracelet.tensorboard` is there without an import of its own, and costs nothing before it is asked for."""
        if name == "tensorboard":
            from importlib import import_module

            return import_module("tracelet.tensorboard")
        raise AttributeError(f"module 'tracelet' has no attribute {name!r}")
