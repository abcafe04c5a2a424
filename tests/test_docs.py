"""The documents: their code runs, their links lead somewhere, and what they name exists."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import tracelet
from tracelet._discovery import OFFICIAL, installed
from tracelet.cli.backends import as_markdown, supported

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

_BLOCK = re.compile(r"(?:^<!-- (?P<mark>[^\n]*) -->\n+)?^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.M | re.S)
_LINK = re.compile(r"\]\((?!\w+:)(?P<path>[^)#]*)(?:#(?P<anchor>[^)]*))?\)")
_HEADING = re.compile(r"^#+ (.*)$", re.M)
_TEST = re.compile(r"`(?P<file>[\w/-]*tests/\w+\.py)(?:::(?P<name>\w+))?`")
_FILE = re.compile(r"# (?P<name>\w+\.py)\n")


class Block(NamedTuple):
    """A fenced block; `mark` is what the HTML comment right above it says."""

    mark: str
    language: str
    code: str


def blocks(path: Path) -> list[Block]:
    return [Block(m["mark"] or "", m["language"], m["code"]) for m in _BLOCK.finditer(path.read_text())]


def missing(block: Block) -> list[str]:
    """The modules that a block needs, as its mark `needs: torch lightning` says, and that are not installed."""
    needs = block.mark.removeprefix("needs: ").split() if block.mark.startswith("needs: ") else []
    return [module for module in needs if importlib.util.find_spec(module) is None]


def runnable() -> list[Any]:
    return [
        pytest.param(
            path,
            block,
            id=f"{path.name}-{number}",
            marks=pytest.mark.skipif(bool(missing(block)), reason=f"needs {', '.join(missing(block))}"),
        )
        for path in DOCUMENTS
        for number, block in enumerate(blocks(path))
        if block.language == "python" and not block.mark.startswith("not run: ")
    ]


def place(path: Path, folder: Path) -> None:
    """Write the blocks of a document that begin with the name of a file, `# name.py`, where the others find them."""
    for block in blocks(path):
        named = _FILE.match(block.code)
        if block.language == "python" and named:
            (folder / named["name"]).write_text(block.code)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An MLflow database, shared because MLflow takes seconds to create its schema."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture
def environment(tmp_path: Path, database: str) -> dict[str, str]:
    """An environment in which everything that is made lands in folders of the tests."""
    settings = {"TRACELET_DIR": str(tmp_path / "store"), "MLFLOW_TRACKING_URI": database}
    settings["MLFLOW_DISABLE_TELEMETRY"] = "true"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("TRACELET_", "MLFLOW_"))}
    return inherited | settings


def run(folder: Path, environment: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(("path", "block"), runnable())
def test_a_block_of_python_runs(path: Path, block: Block, tmp_path: Path, environment: dict[str, str]) -> None:
    """The code in the documents runs as it stands, and what it logs arrives, at the latest by `tracelet sync`."""
    place(path, tmp_path)
    (tmp_path / "example.py").write_text(block.code)
    run(tmp_path, environment, "example.py")
    if (tmp_path / "store").exists():
        run(tmp_path, environment, "-m", "tracelet", "sync")


def test_the_readmes_plugin_delivers(tmp_path: Path, environment: dict[str, str]) -> None:
    """The plugin in the README, used as the README uses it, has what was logged, and nothing else."""
    place(ROOT / "README.md", tmp_path)
    (usage,) = (block for block in blocks(ROOT / "README.md") if "my_backend:Lines" in block.code)
    (tmp_path / "example.py").write_text(usage.code)
    run(tmp_path, environment, "example.py")
    assert (tmp_path / "metrics.txt").read_text() == "loss 0.5 1\n"


def test_the_readmes_plugin_is_as_short_as_it_says() -> None:
    """Imports aside, the plugin in the README has no more than twenty lines of code."""
    (plugin,) = (block for block in blocks(ROOT / "README.md") if block.code.startswith("# my_backend.py"))
    body = plugin.code[plugin.code.index("class Lines") :]
    assert len([line for line in body.splitlines() if line.strip()]) <= 20


def test_the_readme_needs_two_commands() -> None:
    """The README asks for two commands, one line each, that differ in what they do at the end."""
    commands = [block for block in blocks(ROOT / "README.md") if block.language == "sh"]
    assert [command.mark for command in commands] == ["command: demo", "command: test"]
    assert [command.code.count("\n") for command in commands] == [1, 1]
    assert [command.code.split(" && ")[-1] for command in commands] == [
        ".venv/bin/tracelet demo\n",
        ".venv/bin/python -m pytest\n",
    ]


def test_every_install_names_the_plugins_folders() -> None:
    """No command installs a distribution of this project by its name, which would be somebody else's."""
    for path in [*DOCUMENTS, *ROOT.glob("plugins/*/README.md"), *ROOT.glob("docs/examples/*/README.md")]:
        for line in re.findall(r"pip.* install (.*)", path.read_text()):
            for word in re.findall(r"[^\s'\"`]+", line.partition("&&")[0].partition("#")[0]):
                assert not word.startswith("tracelet"), f"{path.name}: {line}"


