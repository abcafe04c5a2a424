"""Ranks: which processes of a launch log, and how several write one run."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from typer.testing import CliRunner

import tracelet
from tracelet import _ranks
from tracelet.cli._app import app
from tracelet.errors import InvalidSetting, RunExists, UnknownBackend
from tracelet.journal import Process, RunDirectory, holder, read_cursor
from tracelet.status import read_status
from tracelet.testing import RecordingBackend

RANKS = 8
PREFIXES = ("RANK", "LOCAL_", "WORLD_SIZE", "SLURM_", "OMPI_", "PMIX_", "TORCHELASTIC_", "TRACELET_RUN_ID")

TRAIN = """
import os, sys, time, tracelet
run = tracelet.start_logging({"jsonl": {"path": "events.jsonl"}}, "ranks", all_ranks=True)
rank = int(os.environ["RANK"])
for step in range(20):
    run.log_metric("loss", rank + step / 100, step)
    run.log_metric("counted", 1.0)
run.log_metrics({"a": 1.0}, step=0, context={"subset": "val"})
run.log_text("note", f"from {rank}")
tracelet.tensorboard.SummaryWriter().add_scalar("board", 0.5, 1)
if rank == 0:
    run.log_params({"lr": 0.1})
"""


@pytest.fixture(autouse=True)
def no_launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(PREFIXES)]:
        monkeypatch.delenv(name)


def start(rank: int, source: str, **variables: str) -> subprocess.Popen[str]:
    environment = os.environ | {
        "RANK": str(rank),
        "WORLD_SIZE": str(RANKS),
        "TRACELET_CLOSE_TIMEOUT": "30",
        **variables,
    }
    return subprocess.Popen(
        [sys.executable, "-c", source], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "events.jsonl").read_text().splitlines()]


def launch(monkeypatch: pytest.MonkeyPatch, rank: int, **variables: str) -> str:
    """The id of the run that a process of this rank logs to, if it is the first that it does."""
    for name, value in {"RANK": str(rank), "WORLD_SIZE": "2", **variables}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(_ranks, "_begun", set())
    with tracelet.start_logging(exp_name="x", all_ranks=True, close_timeout=0) as run:
        return run.id


def points(path: Path, name: str) -> set[tuple[Any, Any, float]]:
    """The rank, step and value of each of a metric's points."""
    found = [line for line in lines(path) if name in line.get("values", ())]
    shown = [(dict(line.get("context", [])).get("rank", 0), line["step"], line["values"][name]) for line in found]
    assert len(shown) == len(set(shown))
    return set(shown)


