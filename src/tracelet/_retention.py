"""Which runs may be removed from this machine, and removing them."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import unquote

import msgspec

from tracelet._leftovers import HIDDEN, entries, modified, remove_hidden
from tracelet.errors import TraceletError
from tracelet.journal import Cursor, RunDirectory, RunRecord, holder
from tracelet.journal.reclaim import NOT_TAKEN
from tracelet.journal.room import size_on_disk
from tracelet.status import UNDELIVERED, read_status


class Rules(msgspec.Struct, frozen=True):
    """What may go.

    Attributes:
        older_than: seconds since the last sign of life.
        dead_letters: also runs of which a backend has refused something, or all have left something out that they can't
            take: it is nowhere else.
        undelivered: also runs that are not delivered, or are only here.
        keep_size: only the oldest, until all of the runs together take no more bytes than that.
    """

    older_than: float
    dead_letters: bool = False
    undelivered: bool = False
    keep_size: int | None = None


class Judged(msgspec.Struct, kw_only=True):
    """A run, and whether it may go.

    Attributes:
        age: seconds since its last sign of life.
        size: in bytes; 0 where it did not matter.
        kept: why it stays, in general; None if it may go.
        detail: in particular.
    """

    directory: RunDirectory
    record: RunRecord | None
    age: float
    size: int = 0
    kept: str | None = None
    detail: str = ""

    @property
    def id(self) -> str:
        return self.directory.id


class StillNeeded(TraceletError):
    """Raised when a run that was to be removed must be kept after all."""

    def __init__(self, run_id: str, why: str) -> None:
        super().__init__(f"the run {run_id} is kept: {why}")


def judge_all(runs: Path, rules: Rules, chosen: Collection[Path] | None = None) -> list[Judged]:
    """All runs in a folder, the oldest first, with what is to become of them.

    Args:
        chosen: only these may go; None stands for all.

    Raises:
        OSError: the folder can't be read; a run that can't be read is damaged.
    """
    now = time.time()
    judged = []
    for path in entries(runs):
        if not path.name.startswith("."):
            one = _judge(RunDirectory(path), rules, now, chosen is None or path in chosen)
            if one is not None:
                judged.append(one)
    judged.sort(key=lambda one: -one.age)
    _choose(judged, rules)
    return judged


def _judge(directory: RunDirectory, rules: Rules, now: float, chosen: bool) -> Judged | None:
    """A run with what speaks against its removal; None for what is no run."""
    one = Judged(directory=directory, record=None, age=_age(now, modified(directory.path)))
    try:
        one.record = directory.read_record()
        one.age = _age(now, _last_sign(directory))
        if one.age < rules.older_than:
            one.kept = "younger"
        else:
            reason = _need(directory, one.record, rules) or _delivery(directory, one.record)
            if reason is not None:
                one.kept, one.detail = reason
    except (FileNotFoundError, NotADirectoryError) as error:
        if one.record is None and not os.path.isdir(directory.path / "journal"):
            return None
        one.kept, one.detail = "damaged", "run.json is missing" if one.record is None else str(error)
    except (OSError, msgspec.MsgspecError) as error:
        one.kept, one.detail = "damaged", f"it can't be read: {error}"
    if not chosen:
        one.kept, one.detail = "not chosen", ""
    if rules.keep_size is not None:
        one.size = size_on_disk(directory.path)
    return one


def _age(now: float, sign: float) -> float:
    """How long ago the last sign was; 0 if that is not known."""
    return max(0.0, now - sign) if sign else 0.0


def _need(directory: RunDirectory, record: RunRecord, rules: Rules) -> tuple[str, str] | None:
    """What a run is still needed for. Raises OSError or msgspec.MsgspecError if that can't be read."""
    if directory.live:
        return "live", "a process logs to it"
    if rules.undelivered:
        return None
    if not record.backends:
        return "without a backend", "it is only here"
    left_out: list[int] = []  # by each backend
    for name, backend in read_status(directory).backends.items():
        left_out.append(sum(backend.dropped.get(reason, 0) for reason in NOT_TAKEN))
        if backend.pending:
            return "pending", f"{name}: {backend.pending:,} pending"
        if backend.outcome is None:
            return "pending", f"{name}: it does not know how the run ended"
        refused = backend.dead_lettered + backend.dropped.get(UNDELIVERED, 0)
        if refused and not rules.dead_letters:
            return "dead letters", f"{name}: {refused:,} did not arrive"
        place = _only_here(directory, backend.url)
        if place is not None:
            return "only here", f"{name}: its own files are only here, in {place}"
    if all(left_out) and not rules.dead_letters:
        return (
            "left out",
            f"{', '.join(record.backends)}: {min(left_out):,} or more events are of kinds that none takes",
        )
    return None


