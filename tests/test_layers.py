"""The layers: a module imports only from modules of a lower layer, or of its own package."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tracelet

ROOT = Path(tracelet.__file__).parent

LAYERS = {
    "events": 0,
    "errors": 0,
    "delivery": 0,
    "_notices": 0,
    "checks": 0,
    "_late_import": 0,
    "_redaction": 0,
    "_version": 0,
    "_secrets": 1,
    "backend": 1,
    "codec": 1,
    "_values": 1,
    "media": 1,
    "substitutes": 1,
    "_waiting": 1,
    "readback": 2,
    "journal": 2,
    "_discovery": 2,
    "_setting_values": 2,
    "_retry": 2,
    "_deferred": 2,
    "_blocking": 2,
    "_batches": 2,
    "_sources": 3,
    "status": 3,
    "_settings": 3,
    "_log_ends": 3,
    "_segments": 3,
    "_ranks": 3,
    "_leftovers": 3,
    "_inert": 11,
    "_ranked": 11,
    "_steps": 4,
    "_feed": 4,
    "_following": 4,
    "_retention": 4,
    "_lifecycle": 5,
    "_plan": 4,
    "_subscription": 4,
    "_bus": 5,
    "_arrays": 2,
    "_payloads": 3,
    "_verbs": 6,
    "_file_verbs": 7,
    "_media_verbs": 8,
    "_chart_verbs": 9,
    "run": 10,
    "tensorboard": 11,
    "capture": 11,
    "host": 11,
    "api": 12,
    "importing": 12,
    "testing": 14,
    "integrations": 14,
    "cli": 14,
    "__init__": 13,
    "__main__": 15,
}

FORBIDDEN = ("mlflow", "torch", "tensorboard", "tensorboardX", "numpy", "tracelet_mlflow")


def modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def layer_of(name: str) -> str:
    """The layer's name of a module `tracelet.x.y`."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            assert node.module is not None
            if node.module == "tracelet":
                found |= {f"tracelet.{alias.name}" for alias in node.names}
            else:
                found.add(node.module)
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_imports_only_from_lower_layers(path: Path) -> None:
    """No import goes up or sideways, and every module has its layer."""
    own = path.relative_to(ROOT).with_suffix("").parts[0]
    for name in imports(path):
        if name.split(".")[0] == "tracelet":
            other = layer_of(name)
            if other != own:
                assert LAYERS[other] < LAYERS[own], f"{own} (layer {LAYERS[own]}) imports {name}"
        elif own not in ("cli", "testing", "media", "tensorboard", "_arrays", "_payloads"):
            assert name.split(".")[0] not in FORBIDDEN, f"{own} imports {name}"


def test_every_layer_exists() -> None:
    """The table above names modules that are there."""
    present = {path.relative_to(ROOT).with_suffix("").parts[0] for path in modules()}
    assert set(LAYERS) == present


def test_importing_tracelet_is_light() -> None:
    """`import tracelet` brings in none of the libraries that only delivery, capture or the command line need."""
    code = "import sys, tracelet; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"anyio", "asyncio", "httpx", "tenacity", "numpy", "rich", "typer", "torch", "mlflow", "tensorboardX"}
    assert not heavy & set(loaded)


def test_tensorboard_is_there_when_it_is_asked_for() -> None:
    """`tracelet.tensorboard` needs no import of its own, and `import tracelet` alone does not bring it in."""
    code = (
        "import sys, tracelet; before = 'tracelet.tensorboard' in sys.modules; "
        "print(before, tracelet.tensorboard.SummaryWriter.__name__)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["False", "SummaryWriter"]
    with pytest.raises(AttributeError, match="no attribute 'tensorbord'"):
        tracelet.tensorbord  # type: ignore[attr-defined]  # noqa: B018
