"""Events as bytes: what the journal keeps for ever, and the odd values."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracelet.codec import HUGE_NUMBERS, REPAIRED, decode, encode, encode_unusual
from tracelet.events import (
    EVENT_TYPES,
    ArtifactLogged,
    Event,
    Kind,
    MetricsLogged,
    ParamsLogged,
    RunFinished,
    RunStarted,
    TagsSet,
    TextLogged,
    kind_of,
)

GOLDEN: dict[str, Event] = {
    "9501cb3ff8000000000000a16ea170c2": RunStarted(1.5, "n", "p"),
    "9302cb3ff8000000000000a9636f6d706c65746564": RunFinished(1.5, "completed"),
    "9503cb3ff800000000000082a161cb3fe0000000000000a16207fe9192a173a176": MetricsLogged(
        1.5, {"a": 0.5, "b": 7}, -2, (("s", "v"),)
    ),
    "9304cb3ff800000000000083a26c72cb3f50624dd2f1a9fca26f6ec3a1789201a179": ParamsLogged(
        1.5, {"lr": 0.001, "on": True, "x": [1, "y"]}
    ),
    "9305cb3ff800000000000081a174a175": TagsSet(1.5, {"t": "u"}),
    "9606cb3ff8000000000000a16ea474657874c090": TextLogged(1.5, "n", "text"),
    "9713cb3ff8000000000000a16da7626c6f62732f3005ce3b9aca00c3": ArtifactLogged(1.5, "m", "blobs/0", 5, 10**9),
}


@pytest.mark.parametrize(("data", "event"), GOLDEN.items(), ids=[type(event).__name__ for event in GOLDEN.values()])
def test_golden_bytes(data: str, event: Event) -> None:
    """The bytes of each event are what they were in the first release, both ways."""
    assert encode(event).hex() == data
    assert decode(kind_of(type(event)), bytes.fromhex(data)) == event


def test_every_event_type_has_golden_bytes() -> None:
    """No event type is without golden bytes."""
    assert {type(event) for event in GOLDEN.values()} == set(EVENT_TYPES.values())


def test_kinds_are_numbered_for_ever() -> None:
    """The numbers of the kinds, also of those without a type yet."""
    assert [kind.value for kind in Kind] == list(range(1, 25))
    assert Kind(9) is Kind.HISTOGRAM_LOGGED
    assert Kind(24) is Kind.SCHEMA_NOTE
    assert all(kind_of(event_type) == kind for kind, event_type in EVENT_TYPES.items())


def test_fields_of_a_later_version_are_skipped() -> None:
    """An event with fields this version does not know is decoded without them."""
    later = msgspec.msgpack.encode([3, 1.5, {"a": 1.0}, 4, [], "new", {"more": 1}])
    assert decode(3, later) == MetricsLogged(1.5, {"a": 1.0}, 4)


def test_fields_of_an_earlier_version_are_filled_in() -> None:
    """An event without the fields that came later has their defaults."""
    assert decode(6, msgspec.msgpack.encode([6, 1.5, "n", "t"])) == TextLogged(1.5, "n", "t", None, ())


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, 2**200, 10**5_000], ids=["2^64", "-2^63-1", "2^200", "10^5000"])
def test_huge_integers_survive(value: int) -> None:
    """Integers beyond 64 bits come back as they were, as values, steps and parameters."""
    event = MetricsLogged(1.0, {"a": value, "b": 0.5}, -value)
    flags, payload = encode_unusual(event)
    assert flags == HUGE_NUMBERS
    assert decode(Kind.METRICS_LOGGED | flags, payload) == event


def test_lone_surrogates_are_written_out() -> None:
    """A string that UTF-8 can't hold is repaired and flagged; its neighbours are untouched."""
    flags, payload = encode_unusual(MetricsLogged(1.0, {"a\ud800": 1.0, "é": 2.0}, 0))
    assert flags == REPAIRED
    event = decode(Kind.METRICS_LOGGED | flags, payload)
    assert event == MetricsLogged(1.0, {"a\\ud800": 1.0, "é": 2.0}, 0)


names = st.text()
numbers: st.SearchStrategy[Any] = st.one_of(st.floats(), st.integers())


@given(values=st.dictionaries(names, numbers, min_size=1), step=st.integers())
def test_any_metrics_round_trip(values: dict[str, Any], step: int) -> None:
    """Any names and numbers, NaN and huge ones included, come back as they were."""
    event = MetricsLogged(1.0, values, step)
    flags = 0
    try:
        payload = encode(event)
    except (OverflowError, UnicodeEncodeError):
        flags, payload = encode_unusual(event)
    found = decode(Kind.METRICS_LOGGED | flags, payload)
    assert isinstance(found, MetricsLogged)
    assert found.step == step
    if not flags & REPAIRED:
        assert found.values.keys() == values.keys()
        for name, value in values.items():
            same = found.values[name]
            assert type(same) is type(value)
            assert same == value or (math.isnan(same) and math.isnan(value))
