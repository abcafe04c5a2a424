"""Ranks: which of the processes that a launcher started this one is, and which run they share."""

from __future__ import annotations

import hashlib
import itertools
import os
import uuid
from collections.abc import Sequence
from math import inf

import msgspec

from tracelet.errors import InvalidSetting
from tracelet.journal import Process

_RANK = "RANK"
_OTHER_RANKS = ("OMPI_COMM_WORLD_RANK", "SLURM_PROCID", "LOCAL_RANK")  # mpirun's own helpers are tasks of SLURM, too
_COUNTS = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE")
_STEP_COUNT = "SLURM_NTASKS"
_LOCAL_COUNTS = ("LOCAL_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE")
_MPI_JOBS = ("PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid")
_TORCHRUN = "TORCHELASTIC_RUN_ID"
_NO_STEP = 0xFFFFFFF0  # from here on SLURM numbers what srun did not start: a batch script, an interactive shell

_begun: set[str] = set()  # the runs of this process, by id


def current() -> int:
    """This process's rank: RANK (torchrun) if it is set, else the first of the other launchers' that is above 0."""
    rank = _number(_RANK)
    if rank is not None:
        return rank
    return next((number for name in _OTHER_RANKS if (number := _number(name))), 0)


def count() -> int:
    """How many ranks there are; 1 where no launcher says so."""
    names = _COUNTS if _step() is None else (*_COUNTS, _STEP_COUNT)
    return next((number for name in names if (number := _number(name))), 1)


def is_worker() -> bool:
    """Whether `multiprocessing` started this process, also while it still executes the script again."""
    import multiprocessing

    process = multiprocessing.current_process()
    return multiprocessing.parent_process() is not None or hasattr(process, "_inheriting")


def shared_run_id() -> str:
    """The id of the run that all ranks of this launch share: the first such id that is new to this process.

    The ranks do not talk to each other: each makes the id of what it knows the others know, too. That is the job that
    SLURM has numbered (so that a requeued job goes on with its run) or mpirun has named, else the launcher that is
    above all of them on this host. A later launch may come to the same id: see `started_again`.

    Raises:
        InvalidSetting: there is nothing of that kind.
    """
    known = _slurm_job() or _mpi_job() or _local_launch()
    if known is None:
        raise InvalidSetting(
            "run_id", None, "the same in all ranks with all_ranks=True: set TRACELET_RUN_ID before the launch"
        )
    ids = (_id_of([*known, str(number)]) for number in itertools.count())
    return next(run_id for run_id in ids if run_id not in _begun)


def note_begun(run_id: str) -> None:
    """Have the next run that the ranks share be another one. Not for a run that could not begin in this rank alone."""
    _begun.add(run_id)


def _id_of(marks: Sequence[str]) -> str:
    digest = hashlib.sha256("\0".join(marks).encode()).digest()
    value = int.from_bytes(digest[:16], "big")
    value = value & ~(0xF << 76) | 8 << 76  # version 8 of RFC 9562: made of whatever one likes
    value = value & ~(0x3 << 62) | 2 << 62
    return str(uuid.UUID(int=value))


def started_again(process: Process, since: float) -> bool:
    """Whether the launcher says that it starts its ranks again, of which one was that process, and logged since then.

    If not, another launch had the same marks.
    """
    if _number("TORCHELASTIC_RESTART_COUNT"):
        launcher = _launcher([_TORCHRUN])
        if launcher is None or process.boot_id != launcher.boot_id:
            return True
        if process.started >= launcher.started:
            return True
    # A requeued job may start several launches, too: what is younger than the job's present start was one of these.
    return bool(_number("SLURM_RESTART_COUNT")) and since < (_number("SLURM_JOB_START_TIME") or inf)


def _slurm_job() -> list[str] | None:
    names = ("SLURM_CLUSTER_NAME", "SLURM_SUBMIT_DIR", "SLURM_JOB_ID")
    if not os.environ.get(names[-1]):
        return None
    step = None if _mpi_name() else _step()  # of mpirun's ranks only those on other hosts have one
    return [*(os.environ.get(name, "") for name in names), "" if step is None else str(step)]


def _mpi_job() -> list[str] | None:
    name = _mpi_name()
    if name is None:
        return None
    # The name is made of a host's and a process's number, which containers have all alike.
    on_one_host = any(map(_number, _LOCAL_COUNTS)) and not _spread()
    launcher = _launcher(_MPI_JOBS) if on_one_host else None
    return [name, *_marks(launcher)]


def _local_launch() -> list[str] | None:
    if _spread() or not (_TORCHRUN in os.environ or is_worker()):
        return None
    return _marks(_launcher([_TORCHRUN])) or None


def _marks(process: Process | None) -> list[str]:
    """What tells a process from all others."""
    return [] if process is None else list(map(str, msgspec.structs.astuple(process)))


def _launcher(variables: Sequence[str]) -> Process | None:
    """The launcher: the nearest process above that was not started with the variables; None if that can't be seen.

    It need not be the parent: each rank may have a shell of its own.
    """
    import psutil  # type: ignore[import-untyped]

    own = [name for name in variables if name in os.environ]
    try:
        process = psutil.Process(os.getppid())
        while process is not None and any(name in process.environ() for name in own):
            process = process.parent()
    except (psutil.Error, OSError):
        return None
    return None if process is None else Process.of(process.pid)


def _step() -> int | None:
    """The number of the job's step that `srun` started this process in; None if it did not."""
    step = _number("SLURM_STEP_ID")
    return None if step is None or step >= _NO_STEP else step


def _mpi_name() -> str | None:
    """What mpirun calls its job; None if it did not start this process (srun names its steps for MPI, too)."""
    names = (os.environ.get(name, "") for name in _MPI_JOBS)
    return next((name for name in names if name and not name.startswith("slurm.")), None)


def _spread() -> bool:
    """Whether some of the ranks are on other hosts."""
    return any((number := _number(name)) and number < count() for name in _LOCAL_COUNTS)


def _number(name: str) -> int | None:
    """A variable that launchers set; None if it is no number, and so somebody else's."""
    value = os.environ.get(name, "")
    return int(value) if value.isdecimal() and value.isascii() else None
