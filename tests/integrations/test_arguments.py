"""Command lines as hyperparameters: what the parser makes of them is in the journal and in MLflow."""

from __future__ import annotations

import argparse
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from arrivals import QUIET, Arrived, Journal, new_database

import tracelet
from tracelet.errors import InvalidSetting
from tracelet.events import ParamsLogged
from tracelet.integrations.arguments import ArgumentCapture, capture_arguments

pytestmark = [*(pytest.mark.filterwarnings(rule) for rule in QUIET)]

Script = Callable[..., str]


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRACELET_DIR", str(tmp_path / "store"))
    yield
    tracelet.stop_logging()


@pytest.fixture
def capture() -> Iterator[ArgumentCapture]:
    with capture_arguments() as capture:
        yield capture


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "store")


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Run a script with arguments in a process of its own; returns what it prints."""

    def run(text: str, *arguments: str) -> str:
        (tmp_path / "train.py").write_text(textwrap.dedent(text))
        command = [sys.executable, "train.py", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser()
    made.add_argument("--lr", type=float, default=0.1)
    made.add_argument("--layers", type=int, nargs="*", default=[8])
    made.add_argument("--cache", type=Path)
    made.add_argument("--amp", action="store_true")
    return made


@pytest.mark.timeout(240)
def test_a_command_line_arrives_in_mlflow(tmp_path: Path, script: Script, journal: Journal) -> None:
    """A script that asks for it has its arguments as parameters of the run in MLflow, after its config."""
    uri = new_database(tmp_path)
    script(
        f"""
        import argparse, tracelet
        from tracelet.integrations.arguments import capture_arguments

        capture_arguments()
        parser = argparse.ArgumentParser()
        parser.add_argument("--lr", type=float)
        parser.add_argument("--api-key")
        parser.add_argument("--width", type=int, default=64)
        args = parser.parse_args()
        assert args.api_key == "geheim"
        backend = {{"mlflow": {{"tracking_uri": "{uri}"}}}}
        with tracelet.start_logging(backend, project="cli", config={{"width": 32}}) as run:
            run.log_metric("loss", args.lr, 0)
        """,
        *("--lr", "0.5", "--api-key", "geheim"),
    )
    assert Arrived(uri, "cli", journal).params == {"lr": "0.5", "api_key": "<redacted>", "width": "32"}


@pytest.mark.parametrize("when", ["before", "during"])
def test_argparse(capture: ArgumentCapture, journal: Journal, when: str) -> None:
    """Values keep their types, before and after the run begins, and the namespace is argparse's own."""
    if when == "during":
        tracelet.start_logging()
    namespace = parser().parse_args(["--lr", "0.5", "--layers", "1", "2", "--cache", "/tmp/c"])
    assert vars(namespace) == {"lr": 0.5, "layers": [1, 2], "cache": Path("/tmp/c"), "amp": False}
    if when == "before":
        tracelet.start_logging()
    assert journal.params() == {"lr": 0.5, "layers": [1, 2], "cache": "/tmp/c", "amp": False}


def test_what_is_said_first_stays(capture: ArgumentCapture, journal: Journal) -> None:
    """Config comes first, then what log_params says before the command line; no name is stated twice."""
    parser().parse_known_args(["--lr", "0.5", "--more"])
    run = tracelet.start_logging(config={"lr": 1.0})
    run.log_params({"depth": 3})
    second = argparse.ArgumentParser()
    second.add_argument("--depth", type=int, default=5)
    second.add_argument("--heads", type=int, default=2)
    second.parse_args([])
    assert journal.params() == {"lr": 1.0, "layers": [8], "cache": None, "amp": False, "depth": 3, "heads": 2}


def test_every_run_gets_them(capture: ArgumentCapture, journal: Journal) -> None:
    """A process that logs several runs has one command line for all of them."""
    parser().parse_args(["--lr", "0.5"])
    for _ in range(2):
        tracelet.start_logging().finish()
    found = [event.values["lr"] for event in journal.events(ParamsLogged)]
    assert found == [0.5, 0.5]


def test_only_the_first_command_line_counts(capture: ArgumentCapture, journal: Journal) -> None:
    """A parser that is used later, for whatever else, says nothing about the run."""
    parser().parse_args(["--lr", "0.5"])
    parser().parse_args(["--lr", "0.7"])
    other = argparse.ArgumentParser()
    other.add_argument("--other", default=1)
    other.parse_args([])
    tracelet.start_logging()
    assert journal.params()["lr"] == 0.5
    assert "other" not in journal.params()


def test_a_parser_that_leaves_some_is_followed_by_the_next(capture: ArgumentCapture, journal: Journal) -> None:
    """A first parser for some arguments, and a second for the rest, are one command line."""
    first = argparse.ArgumentParser(add_help=False)
    first.add_argument("--config", default="base.yaml")
    _, rest = first.parse_known_args(["--config", "big.yaml", "--lr", "0.5"])
    parser().parse_args(rest)
    tracelet.start_logging()
    assert (journal.params()["config"], journal.params()["lr"]) == ("big.yaml", 0.5)


