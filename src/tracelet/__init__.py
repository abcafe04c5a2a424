"""Tracelet: the event bus of experiment tracking."""

from tracelet._feed import Feed
from tracelet.api import open_run, start_logging, stop_logging
from tracelet.backend import Backend, Batch, Idempotency, Opened, Outcome, RunInfo, Secret, State
from tracelet.delivery import Delivery
from tracelet.run import AsyncRun, Run, active_run
from tracelet.status import BackendStatus, RunStatus

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
    "RunStatus",
    "Secret",
    "State",
    "active_run",
    "open_run",
    "start_logging",
    "stop_logging",
]
