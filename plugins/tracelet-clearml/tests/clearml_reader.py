"""What ClearML shows of an offline session once its own SDK has imported it."""

from __future__ import annotations

from pathlib import Path

from tracelet_clearml import Options
from tracelet_clearml._access import find_access
from tracelet_clearml.readback import read_task, signed_in

from tracelet.backend import Outcome
from tracelet.readback import Recorded


def import_run(folder: Path, run_id: str) -> Recorded:
    """The run, imported as archive if there is one, into the server of ClearML's variables."""
    from clearml import Task

    name = f"offline-{run_id.replace('-', '')}"
    sessions = [path for path in folder.iterdir() if path.is_dir()]
    archive = folder / f"{name}.zip"
    with signed_in(find_access(Options())) as fetch:
        task = Task.import_offline_session(str(archive if archive.exists() else folder / name))
        recorded = read_task(task, fetch)
    recorded.runs = sum(path.name == name for path in sessions)
    outcome = recorded.tags.pop("tracelet.outcome", None)
    recorded.outcome = None if outcome is None else Outcome(outcome.partition(",")[0])
    recorded.parent = recorded.tags.pop("tracelet.parent", recorded.parent)
    return recorded
