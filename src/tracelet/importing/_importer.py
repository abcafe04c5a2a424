"""The import of one run: from its event files, as far as they have come, to the journal."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path

from msgspec import Struct

from tracelet._discovery import Target, public_options
from tracelet._version import own_version
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
from tracelet.journal import RunDirectory, RunRecord, make_store
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
        self._count: Callable[[], object] = bool  # takes down how many events were made of the portion that is read
        self._there = dict.fromkeys(Lane, 0)  # how many events the journal had before this import
        self.directory = RunDirectory(destination.runs / run_id(group, destination.runs, self._parse))
        make_store(destination.runs.parent)
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
            portions = self._survey.news()
            if not portions:
                return False
            self._survey.assign_roles(portions)
            self._file.forget_marks()
            progress.portions = portions
            self._file.write(progress)
        self.report.left = 0
        if self._run is None:
            self._begin(skipping=interrupted or bool(progress.owed))
        has = self._recorded_before()
        for number, portion in enumerate(progress.portions):
            self._read(number, portion, has[portion.file])
        self._checkpoint()
        progress.portions, progress.counts = [], {}
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

    def _begin(self, *, skipping: bool) -> None:
        """Open the run's journal for what is new."""
        progress, destination = self._progress, self._destination
        if not progress.first:
            progress.first = first_time(self._survey.group, self._parse) or time.time()
        resumed = bool(progress.writers)
        self._there = recorded(self.directory, progress.writers)
        self._record()
        recorder = ImportRecorder(self.directory, skipping)
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
                version=own_version(),
            )
        record.backends |= backends
        self.directory.write_record(record)

    def _journaled(self) -> dict[Lane, int]:
        """How many events the journal has by now."""
        assert self._run is not None
        return {lane: self._there[lane] + self._run.recorder.recorded(lane) for lane in Lane}

    def _recorded_before(self) -> dict[str, Counter[Lane]]:
        """By portion, how many of its events the journal has: those between its marks and the next ones."""
        portions, last = self._progress.portions, self._journaled()
        has = {portion.file: Counter(self._progress.owed.get(portion.file)) for portion in portions}
        marks = self._file.marks()
        for (number, begin), (_, end) in pairwise([*marks, (-1, last)]):
            for lane in Lane:  # after a loss of power the journal may have less than at the mark
                has[portions[number].file][lane] += max(min(end[lane], last[lane]) - begin[lane], 0)
        return has

    def _read(self, number: int, portion: Portion, has: Counter[Lane]) -> None:
        """Import a portion, or what is left of it.

        Args:
            has: how many of its events the journal has.
        """
        run, progress = self._run, self._progress
        assert run is not None
        file = portion.file
        offset = max(portion.start, progress.offsets.get(file, 0))
        if offset >= portion.stop:
            return
        self._file.mark(number, self._journaled())
        counted = Counter(progress.counts.get(file))
        made = run.recorder.made()
        run.recorder.leave_out({lane: has[lane] - counted[lane] for lane in Lane})
        self._count = lambda: progress.counts.__setitem__(
            file, {lane: counted[lane] + now - made[lane] for lane, now in run.recorder.made().items()}
        )
        whole = self._read_embedding(file) if EMBEDDING in file else self._read_records(portion, offset)
        self._count()
        unmatched = run.recorder.unmatched()
        progress.owed.pop(file, None)
        if unmatched and not whole:
            progress.owed[file] = unmatched  # it may come back
        elif unmatched:
            number = sum(unmatched.values())
            self.report.unreadable[_shown(file)] = f"it no longer has {number:,} of the events that were imported"

    def _read_records(self, portion: Portion, offset: int) -> bool:
        """Import the records from an offset on; whether the file could be read."""
        run, progress, file = self._run, self._progress, portion.file
        assert run is not None
        decoder = self._decoder(run, os.path.dirname(file))
        try:
            records = Records(self._survey.group.root / file, offset, portion.stop)
        except OSError as error:
            self.report.unreadable[file] = error.strerror or str(error)
            return False
        with records:
            before = progress.skipped.get(file, 0)
            while True:
                try:
                    found = records.read()
                except OSError as error:
                    self.report.unreadable[file] = error.strerror or str(error)
                    return False
                if not found:
                    break
                decoder.log(found)
                self._advanced(records.offset - offset, len(found))
                offset = progress.offsets[file] = records.offset
                progress.latest = max(progress.latest, decoder.latest)
                if records.skipped:
                    progress.skipped[file] = before + records.skipped
                if time.monotonic() - self._saved >= CHECKPOINT:
                    self._checkpoint()
            self.report.skipped += records.skipped
            self.report.left += records.left
        self._advanced(portion.stop - offset, 0)
        return True

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

    def _read_embedding(self, file: str) -> bool:
        """Import an embedding; whether it is there."""
        config, _, key = file.partition(EMBEDDING)
        embedding = self._survey.embeddings(config).get(key)
        directory = os.path.dirname(config)
        if embedding is None:
            self.report.unreadable[_shown(file)] = "its vectors are gone"
            return False
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
        return True

    def _checkpoint(self) -> None:
        """Record how far it has come, once the journal has it for good."""
        run, progress = self._run, self._progress
        assert run is not None
        run.recorder.tend(sync=True)
        self._count()
        self._file.write(progress)
        self._saved = time.monotonic()
        if self._host is not None:
            self._host.watch()


def _shown(file: str) -> str:
    """A file, or an embedding of one, as people are told of it."""
    return file.replace(EMBEDDING, ": ")
