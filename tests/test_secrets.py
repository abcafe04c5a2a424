"""Secrets: a canary in every place where one may be told, and in none where it may be found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from tracelet._secrets import learn, learn_named, public
from tracelet.errors import BrokenBackend, InvalidOptions
from tracelet.journal import RunDirectory
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
    options = {{"token": "{CANARY}-option", "url": "http://me:{CANARY}-in-url@127.0.0.1:1/?a=b"}}
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
    command = [sys.executable, "train.py", "--api-key", f"{CANARY}-in-arguments", f"--url=http://a:{CANARY}@host/"]
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
    from tracelet._discovery import find

    with pytest.raises(InvalidOptions) as refused:
        find("indiscreet:Indiscreet", {"token": f"{CANARY}-wrong"})
    assert "is no token" in str(refused.value)
    (place / "broken.py").write_text(f"raise ImportError('with {CANARY}-option, on http://me:{CANARY}@host/')")
    learn(f"{CANARY}-option")
    with pytest.raises(BrokenBackend) as broken:
        find("broken:Backend")
    for error in (refused.value, broken.value):
        assert CANARY not in str(error)


def test_secrets_are_left_out_of_texts() -> None:
    """What is learned is left out as it is, and as URLs have it; short values would be found in plain words."""
    learn_named({"api_key": "p/q r+zeisig", "deep": {"PASSWORD": "zeisig-2"}, "name": "plain", "token": "abc"})
    learn_named({"uri": "mysql://user:zeisig%2F3@host/db"})
    said = "p/q r+zeisig p%2Fq%20r%2Bzeisig zeisig-2 zeisig/3 plain abc http://a:b@host"
    left_out = " ".join(["<redacted>"] * 4)
    assert public(said) == f"{left_out} plain abc http://host"
