"""Settings: each from an argument, else from a variable TRACELET_*, else from pyproject.toml, else a default."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypedDict

import msgspec

from tracelet._setting_values import (
    LAYERED,
    backends,
    choice,
    flag,
    path,
    quota_of,
    seconds,
    size_of,
    switches,
    text,
)
from tracelet.backend import Backend
from tracelet.errors import InvalidSetting, UnknownSetting

Backends: TypeAlias = str | Backend | Sequence[str | Backend] | Mapping[str, Mapping[str, Any]] | None
Capture: TypeAlias = bool | Sequence[str] | Mapping[str, bool]
Mode: TypeAlias = Literal["online", "offline", "disabled"]
HostName: TypeAlias = Literal["process", "thread", "loop"]
Resume: TypeAlias = Literal["allow", "must", "never"]
OnFull: TypeAlias = Literal["drop", "block"]

TABLE = "tool.tracelet"

_PREFIX = "TRACELET_"
_TABLE_NAMED = rb"""tool["'\s]*\.["'\s]*tracelet|(?:^|[{,])["'\s]*tracelet["'\s]*[.=]"""  # in one of TOML's ways


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for a run, or for a command; see docs/settings.md.

    Attributes:
        backend: each backend with its options.
        host: None for the default, which depends on who asks.
        resume: None where there is no `run_id`, and nothing was said.
        close_timeout: in seconds.
        quota: in bytes; None is no limit.
        min_free: in bytes.
        capture: which of SURROUNDINGS.
        capture_interval: in seconds.
    """

    backend: list[tuple[str | Backend, Mapping[str, Any]]]
    exp_name: str | None
    project: str
    directory: Path
    mode: Mode
    host: HostName | None
    strict: bool
    defer: bool
    run_id: str | None
    resume: Resume | None
    all_ranks: bool
    close_timeout: float
    quota: int | None
    min_free: int
    on_full: OnFull
    capture: frozenset[str]
    capture_interval: float


class RunSettings(TypedDict, total=False):
    """The settings of a run that `start_logging` and `open_run` take beside the first ones, by keyword.

    None stands for one that is not given: then a variable TRACELET_* holds, else pyproject.toml, else the default.

    Attributes:
        run_id: the run's id, for going on with a run; given by the variable, `resume` is "allow" by default.
        resume: what to do about `run_id`: "never" (default) wants a new run, "must" an earlier one, "allow" takes both.
        mode: "online" (default); "offline" only journals, for a later `tracelet sync`; "disabled" does nothing at all.
        host: where delivery runs: "process" (the default of `start_logging`), "thread", and in `open_run` "loop" (its
            default).
        directory: where runs are kept; by default .tracelet in the working directory (variable TRACELET_DIR).
        strict: raise where else a warning is given and training goes on: no journal, a backend that can't be loaded.
        defer: whether `log_metric` and `log_metrics` read a tensor on a device later, instead of waiting for it.
        all_ranks: whether the processes of rank 1 and up log to the run, too, each with `{"rank": n}` in the context.
        close_timeout: how long `flush` and `finish` wait for the backends, in seconds; 10 by default.
        quota: how many bytes the run may keep on disk: a number, or text such as "10GB", 500 kB or more; no limit by
            default.
        min_free: how many bytes of the file system are left to others; 64 MiB by default.
        on_full: what becomes of metrics when there is no room: "drop" (default) counts them, "block" waits.
        capture: what is captured of the run's surroundings ("git", "environment", "command", "console", "system"):
            True (default), False, the names of some, or a mapping of names to True and False.
        capture_interval: how often system metrics are measured, in seconds; 10 by default.
    """

    run_id: str | None
    resume: Resume | None
    mode: Mode | None
    host: HostName | None
    directory: str | os.PathLike[str] | None
    strict: bool | None
    defer: bool | None
    all_ranks: bool | None
    close_timeout: float | None
    quota: int | str | None
    min_free: int | str | None
    on_full: OnFull | None
    capture: Capture | None
    capture_interval: float | None


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """How one setting is given.

    Attributes:
        read: from a value of whatever source, and what to call it, to the value that holds. Raises TypeError or
            InvalidSetting.
        default: as it could be given; None stands for no value.
        help: what it decides, in a line.
        shared: whether it may stand in pyproject.toml; what is of one run may not.
    """

    name: str
    variable: str
    read: Callable[[Any, str], Any]
    default: Any
    help: str
    shared: bool = True


class Found(msgspec.Struct, frozen=True):
    """A setting, its value, and where that comes from."""

    setting: Setting
    value: Any
    source: str


def resolve(**given: Any) -> Settings:
    """The settings, where `given` are arguments; None stands for one that was not given.

    Raises:
        TypeError: an argument has the wrong type.
        InvalidSetting: a value is outside of its choices, or pyproject.toml can't be read.
        UnknownSetting: a variable TRACELET_*, or a key of pyproject.toml, is no setting.
    """
    found = explain(**given)
    values = {one.setting.name: one.value for one in found}
    if values["run_id"] is not None and values["resume"] is None:
        source = next(one.source for one in found if one.setting.name == "run_id")
        values["resume"] = "never" if source == "argument" else "allow"
    return Settings(**values)


def explain(**given: Any) -> list[Found]:
    """As `resolve`, with where each value comes from."""
    known = [setting.name for setting in SETTINGS]
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            raise TypeError(f"there is no setting {name!r}.{f' Did you mean {near[0]!r}?' if near else ''}")
    file, table = _project_table()
    _refuse_unknown(file, table)
    return [_find(setting, given.get(setting.name), file, table) for setting in SETTINGS]


def options_of(backend: str) -> Mapping[str, Any]:
    """The options that pyproject.toml has for a backend. Raises as `resolve` does."""
    return resolve(backend=[backend]).backend[0][1]


def _find(setting: Setting, given: Any, file: Path | None, table: Mapping[str, Any]) -> Found:
    sources: list[tuple[Any, str, str]] = []  # value, what it is called in an error, what it is called in a list
    if given is not None:
        sources.append((given, setting.name, "argument"))
    if os.environ.get(setting.variable):
        sources.append((os.environ[setting.variable], setting.variable, setting.variable))
    if setting.name in table:
        value = table[setting.name]
        if setting.name == "directory" and isinstance(value, str) and file is not None:
            value = file.parent / value
        sources.append((value, f"{setting.name} in [{TABLE}] of {file}", str(file)))
    sources.append((setting.default, setting.name, "default"))
    if setting.read in LAYERED:
        value = LAYERED[setting.read]([setting.read(value, label) for value, label, _ in sources])
    else:
        value, label, _ = sources[0]
        value = None if value is None else setting.read(value, label)
    return Found(setting, value, sources[0][2])


# Where settings are written.


def _project_table() -> tuple[Path | None, Mapping[str, Any]]:
    """The table of the nearest pyproject.toml, upward from the working directory, that has one, and that file."""
    try:
        place = Path.cwd()
    except OSError:  # it was deleted
        return None, {}
    for folder in (place, *place.parents):
        path = folder / "pyproject.toml"
        try:
            content = path.read_bytes()
        except OSError:
            continue
        if re.search(_TABLE_NAMED, content, re.MULTILINE):  # most files have none, and needn't be parsed
            table = _parse(path, content)
            if table is not None:
                return path, table
    return None, {}


def _parse(path: Path, content: bytes) -> Mapping[str, Any] | None:
    import tomllib

    try:
        table = tomllib.loads(content.decode()).get("tool", {}).get("tracelet")
    except (ValueError, AttributeError) as error:
        raise InvalidSetting(str(path), str(error), "valid TOML with a table [tool.tracelet]") from error
    if table is not None and not isinstance(table, Mapping):
        raise InvalidSetting(f"{TABLE} in {path}", type(table).__name__, "a table")
    return table


def _refuse_unknown(file: Path | None, table: Mapping[str, Any]) -> None:
    variables = {setting.variable for setting in SETTINGS}
    for variable in os.environ:
        if variable.startswith(_PREFIX) and variable not in variables:
            raise UnknownSetting(variable, "a variable of the environment", sorted(variables))
    shared = [setting.name for setting in SETTINGS if setting.shared]
    for key in table:
        of_one_run = next((one.variable for one in SETTINGS if one.name == key and not one.shared), None)
        if of_one_run is not None:
            expected = f"an argument, or the variable {of_one_run}, since it holds for one run only"
            raise InvalidSetting(f"{key!r}, a key in [{TABLE}] of {file},", table[key], expected)
        if key not in shared:
            raise UnknownSetting(key, f"a key in [{TABLE}] of {file}", shared)


def _setting(
    name: str, read: Callable[[Any, str], Any], default: Any, says: str, *, variable: str = "", shared: bool = True
) -> Setting:
    label = _PREFIX + (variable or name.upper())
    return Setting(name=name, variable=label, read=read, default=default, help=says, shared=shared)


SETTINGS = (
    _setting("backend", backends, [], "Where to deliver; none keeps events in the journal only."),
    _setting("exp_name", text, None, "The run's name; a time if there is none.", shared=False),
    _setting("project", text, "default", "The group of runs."),
    _setting("directory", path, ".tracelet", "Where runs are kept.", variable="DIR"),
    _setting("mode", choice("online", "offline", "disabled"), "online", "Deliver, only journal, or do nothing."),
    _setting("host", choice("process", "thread", "loop"), None, "Where delivery runs."),
    _setting("strict", flag, False, "Raise where else a warning is given and training goes on."),
    _setting("defer", flag, False, "Read values on a device later, instead of waiting for it."),
    _setting("run_id", text, None, "The run to go on with.", shared=False),
    _setting("resume", choice("allow", "must", "never"), None, "What to do about run_id.", shared=False),
    _setting("all_ranks", flag, False, "Whether ranks other than 0 log, too."),
    _setting("close_timeout", seconds(0.0), 10.0, "How long flush and finish wait, in seconds."),
    _setting("quota", quota_of, None, "How many bytes a run may keep on disk."),
    _setting("min_free", size_of, 64 << 20, "How many bytes of the disk are left to others."),
    _setting("on_full", choice("drop", "block"), "drop", "What happens to metrics when there is no room."),
    _setting("capture", switches, True, "What is captured of the run's surroundings."),
    _setting("capture_interval", seconds(0.1), 10.0, "How often system metrics are measured, in seconds."),
)
"""All of them, in the order in which they are listed."""
