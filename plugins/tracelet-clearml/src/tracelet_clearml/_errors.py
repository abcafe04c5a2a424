"""What ClearML's refusals mean to the core, by HTTP status and the server's own code."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from tracelet.errors import Denied, Rejected, TraceletError, Transient

_BUSY = (408, 425, 429)
_INVALID_TASK = (101, 130, 131)
"""The server's subcodes of a 400: no such task, and no event added, for want of one."""

_TASK_STATUS = (110, 113, 129)
_EXISTS = 801


class TaskRefused(Rejected):
    """Raised when it may be the task itself that the server refuses: deleted, published, or not running."""


class AlreadyExists(Rejected):
    """Raised when something of that name was created in the meantime."""


class Unreadable(Rejected):
    """Raised when there is no file to upload, and there won't be."""


def failure(status: int, subcode: int, reason: str, retry_after: float | None = None) -> TraceletError:
    """The exception for an answer that is not a success."""
    if status in (401, 403):
        return Denied(reason)
    if status in _BUSY or status >= 500:
        return Transient(reason, retry_after)
    if status == 400 and subcode in (*_INVALID_TASK, *_TASK_STATUS):
        return TaskRefused(reason)
    if status == 400 and subcode == _EXISTS:
        return AlreadyExists(reason)
    return Rejected(reason)


def parse_retry_after(header: str | None) -> float | None:
    """The wish in a Retry-After header (RFC 9110, 10.2.3: seconds, or an HTTP date) in seconds from now."""
    if header is None:
        return None
    if header.strip().isdecimal():
        return float(header)
    try:
        when = parsedate_to_datetime(header)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())
