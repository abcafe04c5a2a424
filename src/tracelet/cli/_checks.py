"""What `tracelet doctor` looks at on this machine: versions, the folder of runs, plugins, and what is at work."""

from __future__ import annotations

import fcntl
import mmap
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import msgspec

from tracelet._discovery import find, installed
from tracelet._settings import Settings
from tracelet.checks import Check, ok, problem, warning
from tracelet.cli._output import count
from tracelet.errors import TraceletError
from tracelet.journal import RunDirectory, holder
from tracelet.journal.room import in_words
from tracelet.status import BackendStatus, read_status

_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "beegfs", "gpfs", "ceph", "fuse.sshfs", "glusterfs", "9p"}
_SIZE = 1 << 20
_FIRST_SECOND = 1_600_000_000  # of the time in which this can have been written
_STUCK = ("retrying", "paused", "hung", "failed")
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def versions() -> Iterator[Check]:
    """Of Tracelet and Python."""
    yield ok(f"Tracelet {version('tracelet')}, Python {platform.python_version()} ({sys.executable})")
    yield ok(f"{platform.system()} {platform.release()}, {os.cpu_count()} processors")
    if time.time() < _FIRST_SECOND:
        text = f"this machine's clock says {time.strftime('%Y-%m-%d %H:%M', time.gmtime())}"
        yield problem(text, "set it: the times of all events come from it")


def place(settings: Settings) -> Iterator[Check]:
    """The folder of runs: whether a journal can be written there."""
    folder = settings.directory
    above = next(one for one in (folder, *folder.parents) if os.path.exists(one))
    advice = "set TRACELET_DIR or directory= to another folder"
    if not os.path.isdir(above):
        yield problem(f"{folder}: {above} is no folder", advice)
        return
    try:
        # In a folder that is there: looking must not make one.
        with tempfile.NamedTemporaryFile(dir=above, prefix=".tracelet-doctor-") as file:
            _try_out(file.fileno())
    except OSError as error:
        yield problem(f"{folder}: no journal can be written ({error.strerror or error})", advice)
        return
    made = "" if above == folder else " (it will be made)"
    yield ok(f"{folder}{made}: space can be reserved, mapped, locked and synced")
    kind = _file_system(above)
    if kind in _NETWORK:
        yield warning(
            f"it is on a network file system ({kind}), where mapped files and locks are slower, and fail in other ways",
            f"{advice} on a local disk, and deliver from there",
        )
    found = os.statvfs(above)
    free = found.f_bavail * found.f_frsize
    if free < settings.min_free:
        text = f"{_rounded(free)} are free, less than min_free, {in_words(settings.min_free)}: metrics are given up"
        yield problem(text, "free some space (tracelet gc lists runs that can go), or lower min_free")
    elif settings.quota is not None and free - settings.min_free < settings.quota:
        text = f"{_rounded(free)} are free, less than one run's quota, {in_words(settings.quota)}"
        yield warning(text, "free some space: tracelet gc lists runs that can go")
    else:
        yield ok(f"{_rounded(free)} are free")
    if found.f_files and not found.f_favail:
        yield problem("the file system takes no more files: it has no inodes left", "delete some files")


def _try_out(fd: int) -> None:
    """Do what the journal does. Raises OSError."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, _SIZE)
    else:
        os.ftruncate(fd, _SIZE)
    with mmap.mmap(fd, _SIZE) as view:
        view[:8] = b"tracelet"
        if os.pread(fd, 8, 0) != b"tracelet":
            raise OSError("what is written to a mapped file is not what is read from the file")
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.fsync(fd)


def _file_system(place: Path) -> str:
    """The kind of the file system; "" where nothing tells."""
    try:
        lines = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return ""
    best, kind = -1, ""
    real = os.path.realpath(place)
    for line in lines:
        _, mount, found, *_ = line.split(" ")
        path = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), mount)
        if os.path.commonpath([real, path]) == path and len(path) >= best:
            best, kind = len(path), found
    return kind


def plugins() -> Iterator[tuple[str, Check]]:
    """The installed backends, by name, with the versions of what they need."""
    for name, point in sorted(installed().items()):
        try:
            find(name)
        except TraceletError as error:
            yield name, problem(str(error), "mend its package, or remove it")
            continue
        yield name, ok(", ".join(_with_requirements(point.dist)) if point.dist else point.value)


def _with_requirements(distribution: Distribution) -> Iterator[str]:
    """A distribution and what it requires, with versions."""
    yield f"{distribution.name} {distribution.version}"
    for requirement in requires(distribution.name) or ():
        match = _NAME.match(requirement)
        if match is None or match[0] == "tracelet" or "extra ==" in requirement:
            continue
        try:
            yield f"{match[0]} {version(match[0])}"
        except PackageNotFoundError:
            continue  # for another platform or Python


def chosen(settings: Settings) -> list[tuple[str, dict[str, Any]]]:
    """The backends that the settings name, with their options."""
    return [(name, dict(options)) for name, options in settings.backend if isinstance(name, str)]


def at_work(runs: Sequence[Path]) -> Iterator[Check]:
    """What is delivered right now, and what is waiting for it."""
    waiting: dict[str, int] = {}
    damaged = missing = unclosed = 0
    nothing = True
    for path in runs:
        directory = RunDirectory(path)
        try:
            live, said = directory.live, bool(directory.writers())
            accounts = read_status(directory).backends
            holders = {name: holder(directory.cursor(name)) for name in accounts}
        except FileNotFoundError:
            missing += os.path.isdir(path / "journal")  # else it was removed just now
            continue
        except (OSError, msgspec.MsgspecError):
            damaged += 1
            continue
        told = [account.outcome is not None or bool(account.pending) for account in accounts.values()]
        unclosed += said and not live and (False, None) in zip(told, holders.values(), strict=True)
        for name, pid in holders.items():
            account = accounts[name]
            nothing &= not account.pending
            if pid is not None:
                yield _at_it(f"process {pid} delivers {directory.id} to {name}", account, live=live)
            elif account.pending:
                waiting[directory.id] = waiting.get(directory.id, 0) + account.pending
    if waiting:
        events = sum(waiting.values())
        verb, them = ("is", "it") if events == 1 else ("are", "them")
        text = f"{count(events)} of {count(len(waiting), 'run')} {verb} pending, and nobody delivers {them}"
        yield warning(text, "tracelet sync")
    if unclosed:
        verb = "is" if unclosed == 1 else "are"
        yield warning(f"{count(unclosed, 'run')} {verb} over, and a backend was not told", "tracelet sync")
    if damaged:
        yield problem(f"{count(damaged, 'run')} can't be read", "tracelet doctor --all")
    if missing:
        text = f"{count(missing, 'run')} without a run.json: rank 0 has not begun it, or it was deleted"
        yield warning(text, "its backends are not known, so nothing of it is delivered")
    if nothing and not damaged and not missing and not unclosed:
        yield ok(f"{count(len(runs), 'run')}, nothing waits to be delivered" if runs else "no runs yet")


def _at_it(text: str, account: BackendStatus, *, live: bool) -> Check:
    """A delivery that is under way."""
    text += "" if live else ", after the training's end"
    text += f": {account.pending:,} pending" if account.pending else ""
    if account.state in _STUCK:
        return warning(f"{text}, {account.state}: {account.last_error or 'no reason is known'}")
    return ok(text)


def _rounded(size: float) -> str:
    from tracelet.cli._output import bytes_of

    return bytes_of(size)
