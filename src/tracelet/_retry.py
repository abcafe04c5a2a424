"""What the core does with an exception of a backend's: try again, pause, or look for the event at fault."""

from __future__ import annotations

import random
import socket
from collections.abc import Awaitable, Callable

import tenacity

from tracelet.errors import Denied, Transient

FIRST_WAIT = 0.5
LONGEST_WAIT = 60.0
"""Seconds. The n-th wait is drawn from 0 to min(LONGEST_WAIT, FIRST_WAIT * 2**(n-1)): exponential, with full jitter
(https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/). A wait for credentials is the longest."""

RETRIED = (Transient, Denied, ConnectionError, TimeoutError, socket.gaierror)
"""Worth another attempt, for as long as the journal holds the data."""


def retrying(
    sleep: Callable[[float], Awaitable[None]], note: Callable[[BaseException, float], None]
) -> tenacity.AsyncRetrying:
    """Calls until it succeeds or raises something else than `RETRIED`.

    Args:
        sleep: waits that many seconds.
        note: told of each failed attempt and of how long the wait before the next one is.
    """

    def before_sleep(state: tenacity.RetryCallState) -> None:
        assert state.outcome is not None
        assert state.next_action is not None
        error = state.outcome.exception()
        assert error is not None
        note(error, state.next_action.sleep)

    return tenacity.AsyncRetrying(
        sleep=sleep,
        wait=_wait,
        retry=tenacity.retry_if_exception_type(RETRIED),
        before_sleep=before_sleep,
        reraise=True,
    )


def _wait(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, Denied):
        return LONGEST_WAIT
    longest = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(state.attempt_number - 1, 30))
    wanted = getattr(error, "retry_after", None) or 0.0
    return max(float(wanted), random.uniform(0.0, longest))  # noqa: S311 - jitter, not a secret
