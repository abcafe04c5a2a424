"""The run as it is written: one session after another, both lanes into the same history."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
from wandb.proto import wandb_internal_pb2 as pb

from tracelet.backend import Batch, Outcome, RunInfo
from tracelet.errors import Denied, Undelivered
from tracelet_wandb._errors import SessionLost, StreamDied, is_denial
from tracelet_wandb._memory import Memory
from tracelet_wandb._names import CONFIG
from tracelet_wandb._options import Options
from tracelet_wandb._recovery import Tail, lost_records, restore_media, sessions
from tracelet_wandb._rows import KIND, SEQUENCE, Row, columns, identities
from tracelet_wandb._session import Session
from tracelet_wandb._transactions import cells, read_rows

_EXIT_CODES = {Outcome.COMPLETED: 0, Outcome.FAILED: 1, Outcome.KILLED: 255}
_NO_SUMMARY = (SEQUENCE, KIND)
_MAX_TAG = 64
_ATTEMPTS = 3
_MAX_GROUP = 128
_RUN_ID = re.compile(r"[\w\-]{1,64}", re.ASCII)
_NOT_PROJECT = re.compile(r"[/\\#?%:\x00-\x1f]+")


class RunWriter:
    """Writes rows, config, tags and the note; opens a new session when one is lost. Every method blocks.

    Attributes:
        memory: what it starts from, and changes.
    """

    def __init__(self, options: Options, info: RunInfo, memory: Memory) -> None:
        self.memory = memory
        self._options = options
        self._info = info
        self._folder = Path(options.dir) if options.dir else info.directory
        self._tail = Tail(info.directory / "wandb-tail")
        self._session: Session | None = None
        self._lock = threading.RLock()
        self._opened_at = 0  # the first row that the server did not have when the session was opened
        self._refused_at: list[int] = []  # the same of the sessions whose streams were refused

    @property
    def run_id(self) -> str:
        """The run's id in W&B, which is the run's own if W&B can have that."""
        given = self._info.id
        if _RUN_ID.fullmatch(given):
            return given
        return "tracelet-" + blake2b(given.encode(errors="surrogatepass"), digest_size=16).hexdigest()

    @property
    def session(self) -> Session:
        """The session; a new one if there is none that works."""
        with self._lock:
            if self._session is not None and not self._options.offline:
                try:
                    self._session.check()
                except StreamDied as error:
                    self._lost(error)
                    raise self._verdict(error) from error
            if self._session is None:
                self._open()
            assert self._session is not None
            return self._session

    def write(self, batch: Batch, rows: Sequence[Row], others: Sequence[Any] = ()) -> None:
        """Hand rows and other records to wandb-core. Returning means that they survive this process."""
        with self._lock:
            session = self.session
            records = list(others)
            summary: dict[str, str] = {}
            for number, row in enumerate(rows, session.next_row):
                cells = columns(row, number, batch, self._info.started)
                records.extend(session.axes(name for name in row.values if not name.startswith("_")))
                records.append(_history(number, cells))
                summary.update(cells)
            if summary:
                records.append(_summary(summary))
            self._send(session, records)
            session.next_row += len(rows)

    def set_tags(self, tags: dict[str, str]) -> set[str]:
        """Put tags on the run, each as W&B's `name:value`; returns the names of those that had to be cut."""
        with self._lock:
            session = self.session
            before = {_tag(name, value)[0] for name, value in self.memory.tags.items()}
            own = [tag for tag in session.run.tags or () if tag not in before]
            self.memory.tags = self.memory.tags | tags
            cut = {name: _tag(name, value) for name, value in self.memory.tags.items()}
            session.run.tags = (*own, *(text for text, _ in cut.values()))
            self._send(session, [config_record((CONFIG, "tags", name), value) for name, value in tags.items()])
            return {name for name in tags if cut[name][1]}

    def set_note(self, text: str) -> None:
        with self._lock:
            session = self.session
            session.run.notes = self.memory.note = text
            self._send(session, [])

    def finish(self, outcome: Outcome, time: float) -> None:
        """End the run, when everything that was sent has been uploaded."""
        with self._lock:
            session = self.session
            ending = {"outcome": outcome.value, "ended": time}
            self._send(session, [config_record((CONFIG, name), value) for name, value in ending.items()])
            try:
                session.finish(_EXIT_CODES[outcome])
            except StreamDied as error:
                self._lost(error)
                verdict = self._verdict(error)
                if self._hopeless and not is_denial(str(error)):
                    raise Undelivered(str(verdict), self._missing()) from error
                raise verdict from error
            except SessionLost as error:
                self._lost(error)
                raise
            self._session = None
            self._tail.close()

    def leave(self) -> None:
        """Let go of the run, which may go on in another process."""
        session, self._session = self._session, None
        if session is not None:
            session.leave()
        self._tail.close()

    @property
    def url(self) -> str | None:
        """The run's page; offline, the folder with W&B's files, which are all that there is of the run."""
        return (self._folder.absolute() / "wandb").as_uri() if self._options.offline else str(self.session.run.url)

    def identity(self) -> dict[str, str]:
        """What leads to the run: for `wandb sync`, and for W&B's API."""
        run = self.session.run
        found = {"run_id": run.id, "project": run.project, "entity": run.entity, "dir": str(self._folder / "wandb")}
        return {name: value for name, value in found.items() if value}

    # Sessions.

    def _open(self) -> None:
        earlier = sessions(self._folder, self.run_id)
        session = Session.open(self._options, str(self._folder), id=self.run_id, **self._arguments())
        self._opened_at = session.next_row
        first = None if self._options.offline else session.next_row
        lost = lost_records(earlier, self._tail.read(), first=first)
        restore_media(lost, [log.parent for log in earlier], session.run)
        names = dict.fromkeys(item.key for record in lost for item in record.history.item)
        self._session = session
        axes = session.axes(name for name in names if not name.startswith("_"))
        self._send(session, [*axes, *lost, *_summaries(lost)])
        rows = [record.history.step.num for record in lost if record.HasField("history")]
        session.next_row = max([session.next_row, *(number + 1 for number in (*rows, *_stored(earlier)))])
        about: dict[str, Any] = {"run_id": self._info.id, "started": self._info.started}
        if self._info.parent is not None:
            about["parent"] = self._info.parent.id
        about["tags"] = self.memory.tags
        self._send(session, [config_record((CONFIG, name), value) for name, value in about.items() if value])
        if self.memory.tags:
            self.set_tags(self.memory.tags)
        if self.memory.note is not None:
            self.set_note(self.memory.note)

    def _arguments(self) -> dict[str, Any]:
        parent = self._info.parent
        group, job_type = self._options.group, self._options.job_type
        if parent is not None:
            group = group or f"{parent.name[: _MAX_GROUP - 10]} {parent.id[-8:]}"
            job_type = job_type or "child"
        return {"name": self._info.name or None, "project": project_name(self._info.project)} | {
            "group": group,
            "job_type": job_type,
        }

    def _send(self, session: Session, records: Sequence[Any]) -> None:
        try:
            session.send(records)
        except SessionLost as error:
            self._lost(error)
            raise
        self._tail.append(record for record in records if record.HasField("history") or record.HasField("config"))

    def _lost(self, error: SessionLost | StreamDied) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.leave()

    def _verdict(self, error: StreamDied) -> StreamDied | Denied:
        """A refused stream is opened again; if nothing came of that, or without credentials, somebody has to act."""
        self._refused_at = [at for at in self._refused_at if at == self._opened_at] + [self._opened_at]
        if not self._hopeless and not is_denial(str(error)):
            return error
        paths = " ".join(str(log.parent) for log in sessions(self._folder, self.run_id))
        return Denied(f"W&B refuses the run's data: {error}. It is on disk: wandb sync --no-skip-online {paths}")

    @property
    def _hopeless(self) -> bool:
        """Whether a stream was refused again and again: the third session shows that the second got nowhere."""
        return len(self._refused_at) >= _ATTEMPTS

    def _missing(self) -> Counter[tuple[str, str]]:
        """How many events are in rows that the server does not have, by writer and lane."""
        lost = lost_records(sessions(self._folder, self.run_id), self._tail.read(), first=self._opened_at)
        rows = [cells(record) for record in lost if record.HasField("history")]
        events = {event for row in rows for event in identities(row[SEQUENCE])}
        return Counter((writer, lane) for writer, lane, _ in events)


