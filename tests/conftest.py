"""Fixtures of all tests."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable

import pytest

os.environ["TRACELET_CAPTURE"] = "0"  # events that a test does not say would be counted in it


_LONGEST = ("test_mlflow_delivery.py", "test_bench.py", "test_demo.py")
"""Files of few tests that take long, and work in processes of their own: no SDK is set up here for what follows."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that no worker is left with one of them when the others are done."""
    tests = Counter(item.path for item in items)
    places = {name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: (places.get(item.path.name, len(places)), -tests[item.path], item.path))


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Every async test runs on both event loops."""
    return str(request.param)


@pytest.fixture
def eventually() -> Callable[..., None]:
    """Wait until a condition holds, and fail when it does not within the deadline (in seconds)."""

    def wait(condition: Callable[[], object], deadline: float = 30.0) -> None:
        end = time.monotonic() + deadline
        while not condition():
            assert time.monotonic() < end, f"not within {deadline:g} s: {condition}"
            time.sleep(0.005)

    return wait
