"""Secrets: a canary in every place where one may be told, and in none where it may be found."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import anyio
import pytest

import tracelet
from tracelet._discovery import find, public_options
from tracelet._secrets import learn_environment, learn_named, public, unknown
from tracelet.codec import encode
from tracelet.errors import BrokenBackend, InvalidOptions, UnknownBackend
from tracelet.events import Kind, RunFinished
from tracelet.host.sync import Backlog, deliver, find_backlogs
from tracelet.journal import Recorder, RunDirectory, RunRecord
from tracelet.status import read_status

CANARY = "zeisig-4711"
"""In all secrets of these tests."""

PLUGIN = f"""
    import logging, msgspec, os, sys, threading, warnings
    from typing import Annotated
    from tracelet.backend import Idempotency, Opened, Secret
    from tracelet.delivery import Delivery
    from tracelet.errors import Rejected, Transient
    from tracelet.events import MetricsLogged, ParamsLogged

    class Server(msgspec.Struct):
        name: str
        sesame: Annotated[str, Secret]

    class Indiscreet:
        delivery = Delivery(linger=0.05, lanes=1)
        handles = frozenset({{MetricsLogged, ParamsLogged}})
        idempotency = Idempotency.APPENDS
        class Options(msgspec.Struct, forbid_unknown_fields=True):
            token: Annotated[str | None, Secret] = None
            sesame: Annotated[str | None, Secret] = None
            more: Annotated[list[str] | None, Secret] = None
            servers: list[Server] = []
            url: str = "http://127.0.0.1:1"
            def __post_init__(self):
                if "{CANARY}-wrong" in (self.token, self.sesame):
                    raise ValueError(f"{{self.token}} {{self.sesame}} is no token")
        def __init__(self, options, run):
            self.options, self.tries = options, 0
        def everything(self):
            return f"{{self.options}} {{os.environ['VENDOR_API_KEY']}}"
        async def open(self, state):
            if "tracelet.host.deliver" in sys.modules:  # elsewhere the output is the training's own
                logging.getLogger("vendor").warning("signing in with %s", self.everything())
                print("printed", self.everything()[:50], end="")
                print(self.everything()[50:])
                sys.stderr.write(f"written {{self.everything()}}\\n")
                warnings.warn(f"warned of {{self.everything()}}")
                thread = threading.Thread(target=self.fail)
                thread.start()
                thread.join()
            return Opened(None, self.options.url)
        def fail(self):
            raise ValueError(f"raised in a thread {{self.everything()}}")
        async def export(self, batch):
            self.tries += 1
            if self.tries == 1:
                raise Transient(self.everything())
            try:
                raise RuntimeError(self.everything())
            except RuntimeError:
                if "tracelet.host.deliver" in sys.modules:
                    logging.getLogger("vendor").exception("as always")
            raise Rejected(self.everything())
        async def finish(self, outcome, time):
            raise ValueError(self.everything())
        async def close(self):
            pass
"""

OPTIONS = {
    "token": f"{CANARY}-option",
    "sesame": f"{CANARY}-of-another-name",
    "more": [f"{CANARY}-in-a-list"],
    "servers": [{"name": "one", "sesame": f"{CANARY}-within"}],
    "url": f"http://me:{CANARY}-in-url@127.0.0.1:1/?a=b&token={CANARY}-in-query",
}

TRAIN = f"""
    import anyio, os, subprocess, sys, time, tracelet
    options, host = {OPTIONS}, sys.argv[1]
    def log(run):
        run.log_metric("loss", 0.5, 1)
        print("api_key=" + os.environ["VENDOR_API_KEY"], flush=True)
        print("opened by", options["sesame"], options["more"], flush=True)
    def lettered(run):
        return run.status().backends["indiscreet:Indiscreet"].dead_lettered
    async def in_loop():
        async with tracelet.open_run({{"indiscreet:Indiscreet": options}}, "canary", capture=True) as run:
            log(run)
            with anyio.fail_after(30):
                while not lettered(run):
                    await anyio.sleep(0.01)
    if host == "loop":
        anyio.run(in_loop)
        sys.exit()
    run = tracelet.start_logging({{"indiscreet:Indiscreet": options}}, "canary", capture=True, host=host)
    log(run)
    deadline = time.monotonic() + 30
    while not lettered(run):
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


