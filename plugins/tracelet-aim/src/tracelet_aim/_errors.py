"""What the exceptions of Aim, and of what it is built on, mean to the core."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import aimrocks.errors
import filelock
import requests
import sqlalchemy.exc
import websockets.exceptions
from aim.ext.transport.tracking import UnauthorizedRequestError
from aim.sdk.errors import MissingRunError, RunLockingError

from tracelet.errors import Denied, Rejected, TraceletError, Transient

_LOCKED = (RunLockingError, filelock.Timeout)
_CONNECTION = (requests.RequestException, websockets.exceptions.WebSocketException, UnauthorizedRequestError)
_S3 = ("boto3", "botocore", "s3transfer")
_S3_REFUSALS = ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "(403)")
_TOO_BIG = 1009
"""RFC 6455, 7.4.1: the message is larger than the server takes."""


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Turns foreign exceptions into Tracelet's. What is not known to have a cause outside the data is let through.

    Args:
        where: the repository, for the reasons.
    """
    try:
        yield
    except TraceletError:
        raise
    except Exception as error:
        meaning = _meaning(error, where)
        if meaning is None:
            raise
        raise meaning from error


def _meaning(error: Exception, where: str) -> TraceletError | None:
    text = _text(error)
    if isinstance(error, MissingRunError):
        return gone(where)
    if isinstance(error, _LOCKED) or (isinstance(error, aimrocks.errors.RocksIOError) and "lock file" in text):
        return Transient(f"{where}: another process is writing this run: {text}")
    if isinstance(error, aimrocks.errors.RocksIOError):
        return Transient(f"{where}: {text}")
    if isinstance(error, aimrocks.errors.Corruption):
        return Denied(f"{where} is damaged: {text}. `aim storage --repo {where} reindex` mends the index of all runs")
    if isinstance(error, sqlalchemy.exc.OperationalError):
        return Transient(f"{where}: {error.orig}")
    if isinstance(error, sqlalchemy.exc.DatabaseError) and not isinstance(error, sqlalchemy.exc.IntegrityError):
        return Denied(f"{where}: Aim's database run_metadata.sqlite can't be used: {error.orig}")
    if isinstance(error, websockets.exceptions.ConnectionClosed) and _TOO_BIG in _codes(error):
        return Rejected(f"{where}: larger than the server takes in one message")
    if isinstance(error, _CONNECTION):
        return Transient(f"{where}: {type(error).__name__}: {text}")
    if isinstance(error, OSError):
        return Transient(f"{where}: {type(error).__name__}: {text}")
    if type(error).__module__.partition(".")[0] in _S3:
        return _of_s3(error, text)
    if isinstance(error, ModuleNotFoundError) and error.name == "boto3":
        return Denied("artifacts in S3 need boto3: python -m pip install boto3")
    if isinstance(error, RuntimeError):
        return _of_runtime_error(text, where)
    return None


def gone(where: str) -> Denied:
    """For a run that was deleted in Aim."""
    return Denied(
        f"{where} has not got the run any more: it was deleted there. Bring the repository back, or log to another one"
    )


def _of_runtime_error(text: str, where: str) -> TraceletError | None:
    """Aim says it with RuntimeError when there is no server, and when the repository is of another version."""
    if "Failed to connect" in text:
        return Transient(f"{where}: {text}")
    if "not compatible" in text or not text:
        return Denied(f"{where}: {text or 'the repository is of another version of Aim: see `aim upgrade`'}")
    if "Cannot find" in text:
        return Transient(f"{where}: {text}")
    return None


def _of_s3(error: Exception, text: str) -> TraceletError:
    """boto3 has an exception for each way to have no credentials, and says in the text what the store answered."""
    refused = "Credentials" in type(error).__name__ or any(code in text for code in _S3_REFUSALS)
    return Denied(f"S3: {text}") if refused else Transient(f"S3: {text}")


def _codes(error: websockets.exceptions.ConnectionClosed) -> list[int]:
    return [close.code for close in (error.rcvd, error.sent) if close is not None]


def _text(error: Exception) -> str:
    """RocksDB's messages are bytes."""
    if error.args and isinstance(error.args[0], bytes):
        return error.args[0].decode(errors="replace")
    return str(error)
