"""TraceletLogger: Lightning trains for real, and all it logs is in the journal and in MLflow, once."""

# ruff: noqa: E402  (a framework is imported once it is known to be there)
from __future__ import annotations

import asyncio
import gc
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from arrivals import QUIET, Arrived, Journal, new_database

import tracelet
from tracelet.events import GraphLogged, HParamsLogged, ImageLogged, RunStarted

torch = pytest.importorskip("torch")
lightning = pytest.importorskip("lightning")
pytest.importorskip("numpy")

from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import DataLoader, TensorDataset

from tracelet.integrations.lightning import TraceletLogger

pytestmark = [
    *(pytest.mark.filterwarnings(rule) for rule in QUIET),
    pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec:FutureWarning"),  # Lightning 2.6 with torch 2.13
    pytest.mark.filterwarnings("ignore::lightning.pytorch.utilities.warnings.PossibleUserWarning"),
]

EPOCHS, BATCHES = 2, 4


class Net(lightning.LightningModule):  # type: ignore[misc, name-defined]
    """A line through points; `fail_at` is the step at which it raises."""

    def __init__(self, lr: float = 0.1, api_key: str = "geheim", fail_at: int | None = None) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(4, 1)

    def loss(self, batch: Any) -> Any:
        return self.layer(batch[0]).pow(2).mean()

    def training_step(self, batch: Any, index: int) -> Any:
        if self.global_step == self.hparams.fail_at:
            raise RuntimeError("the loss explodes")
        loss = self.loss(batch)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("val_loss", self.loss(batch))

    def test_step(self, batch: Any, index: int) -> None:
        self.log("test_loss", self.loss(batch))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), self.hparams.lr)


def data() -> Any:
    return DataLoader(TensorDataset(torch.randn(8 * BATCHES, 4)), batch_size=8)


