"""What is released: the wheels and source archives of Tracelet and of its plugins, built as pip builds them."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Callable
from email.message import Message
from email.parser import Parser
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from tracelet import _discovery

ROOT = Path(__file__).parent.parent
PROJECTS = [ROOT, *sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))]
PROJECTS += sorted(path.parent for path in ROOT.glob("docs/examples/*/pyproject.toml"))

each_project = pytest.mark.parametrize("project", PROJECTS, ids=lambda path: "tracelet" if path == ROOT else path.name)

Build = Callable[[Path, str], Path]


def declared(project: Path) -> dict[str, Any]:
    """The project table of a pyproject.toml."""
    table: dict[str, Any] = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    return table


def package(project: Path) -> Path:
    """The folder of the one package that a project has."""
    (folder,) = (path for path in (project / "src").iterdir() if (path / "__init__.py").exists())
    return folder


def names(wheel: Path) -> set[str]:
    with ZipFile(wheel) as archive:
        return set(archive.namelist())


def metadata(wheel: Path) -> Message:
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Builds a "wheel" or "sdist" of a project, once."""
    built: dict[tuple[Path, str], Path] = {}

    def build(project: Path, target: str) -> Path:
        if (project, target) not in built:
            folder = tmp_path_factory.mktemp("dist")
            command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(folder)]
            subprocess.run(command, cwd=project, check=True, capture_output=True)
            (built[project, target],) = folder.iterdir()
        return built[project, target]

    return build


@each_project
def test_a_wheel_has_the_package_and_nothing_else(build: Build, project: Path) -> None:
    """All modules and the marker of types are in the wheel; tests and documents are not."""
    folder = package(project)
    found = {name for name in names(build(project, "wheel")) if ".dist-info/" not in name}
    modules = {path.relative_to(folder.parent).as_posix() for path in folder.rglob("*.py")}
    assert found == {*modules, f"{folder.name}/py.typed"}


@each_project
def test_metadata_says_what_the_project_says(build: Build, project: Path) -> None:
    """Name, version, Python and extras are in the wheel, and its README is the description."""
    table, found = declared(project), metadata(build(project, "wheel"))
    assert (found["Name"], found["Version"]) == (table["name"], table["version"])
    assert found["Requires-Python"] == ">=3.11"
    assert found["License-Expression"] == "Apache-2.0"
    assert set(found.get_all("Provides-Extra") or []) == set(table.get("optional-dependencies", {}))
    assert found.get_payload() == (project / "README.md").read_text()


@pytest.mark.parametrize("project", [path for path in PROJECTS if "examples" not in path.parts], ids=lambda p: p.name)
def test_the_license_comes_along(build: Build, project: Path) -> None:
    """What is released has the license's text in its wheel."""
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names(build(project, "wheel")))


def test_plugins_agree_with_the_core_on_versions(build: Build) -> None:
    """Each plugin has the core's version and requires it, but none of the next minor release."""
    version = declared(ROOT)["version"]
    major, minor, _ = version.split(".")
    for project in PROJECTS[1:]:
        assert declared(project)["version"] == version
        needed = metadata(build(project, "wheel")).get_all("Requires-Dist", [])
        assert f"tracelet[media]<{major}.{int(minor) + 1},>={version}" in needed


def test_extras_name_distributions_of_this_project() -> None:
    """Whatever an extra calls tracelet-something is in this checkout, so that no command needs another one's."""
    own = {declared(project)["name"] for project in PROJECTS}
    for needs in declared(ROOT)["optional-dependencies"].values():
        wanted = {need.partition("[")[0].partition(">")[0] for need in needs if need.startswith("tracelet")}
        assert wanted <= own


def test_every_official_backend_has_its_extra_and_its_folder() -> None:
    """The plugins that an unknown name is answered with exist, under the name of the extra; "all" has them all."""
    extras = declared(ROOT)["optional-dependencies"]
    for backend, distribution in _discovery.OFFICIAL.items():
        assert extras[backend] == [distribution]
        assert declared(ROOT / "plugins" / distribution)["entry-points"]["tracelet.backends"].keys() == {backend}
    assert extras["all"] == [f"tracelet[{','.join(sorted(_discovery.OFFICIAL))}]"]
    assert set(_discovery.OFFICIAL.values()) == {path.name for path in (ROOT / "plugins").iterdir()}


@each_project
def test_entry_points_lead_somewhere(project: Path) -> None:
    """The command and the backends that are declared are installed, and can be loaded."""
    table = declared(project)
    groups = {"console_scripts": table.get("scripts", {}), **table.get("entry-points", {})}
    for group, points in groups.items():
        for name, value in points.items():
            (found,) = entry_points(group=group, name=name)
            assert found.value == value
            assert callable(found.load())


def test_the_source_archive_is_the_checkout(build: Build) -> None:
    """What the README's commands, the tests and the documents need is in the source archive."""
    with tarfile.open(build(ROOT, "sdist")) as archive:
        found = {name.partition("/")[2] for name in archive.getnames()}
    folders = ("bench", "docs", "plugins", "src", "tests")
    wanted = {path.relative_to(ROOT) for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()}
    wanted = {path for path in wanted if path.suffix in (".py", ".md", ".toml", ".typed")}
    files = ("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "noxfile.py", "pyproject.toml")
    assert not {*map(str, wanted), *files} - found
    assert not [name for name in found if "__pycache__" in name or ".tracelet" in name or name.endswith(".db")]


@each_project
def test_a_wheel_from_the_source_archive_is_the_same(build: Build, project: Path, tmp_path: Path) -> None:
    """The source archive builds to the wheel that the checkout builds to."""
    with tarfile.open(build(project, "sdist")) as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    assert names(build(folder, "wheel")) == names(build(project, "wheel"))
