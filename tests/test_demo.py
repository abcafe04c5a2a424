"""`tracelet demo`: everything that it logs is found in the backend, and it fails loudly if not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest

from tracelet.cli._content import STATUS, Content, Row, compare
from tracelet.cli._plot import plot

pytest.importorskip("sklearn")

MAIN = "import sys; sys.argv[1:] = ['demo', '--epochs', '2', *{arguments}]; from tracelet.cli import main; "
OTHERS = ("TRACELET_", "MLFLOW_", "WANDB_", "CLEARML_", "AIM_")
KINDS = {
    "metrics": "283",
    "parameters": "6",
    "trials": "1",
    "layouts": "3",
    "tags": "2",
    "notes": "1",
    "texts": "1",
    "images": "2",
    "figures": "1",
    "histograms": "2",
    "audio": "1",
    "video": "1",
    "tables": "1",
    "curves": "1",
    "meshes": "1",
    "embeddings": "1",
    "tensors": "1",
    "graphs": "1",
    "artifacts": "1",
    "models": "2",
    "registered models": "1",
    "datasets": "1",
    "console lines": "2",
    "child runs": "2",
    "run status": "1",
}


def run(place: Path, code: str = "main()", *arguments: str, timeout: float = 115) -> tuple[int, str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(OTHERS)}
    environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "HOME": str(place)}
    script = MAIN.format(arguments=list(arguments)) + code
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=timeout)
    return done.returncode, done.stdout, done.stderr


def verdicts(output: str) -> dict[str, list[str]]:
    """The rows of the comparison, by kind."""
    table = output.partition("Compared, one by one")[2].partition("Look at it")[0]
    rows = [line.strip() for line in table.splitlines()]
    return {kind: row.removeprefix(kind).split() for kind in KINDS for row in rows if row.startswith(f"{kind} ")}


LOCAL = [name for name in ("mlflow", "aim", "wandb", "clearml") if find_spec(f"tracelet_{name}") and find_spec(name)]


@pytest.mark.timeout(300)
def test_everything_that_the_demo_logs_is_found(tmp_path: Path) -> None:
    """One run, delivered to all backends that are installed and into a file of this machine, is found in each by its
    own means, kind by kind; the demo says where to look at it."""
    backends = [*LOCAL, "jsonl"]
    code, output, errors = run(tmp_path, "main()", "--backend", ",".join(backends), timeout=280)
    assert code == 0, output + errors
    assert verdicts(output) == {kind: [count, *([count, "equal"] * len(backends))] for kind, count in KINDS.items()}
    assert f"Everything that was logged is in {' and '.join(filter(None, (', '.join(LOCAL), 'jsonl')))}." in output
    assert (tmp_path / "tracelet-demo.jsonl").as_uri() in output
    assert "\x1b" not in output
    assert list(tmp_path.glob("tracelet-demo/*/tensorboard/events.*"))


def test_a_single_missing_point_fails_the_demo(tmp_path: Path) -> None:
    """If one point vanishes and another one changes between delivery and reading back, both are named."""
    code, output, errors = run(
        tmp_path,
        """
from tracelet.cli import demo
from tracelet.readback import reader

def meddle(name):
    read = reader(name)
    def meddled(options, run_id):
        found = read(options, run_id)
        found.points = [p for p in found.points if (p[0], p[2]) != ("train/loss", 7)]
        found.points = [(n, 0.125 if (n, s) == ("weights/norm", 8) else v, s) for n, v, s in found.points]
        return found
    return meddled

demo.reader = meddle
main()
""",
        "--backend",
        "jsonl",
    )
    assert code == 1, output + errors
    assert "3 things missing, or not as logged" in errors
    assert "jsonl: metrics: missing train/loss at step 7: " in errors
    assert "jsonl: metrics: missing weights/norm at step 8: " in errors
    assert "jsonl: metrics: unexpected weights/norm at step 8: 0.125" in errors
    assert "2 missing, 1 unexpected" in output
    assert "Everything" not in output


def test_what_was_refused_fails_the_demo(tmp_path: Path) -> None:
    """An event that the backend refused is not left out of the comparison: its reason is shown."""
    code, _, errors = run(
        tmp_path,
        """
