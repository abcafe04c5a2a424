"""`tracelet demo`: train on real data, deliver, read everything back, and compare."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, NoReturn

import msgspec
import rich.progress
import typer

from tracelet._discovery import OFFICIAL, find, installed
from tracelet.cli import _output
from tracelet.cli._content import STATUS, Content, Row, compare, content_of
from tracelet.cli._digits import Hyperparameters, Training, summary_writer, train
from tracelet.cli._output import BAD, FAINT, GOOD, Part, count, show, show_table
from tracelet.cli._places import PLACES, Place
from tracelet.cli._plot import plot
from tracelet.cli._said import Clock
from tracelet.cli.backends import KINDS, supported
from tracelet.errors import TraceletError
from tracelet.journal import RunDirectory
from tracelet.readback import reader
from tracelet.status import sync_command

EXIT_CODES = """\b
Exit codes:
  0  everything that was logged is in every backend, and equal
  1  something is missing or differs, or a package is not installed
  2  an option is wrong"""

_DEADLINE = 120.0  # enough for a database that has to be created first, on a busy machine
_SHOWN = 5
_NO_AIM = (3, 13)


class _ReadBack(msgspec.Struct):
    """One backend's part of the demo: what it takes, and how that compares."""

    name: str
    options: Any
    found: Content
    rows: list[Row]
    degraded: int


def demo(
    directory: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            help="Where everything is put: the backends' files, .tracelet and tracelet-demo.",
            show_default="the working directory",
        ),
    ] = Path(),
    epochs: Annotated[int, typer.Option(min=1, metavar="N", help="How long to train.")] = 30,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of the weights and of the order of images.")] = 0,
    backend: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Installed backends, separated by commas: for instance mlflow,aim,wandb,clearml.",
            show_default="mlflow,aim, or mlflow alone where Aim can't be installed",
        ),
    ] = None,
) -> None:
    """Train a classifier on real images, log it, and check that all of it arrived.

    The images are the 1,797 handwritten digits that come with scikit-learn. The training logs scalars to TensorBoard's
    SummaryWriter, as most do, and something of every other kind to the run. Tracelet delivers that to all of the
    backends at once, each on this machine and without an account (or where MLFLOW_TRACKING_URI, AIM_REPO, WANDB_MODE or
    CLEARML_API_HOST say). Then the demo asks each of them, by its own means, for every single thing, and compares.
    """
    names = _names(backend)
    _require_packages(names)
    training = _train(directory.absolute(), Hyperparameters(epochs=epochs, seed=seed), names)
    _require_delivery(training, names)
    show()
    show("Reading everything back …")
    results = [_read_back(training, name) for name in names]
    _show_loss(results[0].found)
    _show_times(training)
    _show_rows(training, results)
    _show_next(training, results)
    problems = [f"{result.name}: {problem}" for result in results for row in result.rows for problem in _problems(row)]
    if problems:
        _fail(f"{count(len(problems), 'thing')} missing, or not as logged", problems)
    show((f"Everything that was logged is in {_listed(names)}.", f"bold {GOOD}"))


def _names(given: str | None) -> list[str]:
    """The backends. Raises BadParameter."""
    if given is None:
        return ["mlflow"] if sys.version_info >= _NO_AIM else ["mlflow", "aim"]
    names = [name.strip() for name in given.split(",") if name.strip()]
    unknown = [name for name in names if name not in PLACES and name not in installed()]
    if not names or unknown:
        known = ", ".join(sorted({*PLACES, *installed()}))
        raise typer.BadParameter(f"{given!r} names something else than: {known}", param_hint="--backend")
    return list(dict.fromkeys(names))


def _require_packages(names: Sequence[str]) -> None:
    """Exit if something is not installed, naming all of it."""
    missing = [] if find_spec("sklearn") else ["scikit-learn"]
    if summary_writer() is None:
        missing.append("tensorboardX (or torch and tensorboard)")
    there = installed()
    missing += [f"the {name} plugin" for name in names if name not in there]
    if missing:
        plugins = [f"./plugins/{OFFICIAL[name]}" for name in names if name in OFFICIAL]
        command = " ".join(["python -m pip install '.[demo]'", *plugins])
        _fail(f"not installed: {', '.join(missing)}. In a checkout of Tracelet, run: {command}")


def _train(directory: Path, hyperparameters: Hyperparameters, names: Sequence[str]) -> Training:
    show("Training on 1,797 images of handwritten digits, logging with ", (f"{summary_writer()}.SummaryWriter", "bold"))
    track = partial(_track, total=hyperparameters.epochs)
    options = {name: PLACES.get(name, Place(lambda _: {})).chosen(directory) for name in names}
    try:
        training = train(directory, options, hyperparameters, _DEADLINE, track)
    except TraceletError as error:
        _fail(str(error))
    show(
        f"Trained in {training.seconds:.1f} s: {training.accuracy:.1%} of the test images are recognised. ",
        f"Closing the run took another {training.closing:.1f} s.",
    )
    return training


