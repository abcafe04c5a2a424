"""For tests: of code that logs, and of backend plugins (the conformance suite is in `tracelet.testing.conformance`)."""

from tracelet.testing._faulty_http import Answer, BlackHole, Fault, FaultyServer, LoseReply, Request, ResetInBody
from tracelet.testing._recording import RecordingBackend, run_info

__all__ = [
    "Answer",
    "BlackHole",
    "Fault",
    "FaultyServer",
    "LoseReply",
    "RecordingBackend",
    "Request",
    "ResetInBody",
    "run_info",
]
