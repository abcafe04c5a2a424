"""`tracelet config`: every setting, its value, and where that comes from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import msgspec
import typer

from tracelet import _settings
from tracelet._discovery import find, presumably_public, public_options, secret_options
from tracelet._setting_values import SURROUNDINGS
from tracelet._settings import Found
from tracelet.cli import _output
from tracelet.cli._output import FAINT, Part, show, show_table
from tracelet.errors import TraceletError

EXIT_CODES = """\b
Exit codes:
  0  the settings are as they should be
  1  a chosen backend can't be used
  2  a setting is wrong"""

_HIDDEN = "set, not shown"
_UNITS = ("bytes", "kB", "MB", "GB", "TB")
_BINARY_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


class _Chosen(msgspec.Struct, kw_only=True):
    """A chosen backend: its options as they will hold, or why it can't be used."""

    name: str
    options: dict[str, Any]
    problem: str | None = None


def config(as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False) -> None:
    """Show every setting, its value, and where that comes from.

    An argument of start_logging comes before a variable TRACELET_*, that before the nearest pyproject.toml with a table
    [tool.tracelet], and that before the default.
    """
    try:
        found = _settings.explain()
    except (TraceletError, TypeError) as error:
        raise typer.BadParameter(str(error)) from error
    chosen = [_chosen(str(name), options) for name, options in found[0].value]
    if as_json:
        settings = [
            {
                "name": one.setting.name,
                "value": _plain(one),
                "source": one.source,
                "variable": one.setting.variable,
                "help": one.setting.help,
            }
            for one in found
        ]
        typer.echo(msgspec.json.format(msgspec.json.encode({"settings": settings, "backends": chosen})).decode())
    else:
        _show(found, chosen)
    broken = [one for one in chosen if one.problem is not None]
    for one in broken:
        _output.show_error(f"{one.name}: {one.problem}")
    if broken:
        raise typer.Exit(1)


def _chosen(name: str, options: Mapping[str, Any]) -> _Chosen:
    try:
        target = find(name, options)
    except (TraceletError, TypeError) as error:
        return _Chosen(name=name, options=presumably_public(options), problem=str(error))
    return _Chosen(name=name, options=public_options(target) | dict.fromkeys(secret_options(target), _HIDDEN))


def _plain(found: Found) -> Any:
    """A value as JSON has it; backends' options stand beside."""
    if found.setting.name == "backend":
        return [str(name) for name, _ in found.value]
    if found.setting.name == "capture":
        return sorted(found.value)
    return msgspec.to_builtins(found.value, enc_hook=str)


def _show(found: list[Found], chosen: list[_Chosen]) -> None:
    rows: list[list[Part]] = [
        [one.setting.name, _words(one), (one.source, FAINT if one.source == "default" else "")] for one in found
    ]
    show_table(["setting", "value", "from"], rows)
    show()
    show(
        ("Each is an argument of start_logging, a variable (TRACELET_DIR for the directory, else TRACELET_ and", FAINT)
    )
    show(("the name), or a key of [tool.tracelet] in pyproject.toml.", FAINT))
    for one in chosen:
        show()
        show((one.name, "bold"))
        for key, value in _flat(one.options):
            show((f"  {key:<24}", FAINT), "-" if value is None else str(value))


def _words(found: Found) -> str:
    value = _plain(found)
    if found.setting.name in ("quota", "min_free"):
        return "-" if value is None else _size(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if found.setting.name == "capture" and len(value) == len(SURROUNDINGS):
        return "all"
    if isinstance(value, list):
        return ", ".join(value) or "-"
    return "-" if value is None else f"{value:g} s" if isinstance(value, float) else str(value)


def _size(value: int) -> str:
    base, units = (1024, _BINARY_UNITS) if value % 1024 == 0 and value % 1000 else (1000, _UNITS)
    power = min(int(math.log(max(value, 1), base)), len(units) - 1)
    return f"{value / base**power:.4g} {units[power]}"


def _flat(options: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in options.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
