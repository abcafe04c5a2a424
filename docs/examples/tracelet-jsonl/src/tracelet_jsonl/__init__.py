"""An example of a Tracelet backend plugin: events as lines of JSON in a file."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import msgspec

from tracelet.backend import Batch, Idempotency, Opened, Outcome, RunInfo, State, mapped, native
from tracelet.checks import Check, folder
from tracelet.delivery import Delivery
from tracelet.events import LANES, FileLogged, MetricsLogged, RunFinished, RunStarted


class JsonLinesOptions(msgspec.Struct, forbid_unknown_fields=True):
    """Where the file is."""

    path: str = "events.jsonl"

    def __post_init__(self) -> None:
        self.path = str(Path(self.path).absolute())


class JsonLines:
    """One file for all runs; a line is `{"run", "writer", "lane", "sequence", "kind", …the event's fields}`."""

    delivery = Delivery(batch_size=1_000, linger=0.2)
    handles = {
        kind: mapped("a line with the file's path") if issubclass(kind, FileLogged) else native("a line")
        for kind in LANES
        if kind is not RunFinished
    } | {RunStarted: native("the parent's id in the first line")}
    idempotency = Idempotency.KEYED
    Options = JsonLinesOptions

    def __init__(self, options: JsonLinesOptions, run: RunInfo) -> None:
        self._path = Path(options.path)
        self._run = run
        self._last: dict[tuple[str, str], int] = {}

    @staticmethod
    async def check(options: JsonLinesOptions) -> list[Check]:
        """What `tracelet doctor` asks."""
        return [folder(Path(options.path).parent, "a file in")]

    async def open(self, state: State | None) -> Opened:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._mend()
        if not any(line["kind"] == "opened" for line in self._lines()):
            parent = None if self._run.parent is None else self._run.parent.id
            self._write([{"kind": "opened", "name": self._run.name, "project": self._run.project, "parent": parent}])
        for line in self._lines():
            if "sequence" in line:
                self._last[line["writer"], line["lane"]] = line["sequence"]
        return Opened(state={}, url=self._path.as_uri())

    async def export(self, batch: Batch) -> None:
        last = self._last.get((batch.writer, batch.lane), -1)
        lines = [
            {"writer": batch.writer, "lane": batch.lane, "sequence": sequence, "kind": type(event).__name__}
            | msgspec.structs.asdict(event)
            for event, sequence in zip(batch.events, batch.sequences, strict=True)
            if sequence > last
        ]
        for index, event in enumerate(batch.events):
            if isinstance(event, MetricsLogged) and not all(map(_finite, event.values.values())):
                batch.degrade(index, "a number that JSON has not: written as text")
        self._write(lines)
        self._last[batch.writer, batch.lane] = max(last, batch.sequences[-1])

    async def finish(self, outcome: Outcome, time: float) -> None:
        self._write([{"kind": "closed", "outcome": outcome.value, "time": time}])

    async def close(self) -> None:
        """Nothing: the file is open only while it is written to."""

    def _lines(self) -> list[dict[str, Any]]:
        """The run's lines that are in the file."""
        lines = map(msgspec.json.decode, self._path.read_bytes().splitlines())
        return [line for line in lines if line["run"] == self._run.id]

    def _write(self, lines: list[dict[str, Any]]) -> None:
        with self._locked() as file:
            file.write(b"".join(msgspec.json.encode({"run": self._run.id} | _sayable(line)) + b"\n" for line in lines))

    def _mend(self) -> None:
        """Cut off the half line that a crash may have left."""
        with self._locked() as file:
            file.seek(0)
            data = file.read()
            if not data.endswith(b"\n"):
                file.truncate(data.rfind(b"\n") + 1)

    @contextmanager
    def _locked(self) -> Iterator[IO[bytes]]:
        """The file, which no other run writes to meanwhile; each has a process of its own."""
        with self._path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file
            file.flush()


def _finite(value: float) -> bool:
    """Whether JSON has such a number."""
    return -(2**63) <= value < 2**64 if isinstance(value, int) else abs(value) < float("inf")


def _sayable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sayable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_sayable(item) for item in value]
    return str(value) if isinstance(value, int | float) and not _finite(value) else value
