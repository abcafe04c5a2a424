"""What W&B's offline files have of a run: everything that `wandb sync` would upload, record by record."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from tracelet.readback import Recorded
from tracelet_wandb._options import Options
from tracelet_wandb._recorded import OUTCOMES, add_artifact, add_config, add_row
from tracelet_wandb._transactions import cells, read_records

_PATIENCE = 30.0  # seconds that wandb-core may take to write the end of a session


def read(options: Options, run_id: str) -> Recorded:
    """What there is of a run. Raises LookupError if there are no files of it, or it went to a server."""
    if not options.offline:
        raise LookupError("only offline runs are read back; an online one is on its page")
    if options.dir is None:
        raise LookupError("without the option `dir`, the files are in the run's own directory")
    return recorded(Path(options.dir), run_id)


def logs(folder: Path, run_id: str) -> list[Path]:
    """The run's transaction logs, one for each session, oldest first."""
    return sorted(folder.glob(f"wandb/*run-*-{run_id}-*/run-{run_id}.wandb"), key=lambda log: log.stat().st_mtime_ns)


def recorded(folder: Path, run_id: str) -> Recorded:
    """What the run's sessions have, once the last one is whole. Raises LookupError."""
    paths = logs(folder, run_id)
    if not paths:
        raise LookupError(f"{folder / 'wandb'} has no files of {run_id}")
    deadline = time.monotonic() + _PATIENCE
    while not any(record.HasField("exit") for record in read_records(paths[-1])) and time.monotonic() < deadline:
        time.sleep(0.05)
    ids = {record.run.run_id for log in paths for record in read_records(log) if record.HasField("run")}
    found = Recorded(runs=len(ids))
    config: dict[str, Any] = {}
    for log in paths:
        found.outcome = None
        for record in read_records(log):
            add_record(found, config, record, log.parent)
    add_config(found, config)
    return found


def add_record(found: Recorded, config: dict[str, Any], record: Any, session: Path) -> None:
    """Add what a record says; of the config, which is whole only in the end, to the mapping."""
    match record.WhichOneof("record_type"):
        case "history":
            add_row(found, cells(record), lambda path: (session / "files" / path).read_bytes())
        case "config":
            for item in record.config.update:
                _put(config, item.nested_key or [item.key], json.loads(item.value_json))
        case "run":
            found.note = record.run.notes or found.note
        case "output_logger":
            found.console += record.output_logger.line.removesuffix("\n").split("\n")
        case "artifact":
            artifact = record.artifact
            files = {
                entry.path: Path(entry.local_path).read_bytes()
                for entry in artifact.manifest.contents
                if entry.local_path
            }
            add_artifact(found, artifact.type, json.loads(artifact.metadata or "{}"), files, [*artifact.aliases])
        case "exit":
            found.outcome = None if record.exit.not_complete else OUTCOMES[record.exit.exit_code]


def _put(config: dict[str, Any], path: Any, value: Any) -> None:
    for part in path[:-1]:
        config = config.setdefault(part, {})
    config[path[-1]] = value
