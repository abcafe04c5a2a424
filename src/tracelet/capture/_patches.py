"""The patch that is kept of changes that are not committed: what fits, and no secrets."""

from __future__ import annotations

import ast
import re
import time
from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from itertools import pairwise
from posixpath import basename

from msgspec import Struct

from tracelet._redaction import REDACTED, redacted_code
from tracelet._secrets import unknown

_SECRET_FILES = tuple(
    """.env .env.* *.env .envrc .netrc _netrc .npmrc .pypirc .pgpass .htpasswd .git-credentials *.pem *.key *.p12 *.pfx
    *.jks *.keystore *.kdbx id_rsa* id_dsa* id_ecdsa* id_ed25519* credentials credentials.* secrets secrets.* *.tfvars
    kubeconfig clearml.conf service-account*.json""".split()  # noqa: SIM905 - three lines instead of 32
)
_BREATH = 100  # lines after which other threads have their turn
_LONG = 16_384  # characters of a line
_LONG_WORD = re.compile(r"((?<![\w+/=-])[\w+/=-]{4096,})")  # no secret is so long
_BEGIN = b"diff --git "
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


class Section(Struct, frozen=True):
    """The diff of one file.

    Attributes:
        name: as git has it, which may be no UTF-8.
        cut: whether there is more of it.
    """

    name: bytes
    content: bytes
    cut: bool = False


def sections(diff: bytes, *, cut: bool) -> list[Section]:
    """The diff of each file by itself.

    Args:
        diff: what `git diff` printed.
        cut: whether that is only the beginning. What is cut within a file's name is left out.
    """
    starts = [match.start() for match in re.finditer(rb"^" + _BEGIN, diff, re.M)]
    found = [diff[start:end] for start, end in pairwise([*starts, len(diff)])]
    return [
        Section(_name(content), content, cut and number == len(found))
        for number, content in enumerate(found, 1)
        if b"\n" in content
    ]


def fitting(found: Iterable[Section], most: int) -> tuple[list[Section], dict[bytes, str]]:
    """Those that are kept, and the names of the others, with the reason; of one that is cut it may not be known yet.

    Args:
        most: bytes, for all of them.
    """
    kept: list[Section] = []
    left_out: dict[bytes, str] = {}
    for section in found:
        if section.content.count(b"\n") == 1 and not section.cut:
            continue  # a file that was written to, but not changed
        if is_secret(text(section.name)):
            left_out[section.name] = "it may hold secrets"
        elif b"\nBinary files " in section.content:
            left_out[section.name] = "it is binary, or very large"  # and with that in it, the patch would not apply
        elif len(section.content) > most:
            left_out[section.name] = "it is too large"
        elif not section.cut:
            kept.append(section)
            most -= len(section.content)
    return kept, left_out


def patch(kept: Sequence[Section], commit: str, left_out: dict[str, str], untracked: tuple[str, ...]) -> Patch:
    """The file.

    Args:
        commit: what it is to be applied to.
        untracked: the files that git does not know.
    """
    head = "".join(_head(commit, left_out, untracked)).encode("utf-8", "replace")
    return Patch(head + b"".join(_without_secrets(section.content) for section in kept), left_out)


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


def _name(section: bytes) -> bytes:
    """The name in `diff --git a/NAME b/NAME`: without renames it is twice the same."""
    line = section.partition(b"\n")[0].removeprefix(_BEGIN)
    second = line[len(line) // 2 + 1 :]
    if not second.startswith(b'"'):
        return second.removeprefix(b"b/")
    unquoted: bytes = ast.literal_eval(f"b{second.decode('ascii', 'backslashreplace')}")
    return unquoted.removeprefix(b"b/")


def text(raw: bytes) -> str:
    """What git printed, for people."""
    return raw.decode("utf-8", "backslashreplace")


def _without_secrets(section: bytes) -> bytes:
    lines = []
    in_key = False
    for number, line in enumerate(section.decode("utf-8", "surrogateescape").split("\n")):
        if number % _BREATH == 0:
            time.sleep(0.0001)
        line = _redacted(unknown(line))
        if _KEY_BEGINS.search(line):
            in_key = True
        elif in_key and _KEY_ENDS.search(line):
            in_key = False
        elif in_key and line.startswith(("+", "-", " ")):
            line = f"{line[0]}{REDACTED}"
        lines.append(line)
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def _redacted(line: str) -> str:
    """A line without what looks like a secret. What is long, such as a picture in a notebook, is passed over: to look
    through it would hold up the other threads."""
    if len(line) <= _LONG:
        return redacted_code(line)
    parts = []
    for part in _LONG_WORD.split(line):
        time.sleep(0.0001)
        parts.append(part if _LONG_WORD.fullmatch(part) else redacted_code(part))
    return "".join(parts)
