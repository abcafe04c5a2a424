"""`tracelet demo`: everything that it logs is found in the backend, and it fails loudly if not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tracelet.cli._content import Content, Row, compare
from tracelet.cli._plot import plot

pytest.importorskip("sklearn")
pytest.importorskip("tracelet_mlflow")

MAIN = "import sys; sys.argv[1:] = ['demo', '--epochs', '2']; from tracelet.cli import main; "


def run(place: Path, code: str) -> tuple[int, str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TRACELET_", "MLFLOW_"))}
    environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    done = subprocess.run(
        [sys.executable, "-c", MAIN + code], cwd=place, env=environment, capture_output=True, text=True, timeout=110
    )
    return done.returncode, done.stdout, done.stderr


def test_everything_that_the_demo_logs_is_found(tmp_path: Path) -> None:
    """The demo finds every point, param, text and file in MLflow's default database, and says how to look at it."""
    code, output, errors = run(tmp_path, "main()")
    assert code == 0, output + errors
    verdicts = dict(line.strip().split("  ", 1) for line in output.splitlines() if line.endswith("equal"))
    numbers = {kind: row.split() for kind, row in verdicts.items()}
    assert numbers == {
        "metric points": ["282", "282", "equal"],
        "parameters": ["6", "6", "equal"],
        "texts": ["1", "1", "equal"],
        "artifacts": ["1", "1", "equal"],
        "run status": ["1", "1", "equal"],
    }
    assert f"mlflow ui --backend-store-uri sqlite:///{tmp_path / 'mlflow.db'}" in output
    assert "\x1b" not in output
    assert list(tmp_path.glob("tracelet-demo/*/tensorboard/events.*"))


def test_a_single_missing_point_fails_the_demo(tmp_path: Path) -> None:
    """If one point vanishes and another one changes between delivery and reading back, both are named."""
    code, output, errors = run(
        tmp_path,
        """
import sqlite3, msgspec
from tracelet.cli import _readback

mlflow = _readback.READ_BACK["mlflow"]

def read(options, *arguments):
    with sqlite3.connect(options["tracking_uri"].removeprefix("sqlite:///")) as database:
        database.execute("DELETE FROM metrics WHERE key = 'train/loss' AND step = 7")
        database.execute("UPDATE metrics SET value = 0.125 WHERE key = 'weights/norm' AND step = 8")
    database.close()
    return mlflow.read(options, *arguments)

_readback.READ_BACK["mlflow"] = msgspec.structs.replace(mlflow, read=read)
main()
""",
    )
    assert code == 1, output + errors
    assert "3 things missing from mlflow, or not as logged" in errors
    assert "missing train/loss at step 7: " in errors
    assert "missing weights/norm at step 8: " in errors
    assert "unexpected weights/norm at step 8: 0.125" in errors
    assert "2 missing, 1 unexpected" in output
    assert "Everything" not in output


def test_missing_packages_are_named_with_the_command_that_installs_them(tmp_path: Path) -> None:
    """Without scikit-learn and the plugin, nothing is started, and the message says what to run."""
    code, output, errors = run(
        tmp_path,
        """
from tracelet import _discovery
from tracelet.cli import demo
demo.find_spec = lambda name: None
_discovery.installed = dict
main()
""",
    )
    assert (code, output) == (1, "")
    assert "scikit-learn, the mlflow plugin" in errors
    assert "python -m pip install '.[demo]' ./plugins/tracelet-mlflow" in errors
    assert not list(tmp_path.iterdir())


def test_a_disabled_run_fails_the_demo(tmp_path: Path) -> None:
    """With TRACELET_MODE=disabled nothing is recorded, and the demo does not take that for success."""
    code, _, errors = run(tmp_path, "import os; os.environ['TRACELET_MODE'] = 'disabled'; main()")
    assert code == 1
    assert "nothing was recorded" in errors


SAID = Content(
    points=Counter({("loss", 0, 0.5): 1, ("loss", 1, 0.25): 2}),
    params=Counter([("lr", "0.1")]),
    texts=Counter([("note.txt", "text")]),
    files=Counter([("model", b"\x00" * 9)]),
    status=Counter([("status", "FINISHED")]),
)


def test_equal_contents_are_equal() -> None:
    """Nothing is missing where everything is found as often as it was said."""
    assert [(row.emitted, row.found, row.equal) for row in compare(SAID, SAID)] == [
        (3, 3, True),
        (1, 1, True),
        (1, 1, True),
        (1, 1, True),
        (1, 1, True),
    ]


@pytest.mark.parametrize(
    ("found", "row"),
    [
        (
            Content(points=Counter({("loss", 0, 0.5): 1, ("loss", 1, 0.25): 1})),
            Row("metric points", 3, 2, ["loss at step 1: 0.25"], []),
        ),
        (
            Content(points=Counter({("loss", 0, 0.5000000000000001): 1, ("loss", 1, 0.25): 2})),
            Row("metric points", 3, 3, ["loss at step 0: 0.5"], ["loss at step 0: 0.5000000000000001"]),
        ),
        (Content(params=Counter([("lr", "0.10")])), Row("parameters", 1, 1, ["lr: '0.1'"], ["lr: '0.10'"])),
        (Content(texts=Counter()), Row("texts", 1, 0, ["note.txt: 'text'"], [])),
        (
            Content(files=Counter([("model", b"\x00" * 8)])),
            Row("artifacts", 1, 1, ["model (9 bytes)"], ["model (8 bytes)"]),
        ),
        (
            Content(status=Counter([("status", "RUNNING")])),
            Row("run status", 1, 1, ["status: 'FINISHED'"], ["status: 'RUNNING'"]),
        ),
    ],
)
def test_every_difference_is_named(found: Content, row: Row) -> None:
    """A thing that is missing, doubled or changed in its last digit or byte is told apart and described."""
    assert row in compare(SAID, found)


def test_a_curve_is_drawn_from_its_highest_to_its_lowest_value() -> None:
    """The lines of a plot carry the extremes as labels, fit the width, and rise and fall with the values."""
    lines = list(plot([100.0, 10.0, 1.0], 40, 5))
    assert len(lines) == 5
    assert max(map(len, lines)) <= 40
    assert lines[0].startswith("100 ┤")
    assert lines[-1].startswith("  1 ┤")
    stars = list(plot([100.0, 10.0, 1.0], 40, 5, ascii_only=True))
    assert "".join(stars).isascii()
    columns = [line.rfind("*") for line in stars]
    assert columns == sorted(columns)


def test_values_without_a_logarithm_are_not_drawn() -> None:
    """NaN, infinities, zero and negative values are left out; without any other there is no plot."""
    assert list(plot([float("nan"), float("inf"), 0.0, -1.0], 40)) == []
    assert list(plot([float("nan"), 1.0], 40)) != []
