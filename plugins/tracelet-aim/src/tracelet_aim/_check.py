"""Whether Aim can be delivered to, for `tracelet doctor`. Nothing is created."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import anyio

from tracelet.checks import Check, folder, ok, problem
from tracelet_aim._options import Options, repository_name

_PORT = 53800
_TIMEOUT = 10.0


async def check(options: Options) -> Sequence[Check]:
    """Connect to the server; of a repository on this machine, look at its folder."""
    if not options.is_remote:
        place = Path(options.path) / repository_name()
        return [folder(place, "the repository" if place.exists() else "a new repository")]
    parts = urlsplit(options.path)
    try:
        with anyio.fail_after(_TIMEOUT):
            stream = await anyio.connect_tcp(parts.hostname or "", parts.port or _PORT)
            await stream.aclose()
    except OSError as error:
        return [problem(f"{options.path} can't be reached: {error}", "see whether `aim server` runs there")]
    return [ok(f"{options.path} takes connections")]
