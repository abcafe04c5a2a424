"""What W&B's failures mean to the core: the SDK's exceptions, and what wandb-core only writes to its log."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import wandb.errors
from wandb.sdk.mailbox import HandleAbandonedError, MailboxClosedError

from tracelet.errors import Denied, TraceletError, Transient

CORE_IS_GONE = (ConnectionError, MailboxClosedError, HandleAbandonedError)
"""What the SDK raises when it has no wandb-core to talk to."""

_DENIED = re.compile(r"\b(401|403)\b|unauthori[sz]ed|permission|forbidden|api key", re.IGNORECASE)


class SessionLost(Transient):
    """Raised when wandb-core has died or doesn't answer: what it had not stored must be sent to another."""


class StreamDied(Transient):
    """Raised when the server refused the run's stream, after which wandb-core sends nothing more."""


@contextmanager
def core_errors() -> Iterator[None]:
    """Translates what the SDK raises when wandb-core doesn't answer."""
    try:
        yield
    except CORE_IS_GONE as error:
        raise SessionLost(f"wandb-core is gone ({type(error).__name__})") from error
    except TimeoutError as error:
        raise SessionLost(f"wandb-core was not ready in time ({error})") from error


def opening_failure(error: Exception) -> TraceletError:
    """What it means that a run could not be opened."""
    reason = f"{type(error).__name__}: {error}"
    if isinstance(error, wandb.errors.AuthenticationError | wandb.errors.UsageError) or _DENIED.search(str(error)):
        return Denied(f"W&B refuses the credentials or the run: {reason}")
    return Transient(reason)


def is_denial(reason: str) -> bool:
    """Whether credentials are what a server's answer is about."""
    return _DENIED.search(reason) is not None
