"""TraceletTracker: an Accelerator trains for real, and all it logs is in the journal and in MLflow, once."""

# ruff: noqa: E402  (a framework is imported once it is known to be there)
from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from arrivals import QUIET, Arrived, Journal, new_database

import tracelet
from tracelet.events import HParamsLogged, ImageLogged, RunStarted, TableLogged, TextLogged

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from accelerate.tracking import TensorBoardTracker

from tracelet.integrations.accelerate import TraceletTracker

pytestmark = [*(pytest.mark.filterwarnings(rule) for rule in QUIET)]

STEPS = 5
CONFIG = {"lr": 0.1, "epochs": 1, "hub_token": "geheim"}


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRACELET_DIR", str(tmp_path / "store"))
    yield
    tracelet.stop_logging()
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "store")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    return new_database(tmp_path_factory.mktemp("mlflow"))


def train(accelerator: Any, fail_at: int | None = None) -> None:
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), CONFIG["lr"])
    model, optimizer = accelerator.prepare(model, optimizer)
    for step in range(STEPS):
        if step == fail_at:
            raise RuntimeError("the loss explodes")
        loss = model(torch.randn(8, 4)).pow(2).mean()
        accelerator.backward(loss)
        optimizer.step()
        accelerator.log({"loss": loss.item(), "phase": {"warm": step}}, step=step)


@pytest.mark.timeout(240)
def test_a_training_arrives_in_mlflow(database: str, journal: Journal) -> None:
    """The configuration and every point arrive in one run, which end_training finishes."""
    ours = TraceletTracker("accelerated", backend={"mlflow": {"tracking_uri": database}}, exp_name="line")
    accelerator = Accelerator(cpu=True, log_with=ours)
    accelerator.init_trackers("ignored", config=CONFIG)
    train(accelerator)
    Path("model.pt").write_bytes(b"weights")
    accelerator.get_tracker("tracelet", unwrap=True).log_model("model.pt", "line")
    accelerator.end_training()
    arrived = Arrived(database, "accelerated", journal)
    assert (arrived.name, arrived.status) == ("line", "FINISHED")
    assert arrived.params == {"lr": "0.1", "epochs": "1", "hub_token": "<redacted>"}
    assert arrived.points == sorted((name, float(value), step) for name, value, step in journal.points())
    assert journal.steps("loss") == journal.steps("phase/warm") == list(range(STEPS))
    assert set(arrived.models) == {"line"}


def test_it_is_known_by_name(journal: Journal) -> None:
    """log_with="tracelet" makes one, with the project of init_trackers and the arguments of init_kwargs."""
    accelerator = Accelerator(cpu=True, log_with="tracelet")
    accelerator.init_trackers("vision", config=CONFIG, init_kwargs={"tracelet": {"exp_name": "named"}})
    train(accelerator)
    accelerator.end_training()
    (started,) = journal.events(RunStarted)
    assert (started.name, started.project) == ("named", "vision")
    assert journal.steps("loss") == list(range(STEPS))
    assert journal.outcomes() == ["completed"]


def test_an_active_run_is_used_and_left_open(journal: Journal) -> None:
    """Nothing is begun and nothing finished: the run is the user's, and its config comes first."""
    with tracelet.start_logging(config={"lr": 1.0}) as run:
        accelerator = Accelerator(cpu=True, log_with=TraceletTracker())
        accelerator.init_trackers("ignored", config=CONFIG)
        assert accelerator.get_tracker("tracelet", unwrap=True) is run
        train(accelerator)
        accelerator.end_training()
        assert run.active
    assert len(journal.events(RunStarted)) == 1
    assert journal.params() == {"lr": 1.0, "epochs": 1, "hub_token": "<redacted>"}