def test_subcommands_are_one_command_line(capture: ArgumentCapture, journal: Journal) -> None:
    """A subcommand's arguments come with its parser's; functions and classes among them are left out."""
    main = argparse.ArgumentParser()
    main.add_argument("--seed", type=int, default=1)
    train = main.add_subparsers(dest="command").add_parser("train")
    train.add_argument("--lr", type=float, default=0.1)
    train.set_defaults(function=print)
    tracelet.start_logging()
    assert main.parse_args(["train", "--lr", "0.5"]).function is print
    assert journal.params() == {"seed": 1, "command": "train", "lr": 0.5}


def test_intermixed_arguments(capture: ArgumentCapture, journal: Journal) -> None:
    """What argparse parses in two passes is captured when both are done."""
    made = parser()
    made.add_argument("files", nargs="*")
    made.parse_intermixed_args(["a", "--lr", "0.5", "b"])
    tracelet.start_logging()
    assert (journal.params()["files"], journal.params()["lr"]) == (["a", "b"], 0.5)


def test_a_parser_that_fails_fails_as_ever(capture: ArgumentCapture, journal: Journal) -> None:
    """An error of the parser's is the parser's, and the next command line is captured."""
    with pytest.raises(SystemExit):
        parser().parse_args(["--lr", "high"])
    parser().parse_args(["--lr", "0.5"])
    tracelet.start_logging()
    assert journal.params()["lr"] == 0.5


def test_what_a_run_can_not_record_is_said(
    capture: ArgumentCapture, journal: Journal, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run begins whatever becomes of the arguments that were parsed before, and their loss is a warning."""
    parser().parse_args([])
    monkeypatch.setattr("tracelet.integrations.arguments.declare", lambda run, values: 1 / 0)
    assert tracelet.start_logging().active
    assert [record.getMessage() for record in caplog.records] == [
        "the arguments that argparse parsed are not recorded: ZeroDivisionError('division by zero')"
    ]


def test_what_can_not_be_recorded_is_not_raised(
    capture: ArgumentCapture, journal: Journal, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure on our side is a warning, and the parser returns what it returns."""
    monkeypatch.setattr("tracelet._values.parameters", lambda _: 1 / 0)
    assert parser().parse_args([]).lr == 0.1
    assert [record.getMessage() for record in caplog.records] == [
        "the arguments that argparse parsed are not recorded: ZeroDivisionError('division by zero')"
    ]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("hub_token", "x", "<redacted>"),
        ("accessToken", "x", "<redacted>"),
        ("client_secret", 5, "<redacted>"),
        ("db-password", "x", "<redacted>"),
        ("apikey", "x", "<redacted>"),
        ("API_KEY", ["x"], "<redacted>"),
        ("max_tokens", 512, 512),
        ("pad_token_id", 0, 0),
        ("tokenizer", "gpt2", "gpt2"),
        ("tokens_seen", "no", "no"),
        ("secret", None, None),
        ("use_auth_token", False, False),
        ("password", "", ""),
        ("private-key", "x", "<redacted>"),
        ("pwd", "x", "<redacted>"),
        ("auth", "x", "<redacted>"),
        ("author", "x", "x"),
        ("store", "postgres://me:geheim@host/db", "postgres://host/db"),
        ("store", "postgres://me:ge@heim@host/db", "postgres://host/db"),
        ("stores", ["a", "postgres://me:geheim@host/db"], ["a", "postgres://host/db"]),
        ("url", "https://host/x?access_token=abc&page=2", "https://host/x?access_token=<redacted>&page=2"),
        ("opt", argparse.Namespace(lr=1, password="geheim"), "Namespace(lr=1, password=<redacted>)"),
        ("parts", [{"width": 1, "secret_key": "geheim"}], ["{'width': 1, 'secret_key': <redacted>}"]),
        ("prompt", "say: token by token, please", "say: token by token, please"),
    ],
)
def test_secrets_are_redacted(
    capture: ArgumentCapture, journal: Journal, name: str, value: Any, expected: object
) -> None:
    """Names that speak of a secret are, and credentials in URLs; numbers of tokens and tokenizers are not."""
    made = argparse.ArgumentParser()
    made.add_argument(f"--{name}", dest=name, default=value)
    made.parse_args([])
    tracelet.start_logging()
    assert journal.params() == {name: expected}
    assert capture.values == {name: expected}


def test_it_can_be_removed(journal: Journal) -> None:
    """Afterwards everything is as it was: the methods, the import system, and what is known."""
    before = argparse.ArgumentParser.parse_known_args, list(tracelet.api.on_begin), list(sys.meta_path)
    capture = capture_arguments()
    assert capture_arguments("argparse") is capture
    parser().parse_args([])
    assert capture.values
    capture.remove()
    capture.remove()
    assert (argparse.ArgumentParser.parse_known_args, list(tracelet.api.on_begin), list(sys.meta_path)) == before
    parser().parse_args([])
    tracelet.start_logging()
    assert (capture.values, journal.params()) == ({}, {})


