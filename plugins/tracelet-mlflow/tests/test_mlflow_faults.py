"""Faults: what each failure of a server or a database means to the core."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import anyio
import pytest
import sqlalchemy
from driver import NOW, Driver

from tracelet.backend import Outcome
from tracelet.errors import Denied, Rejected, Transient
from tracelet.events import Event, MetricsLogged, ParamsLogged, TagsSet, TextLogged
from tracelet.testing import Answer, BlackHole, Fault, FaultyServer, LoseReply, Request, ResetInBody

pytestmark = pytest.mark.anyio

Drive = Callable[..., Driver]
Read = Callable[[str], Any]

POINT = MetricsLogged(NOW, {"m": 1.0}, 0)
HTML = {"Content-Type": "text/html"}
JSON = {"Content-Type": "application/json"}
BAD = b'{"error_code": "INVALID_PARAMETER_VALUE", "message": "no"}'

TRANSIENT: list[Fault] = [
    ResetInBody(),
    LoseReply(),
    *(Answer(status) for status in (408, 425, 429, 500, 502, 503, 504)),
    Answer(500, JSON, b'{"error_code": "INTERNAL_ERROR", "message": "oops"}'),
    Answer(200, HTML, b"<html>log in</html>"),
    Answer(200, JSON, b"[1]"),
    Answer(200, JSON, b'{"run": '),
    Answer(200),
    Answer(302, {"Location": "http://elsewhere/login"}),
    Answer(404, HTML, b"<html>default backend</html>"),
]


def to(path: str) -> Callable[[Request], bool]:
    return lambda request: path in request.path


@pytest.mark.parametrize("fault", TRANSIENT, ids=str)
async def test_what_may_pass_is_transient(drive: Drive, read: Read, proxy: FaultyServer, fault: Fault) -> None:
    """A failure that may pass is Transient for every kind of request, and the same batch arrives once it has passed."""
    driver = drive(proxy.url)
    await driver.open()
    batch = driver.batch(POINT, ParamsLogged(NOW, {"p": 1}), TagsSet(NOW, {"t": "1"}), TextLogged(NOW, "n", "x"))
    for path in ("log-batch", "mlflow-artifacts"):
        if path == "mlflow-artifacts" and fault == Answer(200):
            continue  # what a server answers to an upload
        proxy.fail(fault, when=to(path))
        with pytest.raises(Transient, match=proxy.url):
            await driver.backend.export(batch)
    await driver.backend.export(batch)
    client = read(proxy.url)
    assert len(client.get_metric_history(driver.run_id, "m")) == 1
    assert client.get_run(driver.run_id).data.params == {"p": "1"}
    proxy.fail(fault, when=to("runs/update"))
    with pytest.raises(Transient):
        await driver.backend.finish(Outcome.COMPLETED, NOW + 60)
    await driver.backend.finish(Outcome.COMPLETED, NOW + 60)
    assert client.get_run(driver.run_id).info.status == "FINISHED"


@pytest.mark.parametrize("fault", [LoseReply(), ResetInBody(), Answer(500), Answer(200, HTML, b"<html>")], ids=str)
@pytest.mark.parametrize("path", ["experiments/get-by-name", "experiments/create", "runs/search", "runs/create"])
async def test_opening_after_a_fault_makes_one_run(
    drive: Drive, read: Read, proxy: FaultyServer, path: str, fault: Fault
) -> None:
    """Whatever fails while a run is opened, also a reply that is lost after the server's commit: one run in the end."""
    driver = drive(proxy.url)
    proxy.fail(fault, when=to(path), for_ever=True)
    with pytest.raises(Transient):
        await driver.open()
    proxy.heal()
    await driver.open()
    experiment = read(proxy.url).get_experiment_by_name(driver.info.project)
    assert len(read(proxy.url).search_runs([experiment.experiment_id])) == 1


async def test_a_question_is_repeated_when_its_connection_breaks(drive: Drive, proxy: FaultyServer) -> None:
    """A kept connection that the server has closed costs a GET no attempt."""
    proxy.fail(LoseReply(), when=to("experiments/get-by-name"))
    await drive(proxy.url).open()


