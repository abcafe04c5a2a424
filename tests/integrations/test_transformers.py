"""TraceletCallback for Transformers: a Trainer trains for real; all it logs is in the journal and in MLflow, once."""

# ruff: noqa: E402  (a framework is imported once it is known to be there)
from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from arrivals import QUIET, Arrived, Journal, new_database

import tracelet
from tracelet.events import RunStarted, TextLogged

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainerCallback, TrainingArguments
from transformers.integrations import TensorBoardCallback

from tracelet.integrations.transformers import TraceletCallback

pytestmark = [*(pytest.mark.filterwarnings(rule) for rule in QUIET)]

STEPS = 6


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRACELET_DIR", str(tmp_path / "store"))
    yield
    tracelet.stop_logging()


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "store")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    return new_database(tmp_path_factory.mktemp("mlflow"))


class Sentences(torch.utils.data.Dataset):  # type: ignore[misc, name-defined]
    def __len__(self) -> int:
        return 4 * STEPS

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"input_ids": torch.randint(0, 20, (5,)), "attention_mask": torch.ones(5).long(), "labels": index % 2}


def trainer(*callbacks: Any, model: Any = None, **more: Any) -> Any:
    tiny = BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, num_labels=2
    )
    options: dict[str, Any] = {
        "output_dir": "out",
        "num_train_epochs": 1,
        "per_device_train_batch_size": 4,
        "logging_steps": 1,
        "eval_strategy": "steps",
        "eval_steps": 3,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        "hub_token": "geheim",
    }
    return Trainer(
        model=BertForSequenceClassification(tiny) if model is None else model,
        args=TrainingArguments(**options | more),
        train_dataset=Sentences(),
        eval_dataset=Sentences(),
        callbacks=list(callbacks),
    )


class Fail(TrainerCallback):  # type: ignore[misc]
    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 4:
            raise RuntimeError("the loss explodes")


@pytest.mark.timeout(240)
def test_a_training_arrives_in_mlflow(database: str, journal: Journal) -> None:
    """Arguments and configuration, every point, and the checkpoints arrive in one run that is finished."""
    ours = TraceletCallback({"mlflow": {"tracking_uri": database}}, "bert", "hf")
    saving = {"save_strategy": "steps", "save_steps": 3, "save_only_model": True, "metric_for_best_model": "loss"}
    training = trainer(ours, **saving)
    training.train()
    training.evaluate()
    training.predict(Sentences())
    arrived = Arrived(database, "hf", journal)
    assert (arrived.name, arrived.status) == ("bert", "FINISHED")
    assert arrived.params["learning_rate"] == "5e-05"
    assert arrived.params["model/hidden_size"] == "8"
    assert "geheim" not in str(arrived.params)
    assert arrived.points == sorted((name, float(value), step) for name, value, step in journal.points())
    assert journal.steps("train/loss") == list(range(1, STEPS + 1))
    assert journal.steps("eval/loss") == [3, 6, 6]
    assert journal.steps("train/train_runtime") == journal.steps("test/loss") == [6]
    assert set(arrived.models) == {"checkpoint-3", "checkpoint-6"}
    assert [model.step for model in journal.models()] == [3, 6]
    assert arrived.models["checkpoint-3"].tags["tracelet.framework"] == "transformers"
    assert len(journal.runs()) == 1
    assert set(journal.outcomes()) == {"completed"}


def test_an_active_run_is_used_and_left_open(journal: Journal) -> None:
    """Nothing is begun and nothing finished: the run is the user's, and its config comes first."""
    with tracelet.start_logging(config={"learning_rate": 1.0}) as run:
        training = trainer(TraceletCallback("no such backend"))
        training.train()
        training.evaluate()
        assert run.active
    assert len(journal.events(RunStarted)) == 1
    assert journal.params()["learning_rate"] == 1.0
    assert journal.steps("eval/loss") == [3, 6, 6]


def test_what_a_failed_training_left_open_is_failed(journal: Journal) -> None:
    """The Trainer doesn't tell of exceptions: the run stays open, and the next training doesn't join it."""
    with pytest.raises(RuntimeError, match="explodes"):
        trainer(TraceletCallback(exp_name="first"), Fail()).train()
    assert journal.outcomes() == []
    trainer(TraceletCallback(exp_name="second")).train()
    assert [event.name for event in journal.events(RunStarted)] == ["first", "second"]
    assert journal.outcomes() == ["failed", "completed"]


