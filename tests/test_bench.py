"""The benchmarks work; what they find depends on the machine, and is not tested."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NAMES = sorted(path.stem for path in (ROOT / "bench").glob("[a-z]*.py"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One MLflow server for all benchmarks that want one, as `bench._mlflow` wants it named."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        from bench import _mlflow

        with _mlflow.server(tmp_path_factory.mktemp("server")) as started:
            yield f"{started.url} {started.pid}"


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_reports_finite_figures_as_json(name: str, request: pytest.FixtureRequest) -> None:
    """A benchmark's quick mode prints its figures, and a verdict on those that have a budget, as JSON."""
    command = [sys.executable, "-m", f"bench.{name}", "--quick", "--json", "-"]
    wants_server = "bench._mlflow import" in (ROOT / "bench" / f"{name}.py").read_text()
    given = {"BENCH_MLFLOW": request.getfixturevalue("server")} if wants_server else {}
    done = subprocess.run(command, cwd=ROOT, env=os.environ | given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["benchmark"] == name
    assert report["cpus"] > 0
    assert report["python"] == ".".join(map(str, sys.version_info[:3]))
    assert report["rows"]
    for row in report["rows"]:
        assert math.isfinite(row["figure"]), row
        assert (row["limit"] is None) == (row["verdict"] == "")


def test_a_missed_budget_fails_only_when_asked() -> None:
    """`--check` is what turns a missed budget into an exit code of 1."""
    script = (
        "import sys; from bench._harness import Report, Row, main; sys.modules['__main__'].__doc__ = 'a'; "
        "main(lambda quick: Report(benchmark='b', method='c', rows=[Row(what='d', figure=2.0, unit='e', limit=1.0)]))"
    )
    codes = [
        subprocess.run([sys.executable, "-c", script, *options], cwd=ROOT, capture_output=True, check=False).returncode
        for options in ([], ["--check"])
    ]
    assert codes == [0, 1]
