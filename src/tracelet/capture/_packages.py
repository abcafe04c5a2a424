"""The packages that the program can import, as a requirements file."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from tracelet._redaction import without_logins

# What an installer writes is a folder whose name says all: reading that is a hundred times cheaper than the metadata in
# it, and so does not hold up a training that shares the interpreter.
_INSTALLED = re.compile(r"(?P<name>[^-]+)-(?P<version>[^-]+)(?:-.*)?\.(?:dist-info|egg-info)$")
_ORIGIN = "direct_url.json"
_SEPARATORS = re.compile(r"[-_.]+")
_BREATH = 50  # packages after which other threads have their turn


def requirements() -> str:
    """One line for each distribution on `sys.path`, by name, pinned to its version or to where it came from.

    The lines of editable installs begin with `-e`. Of equal names the first counts, as it does for an import.
    """
    found: dict[str, str] = {}
    for number, (name, version, origin) in enumerate(_distributions()):
        if number % _BREATH == 0:
            time.sleep(0.0001)
        found.setdefault(_SEPARATORS.sub("-", name).lower(), _line(name, version, origin))
    return "".join(f"{found[key]}\n" for key in sorted(found))


def _distributions() -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for place in dict.fromkeys(sys.path):
        try:
            entry = os.path.abspath(place)
            names = sorted(os.listdir(entry))
        except OSError:
            continue  # an archive, or a folder that is not there, such as a working directory that was deleted
        for file in names:
            match = _INSTALLED.match(file)
            if match is not None:
                yield match["name"].replace("_", "-"), match["version"], _origin(Path(entry, file))
            elif file.endswith(".egg-info"):
                version = _egg_version(Path(entry, file, "PKG-INFO"))
                yield (
                    file.removesuffix(".egg-info"),
                    version,
                    {"url": f"file://{entry}", "dir_info": {"editable": True}},
                )


def _origin(folder: Path) -> Mapping[str, Any]:
    """Where it came from, if not from an index (PEP 610)."""
    try:
        said = msgspec.json.decode((folder / _ORIGIN).read_bytes())
    except (OSError, msgspec.DecodeError):
        return {}
    return said if isinstance(said, dict) else {}


def _egg_version(metadata: Path) -> str:
    try:
        lines = metadata.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("Version:")), "")


def _line(name: str, version: str, origin: Mapping[str, Any]) -> str:
    pinned = f"{name}=={version}" if version else name
    url, source, folder = origin.get("url"), origin.get("vcs_info"), origin.get("dir_info")
    if not isinstance(url, str):
        return pinned
    place = str(without_logins(url))
    if isinstance(folder, dict) and folder.get("editable"):
        return f"-e {place}  # {pinned}"
    if isinstance(source, dict):
        return f"{name} @ {source.get('vcs', 'git')}+{place}@{source.get('commit_id', '')}  # {pinned}"
    return f"{name} @ {place}  # {pinned}"
