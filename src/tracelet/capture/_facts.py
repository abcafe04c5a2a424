"""What holds for a run as a whole, said once: its command line, its environment, its code."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from tracelet.capture._environment import environment, tags
from tracelet.capture._git import Git, folders_of_the_program
from tracelet.capture._invocation import command, invocation
from tracelet.capture._packages import requirements
from tracelet.capture._patches import text
from tracelet.run import AsyncRun, Run


def say_command(run: Run | AsyncRun) -> None:
    """The command line, as a tag."""
    run.set_tags({"command": command()})


def say_environment(run: Run | AsyncRun, *, with_command: bool) -> None:
    """The environment: tags to look for, `environment.json` and `requirements.txt`."""
    described = environment()
    run.set_tags(tags(described))
    if with_command:
        described["invocation"] = invocation()
    _keep(run, "environment.json", msgspec.json.format(msgspec.json.encode(described), indent=2))
    _keep(run, "requirements.txt", requirements().encode())


def say_git(run: Run | AsyncRun, cancelled: Callable[[], bool]) -> None:
    """The repository: tags, and what is not committed as `git/diff.patch`. Raises GitFailed."""
    git = Git(cancelled)
    head = git.head(folders_of_the_program())
    if head is None:
        return
    said = {"git.commit": head.commit, "git.branch": head.branch or "(detached)", "git.remote": head.remote}
    run.set_tags({name: value for name, value in said.items() if value} | {"git.root": text(os.fsencode(head.root))})
    changes = git.changes(head.root)
    dirty = bool(changes.changed or not head.commit)  # as `git describe --dirty` has it
    run.set_tags({"git.dirty": "true" if dirty else "false"})
    if not (changes.changed or changes.untracked):
        return
    kept = git.diff(head, changes)
    if kept.left_out:
        run.set_tags({"git.diff": f"without {len(kept.left_out):,} files: {', '.join(kept.left_out)}"[:500]})
    _keep(run, "git/diff.patch", kept.content)


def _keep(run: Run | AsyncRun, name: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="tracelet-") as folder:
        place = Path(folder, name.rpartition("/")[2])
        place.write_bytes(content)
        run.log_artifact(place, name)
