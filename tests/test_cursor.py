"""Cursors: what is saved survives a crash in the middle of saving, and one process holds each."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tracelet.journal import Cursor, LogCount, Position, holder, read_cursor


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
