"""What the machine does: processors, memory, disk, network, graphics cards, and this process's part in it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil  # type: ignore[import-untyped]
from msgspec import Struct

from tracelet.capture._cgroups import share
from tracelet.capture._gpus import Gpus

_SHORTEST = 0.05  # seconds between two readings of which a rate is made


class Worker(Struct, frozen=True):
    """A process that this one has started: seconds of CPU time, and bytes of memory."""

    cpu: float
    memory: int


class Machine:
    """Measured again and again, by one thread. Rates are those since the measurement before.

    What can't be measured (in a container, by a user without rights) is left out, and said once.

    Args:
        folder: whose file system is looked at.
        tell: tells the user.
    """

    def __init__(self, folder: Path, tell: Callable[[str], None]) -> None:
        self._folder = folder
        self._tell = tell
        self._process = psutil.Process()
        self._share = share()
        self._gpus = Gpus()
        self._failed: set[str] = set()
        self._before: dict[str, float] = {}  # what only grows, at the last measurement
        self._seen: dict[int, Worker] = {}
        self._measured = time.monotonic()
        self._elapsed = 0.0
        self.measure()  # of the first one, what only grows is all that is of use

    def close(self) -> None:
        """Let go of what it holds."""
        self._gpus.close()

    def measure(self) -> dict[str, float]:
        """By the metric's name. See docs/capture.md for what each one is."""
        now = time.monotonic()
        self._elapsed, self._measured = now - self._measured, now
        found: dict[str, float] = {}
        probes = self._cpu, self._memory, self._this_process, self._workers, self._disk, self._traffic, self._network
        for probe in probes:
            if probe.__name__ not in self._failed:
                try:
                    found |= probe()
                except Exception as error:  # noqa: BLE001 - whatever a machine of somebody's refuses
                    self._failed.add(probe.__name__)
                    what = probe.__name__.strip("_").replace("_", " ")
                    self._tell(f"system metrics are without {what}: {type(error).__name__}: {error}")
        return found | self._gpus.measure()

    def _rate(self, name: str, total: float) -> float | None:
        """How much it grew in each second since the measurement before; None at the first."""
        before = self._before.get(name)
        self._before[name] = total
        if before is None or self._elapsed < _SHORTEST:
            return None
        return max(0.0, total - before) / self._elapsed

    def _rates(self, scale: float = 1.0, **totals: float) -> dict[str, float]:
        rates = {f"system/{name}": self._rate(name, total) for name, total in totals.items()}
        return {name: rate * scale for name, rate in rates.items() if rate is not None}

    def _cpu(self) -> dict[str, float]:
        used = self._share.cpu_seconds()
        if used is not None and self._share.cores:
            return self._rates(100.0 / self._share.cores, cpu_percent=used)
        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # they are in user and nice as well
        busy, whole = self._rate("busy", sum(times) - guests - idle), self._rate("all", sum(times) - guests)
        return {"system/cpu_percent": 100.0 * busy / whole} if busy is not None and whole else {}

    def _memory(self) -> dict[str, float]:
        limit, used = self._share.memory_limit, self._share.memory_used()
        if not limit or used is None:
            memory = psutil.virtual_memory()
            limit, used = memory.total, memory.total - memory.available
        return {"system/memory_percent": 100.0 * used / limit, "system/memory_bytes": float(used)}

    def _this_process(self) -> dict[str, float]:
        with self._process.oneshot():
            cpu = self._process.cpu_times()
            found = {
                "system/process_memory_bytes": float(self._process.memory_info().rss),
                "system/process_threads": float(self._process.num_threads()),
                "system/process_open_files": float(self._process.num_fds()),
            }
        return found | self._rates(100.0, process_cpu_percent=cpu.user + cpu.system)

    def _workers(self) -> dict[str, float]:
        """The processes that this one started and that belong to it: those that load its data, for instance."""
        before, self._seen = self._seen, workers(os.getpid())
        if not self._seen:
            return {}
        found = {"system/workers_memory_bytes": float(sum(one.memory for one in self._seen.values()))}
        if self._elapsed >= _SHORTEST:
            grown = sum(one.cpu - (before[pid].cpu if pid in before else 0.0) for pid, one in self._seen.items())
            found["system/workers_cpu_percent"] = 100.0 * max(0.0, grown) / self._elapsed
        return found

    def _disk(self) -> dict[str, float]:
        usage = psutil.disk_usage(str(self._folder))
        return {"system/disk_percent": float(usage.percent), "system/disk_free_bytes": float(usage.free)}

    def _traffic(self) -> dict[str, float]:
        counters = psutil.disk_io_counters()
        if counters is None:
            return {}
        return self._rates(
            disk_read_bytes_per_second=counters.read_bytes, disk_written_bytes_per_second=counters.write_bytes
        )

    def _network(self) -> dict[str, float]:
        cards = [counters for name, counters in psutil.net_io_counters(pernic=True).items() if name != "lo"]
        if not cards:
            return {}
        return self._rates(
            network_received_bytes_per_second=sum(one.bytes_recv for one in cards),
            network_sent_bytes_per_second=sum(one.bytes_sent for one in cards),
        )


def workers(parent: int) -> dict[int, Worker]:
    """The children in the parent's session; that leaves out delivery, which has sessions of its own.

    psutil would read the record of every process of the machine to find them. Where the kernel does not list them,
    there are none.
    """
    found = {}
    session = os.getsid(0)
    ticks, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    for pid in _children(parent):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        if int(fields[3]) == session:
            found[pid] = Worker((int(fields[11]) + int(fields[12])) / ticks, int(fields[21]) * page)
    return found


def _children(parent: int) -> list[int]:
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{parent}/task")
        for thread in threads:
            found += map(int, Path(f"/proc/{parent}/task/{thread}/children").read_text().split())
    except OSError:
        return found
    return found
