"""Options: where a run goes, resolved in the training process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from tracelet_mlflow import MLflow, Options

from tracelet.backend import Backend


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def test_the_default_is_an_embedded_database(place: Path) -> None:
    """Without a URI, runs go to mlflow.db in the working directory, as with MLflow itself."""
    assert Options().tracking_uri == f"sqlite:///{place}/mlflow.db"


def test_the_environment_comes_before_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLFLOW_TRACKING_URI is honoured, and an explicit option comes before it."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000/")
    assert Options().tracking_uri == "http://tracking:5000"
    assert Options(tracking_uri="http://other:1").tracking_uri == "http://other:1"


@pytest.mark.parametrize(
    ("given", "resolved"),
    [
        ("sqlite:///runs.db", "sqlite:///{place}/runs.db"),
        ("sqlite:///sub dir/runs.db?timeout=5", "sqlite:///{place}/sub dir/runs.db?timeout=5"),
        ("sqlite:////data/runs.db", "sqlite:////data/runs.db"),
        ("sqlite+pysqlite:///runs.db", "sqlite+pysqlite:///{place}/runs.db"),
        ("postgresql+psycopg2://u:p@db/mlflow", "postgresql+psycopg2://u:p@db/mlflow"),
        ("https://user:pass@host/mlflow/", "https://user:pass@host/mlflow"),
        ("databricks", "databricks"),
        ("databricks://profile", "databricks://profile"),
    ],
)
def test_paths_become_absolute(place: Path, given: str, resolved: str) -> None:
    """A path is resolved where the training runs; other URIs stay; resolving again changes nothing."""
    options = Options(tracking_uri=given)
    assert options.tracking_uri == resolved.format(place=place)
    assert Options(tracking_uri=options.tracking_uri).tracking_uri == options.tracking_uri


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("mlruns", "use sqlite:///"),
        ("./mlruns", "use sqlite:///"),
        ("file:///data/mlruns", "use sqlite:////data/mlruns/mlflow.db"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("ftp://host/x", "unknown scheme 'ftp'"),
        ("localhost:5000", "unknown scheme 'localhost'"),
        ("http://", "names no host"),
    ],
)
def test_what_can_not_be_delivered_to_is_refused_with_a_hint(given: str, text: str) -> None:
    """A URI that could only fail later is refused at once, in words that help."""
    with pytest.raises(ValueError, match=text):
        Options(tracking_uri=given)


def test_an_artifact_root_becomes_absolute(place: Path) -> None:
    """A folder for artifacts is resolved where the training runs, a URI stays."""
    assert Options(artifact_root="files").artifact_root == f"{place}/files"
    assert Options(artifact_root="s3://bucket/x").artifact_root == "s3://bucket/x"


def test_options_survive_being_stored() -> None:
    """What was resolved in the training process is the same in the delivery process."""
    options = Options()
    stored = msgspec.json.encode(options)
    assert msgspec.json.decode(stored, type=Options) == options


def test_unknown_options_are_refused() -> None:
    """A misspelt option is an error."""
    with pytest.raises(msgspec.ValidationError, match="tracking_url"):
        msgspec.convert({"tracking_url": "http://x"}, Options)


def test_importing_the_plugin_imports_no_sdk() -> None:
    """Training processes load the plugin for its options, and pay for neither MLflow nor httpx."""
    code = "import sys, tracelet_mlflow; sys.exit(any(m in sys.modules for m in ('mlflow', 'httpx', 'sqlalchemy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_plugin_fits_the_protocol() -> None:
    """A type checker takes MLflow for a Backend."""
    backend: type[Backend] = MLflow
    assert backend is MLflow
