"""Which run is meant: its id, the beginning of its id, or its directory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from tracelet import _settings
from tracelet.errors import RunNotFound

Directory = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Where runs are kept.", show_default="TRACELET_DIR, else .tracelet"),
]


def root(directory: Path | None) -> Path:
    """The folder with the runs."""
    return _settings.directory(directory) / "runs"


def all_runs(runs: Path) -> list[Path]:
    """Whatever lies in the folder of runs; it need not exist."""
    try:
        return sorted(path for path in runs.iterdir() if not path.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []


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
    matches = [path for path in all_runs(runs) if path.name.startswith(given)]
    exact = [path for path in matches if path.name == given]
    if len(exact or matches) > 1:
        names = ", ".join(path.name for path in matches)
        raise typer.BadParameter(f"{given!r} is the beginning of {len(matches)} run ids: {names}")
    if not matches:
        raise typer.BadParameter(str(RunNotFound(given, runs)))
    return (exact or matches)[0]
