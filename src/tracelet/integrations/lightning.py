"""A logger for Lightning: `Trainer(logger=TraceletLogger(backend="mlflow"))`."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TypeVar

from tracelet.backend import Outcome
from tracelet.integrations._checkpoints import Checkpoints
from tracelet.integrations._muted import Muted
from tracelet.integrations._said import Epochs, declare, log_values
from tracelet.integrations._session import BackendNames, Session
from tracelet.run import AsyncRun, Run, outcome_of


def _by_its_old_name() -> bool:
    """Whether it is the package pytorch_lightning that the script uses; `lightning` has the same classes once more."""
    if "lightning.pytorch" in sys.modules:
        return False
    return "pytorch_lightning" in sys.modules or (not find_spec("lightning") and bool(find_spec("pytorch_lightning")))


if _by_its_old_name():
    from pytorch_lightning.loggers.logger import Logger, rank_zero_experiment
    from pytorch_lightning.loggers.tensorboard import TensorBoardLogger
    from pytorch_lightning.utilities.rank_zero import rank_zero_only
else:
    from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment
    from lightning.pytorch.loggers.tensorboard import TensorBoardLogger
    from lightning.pytorch.utilities.rank_zero import rank_zero_only

F = TypeVar("F", bound=Callable[..., Any])
_first_rank_only: Callable[[F], F] = rank_zero_only
_nothing_elsewhere: Callable[[F], F] = rank_zero_experiment

_board = Muted(TensorBoardLogger, ("log_metrics", "log_hyperparams"))
_board_graph = Muted(TensorBoardLogger, ("log_graph",))


class TraceletLogger(Logger):  # type: ignore[misc]
    """Logs what Lightning logs to the active run; without one, to a run of its own.

    A run of its own begins at first use and is finished when Lightning finalizes the logger, at the end of each of fit,
    validate, test and predict, as failed if that raised. What comes later (test after fit, or `logger.experiment`) goes
    on with the same run. To log between stages without that, or for many short stages, begin the run yourself with
    `tracelet.start_logging`.

    A TensorBoardLogger beside this one writes as ever; what Lightning gives to both arrives in the run once. What is
    said to its `experiment` arrives as well.

    Args:
        backend, exp_name, project, config, tags, run_id, resume, host, directory, strict, defer, mode, capture, quota:
            of `tracelet.start_logging`, for a run of its own.
        log_model: which checkpoints become models of the run: "all", each as it is saved; True, those that are still
            there at the end of a stage; False, none.
        log_graph: show the parts of the model.
        save_dir: the folder in which each run gets one of its own, for checkpoints and LightningCLI's config.
    """

    def __init__(
        self,
        backend: BackendNames = None,
        exp_name: str | None = None,
        project: str | None = None,
        *,
        config: dict[str, Any] | None = None,
        tags: dict[str, str] | None = None,
        run_id: str | None = None,
        resume: Literal["allow", "must", "never"] | None = None,
        host: Literal["process", "thread"] | None = None,
        directory: str | None = None,
        strict: bool | None = None,
        defer: bool | None = None,
        mode: Literal["online", "offline", "disabled"] | None = None,
        capture: bool | list[str] | dict[str, bool] | None = None,
        quota: int | str | None = None,
        log_model: Literal["all"] | bool = True,
        log_graph: bool = False,
        save_dir: str = "tracelet_logs",
    ) -> None:
        super().__init__()
        self._session = Session(
            backend,
            exp_name,
            project,
            config=config,
            tags=tags,
            run_id=run_id,
            resume=resume,
            host=host,
            directory=directory,
            strict=strict,
            defer=defer,
            mode=mode,
            capture=capture,
            quota=quota,
        )
        self._log_model = log_model
        self._log_graph = log_graph
        self._save_dir = os.fspath(save_dir)
        self._used: Run | AsyncRun | None = None
        self._epochs = Epochs("epoch")
        self._checkpoints = Checkpoints()
        self._unmute: list[Callable[[], object]] = []

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_used": None, "_unmute": []}

    @property
    @_nothing_elsewhere
    def experiment(self) -> Run | AsyncRun:
        """The run, for what Lightning doesn't log: `self.logger.experiment.log_image(…)`."""
        run = self._used = self._session.run
        if not self._unmute:
            boards = (_board, _board_graph) if self._log_graph else (_board,)
            self._unmute = [board.mute(self) for board in boards]
        return run

    @property
    def name(self) -> str | None:
        """The run's project; None before there is a run."""
        return None if self._used is None else self._used.project

    @property
    def version(self) -> str | None:
        """The run's id; None before there is a run."""
        return None if self._used is None else self._used.id or self._used.name

    @property
    def save_dir(self) -> str:
        """This run's folder for checkpoints and the like, a different one for each run."""
        return os.path.join(self._save_dir, self.version or "")

    @property
    def root_dir(self) -> str:
        """The folder of all runs' folders."""
        return self._save_dir

    @property
    def log_dir(self) -> str:
        """As `save_dir`."""
        return self.save_dir

    @_first_rank_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log metrics by the names that Lightning has for them; mappings are flattened with "/"."""
        log_values(self.experiment, self._epochs.once(metrics, step), step)

    @_first_rank_only
    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        """State hyperparameters that the run has not got already; what is called a secret or token is redacted."""
        declare(self.experiment, _mapping(params))

    @_first_rank_only
    def log_graph(self, model: Any, input_array: Any = None) -> None:
        """Show the parts of the model, if that was asked for."""
        if self._log_graph:
            self.experiment.log_graph(type(model).__name__, model)

    @_first_rank_only
    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        """Take note of the checkpoints that there are now, and log them if that is wanted at once."""
        if self._log_model is not False:
            self._checkpoints.note(checkpoint_callback)
            if self._log_model == "all" or checkpoint_callback.save_top_k == -1:  # where none is removed, none waits
                self._log_checkpoints()

    @_first_rank_only
    def save(self) -> None:
        """Does nothing: what was logged is in the run's journal already."""

    @_first_rank_only
    def finalize(self, status: str) -> None:
        """Log the checkpoints, and finish the run if it is the logger's own: as failed, unless all went well."""
        if self._used is None:
            return
        self._log_checkpoints()
        while self._unmute:
            self._unmute.pop()()
        if status in ("success", "finished"):
            self._session.finish()
        else:
            error = sys.exc_info()[1]
            self._session.finish(Outcome.FAILED if error is None else outcome_of(error))

    def _log_checkpoints(self) -> None:
        for checkpoint in self._checkpoints.take():
            self.experiment.log_model(
                checkpoint.path,
                Path(checkpoint.path).stem,
                step=checkpoint.step,
                framework="lightning",
                metadata=checkpoint.metadata,
            )


def _mapping(params: Any) -> Mapping[Any, Any]:
    if isinstance(params, Namespace):
        return vars(params)
    return params if isinstance(params, Mapping) else {"params": params}
