"""The import of one run: from its event files, as far as they have come, to the journal."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

from msgspec import Struct

from tracelet._discovery import Target, public_options
from tracelet.backend import Outcome
from tracelet.events import Lane
from tracelet.host.process import ProcessHost
from tracelet.importing._decode import Decoder
from tracelet.importing._embeddings import log_embedding
from tracelet.importing._find import Group
from tracelet.importing._identity import first_time, run_id
from tracelet.importing._needs import event_parser
from tracelet.importing._progress import EMBEDDING, Portion, ProgressFile, recorded
from tracelet.importing._records import Records
from tracelet.importing._report import Report
from tracelet.importing._roles import Role, context_of
from tracelet.importing._run import ImportedRun, ImportRecorder
from tracelet.importing._survey import Survey
from tracelet.journal import RunDirectory, RunRecord
from tracelet.tensorboard._sayings import Context
from tracelet.tensorboard._summaries import Remembered, Summaries

CHECKPOINT = 5.0
"""How often, in seconds, it is recorded how far an import has come."""


class Destination(Struct):
    """Where runs are imported to.

    Attributes:
        runs: the folder with the runs.
        project: of the runs.
        targets: the backends that the runs are to be delivered to.
        follow: whether runs stay open, for what is written meanwhile.
        online: whether to deliver at all; a run that stays open is delivered at once.
    """

    runs: Path
    project: str
    targets: list[Target]
    follow: bool = False
    online: bool = True


class Importer:
    """Imports the files of one run, as often as there is something new. Close it after use.

    Args:
        group: the run's files.
        name: of the run.
        advanced: is told how many more bytes were read, and how many records, again and again.

    Raises:
        Busy: another process is at it.
        ImportError: a library is missing.
        OSError: the run's directory can't be used.
        msgspec.MsgspecError: the record in it is damaged.
    """

    def __init__(
        self,
        group: Group,
        destination: Destination,
        name: str,
        advanced: Callable[[int, int], object] = lambda size, records: None,
    ) -> None:
        self.report = Report()
        self._destination = destination
        self.name = name
        self._advanced = advanced
        self._parse = event_parser()
        self._run: ImportedRun | None = None
        self._host: ProcessHost | None = None
        self._saved = 0.0
        self._base: dict[Lane, int] = {}  # how many events were made before this import
        self.directory = RunDirectory(destination.runs / run_id(group, destination.runs, self._parse))
        self._file = ProgressFile(self.directory)
        try:
            self._progress = self._file.read(group.root)
        except BaseException:
            self._file.close(keep=True)
            raise
        self._survey = Survey(group, self._parse, self._progress, self.report)
        advanced(sum(self._progress.offsets.get(file, 0) for file in group.files), 0)

    def step(self, group: Group | None = None) -> bool:
        """Import what there is now; whether there was anything new.

        Args:
            group: the run's files by now.

        Raises:
            OSError: the journal can't be written.
        """
        self._survey.group = group or self._survey.group
        progress = self._progress
        interrupted = bool(progress.portions)
        self.report.left = 0
        if not interrupted:
            progress.portions = self._survey.news()
            if not progress.portions:
                return False
            self._survey.assign_roles(progress.portions)
            self._file.write(progress)
        self.report.left = 0
        if self._run is None:
            self._begin()
        for portion in progress.portions:
            self._read(portion)
        self._checkpoint()
        progress.portions = []
        if interrupted:
            self.step()  # that was what an earlier import had begun; now what was written since
        elif self._destination.follow:
            self._file.write(progress)
        return True

    def tend(self) -> None:
        """Look after the journal and the delivery of a run that is open, while there is nothing to import."""
        if self._run is not None:
            self._run.recorder.tend(sync=True)
        if self._host is not None:
            self._host.watch()

    def close(self, outcome: Outcome = Outcome.COMPLETED) -> None:
        """End the run, and let another process import into it. Raises OSError."""
        try:
            if self._run is not None and self._run.active:
                self.report.said = dict(self._run.said)
                self.report.scalars = self._run.scalars
                self._run.end_at(self._progress.latest or time.time(), outcome)
                if not self._progress.portions:  # else the next import goes on with them
                    self._file.write(self._progress)
        finally:
            if self._host is not None:
                self._host.release()
            self._file.close(keep=bool(self._progress.writers or self._progress.portions))

    # How it is done.

    def _begin(self) -> None:
        """Open the run's journal for what is new."""
        progress, destination = self._progress, self._destination
        if not progress.first:
            progress.first = first_time(self._survey.group, self._parse) or time.time()
        resumed = bool(progress.writers)
        there = recorded(self.directory, progress.writers)
        skip = {lane: there[lane] - progress.made.get(lane, 0) for lane in Lane}
        self._record()
        recorder = ImportRecorder(self.directory, skip)
        progress.writers.append(recorder.writer)
        self._file.write(progress)  # before the first event, so that the writer's are known to be ours
        self._run = ImportedRun(
            recorder,
            run_id=self.directory.id,
            name=self.name,
            project=destination.project,
            directory=self.directory.path,
            backends=tuple(target.name for target in destination.targets),
        )
        self._base = dict(progress.made)
        self._run.begin_at(progress.latest or progress.first, resumed=resumed)
        if destination.follow and destination.online and destination.targets:
            self._host = ProcessHost(self.directory, destination.targets)
            self._host.start()

    def _record(self) -> None:
        """Write run.json, with the backends that are new."""
        backends = {target.name: public_options(target) for target in self._destination.targets}
        try:
            record = self.directory.read_record()
        except FileNotFoundError:
            record = RunRecord(
                id=self.directory.id,
                name=self.name,
                project=self._destination.project,
                created=self._progress.first,
                backends={},
                version=version("tracelet"),
            )
        record.backends |= backends
        self.directory.write_record(record)

    def _read(self, portion: Portion) -> None:
        """Import a portion, or what is left of it."""
        run, progress = self._run, self._progress
        assert run is not None
        offset = max(portion.start, progress.offsets.get(portion.file, 0))
        if offset >= portion.stop:
            return
        if EMBEDDING in portion.file:
            self._read_embedding(portion.file)
            return
        directory = os.path.dirname(portion.file)
        decoder = self._decoder(run, directory)
        try:
            records = Records(self._survey.group.root / portion.file, offset, portion.stop)
        except OSError as error:
            if any(map(run.recorder.skips, Lane)):
                raise  # which of the journal's events were this file's can't be told without it
            self.report.unreadable[portion.file] = error.strerror or str(error)
            return
        with records:
            before = progress.skipped.get(portion.file, 0)
            while found := records.read():
                decoder.log(found)
                self._advanced(records.offset - offset, len(found))
                offset = progress.offsets[portion.file] = records.offset
                progress.latest = max(progress.latest, decoder.latest)
                if records.skipped:
                    progress.skipped[portion.file] = before + records.skipped
                if time.monotonic() - self._saved >= CHECKPOINT:
                    self._checkpoint()
            self.report.skipped += records.skipped
            self.report.left += records.left
        self._advanced(portion.stop - offset, 0)

    def _decoder(self, run: ImportedRun, directory: str) -> Decoder:
        progress = self._progress
        role = progress.roles.get(directory) or Role(directory)
        own = context_of(role.owner)
        aliases: Mapping[str, tuple[str, Context | None]] = {}
        trial = ""
        if role.trial:
            trial = role.name
        elif role.tag:
            aliases = {role.tag: (role.name, own)}
            own = context_of(directory)
        remembered = progress.remembered.setdefault(directory, Remembered())
        summaries = Summaries(aliases, trial, remembered)
        return Decoder(run, self._parse, summaries, own, aliases, self.report.misunderstand)

    def _read_embedding(self, file: str) -> None:
        config, _, key = file.partition(EMBEDDING)
        embedding = self._survey.embeddings(config).get(key)
        directory = os.path.dirname(config)
        if embedding is not None:
            try:
                log_embedding(self._run, embedding, context_of(directory))
            except OSError as error:
                if error.filename is not None and self.directory.path in Path(error.filename).parents:
                    raise  # the journal's
                self.report.misunderstand(embedding.name, str(error))
            except (ValueError, TypeError, ImportError) as error:
                self.report.misunderstand(embedding.name, str(error))
        self._progress.offsets[file] = 1
        self._advanced(1, 1)

    def _checkpoint(self) -> None:
        """Record how far it has come, once the journal has it for good."""
        run, progress = self._run, self._progress
        assert run is not None
        run.recorder.tend(sync=True)
        made = run.recorder.made()
        progress.made = {lane: self._base.get(lane, 0) + made[lane] for lane in Lane}
        self._file.write(progress)
        self._saved = time.monotonic()
        if self._host is not None:
            self._host.watch()