def _only_here(directory: RunDirectory, url: str | None) -> str | None:
    """Where in the run's directory the files lie that a backend has made of the run; None if there are none."""
    parts = Path(unquote(url.removeprefix("file:"))).parts if url is not None and url.startswith("file:") else ()
    if directory.id not in parts:
        return None
    # By the run's id, because the directory may have been copied, or be known under another path to a container.
    within = Path(*parts[len(parts) - parts[::-1].index(directory.id) :])
    place = directory.path / within
    if within.name and (os.path.isfile(place) or any(_files_below(place))):
        return str(within)
    return None


def _files_below(folder: Path) -> Iterator[str]:
    """The files, but not the links to what was there."""
    for place, _, names in os.walk(folder):
        yield from (name for name in names if not os.path.islink(os.path.join(place, name)))


def _delivery(directory: RunDirectory, record: RunRecord) -> tuple[str, str] | None:
    """Who delivers the run."""
    for name in record.backends:
        pid = holder(directory.cursor(name))
        if pid is not None:
            return "live", f"{name}: process {pid} delivers"
    return None


def _last_sign(directory: RunDirectory) -> float:
    """When somebody last wrote to the run."""
    places = [directory.path / "run.json", directory.path / "cursors", directory.path / "journal"]
    places += [*entries(places[1]), *(writer / "writer.json" for writer in entries(places[2]))]
    return max(map(modified, places))


def _choose(judged: Sequence[Judged], rules: Rules) -> None:
    """Of the runs that may go, keep those that others need, and those that need not go."""
    children: dict[str, list[Judged]] = {}
    for one in judged:
        if one.record is not None and one.record.parent is not None:
            children.setdefault(one.record.parent, []).append(one)
    free = [one for one in judged if one.kept is None]
    going: set[str] = set()
    total = sum(one.size for one in judged)
    found = True
    while found:
        found = False
        for one in free:
            if rules.keep_size is not None and total <= rules.keep_size:
                break
            if one.id not in going and all(child.id in going for child in children.get(one.id, ())):
                going.add(one.id)
                total -= one.size
                found = True
    for one in free:
        if one.id not in going:
            waiting = next((child for child in children.get(one.id, ()) if child.id not in going), None)
            one.kept = "enough room" if waiting is None else "children"
            one.detail = "" if waiting is None else f"its child {waiting.id} stays"
        elif rules.keep_size is None:
            one.size = size_on_disk(one.directory.path)


def remove(one: Judged, rules: Rules) -> int:
    """Remove a run; returns how many bytes that gave.

    Raises:
        StillNeeded: somebody needs it by now.
        FileNotFoundError: it is gone by now.
        OSError: it can't be removed, or not wholly; what is left is hidden, and goes the next time.
    """
    directory, record = one.directory, one.record
    assert record is not None
    with ExitStack() as held:
        for name in record.backends:
            cursor = Cursor.acquire(directory.cursor(name))
            if cursor is None:
                raise StillNeeded(one.id, f"another process delivers it to {name}")
            held.enter_context(cursor)
        if not held.enter_context(directory.claimed()):
            raise StillNeeded(one.id, "a process begins to log to it")
        need = _need(directory, directory.read_record(), rules)
        if need is not None:
            raise StillNeeded(one.id, need[1])
        hidden = directory.path.with_name(HIDDEN + one.id)
        directory.path.rename(hidden)
    return remove_hidden(hidden)
