"""What `tracelet import` shows: the plan, a bar by bytes on a terminal, and a line for each run at its end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

import rich.progress

from tracelet.cli._output import BAD, FAINT, Part, console, count, on_terminal, show, show_table

if TYPE_CHECKING:
    from tracelet.importing import Finding, Group, Importer, Report

_NOUNS = {
    "AudioLogged": "sound",
    "HParamsLogged": "trial",
    "HistogramLogged": "histogram",
    "LayoutSet": "layout",
}
_SHOWN = 5  # tags of which is said why they could not be imported


class ImportView:
    """Watches imports.

    Args:
        size: of all files, in bytes.
    """

    def __init__(self, size: int) -> None:
        self._bars = rich.progress.Progress(
            rich.progress.TextColumn("{task.description}", markup=False),
            rich.progress.BarColumn(),
            rich.progress.DownloadColumn(),
            rich.progress.TextColumn("{task.fields[rate]:,.0f} events/s"),
            rich.progress.TimeRemainingColumn(),
            console=console,
            disable=not on_terminal(),
            transient=True,
        )
        self._task = self._bars.add_task("", total=size, rate=0.0)
        self._began = time.monotonic()
        self._records = 0

    def __enter__(self) -> ImportView:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._bars.stop()

    def begin(self, name: str) -> None:
        """Show that a run's turn has come."""
        self._bars.update(self._task, description=name)

    def advance(self, size: int, records: int) -> None:
        """So many more bytes, and records in them, are read."""
        self._records += records
        rate = self._records / max(time.monotonic() - self._began, 1e-3)
        self._bars.update(self._task, advance=size, rate=rate)

    def wait(self) -> None:
        """Show that everything was read that there is."""
        self._bars.update(self._task, description="waiting for more; Ctrl-C ends it")

    def ended(self, importer: Importer) -> None:
        """Say what was imported."""
        report = importer.report
        show((importer.name, "bold"), f" {importer.directory.id}: ", *_sum(report))
        for tag, (number, reason) in list(report.misunderstood.items())[:_SHOWN]:
            show("  ", (f"{tag}: {count(number, 'value')} not imported: {reason}", BAD))
        if len(report.misunderstood) > _SHOWN:
            show("  ", (f"… and values of {len(report.misunderstood) - _SHOWN} other tags", BAD))
        for file, reason in report.unreadable.items():
            show("  ", (f"{file}: {reason}", BAD))


def show_plan(groups: Sequence[Group]) -> None:
    """Say what is one run."""
    rows = [[group.name, f"{len(group.files):,}", _size(group.size), str(group.root)] for group in groups]
    show_table(["run", "files", "size", "log directory"], rows)


def show_problems(finding: Finding) -> None:
    """Say what can't be read."""
    for problem in finding.problems:
        show((f"{problem.path}: {problem.reason}", BAD))
    for path in finding.empty:
        show((f"{path}: it is empty", FAINT))


def _sum(report: Report) -> list[Part]:
    parts = [count(report.scalars, "scalar")] if report.scalars else []
    parts += [_counted(number, kind) for kind, number in sorted(report.said.items())]
    notes: list[Part] = [", ".join(parts) or "nothing new"]
    if report.skipped:
        notes.append((f"; {count(report.skipped, 'damaged byte')} skipped", BAD))
    if report.left:
        notes.append((f"; {count(report.left, 'byte')} at the end of a file are no whole record (yet)", FAINT))
    return notes


def _counted(number: int, kind: str) -> str:
    noun = _NOUNS.get(kind) or kind.removesuffix("Logged").lower()
    return f"{number:,} meshes" if noun == "mesh" and number != 1 else count(number, noun)


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
