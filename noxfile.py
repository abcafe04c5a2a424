"""The checks. `nox` runs lint, types and tests on each Python that is there; `nox -l` lists the others."""

from __future__ import annotations

from pathlib import Path

import nox

nox.options.default_venv_backend = "virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lint", "types", "tests"]

PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)
PLUGINS = [
    f"./{path.parent}" for folder in ("plugins", "docs/examples") for path in sorted(Path(folder).glob("*/*.toml"))
]

# Always all distributions in one command: pip would look for one that is missing on the package index.
EDITABLE = [argument for place in (".[test]", *PLUGINS) for argument in ("-e", place)]


@nox.session(python=PYTHONS[0])
def lint(session: nox.Session) -> None:
    """Style."""
    session.install(*_needs("ruff"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session(python=PYTHONS[0])
def types(session: nox.Session) -> None:
    """Types, strictly. The folders with a conftest.py of their own go one by one, since their modules share names."""
    session.install(*EDITABLE, "nox")
    sources = ("src", "tests", "bench", "noxfile.py", *(f"{plugin}/src" for plugin in PLUGINS))
    session.run("mypy", "--exclude", "^tests/surroundings/", *sources)
    for folder in ("tests/surroundings", *(f"{plugin}/tests" for plugin in PLUGINS)):
        session.run("mypy", folder)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """All tests, on the checkout."""
    session.install(*EDITABLE)
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session(python=[PYTHONS[0], PYTHONS[-1]])
def wheels(session: nox.Session) -> None:
    """All tests, on what would be released: wheels, built here and installed in one command."""
    folder = Path(session.create_tmp()) / "wheels"
    for old in folder.glob("*.whl"):
        old.unlink()
    session.run("python", "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), ".", *PLUGINS)
    built = sorted(map(str, folder.glob("*.whl")))
    session.install(*(f"{wheel}[test]" if "/tracelet-" in wheel else wheel for wheel in built))
    session.run("python", "-c", "import tracelet; assert 'site-packages' in tracelet.__file__, tracelet.__file__")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session(python=PYTHONS[0])
@nox.parametrize("torch", ["2.13.0"])
def torch(session: nox.Session, torch: str) -> None:
    """What needs torch: its SummaryWriter, its tensors, the frameworks. pip chooses a build that suits the machine."""
    needs = _needs("hypothesis", "matplotlib", "pytest", "pytest-timeout", "pytest-xdist", "scikit-learn", "trio")
    places = [".[frameworks,import,media]", "./plugins/tracelet-mlflow", "./docs/examples/tracelet-jsonl"]
    session.install(*places, *needs, f"torch=={torch}", "onnx", "soundfile", "tensorboard")
    files = [*map(str, Path("tests").glob("test_tensorboard_*.py")), "tests/test_media_torch.py"]
    files += ["tests/test_deferred.py", "tests/test_import.py", "tests/test_ranks.py", "tests/test_unchanged_script.py"]
    files.append("tests/integrations")
    session.run("python", "-m", "pytest", *files, *session.posargs)
    parts = "data_loader or frameworks or ranks or documents_log"
    session.run("python", "-m", "pytest", "tests/test_delivery.py", "tests/test_docs_code.py", "-k", parts)


@nox.session(python=PYTHONS[0])
def docs(session: nox.Session) -> None:
    """The documents as a site, in the folder "site"."""
    session.install(".[docs]")
    session.run("mkdocs", "build", "--strict", *session.posargs, env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session(python=PYTHONS[0])
def demo(session: nox.Session) -> None:
    """`tracelet demo`, in a folder of its own."""
    session.install(".[demo]", *PLUGINS)
    with session.chdir(session.create_tmp()):
        session.run("tracelet", "demo", *session.posargs)


def _needs(*names: str) -> list[str]:
    """The requirements of the extras "test" and "demo" that have these names, with their versions."""
    extras = PROJECT["project"]["optional-dependencies"]
    return [need for need in (*extras["test"], *extras["demo"]) if need.partition(">=")[0] in names]
