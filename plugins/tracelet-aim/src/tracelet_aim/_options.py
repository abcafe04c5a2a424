"""What a user may set, resolved in the training process: from the environment, and with absolute paths."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import msgspec

_REMOTE = "aim://"
_TOO_NEW = (3, 13)


class Options(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Where the runs go.

    Attributes:
        repo: the folder that has (or gets) the repository `.aim`, or `aim://host:port` for a tracking server (started
            by `aim server`). None: `AIM_REPO`, else, as Aim does, the nearest folder above the working directory that
            has an `.aim`, else the working directory.
        artifacts_uri: where files are kept: `file:///folder` or `s3://bucket/folder`; each run gets a folder in it.
            None: `AIM_ARTIFACTS_URI`, else `.aim/artifacts` of a repository on this machine; a server has none.
        ui_url: the address of Aim's interface (`aim up`), for links to the run. None: no links.
    """

    repo: str | None = None
    artifacts_uri: str | None = None
    ui_url: str | None = None

    def __post_init__(self) -> None:
        _require_aim()
        self.repo = _resolved(self.repo or os.environ.get("AIM_REPO") or str(_nearest(Path.cwd())))
        uri = self.artifacts_uri or os.environ.get("AIM_ARTIFACTS_URI")
        if uri is None and not self.is_remote:
            uri = (Path(self.repo) / repository_name() / "artifacts").as_uri()
        if uri is not None:
            self.artifacts_uri = _resolved_uri(uri)
        if self.ui_url is not None:
            self.ui_url = self.ui_url.rstrip("/")

    @property
    def path(self) -> str:
        """The resolved repository: an absolute path, or `aim://…`."""
        assert self.repo is not None
        return self.repo

    @property
    def is_remote(self) -> bool:
        """Whether the repository is a tracking server's."""
        return self.path.startswith(_REMOTE)


def _require_aim() -> None:
    """Raises ValueError where Aim can't be imported; looks for it without importing it."""
    if find_spec("aim") is not None:
        return
    found = ".".join(map(str, sys.version_info[:2]))
    if sys.version_info >= _TOO_NEW:
        raise ValueError(
            f"Aim is not installed, and has no release for Python {found}: it needs Python 3.12 or older. "
            "Train with that, or choose another backend"
        )
    raise ValueError("Aim is not installed: python -m pip install 'aim>=3.29,<4'")


def repository_name() -> str:
    """What Aim calls a repository's folder."""
    return os.environ.get("__AIM_REPO_NAME__") or ".aim"


def _nearest(start: Path) -> Path:
    for folder in (start, *start.parents):
        if (folder / repository_name()).is_dir():
            return folder
    return start


def _resolved(repo: str) -> str:
    """An absolute path without the `.aim` at its end, or the server's address."""
    if repo.startswith(_REMOTE):
        if not repo.removeprefix(_REMOTE).strip("/"):
            raise ValueError(f"repo {repo!r} names no host: write it as aim://host:53800")
        return repo.rstrip("/")
    if "://" in repo:
        raise ValueError(f"repo {repo!r} is neither a folder nor a tracking server: use a path or aim://host:53800")
    path = Path(repo.strip()).expanduser().absolute()
    return str(path.parent if path.name == repository_name() else path)


def _resolved_uri(uri: str) -> str:
    if uri.startswith(("file:///", "s3://")):
        return uri.rstrip("/")
    if "://" in uri:
        raise ValueError(f"artifacts_uri {uri!r} must begin with file:/// or s3://, which is all that Aim can write to")
    return Path(uri).expanduser().absolute().as_uri()
