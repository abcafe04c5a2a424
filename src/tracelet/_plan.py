"""The plan of a run: what it is to be, with all settings resolved."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint
from typing import Any

import msgspec

from tracelet import _ranks
from tracelet._discovery import Target, find, from_object, installed, presumably_public
from tracelet._notices import say
from tracelet._settings import HostName, Settings
from tracelet.errors import BrokenBackend, InvalidSetting, RunExists, RunNotFound
from tracelet.journal import RunDirectory, file_name, new_run_id

_LONGEST_ID = 255  # bytes; so long may the name of a file be


class Broken(msgspec.Struct):
    """A backend that was asked for and can't be loaded."""

    problem: str
    options: dict[str, Any]


class Plan(msgspec.Struct):
    """What a run is to be, with all settings resolved.

    Attributes:
        resumed: whether it is an earlier run that goes on.
        rank: this process's among those that log to the run; 0 begins it, has it delivered, and ends it.
        ranks: how many processes log to the run from its beginning on.
        parent: the id of the run that it is a part of.
    """

    name: str
    project: str
    directory: RunDirectory
    resumed: bool
    targets: list[Target]
    broken: dict[str, Broken]
    host: HostName
    settings: Settings
    rank: int = 0
    ranks: int = 1
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


def make_plan(settings: Settings, hosts: Sequence[HostName]) -> Plan | None:
    """The plan of a run; None if nothing is to be recorded here.

    Args:
        hosts: where delivery may run, the default first.

    Raises:
        InvalidSetting, InvalidOptions, UnknownBackend, RunExists, RunNotFound: a setting has a wrong value.
        BrokenBackend: with `strict`.
    """
    host = settings.host or hosts[0]
    if host not in hosts:
        raise InvalidSetting("host", host, f"one of {', '.join(sorted(hosts))} here")
    if settings.on_full == "block" and host == "loop":
        raise InvalidSetting("on_full", "block", "'drop' with host='loop', whose delivery would wait for itself")
    rank = _ranks.current()
    if settings.mode == "disabled" or (not settings.all_ranks and (rank > 0 or _ranks.is_worker())):
        return None
    directory, resumed = _place(settings)
    name, project = settings.exp_name or time.strftime("%Y%m%d-%H%M%S"), settings.project
    if resumed:
        name, project = _earlier(directory, settings.exp_name)
    if rank > 0:  # what delivers is begun by rank 0
        return Plan(name, project, directory, False, [], {}, host, settings, rank)
    targets, broken = _targets(settings.backend, host, settings.strict)
    undelivered = settings.mode != "online" or not (targets or broken)
    if settings.on_full == "block" and settings.quota is not None and undelivered:
        raise InvalidSetting("on_full", "block", "'drop' where nothing is delivered, which alone makes room in a quota")
    ranks = _ranks.count() if settings.all_ranks else 1
    return Plan(name, project, directory, resumed, targets, broken, host, settings, rank, ranks)


def _earlier(directory: RunDirectory, name: str | None) -> tuple[str, str]:
    """What a run that goes on is called, and its project, which it keeps."""
    try:
        record = directory.read_record()
    except msgspec.MsgspecError as error:
        expected = f"that of a run whose run.json can be read ({directory.path / 'run.json'}: {error})"
        raise InvalidSetting("run_id", directory.id, expected) from error
    return name or record.name, record.project


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


def _place(settings: Settings) -> tuple[RunDirectory, bool]:
    """The run's directory, and whether it is an earlier run's."""
    run_id, resume, runs = settings.run_id, settings.resume, settings.directory / "runs"
    if run_id is None and settings.all_ranks and _ranks.count() > 1:
        run_id, resume = _ranks.shared_run_id(), resume or "allow"
    if run_id is None:
        if resume == "must":
            raise InvalidSetting("resume", resume, "'allow' or 'never' where there is no run_id")
        return RunDirectory(runs / new_run_id()), False
    if set(run_id) & set("/\0") or run_id.startswith("."):
        raise InvalidSetting("run_id", run_id, "usable as the name of a directory")
    if len(run_id.encode("utf-8", "surrogatepass")) > _LONGEST_ID:
        raise InvalidSetting("run_id", run_id, f"of at most {_LONGEST_ID} bytes, as the name of a directory")
    place = RunDirectory(runs / run_id)
    exists = (place.path / "run.json").exists()
    if exists and resume == "never":
        raise RunExists(run_id, runs)
    if not exists and resume == "must":
        raise RunNotFound(run_id, runs)
    return place, exists
