"""`tracelet`: the commands together."""

from __future__ import annotations

import io
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from tracelet.cli import backends, demo, import_, status, sync

app = typer.Typer(
    name="tracelet",
    help="Log once, deliver to every backend, lose nothing.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command(epilog=backends.EXIT_CODES)(backends.backends)
app.command(epilog=demo.EXIT_CODES)(demo.demo)
app.command("import", epilog=import_.EXIT_CODES)(import_.import_)
app.command(epilog=status.EXIT_CODES)(status.status)
app.command(epilog=sync.EXIT_CODES)(sync.sync)


def main() -> None:
    """Run the command that the process's arguments name; ends the process with its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a name in Chinese is no reason to fail in a terminal without it
    app()


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tracelet {version('tracelet')}")
        raise typer.Exit


@app.callback()
def _common(
    _: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass
