"""The conformance suite for backend plugins, to run in a plugin's own tests.

    from tracelet.testing.conformance import BackendConformance, Recorded

    class TestJsonLines(BackendConformance):
        backend = JsonLines
        def make_options(self, tmp_path): return JsonLines.Options(path=str(tmp_path / "events.jsonl"))
        async def read(self, options, run_id): ...   # what the backend shows, as a Recorded

It needs pytest, and anyio's pytest plugin, which comes with anyio; and for media NumPy and Pillow (`tracelet[media]`).
"""

from __future__ import annotations

from tracelet.readback import Recorded, Shown
from tracelet.testing.conformance._drive import Drive, Session
from tracelet.testing.conformance._faults import Faults
from tracelet.testing.conformance._files import Files
from tracelet.testing.conformance._media import Media
from tracelet.testing.conformance._points import HOSTILE_NAMES, Points
from tracelet.testing.conformance._runs import Runs
from tracelet.testing.conformance._words import Words

__all__ = [
    "HOSTILE_NAMES",
    "BackendConformance",
    "Drive",
    "Faults",
    "Files",
    "Media",
    "Points",
    "Recorded",
    "Runs",
    "Session",
    "Shown",
    "Words",
]


class BackendConformance(Runs, Points, Words, Files, Media, Faults):
    """Subclass it, set `backend`, and implement `make_options` and `read`; for faults of a server, `server_url` and
    `with_server`, too. Each of its bases can be used alone, for instance on a second event loop."""
