"""One batch on its way into W&B. Everything here blocks."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from wandb.proto import wandb_internal_pb2 as pb

from tracelet.backend import Batch, RunInfo
from tracelet.errors import Rejected
from tracelet.events import (
    ArtifactLogged,
    ConsoleLine,
    Context,
    DatasetUsed,
    Event,
    Lane,
    MediaLogged,
    MetricsLogged,
    ModelLogged,
    ModelRegistered,
    NoteSet,
    ParamsLogged,
    TagsSet,
    TensorLogged,
    TextLogged,
)
from tracelet.substitutes import substitutes
from tracelet_wandb._artifacts import Artifacts
from tracelet_wandb._errors import SessionLost, core_errors
from tracelet_wandb._media import Unshowable, html, logged, values
from tracelet_wandb._names import config_key, key
from tracelet_wandb._options import Options
from tracelet_wandb._rows import Row, media_row, metric_rows, named
from tracelet_wandb._writer import RunWriter, config_record

_SAFE = 2**63
_UNREADABLE = (OSError, ValueError, TypeError, KeyError)


class Exporter:
    """Exports batches of both lanes.

    Attributes:
        writer: the run.
    """

    def __init__(self, writer: RunWriter, options: Options, info: RunInfo) -> None:
        self.writer = writer
        self._artifacts = Artifacts(writer, options)

    def export(self, batch: Batch) -> None:
        """Deliver a batch. Raises what `Backend.export` may raise; nothing of a medium that can't be read arrives."""
        try:
            with core_errors():
                self._export_stream(batch) if batch.lane is Lane.STREAM else self._export_bulk(batch)
        except SessionLost:
            self.writer.leave()  # the next attempt opens another
            raise

    def _export_stream(self, batch: Batch) -> None:
        records: list[Any] = []
        rows = metric_rows(batch)
        with TemporaryDirectory(prefix="tracelet-wandb-") as folder:
            for index, event in enumerate(batch.events):
                if type(event) is MetricsLogged:  # nearly all are
                    continue
                said = substitutes(event)
                texts = [part for part in said if isinstance(part, TextLogged)]
                if texts:  # in one row: a row has whole events
                    pages = {(text.name, text.context): html(text.text, Path(folder)) for text in texts}
                    rows.append(self._row(batch, index, texts[0], pages))
                for part in said:
                    records += self._say(batch, index, part)
        self.writer.write(batch, rows, records)

    def _say(self, batch: Batch, index: int, event: Event) -> list[Any]:
        """What is neither a number nor shown; returns records to be written."""
        match event:
            case ParamsLogged():
                return _config(batch, index, event)
            case ConsoleLine():
                return [_console(event)]
            case TagsSet():
                for name in self.writer.set_tags(event.values):
                    batch.degrade(index, f"tag longer than W&B's 64 characters or unprintable, cut: {name[:40]}")
            case NoteSet():
                self.writer.set_note(event.text)
            case DatasetUsed():
                self._artifacts.use_dataset(event)
        return []

    def _export_bulk(self, batch: Batch) -> None:
        self._artifacts.begin()
        rows: list[Row] = []
        refused: dict[int, str] = {}
        for index, event in enumerate(batch.events):
            try:
                if isinstance(event, TensorLogged):
                    self._artifacts.log_tensor(batch, index, event)
                elif isinstance(event, MediaLogged):
                    rows += self._medium(batch, index, event)
                elif isinstance(event, ArtifactLogged):
                    self._artifacts.log_file(batch, index, event, "file")
                elif isinstance(event, ModelLogged):
                    self._artifacts.log_model(batch, index, event)
                elif isinstance(event, ModelRegistered):
                    self._artifacts.register(batch, index, event)
            except Rejected as error:
                refused[index] = str(error)
            except (ConnectionError, TimeoutError):
                raise
            except _UNREADABLE as error:
                refused[index] = f"{type(error).__name__}: {error}"
        if refused:
            raise Rejected("; ".join(dict.fromkeys(refused.values())), refused)
        self.writer.write(batch, rows)

    def _medium(self, batch: Batch, index: int, event: MediaLogged) -> list[Row]:
        with TemporaryDirectory(prefix="tracelet-wandb-") as folder:
            try:
                shown = values(event, Path(folder), partial(batch.degrade, index))
            except Unshowable as error:
                batch.degrade(index, str(error))
                self._artifacts.log_file(batch, index, event, error.kind)
                return []
            parts = {(event.name + suffix, event.context): part for suffix, part in shown.items()}
            return [self._row(batch, index, event, parts)]

    def _row(
        self, batch: Batch, index: int, event: TextLogged | MediaLogged, shown: dict[tuple[str, Context], Any]
    ) -> Row:
        """A row of what is shown under names in contexts."""
        values = {named(batch, index, key(*where)): part for where, part in shown.items()}
        content = logged(self.writer.session.run, values, batch.sequences[index])
        return media_row(event, index, content)


def _config(batch: Batch, index: int, event: ParamsLogged) -> list[Any]:
    records = []
    for name, value in event.values.items():
        text = named(batch, index, config_key(name))
        records.append(config_record([text], _plain(value, lambda: batch.degrade(index, _NOT_JSON))))
    return records


_NOT_JSON = "a value that W&B's config can't hold (NaN, infinity, an integer beyond 64 bits): stored as text"


def _plain(value: Any, degrade: Callable[[], None]) -> Any:
    """A param as JSON that W&B's server takes."""
    if isinstance(value, list | tuple):
        return [_plain(item, degrade) for item in value]
    if isinstance(value, dict):
        return {str(name): _plain(item, degrade) for name, item in value.items()}
    if (isinstance(value, float) and not math.isfinite(value)) or (
        isinstance(value, int) and not -_SAFE <= value < _SAFE
    ):
        degrade()
        return str(value) if isinstance(value, float) else hex(value)
    return value


def _console(event: ConsoleLine) -> Any:
    """What `Run.write_logs` sends: whole lines, without the stream they came from."""
    return pb.Record(output_logger=pb.OutputLoggerRecord(line=event.text + "\n"))
