"""Which event files there are below a directory, and which of them make one run."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, TypeAlias

from msgspec import Struct

Layout: TypeAlias = Literal["one", "each"]

_PARTS = frozenset(("train", "training", "val", "valid", "validate", "validation", "dev", "test", "testing", "eval"))
_PARTS |= {"evaluate", "evaluation", "predict"}
_GZIP = b"\x1f\x8b\x08"  # as the length of a record, half a megabyte, with which no event file begins


class Problem(Struct, frozen=True):
    """A file or folder that can't be read, and why."""

    path: Path
    reason: str


class Group(Struct):
    """The event files of one run.

    Attributes:
        root: the run's own log directory, absolute and without links.
        name: of the run.
        files: paths relative to `root`, in the order in which they are read.
        size: of the files, in bytes.
    """

    root: Path
    name: str
    files: list[str]
    size: int

    def directories(self) -> list[str]:
        """The log directories with event files, relative to `root`, parents first."""
        return sorted({os.path.dirname(file) for file in self.files})


class Finding(Struct):
    """What there is.

    Attributes:
        empty: files that have nothing in them, yet.
        layout: what makes a run: all of it, or each directory.
    """

    groups: list[Group]
    problems: list[Problem]
    empty: list[Path]
    layout: Layout


def find(logdir: Path, layout: Layout | None = None) -> Finding:
    """The runs below a log directory.

    If it has event files of its own, it is one run, and the directories below are parts of that. Else each directory in
    it is a run, unless all of these have names of parts of one (train, val, test, …).

    Args:
        layout: "one": all of it is one run. "each": each directory in it is a run, and its own files are another.
    """
    root = Path(os.path.realpath(logdir))
    finding = Finding([], [], [], layout or "one")
    files = sorted(_event_files(root, finding), key=lambda file: (file.name, file))
    if layout is None:
        tops = {_top(file, root) for file in files}
        finding.layout = "one" if "" in tops or all(top.lower() in _PARTS for top in tops) else "each"
    roots: dict[Path, list[Path]] = {}
    for file in files:
        roots.setdefault(root if finding.layout == "one" else root / _top(file, root), []).append(file)
    for place, members in sorted(roots.items()):
        names = [os.path.relpath(file, place) for file in members]
        size = sum(map(_size, members))
        if size:  # empty files are not left out: the first one is part of the run's identity
            finding.groups.append(Group(place.resolve(), place.name or "tensorboard", names, size))
    return finding


def _top(file: Path, root: Path) -> str:
    """The directory in `root` that a file is below; "" for a file in `root` itself."""
    return file.relative_to(root).parts[0] if file.parent != root else ""


def _event_files(root: Path, finding: Finding) -> Iterable[Path]:
    """The event files that can be read; links are followed, but to no directory twice.

    What links lead to comes last, so that a directory has its own name, and a link to it beside it, as of the latest
    version, is left.
    """

    def note(error: OSError) -> None:
        finding.problems.append(Problem(Path(error.filename or root), error.strerror or str(error)))

    seen: set[tuple[int, int]] = set()
    tops = [root]
    for top in tops:  # grows
        for folder, folders, files in os.walk(top, onerror=note):
            place = Path(folder)
            found = place.stat()
            if (found.st_dev, found.st_ino) in seen:
                folders.clear()
                continue
            seen.add((found.st_dev, found.st_ino))
            folders.sort()
            tops += [place / name for name in folders if (place / name).is_symlink()]
            for name in sorted(files):
                if "tfevents" in name and _usable(place / name, finding):
                    yield place / name


def _usable(file: Path, finding: Finding) -> bool:
    try:
        if not file.is_file():
            return False
        str(file).encode()
        with file.open("rb") as opened:
            start = opened.read(len(_GZIP))
    except OSError as error:
        finding.problems.append(Problem(file, error.strerror or str(error)))
        return False
    except UnicodeEncodeError:
        finding.problems.append(Problem(file, "its path is no UTF-8"))
        return False
    if start == _GZIP:
        finding.problems.append(Problem(file, "it is compressed: unpack it with gunzip first"))
        return False
    if not start:
        finding.empty.append(file)
    return True


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