def trainer(logger: Any, *callbacks: Any, **more: Any) -> Any:
    options = {"max_epochs": EPOCHS, "accelerator": "cpu", "devices": 1, "log_every_n_steps": 1} | more
    return lightning.Trainer(
        logger=logger,
        callbacks=list(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=bool(callbacks),
        **options,
    )


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


@pytest.mark.timeout(240)
def test_fit_and_test_are_one_run_in_mlflow(database: str, journal: Journal) -> None:
    """Parameters, every point, and the checkpoints with their scores arrive in one run that is finished."""
    logger = TraceletLogger({"mlflow": {"tracking_uri": database}}, "fit", "lightning fit")
    keep = ModelCheckpoint(monitor="val_loss", save_top_k=2, save_last=True)
    training = trainer(logger, keep)
    training.fit(Net(lr=0.25), data(), data())
    training.test(training.model, data(), verbose=False)
    arrived = Arrived(database, "lightning fit", journal)
    assert (arrived.name, arrived.status) == ("fit", "FINISHED")
    assert arrived.params["lr"] == "0.25"
    assert arrived.params["api_key"] == "<redacted>"
    assert arrived.points == sorted((name, float(value), step) for name, value, step in journal.points())
    assert journal.steps("train_loss") == list(range(EPOCHS * BATCHES))
    assert journal.steps("val_loss") == [3, 7]
    assert journal.steps("test_loss") == [8]
    assert journal.steps("epoch") == list(range(EPOCHS * BATCHES + 1))
    assert set(arrived.models) == {"epoch=0-step=4", "epoch=1-step=8", "last"}
    best = Path(keep.best_model_path).stem
    assert arrived.models[best].params["score"] == str(float(keep.best_model_score))
    assert "best" in arrived.models[best].params["aliases"]
    assert "last" in arrived.models["last"].params["aliases"]
    assert arrived.models[best].tags["tracelet.framework"] == "lightning"


def test_a_training_that_raises_is_failed(journal: Journal) -> None:
    """The run is finished as failed when the exception leaves fit, with what was logged, and with its checkpoints."""
    logger = TraceletLogger(exp_name="failing")
    with pytest.raises(RuntimeError, match="explodes"):
        trainer(logger, ModelCheckpoint()).fit(Net(fail_at=6), data(), data())
    assert journal.outcomes() == ["failed"]
    assert journal.steps("train_loss") == [0, 1, 2, 3, 4, 5]
    assert [model.step for model in journal.models()] == [4]
    assert tracelet.active_run() is None


def test_an_active_run_is_used_and_left_open(journal: Journal) -> None:
    """Nothing is begun and nothing finished: the run is the user's, and its config comes first."""
    with tracelet.start_logging(exp_name="mine", config={"lr": 0.5, "note": "x"}) as run:
        logger = TraceletLogger(exp_name="unused")
        training = trainer(logger)
        training.fit(Net(lr=0.1), data())
        training.test(training.model, data(), verbose=False)
        assert run.active
        assert logger.experiment is run
        assert logger.version == run.id
        run.log_metric("after", 1.0, 0)
    assert journal.outcomes() == ["completed"]
    assert len(journal.events(RunStarted)) == 1
    assert (journal.params()["lr"], journal.params()["api_key"]) == (0.5, "<redacted>")
    assert journal.steps("test_loss") == [8]


def test_each_logger_has_its_run(journal: Journal) -> None:
    """Trainings that follow each other, each with a logger of its own, are runs of their own."""
    for number in range(2):
        trainer(TraceletLogger(exp_name=f"trial {number}"), max_epochs=1).fit(Net(), data())
    assert [event.name for event in journal.events(RunStarted)] == ["trial 0", "trial 1"]
    assert len(journal.runs()) == 2
    assert journal.outcomes() == ["completed", "completed"]


def test_what_is_logged_after_the_training_goes_on_with_the_run(journal: Journal) -> None:
    """`logger.experiment` is a run again after fit: the same one, which ends with the next stage or the process."""
    logger = TraceletLogger(exp_name="later", config={"depth": 3}, tags={"stage": "draft"})
    trainer(logger, max_epochs=1).fit(Net(), data())
    first = logger.version
    logger.experiment.log_metric("afterwards", 1.0, 9)
    assert logger.experiment.id == first
    logger.finalize("success")
    assert len(journal.runs()) == 1
    assert [event.resumed for event in journal.events(RunStarted)] == [False, True]
    assert journal.params()["depth"] == 3
    assert journal.steps("afterwards") == [9]


@pytest.mark.parametrize("order", ["tensorboard first", "tracelet first"])
def test_nothing_comes_twice_beside_a_tensorboard_logger(journal: Journal, order: str, tmp_path: Path) -> None:
    """Lightning tells both loggers; the run has it once, and what the user tells TensorBoard as well."""
    board, logger = TensorBoardLogger(str(tmp_path / "board")), TraceletLogger()
    loggers = [board, logger] if order == "tensorboard first" else [logger, board]
    net = Net()
    training = trainer(loggers)

    class Shown(lightning.Callback):  # type: ignore[misc, name-defined]
        def on_train_batch_end(self, *_: Any) -> None:
            board.experiment.add_scalar("mine", 0.5, training.global_step)

    training.callbacks.append(Shown())
    training.fit(net, data(), data())
    assert journal.repeated() == []
    assert {name for name, _, _ in journal.points()} == {"train_loss", "val_loss", "epoch", "mine"}
    assert journal.steps("train_loss") == list(range(EPOCHS * BATCHES))
    assert journal.steps("mine") == list(range(1, EPOCHS * BATCHES + 1))
    assert journal.params() == {"lr": 0.1, "api_key": "<redacted>", "fail_at": None}
    assert journal.events(HParamsLogged) == []
    assert list((tmp_path / "board").rglob("events.out.*"))


def test_a_tensorboard_logger_alone_is_captured(journal: Journal, tmp_path: Path) -> None:
    """Before and after a training with the logger of ours, TensorBoard's alone brings everything once."""
    gc.collect()  # the loggers of other tests
    logger = TraceletLogger()
    trainer(logger, max_epochs=1).fit(Net(), data())
    assert "log_metrics" not in vars(TensorBoardLogger)
    with tracelet.start_logging(directory=tmp_path / "alone"):
        trainer(TensorBoardLogger(str(tmp_path / "board")), max_epochs=1).fit(Net(), data(), data())
    alone = Journal(tmp_path / "alone")
    assert alone.repeated() == [("epoch", 3)]  # as Lightning writes it: with the training, and with the validation
    assert alone.steps("train_loss") == list(range(BATCHES))
    assert alone.steps("val_loss") == [3]


def test_every_checkpoint_is_a_model_when_all_are_wanted(journal: Journal) -> None:
    """With log_model="all" each is logged as it is saved, also those that are removed later, with its step."""
    keep = ModelCheckpoint(every_n_train_steps=2, save_top_k=1, monitor="step", mode="max")
    trainer(TraceletLogger(log_model="all"), keep).fit(Net(), data())
    assert [model.step for model in journal.models()] == [2, 4, 6, 8]
    assert all((journal.runs()[0] / model.path).exists() for model in journal.models())


def test_a_checkpoint_that_is_overwritten_is_a_model_each_time(journal: Journal) -> None:
    """A file of one name is a new version of the model whenever it is written."""
    keep = ModelCheckpoint(filename="same", every_n_train_steps=4, enable_version_counter=False)
    trainer(TraceletLogger(log_model="all"), keep).fit(Net(), data())
    assert [(model.name, model.step) for model in journal.models()] == [("same", 4), ("same", 8)]


def test_a_link_is_no_model(journal: Journal) -> None:
    """With save_last="link" the last checkpoint is another name of one that is a model already."""
    keep = ModelCheckpoint(save_last="link", every_n_train_steps=4, save_top_k=-1)
    trainer(TraceletLogger(), keep).fit(Net(), data())
    assert Path(keep.last_model_path).is_symlink()
    assert [model.step for model in journal.models()] == [4, 8]


def test_no_checkpoint_is_a_model_when_none_is_wanted(journal: Journal) -> None:
    """With log_model=False they stay where Lightning writes them: in the run's folder below save_dir."""
    logger = TraceletLogger(log_model=False, project="vision")
    trainer(logger, ModelCheckpoint()).fit(Net(), data())
    assert journal.models() == []
    assert len(list(Path(logger.save_dir).rglob("*.ckpt"))) == 1
    assert Path(logger.save_dir) == Path(logger.root_dir) / str(logger.version)
    assert (logger.name, logger.log_dir) == ("vision", logger.save_dir)


def test_the_models_parts_are_shown_on_request(journal: Journal) -> None:
    """With log_graph=True the module's parts are logged when the training begins."""
    trainer(TraceletLogger(log_graph=True), max_epochs=1).fit(Net(), data())
    assert [event.name for event in journal.events(GraphLogged)] == ["Net"]


def test_the_experiment_is_the_run(journal: Journal) -> None:
    """Media go through `logger.experiment`, as with Lightning's own loggers."""

    class Showing(Net):
        def on_train_epoch_end(self) -> None:
            self.logger.experiment.log_image("weights", torch.rand(3, 4, 4), self.current_epoch)

    trainer(TraceletLogger()).fit(Showing(), data())
    assert [event.step for event in journal.events(ImageLogged)] == [0, 1]


def test_the_command_line_makes_the_logger(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """LightningCLI takes it by class path, with init_args and without, and again in the same folder."""
    pytest.importorskip("jsonargparse")
    from lightning.pytorch.cli import LightningCLI

    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # of what Lightning's own code uses

    class Data(lightning.LightningDataModule):  # type: ignore[misc, name-defined]
        def train_dataloader(self) -> Any:
            return data()

    quick = [
        "--trainer.max_epochs=1",
        "--trainer.log_every_n_steps=1",
        "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false",
    ]
    path = "--trainer.logger=tracelet.integrations.lightning.TraceletLogger"
    named = ["--trainer.logger.init_args.exp_name=by cli", "--trainer.logger.init_args.tags={stage: draft}"]
    for arguments in ([], named):
        monkeypatch.setattr(sys, "argv", ["train.py", "fit", *quick, path, *arguments])
        LightningCLI(Net, Data, seed_everything_default=False)
    assert [event.name for event in journal.events(RunStarted)][1] == "by cli"
    assert journal.outcomes() == ["completed", "completed"]
    assert journal.steps("train_loss") == [*range(BATCHES)] * 2


def test_other_ranks_say_nothing(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the rank is not 0, everything is taken and nothing begun."""
    from lightning.pytorch.utilities.rank_zero import rank_zero_only

    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger = TraceletLogger()
    logger.log_metrics({"loss": 0.5}, 1)
    logger.log_hyperparams({"lr": 0.1})
    logger.experiment.log_image("x", None)
    logger.finalize("success")
    assert (logger.version, journal.runs()) == (None, [])


def test_a_copy_goes_on_with_the_run(journal: Journal) -> None:
    """A logger that was pickled, as for other processes, knows the run and logs to it."""
    logger = TraceletLogger(exp_name="copied")
    logger.log_metrics({"loss": 0.5}, 1)
    copy = pickle.loads(pickle.dumps(logger))
    logger.finalize("success")
    copy.log_metrics({"loss": 0.25}, 2)
    copy.finalize("success")
    assert len(journal.runs()) == 1
    assert journal.steps("loss") == [1, 2]


def test_metrics_of_all_sorts(journal: Journal, caplog: pytest.LogCaptureFixture) -> None:
    """Tensors and nested mappings are taken; what is no number is left out with one warning, and no exception."""
    logger = TraceletLogger()
    for step in range(2):
        logger.log_metrics({"a": torch.tensor(0.5), "b": {"c": 1}, "d": [1, 2]}, step)
    logger.finalize("success")
    assert journal.points() == [("a", 0.5, 0), ("b/c", 1, 0), ("a", 0.5, 1), ("b/c", 1, 1)]
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["the metric 'd' is left out"]


def test_a_child_process_says_that_it_logs_nothing(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a process that multiprocessing started, as for ddp_spawn, nothing is logged, and that is said."""
    monkeypatch.setattr("multiprocessing.parent_process", lambda: object())
    logger = TraceletLogger()
    logger.log_metrics({"loss": 0.5}, 1)
    logger.log_metrics({"loss": 0.5}, 2)
    assert capsys.readouterr().err.count("nothing is logged in a process that multiprocessing started") == 1
    assert (logger.version, journal.runs()) == ("inert", [])


def test_an_interrupted_training_is_killed(journal: Journal) -> None:
    """Lightning says "failed" of Ctrl-C as well; the run says what it was."""
    logger = TraceletLogger()
    logger.log_metrics({"loss": 0.5}, 1)
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        logger.finalize("failed")
    assert journal.outcomes() == ["killed"]


def test_a_block_that_goes_on_after_its_run(journal: Journal) -> None:
    """In an open_run block whose run is finished already, everything is taken and nothing raised."""

    async def train() -> None:
        async with tracelet.open_run(exp_name="block") as run:
            logger = TraceletLogger()
            logger.log_metrics({"loss": 0.5}, 1)
            await run.finish()
            logger.log_metrics({"loss": 0.25}, 2)
            logger.finalize("success")

    asyncio.run(train())
    assert journal.steps("loss") == [1]
    assert journal.outcomes() == ["completed"]


def test_by_its_old_name(journal: Journal, tmp_path: Path) -> None:
    """A script that imports pytorch_lightning gets a logger of that package, with its TensorBoardLogger, once each."""
    pytest.importorskip("pytorch_lightning")
    (tmp_path / "train.py").write_text(
        textwrap.dedent(
            """
            import sys
            import pytorch_lightning, torch
            from pytorch_lightning.demos.boring_classes import BoringModel
            from tracelet.integrations.lightning import TraceletLogger

            assert issubclass(TraceletLogger, pytorch_lightning.loggers.Logger)
            assert "lightning.pytorch" not in sys.modules

            class Model(BoringModel):
                def training_step(self, batch, index):
                    loss = super().training_step(batch, index)["loss"]
                    self.log("train_loss", loss)
                    return loss

            loggers = [pytorch_lightning.loggers.TensorBoardLogger("board"), TraceletLogger()]
            options = {"max_epochs": 1, "limit_train_batches": 3, "limit_val_batches": 0, "log_every_n_steps": 1}
            trainer = pytorch_lightning.Trainer(logger=loggers, accelerator="cpu", enable_progress_bar=False, **options)
            trainer.fit(Model())
            """
        )
    )
    command = [sys.executable, "-W", "ignore", "train.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert journal.steps("train_loss") == [0, 1, 2]
    assert journal.repeated() == []
