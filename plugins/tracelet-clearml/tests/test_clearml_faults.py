"""Servers that fail, refuse, or take a part: what each means to the core, and that nothing is doubled or lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from clearml_driver import NOW, Driver
from clearml_stub import StubServer
from clearml_stub_store import Fields
from tracelet_clearml import Options

from tracelet.backend import Outcome
from tracelet.errors import Denied, Rejected, Transient
from tracelet.events import ArtifactLogged, ConsoleLine, MetricsLogged, ParamsLogged, TextLogged
from tracelet.testing import Answer, FaultyServer, LoseReply, Request

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])]

Drive = Callable[..., Driver]


def to(action: str) -> Callable[[Request], bool]:
    return lambda request: request.path.endswith(action)


@pytest.fixture
def proxied(options: Options, proxy: FaultyServer) -> Options:
    return msgspec.structs.replace(options, api_host=proxy.url)


def points(stub: StubServer, driver: Driver) -> list[tuple[int, float]]:
    return [(event["iter"], event["value"]) for event in stub.events.of(driver.task, "training_stats_scalar")]


def messages(stub: StubServer, driver: Driver) -> list[str]:
    return sorted(line["msg"] for line in stub.events.of(driver.task, "log"))


def metric(step: int) -> MetricsLogged:
    return MetricsLogged(NOW, {"m": float(step)}, step)


async def test_partial_success_is_no_success(drive: Drive, stub: StubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reply with status 200 that tells of errors rejects the batch; alone, the others are taken."""
    driver = drive()
    await driver.open()
    judge = stub.events._problem
    monkeypatch.setattr(stub.events, "_problem", lambda event: "odd" if event.get("iter") == 2 else judge(event))
    with pytest.raises(Rejected, match=r"took 2 of 3 events: odd \(1\)") as caught:
        await driver.export(*map(metric, (1, 2, 3)))
    assert caught.value.indexes is None
    with pytest.raises(Rejected, match="400/131: events not added"):
        await driver.export(metric(2))
    assert await driver.export(metric(1), metric(3)) == {}
    assert points(stub, driver) == [(1, 1.0), (3, 3.0)]


async def test_a_reply_that_says_it_failed_is_no_success(drive: Drive, proxied: Options, proxy: FaultyServer) -> None:
    """Status 200 with another result code in its body is what that code says."""
    driver = drive(proxied)
    await driver.open()
    for code, expected in ((500, Transient), (403, Denied), (400, Rejected)):
        body = msgspec.json.encode({"meta": {"result_code": code, "result_msg": "so it is"}, "data": {}})
        proxy.fail(Answer(200, {"Content-Type": "application/json"}, body))
        with pytest.raises(expected, match="so it is"):
            await driver.export(metric(1))


async def test_an_expired_token_is_renewed(drive: Drive, stub: StubServer, tmp_path: Path) -> None:
    """A token that is no longer valid is renewed once, by both servers' clients, and nobody notices."""
    driver = drive()
    await driver.open()
    logins = stub.logins
    stub.revoke()
    await driver.export(metric(1))
    assert stub.logins == logins + 1
    stub.revoke()
    path = tmp_path / "file"
    path.write_bytes(b"content")
    event = ArtifactLogged(NOW, "file", str(path), 7, path.stat().st_mtime_ns)
    batch = driver.batch(event)
    with pytest.raises(Transient, match="401"):
        await driver.backend.export(batch)
    await driver.backend.export(batch)
    assert points(stub, driver) == [(1, 1.0)]
    (artifact,) = stub.store.tasks[driver.task]["execution"]["artifacts"]
    assert artifact["key"] == "file"


async def test_wrong_credentials_are_denied(drive: Drive, stub: StubServer, options: Options) -> None:
    """The server's words come with the refusal, and the secret does not."""
    wrong = msgspec.structs.replace(options, secret_key="s3cr3t")
    with pytest.raises(Denied, match="invalid credentials") as caught:
        await drive(wrong).open()
    assert "s3cr3t" not in str(caught.value)


async def test_a_request_is_renewed_only_once(drive: Drive, proxied: Options, proxy: FaultyServer) -> None:
    """A server that refuses the new token, too, is not asked for ever."""
    driver = drive(proxied)
    await driver.open()
    before = len(proxy.requests)
    proxy.fail(Answer(401), when=to("events.add_batch"), for_ever=True)
    with pytest.raises(Denied):
        await driver.export(metric(1))
    assert [request.path.rpartition("/")[2] for request in proxy.requests[before:]] == [
        "events.add_batch",
        "auth.login",
        "events.add_batch",
    ]


