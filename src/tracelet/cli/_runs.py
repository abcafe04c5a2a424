"""Which run is meant: its id, the beginning of its id, or its directory; and which runs there are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from tracelet import _settings
from tracelet.cli._complete import complete_run
from tracelet.cli._order import newest_first
from tracelet.errors import RunNotFound, TraceletError
from tracelet.journal import RunDirectory, RunRecord

Directory = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Where runs are kept.", show_default="TRACELET_DIR, else .tracelet"),
]

RUN = "A run's id, the beginning of it, or the run's directory."

NewestRun = Annotated[
    str | None,
    typer.Argument(metavar="RUN", help=RUN, autocompletion=complete_run, show_default="the newest run"),
]
MaybeRun = Annotated[str | None, typer.Argument(metavar="RUN", help=RUN, autocompletion=complete_run)]

AsJson = Annotated[bool, typer.Option("--json", help="Write JSON.")]


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


def root(directory: Path | None) -> Path:
    """The folder with the runs.

    Raises:
        typer.BadParameter: a setting is wrong.
    """
    try:
        return _settings.resolve(directory=directory).directory / "runs"
    except (TraceletError, TypeError) as error:
        raise typer.BadParameter(str(error)) from error


def all_runs(runs: Path) -> list[Path]:
    """Whatever lies in the folder of runs, the newest first; it need not exist.

    Raises:
        typer.BadParameter: it can't be read.
    """
    try:
        return newest_first(runs)
    except OSError as error:
        raise typer.BadParameter(f"the folder of runs can't be read: {error}") from error


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
        found.foreign = not (path / "journal").is_dir()
        found.problem = "not a run" if found.foreign else "run.json is missing"
    except msgspec.MsgspecError as error:
        found.problem = f"run.json is damaged: {error}"
    except OSError as error:
        found.problem = f"it can't be read: {error}"
    try:
        found.started = os.lstat(path).st_mtime
    except OSError:
        found.problem, found.foreign = "it was deleted just now", True
    return found


def newest_run(runs: Path) -> Path:
    """The directory of the run that began last. Raises typer.BadParameter if there is none."""
    for found in found_in(runs):
        if not found.foreign:
            return found.directory.path
    raise typer.BadParameter(f"there are no runs in {runs}")


def find_run(given: str, runs: Path) -> Path:
    """The directory of the run that is meant.

    Raises:
        typer.BadParameter: none is, or several are.
    """
    if os.sep in given or (Path(given) / "run.json").exists():
        path = Path(given).absolute()
        if not path.is_dir():
            raise typer.BadParameter(f"there is no directory {path}")
        return path
    if given and not given.startswith(".") and (runs / given).is_dir():
        return runs / given
    matches = [path for path in all_runs(runs) if path.name.startswith(given)]
    if len(matches) > 1:
        names = ", ".join(path.name for path in matches[:_LISTED])
        more = f" and {len(matches) - _LISTED:,} more" if len(matches) > _LISTED else ""
        raise typer.BadParameter(f"{given!r} is the beginning of {len(matches):,} run ids: {names}{more}")
    if not matches:
        raise typer.BadParameter(str(RunNotFound(given, runs)))
    return matches[0]


_LISTED = 5
