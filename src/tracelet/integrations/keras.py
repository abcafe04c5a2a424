"""A callback for Keras 3: `model.fit(…, callbacks=[TraceletCallback("mlflow")])`."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Unpack

import keras

from tracelet._settings import Backends
from tracelet.integrations._said import declare, log_values
from tracelet.integrations._session import Session, StartOptions
from tracelet.integrations._written import Written


class TraceletCallback(keras.callbacks.Callback):  # type: ignore[misc]
    """Logs what `fit` and `evaluate` report to the active run; without one, to a run of its own.

    Metrics have Keras's names, at the epoch as their step: "loss", "val_loss", and "learning_rate". Those of batches
    are "batch_loss" and the like, at the number of the batch since training began; those of an `evaluate` of its own
    are "test_loss" and the like, at the epoch that was reached. Parameters are the optimizer's configuration, the loss,
    and what Keras tells of `fit`, where the batch size is missing: `config={"batch_size": 32}` states it.

    A run of its own begins with the training and is finished with it; an evaluation that follows goes on with the same
    run. A training that raises leaves it open, to fail with the script or with the next training.

    Args:
        backend, exp_name, project, and the others: of `tracelet.start_logging`, for a run of its own.
        log_model: True makes the trained model a model of the run. A `ModelCheckpoint`, or several, make the files that
            these write models of the run, each version of a file as the epoch ends, and all at the end.
        log_batches: log the metrics of every so many batches; 0 logs none.
    """

    def __init__(
        self,
        backend: Backends = None,
        exp_name: str | None = None,
        project: str | None = None,
        *,
        log_model: bool | keras.callbacks.ModelCheckpoint | list[keras.callbacks.ModelCheckpoint] = False,
        log_batches: int = 0,
        **more: Unpack[StartOptions],
    ) -> None:
        super().__init__()
        self._session = Session(backend, exp_name, project, **more)
        self._log_model = log_model is True
        given = [] if isinstance(log_model, bool) else log_model if isinstance(log_model, list) else [log_model]
        self._written = Written([checkpoint.filepath for checkpoint in given])
        self._every = log_batches
        self._batch = self._epoch = 0
        self._training = False
        if log_batches:  # only then: Keras waits for each batch where a callback wants to know of it
            self.on_train_batch_end = self._log_batch

    def set_params(self, params: Any) -> None:
        """Keras begins something, after whatever became of what it did before."""
        super().set_params(params)
        self._training = False

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Begin, and state the hyperparameters."""
        self._training, self._batch, self._epoch = True, 0, 0
        self._written.begin()
        about: dict[str, Any] = {name: value for name, value in (self.params or {}).items() if name != "verbose"}
        optimizer, loss = getattr(self.model, "optimizer", None), getattr(self.model, "loss", None)
        if optimizer is not None:
            about["optimizer"] = optimizer.get_config()
        if loss is not None:
            about["loss"] = getattr(loss, "name", None) or getattr(loss, "__name__", loss)
        declare(self._session.begin(), about)

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Log what was written in the epoch before, also by callbacks that come after this one."""
        self._log_written()
        self._epoch = epoch

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Log the metrics of the epoch, and the learning rate."""
        log_values(self._session.run, self._learning_rate() | dict(logs or {}), epoch)

    def on_test_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Log the metrics of an evaluation that is not a part of `fit`, where they come with the epoch."""
        if not self._training:
            log_values(self._session.run, {f"test_{name}": value for name, value in (logs or {}).items()}, self._epoch)
            self._session.finish()

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Log the models that are to be logged, and finish the run if it is the callback's own."""
        self._log_written()
        if self._log_model:
            name = self.model.name
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, f"{name}.keras")
                self.model.save(path)
                self._session.run.log_model(path, name, step=self._epoch, framework="keras")
        self._training = False
        self._session.finish()

    def _log_batch(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        if self._batch % self._every == 0:
            values = {f"batch_{name}": value for name, value in (logs or {}).items()}
            log_values(self._session.run, values, self._batch)
        self._batch += 1

    def _log_written(self) -> None:
        for path in self._written.take():
            self._session.run.log_model(path, path.stem, step=self._epoch, framework="keras")

    def _learning_rate(self) -> dict[str, Any]:
        rate = getattr(getattr(self.model, "optimizer", None), "learning_rate", None)
        return {} if rate is None else {"learning_rate": float(keras.ops.convert_to_numpy(rate))}
