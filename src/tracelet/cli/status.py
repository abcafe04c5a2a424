"""`tracelet status`: how the delivery of runs is going."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from tracelet.cli import _output, _runs
from tracelet.cli._delivery import Standing, account_of, advice, as_json, lost, problem_part, settled, stand
from tracelet.cli._output import FAINT, Part, count, moment, show, show_fields, show_table
from tracelet.cli._runs import Found, find_run, found_in, look_at

EXIT_CODES = """\b
Exit codes:
  0    nothing is pending, and what is over is closed
  1    something is not, or a run is damaged
  2    there is no such run or directory, or an option is wrong
  130  --watch was ended with Ctrl-C"""

_Listed = tuple[Found, Standing | None]


def status(
    run: _runs.MaybeRun = None,
    directory: _runs.Directory = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="How many runs to list.")] = 20,
    pending: Annotated[bool, typer.Option("--pending", help="List only runs with something pending.")] = False,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Go on showing it: RUN, until it is over and delivered or nobody delivers it any more; without RUN, "
            "what is live or pending, until Ctrl-C.",
        ),
    ] = False,
    interval: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            metavar="SECONDS",
            help="How often --watch looks.",
            show_default="1 on a terminal, else 10",
        ),
    ] = None,
    as_json: _runs.AsJson = False,
) -> None:
    """Show how the delivery of runs is going.

    Without RUN, list the runs, the newest first, with what each backend has, and has not had; with RUN, give the full
    account of each of its backends: emitted = delivered + dropped + dead-lettered + pending. What runs are and what
    they say is shown by tracelet runs and tracelet show.
    """
    runs = _runs.root(directory, to_be=watch and run is None)
    if watch:
        from tracelet.cli._watch import watch_one, watch_runs

        if run is None:
            raise typer.Exit(watch_runs(runs, interval, in_json=as_json))
        raise typer.Exit(watch_one(find_run(run, runs), interval, in_json=as_json))
    if not (_list(runs, limit, pending, as_json) if run is None else _one(look_at(find_run(run, runs)), as_json)):
        raise typer.Exit(1)


def _one(found: Found, in_json: bool) -> bool:
    standing = stand(found)
    if in_json:
        _write_json(as_json(found, standing))
    else:
        _show_account(found, standing)
    return _fine(found, standing)


def _list(runs: Path, limit: int, only_pending: bool, in_json: bool) -> bool:
    everything = found_in(runs)
    wanted: Iterable[Found] = (found for found in everything if not settled(found)) if only_pending else everything
    listed = list(islice(_read(wanted, only_pending), limit))
    older = unsettled = damaged = 0
    for found in everything:
        older += 1
        if not settled(found):
            standing = stand(found)
            damaged += standing is None and not found.foreign
            unsettled += standing is not None and not standing.complete
    if in_json:
        _write_json([as_json(*one) for one in listed])
    else:
        _show_list(listed, runs, only_pending)
        _show_left_out(older, unsettled, damaged, len(listed), only_pending)
    return not unsettled and not damaged and all(_fine(*one) for one in listed)


def _read(wanted: Iterable[Found], only_pending: bool) -> Iterator[_Listed]:
    for found in wanted:
        standing = stand(found)
        if not (only_pending and _fine(found, standing)):
            yield found, standing


def _fine(found: Found, standing: Standing | None) -> bool:
    return found.foreign or (standing is not None and standing.complete)


def _write_json(value: object) -> None:
    typer.echo(msgspec.json.format(msgspec.json.encode(value)).decode())


# The list of runs.


def _show_list(listed: list[_Listed], runs: Path, only_pending: bool) -> None:
    if not listed:
        there = only_pending and any(not found.foreign for found in found_in(runs))
        show(f"nothing is pending in {runs.parent}" if there else _runs.no_runs(runs))
    elif _output.on_terminal():
        for one in listed:
            _show_listed(*one)
    else:
        heading = ["started", "id", "name", "project", "backend", "delivered", "pending", "state", "outcome"]
        show_table(heading, [row for one in listed for row in _rows(*one)])


def _show_left_out(older: int, unsettled: int, damaged: int, listed: int, only_pending: bool) -> None:
    notes = [f"{unsettled:,} with something pending"] if unsettled else []
    notes += [f"{damaged:,} damaged"] if damaged else []
    faulty = unsettled + damaged
    if only_pending and faulty:
        show((f"{count(faulty, 'older run')} not shown, {' and '.join(notes)}: --limit {listed + faulty}", FAINT))
    elif older and not only_pending:
        parts: list[Part] = [(f"{count(older, 'older run')} not shown: --limit {listed + older}", FAINT)]
        if notes:
            parts.append((f"; of them {' and '.join(notes)}: --pending", "yellow"))
        show(*parts)


def _show_listed(found: Found, standing: Standing | None) -> None:
    """A run over two lines or more, since its id takes half the width of a terminal."""
    if standing is None:
        show((found.id, "bold"), f"  {moment(found.started)}  ", problem_part(found))
        return
    status = standing.status
    show(
        (found.id, "bold"),
        f"  {moment(found.started)}  {status.name} ",
        (f"({status.project})", FAINT),
        *(part for short in lost(status.lost) for part in (", ", short)),
    )
    width = max(map(len, status.backends), default=0)
    for name, backend in status.backends.items():
        text, style = standing.state(name)
        outcome = f" ({backend.outcome})" if backend.outcome else ""
        show(
            f"  {name.ljust(width)}  {backend.delivered:>11,} delivered  ",
            (f"{backend.pending:>9,} pending  ", "" if backend.pending else FAINT),
            (", ".join([f"{text}{outcome}", *standing.missing(name)]), style),
        )
    if not status.backends:
        show((f"  no backend: {count(status.emitted - status.lost)} in the journal", FAINT))


def _rows(found: Found, standing: Standing | None) -> Iterator[list[Part]]:
    started = moment(found.started)
    if standing is None:
        yield [started, found.id, "-", "-", "-", "-", "-", "-", problem_part(found)]
        return
    run: list[Part] = [started, found.id, standing.status.name, standing.status.project]
    gone = lost(standing.status.lost)
    for name, backend in standing.status.backends.items():
        text, style = standing.state(name)
        state = ", ".join([text, *standing.missing(name), *(text for text, _ in gone)]), style
        yield [*run, name, f"{backend.delivered:,}", f"{backend.pending:,}", state, backend.outcome or "-"]
    if not standing.status.backends:
        yield [*run, "-", "-", "-", gone[0] if gone else "-", "-"]


# The account of one run.


def _show_account(found: Found, standing: Standing | None) -> None:
    show((found.id, "bold"))
    show_fields({"directory": str(found.directory.path), "started": moment(found.started)})
    if standing is None:
        show_fields({"problem": problem_part(found)})
        return
    status = standing.status
    show_fields({"name": status.name, "project": status.project, "emitted": f"{status.emitted:,}"})
    if status.lost:
        show_fields({"lost": (f"{status.lost:,}", _output.BAD)})
    for name in status.backends:
        show()
        show((name, "bold"))
        show_fields(account_of(standing, name))
    if what := advice(found, standing):
        show()
        show(what)