async def test_a_server_that_is_away_is_transient(drive: Drive, proxy: FaultyServer) -> None:
    """A refused connection is Transient in open and in export; afterwards both work."""
    driver = drive(proxy.url)
    proxy.refuse()
    with pytest.raises(Transient, match=proxy.url):
        await driver.open()
    proxy.heal()
    await driver.open()
    proxy.refuse()
    with pytest.raises(Transient):
        await driver.export(POINT)
    proxy.heal()
    await driver.export(POINT)


async def test_a_black_hole_can_be_cancelled(drive: Drive, proxy: FaultyServer) -> None:
    """A server that never answers holds an export no longer than the core lets it, and the next one works."""
    driver = drive(proxy.url)
    await driver.open()
    proxy.fail(BlackHole())
    with anyio.move_on_after(0.3) as scope:
        await driver.export(POINT)
    assert scope.cancelled_caught
    await driver.export(POINT)


async def test_a_silent_server_times_out(drive: Drive, proxy: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's own timeout is Transient, and says what happened."""
    from tracelet_mlflow import _http

    monkeypatch.setattr(_http, "_TIMEOUT", 0.2)
    driver = drive(proxy.url)
    proxy.fail(BlackHole())
    with pytest.raises(Transient, match="ReadTimeout"):
        await driver.open()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("in an hour", 3_600.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0.0),
        ("soon", None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
async def test_the_servers_own_wish_is_passed_on(
    drive: Drive, proxy: FaultyServer, status: int, header: str, seconds: float | None
) -> None:
    """Retry-After, in seconds or as a date, is in the exception."""
    driver = drive(proxy.url)
    await driver.open()
    if header == "in an hour":
        header = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    proxy.fail(Answer(status, {"Retry-After": header}))
    with pytest.raises(Transient) as caught:
        await driver.export(POINT)
    assert caught.value.retry_after == (None if seconds is None else pytest.approx(seconds, abs=300))


@pytest.mark.parametrize("status", [401, 403])
async def test_refused_credentials_are_denied(drive: Drive, proxy: FaultyServer, status: int) -> None:
    """401 and 403 pause the subscription, in open and in export, and the server's words are kept."""
    driver = drive(proxy.url)
    proxy.fail(Answer(status, body=b"who are you?"))
    with pytest.raises(Denied, match=r"who are you\?"):
        await driver.open()
    await driver.open()
    proxy.fail(Answer(status))
    with pytest.raises(Denied):
        await driver.export(POINT)


async def test_an_html_page_is_named_for_what_it_is(drive: Drive, proxy: FaultyServer) -> None:
    """Behind the wrong address, the message says that it is no MLflow server and what it answered."""
    proxy.fail(Answer(200, HTML, b"<html>Welcome</html>"))
    with pytest.raises(Transient, match=r"is not an MLflow server\? It answered 200 OK, text/html: <html>Welcome"):
        await drive(proxy.url).open()


async def test_one_refused_record_is_found_among_many(drive: Drive, read: Read, proxy: FaultyServer) -> None:
    """When the server refuses a request for one record, that event alone is rejected and the others are stored."""
    driver = drive(proxy.url)
    await driver.open()
    proxy.fail(Answer(400, JSON, BAD), when=lambda request: b'"key":"m77"' in request.body, for_ever=True)
    with pytest.raises(Rejected, match="INVALID_PARAMETER_VALUE: no") as caught:
        await driver.export(*[MetricsLogged(NOW, {f"m{i}": 1.0, f"n{i}": 1.0}, 0) for i in range(100)])
    assert caught.value.indexes == frozenset({77})
    stored = read(proxy.url).get_run(driver.run_id).data.metrics
    assert len(stored) == 199


async def test_a_request_too_large_for_a_proxy_is_made_smaller(drive: Drive, read: Read, proxy: FaultyServer) -> None:
    """A 413 of a proxy in front of the server is no loss: the request is halved until it passes."""
    driver = drive(proxy.url)
    await driver.open()
    proxy.fail(Answer(413, HTML, b"too large"), when=lambda request: len(request.body) > 5_000, for_ever=True)
    await driver.export(*[MetricsLogged(NOW, {f"m{i}": 1.0}, 0) for i in range(200)])
    assert len(read(proxy.url).get_run(driver.run_id).data.metrics) == 200


async def test_an_experiment_created_by_another_in_the_meantime(drive: Drive, read: Read, proxy: FaultyServer) -> None:
    """Two runs of a new project at once share the experiment."""
    driver = drive(proxy.url)
    read(proxy.url).create_experiment(driver.info.project)
    missing = b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "none"}'
    proxy.fail(Answer(404, JSON, missing), when=to("experiments/get-by-name"))
    await driver.open()
    assert any(to("experiments/create")(request) for request in proxy.requests)


async def test_a_run_that_vanished_pauses_delivery(drive: Drive, proxy: FaultyServer) -> None:
    """When MLflow doesn't know the run any more, that is said in few requests, and no event is at fault."""
    driver = drive(proxy.url)
    await driver.open()
    missing = Answer(404, JSON, b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "none"}')
    proxy.fail(missing, when=to("/runs/"), for_ever=True)
    before = len(proxy.requests)
    with pytest.raises(Denied, match="has no run"):
        await driver.export(*[MetricsLogged(NOW, {"m": 1.0}, step) for step in range(100)])
    assert len(proxy.requests) - before == 2


@pytest.fixture
def impatient() -> Iterator[None]:
    """MLflow has SQLite wait 20 s for a lock, which it can't be told not to: here it is 0.2 s."""

    def shorten(_: Any, __: Any, statement: str, parameters: Any, ___: Any, ____: bool) -> tuple[str, Any]:
        return statement.replace("busy_timeout = 20000", "busy_timeout = 200"), parameters

    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", shorten, retval=True)
    yield
    sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", shorten)


@pytest.mark.usefixtures("impatient")
async def test_a_locked_database_is_transient(drive: Drive, read: Read, database: str) -> None:
    """While another process holds SQLite's lock, an export is Transient; afterwards the batch arrives once."""
    driver = drive(database)
    await driver.open()
    batch = driver.batch(POINT)
    lock = sqlite3.connect(database.removeprefix("sqlite:///"), isolation_level=None)
    try:
        lock.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Transient, match="locked"):
            await driver.backend.export(batch)
    finally:
        lock.close()
    await driver.backend.export(batch)
    assert len(read(database).get_metric_history(driver.run_id, "m")) == 1


