"""Which run is meant: its id, the beginning or end of that, its name, or its directory; and which runs there are."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, NoReturn

import msgspec
import typer

from tracelet import _settings
from tracelet.cli._complete import complete_run
from tracelet.cli._order import newest_first
from tracelet.cli._output import moment
from tracelet.errors import RunNotFound, TraceletError
from tracelet.journal import RunDirectory, RunRecord

Directory = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Where runs are kept.", show_default="TRACELET_DIR, else .tracelet"),
]

RUN = "A run: its id, the beginning or the end of that (4 characters or more), its name, or its directory."

NewestRun = Annotated[
    str | None,
    typer.Argument(metavar="RUN", help=RUN, autocompletion=complete_run, show_default="the newest run"),
]
MaybeRun = Annotated[str | None, typer.Argument(metavar="RUN", help=RUN, autocompletion=complete_run)]

AsJson = Annotated[bool, typer.Option("--json", help="Write JSON.")]


NO_RECORD = "run.json is missing: rank 0 has not begun the run, or it was deleted; its backends are not known"
"""What is said of a run that has nothing but its journal."""


class Found(msgspec.Struct, kw_only=True):
    """What lies in the folder of runs.

    Attributes:
        started: in seconds since the epoch.
        record: None if there is none to be read.
        problem: why there is no more to say of it; None if there is.
        foreign: whether it is something else than a run.
    """

    directory: RunDirectory
    started: float
    record: RunRecord | None = None
    problem: str | None = None
    foreign: bool = False

    @property
    def id(self) -> str:
        return self.directory.id


def root(directory: Path | None, *, to_be: bool = False) -> Path:
    """The folder with the runs. It need not exist, unless somebody has named the directory that it is in.

    Args:
        to_be: whether also that may come later.

    Raises:
        typer.BadParameter: a setting is wrong, or there is no such directory.
    """
    try:
        found = next(one for one in _settings.explain(directory=directory) if one.setting.name == "directory")
    except (TraceletError, TypeError) as error:
        raise typer.BadParameter(str(error)) from error
    place = Path(found.value)
    if not place.is_absolute():
        gone = f"the working directory, in which {place} would be, was deleted"
        raise typer.BadParameter(f"{gone}: go to another one, or say --directory")
    if not to_be and found.source != "default":
        source = "--directory" if found.source == "argument" else found.source
        if not os.path.isdir(place):
            raise typer.BadParameter(f"there is no directory {place} ({source})")
        if place.name == "runs" and any(place.glob("*/run.json")):
            raise typer.BadParameter(f"{place} is where the runs are; name the directory above it ({source})")
    return place / "runs"


def no_runs(runs: Path) -> str:
    """What is said where there are none."""
    return f"there are no runs in {runs.parent}"


def all_runs(runs: Path) -> list[Path]:
    """Whatever lies in the folder of runs, the newest first; it need not exist.

    Raises:
        typer.BadParameter: it can't be read.
    """
    try:
        return newest_first(runs)
    except OSError as error:
        raise unreadable(error) from error


def unreadable(error: OSError) -> typer.BadParameter:
    """What ends a command where the folder of runs can't be read."""
    return typer.BadParameter(f"the folder of runs can't be read: {error}")


def found_in(runs: Path) -> Iterator[Found]:
    """Whatever lies in the folder of runs, the newest first."""
    return map(look_at, all_runs(runs))


def look_at(path: Path) -> Found:
    """What lies there."""
    directory = RunDirectory(path)
    found = Found(directory=directory, started=0.0)
    try:
        found.record = directory.read_record()
        found.started = found.record.created
        return found
    except (FileNotFoundError, NotADirectoryError):
        found.foreign = not os.path.isdir(path / "journal")
        found.problem = "not a run" if found.foreign else NO_RECORD
    except msgspec.MsgspecError as error:
        found.problem = f"run.json is damaged: {error}"
    except OSError as error:
        found.problem = f"it can't be read: {error}"
    try:
        found.started = os.lstat(path).st_mtime
    except FileNotFoundError:
        found.problem, found.foreign = "it was deleted just now", True
    except OSError as error:
        found.problem = f"it can't be read: {error}"
    return found


def newest_run(runs: Path) -> Path:
    """The directory of the run that began last. Raises typer.BadParameter if there is none."""
    for found in found_in(runs):
        if not found.foreign:
            return found.directory.path
    raise typer.BadParameter(no_runs(runs))


def find_run(given: str, runs: Path) -> Path:
    """The directory of the run that is meant.

    That is, in this order, one at this path, of this id, whose id begins so, whose id ends so, or that has this name.

    Raises:
        typer.BadParameter: none is, or several are.
    """
    path = _find(given, runs)
    if look_at(path).foreign:
        raise typer.BadParameter(f"{path} is no run: it has neither a run.json nor a journal")
    return path


def _find(given: str, runs: Path) -> Path:
    path, is_path = Path(given), os.sep in given
    with suppress(OSError):  # the working directory was deleted
        path = path.absolute()
    if os.path.isdir(path) if is_path else os.path.exists(path / "run.json"):
        return path
    if given and not is_path and not given.startswith(".") and os.path.isdir(runs / given):
        return runs / given
    everything = all_runs(runs)
    matches, what = [path for path in everything if path.name.startswith(given)], "have ids that begin with"
    if not matches and len(given) >= _SHORTEST_END:
        matches, what = [path for path in everything if path.name.endswith(given)], "have ids that end with"
    if not matches:  # only now, since it takes the records of all runs
        matches, what = [path for path in everything if _name(path) == given], "are called"
    if not matches and is_path:
        raise typer.BadParameter(f"there is no directory {path}, nor a run of the name {given!r}")
    if not matches:
        raise typer.BadParameter(str(RunNotFound(given, runs)) if everything else no_runs(runs))
    if len(matches) > 1:
        _refuse(f"{len(matches):,} runs {what} {given!r}", matches)
    return matches[0]


def _refuse(what: str, matches: Sequence[Path]) -> NoReturn:
    """Say which runs are meant all at once."""
    found = [look_at(path) for path in matches[:_LISTED]]
    lines = [f"  {one.id}  {moment(one.started)}  {one.record.name if one.record else one.problem}" for one in found]
    lines += [f"  and {len(matches) - _LISTED:,} older ones"] if len(matches) > _LISTED else []
    raise typer.BadParameter("\n".join([f"{what}: say which by its id, or the end of that. The newest first:", *lines]))


class _Named(msgspec.Struct):
    """All of run.json that finding a run by its name takes."""

    name: str


def _name(path: Path) -> str | None:
    try:
        return msgspec.json.decode((path / "run.json").read_bytes(), type=_Named).name
    except (OSError, msgspec.MsgspecError):
        return None


_LISTED = 5
_SHORTEST_END = 4  # characters of an id by which it is known