async def test_a_lost_reply_doubles_nothing(
    drive: Drive, stub: StubServer, proxied: Options, proxy: FaultyServer
) -> None:
    """Points and lines whose arrival was not confirmed are sent again, and are there once; so are equal lines twice."""
    driver = drive(proxied)
    await driver.open()
    batch = driver.batch(metric(1), ConsoleLine(NOW, "same"), ConsoleLine(NOW, "same"), metric(2))
    for lost in (b"training_stats_scalar", b'"log"'):
        proxy.fail(LoseReply(), when=lambda request, lost=lost: lost in request.body)  # type: ignore[misc]
        with pytest.raises(Transient):
            await driver.backend.export(batch)
    await driver.backend.export(batch)
    await driver.backend.export(batch)
    assert points(stub, driver) == [(1, 1.0), (2, 2.0)]
    assert messages(stub, driver) == ["same", "same"]


async def test_lines_are_not_doubled_after_a_crash(drive: Drive, stub: StubServer) -> None:
    """A new process that gets a batch again asks which of its lines are there; those with equal words are new ones."""
    first = drive()
    state = await first.open()
    lines = [ConsoleLine(NOW + at / 1000, f"line {at % 3}") for at in range(6)]
    await first.export(*lines[:4])
    again = drive(id=first.info.id, project=first.info.project)
    await again.open(state)
    await again.export(*lines)
    await again.export(ConsoleLine(NOW, "line 0"))
    assert messages(stub, again) == ["line 0"] * 3 + ["line 1"] * 2 + ["line 2"] * 2


