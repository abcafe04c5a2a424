"""The share of the machine that a container, or a batch job, may have: control groups, of both versions."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

_UNLIMITED = 1 << 60  # version 1 says so with a number that is larger than any machine


class Share(Struct):
    """The folders that say what this process's group uses and may use; None where there is no limit.

    Attributes:
        memory, memory_limit: of the group with the tightest limit.
        cores: how many it may keep busy.
    """

    version: int
    memory: Path | None = None
    memory_limit: int | None = None
    cpu: Path | None = None
    cores: float | None = None

    def memory_used(self) -> int | None:
        """Bytes in use, without what the kernel would give back at once."""
        if self.memory is None:
            return None
        try:
            used = int((self.memory / ("memory.current" if self.version == 2 else "memory.usage_in_bytes")).read_text())
            fields = dict(line.split() for line in (self.memory / "memory.stat").read_text().splitlines())
            idle = int(fields.get("inactive_file" if self.version == 2 else "total_inactive_file", 0))
        except (OSError, ValueError):
            return None
        return max(0, used - idle)

    def cpu_seconds(self) -> float | None:
        """CPU time that the group has had."""
        if self.cpu is None:
            return None
        try:
            if self.version == 1:
                return int((self.cpu / "cpuacct.usage").read_text()) / 1e9
            fields = dict(line.split() for line in (self.cpu / "cpu.stat").read_text().splitlines())
            return int(fields["usage_usec"]) / 1e6
        except (OSError, ValueError, KeyError):
            return None


def share(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> Share:
    """This process's.

    Args:
        root: where control groups are mounted.
        own: the file that says which group the process is in.
    """
    try:
        lines = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:
        lines = []
    groups = {name: line[2] for line in lines if len(line) == 3 for name in line[1].split(",")}
    found = Share(2 if (root / "cgroup.controllers").exists() else 1)
    if found.version == 2:
        for folder in _upwards(root, groups.get("", "/")):
            _tighten_memory(found, folder, _number(folder / "memory.max"))
            _tighten_cpu(found, folder, *_quota(folder / "cpu.max"))
    else:
        for folder in _upwards(root / "memory", groups.get("memory", "/")):
            _tighten_memory(found, folder, _number(folder / "memory.limit_in_bytes"))
        for folder in _upwards(root / "cpu", groups.get("cpu", "/")):
            _tighten_cpu(found, folder, _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us"))
        if found.cpu is not None and not (found.cpu / "cpuacct.usage").exists():
            found.cpu, found.cores = None, None
    return found


def _upwards(mount: Path, group: str) -> list[Path]:
    """The folders of a group and of those around it. In a container the group may not be visible, only its content."""
    place = mount / group.strip("/")
    if not place.is_dir():
        return [mount]
    return [place, *(parent for parent in place.parents if parent.is_relative_to(mount))]


def _tighten_memory(found: Share, folder: Path, limit: int | None) -> None:
    if limit is not None and limit < min(found.memory_limit or _UNLIMITED, _UNLIMITED):
        found.memory, found.memory_limit = folder, limit


def _tighten_cpu(found: Share, folder: Path, quota: int | None, period: int | None) -> None:
    if quota is not None and quota > 0 and period and (found.cores is None or quota / period < found.cores):
        found.cpu, found.cores = folder, quota / period


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None  # there is no such file, or it says "max"


def _quota(file: Path) -> tuple[int | None, int | None]:
    try:
        quota, period = file.read_text().split()
        return int(quota), int(period)
    except (OSError, ValueError):
        return None, None
