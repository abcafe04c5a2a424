"""Settings: which source holds, what is refused, and what is shown of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import tracelet
from tracelet._setting_values import SURROUNDINGS
from tracelet._settings import SETTINGS, resolve
from tracelet.cli._app import app
from tracelet.errors import InvalidSetting, JournalUnavailable, UnknownSetting
from tracelet.journal import RunDirectory


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRACELET_CAPTURE")
    monkeypatch.chdir(tmp_path)


def write(folder: Path, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pyproject.toml").write_text(text)


def test_an_argument_comes_before_a_variable_and_that_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the three sources holds as long as no stronger one says anything, and the default after them."""
    assert resolve().project == "default"
    write(tmp_path, "[tool.tracelet]\nproject = 'file'\n")
    assert resolve().project == "file"
    monkeypatch.setenv("TRACELET_PROJECT", "variable")
    assert resolve().project == "variable"
    assert resolve(project="argument").project == "argument"
    monkeypatch.setenv("TRACELET_PROJECT", "")
    assert resolve(project=None).project == "file"


def test_every_setting_can_be_given_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a variable says is read as the setting's type."""
    given = {
        "BACKEND": "jsonl, mlflow",
        "EXP_NAME": "trial",
        "PROJECT": "vision",
        "DIR": "/store",
        "MODE": "offline",
        "HOST": "thread",
        "STRICT": "1",
        "DEFER": "true",
        "RUN_ID": "the-run",
        "RESUME": "must",
        "ALL_RANKS": "1",
        "CLOSE_TIMEOUT": "2.5",
        "QUOTA": "10GB",
        "MIN_FREE": "2GiB",
        "ON_FULL": "block",
        "CAPTURE": "git,system",
        "CAPTURE_INTERVAL": "1",
    }
    assert {f"TRACELET_{name}" for name in given} == {setting.variable for setting in SETTINGS}
    for name, value in given.items():
        monkeypatch.setenv(f"TRACELET_{name}", value)
    assert tuple(getattr(resolve(), setting.name) for setting in SETTINGS) == (
        [("jsonl", {}), ("mlflow", {})],
        "trial",
        "vision",
        Path("/store"),
        "offline",
        "thread",
        True,
        True,
        "the-run",
        "must",
        True,
        2.5,
        10_000_000_000,
        2 << 30,
        "block",
        {"git", "system"},
        1.0,
    )


def test_the_nearest_file_with_the_table_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are looked for upward from the working directory; one without [tool.tracelet] is passed over."""
    write(tmp_path, "[tool.tracelet]\nproject = 'far'\ndirectory = 'runs'\n")
    write(tmp_path / "a", "[tool.other]\nx = 'tool.tracelet'\n")
    (tmp_path / "a" / "b").mkdir()
    monkeypatch.chdir(tmp_path / "a" / "b")
    assert resolve().project == "far"
    assert resolve().directory == tmp_path / "runs"  # relative to the file
    write(tmp_path / "a", "[project]\ndependencies = ['tracelet']\n[tool.poetry.dependencies]\ntracelet = '*'\n")
    assert resolve().project == "far"
    write(tmp_path / "a", "[tool]\ntracelet = { project = 'inline' }\n")
    assert resolve().project == "inline"
    write(tmp_path / "a", "[tool.tracelet]\nproject = 'near'\n")
    assert resolve().project == "near"
    assert resolve().directory == tmp_path / "a" / "b" / ".tracelet"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool.tracelet]\nprojct = 'x'\n", "'projct', a key in .*pyproject.toml.*Did you mean 'project'"),
        (
            "[tool.tracelet]\nrun_id = 'x'\n",
            "'run_id', a key in .* must be an argument, or the variable TRACELET_RUN_ID, since it holds for one",
        ),
        ("[tool.tracelet]\nmode = 'on'\n", "mode in .*pyproject.toml must be one of online, offline, disabled"),
        ("[tool.tracelet\n", "pyproject.toml must be valid TOML"),
        ("[tool]\ntracelet = 3\n", "tool.tracelet in .*pyproject.toml must be a table, found 'int'"),
    ],
)
def test_a_wrong_file_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    """A key that is no setting, what is of one run only, a wrong value, and what is no TOML are refused."""
    write(tmp_path, text.replace("[tool.tracelet\n", "[tool.tracelet\nx"))
    with pytest.raises((UnknownSetting, InvalidSetting), match=message):
        tracelet.start_logging()
    assert not (tmp_path / ".tracelet").exists()


def test_a_run_id_in_a_variable_goes_on_with_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that is started again has the same variable; in the code an id is that of a new run unless it says more."""
    assert resolve(run_id="mine").resume == "never"
    monkeypatch.setenv("TRACELET_RUN_ID", "mine")
    assert (resolve().run_id, resolve().resume) == ("mine", "allow")
    assert resolve(resume="must").resume == "must"


