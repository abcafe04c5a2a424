"""The code in the documents: Python runs, commands are those that there are, settings hold; nothing is unchecked."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer.main

from tracelet import _settings
from tracelet._discovery import find, installed
from tracelet.cli import _app
from tracelet.journal import RunDirectory, holder

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "plugins").glob("*/README.md")),
]

TUTORIAL = ROOT / "docs" / "tutorial.md"
COMMAND_LINE = ROOT / "docs" / "command-line.md"

_FENCE = re.compile(
    r"(?:^ *<!-- (?P<mark>[^\n]*) -->\n+)?^(?P<indent> *)```(?P<language>\S*)\n(?P<code>.*?)^(?P=indent)```$",
    re.M | re.S,
)
_INDENTED = re.compile(r"\n\n {4}(?! *(?:[-*]|\d+\.) )\S[^\n]*")
_NAMED = re.compile(r"# (?P<name>[\w.-]+\.\w+)\n")
_SCHEDULED = re.compile(r"(?:[A-Z_]+=\S+ +)*/\S*/(?:tracelet|python[\d.]*|pip) .*")
_SHELLS = ("sh", "bash", "console")
_LANGUAGES = {"python", *_SHELLS, "toml", "yaml", "json", "text"}
_MARKS = {"", "run", "exits", "needs", "not run", "not delivered", "command"}
_PROGRAMS = re.compile(
    "aim|cat|cd|clearml-init|clearml-task|cp|echo|grep|head|kill|ls|mkdir|mkdocs|mlflow|nox|sbatch|sleep|source|tail|"
    "tensorboard|trap|wandb"
)
"""What may be called in the documents besides `tracelet`, `python` and `pip`, and is not ours."""


class Block(NamedTuple):
    """A fenced block of code.

    `marks` is what the HTML comment right above it says, divided by "; ": "run" for what is to run in the page's
    folder, one block after the other, and "exits: CODE" if that is not 0; "not run: REASON"; "not delivered: REASON",
    for Python that is run with the journal only; "needs: MODULES"; "command: NAME" for what CI runs by this name.
    """

    path: Path
    number: int
    marks: dict[str, str]
    language: str
    code: str

    @property
    def file(self) -> str | None:
        """The file that the block is to be, by its first line, `# name.py`."""
        named = _NAMED.match(self.code)
        return named["name"] if named else None

    @property
    def commands(self) -> str:
        """The commands in it: what follows `$ `, and in text what a table of cron calls by its path."""
        if self.language == "console":
            return "\n".join(re.findall(r"^\$ (.*)", self.code, re.M))
        return "\n".join(_SCHEDULED.findall(self.code)) if self.language == "text" else self.code

    def missing(self) -> list[str]:
        """What its mark says that it needs, and that is not installed."""
        return [one for one in self.marks.get("needs", "").split() if importlib.util.find_spec(one) is None]


def blocks(path: Path) -> list[Block]:
    found = []
    for number, match in enumerate(_FENCE.finditer(path.read_text())):
        code = re.sub(rf"^{match['indent']}", "", match["code"], flags=re.M)
        marks = {kind: text for kind, _, text in (one.partition(": ") for one in (match["mark"] or "").split("; "))}
        found.append(Block(path, number, marks, match["language"], code))
    return found


ALL = [block for path in DOCUMENTS for block in blocks(path)]


def name(block: Block) -> str:
    return f"{block.path.relative_to(ROOT)}-{block.number}".replace("/", "-")


def those(*languages: str) -> list[Any]:
    """The blocks in these languages, as parameters."""
    return [pytest.param(one, id=name(one)) for one in ALL if one.language in languages]


# What runs.


class Runner:
    """Runs scripts in copies of a process that has imported Tracelet, which saves each of them a third of a second."""

    def __init__(self, folder: Path) -> None:
        self.modules = folder / "modules"
        self.store = folder / "store"
        self.modules.mkdir()
        for block in ALL:
            if block.language == "python" and block.file and not (self.modules / block.file).exists():
                (self.modules / block.file).write_text(block.code)
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("TRACELET_", "MLFLOW_"))}
        self.environment = inherited | {
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
            "PYTHONPATH": os.pathsep.join([str(self.modules), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "TRACELET_CAPTURE": "0",  # the surroundings of a test say nothing of the documents
            "TRACELET_DIR": str(self.store),
            "WANDB_MODE": "offline",
        }
        self._process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "scripts" / "run_blocks.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self.environment,
            text=True,
        )

    def run(self, folder: Path, code: str, **environment: str) -> str:
        """What the code prints; it must end well."""
        script, output = folder / "example.py", folder / "output"
        script.write_text(code)
        request = {"script": str(script), "folder": str(folder), "output": str(output)}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({**request, "environment": self.environment | environment}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer == "0\n", output.read_text()
        return output.read_text()

    def close(self) -> None:
        self._process.communicate(timeout=10)


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    runner = Runner(tmp_path_factory.mktemp("documents"))
    yield runner
    runner.close()


def called(path: Path) -> set[str]:
    """The scripts that a document's own commands run."""
    found = [block for block in blocks(path) if "run" in block.marks and not block.missing()]
    return {word for block in found for word in block.code.split() if word.endswith(".py")}


