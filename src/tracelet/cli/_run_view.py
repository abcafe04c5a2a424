"""How a run is shown in a terminal: what it is, what it says, and plots of its metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.text import Text

from tracelet.cli import _output
from tracelet.cli._delivery import Standing, advice
from tracelet.cli._ends import RUNNING, Ending
from tracelet.cli._output import (
    BAD,
    FAINT,
    Part,
    bytes_of,
    console,
    count,
    duration,
    moment,
    printable,
    show,
    show_fields,
    show_table,
)
from tracelet.cli._plot import curve, fits_log
from tracelet.cli._record import FILE_KINDS, MOST_SERIES, RunRecorded
from tracelet.cli._runs import Found
from tracelet.cli._series import Series
from tracelet.cli._values import context_text, label_of, shortened, value_of, value_text, whole
from tracelet.cli.runs import OUTCOME_STYLES, lasted

_SMALL, _SMALL_HEIGHT = 39, 6  # characters of a plot beside others
_LARGE, _LARGE_HEIGHT = 120, 16
_MOST_SMALL = 12
_NAMES = 4  # of files of one kind
_DATASETS = 500
_IN_HEAD = ("command", "git.commit", "git.branch", "git.dirty")
_OPTIONAL = ("first", "points", "max", "min")
_MACHINE = "system/"  # what is measured of the machine comes after what the training says


def show_run(
    found: Found, ending: Ending, standing: Standing | None, said: RunRecorded, *, plots: bool, machine: bool
) -> None:
    """Everything there is to say of a run; of the machine's metrics only how many there are, unless they are wanted."""
    _show_head(found, ending, said)
    _show_named("Parameters", said.params)
    for name, values in said.trials.items():
        _show_named(f"Trial {name}", values)
    _show_named("Tags", {name: value for name, value in said.tags.items() if name not in _IN_HEAD})
    if said.note is not None:
        _heading("Note")
        for line in shortened(said.note).splitlines():
            show(f"  {line}".rstrip())
    if said.series:
        _heading("Metrics")
        show_metrics(said, plots=plots, large=False, machine=machine)
    _show_rest(said)
    if standing is not None:
        _show_delivery(found, standing)


def show_metrics(said: RunRecorded, *, plots: bool, large: bool, machine: bool = True) -> None:
    """The metrics as a table, and plotted."""
    series = sorted(said.series.values(), key=lambda one: (one.name.startswith(_MACHINE), one.name, str(one.context)))
    folded = 0 if machine else sum(one.name.startswith(_MACHINE) for one in series)
    series = series[: len(series) - folded]
    if series:
        _show_table(series, large=large)
    if folded:
        show((f"  {count(folded, 'metric')} of the machine ({_MACHINE}…): shown with --system", FAINT))
    if said.beyond:
        note = f"{count(said.beyond, 'point')} of further metrics: only the first {MOST_SERIES:,} are told apart"
        show((f"  {note}", "yellow"))
    if plots:
        drawn = [one for one in series if one.curve()]
        if large:
            _plot_large(drawn)
        else:
            _plot_small(drawn)


def _show_table(series: Sequence[Series], *, large: bool) -> None:
    contexts = any(one.context for one in series)
    notes = any(map(_note, series))
    heading = ["name", *(["context"] if contexts else []), "points", "first", "last", "min", "max", "last step"]
    rows: list[list[Part]] = [
        [
            one.name,
            *([context_text(one.context)] if contexts else []),
            f"{one.points:,}",
            *(value_of(one.name, value) for value in (one.first, one.last, one.low, one.high)),
            whole(one.last_step),
            *([(_note(one), "yellow")] if notes else []),
        ]
        for one in series
    ]
    show_table([*heading, ""] if notes else heading, rows, indent="" if large else "  ", optional=_OPTIONAL)


# Of a run as a whole.


def _show_head(found: Found, ending: Ending, said: RunRecorded) -> None:
    record = found.record
    assert record is not None
    show((record.name, "bold"), "  ", (record.project, FAINT))
    took = duration(lasted(found, ending))
    fields: dict[str, Part] = {"id": record.id, "directory": str(found.directory.path)}
    if record.parent is not None:
        fields["part of"] = record.parent
    fields["began"] = moment(found.started)
    if ending.ended is not None:
        fields["ended"] = f"{moment(ending.ended)}, after {took}"
    running = ending.outcome == RUNNING
    fields["outcome"] = f"{RUNNING} for {took}" if running else ending.outcome, OUTCOME_STYLES[ending.outcome]
    fields |= _surroundings(said.tags)
    fields["events"] = f"{ending.events:,}"
    if ending.writers > 1:
        fields["processes"] = f"{ending.writers:,} have logged to it"
    if ending.lost:
        why = "for want of room, or of a file that was to be logged; the run's last lines said why"
        fields["not recorded"] = f"{count(ending.lost)}: {why}", BAD
    if said.damaged:
        fields["damaged"] = f"{count(said.damaged)} in the journal can't be read any more", BAD
    if said.removed:
        fields["given up"] = f"{count(said.removed)}, which all backends had, for their space on the disk"
    if said.unknown:
        fields["unreadable"] = f"{count(said.unknown)} of kinds that this version does not know", BAD
    show_fields(fields, _FIELD)