def test_an_unknown_variable_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable with a slip in its name would be without effect, and is refused with the name that is near."""
    monkeypatch.setenv("TRACELET_MOED", "offline")
    with pytest.raises(UnknownSetting, match=r"'TRACELET_MOED', .* Did you mean 'TRACELET_MODE'"):
        tracelet.start_logging()


def test_an_unknown_argument_is_an_error() -> None:
    """An argument with a slip in its name is refused with the name that is near."""
    with pytest.raises(TypeError, match=r"no setting 'quotta'\. Did you mean 'quota'"):
        tracelet.start_logging(quotta=3)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("mode", "onlin", "one of online, offline, disabled"),
        ("host", "proces", "one of process, thread, loop"),
        ("strict", "maybe", "one of 1, true, 0, false"),
        ("close_timeout", -1, "a number of seconds, 0 or more"),
        ("close_timeout", "soon", "a number of seconds"),
        ("close_timeout", float("nan"), "a number of seconds"),
        ("close_timeout", 10**400, "a number of seconds"),
        ("capture_interval", 0, "a number of seconds, 0.1 or more"),
        ("quota", "10 apples", "a size"),
        ("quota", -3, "a size"),
        ("quota", 0, "a size of at least 500 kB"),
        ("quota", "499 kB", "a size of at least 500 kB"),
        ("quota", True, "a size"),
        ("quota", "1" * 400, "a size"),
        ("min_free", "1" * 300 + "TB", "a size"),
        ("directory", "a\0b", "a path that the file system can hold"),
        ("directory", "a\ud800", "a path that the file system can hold"),
        ("capture", "gti", "1, 0, or some of git"),
        ("capture", 3, "True, False, or some of git"),
        ("capture", {"git": "perhaps"}, "one of 1, true, 0, false"),
    ],
)
def test_a_value_outside_of_the_choices_is_an_error(name: str, value: Any, message: str) -> None:
    """What was expected and what was found is said, and nothing begins."""
    with pytest.raises(InvalidSetting, match=f"^{name}.* must be {message}"):
        resolve(**{name: value})


@pytest.mark.parametrize(
    ("file", "variable", "argument", "expected"),
    [
        ("", "", None, set(SURROUNDINGS)),
        ("", "0", None, set()),
        ("", "-console, -system", None, {"git", "environment", "command"}),
        ("capture = false", "", {"git": True}, {"git"}),
        ("capture = ['git', 'console']", "-console", None, {"git"}),
        ("capture = {console = false}", "", None, set(SURROUNDINGS) - {"console"}),
        ("capture = false", "1", {"git": False}, set(SURROUNDINGS) - {"git"}),
        ("", "1", False, set()),
        ("", "", ["system"], {"system"}),
    ],
)
def test_captures_are_switched_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, variable: str, argument: Any, expected: set[str]
) -> None:
    """Each source says all, none, exactly some, or something of a few only; the stronger one comes last."""
    write(tmp_path, f"[tool.tracelet]\n{file}\n")
    monkeypatch.setenv("TRACELET_CAPTURE", variable)
    assert resolve(capture=argument).capture == expected


def test_options_of_a_backend_are_put_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that is chosen by its name has the options that the file has for it; given ones come before those."""
    write(tmp_path, "[tool.tracelet.backend]\njsonl = {path = 'a.jsonl', delivery = {linger = 1.0}}\naim = {}\n")
    assert [name for name, _ in resolve().backend] == ["jsonl", "aim"]
    monkeypatch.setenv("TRACELET_BACKEND", "jsonl")
    assert resolve().backend == [("jsonl", {"path": "a.jsonl", "delivery": {"linger": 1.0}})]
    assert resolve(backend={"jsonl": {"path": "b"}, "mlflow": {}}).backend == [
        ("jsonl", {"path": "b", "delivery": {"linger": 1.0}}),
        ("mlflow", {}),
    ]


def test_fields_of_delivery_are_put_together(tmp_path: Path) -> None:
    """An argument overrides single fields of what the file says of delivery."""
    write(tmp_path, "[tool.tracelet.backend.jsonl]\ndelivery = {batch_size = 5, linger = 1.0}\n")
    run = tracelet.start_logging({"jsonl": {"delivery": {"linger": 9.0}}}, mode="offline")
    run.finish()
    delivery = RunDirectory(run.directory).read_record().backends["jsonl"]["delivery"]
    assert (delivery["batch_size"], delivery["linger"]) == (5, 9.0)


def test_config_explains_options_of_a_wrong_type(tmp_path: Path) -> None:
    """What is no table, where one has to be, is told in a line, without its value."""
    write(tmp_path, "[tool.tracelet.backend.jsonl]\ndelivery = 'geheim'\n")
    result = CliRunner().invoke(app, ["config"])
    assert result.exit_code == 1
    assert "the option 'delivery' of jsonl must be a mapping, found str" in result.stderr
    assert "geheim" not in result.output


