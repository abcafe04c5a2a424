"""Records to events, and these to a run. Scalars, of which there are most, are recognised by their bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from struct import Struct
from typing import Any

from tracelet.importing._identity import FAR
from tracelet.importing._run import ImportedRun
from tracelet.tensorboard._summaries import Summaries

_time = Struct("<d").unpack_from
_value = Struct("<f").unpack_from
_WALL_TIME, _STEP, _SUMMARY = 0x09, 0x10, 0x2A  # the keys of an event's fields
_VALUE, _TAG, _SIMPLE_VALUE = b"\x0a", b"\x0a", b"\x15"
_KNOWN = 100_000  # tags whose bytes are remembered


class Decoder:
    """Says what the records of one log directory say.

    An event that is a scalar and no more is: wall time (9 bytes), step (unless it is 0), then bytes that are the same
    for each value of a tag, then the value (4 bytes). Only what has exactly these bytes is not parsed; a tag is learnt
    from its first value, which is.

    Args:
        parse: makes an Event of its bytes; raises for bytes that are none.
        context: of everything but the aliases.
        aliases: see `Summaries`.
        report: is told the tag and the reason of what can't be understood.

    Attributes:
        latest: when the latest event was written.
    """

    def __init__(
        self,
        run: ImportedRun,
        parse: Callable[[bytes], Any],
        summaries: Summaries,
        context: Mapping[str, str] | None,
        aliases: Mapping[str, tuple[str, Mapping[str, Any] | None]],
        report: Callable[[str, str], None],
    ) -> None:
        self.latest = 0.0
        self._run = run
        self._parse = parse
        self._summaries = summaries
        self._context = context
        self._aliases = aliases
        self._report = report
        self._known: dict[bytes, tuple[str, Mapping[str, Any] | None]] = {}

    def log(self, records: Sequence[bytes]) -> None:
        """Say what these records say. Raises OSError if the journal can't be written."""
        known, log_metric, value_at, time_at = self._known, self._run.log_metric, _value, _time
        time = 0.0
        for data in records:
            try:
                if data[0] != _WALL_TIME:
                    raise KeyError
                step, place = 0, 9
                if data[9] == _STEP:
                    place, shift = 10, 0
                    while (byte := data[place]) > 0x7F:
                        step |= (byte & 0x7F) << shift
                        shift += 7
                        place += 1
                    if shift > 49:
                        raise KeyError  # it may be negative
                    step |= byte << shift
                    place += 1
                name, context = known[data[place:-4]]
            except (KeyError, IndexError):
                self._log_event(data)
                continue
            (time,) = time_at(data, 1)
            log_metric(name, value_at(data, len(data) - 4)[0], step, context=context, time=time)
        self._was_at(time)

    def _log_event(self, data: bytes) -> None:
        try:
            event = self._parse(data)
        except Exception as error:  # noqa: BLE001 - the bytes are whole, and yet no event: whatever the parser says
            self._report("a record", f"it is no event ({error})")
            return
        what = event.WhichOneof("what")
        if what not in ("summary", "graph_def"):
            return
        self._was_at(event.wall_time)
        for tag, reason in self._summaries.log(self._run, self._context, event, event.step, event.wall_time):
            self._report(tag, reason)
        if what == "summary" and len(event.summary.value) == 1:
            self._learn(event.summary.value[0])

    def _was_at(self, time: float) -> None:
        if self.latest < time < FAR:
            self.latest = time

    def _learn(self, value: Any) -> None:
        if value.WhichOneof("value") == "simple_value":
            if len(self._known) >= _KNOWN:
                self._known.clear()
            self._known[scalar_bytes(value.tag)] = self._aliases.get(value.tag, (value.tag, self._context))


def scalar_bytes(tag: str) -> bytes:
    """What an event of one scalar has between its step and its value."""
    inner = _TAG + _sized(tag.encode()) + _SIMPLE_VALUE
    value = _VALUE + _varint(len(inner) + 4) + inner
    return bytes([_SUMMARY]) + _varint(len(value) + 4) + value


def _sized(data: bytes) -> bytes:
    return _varint(len(data)) + data


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)
