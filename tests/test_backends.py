"""The official backends, as a user meets them: a run that is over gets one more, and it has everything."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tracelet._discovery import find
from tracelet.journal import RunDirectory
from tracelet.readback import reader

OFFICIAL = ("mlflow", "wandb", "clearml", "aim")

each_backend = pytest.mark.parametrize(
    "backend",
    [
        pytest.param(
            name,
            marks=pytest.mark.skipif(not (find_spec(f"tracelet_{name}") and find_spec(name)), reason="not installed"),
        )
        for name in OFFICIAL
    ],
)

TRAIN = """
import numpy as np, tracelet
with tracelet.start_logging("jsonl", "over", "docs", config={"lr": 0.5}) as run:
    for step in range(100):
        run.log_metric("loss", 1 / (step + 1), step)
    run.log_image("sample", np.zeros((4, 4, 3)), step=3)
    run.log_artifact("train.py")
    run.set_note("a note")
"""


@pytest.mark.filterwarnings("ignore")  # of the SDKs, which are imported here
@pytest.mark.timeout(300)
@each_backend
def test_a_backend_is_added_to_a_run_that_is_over(
    tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`tracelet sync RUN --backend NAME` fills it from the journal, and a second time does nothing."""
    settings = {
        "HOME": str(tmp_path),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
        "WANDB_MODE": "offline",
        "WANDB_DIR": str(tmp_path),
        "CLEARML_OFFLINE_MODE": "1",
        "CLEARML_CACHE_DIR": str(tmp_path / "clearml"),
        "AIM_REPO": str(tmp_path),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "train.py").write_text(TRAIN)
    subprocess.run([sys.executable, "train.py"], cwd=tmp_path, env=os.environ, check=True, timeout=60)
    (path,) = (tmp_path / ".tracelet" / "runs").iterdir()
    sync = [sys.executable, "-m", "tracelet", "sync", str(path), "--backend", backend]
    outputs = [
        subprocess.run(sync, cwd=tmp_path, env=os.environ, capture_output=True, text=True, timeout=100)
        for _ in range(2)
    ]
    assert [done.returncode for done in outputs] == [0, 0], outputs
    assert "106 events delivered" in outputs[0].stdout + outputs[0].stderr
    directory = RunDirectory(path)
    read = reader(backend)
    assert read is not None
    found = read(find(backend, directory.read_record().backends[backend]).options, directory.id)
    assert sorted(found.points) == sorted(("loss", 1 / (step + 1), step) for step in range(100))
    assert found.params["lr"] == "0.5"
    assert [(shown.name, shown.step) for shown in found.media] == [("sample", 3)]
    assert found.artifacts["train.py"] == TRAIN.encode()
    assert found.note == "a note"
    assert found.outcome is not None
    assert found.outcome.value == "completed"
