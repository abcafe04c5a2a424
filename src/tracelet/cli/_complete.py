"""What the shell is told when it completes a word: run ids, with the runs' names where it shows them, and backends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import typer

from tracelet.cli._order import newest_first

_MOST = 100


class _Named(msgspec.Struct):
    name: str = ""
    project: str = ""


def complete_run(ctx: typer.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """The ids that begin so, the newest first. A path is left to the shell."""
    if os.sep in incomplete:
        return
    try:
        matches = [path for path in newest_first(_folder(ctx)) if path.name.startswith(incomplete)]
    except OSError:
        return  # the folder can't be read, which is no matter between two key strokes
    for path in matches[:_MOST]:
        try:
            run = msgspec.json.decode((path / "run.json").read_bytes(), type=_Named)
        except (OSError, msgspec.MsgspecError):
            continue
        yield path.name, f"{run.name} ({run.project})"


def complete_backend(incomplete: str) -> Iterator[str]:
    """The names of installed backends that begin so."""
    from tracelet._discovery import installed

    return (name for name in sorted(installed()) if name.startswith(incomplete))


def _folder(ctx: typer.Context) -> Path:
    from tracelet import _settings
    from tracelet.errors import TraceletError

    try:
        return _settings.resolve(directory=ctx.params.get("directory")).directory / "runs"
    except (TraceletError, TypeError):
        return Path(".tracelet", "runs")  # nothing may go wrong between two key strokes
