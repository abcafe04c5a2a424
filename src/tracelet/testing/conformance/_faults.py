"""Of a server's faults, for backends whose `export` asks an HTTP server: what each of them means to the core."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anyio
import pytest

from tracelet._retry import passing
from tracelet.backend import Idempotency
from tracelet.errors import Denied, Transient
from tracelet.events import MetricsLogged
from tracelet.testing._faulty_http import Answer, BlackHole, Fault, FaultyServer, LoseReply, ResetInBody
from tracelet.testing.conformance._drive import TIME, Drive, Suite

_PASSING: dict[str, Fault] = {
    "500": Answer(500),
    "502": Answer(502),
    "503": Answer(503),
    "429": Answer(429),
    "lost reply": LoseReply(),
    "reset": ResetInBody(),
    "not its server": Answer(200, {"Content-Type": "text/html"}, b"<html>log in</html>"),
}


class Faults(Suite):
    """Servers that fail. They are skipped where `server_url` is None."""

    @pytest.fixture
    def proxy(self, options: Any) -> Iterator[FaultyServer]:
        url = self.server_url(options)
        if url is None:
            pytest.skip("it names no HTTP server to put faults in front of")
        with FaultyServer(url) as proxy:
            yield proxy

    @pytest.fixture
    def proxied(self, drive: Drive, proxy: FaultyServer) -> Drive:
        """The drive, through the proxy."""
        drive.options = self.with_server(drive.options, proxy.url)
        return drive

    @pytest.mark.parametrize("fault", _PASSING.values(), ids=_PASSING)
    async def test_what_may_pass_is_tried_again(self, proxied: Drive, proxy: FaultyServer, fault: Fault) -> None:
        """A failure that may pass is said to be one; once it has passed, the same batch arrives, as declared."""
        session = await proxied.start()
        (batch,) = session.batches(MetricsLogged(TIME, {"m": 0.5}, 1), MetricsLogged(TIME, {"m": 0.25}, 2))
        proxy.fail(fault, for_ever=True)
        with pytest.raises(Exception) as raised:  # noqa: PT011 - the next line says which
            await session.backend.export(batch)
        assert passing(raised.value), repr(raised.value)
        proxy.heal()
        await session.backend.export(batch)
        points = (await proxied.read()).points
        assert set(points) == {("m", 0.5, 1), ("m", 0.25, 2)}
        assert len(points) == 2 or self.backend.idempotency is Idempotency.APPENDS

    async def test_a_servers_wish_to_wait_is_passed_on(self, proxied: Drive, proxy: FaultyServer) -> None:
        """Retry-After is the `retry_after` of the Transient."""
        session = await proxied.start()
        (batch,) = session.batches(MetricsLogged(TIME, {"m": 0.5}, 1))
        proxy.fail(Answer(429, {"Retry-After": "7"}), for_ever=True)
        with pytest.raises(Transient) as raised:
            await session.backend.export(batch)
        assert raised.value.retry_after == 7

    async def test_a_server_that_is_down_is_waited_for(self, proxied: Drive, proxy: FaultyServer) -> None:
        """A refused connection may pass, while opening and while exporting."""
        session = await proxied.start()
        (batch,) = session.batches(MetricsLogged(TIME, {"m": 0.5}, 1))
        proxy.refuse()
        with pytest.raises(Exception) as raised:  # noqa: PT011 - the next line says which
            await session.backend.export(batch)
        assert passing(raised.value), repr(raised.value)
        with pytest.raises(Exception) as raised:  # noqa: PT011 - the next line says which
            await proxied.start()
        assert passing(raised.value), repr(raised.value)
        proxy.heal()
        await session.backend.export(batch)
        assert (await proxied.read()).points == [("m", 0.5, 1)]

    @pytest.mark.parametrize("status", [401, 403])
    async def test_refused_credentials_pause_delivery(self, proxied: Drive, proxy: FaultyServer, status: int) -> None:
        """Credentials that are refused are Denied, while opening and while exporting; mended, delivery goes on."""
        session = await proxied.start()
        (batch,) = session.batches(MetricsLogged(TIME, {"m": 0.5}, 1))
        proxy.fail(Answer(status), for_ever=True)
        with pytest.raises(Denied):
            await session.backend.export(batch)
        with pytest.raises(Denied):
            await proxied.start()
        proxy.heal()
        await session.backend.export(batch)
        assert (await proxied.read()).points == [("m", 0.5, 1)]

    async def test_a_server_that_hangs_can_be_left(self, proxied: Drive, proxy: FaultyServer) -> None:
        """An export that gets no answer can be cancelled, and the batch arrives another time."""
        session = await proxied.start()
        (batch,) = session.batches(MetricsLogged(TIME, {"m": 0.5}, 1))
        proxy.fail(BlackHole(), for_ever=True)
        with anyio.fail_after(20):
            with anyio.move_on_after(0.5) as patience:
                await session.backend.export(batch)
        assert patience.cancelled_caught
        proxy.heal()
        again = await proxied.start()
        await again.backend.export(batch)
        assert (await proxied.read()).points == [("m", 0.5, 1)]
