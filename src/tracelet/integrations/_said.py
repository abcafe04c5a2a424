"""What frameworks say, in Tracelet's verbs: their metrics and their hyperparameters."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import msgspec

from tracelet import _values
from tracelet._redaction import redacted
from tracelet.codec import decode
from tracelet.events import Kind, Lane
from tracelet.journal import LogReader, Position, RunDirectory
from tracelet.run import AsyncRun, Run

_STATED = frozenset((Kind.PARAMS_LOGGED.value, Kind.HPARAMS_LOGGED.value))
_MANY = 1 << 16

_logger = logging.getLogger("tracelet")
_refused: set[str] = set()


class _Stated(msgspec.Struct):
    """The parameters of a run that are known, and up to where its logs have been read for them."""

    names: set[str]
    positions: dict[str, Position]


_known: WeakKeyDictionary[Run | AsyncRun, _Stated] = WeakKeyDictionary()


class Epochs:
    """Frameworks add the epoch to all that they log, so that a step may have it several times: one is enough.

    Args:
        name: of the metric.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._last: tuple[Any, int | None] | None = None

    def once(self, values: Mapping[str, Any], step: int | None) -> Mapping[str, Any]:
        """The values, without an epoch that is the last one again."""
        if self._name not in values:
            return values
        before, self._last = self._last, (values[self._name], step)
        return values if before != self._last else {name: values[name] for name in values if name != self._name}


def log_values(run: Run | AsyncRun, values: Mapping[str, Any], step: int | None) -> None:
    """Log numbers as metrics and strings as texts; names of nested mappings are joined with "/".

    What is neither is left out, with one warning for each name: a metric that can't be logged must not end a training.
    """
    numbers: dict[str, Any] = {}
    for name, value in _flat(values):
        if isinstance(value, str):
            run.log_text(name, value, step)
            continue
        if run.defers and hasattr(value, "detach") and hasattr(value, "numel") and value.numel() == 1:
            numbers[name] = value  # for the run, which need not wait for it
            continue
        try:
            numbers[name] = _values.number(value, "it")
        except TypeError as error:
            if name not in _refused:
                _refused.add(name)
                _logger.warning("the metric %r is left out: %s", name, error)
    if numbers:
        run.log_metrics(numbers, step)


def declare(run: Run | AsyncRun, values: Mapping[Any, Any]) -> None:
    """State hyperparameters that a framework or a command line has, but those that the run has by their names already.

    What was said first stays. Secrets are redacted.
    """
    flat = redacted(_values.parameters(values))
    if flat and run.active:
        names = _stated(run)
        fresh = {name: value for name, value in flat.items() if name not in names}
        if fresh:
            run.log_params(fresh)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}/")
        else:
            yield name, value


def _stated(run: Run | AsyncRun) -> set[str]:
    """The names of the parameters in the run's journal, whichever process stated them."""
    stated = _known.setdefault(run, _Stated(set(), {}))
    directory = RunDirectory(run.directory)
    for writer in directory.writers():
        with LogReader(directory.log(writer, Lane.STREAM), stated.positions.get(writer, Position())) as reader:
            try:
                while (frames := reader.read(_MANY, 1 << 24, final=False)).payloads:
                    for word, payload in zip(frames.words, frames.payloads, strict=True):
                        if word & 0xFF in _STATED:
                            stated.names |= set(getattr(decode(word, payload), "values", ()))
            except (OSError, msgspec.MsgspecError) as error:
                _logger.debug("the run's parameters can't be read back: %s", error)
            stated.positions[writer] = reader.position
    return stated.names