@pytest.mark.parametrize(
    ("variables", "rank"),
    [
        ({}, 0),
        ({"RANK": "0", "LOCAL_RANK": "0"}, 0),
        ({"RANK": "3"}, 3),
        ({"RANK": "8", "LOCAL_RANK": "0"}, 8),
        ({"RANK": "0", "SLURM_PROCID": "1"}, 0),  # torchrun once a node
        ({"LOCAL_RANK": "1"}, 1),
        ({"SLURM_PROCID": "0", "LOCAL_RANK": "2"}, 2),  # Lightning's own processes in a task of SLURM
        ({"SLURM_PROCID": "5"}, 5),
        ({"OMPI_COMM_WORLD_RANK": "2"}, 2),
        ({"OMPI_COMM_WORLD_RANK": "5", "SLURM_PROCID": "1"}, 5),  # mpirun's helper on the second host is SLURM's task
        ({"RANK": "first"}, 0),
        ({"RANK": ""}, 0),
    ],
)
def test_only_rank_0_logs(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], rank: int) -> None:
    """What launchers set tells the rank; in the other ranks a run is inert and leaves no file."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert _ranks.current() == rank
    with tracelet.start_logging(exp_name="x") as run:
        assert run.active is (rank == 0)
        run.log_metric("loss", 1.0, 1)
    assert Path(".tracelet").exists() is (rank == 0)


def test_all_ranks_write_one_run(tmp_path: Path) -> None:
    """Eight processes add a writer each to one run, which one delivery process delivers; the rank is in the context."""
    ranks = [start(rank, TRAIN, TRACELET_RUN_ID="launch") for rank in range(RANKS)]
    said = [rank.communicate(timeout=100) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0] * RANKS
    assert not [errors for _, errors in said[1:] if errors]  # what is to be said, rank 0 says
    run = RunDirectory(tmp_path / ".tracelet" / "runs" / "launch")
    assert len(run.writers()) == RANKS
    assert len(list(run.path.glob("delivery-*.log"))) == 1
    assert points(tmp_path, "loss") == {(rank, step, rank + step / 100) for rank in range(RANKS) for step in range(20)}
    assert points(tmp_path, "counted") == {(rank, step, 1.0) for rank in range(RANKS) for step in range(20)}
    assert points(tmp_path, "board") == {(rank, 1, 0.5) for rank in range(RANKS)}
    contexts = [line["context"] for line in lines(tmp_path) if "a" in line.get("values", ())]
    assert sorted(map(dict, contexts), key=lambda one: one.get("rank", 0)) == [
        {"subset": "val"} | ({"rank": rank} if rank else {}) for rank in range(RANKS)
    ]
    status = read_status(run).backends["jsonl"]
    assert (status.outcome, status.pending, status.emitted) == ("completed", 0, status.delivered)


def test_a_rank_that_dies_does_not_end_the_run(tmp_path: Path, eventually: Callable[..., None]) -> None:
    """After a SIGKILL of one rank the others go on; what it said arrives, and the run ends as rank 0's does."""
    goes_on = TRAIN + "print('logged', flush=True); sys.stdin.read(); run.log_metric('late', float(rank), 1)"
    ranks = {}
    for rank in (0, 2, 1):  # so that the last writer is the one that dies
        ranks[rank] = start(rank, goes_on, TRACELET_RUN_ID="launch", WORLD_SIZE="3")
        stdout = ranks[rank].stdout
        assert stdout is not None
        assert stdout.readline() == "logged\n"
    ranks[1].send_signal(signal.SIGKILL)
    ranks[1].communicate()
    for alive in (2, 0):
        ranks[alive].communicate("", timeout=60)
    run = RunDirectory(tmp_path / ".tracelet" / "runs" / "launch")
    eventually(lambda: read_status(run).backends["jsonl"].outcome == "completed")
    assert points(tmp_path, "late") == {(0, 1, 0.0), (2, 1, 2.0)}
    assert {rank for rank, _, _ in points(tmp_path, "loss")} == {0, 1, 2}


def test_the_run_goes_on_when_rank_0_ends_first(tmp_path: Path, eventually: Callable[..., None]) -> None:
    """The run is closed when its last rank has ended, also one that begins after rank 0 has ended."""
    first = start(0, TRAIN, TRACELET_RUN_ID="launch", WORLD_SIZE="2", TRACELET_CLOSE_TIMEOUT="0")
    first.communicate(timeout=60)
    run = RunDirectory(tmp_path / ".tracelet" / "runs" / "launch")
    eventually(lambda: read_status(run).backends["jsonl"].delivered > 20)
    assert read_status(run).backends["jsonl"].outcome is None
    start(1, TRAIN, TRACELET_RUN_ID="launch", WORLD_SIZE="2").communicate(timeout=60)
    eventually(lambda: read_status(run).backends["jsonl"].outcome == "completed")
    assert {rank for rank, _, _ in points(tmp_path, "loss")} == {0, 1}
    eventually(lambda: holder(run.cursor("jsonl")) is None)


