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
    Kind,
    LayoutSet,
    MeshLogged,
    MetricsLogged,
    ModelLogged,
    ModelRegistered,
    NoteSet,
    ParamsLogged,
    RunFinished,
    RunStarted,
    TableLogged,
    TagsSet,
    TensorLogged,
    TextLogged,
    VideoLogged,
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
    "9e07cb3ff8000000000000a169a7626c6f62732f300507c3fe9192a173a176a36e7079a348574392a161a1629194cb0000000000000000cb3ff0000000000000cb4004000000000000cb400800000000000091a16c": ImageLogged(  # noqa: E501
        1.5, "i", "blobs/0", 5, 7, True, -2, (("s", "v"),), "npy", "HWC", ("a", "b"), ((0.0, 1.0, 2.5, 3.0),), ("l",)
    ),
    "9a08cb3ff8000000000000a166a7626c6f62732f300507c30390a6706c6f746c79": FigureLogged(
        1.5, "f", "blobs/0", 5, 7, True, 3, (), "plotly"
    ),
    "9d09cb3ff8000000000000a168a7626c6f62732f300507c30390a36e707a1ea46175746f09": HistogramLogged(
        1.5, "h", "blobs/0", 5, 7, True, 3, (), "npz", 30, "auto", 9
    ),
    "9c0acb3ff8000000000000a161a7626c6f62732f300507c30390a36e7079cd3e80a163": AudioLogged(
        1.5, "a", "blobs/0", 5, 7, True, 3, (), "npy", 16_000, "c"
    ),
    "9d0bcb3ff8000000000000a176a7626c6f62732f300507c30390a36e7079a454485743cb4010000000000000a163": VideoLogged(
        1.5, "v", "blobs/0", 5, 7, True, 3, (), "npy", "THWC", 4.0, "c"
    ),
    "9a0ccb3ff8000000000000a174a7626c6f62732f300507c30390a76d73677061636b": TableLogged(
        1.5, "t", "blobs/0", 5, 7, True, 3, (), "msgpack"
    ),
    "9b0dcb3ff8000000000000a16da7626c6f62732f300507c30390a36e707aa27b7d": MeshLogged(
        1.5, "m", "blobs/0", 5, 7, True, 3, (), "npz", "{}"
    ),
    "9b0ecb3ff8000000000000a165a7626c6f62732f300507c30390a36e707aa44e485743": EmbeddingLogged(
        1.5, "e", "blobs/0", 5, 7, True, 3, (), "npz", "NHWC"
    ),
    "9a0fcb3ff8000000000000a167a7626c6f62732f300507c30390a46a736f6e": GraphLogged(
        1.5, "g", "blobs/0", 5, 7, True, 3, (), "json"
    ),
    "9e10cb3ff8000000000000a163a7626c6f62732f300507c30390a36e707aa2707232a178a179": CurveLogged(
        1.5, "c", "blobs/0", 5, 7, True, 3, (), "npz", "pr", 50, "x", "y"
    ),
    "9a14cb3ff8000000000000a16da7626c6f62732f300507c303a77079746f72636881a16101": ModelLogged(
        1.5, "m", "blobs/0", 5, 7, True, 3, "pytorch", {"a": 1}
    ),
    "9615cb3ff8000000000000a172a16d91a462657374a164": ModelRegistered(1.5, "r", "m", ("best",), "d"),
    "9816cb3ff8000000000000a164a673333a2f2f64a26162a8747261696e696e6781a178a5666c6f617481a4726f777303": DatasetUsed(
        1.5, "d", "s3://d", "ab", "training", {"x": "float"}, {"rows": 3}
    ),
    "9417cb3ff8000000000000a16ca6737464657272": ConsoleLine(1.5, "l", "stderr"),
    "9319cb3ff8000000000000a16e": NoteSet(1.5, "n"),
    "9611cb3ff800000000000082a26c72cb3f50624dd2f1a9fca16fa17891a361636381a16f92a178a179a27431": HParamsLogged(
        1.5, {"lr": 0.001, "o": "x"}, ("acc",), {"o": ["x", "y"]}, "t1"
    ),
    "9312cb3ff800000000000081a16381a17492a94d756c74696c696e6592a161a162": LayoutSet(
        1.5, {"c": {"t": ("Multiline", ["a", "b"])}}
    ),
    "9a1acb3ff8000000000000a174a7626c6f62732f300507c30390a36e7079": TensorLogged(
        1.5, "t", "blobs/0", 5, 7, True, 3, (), "npy"
    ),
}

EARLIER: dict[str, Event] = {
    "9c07cb3ff8000000000000a169a7626c6f62732f300507c3fe9192a173a176a36e7079a348574392a161a162": ImageLogged(
        1.5, "i", "blobs/0", 5, 7, True, -2, (("s", "v"),), "npy", "HWC", ("a", "b")
    ),
    "9b09cb3ff8000000000000a168a7626c6f62732f300507c30390a36e707a1e": HistogramLogged(
        1.5, "h", "blobs/0", 5, 7, True, 3, (), "npz", 30
    ),
    "9a0dcb3ff8000000000000a16da7626c6f62732f300507c30390a36e707a": MeshLogged(
        1.5, "m", "blobs/0", 5, 7, True, 3, (), "npz"
    ),
    "9a0ecb3ff8000000000000a165a7626c6f62732f300507c30390a36e707a": EmbeddingLogged(
        1.5, "e", "blobs/0", 5, 7, True, 3, (), "npz"
    ),
}
"""Events as they were written before fields were appended to them."""


@pytest.mark.parametrize(("data", "event"), GOLDEN.items(), ids=[type(event).__name__ for event in GOLDEN.values()])
def test_golden_bytes(data: str, event: Event) -> None:
    """The bytes of each event are what they were in the first release, both ways."""
    assert encode(event).hex() == data
    assert decode(kind_of(type(event)), bytes.fromhex(data)) == event


@pytest.mark.parametrize(("data", "event"), EARLIER.items(), ids=[type(event).__name__ for event in EARLIER.values()])
def test_earlier_golden_bytes(data: str, event: Event) -> None:
    """What was written before a type of event got more fields is still read."""
    assert decode(kind_of(type(event)), bytes.fromhex(data)) == event


def test_every_event_type_has_golden_bytes() -> None:
    """No event type is without golden bytes."""
    assert {type(event) for event in GOLDEN.values()} == set(EVENT_TYPES.values())


def test_kinds_are_numbered_for_ever() -> None:
    """The numbers of the kinds, also of those without a type yet."""
    assert [kind.value for kind in Kind] == list(range(1, 27))
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
