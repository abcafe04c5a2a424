"""The Weights & Biases backend: a Tracelet run is a W&B run, its project a project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from tracelet_wandb._memory import Memory
from tracelet_wandb._options import Options as WandBOptions

if TYPE_CHECKING:
    from tracelet_wandb._export import Exporter


class WandB:
    """Delivers a run to Weights & Biases by its own SDK and wandb-core.

    `export` returns when wandb-core has the rows and they survive a crash of either process: it has answered after
    them, and they are in its transaction log or in a file of ours that the next session reads. Artifacts and models
    have been committed by the server; offline they are in the log, with their files beside it.

    Attributes:
        idempotency: a row that is sent again is stored again; its column `_tracelet` says which events it holds, and
            is the same.
    """

    delivery: ClassVar[Delivery] = Delivery(batch_size=2_000, linger=1.0, timeout=300.0)
    handles: ClassVar[Mapping[type[Event], Support]] = {
        RunStarted: mapped("the group that has the parent's name, and config.tracelet.parent"),
        MetricsLogged: native("charts, over global_step"),
        ParamsLogged: native("config"),
        TagsSet: native("the run's tags, as name:value, and config.tracelet.tags"),
        TextLogged: mapped("media, as HTML"),
        NoteSet: native("the run's notes"),
        ConsoleLine: native("logs"),
        DatasetUsed: native("artifacts, as an input of type dataset"),
        ImageLogged: native("media"),
        FigureLogged: native("media; plotly figures as interactive charts"),
        HistogramLogged: native("charts, as histograms over steps"),
        AudioLogged: native("media"),
        VideoLogged: native("media"),
        TableLogged: native("tables"),
        MeshLogged: native("media, as 3D objects"),
        EmbeddingLogged: mapped("tables, for the panel of 2D projections; images in one, NAME/images"),
        TensorLogged: mapped("artifacts of type tensor (NPY)"),
        GraphLogged: native("media, as graphs"),
        CurveLogged: native("custom charts"),
        HParamsLogged: mapped("config, and media: hparams or hparams/NAME, as HTML (JSON)"),
        LayoutSet: mapped("media: layout/CATEGORY/TITLE, as HTML (JSON)"),
        ArtifactLogged: native("artifacts of type file"),
        ModelLogged: native("artifacts of type model"),
        ModelRegistered: native("the registry (offline, a fallback: the aliases of its artifact)"),
    }
    idempotency: ClassVar[Idempotency] = Idempotency.APPENDS
    Options: ClassVar[type[msgspec.Struct]] = WandBOptions

    def __init__(self, options: WandBOptions, run: RunInfo) -> None:
        self._options = options
        self._info = run
        self._exporter: Exporter | None = None
        self._state: State = {}

    @staticmethod
    async def check(options: WandBOptions) -> Sequence[Check]:
        """See `tracelet.checks`."""
        from tracelet_wandb._check import check

        return await check(options)

    async def open(self, state: State | None) -> Opened:
        await self.close()
        return await self._info.blocking(self._open, state)

    async def export(self, batch: Batch) -> None:
        exporter = self._opened()
        await self._info.blocking(exporter.export, batch)
        self._remember(exporter)

    async def finish(self, outcome: Outcome, time: float) -> None:
        await self._info.blocking(self._opened().writer.finish, outcome, time)

    async def close(self) -> None:
        exporter, self._exporter = self._exporter, None
        if exporter is not None:
            await self._info.blocking(exporter.writer.leave)

    def _open(self, state: State | None) -> Opened:
        from tracelet_wandb._export import Exporter
        from tracelet_wandb._writer import RunWriter

        memory = Memory.of(state)
        writer = RunWriter(self._options, self._info, memory)
        self._state = writer.identity()
        self._exporter = Exporter(writer, self._options, self._info)
        return Opened(self._state | {"memory": memory.encoded()}, writer.url)

    def _remember(self, exporter: Exporter) -> None:
        memory = exporter.writer.memory.encoded()
        if memory != self._state.get("memory", Memory().encoded()):
            self._state = self._state | {"memory": memory}
            self._info.save_state(self._state)

    def _opened(self) -> Exporter:
        assert self._exporter is not None, "open comes first"
        return self._exporter