@pytest.mark.parametrize("host", ["process", "thread", "loop"])
def test_a_canary_is_found_nowhere(place: Path, host: str) -> None:
    """Neither on the disk, nor in the process list, a message, a log, or what the commands show: whatever the backend
    says, logs, prints and raises, and whatever stands in the code."""
    (place / "notes.txt").write_text("nothing yet\n")
    for command in (["init", "-q"], ["add", "indiscreet.py", "notes.txt"], [*_COMMIT]):
        subprocess.run(["git", *command], check=True)  # train.py, with its secret, is not tracked
    (place / "notes.txt").write_text(f"say {OPTIONS['sesame']}\n")
    arguments = [f"--open={OPTIONS['sesame']}", "--api-key", f"{CANARY}-in-arguments"]
    arguments += [f"--url=http://a:{CANARY}@host/?sig={CANARY}"]
    command = [sys.executable, "train.py", host, *arguments]
    environment = os.environ | {"TRACELET_CLOSE_TIMEOUT": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"api_key={CANARY}-in-environment\n")  # what it prints is its own
    assert CANARY not in done.stderr
    (path,) = (place / ".tracelet" / "runs").iterdir()
    name = "indiscreet:Indiscreet"
    status = read_status(RunDirectory(path)).backends[name]
    assert status.dead_lettered
    if host == "process":
        log = RunDirectory(path).delivery_log(name).read_text()
        for said in ("signing in with", "as always", "printed", "written", "warned of", "raised in a thread"):
            assert said in log, log  # there was something to find
    shown = ""
    for given in (["status"], ["status", path.name], ["status", "--json"], ["sync", "--timeout", "0"], ["config"]):
        command = [sys.executable, "-m", "tracelet", *given]
        result = subprocess.run(command, capture_output=True, text=True, timeout=100)
        assert result.returncode in (0, 1), result.stderr
        shown += result.stdout + result.stderr
    assert "127.0.0.1" in shown
    assert CANARY not in shown
    patches = [file for file in path.rglob("*.patch") if b"+say <redacted>" in file.read_bytes()]
    assert patches
    assert _holding(path, CANARY) == []


def _holding(place: Path, text: str) -> list[Path]:
    """The files below a folder that have a text in them, or in their names."""
    return [path for path in place.rglob("*") if text in str(path) or (path.is_file() and text in _read(path))]


def _read(file: Path) -> str:
    return file.read_bytes().decode("latin-1")


