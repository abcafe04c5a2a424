"""Which code this is: what git knows of the repository that the script is in."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path

from msgspec import Struct

from tracelet._redaction import without_logins
from tracelet.capture._commands import Output, output
from tracelet.capture._patches import Patch, fitting, patch, sections, text

PATIENCE = 10.0
"""Seconds that git has in all."""

PATCH_SIZE = 1 << 20
"""A larger diff is cut, between two files."""

_MOST_OF_STATUS = 4 << 20
_MOST_LEFT_OUT = 200  # files that git is asked to leave out; where more don't fit, many do
_SETTINGS = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_PAGER": "cat",
    "LC_ALL": "C",
}
# Set by git for its hooks and aliases, and with them it would look at another repository than the script's.
_MISLEADING = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_LITERAL_PATHSPECS")
# A monitor could be a program of the user's, a diff would write to the index what it found unchanged, and of a text it
# takes some times its size of memory: what is larger than this threshold counts as binary.
_OPTIONS = tuple(
    "--no-pager -c core.fsmonitor=false -c diff.autoRefreshIndex=false -c core.bigFileThreshold=64m".split()  # noqa: SIM905
)


class GitFailed(Exception):
    """Raised when git can't say what it is asked, and the user may want to know why."""


class Head(Struct, frozen=True):
    """Where the repository stands.

    Attributes:
        root: the folder of the work tree.
        commit: its hash; "" if there is none yet.
        branch: "" if the commit was checked out by itself (detached).
        remote: the URL of the branch's remote, else of "origin", without credentials; "" if there is none.
    """

    root: str
    commit: str
    branch: str
    remote: str


class Changes(Struct, frozen=True):
    """What is not committed: names, relative to the root."""

    changed: tuple[str, ...]
    untracked: tuple[str, ...]


class Git:
    """The repository of a folder, asked within one deadline.

    Args:
        cancelled: asked again and again; git is ended once it says so.
    """

    def __init__(self, cancelled: Callable[[], bool]) -> None:
        self._cancelled = cancelled
        kept = {name: value for name, value in os.environ.items() if name not in _MISLEADING}
        self._output = partial(
            output, environment=kept | _SETTINGS, deadline=time.monotonic() + PATIENCE, cancelled=cancelled
        )

    def head(self, folders: list[Path]) -> Head | None:
        """Where the repository stands that the first of these folders is in that is in one; None if none is.

        Raises:
            GitFailed: git refuses, or takes longer than it is waited for.
        """
        for folder in folders:
            try:
                said = self._ask(folder, "rev-parse", "--show-toplevel", "HEAD", "--abbrev-ref", "HEAD")
            except FileNotFoundError:
                return None  # there is no git here, or no such folder any more
            if said.code != 0 and "not a git repository" in said.errors:
                continue
            lines = text(said.out).splitlines()
            if not lines or (said.code != 0 and "dubious ownership" in said.errors):
                if "must be run in a work tree" in said.errors:
                    continue
                raise GitFailed(_why(said))
            root = os.fsdecode(said.out.partition(b"\n")[0])
            if said.code == 0 and len(lines) >= 3:
                commit, branch = lines[1], lines[2]
            else:  # no commit yet
                commit, branch = "", self._line(root, "symbolic-ref", "--short", "HEAD")
            branch = "" if branch == "HEAD" else branch
            name = (branch and self._line(root, "config", "--get", f"branch.{branch}.remote")) or "origin"
            return Head(root, commit, branch, remote_url(self._line(root, "config", "--get", f"remote.{name}.url")))
        return None

    def changes(self, root: str) -> Changes:
        """What is not committed. Raises GitFailed."""
        said = self._ask(root, "status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=normal")
        if said.code != 0 and not said.cut:
            raise GitFailed(_why(said))
        changed: list[str] = []
        untracked: list[str] = []
        for entry in text(said.out).split("\0"):
            if entry[3:]:
                (untracked if entry.startswith("??") else changed).append(entry[3:])
        return Changes(tuple(changed), tuple(untracked))

    def diff(self, head: Head, changes: Changes, most: int = PATCH_SIZE) -> Patch:
        """What is not committed, as a patch of at most about so many bytes. Raises GitFailed."""
        if not head.commit:
            return patch([], head.commit, {}, changes.untracked)
        said = self._diff(head, (), most)
        found = sections(said.out, cut=said.cut)
        kept, left_out = fitting(found, most)
        asked = 0
        # The rest comes once those are left out that there is no room for. Each time it is at least one more.
        while said.cut and asked < len(left_out) <= _MOST_LEFT_OUT:
            asked = len(left_out)
            try:
                said = self._diff(head, left_out, most)
            except GitFailed:
                if self._cancelled():
                    raise
                break  # its time is up
            found = sections(said.out, cut=said.cut)
            kept, more = fitting(found, most)
            left_out |= more
        names = {text(name): reason for name, reason in left_out.items()}
        if said.cut:
            seen = {text(section.name) for section in found if not section.cut}
            names |= {
                name: "the diff is too large" for name in changes.changed if name not in seen and name not in names
            }
        return patch(kept, head.commit, names, changes.untracked)

    def _diff(self, head: Head, without: Iterable[bytes], most: int) -> Output:
        # No program of the user's is to be started for it: no external diff, no conversion to text.
        options = ("--no-ext-diff", "--no-textconv", "--no-color", "--no-renames", "--submodule=short")
        places = (f":(top,exclude,literal){os.fsdecode(name)}" for name in without)
        arguments = (*options, "--src-prefix=a/", "--dst-prefix=b/", head.commit, "--", ".", *places)
        said = self._ask(head.root, "diff", *arguments, most=2 * most)
        if said.code != 0 and not said.cut:
            raise GitFailed(_why(said))
        return said

    def _ask(self, folder: str | Path, *arguments: str, most: int = _MOST_OF_STATUS) -> Output:
        said = self._output(["git", *_OPTIONS, "-C", str(folder), *arguments], most=most)
        if said.late:
            raise GitFailed(f"git {arguments[0]} took longer than {PATIENCE:g} s")
        if said.code is None and not said.cut:
            raise GitFailed("the run ended before git had answered")
        return said

    def _line(self, folder: str, *arguments: str) -> str:
        return text(self._ask(folder, *arguments).out).strip()


def folders_of_the_program() -> list[Path]:
    """Where the code may be that is running: the script's folder, and the working directory."""
    found = []
    script = getattr(sys.modules.get("__main__"), "__file__", None) or (sys.argv[0] if sys.argv else "")
    if script and os.path.isfile(script):
        found.append(Path(os.path.realpath(script)).parent)
    with suppress(OSError):  # it was deleted
        found.append(Path.cwd())
    return found


def remote_url(url: str) -> str:
    """A remote's URL without what signs in; of `user@host:path`, the user is no secret."""
    return str(without_logins(url))


def _why(said: Output) -> str:
    if "dubious ownership" in said.errors:
        return "the repository belongs to another user; to allow it: git config --global --add safe.directory <folder>"
    return next(iter(said.errors.splitlines()), f"git ended with {said.code}")
