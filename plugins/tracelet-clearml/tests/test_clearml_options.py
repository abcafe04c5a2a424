"""Options and credentials: resolved in the training process, and completed where the delivery runs."""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from clearml_driver import Driver
from clearml_stub import KEY, SECRET, StubServer
from tracelet_clearml import ClearML, Options
from tracelet_clearml._access import find_access

from tracelet.errors import Denied
from tracelet.events import EVENT_TYPES, MetricsLogged, RunFinished

pytestmark = pytest.mark.anyio

Drive = Callable[..., Driver]


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_HOST", "WEB_HOST", "FILES_HOST", "API_ACCESS_KEY", "API_SECRET_KEY", "OFFLINE_MODE"):
        monkeypatch.delenv(f"CLEARML_{name}", raising=False)


def test_variables_are_read_where_the_training_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts and the offline mode come from ClearML's variables; an option comes before its variable."""
    assert Options() == Options(offline=False)
    monkeypatch.setenv("CLEARML_API_HOST", "http://one:8008/")
    monkeypatch.setenv("CLEARML_FILES_HOST", "http://files:8081")
    monkeypatch.setenv("CLEARML_OFFLINE_MODE", "1")
    options = Options(files_host="http://two/")
    assert (options.api_host, options.files_host, options.offline) == ("http://one:8008", "http://two", True)
    assert Options(offline=False).offline is False


def test_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative folder is the training process's; a URI stays as it is."""
    monkeypatch.chdir(tmp_path)
    assert Options(output_uri="out").output_uri == f"file://{tmp_path}/out"
    assert Options(output_uri="s3://bucket/a/").output_uri == "s3://bucket/a"
    assert Options(offline_folder="off").offline_folder == f"{tmp_path}/off"


@pytest.mark.parametrize("host", ["api.clear.ml", "ftp://host", "http://"])
def test_a_host_that_is_none_is_refused(host: str) -> None:
    """The message shows how an address is written."""
    with pytest.raises(ValueError, match=r"api_host .* write it as http://host:8008"):
        Options(api_host=host)


def test_secrets_are_marked() -> None:
    """Both keys are kept out of files."""
    fields = {field.name: field.type for field in msgspec.inspect.type_info(Options).fields}  # type: ignore[attr-defined]
    for name in ("access_key", "secret_key"):
        assert isinstance(fields[name], msgspec.inspect.Metadata)
        assert fields[name].extra == {"secret": True}


def test_task_types_are_clearmls() -> None:
    """A type that ClearML has not is refused by its options."""
    with pytest.raises(msgspec.ValidationError, match="task_type"):
        msgspec.convert({"task_type": "dancing"}, Options)


async def test_no_credentials_are_said_to_be_missing(drive: Drive, stub: StubServer, bare: None) -> None:
    """Without credentials the message names the variables, clearml-init, and the offline mode."""
    with pytest.raises(Denied, match=r"CLEARML_API_ACCESS_KEY.*clearml-init.*offline"):
        await drive(Options(api_host=stub.url, files_host=stub.files_url)).open()


async def test_variables_give_the_credentials(drive: Drive, stub: StubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys of the environment are used where options have none."""
    monkeypatch.setenv("CLEARML_API_ACCESS_KEY", KEY)
    monkeypatch.setenv("CLEARML_API_SECRET_KEY", SECRET)
    driver = drive(Options(api_host=stub.url, files_host=stub.files_url))
    await driver.open()
    assert driver.task in stub.store.tasks
    assert driver.url is None  # nothing tells the web server's address


async def test_a_token_is_enough(drive: Drive, stub: StubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """CLEARML_AUTH_TOKEN, as ClearML's agent sets it, is used in place of keys; when it has expired, that is Denied."""
    basic = base64.b64encode(f"{KEY}:{SECRET}".encode()).decode()
    monkeypatch.setenv("CLEARML_AUTH_TOKEN", stub.login(f"Basic {basic}")["token"])
    driver = drive(Options(api_host=stub.url, files_host=stub.files_url))
    await driver.open()
    stub.revoke()
    with pytest.raises(Denied, match="revoked token"):
        await driver.export(MetricsLogged(0.0, {"m": 1.0}, 1))


def test_clearml_conf_gives_hosts_and_credentials(stub: StubServer, tmp_path: Path) -> None:
    """The file that CLEARML_CONFIG_FILE names, or ~/clearml.conf, is read by ClearML's own parser."""
    conf = f"""
api {{
    web_server: "http://web.example"
    api_server: "{stub.url}"
    files_server: "{stub.files_url}"
    credentials {{ "access_key" = "{KEY}", "secret_key" = "{SECRET}" }}
}}
"""
    code = (
        "from tracelet_clearml._access import find_access; from tracelet_clearml import Options; "
        "a = find_access(Options()); print(a.api, a.web, a.files, a.key, a.secret)"
    )
    for name in ("my.conf", "clearml.conf"):
        place = tmp_path / name
        place.write_text(conf)
        environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
        if name == "my.conf":
            environment["CLEARML_CONFIG_FILE"] = str(place)
        command = [sys.executable, "-W", "ignore", "-c", code]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout.split() == [stub.url, "http://web.example", stub.files_url, KEY, SECRET]
        place.unlink()


@pytest.mark.parametrize(
    ("api", "web", "files"),
    [
        ("http://clearml:8008", "http://clearml:8080", "http://clearml:8081"),
        ("https://api.clearml.example", "https://app.clearml.example", "https://files.clearml.example"),
    ],
)
def test_hosts_follow_from_the_apis(stub: StubServer, api: str, web: str, files: str) -> None:
    """An API address alone is enough where the others are as ClearML sets them up."""
    access = find_access(Options(api_host=api, access_key="k", secret_key="s"))
    assert (access.web, access.files) == (web, files)


def test_every_kind_is_declared() -> None:
    """All event kinds are handled, each with where it is shown."""
    assert set(ClearML.handles) == set(EVENT_TYPES.values()) - {RunFinished}
