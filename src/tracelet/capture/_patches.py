"""The patch that is kept of changes that are not committed: what fits, and no secrets."""

from __future__ import annotations

import re
import time
from fnmatch import fnmatch
from itertools import pairwise
from posixpath import basename

from msgspec import Struct

from tracelet._redaction import REDACTED, redacted_code

_SECRET_FILES = tuple(
    """.env .env.* *.env .envrc .netrc _netrc .npmrc .pypirc .pgpass .htpasswd .git-credentials *.pem *.key *.p12 *.pfx
    *.jks *.keystore *.kdbx id_rsa* id_dsa* id_ecdsa* id_ed25519* credentials credentials.* secrets secrets.* *.tfvars
    kubeconfig clearml.conf service-account*.json""".split()  # noqa: SIM905 - three lines instead of 32
)
_BREATH = 100  # lines after which other threads have their turn
_BEGIN = b"diff --git "
_NAME = re.compile(rb'diff --git (?:"a/.*" "b/(?P<quoted>.*)"|a/.* b/(?P<plain>.*))')
_KEY_BEGINS = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY")
_KEY_ENDS = re.compile(r"-----END [A-Z ]*PRIVATE KEY")
_MOST_NAMES = 1_000


class Patch(Struct, frozen=True):
    """A patch, for a file.

    Attributes:
        content: comments first, which `git apply` passes over.
        left_out: the names of the files whose changes are not in it, with the reason.
    """

    content: bytes
    left_out: dict[str, str]


def patch(diff: bytes, commit: str, changed: tuple[str, ...], untracked: tuple[str, ...], most: int) -> Patch:
    """What is kept of a diff.

    Args:
        diff: what `git diff` printed, or its beginning.
        commit: what it is to be applied to.
        changed, untracked: the files that it should be about, and those that git does not know.
        most: bytes; whole files are left out that don't fit.
    """
    kept: list[bytes] = []
    left_out: dict[str, str] = {}
    seen = set()
    size = 0
    complete = 2 * most > len(diff)
    sections = _sections(diff)
    for number, section in enumerate(sections):
        if section.count(b"\n") == 1:
            continue  # a file that was written to, but not changed
        name = _name(section)
        seen.add(name)
        if is_secret(name):
            left_out[name] = "it may hold secrets"
        elif size + len(section) > most or (number == len(sections) - 1 and not complete):
            left_out[name] = "it is too large"
        else:
            content = _without_secrets(section)
            kept.append(content)
            size += len(content)
    if commit and not complete:
        left_out |= {name: "the diff is too large" for name in changed if name not in seen and name not in left_out}
    return Patch("".join(_head(commit, left_out, untracked)).encode("utf-8", "replace") + b"".join(kept), left_out)


def is_secret(name: str) -> bool:
    """Whether a file of this name is there to hold secrets."""
    last = basename(name).lower()
    return any(fnmatch(last, pattern) for pattern in _SECRET_FILES)


def _head(commit: str, left_out: dict[str, str], untracked: tuple[str, ...]) -> list[str]:
    since = f"since commit {commit}" if commit else "in a repository without commits, so there is no diff"
    lines = [f"# What was not committed, {since}.\n"]
    lines += [f"# Left out: {name!r}: {reason}\n" for name, reason in list(left_out.items())[:_MOST_NAMES]]
    lines += [f"# Not known to git: {name!r}\n" for name in untracked[:_MOST_NAMES]]
    if len(untracked) > _MOST_NAMES:
        lines.append(f"# … and {len(untracked) - _MOST_NAMES:,} more\n")
    return lines


def _sections(diff: bytes) -> list[bytes]:
    """The diff of each file by itself."""
    starts = [match.start() for match in re.finditer(rb"^" + _BEGIN, diff, re.M)]
    return [diff[start:end] for start, end in pairwise([*starts, len(diff)])]


def _name(section: bytes) -> str:
    match = _NAME.match(section)
    if match is None:
        return section.partition(b"\n")[0].decode("utf-8", "backslashreplace")
    return (match["quoted"] or match["plain"] or b"").decode("utf-8", "backslashreplace")


def _without_secrets(section: bytes) -> bytes:
    lines = []
    in_key = False
    for number, line in enumerate(section.decode("utf-8", "surrogateescape").split("\n")):
        if number % _BREATH == 0:
            time.sleep(0.0001)
        if _KEY_BEGINS.search(line):
            in_key = True
        elif in_key and _KEY_ENDS.search(line):
            in_key = False
        elif in_key and line[:1] in "+- ":
            lines.append(f"{line[:1]}{REDACTED}")
            continue
        lines.append(redacted_code(line))
    return "\n".join(lines).encode("utf-8", "surrogateescape")
