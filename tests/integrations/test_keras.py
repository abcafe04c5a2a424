"""TraceletCallback for Keras: a model trains for real, and all it reports is in the journal and in MLflow, once."""

# ruff: noqa: E402  (a framework is imported once it is known to be there)
from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from arrivals import QUIET, Arrived, Journal, new_database

import tracelet
from tracelet.events import RunStarted

np = pytest.importorskip("numpy")
pytest.importorskip("torch")
os.environ.setdefault("KERAS_BACKEND", "torch")  # before Keras is imported
keras = pytest.importorskip("keras")

from tracelet.integrations.keras import TraceletCallback

pytestmark = [
    *(pytest.mark.filterwarnings(rule) for rule in QUIET),
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),  # Keras's
]

EPOCHS, BATCHES = 3, 4


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


def model() -> Any:
    made = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1)], name="line")
    made.compile(optimizer=keras.optimizers.SGD(0.125), loss="mse", metrics=["mae"])
    return made


def fit(made: Any, *callbacks: Any, **more: Any) -> None:
    x, y = np.random.rand(8 * BATCHES, 4), np.random.rand(8 * BATCHES, 1)
    options = {"epochs": EPOCHS, "batch_size": 8, "validation_data": (x, y), "verbose": 0} | more
    made.fit(x, y, callbacks=list(callbacks), **options)


class Fail(keras.callbacks.Callback):  # type: ignore[misc, name-defined]
    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch == 2:
            raise RuntimeError("the loss explodes")


@pytest.mark.timeout(240)
def test_a_training_arrives_in_mlflow(database: str, journal: Journal) -> None:
    """The optimizer, every point and the model arrive in one run that is finished, also those of evaluate."""
    ours = TraceletCallback({"mlflow": {"tracking_uri": database}}, "line", "keras", log_model=True)
    made = model()
    fit(made, ours)
    made.evaluate(np.zeros((8, 4)), np.zeros((8, 1)), verbose=0, callbacks=[ours])
    arrived = Arrived(database, "keras", journal)
    assert (arrived.name, arrived.status) == ("line", "FINISHED")
    assert (arrived.params["optimizer/name"], arrived.params["optimizer/learning_rate"]) == ("sgd", "0.125")
    assert (arrived.params["epochs"], arrived.params["steps"], arrived.params["loss"]) == ("3", "4", "mse")
    assert arrived.points == sorted((name, float(value), step) for name, value, step in journal.points())
    for name in ("loss", "mae", "val_loss", "val_mae", "learning_rate"):
        assert journal.steps(name) == [0, 1, 2]
    assert journal.steps("test_loss") == [2]
    assert {value for name, value, _ in journal.points() if name == "learning_rate"} == {0.125}
    assert arrived.models["line"].tags["tracelet.framework"] == "keras"
    (logged,) = journal.models()
    again = keras.models.load_model(journal.runs()[0] / logged.path)
    assert np.allclose(again.get_weights()[0], made.get_weights()[0])
    assert len(journal.runs()) == 1


def test_an_active_run_is_used_and_left_open(journal: Journal) -> None:
    """Nothing is begun and nothing finished: the run is the user's, and its config comes first."""
    with tracelet.start_logging(config={"epochs": 99}) as run:
        fit(model(), TraceletCallback())
        assert run.active
    assert len(journal.events(RunStarted)) == 1
    assert journal.params()["epochs"] == 99
    assert journal.repeated() == []
    assert journal.steps("test_loss") == []  # the validation within fit is no evaluation of its own


def test_what_modelcheckpoint_writes_are_models(journal: Journal) -> None:
    """Each file that it writes becomes a model at its epoch, wherever in the list of callbacks it stands."""
    Path("kept").mkdir()
    Path("kept/07-old.keras").write_bytes(b"from another training")
    for number, first in enumerate((True, False)):
        keep = keras.callbacks.ModelCheckpoint(f"kept/{number}" + "{epoch:02d}-{val_loss:.2f}.keras")
        ours = TraceletCallback(log_model=keep)
        fit(model(), *([ours, keep] if first else [keep, ours]))
    assert [(one.name[:3], one.step) for one in journal.models()] == [
        (f"{number}{epoch + 1:02d}", epoch) for number in range(2) for epoch in range(EPOCHS)
    ]
    assert {one.framework for one in journal.models()} == {"keras"}


