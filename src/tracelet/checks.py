"""What a backend may tell `tracelet doctor`: whether it can be delivered to, from this machine and with these options.

A backend class has it by a method that is called without a run:

    @staticmethod
    async def check(options: Options) -> Sequence[Check]: ...

It is optional. It runs in a process of its own with a time limit, may import the SDK, and must not create anything.
What it raises is shown as a problem, in the words of the exception.
"""

from __future__ import annotations

import os
import time
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Literal

import msgspec

_MOST_SKEW = 60.0  # seconds


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked at.

    Attributes:
        level: "ok"; "warning" if something may go wrong; "problem" if something does.
        text: what was found.
        advice: what to do about it.
    """

    level: Literal["ok", "warning", "problem"]
    text: str
    advice: str = ""


def ok(text: str) -> Check:
    """All is well."""
    return Check("ok", text)


def warning(text: str, advice: str = "") -> Check:
    """Something may go wrong."""
    return Check("warning", text, advice)


def problem(text: str, advice: str = "") -> Check:
    """Something does go wrong."""
    return Check("problem", text, advice)


def clock(date: str | None) -> list[Check]:
    """How this machine's clock stands to a server's.

    Args:
        date: the header Date of its answer of just now.

    Returns:
        A warning if they differ by more than a minute, for times in trackers come from both; else nothing.
    """
    try:
        skew = time.time() - parsedate_to_datetime(date or "").timestamp()
    except (TypeError, ValueError):
        return []
    if abs(skew) <= _MOST_SKEW:
        return []
    text = f"this machine's clock is {abs(skew):,.0f} s {'ahead of' if skew > 0 else 'behind'} the server's"
    return [warning(text, "set the clocks, for instance by NTP")]


def folder(path: str | os.PathLike[str], what: str) -> Check:
    """Whether files can be written in a folder, or it can be made."""
    place = Path(path)
    above = next((one for one in (place, *place.parents) if os.path.exists(one)), place)
    if not os.path.isdir(above):
        return problem(f"{what} {place}: {above} is no folder", "choose another place")
    if not os.access(above, os.W_OK | os.X_OK):
        return problem(
            f"{what} {place}: {above} can't be written to", "choose another place, or change its permissions"
        )
    return ok(f"{what} {place}" + ("" if above == place else " (it will be made)"))