@pytest.mark.parametrize("added", ["given", "added later"])
@pytest.mark.parametrize("active", [True, False])
def test_nothing_comes_twice_beside_tensorboard(journal: Journal, added: str, active: bool, tmp_path: Path) -> None:
    """The TensorBoardCallback writes its event files, and the run has metrics and arguments once."""
    if active:
        tracelet.start_logging()
    ours = TraceletCallback()
    training = trainer(*[ours] * (added == "given"), report_to="tensorboard")
    if added != "given":
        training.add_callback(ours)
    (board,) = (one for one in training.callback_handler.callbacks if isinstance(one, TensorBoardCallback))

    class Mine(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            board.tb_writer.add_scalar("mine", 0.5, state.global_step)

    training.add_callback(Mine())
    training.train()
    training.evaluate()
    tracelet.stop_logging()
    assert not [one for one in journal.repeated() if one[1] != STEPS]  # the evaluation after the training is another
    assert journal.steps("train/loss") == list(range(1, STEPS + 1))
    assert journal.steps("eval/loss") == [3, 6, 6]
    assert journal.steps("mine") == list(range(1, STEPS + 1))
    assert journal.events(TextLogged) == []
    assert list(tmp_path.rglob("events.out.*"))


def test_tensorboard_alone_is_captured(journal: Journal, tmp_path: Path) -> None:
    """Beside a Trainer that has a callback of ours, one that has only TensorBoard's is captured, once."""
    other = trainer(TraceletCallback())
    with tracelet.start_logging():
        trainer(report_to="tensorboard").train()
    # the Trainer writes the epoch with the loss, the evaluation, and at the end
    assert journal.repeated() == [("train/epoch", 3), ("train/epoch", 6)]
    assert journal.steps("train/loss") == list(range(1, STEPS + 1))
    assert journal.steps("eval/loss") == [3, 6]
    del other
    gc.collect()


def test_the_class_of_tensorboard_is_as_it_was(journal: Journal) -> None:
    """Once the callbacks of ours are gone, TensorBoardCallback has its own methods again."""
    gc.collect()
    before = TensorBoardCallback.on_log
    ours = TraceletCallback()
    assert TensorBoardCallback.on_log is not before
    del ours
    gc.collect()
    assert TensorBoardCallback.on_log is before


def test_only_the_first_process_says_anything(journal: Journal) -> None:
    """Where the world's process is not the first, everything is taken and nothing begun."""
    ours = TraceletCallback()
    training = trainer(ours)
    training.state.is_world_process_zero = False
    everything = (training.args, training.state, training.control)
    ours.on_train_begin(*everything, model=training.model)
    ours.on_log(*everything, logs={"loss": 0.5})
    ours.on_save(*everything)
    ours.on_predict(*everything, metrics={"test_loss": 0.5})
    ours.on_train_end(*everything)
    assert journal.runs() == []


def test_trials_are_runs_of_their_own(journal: Journal) -> None:
    """In a search for hyperparameters, where one callback serves all trials, each trial is a run."""
    ours = TraceletCallback(exp_name="search")
    training = trainer(ours)
    training.state.is_hyper_param_search = True
    everything = (training.args, training.state, training.control)
    for _ in range(2):
        ours.on_train_begin(*everything, model=training.model)
        ours.on_log(*everything, logs={"loss": 0.5})
        ours.on_train_end(*everything)
    assert len(journal.runs()) == 2
    assert journal.outcomes() == ["completed", "completed"]


def test_the_best_checkpoint_has_its_score(journal: Journal) -> None:
    """A checkpoint that is the best so far says so, with the metric and its value."""
    best = {"metric_for_best_model": "eval_loss", "greater_is_better": False, "load_best_model_at_end": True}
    trainer(TraceletCallback(), save_strategy="steps", save_steps=3, **best).train()
    first = journal.models()[0]
    assert first.metadata["aliases"] == ["best"]
    assert (first.metadata["monitor"], first.name) == ("eval_loss", "checkpoint-3")
    losses = {step: value for name, value, step in journal.points() if name == "eval/loss"}
    assert first.metadata["score"] == losses[3]


def test_no_checkpoint_is_a_model_when_none_is_wanted(journal: Journal) -> None:
    """With log_model=False they stay in the output folder."""
    trainer(TraceletCallback(log_model=False), save_strategy="steps", save_steps=3).train()
    assert journal.models() == []
    assert Path("out/checkpoint-3").exists()


def test_a_callback_that_waits_mutes_no_metrics(journal: Journal) -> None:
    """A callback that no Trainer has yet takes nothing away from a TensorBoardCallback's metrics."""
    waiting = TraceletCallback()
    with tracelet.start_logging():
        trainer(report_to="tensorboard").train()
    assert waiting.waits
    assert journal.steps("train/loss") == list(range(1, STEPS + 1))
