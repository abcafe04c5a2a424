"""Every exception of Tracelet, flat: what was expected, what was found, what to do."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path


class TraceletError(Exception):
    """Base of all the others; never raised itself."""


# What a backend raises to say what is wrong.


class Transient(TraceletError):
    """Raised when a backend can't take a batch now and may later: the core tries again, for ever if need be.

    Args:
        reason: what happened, for the status and the log.
        retry_after: the server's own wish in seconds, if it had one; the core waits at least that long.
    """

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class Denied(TraceletError):
    """Raised when nothing can be delivered until somebody acts: credentials are refused, or the run was deleted.

    The subscription pauses and says so; it tries again once a minute, and when it is flushed.
    """


class Rejected(TraceletError):
    """Raised when the server refuses what was sent and would refuse it again.

    Args:
        reason: the server's words.
        indexes: which events of the batch it named; None lets the core find them by halving the batch.
    """

    def __init__(self, reason: str, indexes: Collection[int] | None = None) -> None:
        super().__init__(reason)
        self.indexes = None if indexes is None else frozenset(indexes)


class Undelivered(TraceletError):
    """Raised by `finish` when events that were exported did not arrive after all: the tracker's own SDK had taken them
    and lost them. They are counted as dropped{undelivered}, and the reason is the run's last error.

    Args:
        reason: what happened, and the command that recovers them if there is one.
        counts: how many since the last `open`, by (writer, lane) as in their batches.
    """

    def __init__(self, reason: str, counts: Mapping[tuple[str, str], int]) -> None:
        super().__init__(reason)
        self.counts = dict(counts)


class Hung(TraceletError):
    """Raised when a blocking call outlives its timeout: nothing can end it, so its process must be replaced."""

    def __init__(self, what: str, timeout: float) -> None:
        super().__init__(f"{what} did not return within {timeout:g} s")


# What a user sees.


class UnknownBackend(TraceletError):
    """Raised when no installed distribution provides a backend of the name asked for."""

    def __init__(self, name: str, installed: Sequence[str], known: dict[str, str]) -> None:
        near = get_close_matches(name, [*installed, *known], n=1)
        parts = [f"no backend named {name!r} is installed."]
        if name in known:
            parts.append(f"Install it from the Tracelet checkout: python -m pip install . ./plugins/{known[name]}.")
        elif near:
            parts.append(f"Did you mean {near[0]!r}?")
        parts.append(f"Installed: {', '.join(sorted(installed)) or 'none'}.")
        super().__init__(" ".join(parts))


class BrokenBackend(TraceletError):
    """Raised when a backend's plugin module can't be imported, or is not a backend."""

    def __init__(self, name: str, where: str, problem: str) -> None:
        super().__init__(f"the backend {name!r} ({where}) can't be used: {problem}")


class InvalidOptions(TraceletError):
    """Raised when a backend's options don't fit what its plugin declares."""

    def __init__(self, name: str, problem: str, allowed: Sequence[str], unknown: str | None = None) -> None:
        near = get_close_matches(unknown, allowed, n=1) if unknown else []
        hint = f" Did you mean {near[0]!r}?" if near else ""
        super().__init__(
            f"invalid options for the backend {name!r}: {problem}.{hint} Options: {', '.join(sorted(allowed))}."
        )


class InvalidSetting(TraceletError):
    """Raised when a setting (an argument, a TRACELET_* variable, a key in pyproject.toml) has a value outside its
    choices."""

    def __init__(self, name: str, found: object, expected: str) -> None:
        super().__init__(f"{name} must be {expected}, found {found!r}")


class UnknownSetting(TraceletError):
    """Raised when a TRACELET_* variable, or a key of pyproject.toml, is no setting."""

    def __init__(self, name: str, where: str, known: Sequence[str]) -> None:
        near = get_close_matches(name, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        super().__init__(f"{name!r}, {where}, is no setting.{hint} Settings: {', '.join(known)}.")


class RunClosed(TraceletError):
    """Raised when something is logged to a run that was finished."""

    def __init__(self, run_id: str) -> None:
        super().__init__(
            f"the run {run_id} is finished: log before finish() or stop_logging(), or start a new run "
            "(start_logging(run_id=..., resume='allow') goes on with this one)"
        )


class RunNotFound(TraceletError):
    """Raised when a run that should exist has no directory."""

    def __init__(self, run_id: str, where: Path) -> None:
        super().__init__(f"there is no run {run_id!r} in {where}; `tracelet status` lists the runs there are")


class RunExists(TraceletError):
    """Raised when a run id is given that exists already and nothing said that it may go on."""

    def __init__(self, run_id: str, where: Path) -> None:
        super().__init__(f"the run {run_id!r} exists already in {where}: say resume='allow' to add to it")


class JournalUnavailable(TraceletError):
    """Raised (with strict=True; else warned of) when the run's journal can't be created."""

    def __init__(self, where: Path, problem: str) -> None:
        super().__init__(
            f"no journal can be written in {where} ({problem}): nothing is recorded. "
            "Set TRACELET_DIR or directory= to a writable folder with free space"
        )


class DeliveryFailed(TraceletError):
    """Raised with strict=True when a backend can't be started."""

    def __init__(self, backend: str, problem: str) -> None:
        super().__init__(f"the backend {backend!r} was not started: {problem}")
