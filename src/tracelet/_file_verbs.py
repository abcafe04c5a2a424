"""The verbs whose payload is a file: artifacts and models."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from tracelet import _values
from tracelet._verbs import Verbs, _now
from tracelet.errors import InvalidSetting, RunClosed, TraceletError
from tracelet.events import ArtifactLogged, ModelLogged, ModelRegistered
from tracelet.journal import DELETED, Recorder, files_in, measured


class FileVerbs(Verbs):
    """What can be said about files; see `Run`."""

    _model: str | None = None

    def log_artifact(self, path: str | PathLike[str], name: str | None = None, *, copy: bool = True) -> None:
        """Keep a file, or all files of a folder, with the run.

        Args:
            path: of the file or folder.
            name: what the backend calls it, "/" for folders; None takes the last part of `path`.
            copy: take a copy before this returns (blocks are shared where the file system can). Without, the file is
                taken as it is when its turn comes; if it has changed by then, that is counted as degraded.

        A file that can't be read or copied is a counted loss and a warning, not an exception (but with `strict`).

        Raises:
            TypeError: an argument has the wrong type.
            RunClosed: the run is finished.
            OSError, ValueError: with `strict`, the file can't be read or copied.
        """
        source, target = _named(path, name)

        def keep(recorder: Recorder, file: Path, label: str) -> None:
            stat = file.stat()
            place = recorder.copy_in(file) if copy else _absolute(file)
            self._publish(ArtifactLogged(_now(), label, str(place), stat.st_size, stat.st_mtime_ns, copy), bulk=True)

        def keep_all(recorder: Recorder) -> None:
            files = list(self._files(source, target))
            if not files:
                raise ValueError(f"the folder {source} has no files")
            for file, label in files:
                self._record("log_artifact", lambda recorder: keep(recorder, file, label))  # noqa: B023 - called at once

        self._record("log_artifact", keep_all)

    def log_model(
        self,
        path: str | PathLike[str],
        name: str | None = None,
        *,
        step: int | None = None,
        framework: str = "",
        metadata: Mapping[str, Any] | None = None,
        copy: bool = True,
    ) -> None:
        """Keep a model: a file, or a folder whose files make one model.

        Args:
            path, name, copy: as in `log_artifact`.
            step: of the training that made it, if it is a checkpoint.
            framework: what reads it, for instance "pytorch"; "" if that doesn't matter.
            metadata: what else there is to say of it.

        Raises:
            TypeError, RunClosed, OSError, ValueError: as by `log_artifact`.
        """
        source, target = _named(path, name)
        at = None if step is None else _values.integer(step, "step")
        about = _values.parameters(_values.mapping(metadata or {}, "metadata"))
        reader = _values.string(framework, "framework")

        def keep(recorder: Recorder) -> None:
            files = [file for file, _ in self._files(source, "")]
            if not files:
                raise ValueError(f"the model's folder {source} has no files")
            size, mtime = measured(source, files)
            place = recorder.copy_in(source) if copy else _absolute(source)
            event = ModelLogged(_now(), target, str(place), size, mtime, copy, at, reader, about)
            self._publish(event, bulk=True)
            self._model = target

        self._model = ""  # until this one is there: registering must not take the one before it
        self._record("log_model", keep)

    def register_model(
        self,
        name: str,
        model: str | None = None,
        *,
        alias: str | Sequence[str] = (),
        description: str = "",
    ) -> None:
        """Make a model of this run a new version of a registered model, which is created if there is none.

        Args:
            name: of the registered model.
            model: the name under which `log_model` kept it; None is the latest.
            alias: what the version is to be known as from now on, for instance "champion"; one name, or several.
            description: of the version.

        Raises:
            TypeError: an argument has the wrong type.
            InvalidSetting: no model has been logged by this process, and none is named.
            RunClosed: the run is finished.
        """
        registered = _values.string(name, "name")
        names = tuple(filter(None, _values.strings(alias, "alias")))
        words = _values.string(description, "description")
        source = self._model if model is None else _values.string(model, "model")

        def register(_: Recorder) -> None:
            if source is None:
                raise InvalidSetting("model", None, "the name of a model, as no log_model came before")
            if model is None and not source:
                raise ValueError("the model that was logged last could not be kept")
            self._publish(ModelRegistered(_now(), registered, source, names, words), bulk=True)

        self._record("register_model", register)

    def _files(self, source: Path, target: str) -> Iterator[tuple[Path, str]]:
        """The files of a folder with their names, or the one file. Tracelet's own are left out."""
        if not source.is_dir():
            yield source, target
            return
        for file in files_in(source, runs=self.directory.parent):
            yield file, f"{target}/{file.relative_to(source).as_posix()}"

    def _record(self, verb: str, work: Callable[[Recorder], None]) -> None:
        """Do what may fail for want of a file, of space or of sense: that is a counted loss, unless `strict`."""
        if self._closed:
            raise RunClosed(self.id)
        recorder = self._recorder
        if recorder is None or recorder.detached:
            self._ignore(0, b"")
            return
        if recorder.loss_reason == DELETED:
            recorder.lose(DELETED)
            return
        try:
            work(recorder)
        except (TypeError, TraceletError):
            raise
        except Exception as error:  # what is passed is other people's objects, which may raise anything
            if self._strict:
                raise
            recorder.lose(f"{verb}: {error or type(error).__name__}")


def _named(path: str | PathLike[str], name: str | None) -> tuple[Path, str]:
    if not isinstance(path, str | PathLike):
        raise TypeError(f"path must be a str or path, found {type(path).__name__}")
    source = Path(path)
    return source, Path(os.path.abspath(source)).name if name is None else _values.string(name, "name")


def _absolute(source: Path) -> Path:
    """Where a file lies that is taken later. Raises ValueError for a path that no UTF-8 can hold."""
    try:
        str(source).encode()
    except UnicodeEncodeError:
        raise ValueError(f"{str(source)!r} has characters that only copy=True can take") from None
    return source.absolute()
