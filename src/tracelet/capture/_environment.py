"""What the program runs in: Python, the machine, its graphics cards, the batch system."""

from __future__ import annotations

import os
import platform
import re
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from tracelet._redaction import redacted_text
from tracelet.capture._cgroups import share
from tracelet.capture._gpus import Gpus

# Of the environment's variables only those that say how a training is spread and sized, and none with a secret's name.
_VARIABLES = re.compile(
    r"CUDA_VISIBLE_DEVICES|CUDA_DEVICE_ORDER|CUBLAS_WORKSPACE_CONFIG|NVIDIA_VISIBLE_DEVICES|HIP_VISIBLE_DEVICES"
    r"|(?:OMP|MKL|OPENBLAS|NUMEXPR|VECLIB)_[A-Z_]+|NCCL_[A-Z_0-9]+|PYTORCH_[A-Z_]*CONF|TORCH_[A-Z_]+|TF_(?:CUDNN|DETERMINISTIC|ENABLE|FORCE|GPU|NUM|XLA)_[A-Z_]+|XLA_[A-Z_]+"
    r"|(?:LOCAL_|GROUP_|ROLE_|NODE_)?RANK|(?:LOCAL_|GROUP_|ROLE_)?WORLD_SIZE|MASTER_(?:ADDR|PORT)"
    r"|SLURM_(?:JOB|ARRAY|STEP|CLUSTER|NODE|N?TASK|CPUS|GPUS|MEM|SUBMIT|PROC|LOCAL|RESTART|PARTITION|NNODES|NPROCS)[A-Z_]*"
    r"|PBS_(?:JOBID|JOBNAME|QUEUE)|LSB_(?:JOBID|JOBNAME|QUEUE)|JOB_ID|SGE_TASK_ID|OMPI_COMM_WORLD_[A-Z_]+"
    r"|KUBERNETES_SERVICE_HOST|POD_NAME|POD_NAMESPACE|NODE_NAME|CONDA_DEFAULT_ENV|VIRTUAL_ENV|PYTHONHASHSEED|TZ|LANG"
)
_NOT_THESE = re.compile(r"TOKEN|SECRET|PASSW|KEY|CRED|AUTH|JWT", re.I)
_LONGEST = 1_000


def environment() -> dict[str, Any]:
    """All of it, for `environment.json`."""
    found: dict[str, Any] = {
        "python": {
            "version": platform.python_version(),
            "implementation": platform.python_implementation(),
            "executable": sys.executable,
        },
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "user": os.environ.get("USER") or os.environ.get("LOGNAME") or str(os.getuid()),
        "cpu": _cpu(),
        "memory": _memory(),
    }
    gpus = Gpus()
    try:
        if gpus.cards:
            cards = [{"index": card.index, "name": card.name, "memory": card.memory} for card in gpus.cards]
            found["gpu"] = {"cards": cards, "driver": gpus.driver, "cuda": gpus.cuda}
    finally:
        gpus.close()
    if libraries := _libraries():
        found["libraries"] = libraries
    if container := _container():
        found["container"] = container
    found["variables"] = variables()
    return found


def tags(described: dict[str, Any]) -> dict[str, str]:
    """The few that one looks for a run by."""
    found = {"env.host": described["host"], "env.python": described["python"]["version"]}
    names = [card["name"] for card in described.get("gpu", {}).get("cards", ())]
    if names:
        found["env.gpu"] = ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))
    job = next((os.environ[name] for name in ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID") if os.environ.get(name)), None)
    return found if job is None else found | {"env.job": job}


def variables() -> dict[str, str]:
    """The environment's variables that are kept, by name."""
    return {
        name: redacted_text(value)[:_LONGEST]
        for name, value in sorted(os.environ.items())
        if _VARIABLES.fullmatch(name) and not _NOT_THESE.search(name)
    }


def _cpu() -> dict[str, Any]:
    found: dict[str, Any] = {"count": os.cpu_count(), "machine": platform.machine()}
    with suppress(OSError, AttributeError):
        found["usable"] = len(os.sched_getaffinity(0))
    if cores := share().cores:
        found["limit"] = cores
    with suppress(OSError):
        match = re.search(r"^model name\s*:\s*(.*)$", _beginning(Path("/proc/cpuinfo")), re.M)
        if match is not None:
            found["model"] = match[1]
    return found


def _memory() -> dict[str, int]:
    found = {}
    with suppress(OSError, ValueError, AttributeError):
        found["total"] = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if limit := share().memory_limit:
        found["limit"] = limit
    return found


def _libraries() -> dict[str, str]:
    """Versions that decide about results, of what is imported already; nothing is imported for it."""
    found = {}
    torch = sys.modules.get("torch")
    with suppress(Exception):  # it may be half imported, or an object of somebody's under that name
        if torch is not None:
            found["torch"] = str(torch.__version__)
            found |= {} if torch.version.cuda is None else {"cuda of torch": str(torch.version.cuda)}
    return found


def _container() -> str:
    for sign, kind in (("/.dockerenv", "docker"), ("/run/.containerenv", "podman")):
        if os.path.exists(sign):
            return kind
    for name, kind in (("KUBERNETES_SERVICE_HOST", "kubernetes"), ("APPTAINER_NAME", "apptainer")):
        if os.environ.get(name):
            return kind
    return "singularity" if os.environ.get("SINGULARITY_NAME") else ""


def _beginning(file: Path) -> str:
    with file.open(errors="replace") as lines:
        return lines.read(4_096)
