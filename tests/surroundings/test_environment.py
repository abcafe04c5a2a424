"""The environment: what the program runs in, and how it was started."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import tracelet
from tracelet.capture import _environment, _facts, _invocation, _packages
from tracelet.capture._cgroups import share
from tracelet.capture._gpus import Gpus
from tracelet.events import ArtifactLogged, TagsSet

Said = Callable[..., list[Any]]


class FakeNvml(ModuleType):
    """Stands in for NVIDIA's library: two cards, of which the second one can't tell its power."""

    NVML_TEMPERATURE_GPU = 0

    def __init__(self) -> None:
        super().__init__("pynvml")
        self.open = 0

    def nvmlInit(self) -> None:  # noqa: N802 - the library's names
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlSystemGetDriverVersion(self) -> bytes:  # noqa: N802
        return b"550.1"

    def nvmlSystemGetCudaDriverVersion(self) -> int:  # noqa: N802
        return 12040

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetUUID(self, handle: int) -> str:  # noqa: N802
        return f"GPU-{'ab'[handle]}000"

    def nvmlDeviceGetName(self, handle: int) -> str:  # noqa: N802
        return "A100"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(total=80 << 30, used=20 << 30)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(gpu=40 + handle)

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:  # noqa: N802
        return 60

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:  # noqa: N802
        if handle:
            raise RuntimeError("not supported")
        return 250_000


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return fake


def test_what_is_said_of_the_environment(
    run: tracelet.Run, said: Said, nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few tags to look for; the rest, with the command line, in `environment.json`; packages as requirements."""
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    _facts.say_environment(run, with_command=True)
    tags = {name: value for event in said(TagsSet) for name, value in event.values.items()}
    version = ".".join(map(str, sys.version_info[:3]))
    assert tags == {"env.host": socket.gethostname(), "env.python": version, "env.gpu": "2 x A100", "env.job": "77"}
    described, requirements = said(ArtifactLogged)
    found = json.loads((run.directory / described.path).read_bytes())
    assert described.name == "environment.json"
    assert found["python"]["version"] == version
    assert (found["gpu"]["driver"], found["gpu"]["cuda"]) == ("550.1", "12.4")
    assert found["gpu"]["cards"][1] == {"index": 1, "name": "A100", "memory": 80 << 30}
    assert found["cpu"]["count"] == os.cpu_count()
    assert found["memory"]["total"] > 1 << 28
    assert found["variables"]["SLURM_JOB_ID"] == "77"
    assert found["invocation"]["directory"] == os.getcwd()
    assert requirements.name == "requirements.txt"
    assert "msgspec==" in (run.directory / requirements.path).read_text()
    assert nvml.open == 0


def test_variables_are_kept_by_name_only_if_they_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """What says how a training is spread is kept; secrets and everything else are not."""
    for name, value in {
        "RANK": "3",
        "NCCL_DEBUG": "INFO",
        "OMP_NUM_THREADS": "4",
        "SLURM_JOB_NODELIST": "n[1-4]",
        "MASTER_ADDR": "http://u:geheim@host",
        "SLURM_JWT": "geheim",
        "NCCL_SECRET_KEY": "geheim",
        "AWS_SECRET_ACCESS_KEY": "geheim",
        "TF_TOKEN_app": "geheim",
        "HOME_OF_MINE": "x",
    }.items():
        monkeypatch.setenv(name, value)
    kept = _environment.variables()
    assert kept["RANK"] == "3"
    assert kept["SLURM_JOB_NODELIST"] == "n[1-4]"
    assert kept["MASTER_ADDR"] == "http://host"
    assert {"NCCL_DEBUG", "OMP_NUM_THREADS"} <= kept.keys()
    assert "geheim" not in str(kept)
    assert "HOME_OF_MINE" not in kept


def test_no_library_is_imported_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's CUDA is told where torch is there already; a broken module under its name is no failure."""
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "libraries" not in _environment.environment()
    torch = SimpleNamespace(__version__="2.9", version=SimpleNamespace(cuda="12.8"))
    monkeypatch.setitem(sys.modules, "torch", torch)
    assert _environment.environment()["libraries"] == {"torch": "2.9", "cuda of torch": "12.8"}
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace())
    assert "libraries" not in _environment.environment()


@pytest.mark.parametrize(
    ("said", "visible"),
    [(None, [0, 1]), ("1", [1]), ("GPU-b", [1]), ("", []), ("-1", []), ("0,-1,1", [0]), ("1,0", [0, 1])],
)
def test_cards_that_cuda_may_not_use_are_left_out(
    nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch, said: str | None, visible: list[int]
) -> None:
    """CUDA_VISIBLE_DEVICES says which there are, by number or identity."""
    if said is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", said)
    gpus = Gpus()
    assert [card.index for card in gpus.cards] == visible
    gpus.close()


