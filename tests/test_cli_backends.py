"""`tracelet backends`: what is installed, what is broken, and the matrix of kinds."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner, Result

from tracelet import events
from tracelet._discovery import GROUP, installed
from tracelet.backend import fallback, mapped, native
from tracelet.cli._app import app
from tracelet.cli.backends import KINDS, as_markdown, supported
from tracelet.events import EVENT_TYPES, Event, ImageLogged, MetricsLogged, RunFinished
from tracelet.testing import RecordingBackend

Install = Callable[..., None]


def backends(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["backends", *arguments])


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Makes a module, and the entry points that are installed."""

    def make(**modules: str) -> None:
        monkeypatch.syspath_prepend(tmp_path)
        for name, code in modules.items():
            (tmp_path / f"{name}_backend.py").write_text(code)
            monkeypatch.delitem(sys.modules, f"{name}_backend", raising=False)
        points = {name: EntryPoint(name, f"{name}_backend:Backend", GROUP) for name in modules}
        monkeypatch.setattr("tracelet._discovery.installed", lambda: points)
        monkeypatch.setattr("tracelet.cli.backends.installed", lambda: points)

    return make


GOOD = """
from tracelet.backend import mapped, native
from tracelet.events import ImageLogged, MetricsLogged
from tracelet.testing import RecordingBackend

class Backend(RecordingBackend):
    handles = {MetricsLogged: native("the charts"), ImageLogged: mapped("the files")}
"""


def test_every_kind_of_event_is_in_the_matrix() -> None:
    """No kind can be forgotten: what ends a run is the only one that nobody shows."""
    assert set(KINDS.values()) == set(EVENT_TYPES.values()) - {RunFinished}


def test_installed_backends_are_listed() -> None:
    """Each with its distribution, its state and how many kinds it takes."""
    result = backends()
    assert result.exit_code == 0, result.output
    rows = {line.split()[0]: line.split() for line in result.output.splitlines()[1:]}
    assert set(rows) == set(installed())
    assert rows["jsonl"] == ["jsonl", "tracelet-jsonl", "0.1.0", "ok", "24", "of", "24", "keyed"]


def test_a_broken_backend_is_listed_with_its_error(install: Install) -> None:
    """It costs only itself, and an exit code that scripts see."""
    install(good=GOOD, bad="raise ImportError('no such library')")
    result = backends()
    assert result.exit_code == 1
    assert "no such library" in result.output
    assert [line.split()[:1] for line in result.output.splitlines()[1:3]] == [["bad"], ["good"]]
    assert "broken" in result.output


def test_one_backend_tells_where_it_shows_what(install: Install) -> None:
    """With a name: its options, and the place of each kind."""
    install(good=GOOD)
    result = backends("good")
    rows = {line[:18].strip(): line[18:].split(maxsplit=1) for line in result.output.splitlines()}
    assert rows["metrics"] == ["native", "the charts"]
    assert rows["images"] == ["mapped", "the files"]
    assert rows["tables"] == ["-"]
    assert backends("god").exit_code == 2


def test_the_matrix_compares(install: Install) -> None:
    """A row for each kind, a column for each backend, and what the words mean."""
    install(good=GOOD, other=GOOD.replace("native", "mapped"))
    result = backends("--matrix")
    assert result.exit_code == 0
    rows = [line.split() for line in result.output.splitlines()]
    assert rows[0] == ["kind", "good", "other"]
    assert rows[1] == ["metrics", "native", "mapped"]
    assert rows[len(KINDS)] == ["child", "runs", "-", "-"]
    assert "counted as degraded" in result.output


def test_json_has_all_of_it(install: Install) -> None:
    """For scripts: the same, with a backend's problem where it has one."""
    install(good=GOOD, bad="nothing = 1")
    result = backends("--json")
    bad, good = msgspec.json.decode(result.stdout)
    assert good["handles"]["metrics"] == {"level": "native", "place": "the charts"}
    assert (good["idempotency"], good["problem"]) == ("appends", None)
    assert "Backend" in bad["problem"]


def test_a_set_of_types_is_a_declaration_too() -> None:
    """A plugin that only says what it handles is listed, as showing it somehow."""

    class Plain(RecordingBackend):
        handles = frozenset({MetricsLogged})

    assert {kind: support.level for kind, support in supported(Plain).items()} == {"metrics": "mapped"}


def test_markdown_has_the_places() -> None:
    """The table of the documentation."""
    first: dict[type[Event], object] = {MetricsLogged: native("charts"), ImageLogged: fallback("a file")}
    second = {MetricsLogged: mapped("files")}
    labels = {kind: label for label, kind in KINDS.items()}
    table = list(
        as_markdown(
            {
                name: {labels[kind]: support for kind, support in own.items()}  # type: ignore[misc]
                for name, own in (("one", first), ("two", second))
            }
        )
    )
    assert table[:3] == ["| | one | two |", "|---|---|---|", "| metrics | **native**: charts | mapped: files |"]
    assert "| images | fallback: a file | - |" in table
    assert len(table) == 2 + len(KINDS)


def test_kinds_are_named_once() -> None:
    """Two labels for one type, or one for two, would make the matrix wrong."""
    assert len(set(KINDS.values())) == len(KINDS)
    assert all(hasattr(events, kind.__name__) for kind in KINDS.values())
