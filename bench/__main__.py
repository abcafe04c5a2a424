"""Runs all benchmarks, each in a process of its own: `python -m bench`. One alone: `python -m bench.emit`.

emit      what log_metric costs the caller
capture   what capturing a SummaryWriter's add_scalar adds to it
surroundings what capturing the console, the machine and the rest costs
training  by how much a training is slowed down
delivery  points per second into each backend
isolation whether a healthy backend suffers from bad ones
lag       how old scalars are when they arrive, while files are uploaded
replay    how fast a journal is replayed
importing how fast event files are imported
startup   what import tracelet and start_logging cost
status    how long the command line takes to show runs
memory    what a backlog costs the training process
media     what images and histograms cost the caller
inert     what a call costs where nothing is recorded
rare      what a new segment and large artifacts cost the caller
"""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated

import msgspec
import typer

from bench._harness import ROOT

NAMES = (
    "emit",
    "capture",
    "surroundings",
    "training",
    "delivery",
    "isolation",
    "lag",
    "replay",
    "importing",
    "startup",
    "status",
    "memory",
    "media",
    "inert",
    "rare",
)


def run(
    full: Annotated[bool, typer.Option(help="Measure; without it, only see that all of them work.")] = False,
    check: Annotated[bool, typer.Option(help="Exit with 1 if a budget is missed.")] = False,
    json: Annotated[typer.FileTextWrite | None, typer.Option(help="Write JSON there; - is standard output.")] = None,
) -> None:
    reports, missed = [], False
    for name in NAMES:
        command = [sys.executable, "-m", f"bench.{name}", "--json", "-", *(() if full else ("--quick",))]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT)  # the table is on standard error
        reports.append(msgspec.json.decode(done.stdout))
        missed |= any(row["verdict"] == "missed" for row in reports[-1]["rows"])
    if json is not None:
        json.write(msgspec.json.encode(reports).decode() + "\n")
    if check and missed:
        raise typer.Exit(1)


if __name__ == "__main__":
    run.__doc__ = __doc__
    typer.run(run)
