"""`tracelet`: the commands together."""

from __future__ import annotations

import errno
import io
import os
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from tracelet.cli import backends, config, demo, doctor, gc, import_, runs, show, status, sync
from tracelet.cli._help import Commands

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

app = typer.Typer(
    name="tracelet",
    cls=Commands,
    help="Log once, deliver to every backend, lose nothing.",
    epilog="Of each command: tracelet COMMAND --help",
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command(epilog=backends.EXIT_CODES)(backends.backends)
app.command(epilog=config.EXIT_CODES)(config.config)
app.command(epilog=demo.EXIT_CODES)(demo.demo)
app.command(epilog=doctor.EXIT_CODES)(doctor.doctor)
app.command(epilog=gc.EXIT_CODES)(gc.gc)
app.command("import", epilog=import_.EXIT_CODES)(import_.import_)
app.command(epilog=runs.EXIT_CODES)(runs.runs)
app.command(epilog=show.EXIT_CODES)(show.show)
app.command(epilog=status.EXIT_CODES)(status.status)
app.command(epilog=sync.EXIT_CODES)(sync.sync)


def main() -> None:
    """Run the command that the process's arguments name; ends the process with its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a name in Chinese is no reason to fail in a terminal without it
    try:
        try:
            app()
        finally:
            if isinstance(sys.stdout, io.TextIOWrapper):
                sys.stdout.flush()
    except OSError as error:
        if error.filename is not None or error.errno not in (*_FULL, errno.EPIPE):
            raise
        if error.errno != errno.EPIPE:  # then whoever read it has had enough
            typer.echo(f"the output can't be written: {error.strerror}", err=True)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is written at the interpreter's end
        sys.exit(1)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tracelet {version('tracelet')}")
        raise typer.Exit


@app.callback()
def _common(
    context: typer.Context,
    _: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