def skipped(block: Block) -> pytest.MarkDecorator:
    """Skips a block whose modules are not installed, and says which."""
    return pytest.mark.skipif(bool(block.missing()), reason=f"needs {' '.join(block.missing())}")


def scripts() -> list[Any]:
    """The blocks of Python, but those that are not run, or run with a page's commands."""
    return [
        pytest.param(block, id=name(block), marks=skipped(block))
        for block in ALL
        if block.language == "python" and not {"run", "not run"} & block.marks.keys()
        if block.file not in called(block.path)
    ]


@pytest.mark.parametrize("block", scripts())
def test_python_runs(block: Block, runner: Runner, tmp_path: Path) -> None:
    """The code in the documents runs as it stands.

    MLflow takes seconds to import, so what goes there is delivered for all blocks together, by the next test (and by
    the tutorial, while its scripts run), but for blocks that wait for it.
    """
    environment: dict[str, str] = {}
    if "not delivered" in block.marks:
        environment = {"TRACELET_MODE": "offline", "TRACELET_DIR": str(tmp_path / "store")}
    elif "mlflow" in block.code and ".flush(" not in block.code:
        environment = {"TRACELET_MODE": "offline"}
    runner.run(tmp_path, block.code, **environment)


@pytest.mark.timeout(300)
def test_what_the_documents_log_arrives(runner: Runner, tmp_path: Path) -> None:
    """What the blocks above have logged is delivered by one `tracelet sync`."""
    quick_start = next(block for block in ALL if block.language == "python" and "mlflow" in block.code)
    runner.run(tmp_path, quick_start.code, TRACELET_MODE="offline")
    command = [sys.executable, "-m", "tracelet", "sync"]
    done = subprocess.run(command, cwd=runner.modules, env=runner.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_readmes_plugin_delivers(runner: Runner, tmp_path: Path) -> None:
    """The plugin in the README, used as the README uses it, has what was logged, and nothing else."""
    (usage,) = (block for block in blocks(ROOT / "README.md") if "my_backend:Lines" in block.code)
    runner.run(tmp_path, usage.code, TRACELET_CAPTURE="1")
    assert (tmp_path / "metrics.txt").read_text() == "loss 0.5 1\n"


def run_page(path: Path, folder: Path, environment: dict[str, str]) -> None:
    """Run the blocks of a page that are marked so, one after the other, in a folder with the page's files."""
    environment = environment | {"PATH": f"{Path(sys.executable).parent}:{environment['PATH']}"}
    environment["PYTHONPATH"] = os.environ.get("PYTHONPATH", "")
    for name in ("MLFLOW_TRACKING_URI", "TRACELET_CAPTURE", "TRACELET_DIR"):
        del environment[name]
    files = [block for block in blocks(path) if block.file and "not run" not in block.marks]
    for block in reversed(files):  # of two with one name the first, until the second one is reached
        (folder / str(block.file)).write_text(block.code)
    for block in blocks(path):
        if block in files:
            (folder / str(block.file)).write_text(block.code)
        if "run" in block.marks and not block.missing():
            for words, shown in pieces(block):
                done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=100)
                said = f"{block.code}\n{done.stdout}{done.stderr}"
                assert done.returncode == int(block.marks.get("exits", "0")), said
                if shown and not re.search(r"\d", shown):  # a header
                    assert done.stdout.partition("\n")[0].split() == shown.split(), said


