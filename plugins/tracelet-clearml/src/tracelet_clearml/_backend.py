"""The ClearML backend: a Tracelet run is a ClearML task."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import msgspec

from tracelet.backend import Batch, Idempotency, Opened, Outcome, RunInfo, State, Support, mapped, native
from tracelet.checks import Check
from tracelet.delivery import Delivery
from tracelet.events import (
    ArtifactLogged,
    AudioLogged,
    ConsoleLine,
    CurveLogged,
    DatasetUsed,
    EmbeddingLogged,
    Event,
    FigureLogged,
    GraphLogged,
    HistogramLogged,
    HParamsLogged,
    ImageLogged,
    Lane,
    LayoutSet,
    MeshLogged,
    MetricsLogged,
    ModelLogged,
    ModelRegistered,
    NoteSet,
    ParamsLogged,
    RunStarted,
    TableLogged,
    TagsSet,
    TensorLogged,
    TextLogged,
    VideoLogged,
)
from tracelet_clearml._options import Options as ClearMLOptions

if TYPE_CHECKING:  # training processes import this module for the options, and nothing else
    from tracelet_clearml._bulk import Done
    from tracelet_clearml._records import Sample
    from tracelet_clearml._samples import TextIdentity
    from tracelet_clearml._store import TaskStore


class ClearML:
    """Delivers a run to a ClearML server, or into a folder for `Task.import_offline_session`.

    `export` returns when the server has answered that it has added every event, and stored every file; offline, when
    the files are written (not synced to the disk).

    Attributes:
        idempotency: ClearML's key of an event is (task, iteration, metric, variant), so that a second one replaces the
            first. Lines of the log have no key there; which of them have arrived is asked before they are sent again.
    """

    # A request may have 15 MiB; the server indexes 500 events at a time, and refreshes its index once a request.
    delivery: ClassVar[Delivery] = Delivery(batch_size=5_000, batch_bytes=4_000_000, linger=1.0, timeout=120.0)
    handles: ClassVar[dict[type[Event], Support]] = {
        RunStarted: native("the task's parent"),
        MetricsLogged: native("scalars: the metric is what stands before the last /, the variant what follows"),
        ParamsLogged: native("configuration, hyperparameters, General"),
        TagsSet: native("the task's tags, as name:value, and its user properties"),
        NoteSet: native("the task's description (comment)"),
        TextLogged: native("debug samples, as text files"),
        ConsoleLine: native("console"),
        DatasetUsed: mapped("configuration, hyperparameters, Datasets"),
        ImageLogged: native("debug samples"),
        AudioLogged: native("debug samples"),
        VideoLogged: native("debug samples"),
        FigureLogged: native("plots"),
        HistogramLogged: native("plots"),
        TableLogged: native("plots"),
        CurveLogged: native("plots"),
        MeshLogged: native("plots"),
        EmbeddingLogged: mapped(
            "plots in two and three dimensions (images in an artifact), else artifacts for TensorBoard's projector"
        ),
        TensorLogged: mapped("artifacts (NPY)"),
        GraphLogged: mapped("artifacts"),
        HParamsLogged: mapped("hyperparameters, and debug samples: hparams or hparams/NAME, as text files (JSON)"),
        LayoutSet: mapped("debug samples: layout/CATEGORY/TITLE, as text files (JSON)"),
        ArtifactLogged: native("artifacts"),
        ModelLogged: native("artifacts, output models; and the project's models"),
        ModelRegistered: mapped("models: the model's name, its aliases as tags, and its description"),
    }
    idempotency: ClassVar[Idempotency] = Idempotency.OVERWRITES
    Options: ClassVar[type[msgspec.Struct]] = ClearMLOptions

    def __init__(self, options: ClearMLOptions, run: RunInfo) -> None:
        self._options = options
        self._info = run
        self._store: TaskStore | None = None
        self._done: Done = {}
        self._texts: dict[TextIdentity, Sample] = {}

    @staticmethod
    async def check(options: ClearMLOptions) -> Sequence[Check]:
        """See `tracelet.checks`."""
        from tracelet_clearml._check import check

        return await check(options)

    async def open(self, state: State | None) -> Opened:
        await self.close()
        self._store = store = await self._info.blocking(_store, self._options, self._info)
        try:
            return await store.open(state)
        except BaseException:
            await self.close()
            raise

    async def export(self, batch: Batch) -> None:
        from tracelet_clearml._bulk import BulkExport
        from tracelet_clearml._stream import StreamExport

        store, info = self._opened(), self._info
        if batch.lane is Lane.BULK:
            await BulkExport(store, batch, info.id, info.blocking, self._done).run()
        else:
            await StreamExport(store, batch, socket.gethostname(), self._texts).run()

    async def finish(self, outcome: Outcome, time: float) -> None:
        await self._opened().finish(outcome, time)

    async def close(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            await store.aclose()

    def _opened(self) -> TaskStore:
        assert self._store is not None, "open comes first"
        return self._store


def _store(options: ClearMLOptions, info: RunInfo) -> TaskStore:
    if options.offline:
        from tracelet_clearml._offline import OfflineTask

        return OfflineTask(options, info)
    from tracelet_clearml._access import find_access
    from tracelet_clearml._server import ServerTask

    return ServerTask(find_access(options), options, info)
