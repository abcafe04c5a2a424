"""`tracelet gc`: removes runs that are delivered, finished and old."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from tracelet._leftovers import Leftover, leftovers, remove_leftover
from tracelet._retention import Judged, Rules, StillNeeded, judge_all, remove
from tracelet._setting_values import size_of
from tracelet.cli import _runs
from tracelet.cli._complete import complete_run
from tracelet.cli._output import BAD, FAINT, Part, bytes_of, count, duration, show, show_error, show_table
from tracelet.errors import TraceletError

EXIT_CODES = """\b
Exit codes:
  0  done; or, without --yes, listed
  1  something could not be removed, or a run is damaged
  2  there is no such run or directory, or an option is wrong"""

_DEFAULT_AGE = "30d"
_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
_MOST = 20  # runs that are kept, and leftovers, that are listed one by one

_REASONS = {
    "younger": "younger than that",
    "live": "in use",
    "pending": "not delivered everywhere",
    "without a backend": "without a backend",
    "only here": "with a backend's own files, which are only here",
    "dead letters": "with events that a backend has refused",
    "left out": "with events of kinds that no backend takes",
    "children": "with children that stay",
    "enough room": "within the size to keep",
    "not chosen": "not named",
    "damaged": "damaged",
}

_ADVICE = {
    "pending": "deliver with: tracelet sync",
    "without a backend": "such a run goes with: tracelet gc RUN --undelivered",
    "only here": "once these are uploaded (W&B: wandb sync), the run goes with: tracelet gc RUN --undelivered",
    "dead letters": "they go with --dead-letters",
    "left out": "they go with --dead-letters",
    "damaged": "look at them with: tracelet doctor --all",
}


def gc(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN",
            help=f"Only these runs. {_runs.RUN}",
            autocompletion=complete_run,
        ),
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option(
            metavar="AGE",
            help="How long ago the last sign of life must be, for instance 12h, 7d or 0.",
            show_default=f"{_DEFAULT_AGE}; 0 with RUN or --keep-size",
        ),
    ] = None,
    keep_size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="Only the oldest, until all runs together take no more than that, for instance 50GB."
        ),
    ] = None,
    dead_letters: Annotated[
        bool,
        typer.Option(
            "--dead-letters", help="Also runs of which a backend has refused something, or all have left something out."
        ),
    ] = False,
    undelivered: Annotated[
        bool,
        typer.Option(
            "--undelivered", help="Also what is not delivered, or is only here. The runs must be named: it is lost."
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove them. Else they are only listed.")] = False,
    directory: _runs.Directory = None,
    as_json: _runs.AsJson = False,
) -> None:
    """Remove runs that are finished, delivered everywhere, and old; or list them, without --yes.

    A run goes with all that Tracelet keeps of it here: the journal, and the copies of files. What the backends have of
    it stays. Runs that somebody needs are kept: ones that go on, that a backend has not had wholly, or whose children
    stay.
    """
    folder = _runs.root(directory)
    if undelivered and not runs:
        raise typer.BadParameter("it needs the runs: tracelet gc --undelivered RUN", param_hint="--undelivered")
    age = older_than or (_DEFAULT_AGE if keep_size is None and not runs else "0")
    rules = Rules(_age(age), dead_letters, undelivered, _size(keep_size))
    chosen = {_runs.find_run(run, folder) for run in runs} if runs else None
    outside = [path for path in chosen or () if path.parent != folder]
    if outside:
        raise typer.BadParameter(f"{outside[0]} is not in {folder}; say --directory {outside[0].parent.parent}")
    try:
        judged = judge_all(folder, rules, chosen)
        going = [one for one in judged if one.kept is None]
        left = leftovers(folder, {one.id for one in going}) if chosen is None else []
    except OSError as error:
        raise _runs.unreadable(error) from error
    if not as_json:
        _show(judged, left, age, removing=yes)
    freed, problems = _remove(going, left, rules, quiet=as_json) if yes else (0, [])
    if as_json:
        _write_json(judged, left, freed, problems, removed=yes)
    elif judged or left:
        _show_end(going, left, freed, problems, removed=yes)
    else:
        show(_runs.no_runs(folder))
    if problems or any(one.kept == "damaged" for one in judged):
        raise typer.Exit(1)


def _age(text: str) -> float:
    """Raises typer.BadParameter."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([smhdw]?)", text.strip())
    if match is None:
        raise typer.BadParameter(f"{text!r} is no age; say for instance 12h, 7d or 0", param_hint="--older-than")
    return float(match[1]) * _SECONDS[match[2]]


