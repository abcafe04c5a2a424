"""What the core does with an exception of a backend's: try again, pause, or look for the event at fault."""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Awaitable, Callable

import tenacity

from tracelet.errors import Denied, Transient

FIRST_WAIT = 0.5
LONGEST_WAIT = 60.0
"""Seconds. The n-th wait is drawn from 0 to min(LONGEST_WAIT, FIRST_WAIT * 2**(n-1)): exponential, with full jitter
(https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/). A wait for credentials is the longest."""

_RETRIED = (Transient, Denied, ConnectionError, TimeoutError, socket.gaierror)
_UNREACHABLE = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN}


def passing(error: BaseException) -> bool:
    """Whether what a backend raised is worth another attempt, for as long as the journal holds the data."""
    return isinstance(error, _RETRIED) or (isinstance(error, OSError) and error.errno in _UNREACHABLE)


def retrying(
    sleep: Callable[[float], Awaitable[None]], note: Callable[[BaseException, float], None]
) -> tenacity.AsyncRetrying:
    """Calls until it succeeds or raises something that is not `passing`.

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
        retry=tenacity.retry_if_exception(passing),
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
