"""What a log directory is to the run: a part of it, or a directory that a SummaryWriter made by itself.

`add_scalars` writes each of its scalars, under the main tag, to a directory of its own (`<main tag>_<tag>` in torch,
`<main tag>/<tag>` in tensorboardX); `add_hparams` writes each trial to one. What they say belongs to the writer's own
log directory, under the names that were given.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

_CLOCK = re.compile(r"\d{9,}\.\d+")  # a trial without a name is called by the time
_EXPERIMENT = "_hparams_/experiment"  # what a file of `add_hparams` begins with; TensorFlow has one for all trials
_UNUSUAL = re.compile(r"[^-/\w\.]")  # what tensorboardX replaces in tags


class Role(Struct):
    """What a log directory is.

    Attributes:
        owner: the directory whose writer made it; its own path, if nobody did.
        tag: what `add_scalars` wrote here.
        trial: whether `add_hparams` wrote here.
        name: of the metric, or of the trial.
    """

    owner: str
    tag: str = ""
    name: str = ""
    trial: bool = False


def role_of(directory: str, value: Any, known: Mapping[str, Role | None]) -> Role:
    """The role of a directory by the first value that was written there.

    Args:
        known: the roles of the other directories; None where nothing was written yet.
    """
    for parent in _ancestors(directory):
        role = known.get(parent)
        if parent not in known or (role is not None and role.owner != parent):
            continue  # nobody's, or one that a writer made by itself
        inner = os.path.relpath(directory, parent or ".")
        if value.metadata.plugin_data.plugin_name == "hparams" and value.tag == _EXPERIMENT:
            return Role(parent, name="" if _CLOCK.fullmatch(inner) else inner, trial=True)
        name = _metric(inner, value)
        if name is not None:
            return Role(parent, value.tag, name)
        break
    return Role(directory)


def context_of(directory: str) -> dict[str, str] | None:
    """What tells points of a part of the run from others; None for the run's own log directory."""
    return {"logdir": directory} if directory else None


def _ancestors(directory: str) -> list[str]:
    found = []
    while directory:
        directory = os.path.dirname(directory)
        found.append(directory)
    return found


def _metric(inner: str, value: Any) -> str | None:
    """The metric's name, if this is a scalar by `add_scalars` in a directory of that path below the writer's."""
    tag = value.tag
    scalar = value.WhichOneof("value") == "simple_value" or value.metadata.plugin_data.plugin_name == "scalars"
    if not scalar or not tag:
        return None
    start = tag.replace("/", "_") + "_"
    if inner.startswith(start) and len(inner) > len(start):
        return f"{tag}/{inner[len(start) :]}"
    if _UNUSUAL.sub("_", inner).startswith(tag + "/") and len(inner) > len(tag) + 1:
        return inner
    return None
