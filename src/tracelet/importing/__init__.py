"""Import: what TensorBoard's event files hold, said to runs, so that every backend can have it."""

from __future__ import annotations

from tracelet.importing._find import Finding, Group, Layout, Problem, find
from tracelet.importing._identity import known_layout
from tracelet.importing._importer import Destination, Importer
from tracelet.importing._needs import check_needs
from tracelet.importing._progress import Busy
from tracelet.importing._records import Records
from tracelet.importing._report import Report

__all__ = [
    "Busy",
    "Destination",
    "Finding",
    "Group",
    "Importer",
    "Layout",
    "Problem",
    "Records",
    "Report",
    "check_needs",
    "find",
    "known_layout",
]
