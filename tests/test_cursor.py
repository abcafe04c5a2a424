"""Cursors: what is saved survives a crash in the middle of saving, and one process holds each."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tracelet
from tracelet.backend import Opened
from tracelet.journal import Cursor, LogCount, Position, RunDirectory, holder, read_cursor
from tracelet.testing import RecordingBackend


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cursors" / "backend"


def saved(path: Path, *numbers: int) -> None:
    """Save a record per number, as one process after the other would."""
    for number in numbers:
        cursor = Cursor.acquire(path)
        assert cursor is not None
        cursor.record.state = {"n": "x" * number}
        cursor.log("0000/stream").delivered = number
        cursor.save()
        cursor.release()


def test_a_new_cursor_is_at_the_start(path: Path) -> None:
    """Where there is no cursor, delivery begins at the first event."""
    assert read_cursor(path).logs == {}
    saved(path, 3)
    assert read_cursor(path).logs == {"0000/stream": LogCount(position=Position(), delivered=3)}


def test_the_last_record_is_read(path: Path) -> None:
    """Of many records of changing length the last is read."""
    saved(path, 1, 1000, 5, 700, 2)
    assert read_cursor(path).logs["0000/stream"].delivered == 2


@pytest.mark.parametrize("keep", [0, 1, 16, 17, 40, 100])
def test_a_crash_while_saving_leaves_the_record_before(path: Path, keep: int) -> None:
    """However much of a record was written when the machine died, the one before it is read."""
    saved(path, 10, 20)
    before = path.read_bytes()
    saved(path, 30)
    after = path.read_bytes()
    changed = [at for at, (old, new) in enumerate(zip(before, after, strict=False)) if old != new]
    torn = bytearray(before)
    start = changed[0] - changed[0] % (1 << 20)
    torn[start : start + keep] = after[start : start + keep]
    path.write_bytes(torn)
    assert read_cursor(path).logs["0000/stream"].delivered == 20
    saved(path, 40)
    assert read_cursor(path).logs["0000/stream"].delivered == 40


def test_a_damaged_cursor_delivers_from_the_start_and_says_so(path: Path) -> None:
    """With both slots damaged nothing is skipped: delivery begins anew, and the reason is kept."""
    saved(path, 1, 2)
    path.write_bytes(b"\xff" * path.stat().st_size)
    record = read_cursor(path)
    assert record.logs == {}
    assert "was damaged: delivering from the start again" in str(record.last_error)


def test_a_deleted_cursor_is_not_written_to(path: Path) -> None:
    """Saving a cursor whose file was deleted is an error, not a success that nobody can read."""
    cursor = Cursor.acquire(path)
    assert cursor is not None
    cursor.save()
    path.unlink()
    with pytest.raises(FileNotFoundError):
        cursor.save()
    cursor.release()


def test_a_failure_in_any_words_can_be_read_back(path: Path) -> None:
    """What a delivery failed of may name files whose names are no UTF-8."""
    cursor = Cursor.acquire(path)
    assert cursor is not None
    with cursor:
        cursor.fail("can't read caf\udce9")
    assert read_cursor(path).last_error == "can't read caf\\udce9"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("state", "url"),
    [({"experiment": 7}, None), ({"run": "\udce9"}, None), (["run"], None), ({"run": object()}, None), (None, 7)],
)
async def test_a_state_that_cant_be_read_back_is_the_plugins_fault(tmp_path: Path, state: Any, url: Any) -> None:
    """It is refused by name, and not saved: a damaged cursor would have everything delivered again."""

    class Odd(RecordingBackend):
        async def open(self, state: Any) -> Opened:
            await super().open(state)
            return Opened(given, url)

    given, backend = state, Odd()
    async with tracelet.open_run(backend, directory=tmp_path) as run:
        assert not await run.flush(5.0)
        status = run.status().backends["Odd"]
    assert status.state == "failed"
    wanted = "state must be a dict[str, str]" if url is None else "url must be a str or None"
    assert f"the plugin of Odd is at fault: its {wanted}, found" in str(status.last_error)
    assert read_cursor(RunDirectory(run.directory).cursor("Odd")).state is None


def test_one_process_holds_a_cursor(path: Path) -> None:
    """A cursor that another process holds can't be had, its holder is known, and its death frees it."""
    code = f"""
import sys
from pathlib import Path
from tracelet.journal import Cursor
cursor = Cursor.acquire(Path({str(path)!r}))
print(flush=True)
sys.stdin.read()
"""
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None
    other.stdout.readline()
    assert Cursor.acquire(path) is None
    assert holder(path) == other.pid
    other.kill()
    other.communicate()
    assert holder(path) is None
    cursor = Cursor.acquire(path)
    assert cursor is not None
    assert holder(path) == os.getpid()
    cursor.release()
