"""Ranks: which of the processes that a launcher started this one is, and which run they share."""

from __future__ import annotations

import hashlib
import itertools
import os
import uuid
from collections.abc import Iterator

from tracelet.errors import InvalidSetting
from tracelet.journal import Process

_RANK = "RANK"
_OTHER_RANKS = ("SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "LOCAL_RANK")
_COUNTS = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_NTASKS")
_LOCAL_COUNTS = ("LOCAL_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE")
_JOBS = (("SLURM_JOB_ID", "SLURM_STEP_ID"), ("PMIX_NAMESPACE",), ("OMPI_MCA_ess_base_jobid",))

_shared: Iterator[int] = itertools.count()


def current() -> int:
    """This process's rank: RANK (torchrun) if it is set, else the first of the other launchers' that is above 0."""
    rank = _number(_RANK)
    if rank is not None:
        return rank
    return next((number for name in _OTHER_RANKS if (number := _number(name))), 0)


def count() -> int:
    """How many ranks there are; 1 where no launcher says so."""
    return next((number for name in _COUNTS if (number := _number(name))), 1)


def is_worker() -> bool:
    """Whether `multiprocessing` started this process."""
    import multiprocessing

    return multiprocessing.parent_process() is not None


def shared_run_id() -> str:
    """The id of the run that all ranks of this launch share, for the first, second, … such run of the process.

    The ranks do not talk to each other: each makes the id of what it knows the others know, too. That is the job that
    SLURM or MPI has numbered (so that a requeued job goes on with its run), else the launcher that is the parent
    process of all.

    Raises:
        InvalidSetting: there is nothing of that kind.
    """
    ordinal = next(_shared)
    job = next((names for names in _JOBS if os.environ.get(names[0])), None)
    if job is not None:
        places = ("SLURM_CLUSTER_NAME", "SLURM_SUBMIT_DIR")
        known = [os.environ.get(name, "") for name in (*places, *job)]
    else:
        parent = Process.of(os.getppid())
        spread = any((number := _number(name)) and number < count() for name in _LOCAL_COUNTS)
        if spread or not ("TORCHELASTIC_RUN_ID" in os.environ or is_worker()):
            raise InvalidSetting(
                "run_id", None, "the same in all ranks with all_ranks=True: set TRACELET_RUN_ID before the launch"
            )
        known = [parent.host, parent.boot_id, str(parent.pid), str(parent.started)]
    digest = hashlib.sha256("\0".join([*known, str(ordinal)]).encode()).digest()
    value = int.from_bytes(digest[:16], "big")
    value = value & ~(0xF << 76) | 8 << 76  # version 8 of RFC 9562: made of whatever one likes
    value = value & ~(0x3 << 62) | 2 << 62
    return str(uuid.UUID(int=value))


def _number(name: str) -> int | None:
    """A variable that launchers set; None if it is no number, and so somebody else's."""
    value = os.environ.get(name, "")
    return int(value) if value.isdecimal() and value.isascii() else None