from tracelet.run import Run
import msgspec
original = Run.status
def status(self):
    found = original(self)
    backends = {n: msgspec.structs.replace(b, dead_lettered=1, last_error="no") for n, b in found.backends.items()}
    return msgspec.structs.replace(found, backends=backends)
Run.status = status
main()
""",
        "--backend",
        "jsonl",
    )
    assert code == 1
    assert "jsonl: 1 event refused: no" in errors


def test_missing_packages_are_named_with_the_command_that_installs_them(tmp_path: Path) -> None:
    """Without scikit-learn and the plugins, nothing is started, and the message says what to run."""
    code, output, errors = run(
        tmp_path,
        """
from tracelet.cli import demo
demo.find_spec = lambda name: None
demo.installed = dict
main()
""",
        "--backend",
        "mlflow,aim",
    )
    assert (code, output) == (1, "")
    assert "scikit-learn, the mlflow plugin, the aim plugin" in errors
    assert "python -m pip install '.[demo]' ./plugins/tracelet-mlflow ./plugins/tracelet-aim" in errors
    assert not list(tmp_path.iterdir())


def test_an_unknown_backend_is_a_usage_error(tmp_path: Path) -> None:
    """It ends with 2, and names those there are."""
    code, _, errors = run(tmp_path, "main()", "--backend", "mlfow")
    assert code == 2
    assert "aim, clearml, jsonl, mlflow, wandb" in " ".join(errors.replace("│", " ").split())


def test_a_disabled_run_fails_the_demo(tmp_path: Path) -> None:
    """With TRACELET_MODE=disabled nothing is recorded, and the demo does not take that for success."""
    code, _, errors = run(tmp_path, "import os; os.environ['TRACELET_MODE'] = 'disabled'; main()", "--backend", "jsonl")
    assert code == 1
    assert "nothing was recorded" in errors


SAID: Content = {
    "metrics": Counter({("loss", 0, 0.5): 1, ("loss", 1, 0.25): 2}),
    "parameters": Counter([("lr", "0.1")]),
    "texts": Counter([("text",)]),
    "artifacts": Counter([("model", b"\x00" * 9)]),
    STATUS: Counter([("completed",)]),
}
ALL = ("metrics", "parameters", "texts", "artifacts", "images")


def test_equal_contents_are_equal() -> None:
    """Nothing is missing where everything is found as often as it was said; what was not said is not compared."""
    more = SAID | {"images": Counter([("i", 1)]), "texts": Counter([("text",), ("of the backend's own",)])}
    assert [(row.emitted, row.found, row.equal) for row in compare(SAID, more, ALL)] == [
        (3, 3, True),
        (1, 1, True),
        (1, 1, True),
        (1, 1, True),
        (1, 1, True),
    ]


def test_what_a_backend_does_not_handle_is_not_missing() -> None:
    """Kinds that it declares as not possible are left out of its comparison."""
    assert [row.kind for row in compare(SAID, {}, ("metrics",))] == ["metrics", STATUS]


@pytest.mark.parametrize(
    ("found", "row"),
    [
        (
            {"metrics": Counter({("loss", 0, 0.5): 1, ("loss", 1, 0.25): 1})},
            Row("metrics", 3, 2, ["loss at step 1: 0.25"], []),
        ),
        (
            {"metrics": Counter({("loss", 0, 0.5000000000000001): 1, ("loss", 1, 0.25): 2})},
            Row("metrics", 3, 3, ["loss at step 0: 0.5"], ["loss at step 0: 0.5000000000000001"]),
        ),
        ({"parameters": Counter([("lr", "0.10")])}, Row("parameters", 1, 1, ["lr: '0.1'"], ["lr: '0.10'"])),
        ({"texts": Counter()}, Row("texts", 1, 0, ["'text'"], [])),
        (
            {"artifacts": Counter([("model", b"\x00" * 8)])},
            Row("artifacts", 1, 1, ["model: (9 bytes)"], ["model: (8 bytes)"]),
        ),
        ({STATUS: Counter([(None,)])}, Row(STATUS, 1, 1, ["'completed'"], ["None"])),
    ],
)
def test_every_difference_is_named(found: Content, row: Row) -> None:
    """A thing that is missing, doubled or changed in its last digit or byte is told apart and described."""
    assert row in compare(SAID, found, ALL)


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
