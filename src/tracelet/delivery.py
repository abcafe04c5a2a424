"""Delivery: what a backend declares, and its user may override, about batching, timeouts and backpressure."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class Delivery(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How events are handed to a backend.

    A plugin states its own as the class attribute `delivery`; a user overrides single fields with
    `backend={"name": {"delivery": {"linger": 5.0}}}`.

    Attributes:
        batch_size: the most events in one `export`.
        batch_bytes: the most encoded bytes in one `export`; a single larger event goes alone.
        linger: how long to wait for more when there is less than a full batch, in seconds; also the polling interval.
        timeout: how long one call of the backend may take, in seconds; an export of files may take longer by a second
            for each 256 KiB.
        lanes: 2 if `export` may run for a batch of the stream lane and one of the bulk lane at the same time, 1 if the
            backend's SDK can't bear that.
        when_behind: "keep" delivers everything, however late; "drop_oldest" gives up metrics older than `max_lag`.
        max_lag: the age in seconds past which "drop_oldest" drops a metric, counted as dropped{behind}.
    """

    batch_size: int = 1_000
    batch_bytes: int = 1_000_000
    linger: float = 0.5
    timeout: float = 60.0
    lanes: Literal[1, 2] = 2
    when_behind: Literal["keep", "drop_oldest"] = "keep"
    max_lag: float = 3_600.0

    def __post_init__(self) -> None:
        for name in ("batch_size", "batch_bytes", "linger", "timeout", "max_lag"):
            value = getattr(self, name)
            if not value > 0:
                raise ValueError(f"delivery option {name!r} must be greater than 0, found {value!r}")
