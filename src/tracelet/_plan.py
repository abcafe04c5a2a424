"""The plan of a run: what it is to be, with all settings resolved."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping, Sequence
from importlib.metadata import EntryPoint
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from tracelet import _settings, _values
from tracelet._discovery import Target, find, from_object, installed, presumably_public
from tracelet._notices import say
from tracelet._settings import Backends
from tracelet.errors import BrokenBackend, InvalidSetting, RunExists, RunNotFound
from tracelet.journal import RunDirectory, file_name, new_run_id

HostName: TypeAlias = Literal["process", "thread", "loop"]
Resume: TypeAlias = Literal["allow", "must", "never"]

_RESUMES = ("allow", "must", "never")


class Broken(msgspec.Struct):
    """A backend that was asked for and can't be loaded."""

    problem: str
    options: dict[str, Any]


class Plan(msgspec.Struct):
    """What a run is to be, with all settings resolved.

    Attributes:
        parent: the id of the run that it is a part of.
    """

    name: str
    project: str
    directory: RunDirectory
    resumed: bool
    targets: list[Target]
    broken: dict[str, Broken]
    mode: _settings.Mode
    host: HostName
    strict: bool
    defer: bool
    parent: str | None = None

    def child(self, name: str) -> Plan:
        """The plan of a run that is a part of this one. Raises TypeError for a backend object, which serves one run."""
        given = next((target.name for target in self.targets if target.options is None), None)
        if given is not None:
            raise TypeError(f"the backend object {given} serves one run; give backends by name for runs with children")
        directory = self.directory.beside(new_run_id())
        return msgspec.structs.replace(self, name=name, directory=directory, resumed=False, parent=self.directory.id)

    @property
    def backends(self) -> tuple[str, ...]:
        return (*(target.name for target in self.targets), *self.broken)


def make_plan(
    backend: Backends,
    exp_name: str | None,
    project: str | None,
    run_id: str | None,
    resume: str | None,
    host: str,
    hosts: Collection[str],
    directory: str | PathLike[str] | None,
    strict: bool,
    defer: bool,
) -> Plan | None:
    """The resolved settings; None if nothing is to be recorded here."""
    mode = _settings.mode()
    if host not in hosts:
        raise InvalidSetting("host", host, f"one of {', '.join(sorted(hosts))} here")
    if mode == "disabled" or _settings.is_secondary():
        return None
    targets, broken = _targets(_settings.backends(backend), host, strict)
    name = time.strftime("%Y%m%d-%H%M%S") if exp_name is None else _values.string(exp_name, "exp_name")
    group = _settings.project(project)
    place, resumed = _place(_settings.directory(directory), run_id, resume)
    return Plan(name, group, place, resumed, targets, broken, mode, host, strict, defer)  # type: ignore[arg-type]


def _targets(
    wanted: Sequence[tuple[Any, Mapping[str, Any]]], host: str, strict: bool
) -> tuple[list[Target], dict[str, Broken]]:
    targets: list[Target] = []
    broken: dict[str, Broken] = {}
    points: dict[str, EntryPoint] | None = None
    for backend, options in wanted:
        if not isinstance(backend, str):
            if host == "process":
                raise TypeError("a backend object needs host='loop' or 'thread'; a delivery process needs its name")
            targets.append(from_object(backend))
            continue
        try:
            if points is None and ":" not in backend:
                points = installed()
            targets.append(find(backend, options, points))
        except BrokenBackend as error:
            if strict:
                raise
            say(f"{error}; the other backends go on, and `tracelet sync` delivers to it once it is mended")
            broken[backend] = Broken(str(error), presumably_public(options))
    names = [file_name(name) for name in (*(target.name for target in targets), *broken)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InvalidSetting("backend", twice, "a different one each time (the name stands for its place in the run)")
    return targets, broken


def _place(root: Path, run_id: str | None, resume: str | None) -> tuple[RunDirectory, bool]:
    """The run's directory, and whether it is an earlier run's."""
    if run_id is None:
        run_id = os.environ.get("TRACELET_RUN_ID") or None
        resume = resume or ("allow" if run_id else None)
    resume = resume or "never"
    if resume not in _RESUMES:
        raise InvalidSetting("resume", resume, f"one of {', '.join(_RESUMES)}")
    runs = root / "runs"
    if run_id is None:
        if resume == "must":
            raise InvalidSetting("resume", resume, "'allow' or 'never' where there is no run_id")
        return RunDirectory(runs / new_run_id()), False
    if not _values.string(run_id, "run_id") or set(run_id) & set("/\0") or run_id.startswith("."):
        raise InvalidSetting("run_id", run_id, "usable as the name of a directory")
    place = RunDirectory(runs / run_id)
    exists = (place.path / "run.json").exists()
    if exists and resume == "never":
        raise RunExists(run_id, runs)
    if not exists and resume == "must":
        raise RunNotFound(run_id, runs)
    return place, exists