def pieces(block: Block) -> Iterator[tuple[list[str], str]]:
    """What is to be run of a block, piece by piece, each with the first line that the page shows of its output."""
    shell = ["bash", "-euo", "pipefail", "-c"]
    if block.language == "console":
        for command, shown in re.findall(r"^\$ (.*)\n(.*)", block.code, re.M):
            yield [*shell, command], shown
    else:
        yield [*([sys.executable, "-c"] if block.language == "python" else shell), block.code], ""


def pages_that_run() -> list[Any]:
    """The pages with blocks to run; each block that needs something else than what there is, is skipped by itself."""
    found = []
    for path in DOCUMENTS:
        marked = [block for block in blocks(path) if "run" in block.marks]
        if path not in (TUTORIAL, COMMAND_LINE) and not all(block.missing() for block in marked):
            found.append(pytest.param(path, id=str(path.relative_to(ROOT))))
        found += [pytest.param(path, id=name(block), marks=skipped(block)) for block in marked if block.missing()]
    return found


@pytest.mark.parametrize("path", pages_that_run())
def test_pages_run(path: Path, runner: Runner, tmp_path: Path) -> None:
    """The commands of a page that has marked them so end well, one after the other."""
    run_page(path, tmp_path, runner.environment)


VISION = """
import tracelet
from tensorboardX import SummaryWriter

for name, outcome in {"mnist-cnn": "failed", "mnist-mlp": "completed", "mnist-live": "completed"}.items():
    run = tracelet.start_logging(backend="jsonl", exp_name=name, project="vision")
    run.log_metric("train/loss", 0.5, step=1)
    run.finish(outcome)
with tracelet.start_logging(backend="jsonl", exp_name="mnist-wide", project="vision", mode="offline") as run:
    run.log_metric("train/loss", 0.5, step=1)
for name in "ab":
    with SummaryWriter(f"runs/{name}") as writer:
        writer.add_scalar("loss", 0.5, 1)
"""
"""Makes runs such as those that the page on the command line shows."""


def test_the_command_line_is_as_shown(runner: Runner, tmp_path: Path) -> None:
    """The commands in the page on the command line, called in its order, end well, and show the same columns."""
    runner.run(tmp_path, VISION, TRACELET_DIR=str(tmp_path / ".tracelet"))
    run_page(COMMAND_LINE, tmp_path, runner.environment)