async def test_a_batch_that_comes_in_halves_doubles_no_line(
    drive: Drive, stub: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When something behind the lines of a batch is refused, its parts do not add the lines again."""
    driver = drive()
    await driver.open()
    batch = driver.batch(ConsoleLine(NOW, "a"), ConsoleLine(NOW, "b"), ParamsLogged(NOW, {"p": 1}))
    edit = stub.store.tasks_edit_hyper_params

    def refuse(body: Fields) -> Fields:
        return edit(body | {"hyperparams": [{"section": "", "name": "", "value": ""}]})

    monkeypatch.setattr(stub.store, "tasks_edit_hyper_params", refuse)
    with pytest.raises(Rejected):
        await driver.backend.export(batch)
    for index in range(2):
        part = type(batch)(batch.writer, batch.lane, [batch.events[index]], [batch.sequences[index]])
        await driver.backend.export(part)
    assert messages(stub, driver) == ["a", "b"]


async def test_a_deleted_task_pauses_delivery(drive: Drive, stub: StubServer) -> None:
    """Deleting the task says so at once, and dead-letters nothing."""
    driver = drive()
    await driver.open()
    del stub.store.tasks[driver.task]
    for event in (metric(1), ConsoleLine(NOW, "a"), ParamsLogged(NOW, {"p": 1})):
        with pytest.raises(Denied, match="was deleted"):
            await driver.export(event)
    with pytest.raises(Denied, match="was deleted"):
        await driver.backend.finish(Outcome.COMPLETED, NOW)


async def test_a_published_task_pauses_delivery(drive: Drive, stub: StubServer) -> None:
    """A published task takes nothing any more, and is never forced to; nor is it opened, with its state or without."""
    driver = drive()
    state = await driver.open()
    stub.store.tasks_publish({"task": driver.task, "force": True})
    for event in (metric(1), ParamsLogged(NOW, {"p": 1})):
        with pytest.raises(Denied, match="is published, and takes nothing any more"):
            await driver.export(event)
    with pytest.raises(Denied, match="is published"):
        await driver.backend.finish(Outcome.FAILED, NOW)
    for known in (state, None):
        with pytest.raises(Denied, match="is published"):
            await drive(id=driver.info.id, project=driver.info.project).open(known)
    assert stub.store.tasks[driver.task]["status"] == "published"


async def test_a_task_that_somebody_stopped_goes_on(drive: Drive, stub: StubServer) -> None:
    """Parameters of a task that was stopped there are refused; it is started again, since the training runs."""
    driver = drive()
    await driver.open()
    stub.store.tasks_stopped({"task": driver.task})
    batch = driver.batch(ParamsLogged(NOW, {"p": 1}))
    with pytest.raises(Transient, match="started again"):
        await driver.backend.export(batch)
    await driver.backend.export(batch)
    assert stub.store.tasks[driver.task]["hyperparams"]["General"]["p"]["value"] == "1"


async def test_another_server_is_said_to_be_none(drive: Drive, proxied: Options, proxy: FaultyServer) -> None:
    """The web server's address instead of the API's is the usual mistake, and the message shows what answered."""
    proxy.fail(Answer(405, {"Content-Type": "text/html"}, b"<html>nginx"), for_ever=True)
    with pytest.raises(Transient, match=r"is not a ClearML API server\? It answered 405 .* <html>nginx"):
        await drive(proxied).open()


async def test_a_file_server_that_fails_is_waited_for(
    drive: Drive, stub: StubServer, options: Options, tmp_path: Path
) -> None:
    """An upload that was not confirmed may come again; what had arrived before is not sent again."""
    with FaultyServer(stub.files_url) as files:
        driver = drive(msgspec.structs.replace(options, files_host=files.url))
        await driver.open()
        events = []
        for number in range(3):
            path = tmp_path / str(number)
            path.write_bytes(b"%d" % number)
            events.append(ArtifactLogged(NOW, f"file {number}", str(path), 1, path.stat().st_mtime_ns))
        batch = driver.batch(*events)
        for status in (500, 413):
            files.fail(Answer(status, {"Retry-After": "3"}), when=lambda request: b'"file 2"' in request.body)
            expected = Transient if status == 500 else Rejected
            with pytest.raises(expected) as caught:
                await driver.backend.export(batch)
            if isinstance(caught.value, Rejected):
                assert caught.value.indexes == frozenset({2})
            else:
                assert getattr(caught.value, "retry_after", None) == 3
        await driver.backend.export(batch)
        paths = [request.body.split(b'filename="')[1][:6] for request in files.requests]
    assert paths == [b"file 0", b"file 1", b"file 2", b"file 2", b"file 2"]
    artifacts = stub.store.tasks[driver.task]["execution"]["artifacts"]
    assert [artifact["key"] for artifact in artifacts] == ["file 0", "file 1", "file 2"]


@pytest.mark.parametrize("body", [b'["another/file"]', b"<html>log in", b"[]"])
async def test_a_file_server_has_to_say_what_it_stored(
    drive: Drive, stub: StubServer, options: Options, tmp_path: Path, body: bytes
) -> None:
    """An upload that is answered with status 200, and without the file's name, has not arrived."""
    path = tmp_path / "file"
    path.write_bytes(b"content")
    with FaultyServer(stub.files_url) as files:
        driver = drive(msgspec.structs.replace(options, files_host=files.url))
        await driver.open()
        batch = driver.batch(ArtifactLogged(NOW, "file", str(path), 7, path.stat().st_mtime_ns))
        files.fail(Answer(200, {}, body))
        with pytest.raises(Transient, match=r"stored|is not a ClearML file server"):
            await driver.backend.export(batch)
        assert "artifacts" not in stub.store.tasks[driver.task]["execution"]
        await driver.backend.export(batch)
    (artifact,) = stub.store.tasks[driver.task]["execution"]["artifacts"]
    assert artifact["key"] == "file"


async def test_a_text_is_uploaded_once(drive: Drive, stub: StubServer, options: Options, proxy: FaultyServer) -> None:
    """A batch that comes again goes on where it was: texts that are stored are not stored again."""
    with FaultyServer(stub.files_url) as files:
        driver = drive(msgspec.structs.replace(options, api_host=proxy.url, files_host=files.url))
        await driver.open()
        batch = driver.batch(*(TextLogged(NOW, "note", str(step), step) for step in range(3)))
        proxy.fail(Answer(503), when=to("events.add_batch"))
        files.fail(Answer(503), when=lambda request: b"00000002.txt" in request.body)
        for _ in range(2):
            with pytest.raises(Transient):
                await driver.backend.export(batch)
        await driver.backend.export(batch)
        assert len(files.requests) == 4
    assert len(stub.events.of(driver.task, "training_debug_image")) == 3