def _track(epochs: Iterable[int], total: int) -> Iterable[int]:
    terminal = _output.on_terminal()
    return rich.progress.track(
        epochs, "epochs", total=total, console=_output.console, transient=True, disable=not terminal
    )


def _require_delivery(training: Training, names: Sequence[str]) -> None:
    """Exit if a backend has not got everything by Tracelet's own account."""
    run = training.run
    if not run.id:
        _fail("nothing was recorded: unset TRACELET_MODE, RANK and LOCAL_RANK")
    for name in names:
        status = run.status().backends[name]
        if status.pending or status.outcome is None:
            why = status.last_error or status.state
            _fail(f"{name}: {count(status.pending)} pending ({why}). Deliver with: {sync_command(run.directory)}")
        if status.dead_lettered:
            _fail(f"{name}: {count(status.dead_lettered)} refused: {status.last_error}")


def _read_back(training: Training, name: str) -> _ReadBack:
    """What a backend has, by its own means."""
    read = reader(name)
    if read is None:
        _fail(f"the {name} plugin has no reader (an entry point of the group tracelet.readers)")
    directory = RunDirectory(training.run.directory)
    target = find(name, directory.read_record().backends[name])
    try:
        recorded = read(target.options, training.run.id)
        children = {child: read(target.options, run_id) for child, run_id in training.log.children.items()}
    except LookupError as error:
        if type(error) is not LookupError:  # not what a reader says, but a fault of it
            raise
        _fail(f"{name} has no such run: {error.args[0]}")
    found = content_of(recorded, children)
    rows = compare(training.log.said, found, supported(target.backend))
    return _ReadBack(name, target.options, found, rows, training.run.status().backends[name].degraded)


def _show_loss(found: Content) -> None:
    loss = [
        value for step, value in sorted((step, value) for name, step, value in found["metrics"] if name == "train/loss")
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
    rows.insert(2, ["add_scalar without a run", f"{len(training.without.durations):,}", *_times(training.without)])
    show_table(["", "calls", "seconds", "median µs"], rows, indent="  ")


def _times(clock: Clock) -> list[str]:
    return [f"{clock.total:.3f}", f"{clock.median * 1e6:,.1f}"]


def _show_rows(training: Training, results: Sequence[_ReadBack]) -> None:
    said = training.log.said
    kinds = [kind for kind in (*KINDS, STATUS) if kind in said]
    cells: list[list[Part]] = [
        [kind, f"{said[kind].total():,}", *(part for result in results for part in _verdict(result, kind))]
        for kind in kinds
    ]
    show()
    show(("Compared, one by one", "bold"))
    heading = ["", "emitted", *(title for result in results for title in (f"in {result.name}", ""))]
    show_table(heading, cells, indent="  ")
    for result in results:
        if result.degraded:
            show(f"  {result.name}: {count(result.degraded)} kept in another form (degraded)")


def _verdict(result: _ReadBack, kind: str) -> list[Part]:
    row = next((row for row in result.rows if row.kind == kind), None)
    if row is None:
        return ["-", ("not possible", FAINT)]
    if row.equal:
        return [f"{row.found:,}", ("equal", GOOD)]
    return [f"{row.found:,}", (f"{len(row.missing):,} missing, {len(row.unexpected):,} unexpected", BAD)]


def _show_next(training: Training, results: Sequence[_ReadBack]) -> None:
    show()
    show(("Look at it", "bold"))
    for result in results:
        viewer = PLACES.get(result.name, Place(lambda _: {})).viewer(result.options)
        show(f"  {result.name:<8}  ", training.run.urls.get(result.name) or viewer or "")
    show("  files     ", str(training.folder))
    show()


def _problems(row: Row) -> list[str]:
    missing = [f"{row.kind}: missing {thing}" for thing in row.missing]
    return missing + [f"{row.kind}: unexpected {thing}" for thing in row.unexpected]


def _listed(names: Sequence[str]) -> str:
    """As in "a, b and c"."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _fail(problem: str, details: Sequence[str] = ()) -> NoReturn:
    _output.show_error(problem)
    for detail in details[:_SHOWN]:
        _output.show_error(f"  {detail}")
    if len(details) > _SHOWN:
        _output.show_error(f"  … and {len(details) - _SHOWN:,} more")
    raise typer.Exit(1)
