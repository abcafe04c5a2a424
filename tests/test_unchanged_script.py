"""A training script that knows nothing of Tracelet, with one line before it: everything is in the backends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tracelet._discovery import find
from tracelet.journal import RunDirectory
from tracelet.readback import Recorded, reader
from tracelet.status import read_status

for package in ("sklearn", "matplotlib"):
    pytest.importorskip(package)

SCRIPT = Path(__file__).parent / "scripts" / "classify_digits.py"
LINE = "import tracelet; tracelet.start_logging(backend={backends!r}, exp_name='digits', project='unchanged')\n"

# By name: how many points, and at which steps.
POINTS = {
    "loss": range(5),
    "accuracy/train": range(5),
    "accuracy/val": range(5),
    "final/accuracy": range(1),
}
MEDIA = Counter(
    {
        ("HistogramLogged", "weights/0"): 5,
        ("HistogramLogged", "weights/1"): 5,
        ("ImageLogged", "wrong"): 1,
        ("ImageLogged", "first"): 1,
        ("ImageLogged", "where"): 1,
        ("FigureLogged", "loss curve"): 1,
        ("CurveLogged", "is it a 3"): 1,
        ("EmbeddingLogged", "default"): 1,
        ("MeshLogged", "tetrahedron"): 1,
    }
)


@pytest.fixture(scope="module")
def backends() -> list[str]:
    present = [name for name in ("mlflow", "aim") if find_spec(f"tracelet_{name}") and find_spec(name)]
    if not present:
        pytest.skip("neither MLflow's nor Aim's plugin is installed")
    return present


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, backends: list[str]) -> dict[str, Recorded]:
    """What each backend has of the one run."""
    folder = tmp_path_factory.mktemp("unchanged")
    (folder / "train.py").write_text(LINE.format(backends=backends) + SCRIPT.read_text())
    settings = {
        "HOME": str(folder),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "AIM_REPO": str(folder),
    }
    environment = os.environ | settings
    for command in (["train.py"], ["-m", "tracelet", "sync"]):
        done = subprocess.run(
            [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=200
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "could not be captured" not in done.stderr
    (path,) = (folder / ".tracelet" / "runs").iterdir()
    directory = RunDirectory(path)
    for status in read_status(directory, backends).backends.values():
        assert status.delivered == status.emitted
        assert (status.pending, status.dropped, status.dead_lettered) == (0, {}, 0)
    options: Any = directory.read_record().backends
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        for name in backends:
            read = reader(name)
            assert read is not None
            found[name] = read(find(name, options[name]).options, directory.id)
    return found


@pytest.mark.filterwarnings("ignore")  # of the SDKs, which are imported here
@pytest.mark.timeout(400)
def test_everything_is_in_each_backend(recorded: dict[str, Recorded]) -> None:
    """Each point, parameter, text and medium is there once, and nothing else."""
    for name, found in recorded.items():
        counted = Counter((label.removeprefix("test/"), step) for label, _, step in found.points)
        expected = Counter((label, step) for label, steps in POINTS.items() for step in steps)
        others = counted - expected
        assert expected - counted == Counter(), name
        assert sorted(step for _, step in others) == list(range(5)), (name, others)  # of the second log directory
        assert all("errors" in label for label, _ in others), name
        assert {"hidden": "32", "lr": "0.01"}.items() <= found.params.items(), name
        assert found.params["optimizer"].strip("'\"") == "adam", name
        assert any("a *small* perceptron" in text for text in found.texts), name
        assert any("accuracy/.*" in text for text in found.texts), name
        assert Counter((shown.kind.__name__, shown.name) for shown in found.media) == MEDIA, name
        assert str(found.outcome) == "completed", name