def test_cards_are_measured(nvml: FakeNvml) -> None:
    """What a card can't tell is left out, and the rest is there."""
    gpus = Gpus()
    found = gpus.measure()
    assert found.pop("system/gpu_0_watts") == 250.0
    for number in (0, 1):
        assert found.pop(f"system/gpu_{number}_percent") == 40 + number
        assert found.pop(f"system/gpu_{number}_memory_bytes") == 20 << 30
        assert found.pop(f"system/gpu_{number}_memory_percent") == 25.0
        assert found.pop(f"system/gpu_{number}_celsius") == 60
    assert found == {}
    gpus.close()
    gpus.close()
    assert (gpus.measure(), nvml.open) == ({}, 0)


def test_without_a_library_or_a_driver_there_are_no_cards(nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither is a failure."""

    def refuse() -> None:
        raise RuntimeError("Driver Not Loaded")

    monkeypatch.setattr(nvml, "nvmlInit", refuse)
    assert Gpus().cards == []
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert (Gpus().cards, Gpus().measure()) == ([], {})


def test_packages_by_what_installers_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sorted and pinned; editable installs, and those from a repository or file, say where they are from."""
    first, second = tmp_path / "first", tmp_path / "second"
    for place, name in ((first, "Zeta-1.0.dist-info"), (first, "my_lib-0.1.dist-info"), (first, "fork-2.dist-info"),
                        (second, "zeta-0.9.dist-info"), (second, "old-3.1-py3.11.egg-info"), (second, "wheel-1.dist-info")):  # fmt: skip  # noqa: E501
        (place / name).mkdir(parents=True)
    editable = {"url": "file:///src/my_lib", "dir_info": {"editable": True}}
    (first / "my_lib-0.1.dist-info/direct_url.json").write_text(json.dumps(editable))
    source = {
        "url": "https://u:geheim@host/fork.git?private_token=geheim",
        "vcs_info": {"vcs": "git", "commit_id": "abc"},
    }
    (first / "fork-2.dist-info/direct_url.json").write_text(json.dumps(source))
    (second / "wheel-1.dist-info/direct_url.json").write_text("{broken")
    (second / "dev.egg-info").mkdir()
    (second / "dev.egg-info/PKG-INFO").write_text("Name: dev\nVersion: 0.5\n")
    monkeypatch.setattr(sys, "path", [str(first), str(tmp_path / "missing"), str(second), str(first)])
    assert _packages.requirements().splitlines() == [
        f"-e file://{second}  # dev==0.5",
        "fork @ git+https://host/fork.git@abc  # fork==2",
        "-e file:///src/my_lib  # my-lib==0.1",
        "old==3.1",
        "wheel==1",
        "Zeta==1.0",
    ]


def test_packages_are_those_that_the_metadata_says() -> None:
    """The list agrees with what Python itself reads, package for package."""
    code = (
        "from importlib.metadata import distributions; from tracelet.capture._packages import requirements; import re\n"
        "key = lambda name: re.sub('[-_.]+', '-', name).lower()\n"
        "there = {key(d.name) for d in distributions()}\n"
        "lines = [line.partition('  # ')[2] or line for line in requirements().splitlines()]\n"
        "listed = {key(line.partition('==')[0]) for line in lines}\n"
        "print(sorted(there ^ listed))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True, timeout=60) == "[]\n"


_SAY = "from tracelet.capture import _invocation; import json; print(json.dumps(_invocation.invocation()))"


@pytest.mark.parametrize("kind", ["script", "module", "console"])
def test_the_command_line(tmp_path: Path, kind: str) -> None:
    """It can be typed again, but for its secrets; and it is told what was started."""
    (tmp_path / "my train.py").write_text(_SAY)
    (tmp_path / "package.py").write_text(_SAY)
    start = {"script": ["my train.py"], "module": ["-m", "package"], "console": ["-c", _SAY]}[kind]
    arguments = ["--api-key", "geheim", "--url=http://u:geheim@h/x", "--lr", "1"]
    done = subprocess.check_output([sys.executable, *start, *arguments], cwd=tmp_path, text=True, timeout=60)
    found = json.loads(done)
    assert "geheim" not in done
    assert found["kind"] == kind
    assert found["arguments"] == ["--api-key", "<redacted>", "--url=http://h/x", "--lr", "1"]
    assert found["directory"] == str(tmp_path)
    if kind != "console":
        name = {"script": "'my train.py'", "module": "-m package"}[kind]
        executable = Path(sys.executable).name
        assert found["command"] == f"{executable} {name} --api-key <redacted> --url=http://h/x --lr 1"
        assert found["script"] == str(tmp_path / ("my train.py" if kind == "script" else "package.py"))


def test_a_program_from_standard_input_in_a_folder_that_is_gone(tmp_path: Path) -> None:
    """It has no script, and its packages are known all the same."""
    code = (
        "import json, os, shutil; from tracelet.capture import _invocation, _packages; shutil.rmtree(os.getcwd())\n"
        "print(json.dumps(_invocation.invocation())); print('msgspec==' in _packages.requirements())\n"
    )
    (tmp_path / "gone").mkdir()
    command = [sys.executable, "-"]
    done = subprocess.run(command, input=code, cwd=tmp_path / "gone", capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    said, known = done.stdout.splitlines()
    assert json.loads(said)["kind"] == "console"
    assert "script" not in json.loads(said)
    assert known == "True"


def test_an_archive_is_the_script(tmp_path: Path) -> None:
    """A program in a zip file is called by the file."""
    with zipfile.ZipFile(tmp_path / "train.pyz", "w") as archive:
        archive.writestr("__main__.py", _SAY)
    done = subprocess.check_output([sys.executable, "train.pyz"], cwd=tmp_path, text=True, timeout=60)
    found = json.loads(done)
    assert (found["kind"], found["script"]) == ("script", str(tmp_path / "train.pyz"))


def test_a_notebook_is_called_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's own command line is of no use."""
    kernel = SimpleNamespace(IPKernelApp=SimpleNamespace(initialized=lambda: True))
    monkeypatch.setitem(sys.modules, "ipykernel.kernelapp", kernel)
    monkeypatch.setenv("JPY_SESSION_NAME", "/home/me/deep/Train.ipynb")
    assert _invocation.command() == "notebook Train.ipynb"
    assert _invocation.invocation()["kind"] == "notebook"


def test_a_very_long_command_line_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says how much is missing."""
    monkeypatch.setattr(sys, "orig_argv", ["python", "x" * 5_000])
    assert _invocation.command().endswith("x … (3,007 more characters)")


def _group(place: Path, **files: str) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (place / name.replace("__", ".")).write_text(text)
    return place


def test_limits_of_control_groups_version_2(tmp_path: Path) -> None:
    """The tightest limit of the group and those around it counts, and what the kernel could give back is not used."""
    root = _group(tmp_path / "v2", cgroup__controllers="cpu memory")
    _group(root / "job", memory__max="4000\n", memory__current="900\n", memory__stat="anon 1\ninactive_file 400\n",
           cpu__max="150000 100000\n", cpu__stat="usage_usec 2500000\nuser_usec 1\n")  # fmt: skip
    _group(root / "job/step", memory__max="max\n", cpu__max="max 100000\n")
    (tmp_path / "own").write_text("0::/job/step\n")
    found = share(root, tmp_path / "own")
    assert (found.memory_limit, found.memory_used(), found.cores, found.cpu_seconds()) == (4000, 500, 1.5, 2.5)
    (tmp_path / "own").write_text("0::/somewhere/outside\n")
    assert share(root, tmp_path / "own").memory_limit is None


def test_limits_of_control_groups_version_1(tmp_path: Path) -> None:
    """The same, as older machines say it."""
    root = tmp_path / "v1"
    _group(root / "memory", memory__limit_in_bytes="9223372036854771712\n")
    _group(root / "memory/box", memory__limit_in_bytes="4000\n", memory__usage_in_bytes="900\n",
           memory__stat="total_inactive_file 400\n")  # fmt: skip
    _group(root / "cpu/box", cpu__cfs_quota_us="50000\n", cpu__cfs_period_us="100000\n", cpuacct__usage="3000000000\n")
    (tmp_path / "own").write_text("5:memory:/box\n4:cpu,cpuacct:/box\n0::/\n")
    found = share(root, tmp_path / "own")
    assert (found.memory_limit, found.memory_used(), found.cores, found.cpu_seconds()) == (4000, 500, 0.5, 3.0)
    (root / "cpu/box/cpu.cfs_quota_us").write_text("-1\n")
    assert share(root, tmp_path / "own").cores is None


def test_no_control_groups(tmp_path: Path) -> None:
    """There is no limit then."""
    found = share(tmp_path / "none", tmp_path / "own")
    assert (found.memory_limit, found.memory_used(), found.cores, found.cpu_seconds()) == (None, None, None, None)
