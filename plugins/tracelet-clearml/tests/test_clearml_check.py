"""What `tracelet doctor` is told about ClearML."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from tracelet_clearml import ClearML, Options

pytestmark = pytest.mark.anyio


async def test_a_server_that_lets_us_in(options: Options) -> None:
    """A server that takes the credentials is fine."""
    (found,) = await ClearML.check(options)
    assert found.level == "ok"
    assert str(options.api_host) in found.text


async def test_a_server_that_refuses(options: Options) -> None:
    """Refused credentials, and a server that is not there, are problems."""
    (refused,) = await ClearML.check(msgspec.structs.replace(options, secret_key="wrong"))
    assert (refused.level, "CLEARML_API_ACCESS_KEY" in refused.advice) == ("problem", True)
    (absent,) = await ClearML.check(msgspec.structs.replace(options, api_host="http://127.0.0.1:9"))
    assert absent.level == "problem"
    assert "can't be reached" in absent.text


async def test_offline_asks_nobody(tmp_path: Path) -> None:
    """Offline, the folder is what matters; it is not made."""
    (found,) = await ClearML.check(Options(offline=True, offline_folder=str(tmp_path / "new")))
    assert (found.level, list(tmp_path.iterdir())) == ("ok", [])
