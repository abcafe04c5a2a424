"""One batch on its way into Aim. All of it is blocking."""

from __future__ import annotations

import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import BadZipFile

from aim import Text
from aim.sdk.objects.artifact import Artifact

from tracelet.backend import Batch
from tracelet.errors import Rejected
from tracelet.events import (
    ArtifactLogged,
    ConsoleLine,
    Context,
    DatasetUsed,
    Event,
    FileLogged,
    MediaLogged,
    MetricsLogged,
    ModelLogged,
    ModelRegistered,
    NoteSet,
    ParamsLogged,
    TagsSet,
    TensorLogged,
    TextLogged,
    VideoLogged,
)
from tracelet.substitutes import substitutes
from tracelet_aim import _params
from tracelet_aim._console import Console
from tracelet_aim._files import files_of, note_changes, record, upload
from tracelet_aim._names import key
from tracelet_aim._objects import Shown, shown
from tracelet_aim._points import Series
from tracelet_aim._session import Session

_INT64 = 2**63
_REPEATED = "another one of the same name and step follows: Aim keeps one"
_NO_VIEW = "Aim has no view for such a file: kept as an artifact"


class Exporter:
    """Writes batches into a session. Two lanes may use it at a time: Aim is used by one, files are copied by both."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._console: Console | None = None
        self._aim = threading.Lock()

    def export(self, batch: Batch) -> None:
        """Deliver a batch; returns when it is in the repository, or confirmed by the server.

        Raises:
            Rejected: names the events that can't be delivered; the others are.
        """
        series = Series(batch)
        by_type: dict[type[Event], list[tuple[int, Any]]] = {}
        for index, event in enumerate(batch.events):
            if isinstance(event, MetricsLogged):
                series.add(index, event)
            else:
                for said in substitutes(event):
                    by_type.setdefault(type(said), []).append((index, said))
        refused: dict[int, str] = {}
        with self._aim:
            self._session.require_run()
            if series:
                series.write(self._session.sequences, self._session.store)
                self._session.store.commit()
            self._export_small(batch, by_type)
        self._export_files(batch, by_type, refused)
        self._session.require_run()
        if refused:
            raise Rejected("; ".join(dict.fromkeys(refused.values())), refused)

    def _export_small(self, batch: Batch, by_type: dict[type[Event], list[tuple[int, Any]]]) -> None:
        session = self._session
        if ParamsLogged in by_type:
            _params.set_params(session, batch, by_type[ParamsLogged])
        if TagsSet in by_type:
            _params.set_tags(session, batch, by_type[TagsSet])
        if NoteSet in by_type:
            session.run.description = by_type[NoteSet][-1][1].text
        for index, event in by_type.get(DatasetUsed, ()):
            _params.set_dataset(session, batch, index, event)
        for index, event in by_type.get(ModelRegistered, ()):
            _params.set_registered(session, batch, index, event)
        if ConsoleLine in by_type:
            self._console = self._console or Console(session)
            self._console.write(batch, by_type[ConsoleLine])
        said: dict[tuple[Any, ...], int] = {}
        for index, event in by_type.get(TextLogged, ()):
            self._note_repeated(batch, index, event, said)
            self._track(batch, index, event, Shown(Text(event.text), Text.AIM_NAME))

    def _export_files(
        self, batch: Batch, by_type: dict[type[Event], list[tuple[int, Any]]], refused: dict[int, str]
    ) -> None:
        said: dict[tuple[Any, ...], int] = {}
        files = [pair for kind, pairs in by_type.items() if issubclass(kind, FileLogged) for pair in pairs]
        for index, event in sorted(files, key=lambda pair: pair[0]):
            note_changes(batch, index, event)
            try:
                if isinstance(event, MediaLogged):
                    self._note_repeated(batch, index, event, said)
                    self._export_medium(batch, index, event)
                else:
                    self._export_file(batch, index, event)
            except Rejected as error:
                refused[index] = str(error)

    def _export_medium(self, batch: Batch, index: int, event: MediaLogged) -> None:
        try:
            made = shown(event)
        except (ValueError, KeyError, OSError, EOFError, BadZipFile) as error:  # only the file itself was touched
            raise Rejected(f"{event.path}: {type(error).__name__}: {error}") from error
        if made is not None:
            if made.beside is not None:
                with TemporaryDirectory(prefix="tracelet-aim-") as folder:
                    file = Path(folder, f"beside.{made.beside.suffix}")
                    file.write_bytes(made.beside.data)
                    try:
                        self._keep(file, _kept_name(event, made.beside.suffix))
                    except Rejected as error:  # the rest of it can be shown all the same
                        batch.degrade(index, f"the images of an embedding are not kept: {error}")
            with self._aim:
                self._track(batch, index, event, made)
            return
        if not isinstance(event, TensorLogged):
            video = isinstance(event, VideoLogged)
            batch.degrade(index, "Aim has no video: kept as an artifact" if video else _NO_VIEW)
        self._keep(Path(event.path), _kept_name(event, event.format))

    def _export_file(self, batch: Batch, index: int, event: ArtifactLogged | ModelLogged) -> None:
        folder = "models/" if isinstance(event, ModelLogged) else ""
        uploaded: list[Artifact] = []
        for path, name, altered in files_of(event, folder):
            if altered:
                batch.degrade(index, "a name that no file can have: changed, with a hash of the original")
            uploaded.append(upload(self._session, path, name))
        with self._aim:
            for artifact in uploaded:
                record(self._session, artifact)
            if isinstance(event, ModelLogged):
                names = [artifact.name for artifact in uploaded]
                _params.set_model(self._session, batch, index, event, names)

    def _keep(self, path: Path, name: str) -> None:
        event = ArtifactLogged(0.0, name, str(path), 0, 0)
        for source, safe, _ in files_of(event, ""):
            artifact = upload(self._session, source, safe)
            with self._aim:
                record(self._session, artifact)

    def _track(self, batch: Batch, index: int, event: TextLogged | MediaLogged, made: Shown) -> None:
        step = event.step or 0
        if not -_INT64 <= step < _INT64:
            step = max(-_INT64, min(step, _INT64 - 1))
            batch.degrade(index, "step beyond 64 bits: the nearest possible is stored")
        named = key(event.name)
        place = self._session.sequences.place(named.text, event.context, made.dtype)
        if named.altered:
            batch.degrade(index, "Aim has no empty names: given one")
        for reason in (*place.altered, *made.reasons):
            batch.degrade(index, reason)
        self._session.store.commit()
        self._session.sequences.track(place, made.value, event.time, step)

    def _note_repeated(
        self, batch: Batch, index: int, event: TextLogged | MediaLogged, said: dict[tuple[Any, ...], int]
    ) -> None:
        context: Context = event.context
        identity = (type(event), event.name, event.step or 0, context, *(type(value) for _, value in context))
        if identity in said:
            batch.degrade(said[identity], _REPEATED)
        said[identity] = index


def _kept_name(event: MediaLogged, suffix: str) -> str:
    """Where a file of a medium is among the artifacts."""
    context = "".join(f"/{name}={value}" for name, value in event.context)
    return f"media/{event.name}{context}/step_{event.step}{f'.{suffix}' if suffix else ''}"