def test_names_that_are_no_text_are_written_out(tmp_path: Path) -> None:
    """A name with lone surrogates, such as that of a file that is not UTF-8, is recorded as metrics' names are."""
    name = os.fsdecode(b"caf\xe9")
    given: dict[str, Any] = {"exp_name": name, "project": name, "run_id": name, "backend": f"{name}:Class"}
    with tracelet.start_logging(**given, directory=tmp_path / name, capture=False) as run:
        child = run.child(name)
        child.finish()
    mended = "caf\\udce9"
    assert (run.name, run.project, run.id, run.directory.name) == (mended,) * 4
    record = RunDirectory(run.directory).read_record()
    assert (record.name, record.project, record.id, list(record.backends)) == (*(mended,) * 3, [f"{mended}:Class"])
    assert RunDirectory(child.directory).read_record().name == mended


def test_a_deleted_working_directory_costs_the_journal_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where runs would be kept in it, the run is inert and that is said; the commands say it, too."""
    kept = tmp_path / "kept"
    (kept / "runs").mkdir(parents=True)
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with tracelet.start_logging("jsonl", capture=False) as run:
        run.log_metric("m", 1.0)
    assert run.status().lost == 1
    assert "no journal can be written in .tracelet" in (err := capsys.readouterr().err)
    assert "(the working directory was deleted)" in err
    with pytest.raises(JournalUnavailable, match="the working directory was deleted"):
        tracelet.start_logging(strict=True)
    result = CliRunner().invoke(app, ["status"])
    assert result.exit_code == 2
    assert (
        "the working directory, in which .tracelet would be, was deleted: go to another one, or say --directory"
        in result.output
    )
    result = CliRunner().invoke(app, ["show", "nope", "--directory", str(kept)])
    assert result.exit_code == 2
    assert f"there are no runs in {kept}" in result.output


def test_a_run_follows_the_file(tmp_path: Path) -> None:
    """start_logging delivers to the backend that the file names, with its options."""
    write(tmp_path, "[tool.tracelet]\nproject = 'p'\ncapture = false\nbackend.jsonl.path = 'out.jsonl'\n")
    with tracelet.start_logging(host="thread") as run:
        run.log_metric("loss", 0.5, 1)
    assert run.project == "p"
    assert any(json.loads(line).get("values") == {"loss": 0.5} for line in Path("out.jsonl").read_text().splitlines())


def test_an_earlier_run_keeps_its_name_and_project() -> None:
    """Who goes on with a run need not name it again."""
    with tracelet.start_logging(exp_name="first", project="p", capture=False) as run:
        pass
    with tracelet.start_logging(run_id=run.id, resume="must", capture=False) as again:
        assert (again.id, again.name, again.project) == (run.id, "first", "p")


def test_config_shows_values_and_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`tracelet config` lists every setting, its value, and where that comes from; secrets are not shown."""
    write(tmp_path, "[tool.tracelet]\nquota = '10GB'\n")
    monkeypatch.setenv("TRACELET_MODE", "offline")
    result = CliRunner().invoke(app, ["config"])
    assert result.exit_code == 0
    lines = {line.split()[0]: line for line in result.output.splitlines() if line.strip()}
    assert "10 GB" in lines["quota"]
    assert "pyproject.toml" in lines["quota"]
    assert lines["mode"].split()[1:3] == ["offline", "TRACELET_MODE"]
    assert lines["project"].split()[1:3] == ["default", "default"]
    shown = json.loads(CliRunner().invoke(app, ["config", "--json"]).output)
    assert [one["name"] for one in shown["settings"]] == [setting.name for setting in SETTINGS]
    assert {one["name"]: one["value"] for one in shown["settings"]}["quota"] == 10_000_000_000


def test_config_shows_backends_without_secrets(tmp_path: Path) -> None:
    """The options of each chosen backend are shown as they will hold, but a secret only as being set."""
    write(
        tmp_path,
        "[tool.tracelet.backend.mlflow]\ntracking_uri = 'http://u:hunter2@127.0.0.1:1/'\n"
        "[tool.tracelet.backend.wandb]\napi_key = 'hunter3'\n"
        "[tool.tracelet.backend.nosuch]\npassword = 'hunter4'\n",
    )
    for arguments in (["config"], ["config", "--json"]):
        result = CliRunner().invoke(app, arguments)
        assert "127.0.0.1:1" in result.output
        assert "set, not shown" in result.output
        assert "nosuch" in result.output
        assert "hunter" not in result.output
        assert result.exit_code == 1  # for the backend that there is not


def test_config_explains_a_wrong_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake is answered as start_logging would answer it, as a wrong use of the command."""
    monkeypatch.setenv("TRACELET_QUOTTA", "3")
    result = CliRunner().invoke(app, ["config"])
    assert result.exit_code == 2
    assert "TRACELET_QUOTA" in result.output