def config_record(path: Sequence[str], value: Any) -> Any:
    """A record that sets one value in the run's config."""
    item = pb.ConfigItem(value_json=msgspec.json.encode(value).decode())
    if len(path) == 1:
        item.key = path[0]
    else:
        item.nested_key.extend(path)
    return pb.Record(config=pb.ConfigRecord(update=[item]))


def project_name(name: str) -> str:
    """A project's name as W&B takes it; what had to be changed carries a hash of the original."""
    if 0 < len(name) <= 128 and not _NOT_PROJECT.search(name):
        return name
    end = "-" + blake2b(name.encode(errors="surrogatepass"), digest_size=4).hexdigest()
    return (_NOT_PROJECT.sub("-", name) or "unnamed")[: 128 - len(end)] + end


def _tag(name: str, value: str) -> tuple[str, bool]:
    """The tag's text, and whether it is other than what was said."""
    text = f"{name}:{value}" if value else name
    if 0 < len(text) <= _MAX_TAG and text.isprintable():
        return text, False
    end = "-" + blake2b(text.encode(errors="surrogatepass"), digest_size=4).hexdigest()
    clean = "".join(letter if letter.isprintable() else " " for letter in text).strip()
    return clean[: _MAX_TAG - len(end)] + end, True


def _history(number: int, cells: dict[str, str]) -> Any:
    record = pb.Record()
    history = record.history
    history.step.num = number
    add = history.item.add
    for name, value in cells.items():
        add(key=name, value_json=value)
    return record


def _summary(cells: dict[str, str]) -> Any:
    update = [pb.SummaryItem(key=name, value_json=value) for name, value in cells.items() if name not in _NO_SUMMARY]
    return pb.Record(summary=pb.SummaryRecord(update=update))


def _summaries(records: Sequence[Any]) -> list[Any]:
    values = {i.key: i.value_json for record in records if record.HasField("history") for i in record.history.item}
    return [_summary(values)] if values else []


def _stored(logs: Sequence[Path]) -> list[int]:
    return list(read_rows(logs))
