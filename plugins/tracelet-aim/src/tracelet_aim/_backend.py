"""The Aim backend: a Tracelet run is an Aim run, its project an experiment."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import msgspec

from tracelet.backend import (
    Batch,
    Idempotency,
    Opened,
    Outcome,
    RunInfo,
    State,
    Support,
    fallback,
    mapped,
    native,
)
from tracelet.checks import Check
from tracelet.delivery import Delivery
from tracelet.errors import Rejected, Transient
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
from tracelet_aim._options import Options as AimOptions

if TYPE_CHECKING:
    from tracelet_aim._export import Exporter
    from tracelet_aim._session import Session

log = logging.getLogger("tracelet.delivery")


class Aim:
    """Delivers a run to an Aim repository on this machine, or to an Aim tracking server.

    Attributes:
        idempotency: Aim's key of a record is (context, name, step), so that a second delivery replaces each record by
            its equal; console lines that are there already are left out; files are replaced.
    """

    delivery: ClassVar[Delivery] = Delivery(batch_size=5_000, linger=1.0, timeout=120.0)
    handles: ClassVar[Mapping[type[Event], Support]] = {
        RunStarted: mapped("run.tracelet.parent"),
        MetricsLogged: native("Metrics"),
        ParamsLogged: native("Run Params: run.hparams"),
        TagsSet: mapped("tags, as name=value, and run.tracelet.tags"),
        TextLogged: native("Texts"),
        ImageLogged: native("Images"),
        FigureLogged: native("Figures; drawn ones in Images"),
        HistogramLogged: native("Distributions"),
        AudioLogged: native("Audios"),
        VideoLogged: fallback("Images, as an animated GIF; other files in Artifacts"),
        TableLogged: mapped("Figures"),
        MeshLogged: mapped("Figures"),
        EmbeddingLogged: mapped("Figures; images in one, in Artifacts"),
        TensorLogged: mapped("Artifacts: media/NAME/step_STEP.npy"),
        GraphLogged: mapped("Texts"),
        CurveLogged: mapped("Figures"),
        HParamsLogged: mapped("Run Params, and Texts: hparams or hparams/NAME (JSON)"),
        LayoutSet: mapped("Texts: layout/CATEGORY/TITLE (JSON)"),
        ArtifactLogged: native("Artifacts"),
        ModelLogged: mapped("Artifacts, in models/, and run.models"),
        ModelRegistered: fallback("run.registered_models"),
        DatasetUsed: mapped("run.datasets"),
        ConsoleLine: native("Logs"),
        NoteSet: native("the run's description"),
    }
    idempotency: ClassVar[Idempotency] = Idempotency.OVERWRITES
    Options: ClassVar[type[msgspec.Struct]] = AimOptions

    def __init__(self, options: AimOptions, run: RunInfo) -> None:
        self._options = options
        self._info = run
        self._state: State | None = None
        self._session: Session | None = None
        self._exporter: Exporter | None = None
        self._opening = threading.Lock()

    @staticmethod
    async def check(options: AimOptions) -> Sequence[Check]:
        """See `tracelet.checks`."""
        from tracelet_aim._check import check

        return await check(options)

    async def open(self, state: State | None) -> Opened:
        """Find the run, or create it: its hash in Aim follows from its id here, so there is never a second one."""
        self._state = state
        await self._info.blocking(self._call, self._ensure_open)
        assert self._state is not None
        link = self._options.ui_url
        return Opened(self._state, None if link is None else f"{link}/runs/{self._state['hash']}")

    async def export(self, batch: Batch) -> None:
        """Deliver a batch.

        Returning means: here, that RocksDB's log on disk has it (it outlives the process; a power cut may cost the last
        seconds); of a server, that it has said for each message that it has written it so.
        """
        await self._info.blocking(self._call, self._export, batch)

    async def finish(self, outcome: Outcome, time: float) -> None:
        await self._info.blocking(self._call, self._finish, outcome, time)

    async def close(self) -> None:
        if self._session is not None:
            await self._info.blocking(self._close)

    def _export(self, batch: Batch) -> None:
        exporter = self._ensure_open()
        try:
            exporter.export(batch)
        except Exception as error:
            if exporter is not self._exporter:
                raise Transient(f"{self._options.path}: closed by an error in the other lane") from error
            raise

    def _finish(self, outcome: Outcome, time: float) -> None:
        self._ensure_open()
        assert self._session is not None
        self._session.finish(outcome, time)

    def _ensure_open(self) -> Exporter:
        """Open the run, if it isn't, also after an error has closed it."""
        from tracelet_aim._export import Exporter
        from tracelet_aim._session import Session

        with self._opening:
            if self._exporter is None:
                self._session = Session(self._options, self._info, self._state)
                self._exporter = Exporter(self._session)
                self._state = {"hash": self._session.hash}
                self._info.save_state(self._state)
            return self._exporter

    def _call(self, function: Callable[..., object], *args: object) -> None:
        """Call a function; an error other than a refusal of data leaves Aim in no known state, so the run is closed."""
        from tracelet_aim._errors import translated

        try:
            with translated(self._options.path):
                function(*args)
        except Rejected:
            raise
        except BaseException:
            self._abandon()
            raise

    def _abandon(self) -> None:
        try:
            self._close(lost=True)
        except Exception as error:  # noqa: BLE001 - the error that led here is the one to tell
            log.debug("aim: closing failed: %s", error)

    def _close(self, lost: bool = False) -> None:
        session, self._session, self._exporter = self._session, None, None
        if session is not None:
            session.close(lost)
