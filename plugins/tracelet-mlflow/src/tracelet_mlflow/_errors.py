"""What MLflow's refusals mean to the core, by HTTP status and MLflow error code; the SDK's map to the same."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from tracelet.errors import Denied, Rejected, TraceletError, Transient

_DENIED = (401, 403)
_BUSY = (408, 425, 429)


class NotFound(Rejected):
    """Raised when MLflow knows no such experiment or run."""


class AlreadyExists(Rejected):
    """Raised when an experiment of that name was created in the meantime."""


class Unreadable(Rejected):
    """Raised when there is no file to upload, and there won't be."""


def failure(status: int, code: str, reason: str, retry_after: float | None = None) -> TraceletError:
    """The exception for an answer that is not a success.

    A 500 is worth another try only because Tracelet never sends malformed JSON or compressed bodies, which MLflow
    answers with a 500 too.
    """
    if status in _DENIED:
        return Denied(reason)
    if status in _BUSY or status >= 500:
        return Transient(reason, retry_after)
    if code == "RESOURCE_DOES_NOT_EXIST":
        return NotFound(reason)
    if code == "RESOURCE_ALREADY_EXISTS":
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
