"""What `tracelet doctor` is told about MLflow."""

from __future__ import annotations

from pathlib import Path

import pytest
from tracelet_mlflow import MLflow, Options

from tracelet.testing import Answer, FaultyServer

pytestmark = pytest.mark.anyio


async def test_a_server_that_answers(server: str) -> None:
    """A server that answers is fine."""
    (found,) = await MLflow.check(Options(tracking_uri=server))
    assert (found.level, found.text) == ("ok", f"{server} answers, without credentials")


async def test_a_server_that_refuses(server: str) -> None:
    """A server that refuses the credentials, or is no MLflow, or is not there, is a problem that says what to do."""
    with FaultyServer(server) as faulty:
        faulty.fail(Answer(401))
        (found,) = await MLflow.check(Options(tracking_uri=faulty.url))
        assert (found.level, "MLFLOW_TRACKING_TOKEN" in found.advice) == ("problem", True)
        faulty.fail(Answer(404))
        (found,) = await MLflow.check(Options(tracking_uri=faulty.url))
        assert found.level == "problem"
        assert "does not answer like MLflow" in found.text
    (found,) = await MLflow.check(Options(tracking_uri="http://127.0.0.1:9"))
    assert found.level == "problem"
    assert "can't be reached" in found.text


async def test_a_database_is_not_made(tmp_path: Path) -> None:
    """Looking at a database that is not there yet makes none."""
    place = tmp_path / "new" / "mlflow.db"
    (found,) = await MLflow.check(Options(tracking_uri=f"sqlite:///{place}"))
    assert found.level == "ok"
    assert "it will be made" in found.text
    assert list(tmp_path.iterdir()) == []
