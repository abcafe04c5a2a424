"""`tracelet doctor`: whether everything that is needed is there, and whether runs are whole."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from tracelet import _settings
from tracelet.checks import Check, ok, problem
from tracelet.cli import _checks, _runs
from tracelet.cli._complete import complete_backend
from tracelet.cli._order import newest_first
from tracelet.cli._output import BAD, FAINT, GOOD, bytes_of, count, duration, show
from tracelet.cli._probe import Probe
from tracelet.errors import TraceletError
from tracelet.journal import RunDirectory
from tracelet.journal.fsck import Finding, RunFound, look_over

EXIT_CODES = """\b
Exit codes:
  0  no problem and no damage; there may be warnings
  1  a problem, or damage
  2  there is no such run, or an option is wrong"""

_MOST_WHOLE = 20  # runs, of which the whole ones are listed, too

_STYLES = {"ok": GOOD, "warning": "yellow", "problem": BAD, "note": FAINT, "damage": BAD}


class _Said(msgspec.Struct, frozen=True):
    """A check, and what it is about."""

    about: str
    level: str
    text: str
    advice: str


def doctor(
    run: _runs.MaybeRun = None,
    every: Annotated[bool, typer.Option("--all", help="Look over all runs.")] = False,
    backend: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Ask this backend, too, with the options it finds in the environment. May be repeated.",
            autocompletion=complete_backend,
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="How long each backend has for its answer.")
    ] = 30.0,
    directory: _runs.Directory = None,
    as_json: _runs.AsJson = False,
) -> None:
    """Check what is needed: versions, the folder of runs, plugins, and whether the chosen backends can be reached.

    With RUN or --all, look over runs instead: every segment, event, cursor and file. That changes nothing, and can be
    done beside a training.
    """
    if run is not None or every:
        if backend or (run is not None and every):
            raise typer.BadParameter("give a RUN, or --all, or --backend")
        folder = _runs.root(directory)
        places = [_runs.find_run(run, folder)] if run is not None else _runs.all_runs(folder)
        _look_over([place for place in places if run is not None or _is_run(place)], as_json)
        return
    with suppress(OSError):  # it was deleted
        sys.path.append(os.getcwd())  # where a training finds a backend that is named by its module
    said = _examine(directory, backend or [], timeout, quiet=as_json)
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(said)).decode())
    if any(one.level == "problem" for one in said):
        raise typer.Exit(1)


# This machine.


def _examine(directory: Path | None, backends: list[str], timeout: float, *, quiet: bool) -> list[_Said]:
    said: list[_Said] = []

    def tell(about: str, check: Check) -> None:
        said.append(_Said(about, check.level, check.text, check.advice))
        if not quiet:
            _show(said[-1])

    for check in _checks.versions():
        tell("version", check)
    try:
        settings = _settings.resolve(directory=directory)
    except (TraceletError, TypeError) as error:
        tell("settings", problem(str(error)))
        return said
    found = [one for one in _settings.explain(directory=directory) if one.source != "default"]
    tell("settings", ok(", ".join(f"{one.setting.name} from {one.source}" for one in found) or "all are the defaults"))
    for check in _checks.place(settings):
        tell("directory", check)
    asked = dict(_checks.chosen(settings))
    asked |= {name: {} for name in backends if name not in asked}
    probes = {name: Probe(name, options) for name, options in asked.items()}  # at work while the others are told
    for name, check in _checks.plugins():
        tell(f"plugin {name}", check)
    for check in _delivery(settings.directory / "runs"):
        tell("delivery", check)
    for name, probe in probes.items():
        for check in probe.result(timeout):
            tell(f"backend {name}", check)
    if not probes and not quiet:
        show((f"{'':10}{'backend':<18}none is chosen; ask one with --backend NAME", FAINT))
    return said


def _delivery(runs: Path) -> Iterator[Check]:
    try:
        places = newest_first(runs)
    except OSError as error:
        yield problem(f"the folder of runs can't be read: {error}")
        return
    yield from _checks.at_work([place for place in places if _is_run(place)])


def _show(said: _Said) -> None:
    advice = f": {said.advice}" if said.advice else ""
    show((f"{said.level:<10}", _STYLES[said.level]), f"{said.about:<17} {said.text}{advice}")


# Runs.


def _is_run(place: Path) -> bool:
    return not _runs.look_at(place).foreign


def _look_over(places: list[Path], as_json: bool) -> None:
    found: list[RunFound] = []
    for place in places:
        try:
            one = look_over(RunDirectory(place))
        except OSError as error:
            one = RunFound(id=place.name, directory=str(place), live=False)
            one.findings.append(Finding("damage", "files", f"it can't be read: {error}"))
        found.append(one)
        if not as_json and (len(places) <= _MOST_WHOLE or any(finding.level != "note" for finding in one.findings)):
            _show_run(one, brief=len(places) > 1)
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode([_plain(one) for one in found])).decode())
    elif not found:
        show("no runs")
    else:
        _show_speed(found)
    if any(one.damaged for one in found):
        raise typer.Exit(1)


def _show_run(one: RunFound, *, brief: bool) -> None:
    verdict = ("damaged", BAD) if one.damaged else ("whole", GOOD)
    events = sum(log.found for log in one.logs.values())
    show((one.id, "bold"), "  ", verdict, f"  {count(events)}{', and it goes on' if one.live else ''}")
    if not brief:
        for key, log in one.logs.items():
            parts = [f"{log.found:,} of {log.recorded:,} events", count(log.segments, "segment")]
            parts += [
                f"{number:,} {what}" for what, number in (("damaged", log.damaged), ("removed", log.removed)) if number
            ]
            parts += [f"{log.lost:,} not recorded"] if log.lost else []
            show(f"  {key}: {', '.join(parts)}")
    for finding in one.findings:
        if not brief or finding.level != "note":
            show("  ", (f"{finding.level:<9}", _STYLES[finding.level]), f"{finding.what}: {finding.text}")


def _show_speed(found: list[RunFound]) -> None:
    size, seconds = sum(one.size for one in found), sum(one.seconds for one in found)
    damaged = sum(one.damaged for one in found)
    what = f"{count(damaged, 'run')} damaged" if damaged else "no damage"
    speed = bytes_of(size / seconds) if seconds else "-"
    show(f"{what} in {count(len(found), 'run')}; {bytes_of(size)} of events in {duration(seconds)}, {speed}/s")


def _plain(one: RunFound) -> dict[str, Any]:
    return {**msgspec.to_builtins(one), "damaged": one.damaged, "bytes": one.size}
