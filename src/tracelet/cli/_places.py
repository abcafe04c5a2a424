"""Where the demo puts things: for each backend a place on this machine that needs no account, and how to look at it."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec


class Place(msgspec.Struct, frozen=True):
    """What the demo knows of a backend.

    Attributes:
        options: from the demo's directory, the backend's.
        elsewhere: the environment variable that names another place, which is then used instead.
        viewer: from the resolved options, the command that shows the runs; None if the link is enough.
    """

    options: Callable[[Path], dict[str, Any]]
    elsewhere: str | None = None
    viewer: Callable[[Any], str | None] = lambda _: None

    def chosen(self, directory: Path) -> dict[str, Any]:
        """The backend's options."""
        return {} if self.elsewhere and os.environ.get(self.elsewhere) else self.options(directory)


def _mlflow_viewer(options: Any) -> str | None:
    uri = options.tracking_uri
    return None if uri.startswith("http") else _command("mlflow", "ui", "--backend-store-uri", uri)


def _wandb_viewer(options: Any) -> str | None:
    if not options.offline:
        return None
    return f"{_command('wandb', 'sync')} {options.dir}/wandb/offline-run-*"


PLACES = {
    "mlflow": Place(lambda d: {"tracking_uri": f"sqlite:///{d / 'mlflow.db'}"}, "MLFLOW_TRACKING_URI", _mlflow_viewer),
    "aim": Place(lambda d: {"repo": str(d)}, "AIM_REPO", lambda options: _command("aim", "up", "--repo", options.repo)),
    "wandb": Place(lambda d: {"mode": "offline", "dir": str(d)}, "WANDB_MODE", _wandb_viewer),
    "clearml": Place(lambda d: {"offline": True, "offline_folder": str(d / "clearml")}, "CLEARML_API_HOST"),
    "jsonl": Place(lambda d: {"path": str(d / "tracelet-demo.jsonl")}),
}
"""By backend; another one gets no options."""


def _command(name: str, *arguments: str) -> str:
    """What to type for a command that was installed beside this Python, also where that is not on the PATH."""
    beside = Path(sys.executable).with_name(name)
    found = name if shutil.which(name) == str(beside) or not beside.exists() else os.path.relpath(beside)
    return shlex.join([found, *arguments])