def test_a_requeued_job_finds_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """All tasks of a SLURM job name the same run, also after a requeue; another job, or the next run, another one."""
    monkeypatch.setattr(_ranks, "_begun", set())
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("SLURM_JOB_ID", "123")
    monkeypatch.setenv("SLURM_PROCID", "0")
    one = _ranks.shared_run_id()
    monkeypatch.setenv("SLURM_PROCID", "1")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    monkeypatch.setenv("SLURM_JOB_START_TIME", "1795478481")  # another one after a requeue
    assert _ranks.shared_run_id() == one
    _ranks.note_begun(one)
    assert _ranks.shared_run_id() != one
    monkeypatch.setattr(_ranks, "_begun", set())
    monkeypatch.setenv("SLURM_JOB_ID", "124")
    assert _ranks.shared_run_id() != one


def test_a_rank_above_0_leaves_it_to_rank_0_whether_the_run_may_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    """By default a given id is a new run's, which the other ranks join whether they come before rank 0 or after it."""
    monkeypatch.setenv("WORLD_SIZE", "3")
    for rank in ("2", "0", "1"):
        monkeypatch.setenv("RANK", rank)
        with tracelet.start_logging(run_id="job", all_ranks=True, close_timeout=0) as run:
            assert run.id == "job"
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(RunExists):
        tracelet.start_logging(run_id="job", all_ranks=True)
    monkeypatch.setenv("RANK", "1")
    tracelet.start_logging(run_id="other", resume="must", all_ranks=True, close_timeout=0).finish()


@pytest.mark.parametrize("rank", [0, 1])
def test_a_child_is_its_process_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: int) -> None:
    """A rank's child is delivered and ended by that rank alone, and tells the rank in its context."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    backend = {"jsonl": {"path": str(tmp_path / "events.jsonl"), "delivery": {"linger": 0.02}}}
    for number in range(rank + 1):
        monkeypatch.setenv("RANK", str(number))
        run = tracelet.start_logging(backend, run_id="launch", all_ranks=True, host="thread", close_timeout=0)
        run.flush(timeout=20)
    with run.child("fold") as child, child.child("part") as part:
        for one in (child, part):
            one.log_metric("loss", 0.5, 1)
        part.finish(timeout=20)  # it would take 30 s to wait for ranks that do not come
        child.finish(timeout=20)
    for one, parent in ((child, "launch"), (part, child.id)):
        place = RunDirectory(one.directory)
        assert place.read_record().parent == parent
        assert read_cursor(place.cursor("jsonl")).closed == "completed"
        (point,) = [line for line in lines(tmp_path) if line["run"] == one.id and line["kind"] == "MetricsLogged"]
        assert dict(point["context"]) == ({"rank": 1} if rank else {})
    run.finish()


def test_a_backend_object_serves_no_children_of_further_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused in every rank, also where the run itself has no backend at work."""
    monkeypatch.setenv("RANK", "1")
    given = RecordingBackend()
    run = tracelet.start_logging(given, run_id="launch", all_ranks=True, host="thread", close_timeout=0)
    with run, pytest.raises(TypeError, match="give backends by name for runs with children"):
        run.child("fold")


MPI = {"PMIX_NAMESPACE": "prterun-node-1@1", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "LOCAL_WORLD_SIZE": "2"}
BATCH = {"SLURM_JOB_ID": "55"}
STEP = BATCH | {"SLURM_STEP_ID": "0"}


