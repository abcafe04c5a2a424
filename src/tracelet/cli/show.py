"""`tracelet show`: what a run says."""

from __future__ import annotations

import sys
from difflib import get_close_matches
from typing import Annotated

import typer

from tracelet.cli import _runs
from tracelet.cli._delivery import stand
from tracelet.cli._ends import read_ending
from tracelet.cli._output import on_terminal, show_error
from tracelet.cli._record import RunRecorded

EXIT_CODES = """\b
Exit codes:
  0  the run is shown
  1  the run's record or its journal can't be read
  2  there is no such run, metric or directory, or an option is wrong"""

_LISTED = 10


def show(
    run: _runs.NewestRun = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Show this metric only, and plot it large; * stands for anything. May be repeated.",
        ),
    ] = None,
    plots: Annotated[
        bool | None,
        typer.Option("--plots/--no-plots", help="Whether to plot the metrics.", show_default="on a terminal"),
    ] = None,
    system: Annotated[
        bool, typer.Option("--system", help="Also the metrics of the machine, system/…, which are else only counted.")
    ] = False,
    directory: _runs.Directory = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Write JSON, of each metric with a curve of at most 512 means over ranges of steps."
        ),
    ] = False,
    points: Annotated[
        bool,
        typer.Option(
            "--points", help="With --json: all points, as [step, value, time], a metric a line. It takes 25 bytes each."
        ),
    ] = False,
) -> None:
    """Show what a run says, with plots of its metrics.

    That is how it ended, its parameters, tags, note and files, and its metrics. It is read from the run's journal, so
    it needs no backend, and may be used while the run is live. Where the steps of a metric go back, and in several
    processes that log to one run, points come in the order in which they were said, and a plot has the mean of what was
    said of a step.
    """
    if points and not as_json:
        raise typer.BadParameter("--points goes with --json")
    runs = _runs.root(directory)
    found = _runs.look_at(_runs.newest_run(runs) if run is None else _runs.find_run(run, runs))
    said = RunRecorded(metric or (), keep_points=points)
    try:
        ending = read_ending(found.directory)
        said.read(found.directory)
    except OSError as error:
        found.problem = f"its journal can't be read: {error}"
    if found.problem is not None or found.record is None:
        show_error(f"{found.directory.path}: {found.problem}")
        raise typer.Exit(1)
    _check_metrics(metric or [], said)
    standing = stand(found)
    if as_json:
        from tracelet.cli._json import write_run

        write_run(found, ending, standing, said, sys.stdout.write)
        return
    from tracelet.cli._run_view import show_metrics, show_run

    wanted = on_terminal() if plots is None else plots
    if metric:
        show_metrics(said, plots=plots is not False, large=True)
    else:
        show_run(found, ending, standing, said, plots=wanted, machine=system)


def _check_metrics(patterns: list[str], said: RunRecorded) -> None:
    """Raises BadParameter if nothing is called so."""
    if not patterns or said.series:
        return
    names = sorted(said.not_wanted)
    near = get_close_matches(patterns[0], names, n=_LISTED, cutoff=0.4) or names[:_LISTED]
    more = f" and {len(names) - len(near):,} more" if len(names) > len(near) else ""
    known = f"there are: {', '.join(near)}{more}" if names else "the run has no metrics"
    raise typer.BadParameter(f"no metric is called {' or '.join(patterns)}; {known}", param_hint="--metric")
