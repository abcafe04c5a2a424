"""A batch of the bulk lane on its way into ClearML: what is refused holds up nothing else."""

from __future__ import annotations

import mimetypes
import stat
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from tracelet.backend import Batch, BlockingCalls
from tracelet.errors import Rejected
from tracelet.events import (
    ArtifactLogged,
    Event,
    FileLogged,
    MediaLogged,
    ModelLogged,
    ModelRegistered,
)
from tracelet.media import Encoded
from tracelet_clearml import _disk
from tracelet_clearml import _names as names
from tracelet_clearml._convert import iteration, milliseconds, place
from tracelet_clearml._errors import TaskRefused
from tracelet_clearml._names import Series, component, parameter
from tracelet_clearml._plots import Rendered, image_plot, rendered
from tracelet_clearml._records import (
    AnyRecord,
    Artifact,
    Metadata,
    NewModel,
    Plot,
    Registration,
    TypeData,
)
from tracelet_clearml._samples import REPLACED, Identity, add_sample
from tracelet_clearml._store import TaskStore

Done: TypeAlias = dict[Identity, str | None]
"""Events of a batch that have arrived, with why they were degraded, for when the batch or a part of it comes again."""

_EVENTS_AT_ONCE = 100


class BulkExport:
    """Delivers a batch.

    Args:
        done: what has arrived, so that it isn't sent again while the others of its batch are.
    """

    def __init__(
        self,
        store: TaskStore,
        batch: Batch,
        run_id: str,
        blocking: BlockingCalls,
        done: Done,
    ) -> None:
        self._store = store
        self._batch = batch
        self._run_id = run_id
        self._blocking = blocking
        self._done = done
        self._seen: set[tuple[type[Event], Series, int]] = set()

    async def run(self) -> None:
        """Returns when all of it has arrived; raises Rejected with what was refused, when the rest has."""
        refused: dict[int, str] = {}
        waiting: dict[int, Sequence[AnyRecord]] = {}  # uploaded, but not yet told to ClearML
        for index, event in enumerate(self._batch.events):
            identity = self._identity(index)
            if identity in self._done:
                if reason := self._done[identity]:
                    self._batch.degrade(index, reason)
                continue
            try:
                records = await self._deliver(index, event)
            except TaskRefused:
                raise
            except Rejected as error:
                refused[index] = str(error)
                continue
            if records:
                waiting[index] = records
            else:
                self._note(index)
            if len(waiting) >= _EVENTS_AT_ONCE:
                await self._add(waiting, refused)
        await self._add(waiting, refused)
        if refused:
            raise Rejected("; ".join(dict.fromkeys(refused.values())), refused)
        for index in range(len(self._batch)):
            self._done.pop(self._identity(index), None)

    async def _add(self, waiting: dict[int, Sequence[AnyRecord]], refused: dict[int, str]) -> None:
        """Add the records of several events at once, and one by one if they are refused; then none is waiting."""
        try:
            await self._add_records([record for records in waiting.values() for record in records])
        except TaskRefused:
            raise
        except Rejected:
            for index, records in waiting.items():
                try:
                    await self._add_records(records)
                except Rejected as error:
                    refused[index] = str(error)
        for index in waiting.keys() - refused.keys():
            self._note(index)
        waiting.clear()

    def _note(self, index: int) -> None:
        """The event has arrived."""
        self._done[self._identity(index)] = self._batch.degraded.get(self._batch.sequences[index])

    async def _add_records(self, records: Sequence[AnyRecord]) -> None:
        if records:
            await self._store.add_records(records)

    def _identity(self, index: int) -> Identity:
        return self._batch.writer, self._batch.lane, self._batch.sequences[index]

    async def _deliver(self, index: int, event: Event) -> Sequence[AnyRecord]:
        """Deliver an event, but for the records that are returned."""
        if isinstance(event, ModelRegistered):
            entry = names.model(event.model).text
            name = self._named_model(index, event.name)
            await self._store.register(Registration(entry, name, list(event.aliases), event.description))
            return []
        assert isinstance(event, FileLogged)
        path = await self._inspect(index, event)
        if isinstance(event, MediaLogged):
            return await self._medium(index, event)
        if isinstance(event, ModelLogged):
            await self._model(index, event, path)
        else:
            assert isinstance(event, ArtifactLogged)
            await self._artifact(index, event, event.name, path)
        return []

    async def _inspect(self, index: int, event: FileLogged) -> Path:
        path = Path(event.path)
        found = await self._blocking(_disk.inspect, path, isinstance(event, ModelLogged))
        if (
            not event.copied
            and stat.S_ISREG(found.st_mode)
            and (found.st_size, found.st_mtime_ns) != (event.size, event.mtime_ns)
        ):
            self._batch.degrade(index, "the file was changed after it was logged")
        return path

    # Media.

    async def _medium(self, index: int, event: MediaLogged) -> Sequence[AnyRecord]:
        where = place(self._batch, index, event.name, event.context)
        step = iteration(self._batch, index, event.step)
        if (type(event), where, step) in self._seen:
            self._batch.degrade(index, REPLACED)
        self._seen.add((type(event), where, step))
        content = await self._rendered(event, f"{where.metric}/{where.variant}")
        if content.degraded:
            self._batch.degrade(index, content.degraded)
        records: list[AnyRecord] = []
        if content.plot is not None:
            records.append(self._plot(index, event, where, step, content.plot))
        for number, picture in enumerate(content.pictures):
            own = _numbered(where, number, len(content.pictures))
            records.append(await self._picture(index, event, own, step, *picture))
        for number, file in enumerate(content.samples):
            own = _numbered(where, number, len(content.samples))
            caption = content.captions[number] if number < len(content.captions) else ""
            records.append(await add_sample(self._store, self._batch, index, event, own, step, file, caption))
        for file in content.files:
            suffix = f" step {step}.{file.suffix}"
            label = event.name + "".join(f" {key}:{value}" for key, value in event.context) + suffix
            await self._artifact(index, event, label, file.data)
        return records

    async def _rendered(self, event: MediaLogged, title: str) -> Rendered:
        try:
            return await self._blocking(rendered, event, title)
        except ImportError as error:
            raise Rejected(f"{error}: install tracelet[media]") from error
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise Rejected(f"{event.path}: {type(error).__name__}: {error}") from error

    def _plot(self, index: int, event: MediaLogged, where: Series, step: int, plot: str) -> Plot:
        """The key has the kind in it, since a histogram and a figure may have one name and step."""
        time = milliseconds(self._batch, index, event)
        key = f"{type(event).__name__}{where.key}"
        return Plot(self._store.task, where.metric, where.variant, step, time, plot, key)

    async def _picture(
        self, index: int, event: MediaLogged, where: Series, step: int, file: Encoded, width: int, height: int
    ) -> AnyRecord:
        sample = await add_sample(self._store, self._batch, index, event, where, step, file)
        if not sample.url.startswith(("http://", "https://", "/")):
            return sample  # a browser can't draw an image from a bucket in a plot
        plot = image_plot(sample.url, width, height, f"{where.metric}/{where.variant}")
        return self._plot(index, event, where, step, plot)

    # Artifacts and models.

    async def _artifact(self, index: int, event: FileLogged, name: str, source: bytes | Path) -> None:
        named = parameter(name)
        if named.altered:
            self._batch.degrade(index, "name not fit for ClearML: changed, with a hash of the original")
        file = component(name.rpartition("/")[2] or named.text)
        digest, size = await self._blocking(_disk.digest, source)
        stored = await self._store.upload("artifacts", (component(named.text), file), source)
        about = TypeData(f"{name.rpartition('/')[2]} - {size:,} bytes\n", mimetypes.guess_type(name)[0])
        await self._store.add_artifact(
            Artifact(
                key=named.text,
                type="custom",
                uri=stored.url,
                content_size=size,
                hash=digest,
                timestamp=milliseconds(self._batch, index, event) // 1000,
                type_data=about,
            )
        )

    async def _model(self, index: int, event: ModelLogged, path: Path) -> None:
        """A folder is a package to ClearML: a zip file, and a tag that says so."""
        entry = self._named_model(index, event.name)
        package = await self._blocking(path.is_dir)
        sequence = self._batch.sequences[index]
        with tempfile.TemporaryDirectory(prefix="tracelet-clearml-") as temporary:
            file = await self._blocking(_disk.packed, path, Path(temporary)) if package else path
            name = component(event.name.rpartition("/")[2] or entry)
            label = f"{name}.zip" if package else name
            numbered = f"{self._batch.writer}-{sequence}"
            stored = await self._store.upload("models", (component(entry), numbered, label), file)
            await self._store.add_model(
                NewModel(
                    identity=f"tracelet:{self._run_id}:{numbered}",
                    entry=entry,
                    name=entry,
                    uri=stored.url,
                    file=file,
                    framework=event.framework,
                    iteration=None if event.step is None else iteration(self._batch, index, event.step),
                    metadata=_metadata(event),
                    package=package,
                )
            )

    def _named_model(self, index: int, name: str) -> str:
        named = names.model(name)
        if named.altered:
            self._batch.degrade(index, "name not fit for ClearML: changed")
        return named.text


def _numbered(where: Series, number: int, count: int) -> Series:
    """The place of one of several."""
    return where if count == 1 else where._replace(variant=f"{where.variant} #{number + 1}")


def _metadata(event: ModelLogged) -> dict[str, Metadata]:
    named = {parameter(name).text: value for name, value in event.metadata.items()}
    return {name: Metadata(name, type(value).__name__, str(value)) for name, value in named.items()}