@pytest.mark.parametrize("active", [True, False])
@pytest.mark.parametrize("first", [True, False])
def test_nothing_comes_twice_beside_tensorboard(journal: Journal, active: bool, first: bool, tmp_path: Path) -> None:
    """Accelerate's TensorBoardTracker writes its files; the run has all once, and what the user writes as well."""
    if active:
        tracelet.start_logging()
    ours = TraceletTracker()
    accelerator = Accelerator(
        cpu=True, log_with=[ours, "tensorboard"] if first else ["tensorboard", ours], project_dir=str(tmp_path)
    )
    accelerator.init_trackers("board", config={"lr": 0.1})
    train(accelerator)
    accelerator.get_tracker("tensorboard", unwrap=True).add_scalar("mine", 0.5, 1)
    accelerator.end_training()
    tracelet.stop_logging()
    assert journal.repeated() == []
    assert journal.steps("loss") == list(range(STEPS))
    assert journal.steps("mine") == [1]
    assert journal.params() == {"lr": 0.1}
    assert journal.events(HParamsLogged) == []
    assert list(tmp_path.rglob("events.out.*"))
    assert TensorBoardTracker.log.__module__ == "accelerate.tracking"
    assert not hasattr(TensorBoardTracker.log.__wrapped__, "__wrapped__")  # on_main_process is its only wrapper again


def test_tensorboard_alone_is_captured(journal: Journal, tmp_path: Path) -> None:
    """Without the tracker of ours, the capture of its writer brings everything once."""
    with tracelet.start_logging():
        accelerator = Accelerator(cpu=True, log_with="tensorboard", project_dir=str(tmp_path))
        accelerator.init_trackers("board")
        train(accelerator)
        accelerator.end_training()
    assert journal.repeated() == []
    assert journal.steps("loss") == list(range(STEPS))


def test_what_a_failed_training_left_open_is_failed(journal: Journal) -> None:
    """Without end_training the run stays open, and the next training doesn't join it."""
    first = Accelerator(cpu=True, log_with=TraceletTracker(exp_name="first"))
    first.init_trackers("x")
    with pytest.raises(RuntimeError, match="explodes"):
        train(first, fail_at=2)
    second = Accelerator(cpu=True, log_with=TraceletTracker(exp_name="second"))
    second.init_trackers("x")
    train(second)
    second.end_training()
    assert [event.name for event in journal.events(RunStarted)] == ["first", "second"]
    assert journal.outcomes() == ["failed", "completed"]


def test_texts_images_and_tables(journal: Journal) -> None:
    """Strings are texts; the tracker shows images and tables as Accelerate's own trackers do."""
    accelerator = Accelerator(cpu=True, log_with=TraceletTracker())
    accelerator.init_trackers("x")
    accelerator.log({"sample": "a cat"}, step=1)
    tracker = accelerator.get_tracker("tracelet")
    tracker.log_images({"batch": torch.rand(2, 3, 4, 4)}, step=2)
    tracker.log_table("rows", columns=["a"], data=[[1], [2]], step=3)
    with pytest.raises(ValueError, match="data="):
        tracker.log_table("rows")
    accelerator.end_training()
    assert [(event.name, event.text, event.step) for event in journal.events(TextLogged)] == [("sample", "a cat", 1)]
    assert [(event.name, event.step, event.layout) for event in journal.events(ImageLogged)] == [("batch", 2, "NCHW")]
    assert [(event.name, event.step) for event in journal.events(TableLogged)] == [("rows", 3)]


def test_other_processes_say_nothing(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside of the main process everything is taken and nothing begun; the run is an inert one."""
    accelerator = Accelerator(cpu=True, log_with=TraceletTracker())
    monkeypatch.setattr(PartialState, "is_main_process", property(lambda _: False))
    monkeypatch.setattr(PartialState, "use_distributed", property(lambda _: True))
    accelerator.init_trackers("x", config=CONFIG)
    accelerator.log({"loss": 0.5}, step=1)
    tracker = TraceletTracker()
    tracker.start()
    tracker.store_init_configuration(CONFIG)
    tracker.log({"loss": 0.5}, step=1)
    tracker.tracker.log_metric("loss", 0.5)
    tracker.finish()
    assert journal.runs() == []
