"""`tracelet sync`: deliver what is pending."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import msgspec
import typer

from tracelet.cli import _runs
from tracelet.cli._complete import complete_backend, complete_run
from tracelet.cli._delivery import settled
from tracelet.cli._output import BAD, count, notes_on_stderr, show
from tracelet.cli._progress import Progress
from tracelet.errors import TraceletError
from tracelet.journal import RunDirectory

if TYPE_CHECKING:
    from tracelet.host.sync import Backlog

EXIT_CODES = """\b
Exit codes:
  0    what was pending is delivered, or left to a training that goes on
  1    something is not, and the output says why
  2    there is no such run, backend or directory, or an option is wrong
  130  interrupted; nothing is lost"""


def sync(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN",
            help=f"Runs: all with something pending, if none is given. {_runs.RUN}",
            autocompletion=complete_run,
        ),
    ] = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Deliver to this backend only; a run that has not been delivered to it before is now, from its "
            "beginning. May be repeated.",
            autocompletion=complete_backend,
        ),
    ] = None,
    directory: _runs.Directory = None,
    timeout: Annotated[
        float,
        typer.Option(
            min=0.0,
            metavar="SECONDS",
            help="Give up on a backend that fails for that long without taking anything.",
        ),
    ] = 60.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write a line of JSON for each run and backend, when it is done.")
    ] = False,
) -> None:
    """Deliver what is pending.

    That is what was logged offline, while a server was down, or by a machine that died. Credentials come from the
    environment, as when training. It may be interrupted and repeated: it goes on where it stopped. Beside a training
    that delivers by itself it leaves the delivery to that. tracelet status --pending lists what it would deliver.
    """
    with suppress(OSError):  # it was deleted
        sys.path.append(os.getcwd())  # where the training found a backend that is named by its module
    folder = _runs.root(directory)
    places = [_runs.find_run(run, folder) for run in runs] if runs else _runs.all_runs(folder)[::-1]
    _check_backends(backend or [])
    if not runs:
        found = [one for one in map(_runs.look_at, places) if not one.foreign]
        with notes_on_stderr(as_json):
            if not found:
                show(_runs.no_runs(folder))
                return
        places = [one.directory.path for one in found if backend or not settled(one)]
    with notes_on_stderr(as_json):
        backlogs, readable = collect(places, backend or [])
        if not backlogs:
            if readable:
                show("nothing to do: nothing is pending")
            raise typer.Exit(0 if readable else 1)
        complete = deliver_all(backlogs, timeout, as_json=as_json)
    leave(0 if complete and readable else 1)


def _check_backends(names: list[str]) -> None:
    from tracelet._discovery import find
    from tracelet._settings import options_of

    for name in names:
        try:
            find(name, options_of(name))
        except TraceletError as error:
            raise typer.BadParameter(str(error), param_hint="--backend") from error


def collect(places: list[Path], backends: list[str]) -> tuple[list[Backlog], bool]:
    """What is to be done, and whether all runs could be read."""
    from tracelet.host.sync import add_backend, find_backlogs

    backlogs: list[Backlog] = []
    readable = True
    for place in places:
        run = RunDirectory(place)
        try:
            for name in backends:
                add_backend(run, name)
            backlogs += find_backlogs(run, backends)
        except (OSError, msgspec.MsgspecError) as error:
            found = _runs.look_at(place)
            if not found.foreign:  # else it was removed just now
                readable = False
                show((place.name, "bold"), ": ", (found.problem or f"it can't be delivered: {error}", BAD))
    return backlogs, readable


def deliver_all(backlogs: list[Backlog], timeout: float, *, as_json: bool = False) -> bool:
    """Whether everything is delivered in the end that is not left to the training's own delivery."""
    import anyio

    from tracelet.host.sync import deliver

    async def run() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(view.refresh)
            await deliver(backlogs, timeout, view)
            tasks.cancel_scope.cancel()

    try:
        with Progress(as_json=as_json) as view:
            anyio.run(run)
    except KeyboardInterrupt:
        left = sum(backlog.account().pending for backlog in backlogs)
        show(f"interrupted: {count(left)} pending, and nothing is lost; tracelet sync goes on from here")
        leave(130)
    return all(backlog.complete or backlog.left for backlog in backlogs)


def leave(code: int) -> NoReturn:
    """End the process, without waiting for the threads of an SDK that hangs."""
    if code and threading.active_count() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    raise typer.Exit(code)
