"""Secrets: a canary in every place where one may be told, and in none where it may be found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import anyio
import pytest

from tracelet._discovery import find, public_options
from tracelet._secrets import learn, learn_named, public
from tracelet.codec import encode
from tracelet.errors import BrokenBackend, InvalidOptions
from tracelet.events import Kind, RunFinished
from tracelet.host.sync import Backlog, deliver, find_backlogs
from tracelet.journal import Recorder, RunDirectory, RunRecord
from tracelet.status import read_status

CANARY = "zeisig-4711"
"""In all secrets of these tests."""

PLUGIN = f"""
    import logging, msgspec, os, sys
    from typing import Annotated
    from tracelet.backend import Idempotency, Opened, Secret
    from tracelet.delivery import Delivery
    from tracelet.errors import Rejected, Transient
    from tracelet.events import MetricsLogged, ParamsLogged

    class Indiscreet:
        delivery = Delivery(linger=0.05, lanes=1)
        handles = frozenset({{MetricsLogged, ParamsLogged}})
        idempotency = Idempotency.APPENDS
        class Options(msgspec.Struct, forbid_unknown_fields=True):
            token: Annotated[str | None, Secret] = None
            url: str = "http://127.0.0.1:1"
            def __post_init__(self):
                if self.token == "{CANARY}-wrong":
                    raise ValueError(f"{{self.token}} is no token")
        def __init__(self, options, run):
            self.options, self.tries = options, 0
        def everything(self):
            return f"{{self.options.token}} {{self.options.url}} {{os.environ['VENDOR_API_KEY']}}"
        async def open(self, state):
            logging.getLogger("vendor").warning("signing in with %s", self.everything())
            return Opened(None, None)
        async def export(self, batch):
            self.tries += 1
            if self.tries == 1:
                raise Transient(self.everything())
            try:
                raise RuntimeError(self.everything())
            except RuntimeError:
                logging.getLogger("vendor").exception("as always")
            raise Rejected(self.everything())
        async def finish(self, outcome, time):
            raise ValueError(self.everything())
        async def close(self):
            pass
"""

TRAIN = f"""
    import os, subprocess, sys, time, tracelet
    options = {{"token": "{CANARY}-option", "url": "http://me:{CANARY}-in-url@127.0.0.1:1/?a=b&token={CANARY}-in-query"}}
    run = tracelet.start_logging({{"indiscreet:Indiscreet": options}}, "canary", capture=True)
    run.log_metric("loss", 0.5, 1)
    print("api_key=" + os.environ["VENDOR_API_KEY"], flush=True)
    deadline = time.monotonic() + 30
    while not run.status().backends["indiscreet:Indiscreet"].dead_lettered:
        assert time.monotonic() < deadline, run.status()
        time.sleep(0.01)
    for process in filter(str.isdecimal, os.listdir("/proc")):
        try:
            line = open(f"/proc/{{process}}/cmdline", "rb").read()
        except OSError:
            continue
        assert b"{CANARY}" not in line or int(process) == os.getpid(), line
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the plugin, and the secrets that a user would have there."""
    (tmp_path / "indiscreet.py").write_text(dedent(PLUGIN))
    (tmp_path / "train.py").write_text(dedent(TRAIN))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("VENDOR_API_KEY", f"{CANARY}-in-environment")
    monkeypatch.delenv("TRACELET_CAPTURE")
    return tmp_path


def test_a_canary_is_found_nowhere(place: Path) -> None:
    """Neither on the disk, nor in the process list, a message, a log, or what the commands show: whatever the backend
    says, logs and raises."""
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run(["git", "add", "indiscreet.py"], check=True)  # train.py, with its secret, is not tracked
    command = [
        sys.executable,
        "train.py",
        "--api-key",
        f"{CANARY}-in-arguments",
        f"--url=http://a:{CANARY}@host/?sig={CANARY}",
    ]
    environment = os.environ | {"TRACELET_CLOSE_TIMEOUT": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"api_key={CANARY}-in-environment\n"  # what it prints is its own
    assert CANARY not in done.stderr
    (path,) = (place / ".tracelet" / "runs").iterdir()
    name = "indiscreet:Indiscreet"
    status = read_status(RunDirectory(path)).backends[name]
    assert status.dead_lettered
    log = RunDirectory(path).delivery_log(name).read_text()
    assert "signing in with" in log  # there was something to find
    assert "as always" in log
    shown = ""
    for arguments in (["status"], ["status", path.name], ["status", "--json"], ["sync", "--timeout", "0"], ["config"]):
        command = [sys.executable, "-m", "tracelet", *arguments]
        result = subprocess.run(command, capture_output=True, text=True, timeout=100)
        assert result.returncode in (0, 1), result.stderr
        shown += result.stdout + result.stderr
    assert "127.0.0.1" in shown
    assert CANARY not in shown
    for file in path.rglob("*"):
        if file.is_file():
            assert CANARY.encode() not in file.read_bytes(), file


def test_errors_do_not_repeat_a_secret(place: Path) -> None:
    """What a plugin says of an option it refuses, or when it can't be loaded, is shown without the secret in it."""
    with pytest.raises(InvalidOptions) as refused:
        find("indiscreet:Indiscreet", {"token": f"{CANARY}-wrong"})
    assert "is no token" in str(refused.value)
    (place / "broken.py").write_text(f"raise ImportError('with {CANARY}-option, on http://me:{CANARY}@host/')")
    learn(f"{CANARY}-option")
    with pytest.raises(BrokenBackend) as broken:
        find("broken:Backend")
    for error in (refused.value, broken.value):
        assert CANARY not in str(error)


