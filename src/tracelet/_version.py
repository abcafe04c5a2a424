"""Which Tracelet this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def own_version() -> str:
    """The version, as it is installed; "unknown" for a bare checkout and in frozen applications."""
    try:
        return version("tracelet")
    except PackageNotFoundError:
        return "unknown"
