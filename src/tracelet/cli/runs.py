"""`tracelet runs`: which runs there are, and how they ended."""

from __future__ import annotations

import time
from collections.abc import Iterator
from enum import StrEnum
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from tracelet.cli import _output, _runs
from tracelet.cli._delivery import Standing, lost, problem_part, stand
from tracelet.cli._ends import RUNNING, Ending, read_ending
from tracelet.cli._output import BAD, FAINT, GOOD, Part, count, duration, moment, show, show_error, show_table
from tracelet.cli._runs import Found, found_in

EXIT_CODES = """\b
Exit codes:
  0  the runs are listed, also if there are none
  1  a run is damaged, or can't be read
  2  there is no such directory, or an option is wrong"""

OUTCOME_STYLES = {"completed": GOOD, "failed": BAD, "killed": BAD, RUNNING: "cyan"}

_WIDE = 150  # characters from which a run has room in one line of a terminal


class _Outcome(StrEnum):
    COMPLETED = "completed"
    FAILED = "failed"
    KILLED = "killed"
    RUNNING = RUNNING


class _Listed(msgspec.Struct):
    """A run as it is shown; what is not known of it, its `found` has as a problem."""

    found: Found
    ending: Ending | None
    standing: Standing | None


def runs(
    directory: _runs.Directory = None,
    project: Annotated[
        str | None, typer.Option(metavar="PATTERN", help="Only runs of this project; * stands for anything.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="PATTERN", help="Only runs of this name; * stands for anything.")
    ] = None,
    outcome: Annotated[
        _Outcome | None,
        typer.Option(metavar="OUTCOME", help="Only runs that are completed, failed, killed or running."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="How many runs to list.")] = 20,
    as_json: _runs.AsJson = False,
) -> None:
    """List the runs, the newest first, and how they ended.

    Of each it tells when it began, how long it took, and how many events it said. The outcome is the journal's:
    "killed" is a run whose process died without a word. How delivery is going is shown by tracelet status, and what a
    run says by tracelet show.
    """
    folder = _runs.root(directory)
    matching = _matching(folder, project, name, outcome)
    listed = list(islice(matching, limit))
    more = next(matching, None) is not None
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode([_as_json(one) for one in listed])).decode())
    else:
        _show(listed, folder, filtered=bool(project or name or outcome))
        if more:
            show((f"there are older runs: --limit {2 * limit} shows more", FAINT))
        for one in listed:
            if one.ending is not None and one.standing is None:
                show_error(f"{one.found.id}: {one.found.problem}")
    if any(one.found.problem is not None and not one.found.foreign for one in listed):
        raise typer.Exit(1)


def _matching(folder: Path, project: str | None, name: str | None, outcome: str | None) -> Iterator[_Listed]:
    filtered = bool(project or name or outcome)
    for found in found_in(folder):
        if found.record is None:
            if not filtered:
                yield _Listed(found, None, None)
            continue
        if project is not None and not fnmatchcase(found.record.project, project):
            continue
        if name is not None and not fnmatchcase(found.record.name, name):
            continue
        ending = _ending(found)
        if outcome is not None and (ending is None or ending.outcome != outcome):
            continue
        yield _Listed(found, ending, stand(found))


def _ending(found: Found) -> Ending | None:
    try:
        return read_ending(found.directory)
    except OSError as error:
        found.problem = f"its journal can't be read: {error}"
        return None


def lasted(found: Found, ending: Ending) -> float:
    """How long the run took, or has taken so far, in seconds."""
    return max((ending.ended or time.time()) - found.started, 0.0)


def _show(listed: list[_Listed], folder: Path, *, filtered: bool) -> None:
    if not listed:
        show(f"there are no such runs in {folder.parent}" if filtered else _runs.no_runs(folder))
    elif _output.on_terminal() and _output.console.width < _WIDE:
        for one in listed:
            _show_over_two_lines(one)
    else:
        heading = ["started", "took", "outcome", "events", "id", "name", "project", "backends"]
        show_table(heading, [_row(one) for one in listed])


def _show_over_two_lines(one: _Listed) -> None:
    found, ending = one.found, one.ending
    if found.record is None or ending is None:
        show((found.id, "bold"), f"  {moment(found.started)}  ", problem_part(found))
        return
    show((found.id, "bold"), f"  {moment(found.started)}  {found.record.name} ", (f"({found.record.project})", FAINT))
    verb = "for" if ending.outcome == RUNNING else "after"
    show(
        "  ",
        (ending.outcome, OUTCOME_STYLES[ending.outcome]),
        f" {verb} {duration(lasted(found, ending))}, {count(ending.events)}",
        *(part for short in lost(ending.lost) for part in (", ", short)),
        *(part for short in _backends(one.standing) for part in ("; ", short)),
    )


def _row(one: _Listed) -> list[Part]:
    found, ending = one.found, one.ending
    if found.record is None or ending is None:
        return [moment(found.started), "-", "-", "-", found.id, "-", "-", problem_part(found)]
    states = [*lost(ending.lost), *_backends(one.standing)]
    short = "; ".join(part if isinstance(part, str) else part[0] for part in states)
    styles = {part[1] for part in states if not isinstance(part, str)}
    return [
        moment(found.started),
        duration(lasted(found, ending)),
        (ending.outcome, OUTCOME_STYLES[ending.outcome]),
        f"{ending.events:,}",
        found.id,
        found.record.name,
        found.record.project,
        (short or "-", next((style for style in (BAD, "yellow") if style in styles), "")),
    ]


def _backends(standing: Standing | None) -> list[Part]:
    return [] if standing is None else [standing.in_short(name) for name in standing.status.backends]


def _as_json(one: _Listed) -> dict[str, Any]:
    found, ending, standing = one.found, one.ending, one.standing
    known: dict[str, Any] = {"id": found.id, "directory": str(found.directory.path), "started": found.started}
    if found.problem is not None:
        known["problem"] = found.problem
    if found.record is None or ending is None:
        return known
    backends = {} if standing is None else standing.status.backends
    return known | {
        "name": found.record.name,
        "project": found.record.project,
        "parent": found.record.parent,
        "ended": ending.ended,
        "duration": lasted(found, ending),
        "outcome": ending.outcome,
        "events": ending.events,
        "lost": ending.lost,
        "writers": ending.writers,
        "backends": {
            name: {
                "state": standing.state(name)[0] if standing else "",
                "pending": account.pending,
                "dropped": account.dropped,
                "dead_lettered": account.dead_lettered,
            }
            for name, account in backends.items()
        },
    }
