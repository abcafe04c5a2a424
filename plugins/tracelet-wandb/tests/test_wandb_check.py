"""What `tracelet doctor` is told about W&B."""

from __future__ import annotations

from pathlib import Path

import pytest
from tracelet_wandb import Options, WandB
from wandb_stub import StubServer

pytestmark = pytest.mark.anyio
KEY = "0" * 40


async def test_a_server_that_knows_the_key(stub: StubServer) -> None:
    """A server that knows the key tells who we are."""
    (found,) = await WandB.check(Options(mode="online", base_url=stub.url, api_key=KEY))
    assert (found.level, found.text) == ("ok", f"{stub.url} knows us as somebody, entity somebody")


async def test_a_server_that_refuses(stub: StubServer) -> None:
    """A refused key, no key, and a server that is not there are problems that say what to do."""
    stub.fail(401)
    refused = await WandB.check(Options(mode="online", base_url=stub.url, api_key=KEY))
    keyless = await WandB.check(Options(mode="online", base_url=stub.url))
    absent = await WandB.check(Options(mode="online", base_url="http://127.0.0.1:9", api_key=KEY))
    found = [*refused, *keyless, *absent]
    assert [one.level for one in found] == ["problem"] * 3
    assert "refuses the key" in found[0].text
    assert "WANDB_API_KEY" in found[1].advice
    assert "can't be reached" in found[2].text


async def test_offline_asks_nobody(tmp_path: Path) -> None:
    """Offline, the folder is what matters."""
    (found,) = await WandB.check(Options(mode="offline", dir=str(tmp_path)))
    assert (found.level, str(tmp_path) in found.text) == ("ok", True)
