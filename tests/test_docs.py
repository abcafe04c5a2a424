"""The documents: their links lead somewhere, and what they name exists. Their code: `test_docs_code.py`."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import typer.main

import tracelet
from tracelet import _settings
from tracelet._discovery import OFFICIAL, installed
from tracelet.cli import _app
from tracelet.cli.backends import as_markdown, supported

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "plugins").glob("*/README.md")),
]

_LINK = re.compile(r"\]\((?!\w+:)(?P<path>[^)#]*)(?:#(?P<anchor>[^)]*))?\)")
_HEADING = re.compile(r"^#+ (.*)$", re.M)
_TEST = re.compile(r"`(?P<file>[\w/-]*tests/\w+\.py)(?:::(?P<name>\w+))?`")


def test_the_readmes_plugin_is_as_short_as_it_says() -> None:
    """Imports aside, the plugin in the README has no more than twenty lines of code."""
    (plugin,) = re.findall(r"^```python\n# my_backend.py\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    body = plugin[plugin.index("class Lines") :]
    assert len([line for line in body.splitlines() if line.strip()]) <= 20


def test_the_readme_needs_two_commands() -> None:
    """The README asks for two commands, one line each, that differ in what they do at the end."""
    marked = r"^<!-- command: (\w+) -->\n```sh\n(.*?)^```"
    commands = dict(re.findall(marked, (ROOT / "README.md").read_text(), re.M | re.S))
    assert [command.count("\n") for command in commands.values()] == [1, 1]
    ends = {name: command.split(" && ")[-1] for name, command in commands.items()}
    assert ends == {"demo": ".venv/bin/tracelet demo\n", "test": ".venv/bin/python -m pytest\n"}


def test_every_install_names_the_plugins_folders() -> None:
    """No command installs a distribution of this project by its name, which would be somebody else's."""
    for path in DOCUMENTS:
        for line in re.findall(r"pip.* install (.*)", path.read_text()):
            for word in re.findall(r"[^\s'\"`]+", line.partition("&&")[0].partition("#")[0]):
                assert not word.startswith("tracelet"), f"{path.name}: {line}"


def test_the_matrix_is_what_the_plugins_declare() -> None:
    """The table in docs/backends.md has what `handles` of each official plugin says, word for word."""
    classes = {name: installed()[name].load() for name in OFFICIAL}
    table = "\n".join(as_markdown({name: supported(backend) for name, backend in classes.items()}))
    text = (ROOT / "docs" / "backends.md").read_text()
    assert table in text.partition("<!-- matrix -->")[2].partition("<!-- end of matrix -->")[0]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    """Every relative link names a file of the checkout, and a heading that is in it."""
    for link in _LINK.finditer(path.read_text()):
        target = path.parent / link["path"] if link["path"] else path
        assert target.exists(), link.group()
        if link["anchor"]:
            headings = _HEADING.findall(target.read_text())
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert link["anchor"] in anchors, link.group()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_tests_that_are_named_exist(path: Path) -> None:
    """A document that names a test as its proof names one that is there."""
    for test in _TEST.finditer(path.read_text()):
        beside = path.parent / test["file"]  # in a plugin's README
        source = (beside if beside.exists() else ROOT / test["file"]).read_text()
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


def test_every_command_is_documented() -> None:
    """Each command has a section in the page on the command line, and no other has."""
    commands: Any = typer.main.get_command(_app.app)
    sections = re.findall(r"^## tracelet (.*)", (ROOT / "docs" / "command-line.md").read_text(), re.M)
    assert sorted(sections) == sorted(name for name, command in commands.commands.items() if not command.hidden)


def test_every_setting_is_documented() -> None:
    """Each TRACELET_* variable that the code reads, and each argument of start_logging, is in the settings' page."""
    page = (ROOT / "docs" / "settings.md").read_text()
    package = Path(tracelet.__file__).parent
    variables = {name for path in package.rglob("*.py") for name in re.findall(r"TRACELET_[A-Z_]+", path.read_text())}
    variables |= {setting.variable for setting in _settings.SETTINGS}
    parameters = [setting.name for setting in _settings.SETTINGS]
    for parameter in inspect.signature(tracelet.start_logging).parameters.values():
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD:
            parameters.append(parameter.name)
    fields = tracelet.Delivery.__struct_fields__
    assert not [name for name in (*variables, *parameters, *fields) if f"`{name}`" not in page]


def documented(node: ast.AST, section: str) -> set[str]:
    """The names that a docstring has entries for in a section such as "Args"."""
    assert isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    found = re.search(rf"^{section}:\n((?: {{4}}.*\n?|\n)+)", ast.get_docstring(node) or "", re.M)
    entries = re.findall(r"^ {4}(\w+(?:, \w+)*)(?:, and the others)?: ", found[1], re.M) if found else []
    return {name for entry in entries for name in entry.split(", ")}


@pytest.mark.parametrize("package", ["tracelet", *(f"tracelet_{name}" for name in OFFICIAL)])
def test_what_docstrings_describe_exists(package: str) -> None:
    """A parameter or field that a docstring describes is in the signature or class."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    makers: list[ast.FunctionDef | ast.AsyncFunctionDef]
    wrong = []
    for path in Path(str(spec.origin)).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                makers = [item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"]
                fields = {item.attr for item in ast.walk(node) if isinstance(item, ast.Attribute)}
                fields |= {item.id for item in ast.walk(node) if isinstance(item, ast.Name)}
                wrong += [f"{path.name}: {node.name}.{name}" for name in documented(node, "Attributes") - fields]
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                makers = [node]
            else:
                continue
            for function in makers:
                given = function.args
                names = {argument.arg for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs)}
                names |= {argument.arg for argument in (given.vararg, given.kwarg) if argument}
                wrong += [f"{path.name}: {node.name}({name})" for name in documented(node, "Args") - names]
    assert not wrong