@pytest.mark.timeout(300)
def test_the_tutorial_keeps_its_word(runner: Runner, tmp_path: Path, eventually: Callable[..., None]) -> None:
    """Followed literally, the tutorial kills a training and loses nothing, and both backends have what it says."""
    run_page(TUTORIAL, tmp_path, runner.environment)
    printed = int((tmp_path / "printed.txt").read_text().split()[-1])
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    runs = {event["name"]: event["run"] for event in events if event["kind"] == "opened"}
    steps: dict[str, list[int]] = {name: [] for name in runs}
    names = {run: name for name, run in runs.items()}
    for event in events:
        if event["kind"] == "MetricsLogged" and "loss" in event["values"]:
            steps[names[event["run"]]].append(event["step"])
    assert steps["first"] == steps["board"] == list(range(100))
    assert steps["killed"] in (list(range(printed + 1)), list(range(printed + 2)))
    shown = {"first": 100, "board": 100, "killed": len(steps["killed"])}
    query = "SELECT name, count(*) FROM metrics JOIN runs USING (run_uuid) WHERE key = 'loss' GROUP BY name"
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:  # a script does not wait for ever, delivery does
        eventually(lambda: dict(database.execute(query)) == shown, deadline=120.0)
    runs_there = map(RunDirectory, (tmp_path / ".tracelet" / "runs").iterdir())
    (away,) = (run for run in runs_there if run.read_record().name == "away")
    pid = holder(away.cursor("mlflow"))
    assert pid is not None
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: holder(away.cursor("mlflow")) is None)
    (again,) = (block.code for block in blocks(TUTORIAL) if "--undelivered" in block.code and "run" in block.marks)
    environment = runner.environment | {"TRACELET_DIR": str(tmp_path / ".tracelet")}
    subprocess.run([sys.executable, "-m", *again.split()], cwd=tmp_path, env=environment, check=True)
    assert not away.path.exists()


# What is only checked.


def commands(code: str) -> list[list[str]]:
    """The commands of a block, as words."""
    found: list[list[str]] = []
    for line in code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        current: list[str] = []
        for word in [*words, ";"]:
            if word in ("&&", ";", "|", "&", "||"):
                found += [current] if current else []
                current = []
            else:
                current.append(word)
    return found


def check_settings(words: list[str]) -> list[str]:
    """The words without the assignments before them; of ours, each must be a setting with a possible value."""
    rest = words[1:] if words[0] == "export" else words
    while rest and re.match(r"[A-Z_]+=", rest[0]):
        variable, _, value = rest.pop(0).partition("=")
        if variable.startswith("TRACELET_"):
            readers = {setting.variable: setting.read for setting in _settings.SETTINGS}
            assert variable in readers, f"there is no setting {variable}"
            if "$" not in value:
                readers[variable](value, variable)
    return [] if words[0] == "export" else rest


def check_tracelet(arguments: list[str], folder: Path) -> None:
    """A command of ours: there is such a command, and it takes these options and as many arguments."""
    group: Any = typer.main.get_command(_app.app)
    if not arguments or arguments[0].startswith("--"):
        known = {option for parameter in group.params for option in parameter.opts} | {"--help"}
        assert {*arguments} <= known, f"there are no options {arguments}"
        return
    command = group.commands.get(arguments[0])
    assert command is not None, f"there is no command {arguments[0]!r}"
    for word in arguments[1:]:
        if re.fullmatch(r"\w[\w./-]*", word):
            (folder / word).mkdir(parents=True, exist_ok=True)  # what a reader has need not be here
    command.make_context(
        arguments[0], [*arguments[1:]], parent=group.make_context("tracelet", [], resilient_parsing=True)
    )


def check_command(words: list[str], path: Path, folder: Path) -> None:
    words = check_settings(words)
    if not words:
        return
    program = Path(words[0]).name
    while program in ("torchrun", "srun", "nohup", "exec"):  # what they start comes last
        words = words[next(at for at, word in enumerate(words) if at and re.match(r"python|srun|.*\.py$", word)) :]
        program = Path(words[0]).name
    if program == "tracelet":
        check_tracelet(words[1:], folder)
    elif re.fullmatch(r"python[\d.]*", program) or program.endswith(".py"):
        check_python(words[words[0] != program or not program.endswith(".py") :], path, folder)
    elif program in ("pytest", "ruff", "mypy", "bash", "pip"):
        files = [word for word in words[1:] if "/" in word and not word.startswith("-")]
        assert all(list(ROOT.glob(file.removeprefix("./"))) for file in files), words
    else:
        assert _PROGRAMS.fullmatch(program), f"nothing is known of the program {program!r}"


