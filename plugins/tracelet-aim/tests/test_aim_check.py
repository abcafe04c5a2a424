"""What `tracelet doctor` is told about Aim."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from tracelet_aim import Aim, Options

pytestmark = pytest.mark.anyio


async def test_a_repository_is_not_made(tmp_path: Path) -> None:
    """Looking at a repository that is not there yet makes none."""
    (found,) = await Aim.check(Options(repo=str(tmp_path / "new")))
    assert found.level == "ok"
    assert "a new repository" in found.text
    assert list(tmp_path.iterdir()) == []


async def test_a_server_is_connected_to() -> None:
    """A tracking server that takes connections is fine, and one that is not there a problem."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"aim://127.0.0.1:{server.getsockname()[1]}"
        (found,) = await Aim.check(Options(repo=address))
        assert found.level == "ok"
    (found,) = await Aim.check(Options(repo=address))
    assert found.level == "problem"
    assert "aim server" in found.advice