_COMMIT = ("-c", "user.name=me", "-c", "user.email=me@host", "commit", "-q", "-m", "begin")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"token": f"{CANARY}-wrong"}, "is no token"),
        ({"sesame": f"{CANARY}-wrong"}, "is no token"),
        ({"sesame": CANARY, "url": 3}, "url"),
    ],
)
def test_errors_do_not_repeat_a_secret(place: Path, options: dict[str, object], said: str) -> None:
    """What a plugin says of an option it refuses is shown without the secret in it, also in the traceback."""
    with pytest.raises(InvalidOptions, match=said) as refused:
        find("indiscreet:Indiscreet", options)
    assert CANARY not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    "module",
    [
        f"raise ImportError('with {CANARY}-option, on http://me:{CANARY}@host/')",
        f"""
            import msgspec
            from tracelet import Delivery, Idempotency
            class Backend:
                delivery, handles, idempotency = Delivery(), frozenset(), Idempotency.APPENDS
                open = export = finish = close = lambda *_: None
                class Options(msgspec.Struct):
                    api_key: str = ""
                    def __post_init__(self):
                        raise OSError("{CANARY}-option")
        """,
    ],
    ids=["module", "options"],
)
def test_a_plugin_that_is_broken_tells_no_secret(
    place: Path, module: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its options are not known, so only what can hardly be a secret is kept; its error is shown without them."""
    (place / "broken.py").write_text(dedent(module))
    monkeypatch.setenv("VENDOR_API_KEY", f"{CANARY}-option")
    monkeypatch.delitem(sys.modules, "broken", raising=False)
    hidden = {"headers": {"A": CANARY}, "servers": [{"password": CANARY}], "pwd": CANARY, "auth": CANARY, "tok": CANARY}
    kept = {"url": f"http://me:{CANARY}@host/", "size": 3, "delivery": {"linger": 2.0}}
    given = {"broken:Backend": hidden | kept} if "ImportError" in module else {"broken:Backend": {}}
    run = tracelet.start_logging(given, "broken", "secrets", capture=False)
    with pytest.raises(BrokenBackend) as broken:
        find("broken:Backend")
    run.finish(timeout=0)
    assert CANARY not in "".join(traceback.format_exception(broken.value)) + capsys.readouterr().err
    assert _holding(run.directory, CANARY) == []
    if "ImportError" in module:
        record = RunDirectory(run.directory).read_record()
        assert record.backends["broken:Backend"] == kept | {"url": "http://host/"}


def test_delivery_tells_no_secret_of_a_plugin_that_breaks_there(place: Path, eventually: Callable[..., None]) -> None:
    """What the delivery process finds wrong is in the log and the status without the secret."""
    source = (place / "indiscreet.py").read_text()
    fault = "\nif 'tracelet.host.deliver' in sys.modules:\n    raise ImportError(os.environ['VENDOR_API_KEY'])\n"
    (place / "indiscreet.py").write_text(source + fault)
    run = tracelet.start_logging({"indiscreet:Indiscreet": OPTIONS}, "broken", "secrets", capture=False)
    try:
        eventually(lambda: run.status().backends["indiscreet:Indiscreet"].state == "failed")
    finally:
        run.finish(timeout=0)
    assert "<redacted>" in str(run.status().backends["indiscreet:Indiscreet"].last_error)
    assert _holding(run.directory, CANARY) == []


@pytest.mark.parametrize(
    ("backend", "error"),
    [
        ({"jsonl": f"http://me:{CANARY}@host/"}, TypeError),
        (f"http://me:{CANARY}@host/", UnknownBackend),
        ({"jsonl": {"delivery": CANARY}}, TypeError),
    ],
)
def test_what_stands_in_a_wrong_place_is_not_repeated(place: Path, backend: Any, error: type[Exception]) -> None:
    """A value in place of options, or of a name, is told by its type."""
    with pytest.raises(error) as refused:
        tracelet.start_logging(backend)
    assert CANARY not in "".join(traceback.format_exception(refused.value))
    assert not (place / ".tracelet").exists()


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


def test_a_secret_that_the_options_find_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As from a file of the vendor's: it is marked, whatever it is called."""
    source = dedent(PLUGIN).replace("sesame: Annotated[str | None, Secret] = None", f"sesame: {_FOUND}")
    (tmp_path / "finding.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    find("finding:Indiscreet")
    assert unknown("with zeisig-found.") == "with <redacted>."


_FOUND = "Annotated[str, Secret] = 'zeisig-found'"


def test_what_the_environment_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables are known by their names; a number of tokens, the place of a key and other words are no secrets."""
    secrets = {"VENDOR_PWD": "zeisig-a", "API_KEY": "zeisig-b", "MY_PASS": "zeisig-c", "DB": "x://me:zeisig-d@host/"}
    others = {"MAX_TOKENS": "1234567", "KEY_FILE": "/zeisig-e", "KEYBOARD": "zeisig-f", "MONKEY": "zeisig-g"}
    for name, value in (secrets | others).items():
        monkeypatch.setenv(name, value)
    learn_environment()
    said = "zeisig-a zeisig-b zeisig-c zeisig-d 1234567 /zeisig-e zeisig-f zeisig-g"
    assert unknown(said) == f"{' '.join(['<redacted>'] * 4)} 1234567 /zeisig-e zeisig-f zeisig-g"


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
