"""`tracelet backends`: which backends there are, and what each does with every kind of event."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint
from typing import Annotated, Any

import msgspec
import typer

from tracelet._discovery import find, installed
from tracelet.backend import Support
from tracelet.cli import _output
from tracelet.cli._complete import complete_backend
from tracelet.cli._output import BAD, FAINT, GOOD, Part, show, show_table
from tracelet.errors import TraceletError
from tracelet.events import (
    ArtifactLogged,
    AudioLogged,
    ConsoleLine,
    CurveLogged,
    DatasetUsed,
    EmbeddingLogged,
    Event,
    FigureLogged,
    GraphLogged,
    HistogramLogged,
    HParamsLogged,
    ImageLogged,
    LayoutSet,
    MeshLogged,
    MetricsLogged,
    ModelLogged,
    ModelRegistered,
    NoteSet,
    ParamsLogged,
    RunStarted,
    TableLogged,
    TagsSet,
    TensorLogged,
    TextLogged,
    VideoLogged,
)

EXIT_CODES = """\b
Exit codes:
  0  all of the backends can be used
  1  one of them is broken
  2  there is no such backend, or an option is wrong"""

KINDS: dict[str, type[Event]] = {
    "metrics": MetricsLogged,
    "parameters": ParamsLogged,
    "trials": HParamsLogged,
    "layouts": LayoutSet,
    "tags": TagsSet,
    "notes": NoteSet,
    "texts": TextLogged,
    "images": ImageLogged,
    "figures": FigureLogged,
    "histograms": HistogramLogged,
    "audio": AudioLogged,
    "video": VideoLogged,
    "tables": TableLogged,
    "curves": CurveLogged,
    "meshes": MeshLogged,
    "embeddings": EmbeddingLogged,
    "tensors": TensorLogged,
    "graphs": GraphLogged,
    "artifacts": ArtifactLogged,
    "models": ModelLogged,
    "registered models": ModelRegistered,
    "datasets": DatasetUsed,
    "console lines": ConsoleLine,
    "child runs": RunStarted,
}
"""What people call the kinds of events, in the order in which they are listed."""

LEGEND = {
    "native": "as the backend's own users know it",
    "mapped": "whole, in another form",
    "fallback": "something is lost, and each one is counted as degraded",
    "-": "not possible: counted as dropped (unsupported), or for child runs, a run like any other",
}

_STYLES = {"native": GOOD, "mapped": "", "fallback": "yellow", "-": FAINT}


class _Listed(msgspec.Struct, kw_only=True):
    """A backend as it is shown; `problem` tells why it can't be used."""

    name: str
    distribution: str
    problem: str | None = None
    options: list[str] = []
    idempotency: str | None = None
    handles: dict[str, Support] = {}


def backends(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Show this backend only.", autocompletion=complete_backend)
    ] = None,
    matrix: Annotated[bool, typer.Option("--matrix", help="Show what each does with every kind of event.")] = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Write the matrix in Markdown, with all places.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """List the installed backends: where they come from, their options, and what they take.

    With NAME, tell where that backend shows each kind of event; with --matrix, compare the backends.
    """
    points = installed()
    if name is not None and name not in points:
        raise typer.BadParameter(f"{name!r} is not installed; there are: {', '.join(sorted(points)) or 'none'}")
    found = [_read(point) for key, point in sorted(points.items()) if name in (None, key)]
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(found)).decode())
    elif markdown:
        typer.echo("\n".join(as_markdown({one.name: one.handles for one in found if one.problem is None})))
    elif matrix:
        _show_matrix([one for one in found if one.problem is None])
    elif name is not None:
        _show_one(found[0])
    else:
        _show_list(found)
    broken = [one for one in found if one.problem is not None]
    for one in broken:
        _output.show_error(f"{one.name}: {one.problem}")
    if broken:
        raise typer.Exit(1)


def supported(backend: Any) -> dict[str, Support]:
    """What a backend class declares, by what people call the kinds; what it only handles is "mapped" to no place."""
    handles = backend.handles
    plain = Support("mapped", "")
    return {
        label: handles[kind] if isinstance(handles, Mapping) else plain
        for label, kind in KINDS.items()
        if kind in handles
    }


def as_markdown(handles: Mapping[str, Mapping[str, Support]]) -> Iterator[str]:
    """A table of kinds and backends, as lines."""
    yield f"| | {' | '.join(handles)} |"
    yield f"|---|{'---|' * len(handles)}"
    for label in KINDS:
        cells = [_cell(own.get(label)) for own in handles.values()]
        yield f"| {label} | {' | '.join(cells)} |"


def _cell(support: Support | None) -> str:
    if support is None:
        return "-"
    level = f"**{support.level}**" if support.level == "native" else support.level
    return f"{level}: {support.place}".replace("|", "\\|") if support.place else level


def _read(point: EntryPoint) -> _Listed:
    distribution = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
    try:
        backend = find(point.name).backend
    except TraceletError as error:
        return _Listed(name=point.name, distribution=distribution, problem=str(error))
    return _Listed(
        name=point.name,
        distribution=distribution,
        options=list(backend.Options.__struct_encode_fields__),
        idempotency=backend.idempotency.value,
        handles=supported(backend),
    )


def _show_list(found: list[_Listed]) -> None:
    if not found:
        show("No backend is installed. In a checkout of Tracelet: python -m pip install . ./plugins/tracelet-mlflow")
        return
    rows: list[list[Part]] = [
        [
            one.name,
            one.distribution,
            ("broken", BAD) if one.problem else ("ok", GOOD),
            "-" if one.problem else f"{len(one.handles)} of {len(KINDS)}",
            one.idempotency or "-",
        ]
        for one in found
    ]
    show_table(["backend", "from", "state", "kinds", "delivered again"], rows)


def _show_one(one: _Listed) -> None:
    show((one.name, "bold"), f"  {one.distribution}")
    if one.problem is not None:
        return
    show("options: ", ", ".join([*one.options, "delivery"]))
    show("delivered again, after a crash: ", one.idempotency or "")
    show()
    show_table(["kind", "", "where"], [[label, *_parts(one.handles.get(label))] for label in KINDS])


def _parts(support: Support | None) -> list[Part]:
    level = "-" if support is None else support.level
    return [(level, _STYLES[level]), "" if support is None else support.place]


def _show_matrix(found: list[_Listed]) -> None:
    rows: list[list[Part]] = [[label, *(_parts(one.handles.get(label))[0] for one in found)] for label in KINDS]
    show_table(["kind", *(one.name for one in found)], rows)
    show()
    for level, meaning in LEGEND.items():
        show((f"{level:<10}", _STYLES[level]), meaning)
    show()
    show("Where each shows what: tracelet backends NAME")
