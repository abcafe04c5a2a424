"""`tracelet import`: what TensorBoard's event files hold, to any backend."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from tracelet import _settings
from tracelet.backend import Outcome
from tracelet.cli import _runs
from tracelet.cli._complete import complete_backend
from tracelet.cli._import_view import ImportView, show_plan, show_problems
from tracelet.cli._output import BAD, show, show_error
from tracelet.cli.sync import collect, deliver_all, leave
from tracelet.errors import TraceletError

if TYPE_CHECKING:
    from tracelet.importing import Destination, Finding, Group, Importer, Layout

_POLL = 1.0  # seconds between two looks at files that may have grown

EXIT_CODES = """\b
Exit codes:
  0    all files were read to their ends, before or now, and what they say is delivered;
       damaged bytes and values that make no sense are left out, counted and shown
  1    a file could not be read, or no longer has what was imported of it, or something
       could not be delivered; the output says what
  2    there are no event files, or an option is wrong
  130  interrupted; nothing is lost, and the same command goes on"""


def import_(
    logdir: Annotated[
        Path,
        typer.Argument(
            metavar="LOGDIR", help="A log directory of TensorBoard's.", exists=True, file_okay=False, show_default=False
        ),
    ],
    backend: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Deliver to this backend. May be repeated.",
            show_default="TRACELET_BACKEND, else events are only kept in the journal",
            autocompletion=complete_backend,
        ),
    ] = None,
    exp_name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The run's name, if there is one run.", show_default="its directory's"),
    ] = None,
    project: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The group that the runs belong to.", show_default='TRACELET_PROJECT, else "default"'
        ),
    ] = None,
    directory: _runs.Directory = None,
    one_run: Annotated[bool, typer.Option("--one-run", help="All of LOGDIR is one run.")] = False,
    each: Annotated[bool, typer.Option("--each", help="Each directory in LOGDIR is a run.")] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on with what is written meanwhile, until Ctrl-C; delivers at once.")
    ] = False,
    timeout: Annotated[
        float,
        typer.Option(
            min=0.0, metavar="SECONDS", help="Give up on a backend that fails for that long without taking anything."
        ),
    ] = 60.0,
) -> None:
    """Import TensorBoard's event files.

    Everything in them goes through the journal to the backends: scalars, images, histograms, text, sound, trials and so
    on. LOGDIR is one run if it has event files of its own, or if the directories in it are called train, val and the
    like; else each directory in it is a run. What was imported before stays as it is. Credentials come from the
    environment, as when training.

    The same command imports what is new since the last time, and nothing twice, also after it was killed. Event files
    of a training that goes on may be imported at any time.
    """
    with suppress(OSError):  # it was deleted
        sys.path.append(os.getcwd())  # where a backend is that is named by its module
    if one_run and each:
        raise typer.BadParameter("--one-run and --each exclude each other")
    layout: Layout | None = "one" if one_run else "each" if each else None
    destination = _destination(backend, project, directory, follow)

    from tracelet.importing import check_needs, find, known_layout

    try:
        check_needs()
    except ImportError as error:
        show_error(str(error))
        raise typer.Exit(1) from error
    finding = find(logdir, layout or known_layout(logdir, destination.runs))
    show_problems(finding)
    if not finding.groups:
        raise typer.BadParameter(f"there are no event files (*tfevents*) with anything in them below {logdir}")
    if exp_name is not None and len(finding.groups) > 1:
        raise typer.BadParameter(
            f"--exp-name is for one run, and {logdir} has {len(finding.groups)} (--one-run makes them one)"
        )
    show_plan(finding.groups)
    with ImportView(sum(group.size for group in finding.groups)) as view:
        imports = _Imports(destination, exp_name, view)
        try:
            imports.all(finding)
            while follow:
                view.wait()
                time.sleep(_POLL)
                imports.all(find(logdir, finding.layout))
        except KeyboardInterrupt:
            imports.end(Outcome.COMPLETED if follow else Outcome.KILLED)
            if not follow:
                show("interrupted: nothing is lost, and the same command goes on from here")
                leave(130)
        imports.end(Outcome.COMPLETED)
    delivered = _deliver_all(imports.places, destination, timeout)
    leave(0 if delivered and imports.complete and not finding.problems else 1)


class _Imports:
    """The imports of all runs.

    Attributes:
        complete: whether everything could be imported, so far.
        places: the runs' directories.
    """

    def __init__(self, destination: Destination, exp_name: str | None, view: ImportView) -> None:
        self.complete = True
        self.places: list[Path] = []
        self._destination = destination
        self._exp_name = exp_name
        self._view = view
        self._open: dict[Path, Importer] = {}

    def all(self, finding: Finding) -> None:
        """Import what is new of each run; a run that is not followed is at its end with that."""
        for group in finding.groups:
            try:
                self._one(group)
            except (OSError, ImportError, TraceletError, msgspec.MsgspecError) as error:
                self.complete = False
                show((group.name, "bold"), ": ", (str(error), BAD))
                self._close(group.root, Outcome.FAILED)

    def end(self, outcome: Outcome) -> None:
        """End the runs that are open."""
        for root in list(self._open):
            self._close(root, outcome)

    def _one(self, group: Group) -> None:
        from tracelet.importing import Importer

        if group.root not in self._open:
            name = self._exp_name or group.name
            self._open[group.root] = Importer(group, self._destination, name, self._view.advance)
            self.places.append(self._open[group.root].directory.path)
        self._view.begin(group.name)
        self._open[group.root].step(group)
        if self._destination.follow:
            self._open[group.root].tend()
        else:
            self._close(group.root, Outcome.COMPLETED)

    def _close(self, root: Path, outcome: Outcome) -> None:
        importer = self._open.pop(root, None)
        if importer is None:
            return
        try:
            importer.close(outcome)
        except OSError as error:
            self.complete = False
            show((str(error), BAD))
        self.complete &= not importer.report.unreadable
        self._view.ended(importer)


def _destination(backend: list[str] | None, project: str | None, directory: Path | None, follow: bool) -> Destination:
    from tracelet._discovery import find
    from tracelet.importing import Destination

    try:
        settings = _settings.resolve(backend=backend or None, project=project)
        chosen = {name: options for name, options in settings.backend if isinstance(name, str)}
        targets = [find(name, options) for name, options in chosen.items()]
    except TraceletError as error:
        raise typer.BadParameter(str(error)) from error
    if settings.mode == "disabled":
        raise typer.BadParameter("nothing is recorded with TRACELET_MODE=disabled")
    return Destination(_runs.root(directory, to_be=True), settings.project, targets, follow, settings.mode == "online")


def _deliver_all(places: list[Path], destination: Destination, timeout: float) -> bool:
    """Deliver what the backends have not had; whether they have everything now."""
    names = [target.name for target in destination.targets]
    begun = [place for place in places if (place / "run.json").exists()]
    if not begun:
        return True
    if not destination.online:
        show("TRACELET_MODE=offline: tracelet sync delivers it")
        return True
    backlogs, readable = collect(begun, names)
    if backlogs:
        return deliver_all(backlogs, timeout) and readable
    if names:
        show("everything is delivered")
    else:
        show("kept in the journal; deliver with: tracelet sync --backend NAME")
    return readable