def test_a_secret_that_is_no_utf_8_is_left_out() -> None:
    """As variables of the environment may be."""
    learn_named({"TOKEN": "zeisig-\udce9-4"})
    assert public("with zeisig-\udce9-4.") == "with <redacted>."


def test_secrets_are_left_out_of_texts() -> None:
    """What is learned is left out as it is, and as URLs have it; short values would be found in plain words."""
    learn_named({"api_key": "p/q r+zeisig", "deep": {"PASSWORD": "zeisig-2"}, "name": "plain", "token": "abc"})
    learn_named({"uri": "mysql://user:zeisig%2F3@host/db", "more": [{"url": "http://h/?a=common&sig=zeisig%2F4"}]})
    said = "p/q r+zeisig p%2Fq%20r%2Bzeisig zeisig-2 zeisig/3 zeisig%2F4 zeisig/4 plain abc common"
    left_out = " ".join(["<redacted>"] * 6)
    assert public(said) == f"{left_out} plain abc common"
    assert public("http://a:b@host, and /path?key=unknown&a=1: 403") == "http://host, and /path?a=1: 403"


GUARDED = """
    import msgspec
    from tracelet.delivery import Delivery
    from tracelet.errors import Denied
    from tracelet.testing import RecordingBackend

    class Guarded(RecordingBackend):
        delivery = Delivery(linger=0.01)

        class Options(msgspec.Struct, forbid_unknown_fields=True):
            url: str = ""

        def __init__(self, options, run):
            super().__init__()
            self.url = options.url

        async def open(self, state):
            if "zeisig" not in self.url:
                raise Denied(f"{self.url}: 401")
            return await super().open(state)
"""


@pytest.mark.parametrize("url", ["http://me:zeisig@host/?a=b", "http://host/?a=b&token=zeisig"], ids=["login", "query"])
def test_sync_has_the_secrets_in_urls_from_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """What signs in in a URL is not kept with the run: sync has it where pyproject.toml does, and else goes without."""
    (tmp_path / "guarded.py").write_text(dedent(GUARDED))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "guarded", raising=False)
    name = "guarded:Guarded"
    directory = RunDirectory(tmp_path / "runs" / "run")
    recorder = Recorder(directory, bool)
    backends = {name: public_options(find(name, {"url": url}))}
    directory.write_record(RunRecord(id="run", name="n", project="p", created=0.0, backends=backends, version="0"))
    recorder.finish(Kind.RUN_FINISHED, encode(RunFinished(1.0, "completed")))
    assert b"zeisig" not in (directory.path / "run.json").read_bytes()

    (refused,) = anyio.run(_sync, directory)
    assert refused.problem is not None
    assert "http://host/?a=b: 401" in refused.problem
    (tmp_path / "pyproject.toml").write_text(f"[tool.tracelet.backend.'{name}']\nurl = '{url}'\n")
    (done,) = anyio.run(_sync, directory)
    assert (done.problem, done.complete) == (None, True)


class _Silent:
    def began(self, backlog: Backlog) -> None:
        pass

    def ended(self, backlog: Backlog) -> None:
        pass


async def _sync(directory: RunDirectory) -> list[Backlog]:
    backlogs = find_backlogs(directory)
    await deliver(backlogs, 10.0, _Silent())
    return backlogs
