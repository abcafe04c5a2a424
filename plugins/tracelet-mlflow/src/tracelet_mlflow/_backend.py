"""The MLflow backend: a Tracelet run is an MLflow run, its project an experiment."""

from __future__ import annotations

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
from tracelet_mlflow._options import Options as MLflowOptions

if TYPE_CHECKING:
    from tracelet_mlflow._session import Session


class MLflow:
    """Delivers a run to an MLflow tracking server or database.

    Attributes:
        idempotency: MLflow's key of a point is (name, millisecond, step, value), so that one it has is not stored
            again; a param of the same value is taken as it is; tags and files are replaced by their equals; models and
            console lines are known by tags that tell of their events.
    """

    # A request holds 1,000 points at most, and a server stores one large request ten times as fast as many small ones.
    delivery: ClassVar[Delivery] = Delivery(batch_size=1_000, linger=1.0, timeout=300.0)
    handles: ClassVar[dict[type[Event], Support]] = {
        RunStarted: native("a child run is nested under its parent"),
        MetricsLogged: native("Model metrics"),
        ParamsLogged: native("Parameters"),
        TagsSet: native("Tags"),
        NoteSet: native("Description (tag mlflow.note.content)"),
        DatasetUsed: native("Datasets used"),
        ImageLogged: native("image charts (as mlflow.log_image with a key)"),
        FigureLogged: native("artifacts: media/figures (as mlflow.log_figure)"),
        TableLogged: native("artifacts: media/tables (as mlflow.log_table)"),
        ArtifactLogged: native("Artifacts"),
        ModelLogged: native("Models (a logged model)"),
        ModelRegistered: native("Model registry"),
        TextLogged: native("artifacts: NAME.txt (as mlflow.log_text)"),
        ConsoleLine: mapped("artifacts: console"),
        HistogramLogged: mapped("artifacts: media/histograms (JSON and SVG)"),
        AudioLogged: mapped("artifacts: media/audio (played there)"),
        VideoLogged: mapped("artifacts: media/videos (shown there)"),
        MeshLogged: mapped("artifacts: media/meshes (OBJ and HTML)"),
        EmbeddingLogged: mapped("artifacts: media/embeddings (TSV, and one PNG of all images)"),
        TensorLogged: mapped("artifacts: media/tensors (NPY)"),
        GraphLogged: mapped("artifacts: media/graphs (JSON)"),
        CurveLogged: mapped("artifacts: media/curves (JSON and SVG)"),
        HParamsLogged: mapped("Parameters, and artifacts: hparams.txt or hparams/NAME.txt (JSON)"),
        LayoutSet: mapped("artifacts: layout/CATEGORY/TITLE.txt (JSON)"),
    }
    idempotency: ClassVar[Idempotency] = Idempotency.KEYED
    Options: ClassVar[type[msgspec.Struct]] = MLflowOptions

    def __init__(self, options: MLflowOptions, run: RunInfo) -> None:
        self._options = options
        self._info = run
        self._session: Session | None = None

    @staticmethod
    async def check(options: MLflowOptions) -> Sequence[Check]:
        """See `tracelet.checks`."""
        from tracelet_mlflow._check import check

        return await check(options)

    async def open(self, state: State | None) -> Opened:
        # Imported here, because training processes import this module for the options, and nothing else.
        from tracelet_mlflow._session import Session

        await self.close()
        self._session = Session(self._options, self._info)
        return await self._session.open(state)

    async def export(self, batch: Batch) -> None:
        assert self._session is not None, "open comes first"
        await self._session.export(batch)

    async def finish(self, outcome: Outcome, time: float) -> None:
        assert self._session is not None, "open comes first"
        await self._session.finish(outcome, time)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
