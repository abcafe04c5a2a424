"""What the training printed, as text files of at most about 256 KiB: `console/<writer>-<number>.log`.

MLflow can't append to a file, so the one under way is stored anew with each batch. How far it goes is in a tag of the
run, `tracelet.console.<writer>`: the number of the last event in it, the number of the file, and the file's size. The
tag is set after the file; so what comes again after a crash, in whatever batches, is left out where the tag says that
it is there, and what the file has beyond the tag is cut off before anything is added.
"""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec import Struct

from tracelet.backend import Batch
from tracelet.events import ConsoleLine
from tracelet_mlflow._names import key
from tracelet_mlflow._records import Entry
from tracelet_mlflow._transport import Run, Transport

FILE_SIZE = 256 * 1024


class _File(Struct, frozen=True):
    """The file under way, and the number of the last event in it."""

    last: int = -1
    number: int = 0
    content: bytes = b""


class Console:
    """The files of one run, by writer."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}

    async def store(self, transport: Transport, run: Run, batch: Batch) -> None:
        """Add the lines of a batch that are not there yet."""
        lines = [
            (number, event)
            for number, event in zip(batch.sequences, batch.events, strict=True)
            if type(event) is ConsoleLine
        ]
        if not lines:
            return
        file = self._files.get(batch.writer) or await _find(transport, run, batch.writer)
        for number, event in lines:
            if number <= file.last:
                continue
            if len(file.content) >= FILE_SIZE:
                await transport.upload(run, _path(batch.writer, file.number), file.content)
                file = _File(file.last, file.number + 1)
            file = _File(number, file.number, file.content + _written(event))
        await transport.upload(run, _path(batch.writer, file.number), file.content)
        mark = Entry(_tag(batch.writer), f"{file.last} {file.number} {len(file.content)}")
        await transport.log(run.run_id, "tags", [mark])
        self._files[batch.writer] = file


async def _find(transport: Transport, run: Run, writer: str) -> _File:
    """The file under way as an earlier process left it."""
    tags = await transport.get_tags(run.run_id)
    mark = tags.get(_tag(writer), "").split()
    if len(mark) != 3:
        return _File()
    last, number, size = map(int, mark)
    content = await transport.download(run, _path(writer, number)) or b""
    if len(content) < size:  # somebody deleted or changed it
        return _File(last, number + 1)
    return _File(last, number, content[:size])


def _path(writer: str, number: int) -> str:
    return f"console/{writer}-{number:05}.log"


def _tag(writer: str) -> str:
    return key(f"tracelet.console.{writer}").text


def _written(event: ConsoleLine) -> bytes:
    try:
        moment = datetime.fromtimestamp(event.time, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    except (ValueError, OverflowError, OSError):  # a time without a year of four digits
        moment = "-"
    return "".join(f"{moment} {event.stream} {line}\n" for line in event.text.split("\n")).encode()
