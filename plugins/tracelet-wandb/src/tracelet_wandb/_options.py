"""What a user may set, resolved in the training process: from W&B's environment variables, and with absolute paths."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec

from tracelet.backend import Secret

_MODES: dict[str, Literal["online", "offline"]] = {
    "online": "online",
    "run": "online",
    "offline": "offline",
    "dryrun": "offline",
}


class Options(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Where the runs go.

    Attributes:
        mode: "online" delivers to a W&B server; "offline" writes W&B's own offline files, for `wandb sync`. None:
            `WANDB_MODE`, else online.
        entity: the user or team that owns the project. None: `WANDB_ENTITY`, else the account's default.
        base_url: of the server. None: `WANDB_BASE_URL`, else W&B's cloud.
        api_key: None: `WANDB_API_KEY` or the entry in netrc, as the SDK finds it where the delivery runs.
        dir: the folder that gets W&B's `wandb` folder. None: `WANDB_DIR`, else the run's own directory.
        group, job_type: what W&B groups runs by. None: `WANDB_RUN_GROUP` and `WANDB_JOB_TYPE`, else, for a child run,
            its parent's name and "child".
        registry: which W&B registry registered models are linked to.
        init_timeout: how long opening may wait for the server, in seconds.
        finish_timeout: how long finishing may wait for uploads before it is tried again, in seconds.
    """

    mode: Literal["online", "offline"] | None = None
    entity: str | None = None
    base_url: str | None = None
    api_key: Annotated[str | None, Secret] = None
    dir: str | None = None
    group: str | None = None
    job_type: str | None = None
    registry: str = "model"
    init_timeout: float = 30.0
    finish_timeout: float = 120.0

    def __post_init__(self) -> None:
        if self.mode is None:
            self.mode = _mode(os.environ.get("WANDB_MODE") or "online")
        self.entity = self.entity or os.environ.get("WANDB_ENTITY") or None
        self.base_url = _url(self.base_url or os.environ.get("WANDB_BASE_URL"))
        self.group = self.group or os.environ.get("WANDB_RUN_GROUP") or None
        self.job_type = self.job_type or os.environ.get("WANDB_JOB_TYPE") or None
        folder = self.dir or os.environ.get("WANDB_DIR")
        self.dir = str(Path(folder).absolute()) if folder else None
        for name in ("init_timeout", "finish_timeout"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be greater than 0, found {getattr(self, name)!r}")

    @property
    def offline(self) -> bool:
        """Whether W&B's offline files are written."""
        return self.mode == "offline"


def _mode(said: str) -> Literal["online", "offline"]:
    if said not in _MODES:
        raise ValueError(f"WANDB_MODE={said!r} is not supported here: use online or offline, or leave the backend out")
    return _MODES[said]


def _url(url: str | None) -> str | None:
    if not url:
        return None
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"base_url {url!r} is no address of a server: write it as https://host")
    return url.rstrip("/")
