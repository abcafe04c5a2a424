"""Fixtures of all tests."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest


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