@pytest.mark.parametrize(
    "variables", [{}, MPI, TORCHRUN, STEP, BATCH], ids=["spawned", "mpi", "torchrun", "step", "batch"]
)
def test_another_launch_with_the_same_marks_is_refused(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    """Ranks that find the id of an earlier launch's run by themselves are told to give one, and add nothing to it."""
    monkeypatch.setattr(_ranks, "is_worker", lambda: True)
    (run_id,) = {launch(monkeypatch, rank, **variables) for rank in (1, 0)}
    run = RunDirectory(Path(".tracelet/runs").absolute() / run_id)
    for rank, ranks in ((0, 2), (1, 2), (3, 4)):
        counts = {name: str(ranks) for name in ("WORLD_SIZE", *variables) if name.endswith("_SIZE")}
        with pytest.raises(InvalidSetting, match=f"a TRACELET_RUN_ID of its own: .* run {run_id}, to which an earlier"):
            launch(monkeypatch, rank, **counts)
    assert len(run.writers()) == 2
    monkeypatch.setenv("TRACELET_RUN_ID", "mine")
    assert launch(monkeypatch, 0) == "mine"


def test_a_place_that_cant_be_read_ends_no_training(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether another launch was there can't be seen then, and nothing can be recorded: that is what is said."""
    monkeypatch.setattr(_ranks, "shared_run_id", lambda: "shared")
    Path(".tracelet/runs/shared").mkdir(parents=True)
    Path(".tracelet/runs/shared/journal").touch()
    assert launch(monkeypatch, 0) == ""
    assert "no journal can be written in " in capsys.readouterr().err


def test_a_requeued_job_goes_on_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It says so; a second launch of the same job does not go on with what the first one has just logged."""
    (run_id,) = {launch(monkeypatch, rank, **STEP) for rank in (0, 1)}
    capsys.readouterr()
    for path in Path(".tracelet/runs", run_id, "journal").glob("*/*.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"created": time.time() - 200}))
    requeued = {"SLURM_RESTART_COUNT": "1", "SLURM_JOB_START_TIME": str(int(time.time()) - 100)}
    assert [launch(monkeypatch, rank, **requeued) for rank in (1, 0)] == [run_id] * 2
    assert capsys.readouterr().err.count(f"this launch was started again, and goes on with run {run_id}") == 1
    with pytest.raises(InvalidSetting, match="by a TRACELET_RUN_ID of its own"):
        launch(monkeypatch, 0)
    monkeypatch.delenv("SLURM_JOB_START_TIME")  # as of older versions
    assert launch(monkeypatch, 0) == run_id


@pytest.mark.parametrize("mistake", [{"backend": "jsonll"}, {"on_full": "block", "quota": "1GiB"}], ids=str)
def test_ranks_agree_after_a_start_that_failed(monkeypatch: pytest.MonkeyPatch, mistake: dict[str, Any]) -> None:
    """Rank 0 alone looks at the backends: when it begins again without the mistake, it is the run of the others."""
    run_id = launch(monkeypatch, 1, **STEP)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setattr(_ranks, "_begun", set())
    with pytest.raises((UnknownBackend, InvalidSetting)):
        tracelet.start_logging(exp_name="x", all_ranks=True, **mistake)
    with tracelet.start_logging(exp_name="x", all_ranks=True, close_timeout=0) as run:
        assert run.id == run_id
    with tracelet.start_logging(exp_name="x", all_ranks=True, close_timeout=0) as run:
        assert run.id != run_id


def test_only_the_same_torchrun_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torchrun starts again goes on with what it started first, not with what another one did in the same job."""
    run_id = launch(monkeypatch, 0, **BATCH, **TORCHRUN)
    assert launch(monkeypatch, 0, TORCHELASTIC_RESTART_COUNT="1") == run_id
    with monkeypatch.context() as patched:
        own = Process.current()
        dead = Process(own.host, own.boot_id, 2**22, 1, own.namespace)  # from before this process's parent
        patched.setattr(Process, "current", lambda: dead)
        assert launch(patched, 0) == run_id
    with pytest.raises(InvalidSetting, match="by a TRACELET_RUN_ID of its own"):
        launch(monkeypatch, 0)


@pytest.mark.parametrize(
    ("step", "ranks"),
    [({}, 1), ({"SLURM_STEP_ID": "4294967291"}, 1), ({"SLURM_STEP_ID": "4294967290"}, 1), ({"SLURM_STEP_ID": "0"}, 4)],
    ids=["batch", "numbered batch", "interactive", "srun"],
)
def test_only_srun_makes_ranks_of_slurms_tasks(
    monkeypatch: pytest.MonkeyPatch, step: dict[str, str], ranks: int
) -> None:
    """The scripts in a batch script, or in an interactive job, are one process each, whatever the job has room for."""
    job = {"SLURM_JOB_ID": "55", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}
    for name, value in (job | step).items():
        monkeypatch.setenv(name, value)
    assert _ranks.count() == ranks
    if ranks == 1:
        runs = [tracelet.start_logging(exp_name="x", all_ranks=True) for _ in range(2)]
        tracelet.stop_logging()
        assert runs[0].id != runs[1].id


def test_mpirun_in_a_job_is_one_launch_on_all_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only its ranks on other hosts are below a step of SLURM, which therefore is not part of the id."""
    for name, value in {"WORLD_SIZE": "4", **MPI, **BATCH}.items():
        monkeypatch.setenv(name, value)
    here = _ranks.shared_run_id()
    monkeypatch.setenv("SLURM_STEP_ID", "3")
    assert _ranks.shared_run_id() == here
    monkeypatch.setenv("PMIX_NAMESPACE", "slurm.pmix.55.3")  # srun's own
    assert _ranks.shared_run_id() != here


IDS = """
import os
from tracelet import _ranks
print(_ranks.shared_run_id())
del os.environ["PMIX_NAMESPACE"]
print(_ranks.shared_run_id())
"""


def test_ranks_in_shells_of_their_own_are_one_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    """On one host the launcher is known, whatever it puts between itself and its ranks; another launcher is another."""
    variables = {"WORLD_SIZE": "2", **TORCHRUN, **MPI}
    python = f"{shlex.quote(sys.executable)} -c {shlex.quote(IDS)}"
    given = " ".join(f"{name}={value}" for name, value in variables.items())
    commands = [(f"{python}; true", variables), (f"sh -c {shlex.quote(f'{python}; true')}; true", variables)]
    commands.append((f"{given} {python}; true", {}))  # this shell is the launcher itself
    launched = [
        subprocess.Popen(["sh", "-c", command], env=os.environ | environment, stdout=subprocess.PIPE, text=True)
        for command, environment in commands
    ]
    first, second, other = [process.communicate(timeout=60)[0].splitlines() for process in launched]
    assert len(set(first + other)) == 4
    assert first == second


def test_a_launcher_that_cant_be_seen_is_no_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then torchrun's ranks want an id, and those of mpirun agree on the name of its job."""
    monkeypatch.setattr(os, "getppid", lambda: 0)  # as in a container of one's own
    with pytest.raises(InvalidSetting, match="set TRACELET_RUN_ID before the launch"):
        launch(monkeypatch, 0, **TORCHRUN)
    assert launch(monkeypatch, 0, **MPI) == launch(monkeypatch, 1, **MPI)


@pytest.mark.parametrize(
    "variables", [{}, {"TORCHELASTIC_RUN_ID": "none", "LOCAL_WORLD_SIZE": "1"}, {"RANK": "1", "WORLD_SIZE": ""}]
)
def test_ranks_that_cant_agree_are_told_how_to(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    """Without a job, nor a launcher of this host that started all ranks, all_ranks wants a run id."""
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", **variables}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSetting, match="set TRACELET_RUN_ID before the launch"):
        tracelet.start_logging(all_ranks=True)


def test_a_single_process_needs_no_launcher() -> None:
    """all_ranks=True changes nothing where there is only one process."""
    with tracelet.start_logging(all_ranks=True) as run:
        run.log_metric("loss", 1.0)
        assert run.active
    assert run.status().emitted == 3


WITH_TORCH = """
import torch.distributed as dist, torch
dist.init_process_group("gloo")
value = torch.tensor([float(dist.get_rank())])
dist.all_reduce(value)
assert value.item() == sum(range(dist.get_world_size()))
run.log_metric("sum", value, 1)
dist.barrier()
"""


@pytest.mark.skipif(find_spec("torch") is None, reason="needs torch")
@pytest.mark.timeout(300)
def test_torchrun_starts_ranks_that_share_a_run(tmp_path: Path) -> None:
    """Under torchrun, on gloo, eight processes write one run without being told which."""
    (tmp_path / "train.py").write_text(dedent(TRAIN + WITH_TORCH))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={RANKS}", "train.py"]
    done = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    (place,) = (tmp_path / ".tracelet" / "runs").iterdir()
    assert len(RunDirectory(place).writers()) == RANKS
    assert points(tmp_path, "loss") == {(rank, step, rank + step / 100) for rank in range(RANKS) for step in range(20)}
    assert points(tmp_path, "sum") == {(rank, 1, 28.0) for rank in range(RANKS)}
    status = read_status(RunDirectory(place)).backends["jsonl"]
    assert (status.outcome, status.pending) == ("completed", 0)
    assert f"tracelet: jsonl: {status.delivered} of {status.emitted} events delivered" in done.stderr


FAILING_ONCE = """
if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
    open(f"began-{rank}", "w").close()
    while not all(os.path.exists(f"began-{rank}") for rank in (0, 1)): time.sleep(0.01)
    os._exit(1)
"""


@pytest.mark.skipif(find_spec("torch") is None, reason="needs torch")
@pytest.mark.timeout(300)
def test_torchrun_restarts_into_the_same_run(tmp_path: Path) -> None:
    """Workers that torchrun starts again after a failure go on with the run."""
    (tmp_path / "train.py").write_text(dedent(TRAIN + FAILING_ONCE))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1"]
    done = subprocess.run([*command, "train.py"], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    (place,) = (tmp_path / ".tracelet" / "runs").iterdir()
    assert len(RunDirectory(place).writers()) == 4
    assert done.stderr.count(f"this launch was started again, and goes on with run {place.name}") == 1
    assert read_status(RunDirectory(place)).backends["jsonl"].outcome == "completed"


def test_a_rank_without_rank_0_says_so(tmp_path: Path) -> None:
    """What it said is kept, but nobody delivers it: that is told where it ends."""
    rank = start(1, TRAIN, TRACELET_RUN_ID="launch", TRACELET_CLOSE_TIMEOUT="0.5")
    _, errors = rank.communicate(timeout=60)
    assert rank.returncode == 0
    assert "rank 0 has not begun the run, and so no backend gets what was said here: " in errors


UNTIL_TOLD = TRAIN + "print('logged', flush=True); sys.stdin.readline(); run.finish(); print('ended', flush=True)\n"


def said_of_rank(errors: str, place: Path) -> str | None:
    """How many events a rank has said that nobody delivers."""
    found = re.search(r"jsonl: (\S+ events?) of this rank pending in (.*) \(nobody delivers them\); (.*)\n", errors)
    assert found is None or found[2] == str(place)
    assert found is None or found[3] == f"deliver with: tracelet sync {place}"
    return None if found is None else found[1]


def test_a_rank_that_is_left_alone_says_so(tmp_path: Path) -> None:
    """A requeued launch whose rank 0 never comes: another rank says how much of its own is pending, and the command."""
    place = tmp_path / ".tracelet" / "runs" / "launch"
    start(0, TRAIN, TRACELET_RUN_ID="launch", WORLD_SIZE="1").communicate(timeout=60)
    assert read_status(RunDirectory(place)).pending == {}
    alone = start(1, TRAIN, TRACELET_RUN_ID="launch", WORLD_SIZE="2", TRACELET_CLOSE_TIMEOUT="1")
    _, errors = alone.communicate(timeout=60)
    assert alone.returncode == 0, errors
    assert said_of_rank(errors, place) == "45 events"
    assert CliRunner().invoke(app, ["sync", str(place)]).exit_code == 0
    assert {rank for rank, _, _ in points(tmp_path, "loss")} == {0, 1}


def test_a_rank_whose_delivery_was_killed_says_so(tmp_path: Path, eventually: Callable[..., None]) -> None:
    """Where rank 0 and its delivery process are gone, what is pending is said by who ends last."""
    place = RunDirectory(tmp_path / ".tracelet" / "runs" / "launch")
    ranks = [start(rank, UNTIL_TOLD, TRACELET_RUN_ID="launch", WORLD_SIZE="2") for rank in (0, 1)]
    for rank in ranks:
        assert rank.stdout is not None
        assert rank.stdout.readline() == "logged\n"
    eventually(lambda: read_status(place).backends["jsonl"].pending == 0)
    ranks[0].kill()
    ranks[0].communicate()
    delivery = holder(place.cursor("jsonl"))
    assert delivery
    os.kill(delivery, signal.SIGKILL)
    eventually(lambda: holder(place.cursor("jsonl")) is None)
    _, errors = ranks[1].communicate("\n", timeout=60)
    assert said_of_rank(errors, place.path) == "1 event"


def test_a_rank_that_ends_early_waits_for_rank_0(tmp_path: Path) -> None:
    """In a launch that goes on with a run, rank 0 may come last: then there is nothing to be said."""
    start(0, TRAIN, TRACELET_RUN_ID="launch", WORLD_SIZE="1").communicate(timeout=60)
    early = start(1, UNTIL_TOLD, TRACELET_RUN_ID="launch", WORLD_SIZE="2")
    assert early.stdin is not None
    assert early.stdout is not None
    assert early.stdout.readline() == "logged\n"
    early.stdin.write("\n")
    early.stdin.flush()
    late = start(0, TRAIN, TRACELET_RUN_ID="launch", WORLD_SIZE="2")
    assert early.stdout.readline() == "ended\n"
    _, errors = early.communicate(timeout=60)
    assert errors == ""
    late.communicate(timeout=60)
    assert read_status(RunDirectory(tmp_path / ".tracelet" / "runs" / "launch")).pending == {}


def test_rank_0_tells_of_all_that_end_with_it(tmp_path: Path, eventually: Callable[..., None]) -> None:
    """Where the others end a moment after it, its last line is the account of the whole run."""
    place = RunDirectory(tmp_path / ".tracelet" / "runs" / "launch")
    patient = f"import tracelet._lifecycle; tracelet._lifecycle._TOGETHER = 30.0\n{UNTIL_TOLD}"
    first = start(0, patient, TRACELET_RUN_ID="launch", WORLD_SIZE="2")
    second = start(1, UNTIL_TOLD, TRACELET_RUN_ID="launch", WORLD_SIZE="2")
    for rank in (first, second):
        assert rank.stdin is not None
        assert rank.stdout is not None
        assert rank.stdout.readline() == "logged\n"
    assert first.stdin is not None
    assert second.stdin is not None
    eventually(lambda: read_status(place).backends["jsonl"].pending == 0)
    first.stdin.write("\n")
    first.stdin.flush()
    eventually(lambda: read_status(place).backends["jsonl"].pending == 1)  # the end of rank 0
    with pytest.raises(subprocess.TimeoutExpired):  # it waits for the other one's end
        first.wait(0.3)
    second.stdin.write("\n")
    second.stdin.flush()
    _, errors = first.communicate(timeout=60)
    second.communicate(timeout=60)
    status = read_status(place).backends["jsonl"]
    assert (status.outcome, status.pending) == ("completed", 0)
    assert f"tracelet: jsonl: {status.delivered} of {status.emitted} events delivered" in errors


def test_a_rank_of_an_offline_launch_does_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody comes there: what is pending is said at once."""
    monkeypatch.setenv("TRACELET_MODE", "offline")
    start(0, TRAIN, TRACELET_RUN_ID="launch", WORLD_SIZE="2").communicate(timeout=60)
    began = time.monotonic()
    _, errors = start(1, TRAIN, TRACELET_RUN_ID="launch", WORLD_SIZE="2").communicate(timeout=60)
    assert time.monotonic() - began < 20  # of 30 that the deadline gives
    assert said_of_rank(errors, tmp_path / ".tracelet" / "runs" / "launch") == "45 events"
