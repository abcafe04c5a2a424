"""`tracelet status`: how the delivery of runs is going."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from tracelet.cli import _output, _runs
from tracelet.cli._output import BAD, FAINT, GOOD, Part, show, show_table
from tracelet.journal import RunDirectory, holder
from tracelet.status import BackendStatus, RunStatus, read_status

EXIT_CODES = """\b
Exit codes:
  0  nothing is pending
  1  something is pending, or a run's record is damaged
  2  there is no such run, or an option is wrong"""


class _Listed(msgspec.Struct, kw_only=True):
    """A run as it is shown; `problem` tells why there is no more to say of it, `foreign` that it is something else."""

    id: str
    directory: str
    started: float
    status: RunStatus | None = None
    delivered_by: dict[str, int | None] = {}
    problem: str | None = None
    foreign: bool = False

    @property
    def fine(self) -> bool:
        return self.foreign or (self.status is not None and not self.status.pending)

    def as_json(self) -> dict[str, Any]:
        """One flat record; what is not known is left out."""
        known: dict[str, Any] = {"id": self.id, "directory": self.directory, "started": self.started}
        if self.status is None:
            return known | {"problem": self.problem}
        account: dict[str, Any] = msgspec.to_builtins(self.status)
        for name, backend in account["backends"].items():
            backend["delivered_by"] = self.delivered_by[name]
        return known | account


def status(
    run: Annotated[
        str | None,
        typer.Argument(metavar="RUN", help="A run's id, the beginning of it, or the run's directory."),
    ] = None,
    directory: _runs.Directory = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="How many runs to list.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Show how the delivery of runs is going.

    Without RUN, list the runs, the newest first; with it, give the full account of each of its backends:
    emitted = delivered + dropped + dead-lettered + pending.
    """
    runs = _runs.root(directory)
    if run is not None:
        listed = [_read(_runs.find_run(run, runs))]
        left_out = 0
    else:
        newest = sorted(_runs.all_runs(runs), key=_started, reverse=True)
        listed = [_read(path) for path in newest[:limit]]
        left_out = len(newest) - len(listed)
    if as_json:
        found = [one.as_json() for one in listed]
        typer.echo(msgspec.json.format(msgspec.json.encode(found if run is None else found[0])).decode())
    elif run is not None:
        _show_account(listed[0])
    else:
        _show_list(listed, runs, left_out)
    if not all(one.fine for one in listed):
        raise typer.Exit(1)


def _read(path: Path) -> _Listed:
    directory = RunDirectory(path)
    listed = _Listed(id=directory.id, directory=str(path), started=_started(path))
    try:
        listed.status = read_status(directory)
        listed.delivered_by = {name: holder(directory.cursor(name)) for name in listed.status.backends}
    except (FileNotFoundError, NotADirectoryError):
        listed.foreign = not (path / "journal").is_dir()
        listed.problem = "not a run" if listed.foreign else "run.json is missing"
    except msgspec.MsgspecError as error:
        listed.problem = f"run.json is damaged: {error}"
    except OSError as error:
        listed.problem = f"it can't be read: {error}"
    return listed


def _started(path: Path) -> float:
    try:
        return RunDirectory(path).read_record().created
    except (OSError, msgspec.MsgspecError):
        return os.lstat(path).st_mtime


def _state(listed: _Listed, name: str, backend: BackendStatus) -> tuple[str, str]:
    """How it stands, in a word; what was under way when its process ended is under way no more."""
    if backend.outcome is not None and not backend.pending:
        return "closed", GOOD
    if backend.state in ("paused", "hung", "failed"):
        return backend.state, BAD
    if listed.delivered_by[name] is None:
        return "waiting", "yellow" if backend.pending else ""
    return backend.state, "yellow" if backend.state == "retrying" else ""


# The list of runs.


def _show_list(listed: list[_Listed], runs: Path, left_out: int) -> None:
    if not listed:
        show(f"no runs in {runs}")
    elif _output.console.is_terminal:
        for one in listed:
            _show_listed(one)
    else:
        heading = ["started", "id", "name", "project", "backend", "delivered", "pending", "state", "outcome"]
        show_table(heading, [row for one in listed for row in _rows(one)])
    if left_out:
        show((f"{_output.count(left_out, 'older run')} not shown: --limit {len(listed) + left_out}", FAINT))


def _show_listed(one: _Listed) -> None:
    """A run over two lines or more, since its id takes half the width of a terminal."""
    if one.status is None:
        show((one.id, "bold"), f"  {_output.moment(one.started)}  ", (str(one.problem), BAD))
        return
    show((one.id, "bold"), f"  {_output.moment(one.started)}  {one.status.name} ", (f"({one.status.project})", FAINT))
    width = max(map(len, one.status.backends), default=0)
    for name, backend in one.status.backends.items():
        text, style = _state(one, name, backend)
        outcome = f" ({backend.outcome})" if backend.outcome else ""
        show(
            f"  {name.ljust(width)}  {backend.delivered:>11,} delivered  ",
            (f"{backend.pending:>9,} pending  ", "" if backend.pending else FAINT),
            (f"{text}{outcome}", style),
        )
    if not one.status.backends:
        show((f"  no backend: {_output.count(one.status.emitted)} in the journal", FAINT))


def _rows(one: _Listed) -> Iterator[list[Part]]:
    started = _output.moment(one.started)
    if one.status is None:
        yield [started, one.id, "-", "-", "-", "-", "-", "-", str(one.problem)]
        return
    run: list[Part] = [started, one.id, one.status.name, one.status.project]
    for name, backend in one.status.backends.items():
        state = _state(one, name, backend)
        yield [*run, name, f"{backend.delivered:,}", f"{backend.pending:,}", state, backend.outcome or "-"]
    if not one.status.backends:
        yield [*run, "-", "-", "-", "-", "-"]


# The account of one run.


def _show_account(one: _Listed) -> None:
    show((one.id, "bold"))
    _show_fields({"directory": one.directory, "started": _output.moment(one.started)})
    if one.status is None:
        _show_fields({"problem": (str(one.problem), BAD)})
        return
    _show_fields({"name": one.status.name, "project": one.status.project, "emitted": f"{one.status.emitted:,}"})
    if one.status.lost:
        _show_fields({"lost": (f"{one.status.lost:,}", BAD)})
    for name, backend in one.status.backends.items():
        show()
        show((name, "bold"))
        _show_fields(_account(one, name, backend))
    if any(one.status.pending.values()):
        show()
        show(f"Deliver what is pending with: tracelet sync {one.directory}")


def _account(one: _Listed, name: str, backend: BackendStatus) -> dict[str, Part]:
    text, style = _state(one, name, backend)
    process = one.delivered_by[name]
    dropped: dict[str, Part] = {
        f"dropped ({reason})": (f"{number:,}", BAD) for reason, number in backend.dropped.items()
    }
    return {
        "emitted": f"{backend.emitted:,}",
        "delivered": f"{backend.delivered:,}",
        **(dropped or {"dropped": "0"}),
        "dead-lettered": (f"{backend.dead_lettered:,}", BAD if backend.dead_lettered else ""),
        "pending": (f"{backend.pending:,}", "yellow" if backend.pending else ""),
        "degraded": f"{backend.degraded:,}",
        "retries": f"{backend.retries:,}",
        "state": (text if process is None else f"{text}, delivered by process {process}", style),
        "outcome": backend.outcome or "-",
        "last error": backend.last_error or "-",
        "url": backend.url or "-",
    }


def _show_fields(fields: Mapping[str, Part]) -> None:
    for name, value in fields.items():
        show((f"  {name:<24}", FAINT), value)
