"""What a user may set, resolved in the training process: from the environment, and with absolute paths."""

from __future__ import annotations

import os
import sys
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

_HTTP = ("http", "https")
_SQL = ("sqlite", "postgresql", "mysql", "mssql")
_MEMORY = ("", "/", "/:memory:")


class Options(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Where the runs go.

    Attributes:
        tracking_uri: `http(s)://…` for a tracking server, `sqlite:///…` or another SQLAlchemy URI for a store without
            a server. None: `MLFLOW_TRACKING_URI`, else `mlflow.db` in the working directory.
        artifact_root: the folder (a path or a URI) that gets one for each experiment that has to be created. None: the
            tracking server's choice, or `mlruns` beside the database for SQLite.
        source_name: what MLflow shows as the run's source. None: the script that is running.
    """

    tracking_uri: str | None = None
    artifact_root: str | None = None
    source_name: str | None = None

    def __post_init__(self) -> None:
        uri = self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
        self.tracking_uri = _resolved(uri)
        if self.artifact_root is not None and "://" not in self.artifact_root:
            self.artifact_root = str(Path(self.artifact_root).absolute())
        if self.source_name is None:
            self.source_name = sys.argv[0] if sys.argv and sys.argv[0] else "<console>"

    @property
    def uri(self) -> str:
        """The resolved tracking URI."""
        assert self.tracking_uri is not None
        return self.tracking_uri

    @property
    def is_http(self) -> bool:
        """Whether it names a tracking server."""
        return urlsplit(self.uri).scheme in _HTTP

    @property
    def new_artifact_root(self) -> str | None:
        """The folder for the experiments that are created: MLflow's own choice would be its working directory."""
        if self.artifact_root is None and self.database is not None:
            return (self.database.parent / "mlruns").as_uri()
        return self.artifact_root

    @property
    def database(self) -> Path | None:
        """The file of an SQLite database; None for other stores."""
        if not self.uri.startswith("sqlite") or ":///file:" in self.uri:
            return None
        return Path(self.uri.split(":///", 1)[1].partition("?")[0])


def _resolved(uri: str) -> str:
    """`uri` with an absolute path if it has a local one; raises ValueError for what can't be delivered to."""
    parts = urlsplit(uri)
    scheme = parts.scheme.partition("+")[0]
    if scheme in _HTTP:
        if not parts.hostname:
            raise ValueError(f"tracking_uri {uri!r} names no host: write it as http://host:5000")
        return uri.rstrip("/")
    if scheme == "sqlite":
        return _absolute_sqlite(uri)
    if uri == "databricks" or scheme in (*_SQL, "databricks") or (scheme and _is_registered(parts.scheme)):
        return uri
    if scheme in ("", "file"):
        database = Path(parts.path or "mlruns").absolute() / "mlflow.db"
        raise ValueError(
            f"tracking_uri {uri!r} names an MLflow file store, which MLflow refuses since version 3: "
            f"use sqlite:///{database} or the address of a tracking server"
        )
    raise ValueError(
        f"tracking_uri {uri!r} has the unknown scheme {parts.scheme!r}: "
        "use http(s)://host:port, sqlite:///path/mlflow.db, or a postgresql, mysql, mssql or databricks URI"
    )


def _absolute_sqlite(uri: str) -> str:
    driver, _, rest = uri.partition("://")
    path, mark, query = rest.partition("?")
    if path in _MEMORY:
        raise ValueError(f"tracking_uri {uri!r} is a database in memory, which would end with its process: give a file")
    if path.startswith("/file:"):
        return uri
    return f"{driver}:///{Path(path.removeprefix('/')).absolute()}{mark}{query}"


def _is_registered(scheme: str) -> bool:
    """Whether an MLflow plugin provides a tracking store for the scheme."""
    return any(entry_points(group="mlflow.tracking_store", name=scheme))
