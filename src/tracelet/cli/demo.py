"""`tracelet demo`: train on real data, deliver, read everything back, and compare."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, NoReturn

import rich.progress
import typer

from tracelet.cli import _output
from tracelet.cli._content import Content, Row, compare
from tracelet.cli._digits import Clock, Hyperparameters, Training, summary_writer, train
from tracelet.cli._output import BAD, FAINT, GOOD, Part, count, show, show_table
from tracelet.cli._plot import plot
from tracelet.cli._readback import READ_BACK
from tracelet.errors import TraceletError
from tracelet.journal import RunDirectory

EXIT_CODES = """\b
Exit codes:
  0  everything that was logged is in the backend, and equal
  1  something is missing or differs, or a package is not installed
  2  an option is wrong"""

INSTALL = "python -m pip install '.[demo]' ./plugins/tracelet-mlflow"

_DEADLINE = 120.0  # enough for a database that has to be created first, on a busy machine
_SHOWN = 5


def demo(
    directory: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            help="Where everything is put: mlflow.db, mlruns, .tracelet and tracelet-demo.",
            show_default="the working directory",
        ),
    ] = Path(),
    epochs: Annotated[int, typer.Option(min=1, metavar="N", help="How long to train.")] = 30,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of the weights and of the order of images.")] = 0,
    backend: Annotated[str, typer.Option(metavar="NAME", help=f"One of: {', '.join(READ_BACK)}.")] = "mlflow",
) -> None:
    """Train a classifier on real images, log it, and check that all of it arrived.

    The images are the 1,797 handwritten digits that come with scikit-learn. The training logs to TensorBoard's
    SummaryWriter, as most do; Tracelet delivers that to MLflow (sqlite:///mlflow.db, or MLFLOW_TRACKING_URI). Then
    the demo asks MLflow's own client for every single point, parameter, text and file, and compares.
    """
    if backend not in READ_BACK:
        raise typer.BadParameter(f"must be one of {', '.join(READ_BACK)}", param_hint="--backend")
    _require_packages(backend)
    training = _train(directory.absolute(), Hyperparameters(epochs=epochs, seed=seed), backend)
    _require_delivery(training, backend)
    found = _read_back(training, backend)
    _show_loss(found)
    _show_times(training)
    rows = compare(training.log.said, found)
    _show_rows(rows, backend)
    _show_next(training, backend)
    problems = [problem for row in rows for problem in _problems(row)]
    if problems:
        _fail(f"{count(len(problems), 'thing')} missing from {backend}, or not as logged", problems)
    show((f"Everything that was logged is in {backend}.", f"bold {GOOD}"))


def _require_packages(backend: str) -> None:
    """Exit if something is not installed, naming all of it."""
    from tracelet._discovery import installed

    missing = [] if find_spec("sklearn") else ["scikit-learn"]
    if summary_writer() is None:
        missing.append("tensorboardX (or torch and tensorboard)")
    if backend not in installed():
        missing.append(f"the {backend} plugin")
    if missing:
        _fail(f"not installed: {', '.join(missing)}. In a checkout of Tracelet, run: {INSTALL}")


def _train(directory: Path, hyperparameters: Hyperparameters, backend: str) -> Training:
    show("Training on 1,797 images of handwritten digits, logging with ", (f"{summary_writer()}.SummaryWriter", "bold"))
    track = partial(_track, total=hyperparameters.epochs)
    options = {backend: READ_BACK[backend].options(directory)}
    try:
        training = train(directory, options, hyperparameters, _DEADLINE, track)
    except TraceletError as error:
        _fail(str(error))
    training.log.said.status["status", READ_BACK[backend].finished] += 1
    show(
        f"Trained in {training.seconds:.1f} s: {training.accuracy:.1%} of the test images are recognised. ",
        f"Closing the run took another {training.closing:.1f} s.",
    )
    return training


def _track(epochs: Iterable[int], total: int) -> Iterable[int]:
    terminal = _output.console.is_terminal
    return rich.progress.track(
        epochs, "epochs", total=total, console=_output.console, transient=True, disable=not terminal
    )


def _require_delivery(training: Training, backend: str) -> None:
    """Exit if the backend has not got everything by Tracelet's own account."""
    run = training.run
    if not run.id:
        _fail("nothing was recorded: unset TRACELET_MODE, RANK and LOCAL_RANK")
    status = run.status().backends[backend]
    if status.pending or status.outcome is None:
        why = status.last_error or status.state
        _fail(f"{count(status.pending)} pending ({why}). Deliver them with: tracelet sync {run.directory}")


def _read_back(training: Training, backend: str) -> Content:
    client = READ_BACK[backend].client
    show()
    show("Reading everything back with ", (client, "bold"), " …")
    texts = {name for name, _ in training.log.said.texts}
    try:
        return READ_BACK[backend].read(_options(training, backend), training.run.id, texts)
    except LookupError as error:
        _fail(f"{backend} has no such run: {error.args[0]}")


def _options(training: Training, backend: str) -> dict[str, object]:
    """The backend's options, as they were resolved."""
    return RunDirectory(training.run.directory).read_record().backends[backend]


def _show_loss(found: Content) -> None:
    loss = [
        value for step, value in sorted((step, value) for name, step, value in found.points if name == "train/loss")
    ]
    console = _output.console
    show()
    show(("train/loss", "bold"), (f", {count(len(loss), 'point')} as read back, logarithmic", FAINT))
    for line in plot(loss, min(console.width, 100) - 2, ascii_only=console.options.ascii_only):
        show("  ", line)


def _show_times(training: Training) -> None:
    clocks = training.log.clocks
    total = sum(clock.total for clock in clocks.values())
    show()
    show((f"Logging took {total:.2f} s", "bold"), f" of {training.seconds:.1f} s, TensorBoard's own files included")
    rows = [[name, f"{len(clock.durations):,}", *_times(clock)] for name, clock in clocks.items()]
    rows.append(["add_scalar without a run", f"{len(training.without.durations):,}", *_times(training.without)])
    show_table(["", "calls", "seconds", "median µs"], rows, indent="  ")


def _times(clock: Clock) -> list[str]:
    return [f"{clock.total:.3f}", f"{clock.median * 1e6:,.1f}"]


def _show_rows(rows: Sequence[Row], backend: str) -> None:
    cells: list[list[Part]] = [
        [
            row.kind,
            f"{row.emitted:,}",
            f"{row.found:,}",
            ("equal", GOOD)
            if row.equal
            else (f"{len(row.missing):,} missing, {len(row.unexpected):,} unexpected", BAD),
        ]
        for row in rows
    ]
    show()
    show(("Compared, one by one", "bold"))
    show_table(["", "emitted", f"in {backend}", ""], cells, indent="  ")


def _show_next(training: Training, backend: str) -> None:
    options = _options(training, backend)
    url = training.run.urls.get(backend)
    show()
    show("Look at it:  ", (url or READ_BACK[backend].viewer(options) or "", "bold"))
    show("Its files:   ", str(training.folder))
    show()


def _problems(row: Row) -> list[str]:
    missing = [f"{row.kind}: missing {thing}" for thing in row.missing]
    return missing + [f"{row.kind}: unexpected {thing}" for thing in row.unexpected]


def _fail(problem: str, details: Sequence[str] = ()) -> NoReturn:
    _output.show_error(problem)
    for detail in details[:_SHOWN]:
        _output.show_error(f"  {detail}")
    if len(details) > _SHOWN:
        _output.show_error(f"  … and {len(details) - _SHOWN:,} more")
    raise typer.Exit(1)
