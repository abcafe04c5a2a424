"""What `import tracelet` and `start_logging` cost a training script."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from bench import _local as local
from bench._harness import ROOT, Report, Row, alternate, main, scratch

METHOD = (
    "Fresh interpreters in alternating rounds; the least of each, because there is nothing to compare a time in "
    "milliseconds with. The import: an interpreter that imports and ends, beyond one that only ends. start_logging: "
    "the call itself, timed inside its interpreter, with the delivery processes that it starts."
)

HEAVY = ("anyio", "httpx", "tenacity", "numpy", "rich", "typer", "torch", "mlflow")
"""What `import tracelet` must leave to whoever needs it."""

_START = """
import sys, time
sys.path.insert(0, {root!r})
import tracelet
begin = time.perf_counter()
run = tracelet.start_logging({backend!r}, directory={directory!r})
print(time.perf_counter() - begin)
sys.stdout.flush()
run.finish(timeout={timeout})
"""

_MODULES = """
import sys
before = set(sys.modules)
import tracelet
print(*(sys.modules.keys() - before))
"""


def measure(quick: bool) -> Report:
    rounds = 1 if quick else 15
    with scratch() as directory:
        found = alternate(
            {
                "interpreter": _lasting("pass"),
                "tracelet": _lasting("import tracelet"),
                "null": _starting({"bench._backends:Null": {}}, directory),
                "mlflow": _starting({"mlflow": {"tracking_uri": f"sqlite:///{directory}/mlflow.db"}}, directory),
                "four": _starting(local.backends(directory / "four"), directory),
            },
            rounds,
        )
        orientation = alternate({"mlflow": _lasting("import mlflow")}, 1 if quick else 3)
    took = {name: min(times) * 1000 for name, times in found.items()}
    base = took["interpreter"]
    mlflow = min(orientation["mlflow"]) * 1000 - base
    imported = _imported()
    heavy = sorted(imported.intersection(HEAVY))
    rows = [
        Row(what="an interpreter that does nothing", figure=base, unit="ms"),
        Row(
            what="import tracelet",
            figure=took["tracelet"] - base,
            unit="ms",
            limit=100.0,
            note=f"{took['tracelet'] / base - 1:.1f} x the interpreter",
        ),
        Row(what="import mlflow", figure=mlflow, unit="ms", note="what delivery keeps out of the training process"),
        Row(what="start_logging, a backend without an SDK", figure=took["null"], unit="ms", limit=50.0),
        Row(what="start_logging, mlflow", figure=took["mlflow"], unit="ms", limit=50.0),
        Row(what="start_logging, all four backends", figure=took["four"], unit="ms", limit=50.0),
        Row(
            what=f"heavy modules that import tracelet brings (of {len(HEAVY)})",
            figure=len(heavy),
            unit="",
            limit=0.0,
            note=", ".join(heavy) or f"none of {', '.join(HEAVY)}",
        ),
    ]
    return Report(benchmark="startup", method=METHOD, rows=rows)


def _lasting(code: str) -> Callable[[], float]:
    """How long an interpreter lasts that runs the code, in seconds."""

    def run() -> float:
        begin = perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return perf_counter() - begin

    return run


def _starting(backend: dict[str, dict[str, Any]], directory: Path) -> Callable[[], float]:
    """How long `start_logging` takes in a fresh interpreter, in seconds."""
    timeout = 30.0  # the next round begins when the delivery process of this one is done
    code = _START.format(root=str(ROOT), backend=backend, directory=str(directory / "runs"), timeout=timeout)
    environment = os.environ | local.ENVIRONMENT | {"MLFLOW_DISABLE_TELEMETRY": "true"}

    def run() -> float:
        script = [sys.executable, "-c", code]
        done = subprocess.run(script, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
        return float(done.stdout)

    return run


def _imported() -> set[str]:
    output = subprocess.run([sys.executable, "-c", _MODULES], check=True, stdout=subprocess.PIPE, text=True).stdout
    return {name.partition(".")[0] for name in output.split()}


if __name__ == "__main__":
    main(measure)
