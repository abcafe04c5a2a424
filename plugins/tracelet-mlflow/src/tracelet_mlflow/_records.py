"""MLflow's records (points, params, tags), and how many of them a request may have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Literal, TypeAlias, TypeVar

from msgspec import Struct, field

_MAX_REQUEST = 950_000


class Point(Struct, frozen=True, gc=False):
    """One value of a metric, as `runs/log-batch` takes it; the timestamp is in milliseconds.

    Attributes:
        value: what is not finite is in the words of protobuf's JSON ("NaN", "Infinity", "-Infinity"): MLflow cuts a
            request short, with status 200, at a bare NaN.
    """

    key: str
    value: float | str
    timestamp: int
    step: int


class Entry(Struct, frozen=True, gc=False):
    """One param or tag."""

    key: str
    value: str


Table: TypeAlias = Literal["metrics", "params", "tags"]
R = TypeVar("R", Point, Entry)

LIMITS: dict[Table, int] = {"metrics": 1_000, "params": 100, "tags": 100}


class Records(Struct, Generic[R]):
    """Records of one table, and for each the place in the batch of the event that it comes from."""

    items: list[R] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.items)

    def add(self, owner: int, item: R) -> None:
        """Append a record."""
        self.items.append(item)
        self.owners.append(owner)

    def part(self, start: int, stop: int) -> Records[R]:
        """A slice of both."""
        return Records(self.items[start:stop], self.owners[start:stop])


def requests(table: Table, records: Records[R]) -> Iterator[Records[R]]:
    """The records in parts that MLflow takes: by number, by size, and, since it refuses a repeated one, by param."""
    start = size = 0
    keys: set[str] = set()
    limit = LIMITS[table]
    if table == "metrics" and limit * (128 + 4 * _longest(records)) <= _MAX_REQUEST:  # nearly always
        for at in range(0, len(records), limit):
            yield records.part(at, at + limit)
        return
    for at, record in enumerate(records.items):
        weight = _weight(record)
        repeated = table == "params" and record.key in keys
        if at > start and (repeated or at - start == limit or size + weight > _MAX_REQUEST):
            yield records.part(start, at)
            start, size = at, 0
            keys.clear()
        keys.add(record.key)
        size += weight
    if start < len(records):
        yield records.part(start, len(records))


def _longest(records: Records[R]) -> int:
    return max([len(record.key) for record in records.items], default=0)


def _weight(record: Point | Entry) -> int:
    """The most bytes a record can take as JSON: keys have nothing to escape, values six bytes a character."""
    if isinstance(record, Point):
        return 128 + 4 * len(record.key)
    return 64 + 4 * len(record.key) + 6 * len(record.value)
