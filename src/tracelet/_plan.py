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
from tracelet._secrets import learn_environment
from tracelet._settings import HostName, Settings
from tracelet.errors import BrokenBackend, InvalidSetting, RunExists, RunNotFound
from tracelet.journal import RunDirectory, RunRecord, file_name, new_run_id

_DEFAULT_PROJECT = "default"
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
        speaker: the rank of the launch that the events tell in their context; 0 is not told.
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
    speaker: int = 0
    parent: str | None = None

    def child(self, name: str) -> Plan:
        """The plan of a run that is a part of this one. Raises TypeError for a backend object, which serves one run.

        It is this process's alone, whatever its rank: whoever begins it has it delivered, and ends it.
        """
        targets, broken = self.targets, self.broken
        if self.rank > 0:  # it has none for the run itself
            targets, broken = _targets(self.settings.backend, self.host, self.settings.strict)
        given = next((target.name for target in targets if target.options is None), None)
        if given is not None:
            raise TypeError(f"the backend object {given} serves one run; give backends by name for runs with children")
        directory = self.directory.beside(new_run_id())
        return msgspec.structs.replace(
            self,
            name=name,
            directory=directory,
            resumed=False,
            targets=targets,
            broken=broken,
            rank=0,
            ranks=1,
            parent=self.directory.id,
        )

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
    directory, resumed = _place(settings, rank)
    name, project = settings.exp_name or time.strftime("%Y%m%d-%H%M%S"), settings.project
    if resumed:
        earlier = _earlier(directory)
        if rank == 0:
            tell_unused(earlier, settings)
        name, project = earlier.name, earlier.project
    if rank > 0:  # what delivers is begun by rank 0
        return Plan(name, project, directory, False, [], {}, host, settings, rank, speaker=rank)
    learn_environment()  # what a plugin says of itself may repeat it
    targets, broken = _targets(settings.backend, host, settings.strict)
    undelivered = settings.mode != "online" or not (targets or broken)
    if settings.on_full == "block" and settings.quota is not None and undelivered:
        raise InvalidSetting("on_full", "block", "'drop' where nothing is delivered, which alone makes room in a quota")
    ranks = _ranks.count() if settings.all_ranks else 1
    return Plan(name, project, directory, resumed, targets, broken, host, settings, rank, ranks)


def _earlier(directory: RunDirectory) -> RunRecord:
    """What a run that goes on is, and stays. Raises InvalidSetting."""
    try:
        return directory.read_record()
    except msgspec.MsgspecError as error:
        expected = f"that of a run whose run.json can be read ({directory.path / 'run.json'}: {error})"
        raise InvalidSetting("run_id", directory.id, expected) from error


def tell_unused(earlier: RunRecord, settings: Settings) -> None:
    """Say that a run which goes on is not called what it was asked to be now."""
    if settings.exp_name not in (None, earlier.name):
        say(f"the run goes on as {earlier.name!r}: exp_name {settings.exp_name!r} is not used")
    if settings.project not in (_DEFAULT_PROJECT, earlier.project):
        say(f"the run stays in the project {earlier.project!r}: project {settings.project!r} is not used")


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


def _place(settings: Settings, rank: int) -> tuple[RunDirectory, bool]:
    """The run's directory, and whether it is an earlier run's."""
    run_id, resume, runs = settings.run_id, settings.resume, settings.directory / "runs"
    shared = run_id is None and settings.all_ranks and (rank > 0 or _ranks.count() > 1)
    if shared:
        run_id, resume = _ranks.shared_run_id(), resume or "allow"
    if run_id is None:
        if resume == "must":
            raise InvalidSetting("resume", resume, "'allow' or 'never' where there is no run_id")
        return RunDirectory(runs / new_run_id()), False
    _check_id(run_id)
    place = RunDirectory(runs / run_id)
    if shared:
        _check_launch(place, rank)
    exists = (place.path / "run.json").exists()
    if rank > 0:  # it may come before rank 0, or after it: rank 0 knows whether the run goes on
        return place, exists
    if exists and resume == "never":
        raise RunExists(run_id, runs)
    if not exists and resume == "must":
        raise RunNotFound(run_id, runs)
    return place, exists


def _check_id(run_id: str) -> None:
    """Raises InvalidSetting."""
    if not run_id.isprintable() or run_id != run_id.strip() or not run_id:
        raise InvalidSetting("run_id", run_id, "printable text, not empty, and without spaces at its ends")
    if run_id.startswith("-"):
        raise InvalidSetting("run_id", run_id, "something that does not begin as an option of a command does")
    if "/" in run_id or run_id.startswith("."):
        raise InvalidSetting("run_id", run_id, "usable as the name of a directory")
    if len(run_id.encode()) > _LONGEST_ID:
        raise InvalidSetting("run_id", run_id, f"of at most {_LONGEST_ID} bytes, as the name of a directory")


def _check_launch(place: RunDirectory, rank: int) -> None:
    """See to it that this launch may log to a run whose id its ranks have found by themselves.

    Raises:
        InvalidSetting: another launch has logged to it, which had the same marks.
    """
    try:
        records = list(filter(None, map(place.writer_record, place.writers())))
    except OSError:
        return  # and so nothing can be written there, which is told when the run begins
    before = [one for one in records if one.rank == rank or (one.rank == 0 and one.ranks != _ranks.count())]
    if not before:
        return
    last = max(before, key=lambda one: one.created)
    if not _ranks.started_again(last.process, last.created):
        expected = f"by themselves its ranks agree on run {place.id}, to which an earlier launch has logged"
        raise InvalidSetting("run_id", None, f"given for this launch, by a TRACELET_RUN_ID of its own: {expected}")
    if rank == 0:
        say(f"this launch was started again, and goes on with run {place.id}")