def check_python(arguments: list[str], path: Path, folder: Path) -> None:
    """`python FILE`, of which the page has the text, or `python -m MODULE`."""
    if arguments[0] == "-m":
        module = arguments[1]
        if module == "tracelet":
            check_tracelet(arguments[2:], folder)
        elif module.partition(".")[0] == "bench":
            assert (ROOT / f"{module.replace('.', '/')}.py").exists() or (ROOT / module / "__main__.py").exists(), (
                module
            )
        elif module == "pip":
            folders = [word.partition("[")[0] for word in arguments[2:] if word.startswith(".") and word != ".venv"]
            assert all((ROOT / folder).is_dir() for folder in folders), arguments
        else:
            assert module in ("venv", "pytest", "nox", "mkdocs", "http.server"), module
    else:
        here = {block.file for block in blocks(path)}
        assert arguments[0] in here, f"{path.name} has no file {arguments[0]}, only {here - {None}}"


def with_commands() -> list[Any]:
    return [one for one in those(*_SHELLS, "text") if one.values[0].commands]


@pytest.mark.parametrize("block", with_commands())
def test_commands_are_those_that_there_are(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command in the documents exists: ours with these options, scripts of the page, folders of the checkout."""
    done = subprocess.run(["bash", "-n"], input=block.commands, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(tmp_path)
    for words in commands(block.commands):
        check_command(words, block.path, tmp_path)


@pytest.mark.parametrize("block", those("toml"))
def test_tables_hold(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each [tool.tracelet] in the documents is one that a run takes, with its backends; all other TOML is TOML."""
    table = tomllib.loads(block.code).get("tool", {}).get("tracelet")
    if table is None:
        return
    for variable in [key for key in os.environ if key.startswith("TRACELET_")]:
        monkeypatch.delenv(variable)
    (tmp_path / "pyproject.toml").write_text(block.code)
    monkeypatch.chdir(tmp_path)
    found = {one.setting.name: one for one in _settings.explain()}
    sources = {key: found[key].source for key in table}
    assert set(sources.values()) == {str(tmp_path / "pyproject.toml")}, sources
    for backend, options in found["backend"].value:
        if backend in installed():
            find(backend, options)


@pytest.mark.parametrize("block", those("json"))
def test_json_is_json(block: Block) -> None:
    """Examples of JSON can be read."""
    assert json.loads(block.code)


@pytest.mark.parametrize("block", those("yaml"))
def test_configurations_name_classes_of_ours(block: Block) -> None:
    """Each class of ours that a configuration names is there."""
    yaml = pytest.importorskip("yaml")
    assert yaml.safe_load(block.code)
    for module, attribute in re.findall(r"class_path: (tracelet[\w.]*)\.(\w+)", block.code):
        spec = importlib.util.find_spec(module)
        assert spec is not None, module
        assert spec.origin is not None
        assert f"class {attribute}" in Path(spec.origin).read_text()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_code_is_unchecked(path: Path) -> None:
    """Every block is in a language that is checked, and runs or says why not; no command hides in a block of text."""
    for block in blocks(path):
        assert block.language in _LANGUAGES, f"{path.name}: a block of {block.language!r}"
        for kind, text in block.marks.items():
            assert kind in _MARKS, f"{path.name}: the mark {kind!r}"
            assert text or not kind.startswith("not "), f"{path.name}: {kind!r} has no reason"
        if block.language in _SHELLS:
            marked = {"run", "command", "not run"} & block.marks.keys()
            assert marked, f"{path.name}: neither 'run' nor 'not run: why' is above\n{block.code}"
        if block.language == "text":
            assert not re.search(r"^(?:\$ )?(?:tracelet|python3?|pip) [\w-]", block.code, re.M), block.code
    outside = _FENCE.sub("", path.read_text())
    assert not _INDENTED.search(outside), f"{path.name}: an indented block, which is not checked: use a fence"
