"""For tests: of code that logs, and of backend plugins (the conformance suite is in `tracelet.testing.conformance`)."""

from tracelet.testing._recording import RecordingBackend, run_info

__all__ = ["RecordingBackend", "run_info"]