async def test_a_database_that_can_not_be_opened_is_transient(drive: Drive, tmp_path: Any) -> None:
    """A database that can't be opened, for instance on a disk that is not mounted, is tried again."""
    (tmp_path / "mlflow.db").mkdir()
    with pytest.raises(Transient, match="unable to open database file"):
        await drive(f"sqlite:///{tmp_path}/mlflow.db").open()


async def test_lanes_do_not_disturb_each_other(drive: Drive, read: Read, tracking_uri: str, tmp_path: Any) -> None:
    """Both lanes export at the same time, and everything arrives."""
    from tracelet.events import ArtifactLogged

    driver = drive(tracking_uri)
    await driver.open()
    (tmp_path / "blob").write_bytes(b"x" * 100_000)
    files: list[Event] = [ArtifactLogged(NOW, f"f{i}", str(tmp_path / "blob"), 100_000, 0) for i in range(5)]
    points: list[Event] = [MetricsLogged(NOW, {"m": 1.0}, step) for step in range(500)]
    async with anyio.create_task_group() as both:
        both.start_soon(driver.export, *files)
        both.start_soon(driver.export, *points)
    client = read(tracking_uri)
    assert len(client.get_metric_history(driver.run_id, "m")) == 500
    assert len(client.list_artifacts(driver.run_id)) == 5