def test_a_wrapper_on_top_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody's own wrapper around ours is left in place, and ours under it does nothing more."""
    original = argparse.ArgumentParser.parse_known_args
    capture = capture_arguments("argparse")
    ours = argparse.ArgumentParser.parse_known_args
    theirs = lambda *a, **k: ours(*a, **k)  # noqa: E731
    monkeypatch.setattr(argparse.ArgumentParser, "parse_known_args", theirs)
    capture.remove()
    assert argparse.ArgumentParser.parse_known_args is theirs
    assert parser().parse_args([]).lr == 0.1
    assert capture.values == {}
    monkeypatch.undo()
    argparse.ArgumentParser.parse_known_args = original  # type: ignore[method-assign]


def test_only_what_is_asked_for(journal: Journal) -> None:
    """Libraries can be named; one that there isn't is refused, with those there are."""
    with capture_arguments("click") as capture:
        parser().parse_args([])
        assert capture.values == {}
    with pytest.raises(InvalidSetting, match="argparse, click, hydra, jsonargparse, found 'optparse'"):
        capture_arguments("optparse")


def test_click(capture: ArgumentCapture, journal: Journal) -> None:
    """The parameters of the command and of the groups above it are known when the command begins."""
    click = pytest.importorskip("click")
    seen: list[object] = []

    def of_the_group(seed: int) -> None:
        seen.append(seed)

    def of_the_command(lr: float, pin: str) -> str:
        tracelet.start_logging()
        seen.extend([lr, pin])
        return "done"

    seeded, hidden = click.option("--seed", default=1), click.option("--pin", hide_input=True, default="1234")
    main = click.group()(seeded(of_the_group))
    main.command("train")(click.option("--lr", default=0.1)(hidden(of_the_command)))
    assert main(["--seed", "3", "train", "--lr", "0.5"], standalone_mode=False) == "done"
    assert seen == [3, 0.5, "1234"]
    assert journal.params() == {"seed": 3, "lr": 0.5, "pin": "<redacted>"}


def test_typer(capture: ArgumentCapture, journal: Journal) -> None:
    """A Typer program is one of click."""
    typer = pytest.importorskip("typer")
    program = typer.Typer()

    def train(lr: float = 0.1, epochs: int = 3) -> None:
        tracelet.start_logging()

    program.command()(train)
    program(["--lr", "0.5"], standalone_mode=False)
    assert {name: journal.params()[name] for name in ("lr", "epochs")} == {"lr": 0.5, "epochs": 3}


def test_jsonargparse(capture: ArgumentCapture, journal: Journal) -> None:
    """Nested values are named with "/", and the configuration is the parser's own."""
    jsonargparse = pytest.importorskip("jsonargparse")

    class Model:
        def __init__(self, width: int = 8, token: str = "x") -> None: ...

    made = jsonargparse.ArgumentParser()
    made.add_argument("--lr", type=float, default=0.1)
    made.add_class_arguments(Model, "model")
    tracelet.start_logging()
    parsed = made.parse_args(["--lr=0.5", "--model.width=16"])
    assert (parsed.lr, parsed.model.width, parsed.model.token) == (0.5, 16, "x")
    assert journal.params() == {"lr": 0.5, "model/width": 16, "model/token": "<redacted>"}


HYDRA = """
    import sys
    import hydra
    from omegaconf import MISSING, OmegaConf
    from hydra.core.config_store import ConfigStore
    import tracelet
    from tracelet.integrations.arguments import capture_arguments

    capture_arguments()
    ConfigStore.instance().store("config", {
        "lr": 0.1, "half": "${lr}", "name": "${hydra:job.name}", "later": MISSING, "model": {"width": 8, "secret": "x"}
    })

    @hydra.main(version_base=None, config_name="config")
    def main(config):
        with tracelet.start_logging(directory=hydra.utils.to_absolute_path("store")):
            print(config.lr)

    main()
"""


def test_hydra(script: Script, journal: Journal) -> None:
    """The configuration of the job, with its overrides and what it refers to, and none of Hydra's own options."""
    pytest.importorskip("hydra")
    assert script(HYDRA, "lr=0.5").split() == ["0.5"]
    assert journal.params() == {
        "lr": 0.5,
        "half": 0.5,
        "name": "train",
        "later": "???",
        "model/width": 8,
        "model/secret": "<redacted>",
    }


def test_each_job_of_hydra_has_its_configuration(script: Script, journal: Journal) -> None:
    """In a multirun every run has the overrides of its own job."""
    pytest.importorskip("hydra")
    script(HYDRA, "--multirun", "lr=0.5,0.25")
    found = [event.values["lr"] for event in journal.events(ParamsLogged)]
    assert found == [0.5, 0.25]


def test_a_library_that_is_imported_later(script: Script) -> None:
    """The capture waits for libraries that are not imported yet, and imports none itself."""
    pytest.importorskip("click")
    said = script(
        """
        import sys
        from tracelet.integrations.arguments import capture_arguments

        capture = capture_arguments()
        print({"click", "hydra", "jsonargparse", "typer"} & set(sys.modules))
        import click

        @click.command()
        @click.option("--lr", default=0.1)
        def main(lr): print(capture.values)

        main(["--lr", "0.5"])
        """
    )
    assert said.splitlines() == ["set()", "{'lr': 0.5}"]