def _surroundings(tags: Mapping[str, str]) -> dict[str, Part]:
    """What was captured of the command and the code."""
    fields: dict[str, Part] = {}
    if "command" in tags:
        fields["command"] = tags["command"]
    if "git.commit" in tags:
        branch = f" of {tags['git.branch']}" if "git.branch" in tags else ""
        changed = ", with changes that are not committed" if tags.get("git.dirty") == "true" else ""
        fields["commit"] = f"{tags['git.commit'][:12]}{branch}{changed}"
    return fields


def _show_named(title: str, values: Mapping[str, Any]) -> None:
    if values:
        _heading(title)
        width = min(max(map(len, values)), 40)
        for name, value in values.items():
            show((f"  {name:<{width}}  ", FAINT), value_text(value))


def _show_rest(said: RunRecorded) -> None:
    fields: dict[str, Part] = {}
    for kind, files in said.files.items():
        names = ", ".join(name if number == 1 else f"{name} ({number:,})" for name, number in _first(files.names))
        more = f" and {len(files.names) - _NAMES:,} more names" if len(files.names) > _NAMES else ""
        fields[f"{_plural(FILE_KINDS[kind])}"] = f"{files.number:,}, {bytes_of(files.size)}: {names}{more}"
    if said.registered:
        fields["registered models"] = ", ".join(said.registered)
    if said.datasets:
        fields["datasets"] = ", ".join(
            f"{dataset.name}{f' ({dataset.role})' if dataset.role else ''}" for dataset in said.datasets[:_DATASETS]
        )
    if said.texts:
        total = sum(number for number, _ in said.texts.values())
        fields["texts"] = f"{total:,}: {', '.join(name for name, _ in _first(said.texts))}"
    if said.console:
        fields["console"] = count(said.console, "line")
    if fields:
        _heading("Also logged")
        show_fields(fields, max(map(len, fields)) + 2)


def _show_delivery(found: Found, standing: Standing) -> None:
    status = standing.status
    _heading("Backends")
    if not status.backends:
        show("  none: the events are in the journal; tracelet sync --backend NAME delivers them")
    width = max(map(len, status.backends), default=0)
    for name, account in status.backends.items():
        state, style = standing.state(name)
        parts: list[Part] = [f"  {name:<{width}}  ", (state, style), f"  {account.delivered:,} of {account.emitted:,}"]
        parts += [" delivered"]
        for number, word in ((account.pending, "pending"), (account.dead_lettered, "refused")):
            parts += [f", {number:,} {word}"] if number else []
        parts += [(f", {number:,} dropped ({reason})", BAD) for reason, number in account.dropped.items()]
        parts += [f", {account.degraded:,} degraded"] if account.degraded else []
        parts += [f"  {account.url}"] if account.url else []
        show(*parts)
        if account.pending and account.last_error:
            show((f"  {'':<{width}}  {account.last_error}", BAD))
    if what := advice(found, standing):
        show(f"  {what}")


# Plots.


def _plot_large(series: Sequence[Series]) -> None:
    for one in series:
        show()
        for line in _drawn(one, min(console.width, _LARGE), _LARGE_HEIGHT):
            console.print(line, soft_wrap=True)


def _plot_small(series: Sequence[Series]) -> None:
    shown = [one for one in series if one.points > 1][:_MOST_SMALL]
    abreast = max(min(console.width // _SMALL, len(shown)), 1)
    width = min(console.width // abreast, _LARGE // 2)
    for start in range(0, len(shown), abreast):
        show()
        blocks = [list(_drawn(one, width - 2, _SMALL_HEIGHT)) for one in shown[start : start + abreast]]
        for row in zip(*blocks, strict=True):
            line = Text()
            for cell in row:
                cell.truncate(width - 2, overflow="ellipsis")
                line.append("  ").append_text(cell).append(" " * (width - 2 - cell.cell_len))
            line.rstrip()
            console.print(line, soft_wrap=True)
    left = len(series) - len(shown)
    if left and len(shown) == _MOST_SMALL:
        show()
        show((f"  {count(left, 'further metric')} not plotted: --metric NAME plots some", FAINT))


def _drawn(series: Series, width: int, height: int) -> Iterator[Text]:
    """A title and a plot, always of as many lines."""
    points = series.curve()
    log = fits_log(points)
    title = printable(f"{series.name} {context_text(series.context)}".rstrip())
    yield Text.assemble((title, "bold"), ("  log" if log else "", FAINT))
    label = label_of(series.name)
    for line in curve(points, width, height, log=log, axis=True, ascii_only=console.options.ascii_only, label=label):
        body = Text(line)
        for sign in "┤│└":
            if sign in line:
                body.stylize(FAINT, 0, line.index(sign) + 1)
                body.stylize("cyan", line.index(sign) + 1)
                break
        yield body


def _note(series: Series) -> str:
    notes = [f"{series.nan:,} NaN"] if series.nan else []
    notes += [f"{series.infinite:,} infinite"] if series.infinite else []
    notes += [f"step went back {series.back:,} times" if series.back > 1 else "step went back"] if series.back else []
    return ", ".join(notes)


def _first(names: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return list(names.items())[:_NAMES]


def _plural(noun: str) -> str:
    return noun if noun in ("audio", "video") else f"{noun}es" if noun == "mesh" else f"{noun}s"


def _heading(title: str) -> None:
    _output.show()
    show((title, "bold"))


_FIELD = 14
