"""A callback for the Trainer of Hugging Face's Transformers: `Trainer(…, callbacks=[TraceletCallback("mlflow")])`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Unpack
from weakref import WeakSet

from transformers import TrainerCallback
from transformers.integrations import TensorBoardCallback

from tracelet._settings import Backends
from tracelet.integrations._muted import Muted
from tracelet.integrations._said import Epochs, declare, log_values
from tracelet.integrations._session import Session, StartOptions

_callbacks: WeakSet[TraceletCallback] = WeakSet()


def _also_ours(_: object, args: object, *__: Any, **___: Any) -> bool:
    """Whether the Trainer that calls a TensorBoardCallback has a callback of ours as well."""
    return any(callback.serves(args) for callback in tuple(_callbacks))


def _perhaps_ours(_: object, args: object, *__: Any, **___: Any) -> bool:
    """As above, or may have: one that was added to it later is told of it after the TensorBoardCallback is."""
    return any(callback.serves(args) or callback.waits for callback in tuple(_callbacks))


_board = Muted(TensorBoardCallback, ("on_log",), _also_ours)
_board_begin = Muted(TensorBoardCallback, ("on_train_begin",), _perhaps_ours)


class TraceletCallback(TrainerCallback):  # type: ignore[misc]
    """Logs what the Trainer logs to the active run; without one, to a run of its own.

    Metrics have the names that the Trainer's own TensorBoardCallback gives them: "train/loss", "eval/loss", "test/loss"
    (of `predict`). Parameters are those of the TrainingArguments, and of the model's configuration as "model/…".

    A run of its own begins with the training and is finished with it; an evaluation or prediction that follows goes on
    with the same run. A training that raises leaves it open, to fail with the script or with the next training. To log
    before or after the training as well, begin the run yourself with `tracelet.start_logging`.

    A TensorBoardCallback beside this one (`report_to="tensorboard"`) writes as ever, and what it writes arrives once.

    Args:
        backend, exp_name, project, and the others: of `tracelet.start_logging`, for a run of its own.
        log_model: whether checkpoints become models of the run, each as it is saved. `save_only_model=True` in the
            TrainingArguments keeps the optimizer out of them.
    """

    def __init__(
        self,
        backend: Backends = None,
        exp_name: str | None = None,
        project: str | None = None,
        *,
        log_model: bool = True,
        **more: Unpack[StartOptions],
    ) -> None:
        self._session = Session(backend, exp_name, project, **more)
        self._log_model = log_model
        self._epochs = Epochs("train/epoch")
        self._training = False
        self._served: list[object] = []
        _callbacks.add(self)
        for board in (_board, _board_begin):
            board.mute(self)

    @property
    def waits(self) -> bool:
        """Whether no Trainer is known that this callback is of."""
        return not self._served

    def serves(self, args: object) -> bool:
        """Whether this callback is of the Trainer with these TrainingArguments."""
        return any(served is args for served in self._served)

    def on_init_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Take note of whose callback this is."""
        self._served.append(args)

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Begin, and state the hyperparameters."""
        self._training = True
        if not self.serves(args):
            self._served.append(args)
        if not state.is_world_process_zero:
            return
        if state.is_hyper_param_search:  # each trial is a training of its own
            self._session.renew()
        run = self._session.begin()
        declare(run, args.to_dict())
        config = getattr(model, "config", None)
        if config is not None:
            declare(run, {"model": config.to_dict() if hasattr(config, "to_dict") else config})

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        """Log what the Trainer logs."""
        if state.is_world_process_zero and logs:
            values = self._epochs.once(_renamed(logs), state.global_step)
            log_values(self._session.run, values, state.global_step)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Log the checkpoint that was just saved."""
        folder = Path(args.output_dir, f"checkpoint-{state.global_step}")
        if self._log_model and state.is_world_process_zero and folder.exists():
            best = state.best_model_checkpoint is not None and Path(state.best_model_checkpoint) == folder
            about = {"score": state.best_metric, "monitor": args.metric_for_best_model, "aliases": ["best"]}
            self._session.run.log_model(
                folder,
                folder.name,
                step=state.global_step,
                framework="transformers",
                metadata=about if best else {},
            )

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Finish the run, if it is the callback's own."""
        self._training = False
        self._over(state)

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Finish, after an evaluation outside of training; its metrics came with `on_log`."""
        self._over(state)

    def on_predict(self, args: Any, state: Any, control: Any, metrics: Mapping[str, Any], **_: Any) -> None:
        """Log the metrics of a prediction, which the Trainer does not."""
        if state.is_world_process_zero and metrics:
            log_values(self._session.run, _renamed(metrics), state.global_step)
        self._over(state)

    def _over(self, state: Any) -> None:
        if state.is_world_process_zero and not self._training:
            self._session.finish()


def _renamed(logs: Mapping[str, Any]) -> dict[str, Any]:
    """The names that TensorBoardCallback gives them: "eval_loss" is "eval/loss", and "loss" is "train/loss"."""
    return {_name(key): value for key, value in logs.items()}


def _name(key: str) -> str:
    subset, _, rest = key.partition("_")
    return f"{subset}/{rest}" if rest and subset in ("eval", "test") else f"train/{key}"
