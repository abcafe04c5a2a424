"""What a user may set, resolved in the training process: from the environment, and with absolute paths."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec

from tracelet.backend import Secret

TaskType = Literal[
    "training", "testing", "inference", "data_processing", "application", "monitor", "controller", "optimizer",
    "service", "qc", "custom",
]  # fmt: skip

_TRUE = ("1", "true", "yes", "on", "y", "t")


class Options(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Where the runs go. What is None is taken from ClearML's own variables and clearml.conf.

    Attributes:
        api_host, web_host, files_host: `http(s)://…`. None: `CLEARML_API_HOST`, `CLEARML_WEB_HOST` and
            `CLEARML_FILES_HOST`, else clearml.conf, where the delivery runs.
        access_key, secret_key: None: `CLEARML_API_ACCESS_KEY` and `CLEARML_API_SECRET_KEY`, else clearml.conf.
        output_uri: where files go: `s3://…`, `gs://…`, `azure://…`, a folder. None: the server's files_host.
        offline: write a session for `Task.import_offline_session` instead of talking to a server. None:
            `CLEARML_OFFLINE_MODE`.
        offline_folder: the folder that gets one for each offline run. None: the SDK's own place, the folder `offline`
            in its cache.
        task_type: of the tasks that are created.
    """

    api_host: str | None = None
    web_host: str | None = None
    files_host: str | None = None
    access_key: Annotated[str | None, Secret] = None
    secret_key: Annotated[str | None, Secret] = None
    output_uri: str | None = None
    offline: bool | None = None
    offline_folder: str | None = None
    task_type: TaskType = "training"

    def __post_init__(self) -> None:
        self.api_host = _host("api_host", self.api_host, "CLEARML_API_HOST")
        self.web_host = _host("web_host", self.web_host, "CLEARML_WEB_HOST")
        self.files_host = _host("files_host", self.files_host, "CLEARML_FILES_HOST")
        if self.offline is None:
            self.offline = os.environ.get("CLEARML_OFFLINE_MODE", "").strip().lower() in _TRUE
        if self.offline_folder is not None:
            self.offline_folder = str(Path(self.offline_folder).expanduser().absolute())
        if self.output_uri is not None:
            self.output_uri = _place(self.output_uri)


def _host(name: str, given: str | None, variable: str) -> str | None:
    host = given or os.environ.get(variable)
    if not host:
        return None
    parts = urlsplit(host)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{name} {host!r} is no address of a server: write it as http://host:8008")
    return host.rstrip("/")


def _place(uri: str) -> str:
    """A URI as it is, a path absolute and as a URI."""
    return uri.rstrip("/") if "://" in uri else Path(uri).expanduser().absolute().as_uri()
