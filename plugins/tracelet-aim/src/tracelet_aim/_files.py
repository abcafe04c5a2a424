"""Files of the run: artifacts, models, and media that Aim has no view for."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from aim.sdk.objects.artifact import Artifact

from tracelet.backend import Batch
from tracelet.errors import Rejected
from tracelet.events import FileLogged, ModelLogged
from tracelet_aim._names import artifact_path
from tracelet_aim._session import Session

NO_PLACE = (
    "this Aim server has no place for files: set the option artifacts_uri (or AIM_ARTIFACTS_URI) to a "
    "file:/// or s3:// folder"
)


def upload(session: Session, source: Path, name: str) -> Artifact:
    """Copy a file to the run's artifacts; returns what is to be recorded of it (`record`).

    Raises:
        Rejected: there is no such file, or no place for it.
    """
    uri = session.run.artifacts_uri
    if uri is None:
        raise Rejected(NO_PLACE)
    _require_readable(source)
    artifact = Artifact(str(source), uri=uri, name=name)
    try:
        artifact.upload(block=True)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise Rejected(f"{name}: Aim has a file and a folder of one name: {error}") from error
    return artifact


def record(session: Session, artifact: Artifact) -> None:
    """List an uploaded file among the run's artifacts."""
    session.run.meta_run_tree.subtree("artifacts")[artifact.name] = artifact


def files_of(event: FileLogged, folder: str) -> Iterator[tuple[Path, str, bool]]:
    """The event's files, the name of each among the artifacts, and whether that is another than was said."""
    path = Path(event.path)
    name = artifact_path(event.name)
    if isinstance(event, ModelLogged) and path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.is_file():
                inner = artifact_path(file.relative_to(path).as_posix())
                yield file, f"{folder}{name.text}/{inner.text}", name.altered or inner.altered
    else:
        yield path, folder + name.text, name.altered


def note_changes(batch: Batch, index: int, event: FileLogged) -> None:
    """Declare a file that was to be taken as it is found, and was changed since."""
    if event.copied:
        return
    try:
        found = os.stat(event.path)
    except OSError:
        return
    if stat.S_ISREG(found.st_mode) and (found.st_size, found.st_mtime_ns) != (event.size, event.mtime_ns):
        batch.degrade(index, "the file was changed after it was logged")


def _require_readable(path: Path) -> None:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise Rejected(f"{path}: {error.strerror}") from error
    if not stat.S_ISREG(found.st_mode):
        raise Rejected(f"{path} is not a file")
    if not os.access(path, os.R_OK):
        raise Rejected(f"{path} can't be read: permission denied")
