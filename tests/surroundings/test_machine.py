"""System metrics: what the machine does, and this process's part in it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from tracelet.capture import _cgroups, _machine
from tracelet.capture._machine import Machine

ALWAYS = {
    "system/memory_percent",
    "system/memory_bytes",
    "system/process_memory_bytes",
    "system/process_threads",
    "system/process_open_files",
    "system/disk_percent",
    "system/disk_free_bytes",
}
RATES = {"system/cpu_percent", "system/process_cpu_percent"}


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(_machine, "time", clock)
    return clock


@pytest.fixture
def told() -> list[str]:
    return []


def test_what_is_measured(tmp_path: Path, told: list[str]) -> None:
    """Levels are there from the first sample on, rates from the second; all agree with psutil's."""
    machine = Machine(tmp_path, told.append)
    assert machine.measure().keys() >= ALWAYS
    end = time.monotonic() + 0.2
    while time.monotonic() < end:
        pass
    found = machine.measure()
    assert found.keys() >= ALWAYS | RATES
    assert 0 < found["system/memory_percent"] < 100
    assert found["system/disk_percent"] == pytest.approx(psutil.disk_usage(str(tmp_path)).percent, abs=2)
    assert found["system/process_memory_bytes"] == pytest.approx(psutil.Process().memory_info().rss, rel=0.2)
    assert 10 < found["system/process_cpu_percent"] < 300, "it was busy all the time, as far as it was let"
    assert 0 < found["system/cpu_percent"] <= 100
    assert all(name.startswith("system/") and type(value) is float for name, value in found.items())
    assert told == []
    machine.close()


def test_rates_are_those_since_the_last_sample(
    tmp_path: Path, told: list[str], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes and CPU seconds are divided by the time in between; counters that start anew give no negative rate."""
    totals = SimpleNamespace(read_bytes=1_000, write_bytes=0)
    cards = {"eth0": SimpleNamespace(bytes_recv=0, bytes_sent=0), "lo": SimpleNamespace(bytes_recv=0, bytes_sent=0)}
    monkeypatch.setattr(psutil, "disk_io_counters", lambda: totals)
    monkeypatch.setattr(psutil, "net_io_counters", lambda pernic: cards)
    machine = Machine(tmp_path, told.append)
    clock.now += 2.0
    totals.read_bytes, cards["eth0"].bytes_recv, cards["lo"].bytes_recv = 5_000, 600, 99_999
    found = machine.measure()
    assert found["system/disk_read_bytes_per_second"] == 2_000
    assert found["system/disk_written_bytes_per_second"] == 0
    assert found["system/network_received_bytes_per_second"] == 300
    clock.now += 1.0
    totals.read_bytes = 0
    assert machine.measure()["system/disk_read_bytes_per_second"] == 0
    assert "system/disk_read_bytes_per_second" not in machine.measure(), "no time has passed"


def test_a_container_is_measured_by_its_limits(
    tmp_path: Path, told: list[str], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is a percentage of what it may use, and CPU of the cores that it may keep busy."""
    (tmp_path / "memory.current").write_text("500\n")
    (tmp_path / "memory.stat").write_text("inactive_file 300\n")
    (tmp_path / "cpu.stat").write_text("usage_usec 1000000\n")
    share = _cgroups.Share(2, tmp_path, 1_000, tmp_path, 0.5)
    monkeypatch.setattr(_machine, "share", lambda: share)
    machine = Machine(tmp_path, told.append)
    (tmp_path / "cpu.stat").write_text("usage_usec 2000000\n")
    clock.now += 4.0
    found = machine.measure()
    assert (found["system/memory_percent"], found["system/memory_bytes"]) == (20.0, 200.0)
    assert found["system/cpu_percent"] == pytest.approx(50.0)


def test_the_processes_that_it_started_are_counted(tmp_path: Path, told: list[str], clock: Clock) -> None:
    """Those of its session are, such as ones that load data; those with a session of their own, as delivery, not."""
    machine = Machine(tmp_path, told.append)
    assert "system/workers_cpu_percent" not in machine.measure()
    code = "import sys\nwhile True:\n    for _ in range(10**7): pass\n    print(1, flush=True)"
    started = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=own)
        for own in (False, True)
    ]
    try:
        for process in started:
            assert process.stdout is not None
            process.stdout.readline()
        clock.now += 1.0
        found = machine.measure()
        seen = _machine.workers(os.getpid())
    finally:
        for process in started:
            process.kill()
            process.communicate()
    assert started[0].pid in seen
    assert started[1].pid not in seen
    assert found["system/workers_cpu_percent"] > 1
    assert found["system/workers_memory_bytes"] > 1 << 20


@pytest.mark.parametrize(
    "error",
    [psutil.AccessDenied(1), FileNotFoundError(2, "No such file or directory", "/proc/stat"), RuntimeError("odd")],
)
def test_what_is_refused_is_said_once_and_left_out(
    tmp_path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The other measurements go on."""

    def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(psutil, "cpu_times", refuse)
    monkeypatch.setattr(psutil.Process, "memory_info", refuse)
    machine = Machine(tmp_path, told.append)
    machine.measure()
    found = machine.measure()
    assert len(told) == 2
    assert told[0].startswith(f"system metrics are without cpu: {type(error).__name__}")
    assert "without this process" in told[1]
    assert {"system/memory_percent", "system/disk_percent"} <= found.keys()


def test_a_machine_without_counters(tmp_path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no disk and no network to be seen, nothing is said of them."""
    monkeypatch.setattr(psutil, "disk_io_counters", lambda: None)
    monkeypatch.setattr(psutil, "net_io_counters", lambda pernic: {})
    machine = Machine(tmp_path, told.append)
    assert not any("network" in name or "disk_read" in name for name in machine.measure())
    assert told == []