def _size(text: str | None) -> int | None:
    """Raises typer.BadParameter."""
    try:
        return None if text is None else size_of(text, "--keep-size")
    except TraceletError as error:
        raise typer.BadParameter(str(error), param_hint="--keep-size") from error


def _remove(going: list[Judged], left: list[Leftover], rules: Rules, *, quiet: bool) -> tuple[int, list[str]]:
    """Remove all of it, and say so of each run; returns how many bytes that gave, and what went wrong."""
    freed, problems = 0, []
    for place in left:
        try:
            freed += remove_leftover(place)
        except FileNotFoundError:
            continue
        except OSError as error:
            problems.append(f"{place.path}: {error}")
    refused: list[tuple[Path, str]] = []
    for one in going:
        try:
            size = remove(one, rules)
        except (StillNeeded, FileNotFoundError) as error:
            refused.append((one.directory.path, str(error)))
        except (OSError, msgspec.MsgspecError) as error:
            problems.append(f"{one.id}: {error}")
        else:
            freed += size
            if not quiet:
                show("removed  ", (one.id, "bold"), f"  {one.record.name if one.record else '-'}  {bytes_of(size)}")
    # Another gc may be at it, too: what is gone by now is no problem.
    return freed, problems + [text for path, text in refused if os.path.exists(path)]


def _show(judged: list[Judged], left: list[Leftover], age: str, *, removing: bool) -> None:
    kept = [one for one in judged if one.kept is not None and one.kept != "not chosen"]
    few = len(kept) <= _MOST
    shown = [one for one in judged if (not removing if one.kept is None else few and one.kept != "not chosen")]
    if shown:
        show_table(["run", "name", "age", "size", "kept because"], [_row(one, age) for one in shown])
    if not few:
        counts = Counter(str(one.kept) for one in kept)
        show(f"{len(kept):,} runs are kept:")
        for reason, number in counts.most_common():
            show(f"  {number:>7,}  {_REASONS[reason]}")
    for reason in dict.fromkeys(one.kept for one in kept if one.kept in _ADVICE):
        show((f"{_REASONS[str(reason)]}; {_ADVICE[str(reason)]}", FAINT))
    for one in left[:_MOST]:
        what = "left by a crash" if not one.reserved else "left by a crash, unused at the end of"
        show(f"{what}: {one.path}  {bytes_of(one.size)}")
    if len(left) > _MOST:
        rest = left[_MOST:]
        show(f"and {len(rest):,} more of these, {bytes_of(sum(one.size for one in rest))}")


def _row(one: Judged, age: str) -> list[Part]:
    because = f"it is younger than {age}" if one.kept == "younger" else one.detail or _REASONS.get(one.kept or "", "")
    name = "-" if one.record is None else one.record.name
    size = "-" if one.kept is not None and not one.size else bytes_of(one.size)
    return [one.id, name, duration(one.age), size, (because, BAD if one.kept == "damaged" else FAINT)]


def _show_end(going: list[Judged], left: list[Leftover], freed: int, problems: list[str], *, removed: bool) -> None:
    for problem in problems:
        show_error(problem)
    if not going and not left:
        show("nothing to remove")
    elif removed:
        show(f"{bytes_of(freed)} freed")
    else:
        size = sum(one.size for one in going) + sum(one.size for one in left)
        what = " and ".join([count(len(going), "run"), *([count(len(left), "leftover")] if left else [])])
        show(f"{what} can go, which frees {bytes_of(size)}. Remove with: {_command()}")


def _command() -> str:
    """This command again, with --yes."""
    return shlex.join(["tracelet", *sys.argv[1:], "--yes"])


def _write_json(judged: list[Judged], left: list[Leftover], freed: int, problems: list[str], *, removed: bool) -> None:
    found: dict[str, Any] = {
        "remove": [_plain(one) for one in judged if one.kept is None],
        "kept": [_plain(one) | {"reason": one.kept, "detail": one.detail} for one in judged if one.kept is not None],
        "leftovers": [str(one.path) for one in left],
        "removed": removed,
        "freed": freed,
        "problems": problems,
    }
    typer.echo(msgspec.json.format(msgspec.json.encode(found)).decode())


def _plain(one: Judged) -> dict[str, Any]:
    return {
        "id": one.id,
        "name": None if one.record is None else one.record.name,
        "directory": str(one.directory.path),
        "age": one.age,
        "size": one.size or None,
    }