def test_a_checkpoint_that_is_overwritten_is_a_model_each_time(journal: Journal) -> None:
    """A file of one name is a new version of the model with each epoch; the weights alone are a model, too."""
    keep = keras.callbacks.ModelCheckpoint("newest.weights.h5", save_weights_only=True)
    fit(model(), TraceletCallback(log_model=[keep]), keep)
    assert [(one.name, one.step) for one in journal.models()] == [("newest.weights", epoch) for epoch in range(EPOCHS)]


def test_batches_on_request(journal: Journal) -> None:
    """Every so many batches have their metrics, counted through all epochs; by default none have."""
    fit(model(), TraceletCallback(log_batches=3))
    assert journal.steps("batch_loss") == list(range(0, EPOCHS * BATCHES, 3))
    assert journal.steps("batch_mae") == journal.steps("batch_loss")
    assert journal.repeated() == []


def test_no_batches_by_default(journal: Journal) -> None:
    """Without the request only epochs have metrics."""
    fit(model(), TraceletCallback())
    assert not [name for name, _, _ in journal.points() if name.startswith("batch")]
    assert journal.steps("loss") == [0, 1, 2]


def test_what_a_failed_training_left_open_is_failed(journal: Journal) -> None:
    """Keras doesn't tell of exceptions: the run stays open, and the next training doesn't join it."""
    with pytest.raises(RuntimeError, match="explodes"):
        fit(model(), TraceletCallback(exp_name="first"), Fail())
    fit(model(), TraceletCallback(exp_name="second"))
    assert [event.name for event in journal.events(RunStarted)] == ["first", "second"]
    assert journal.outcomes() == ["failed", "completed"]


def test_a_schedule_has_its_learning_rates(journal: Journal) -> None:
    """The learning rate is the one in use, whether a schedule or a callback sets it."""
    fit(model(), TraceletCallback(), keras.callbacks.LearningRateScheduler(lambda epoch: 0.5**epoch))
    assert [value for name, value, _ in journal.points() if name == "learning_rate"] == [1.0, 0.5, 0.25]
    assert journal.repeated() == []


def test_beside_a_summary_writer(journal: Journal, tmp_path: Path) -> None:
    """A SummaryWriter of the user's beside the callback is captured, and nothing comes twice."""
    writing = pytest.importorskip("tensorboardX").SummaryWriter(str(tmp_path / "board"))

    class Mine(keras.callbacks.Callback):  # type: ignore[misc, name-defined]
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            writing.add_scalar("mine", 0.5, epoch)

    fit(model(), TraceletCallback(), Mine())
    writing.close()
    assert journal.steps("mine") == journal.steps("loss") == [0, 1, 2]
    assert journal.repeated() == []


def test_an_evaluation_after_a_training_that_was_cut_off(journal: Journal) -> None:
    """What a `fit` that raised leaves behind keeps no later `evaluate` from being logged."""
    ours, made = TraceletCallback(), model()
    with tracelet.start_logging():
        with pytest.raises(RuntimeError, match="explodes"):
            fit(made, ours, Fail())
        made.evaluate(np.zeros((8, 4)), np.zeros((8, 1)), verbose=0, callbacks=[ours])
    assert journal.steps("test_loss") == [2]
    assert journal.steps("val_loss") == [0, 1]


def test_files_that_vanish_end_no_training(journal: Journal, tmp_path: Path) -> None:
    """A link to nothing where checkpoints are looked for is no file that was written."""
    (tmp_path / "model.keras").symlink_to(tmp_path / "none such")
    checkpoint = keras.callbacks.ModelCheckpoint(str(tmp_path / "{epoch}.keras"))
    with tracelet.start_logging():
        fit(model(), checkpoint, TraceletCallback(log_model=checkpoint))
    assert len(journal.models()) == EPOCHS
