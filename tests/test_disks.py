"""Disks that are full, read-only or pulled away: training goes on, and the loss is counted and said once."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import tracelet
from tracelet.errors import JournalUnavailable


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB; needs root, or a kernel that lets users mount."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", place], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk(small_disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On a disk that fills up, what fits is delivered, the rest is counted, and it is said once."""
    target = {"jsonl": {"path": str(tmp_path / "events.jsonl")}}
    run = tracelet.start_logging(target, directory=small_disk, min_free=0)
    for step in range(200_000):
        run.log_metric("some/longer/name/of/a/metric", 1.0, step)
    run.log_artifact(__file__)
    tracelet.stop_logging(timeout=60)
    status = run.status()
    backend = status.backends["jsonl"]
    assert status.emitted >= 200_002
    assert 0 < status.lost < 200_000
    assert backend.dropped == {"not recorded": status.lost}
    assert backend.delivered == status.emitted - status.lost
    assert backend.pending == 0
    assert backend.outcome == "completed"
    said = capsys.readouterr().err
    assert said.count("events are being lost: No space left on device") == 1
    assert f"{status.lost:,} of {status.emitted:,} events could not be recorded and are lost" in said


def test_a_disk_that_is_full_from_the_start(small_disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where not even a journal fits, the run is inert, and the loss is counted and said."""
    (small_disk / "ballast").write_bytes(bytes(4_150_000))
    run = tracelet.start_logging(directory=small_disk, min_free=0)
    for step in range(10):
        run.log_metric("m", 1.0, step)
    tracelet.stop_logging()
    assert run.status().lost == 10
    said = capsys.readouterr().err
    assert said.count("No space left on device") == 1
    assert "10 of 10 events could not be recorded and are lost" in said


def unwritable(tmp_path: Path) -> Path:
    place = tmp_path / "file"
    place.write_text("not a directory")
    return place


def test_an_unwritable_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where no journal can be written, start_logging warns, the run is inert, and the loss is counted."""
    run = tracelet.start_logging("jsonl", directory=unwritable(tmp_path))
    run.log_metric("m", 1.0, 0)
    run.log_artifact(__file__)
    with pytest.raises(TypeError, match="value must be a number"):
        run.log_metric("m", "x", 0)  # type: ignore[arg-type]
    assert not run.active
    tracelet.stop_logging()
    said = capsys.readouterr().err
    assert said.count("no journal can be written") == 1
    assert "Set TRACELET_DIR" in said
    assert "2 of 2 events could not be recorded and are lost" in said


def test_a_read_only_directory(tmp_path: Path) -> None:
    """A read-only directory is an unwritable one; a process that runs as root is not bound by its mode."""
    place = tmp_path / "store"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,ro", "none", place], capture_output=True)
    if mounted.returncode:
        place.chmod(0o500)
        if os.access(place, os.W_OK):
            pytest.skip("root, and no tmpfs can be mounted")
    try:
        with tracelet.start_logging(directory=place) as run:
            run.log_metric("m", 1.0, 0)
            assert run.status().lost == 1
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", place], check=True)
        else:
            place.chmod(0o700)


def test_strict_raises(tmp_path: Path) -> None:
    """With strict=True a journal that can't be written is an error at the start."""
    with pytest.raises(JournalUnavailable, match="no journal can be written in"):
        tracelet.start_logging(directory=unwritable(tmp_path), strict=True)
    assert tracelet.active_run() is None


def test_a_directory_deleted_under_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], eventually: Callable[..., None]
) -> None:
    """When the run's directory is deleted, training goes on, and what is lost is counted and said once."""
    store = tmp_path / "store"
    run = tracelet.start_logging({"jsonl": {"path": str(tmp_path / "events.jsonl")}}, directory=store)
    for step in range(100):
        run.log_metric("m", 1.0, step)
    assert run.flush()
    subprocess.run(["rm", "-rf", store], check=True)
    for step in range(50):
        run.log_metric("m", 1.0, step)
    eventually(lambda: run.status().lost >= 50)
    assert run.status().emitted == 151
    lost = run.status().lost
    assert lost <= 151
    for step in range(10):
        run.log_metric("m", 1.0, step)
    assert run.status().lost == lost + 10
    tracelet.stop_logging(timeout=5)
    said = capsys.readouterr().err
    assert said.count("events are being lost: the run's directory was deleted") == 1
    assert "could not be recorded and are lost" in said
