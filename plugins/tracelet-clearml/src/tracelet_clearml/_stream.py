"""A batch of the stream lane on its way into ClearML."""

from __future__ import annotations

from tracelet.backend import Batch
from tracelet.events import TextLogged
from tracelet.media import Encoded
from tracelet_clearml._convert import PROPERTIES, convert, iteration, place, properties
from tracelet_clearml._names import Series, tag
from tracelet_clearml._records import AnyRecord, Param, Sample
from tracelet_clearml._samples import REPLACED, TextIdentity, add_sample
from tracelet_clearml._store import TaskStore


class StreamExport:
    """Delivers a batch.

    Args:
        texts: those that were uploaded, so that they aren't again when the batch or a part of it comes again.
    """

    def __init__(self, store: TaskStore, batch: Batch, worker: str, texts: dict[TextIdentity, Sample]) -> None:
        self._store = store
        self._batch = batch
        self._worker = worker
        self._texts = texts
        self._seen: set[tuple[Series, int | None]] = set()

    async def run(self) -> None:
        """Returns when all of it has arrived."""
        store, content = self._store, convert(self._batch, self._store.task, self._worker)
        records: list[AnyRecord] = [*content.scalars]
        for index, text in content.texts:
            records.append(await self._text(index, text))
        if records:
            await store.add_records(records)
        if content.lines:
            await store.add_lines(content.lines)
        if content.params:
            await store.set_params(list(content.params.values()))
        if content.tags:
            await self._set_tags(properties(self._batch, content))
        if content.note is not None:
            await store.set_comment(content.note)
        for index, text in content.texts:
            self._texts.pop(self._identity(index, text), None)

    async def _set_tags(self, said: dict[str, str]) -> None:
        """As user properties, which have names and values, and as tags, which can be searched for.

        The properties come last: until then they tell which tags are to go.
        """
        before = await self._store.properties()
        add = [short for name, value in said.items() if (short := tag(name, value))]
        stale = [tag(name, before[name]) for name, value in said.items() if before.get(name, value) != value]
        remove = [old for old in stale if old and old not in add]
        if add or remove:
            await self._store.change_tags(add, remove)
        await self._store.set_params([Param(PROPERTIES, name, value, "str") for name, value in said.items()])

    async def _text(self, index: int, event: TextLogged) -> Sample:
        """A text is a debug sample, as from the SDK's binding of TensorBoard."""
        batch = self._batch
        where = place(batch, index, event.name, event.context)
        step = None if event.step is None else iteration(batch, index, event.step)
        if (where, step) in self._seen:
            batch.degrade(index, REPLACED)
        self._seen.add((where, step))
        identity = self._identity(index, event)
        if identity not in self._texts:
            data = Encoded("txt", event.text.encode("utf-8", "surrogatepass"))
            self._texts[identity] = await add_sample(self._store, batch, index, event, where, step, data)
        return self._texts[identity]

    def _identity(self, index: int, text: TextLogged) -> TextIdentity:
        return (self._batch.writer, self._batch.lane, self._batch.sequences[index]), text.name
