"""What the stub of W&B's server has of a run."""

from __future__ import annotations

import json

from tracelet_wandb._recorded import OUTCOMES, add_artifact, add_config, add_row
from tracelet_wandb._session import end_open
from wandb_stub import StubRun, StubServer

from tracelet.testing.conformance import Recorded

SERVERS: dict[str, StubServer] = {}
"""The stubs of this process, by address."""


def recorded(url: str, run_id: str) -> Recorded:
    """What the server shows of the run. Ends its sessions: rows travel every few seconds."""
    end_open(run_id)
    stub = SERVERS[url]
    with stub.lock:
        return _recorded(stub, stub.runs[run_id])


def _recorded(stub: StubServer, run: StubRun) -> Recorded:
    found = Recorded(runs=sum(other.fields.get("project") == run.fields.get("project") for other in stub.runs.values()))
    for row in run.history:
        add_row(found, row, run.files.__getitem__)
    add_config(found, json.loads(json.dumps(run.config)))
    found.console = [line.rstrip("\n").partition(" ")[2] for line in run.console]  # behind the time
    found.note = run.fields.get("notes")
    for artifact in run.artifacts:
        assert artifact.state == "COMMITTED"
        files = {name: stub.blobs[digest] for name, digest in artifact.files.items()}
        add_artifact(found, artifact.type, artifact.metadata, files, artifact.aliases)
    for name, links in stub.links.items():
        for artifact, aliases in links:
            if artifact.id in {own.id for own in run.artifacts}:
                found.registered[name] = aliases
    if run.exit_code is not None:
        found.outcome = OUTCOMES[run.exit_code]
    return found