def test_the_matrix_is_what_the_plugins_declare() -> None:
    """The table in docs/backends.md has what `handles` of each official plugin says, word for word."""
    classes = {name: installed()[name].load() for name in OFFICIAL}
    table = "\n".join(as_markdown({name: supported(backend) for name, backend in classes.items()}))
    text = (ROOT / "docs" / "backends.md").read_text()
    assert table in text.partition("<!-- matrix -->")[2].partition("<!-- end of matrix -->")[0]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    """Every relative link names a file of the checkout, and a heading that is in it."""
    for link in _LINK.finditer(path.read_text()):
        target = path.parent / link["path"] if link["path"] else path
        assert target.exists(), link.group()
        if link["anchor"]:
            headings = _HEADING.findall(target.read_text())
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert link["anchor"] in anchors, link.group()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_tests_that_are_named_exist(path: Path) -> None:
    """A document that names a test as its proof names one that is there."""
    for test in _TEST.finditer(path.read_text()):
        source = (ROOT / test["file"]).read_text()
        if test["name"]:
            functions = (ast.FunctionDef, ast.AsyncFunctionDef)
            names = {node.name for node in ast.walk(ast.parse(source)) if isinstance(node, functions)}
            assert test["name"] in names, test.group()


def test_every_guarantee_has_its_proof() -> None:
    """For each of the seven guarantees the documents name tests."""
    text = (ROOT / "docs" / "guarantees.md").read_text()
    sections = re.split(r"^## ", text, flags=re.M)[1:]
    proven = [section[:2] for section in sections if re.match(r"G\d", section) and _TEST.search(section)]
    assert proven == [f"G{number}" for number in range(1, 8)]


def test_the_layers_are_documented() -> None:
    """The table of layers in the documents is the one that is tested."""
    source = (ROOT / "tests" / "test_layers.py").read_text()
    (table,) = re.findall(r"^LAYERS = (\{.*?^\})", source, re.M | re.S)
    tested = {name: layer for name, layer in ast.literal_eval(table).items() if not name.startswith("__")}
    rows = re.findall(r"^\| (\d+) \| (.*?) \|", (ROOT / "docs" / "architecture.md").read_text(), re.M)
    documented = {name: int(layer) for layer, modules in rows for name in re.findall(r"`(\w+)`", modules)}
    assert documented == tested


def test_every_setting_is_documented() -> None:
    """Each TRACELET_* variable that the code reads, and each argument of start_logging, is in the settings' page."""
    page = (ROOT / "docs" / "settings.md").read_text()
    package = Path(tracelet.__file__).parent
    variables = {name for path in package.rglob("*.py") for name in re.findall(r"TRACELET_[A-Z_]+", path.read_text())}
    parameters = inspect.signature(tracelet.start_logging).parameters
    fields = tracelet.Delivery.__struct_fields__
    assert not [name for name in (*variables, *parameters, *fields) if f"`{name}`" not in page]
