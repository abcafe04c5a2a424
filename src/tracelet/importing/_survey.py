"""What is new in the event files of a run, and what their directories are."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from tracelet.importing._embeddings import PROJECTOR, Embedding, embeddings
from tracelet.importing._find import Group
from tracelet.importing._identity import event_of
from tracelet.importing._progress import EMBEDDING, Portion, Progress
from tracelet.importing._records import Records
from tracelet.importing._report import Report
from tracelet.importing._roles import Role, role_of

_SAID = ("summary", "graph_def")  # what events hold that a run is told of


class Survey:
    """Looks at files, and changes nothing but the roles in the progress.

    Args:
        group: the run's files, as they are by now.
        parse: makes an Event of its bytes.
        report: where files are named that can't be read.
    """

    def __init__(self, group: Group, parse: Callable[[bytes], Any], progress: Progress, report: Report) -> None:
        self.group = group
        self._parse = parse
        self._progress = progress
        self._report = report

    def news(self) -> list[Portion]:
        """What was added to the files since the last import; nothing if that says nothing that a run can be told."""
        found: list[Portion] = []
        offsets = self._progress.offsets
        for file in self.group.files:
            try:
                size = (self.group.root / file).stat().st_size
            except OSError as error:
                self._report.unreadable[file] = error.strerror or str(error)
                continue
            start = offsets.get(file, 0)
            if size < start:
                reason = f"it has {size:,} bytes, and {start:,} were imported before"
                self._report.unreadable.setdefault(file, reason)
            elif start < size:
                found.append(Portion(file, start, size))
        for directory in self.group.directories():
            config = os.path.join(directory, PROJECTOR)
            for key in self.embeddings(config):
                name = f"{config}{EMBEDDING}{key}"
                if not offsets.get(name):
                    found.append(Portion(name, 0, 1))
        says = any(EMBEDDING in portion.file or self._first_said(portion) is not None for portion in found)
        return found if says else []

    def embeddings(self, config: str) -> dict[str, Embedding]:
        """The embeddings that a file in one of the directories names, by key."""
        try:
            return embeddings(self.group.root / config)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            self._report.unreadable[config] = str(error)
            return {}

    def _first_said(self, portion: Portion) -> Any | None:
        """The first event of a portion that says anything."""
        try:
            with Records(self.group.root / portion.file, portion.start, portion.stop) as records:
                while found := records.read():
                    for data in found:
                        event = event_of(self._parse, data)
                        if event is not None and event.WhichOneof("what") in _SAID:
                            return event
                self._report.left += records.left
        except OSError as error:
            self._report.unreadable[portion.file] = error.strerror or str(error)
        return None

    def assign_roles(self, portions: list[Portion]) -> None:
        """Settle what those directories are in which something was written for the first time, in these portions."""
        progress = self._progress
        known: dict[str, Role | None] = {
            directory: progress.roles.get(directory) for directory in self.group.directories()
        }
        for directory in known:
            if known[directory] is not None:
                continue
            files = [portion for portion in portions if os.path.dirname(portion.file) == directory]
            events = (self._first_said(portion) for portion in files if EMBEDDING not in portion.file)
            event = next((event for event in events if event is not None), None)
            if event is None:
                continue
            values = event.summary.value
            role = role_of(directory, values[0], known) if len(values) else Role(directory)
            known[directory] = progress.roles[directory] = role
