"""The demo's training: a classifier of handwritten digits, logged with a SummaryWriter as in any other script."""

from __future__ import annotations

import importlib
import pickle
import statistics
import time
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from tracelet.api import start_logging, stop_logging
from tracelet.cli._content import Content
from tracelet.run import Run

PROJECT = "tracelet-demo"

_WRITERS = {"torch.utils.tensorboard": ("torch", "tensorboard"), "tensorboardX": ("tensorboardX",)}


class Hyperparameters(msgspec.Struct, frozen=True, kw_only=True):
    """What the training is told, and logs."""

    epochs: int
    seed: int
    hidden_units: int = 64
    batch_size: int = 32
    learning_rate: float = 0.001
    optimizer: str = "adam"


class Clock(msgspec.Struct):
    """How long something took, in seconds, call by call."""

    durations: list[float] = []

    @property
    def total(self) -> float:
        return sum(self.durations)

    @property
    def median(self) -> float:
        return statistics.median(self.durations)

    def time(self, function: Callable[..., object], *args: object) -> None:
        started = time.perf_counter()
        function(*args)
        self.durations.append(time.perf_counter() - started)


class Log:
    """A SummaryWriter and a run, with every call timed, and written down without Tracelet's help.

    Attributes:
        said: everything, as it has to be found in a backend.
        clocks: by method.
    """

    def __init__(self, writer: Any, run: Run) -> None:
        self.said = Content()
        self.clocks: dict[str, Clock] = {}
        self._writer = writer
        self._run = run

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.said.points[name, step, float(value)] += 1
        self._time(self._writer.add_scalar, name, value, step)

    def add_scalars(self, name: str, values: dict[str, float], step: int) -> None:
        self.said.points.update((f"{name}/{key}", step, float(value)) for key, value in values.items())
        self._time(self._writer.add_scalars, name, values, step)

    def log_text(self, name: str, text: str) -> None:
        self.said.texts[name, text] += 1
        self._time(self._run.log_text, name, text)

    def log_artifact(self, path: Path, name: str) -> None:
        self.said.files[name, path.read_bytes()] += 1
        self._time(self._run.log_artifact, path, name)

    def _time(self, method: Callable[..., object], *args: object) -> None:
        self.clocks.setdefault(method.__name__, Clock()).time(method, *args)


class Training(msgspec.Struct, kw_only=True):
    """What came of it.

    Attributes:
        run: finished.
        log: what was said, and how long that took.
        folder: with the TensorBoard files and the model.
        accuracy: on images that were not trained on, from 0 to 1.
        seconds: how long the training took, logging included.
        closing: how many seconds the end of the run took.
        without: `add_scalar` in a short training before, without a run.
    """

    run: Run
    log: Log
    folder: Path
    accuracy: float
    seconds: float
    closing: float
    without: Clock


def summary_writer() -> str | None:
    """The module of the SummaryWriter to use: torch's where it works, else tensorboardX's; None if there is none."""
    return next((module for module, needed in _WRITERS.items() if all(map(find_spec, needed))), None)


def train(
    directory: Path,
    backend: dict[str, dict[str, Any]],
    hyperparameters: Hyperparameters,
    timeout: float,
    track: Callable[[Iterable[int]], Iterable[int]],
) -> Training:
    """Train, and finish the run.

    Args:
        directory: for the runs, and for a new folder with the files of this training.
        backend: as for `start_logging`.
        timeout: how long to wait for the backend at the end, in seconds.
        track: shows how far the epochs are.
    """
    module = summary_writer()
    assert module is not None
    writer_class = importlib.import_module(module).SummaryWriter
    without = _rehearse(writer_class, hyperparameters)
    folder = directory / "tracelet-demo" / time.strftime("%Y%m%d-%H%M%S")
    config = msgspec.structs.asdict(hyperparameters)

    run = start_logging(
        backend=backend, exp_name="digits", project=PROJECT, config=config, directory=directory / ".tracelet"
    )
    writer = writer_class(str(folder / "tensorboard"))
    log = Log(writer, run)
    log.said.params.update((name, str(value)) for name, value in config.items())
    started = time.perf_counter()
    accuracy = _fit(log, hyperparameters, folder / "digits.pickle", track)
    ended = time.perf_counter()
    writer.close()
    stop_logging(timeout=timeout)
    return Training(
        run=run,
        log=log,
        folder=folder,
        accuracy=accuracy,
        seconds=ended - started,
        closing=time.perf_counter() - ended,
        without=without,
    )


def _rehearse(writer_class: Any, hyperparameters: Hyperparameters) -> Clock:
    """How long `add_scalar` takes by itself: measured in the same training, for a bit, before there is a run."""
    nowhere = Run(run_id="", name="rehearsal", project=PROJECT, directory=Path())
    with TemporaryDirectory() as folder:
        writer = writer_class(folder)
        log = Log(writer, nowhere)
        _fit(log, msgspec.structs.replace(hyperparameters, epochs=3), Path(folder, "digits.pickle"), iter)
        writer.close()
    return log.clocks["add_scalar"]


def _fit(
    log: Log, hyperparameters: Hyperparameters, file: Path, track: Callable[[Iterable[int]], Iterable[int]]
) -> float:
    """Train, log, and keep the model; returns the accuracy on the test images."""
    import numpy as np
    from sklearn.datasets import load_digits
    from sklearn.metrics import classification_report, recall_score
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier

    seed, size = hyperparameters.seed, hyperparameters.batch_size
    digits = load_digits()
    images, test_images, labels, test_labels = train_test_split(
        digits.data / 16.0, digits.target, stratify=digits.target, random_state=seed
    )
    model = MLPClassifier(
        hidden_layer_sizes=(hyperparameters.hidden_units,),
        solver=hyperparameters.optimizer,
        learning_rate_init=hyperparameters.learning_rate,
        random_state=seed,
    )
    shuffle = np.random.default_rng(seed)
    step = 0
    for epoch in track(range(hyperparameters.epochs)):
        order = shuffle.permutation(len(images))
        for batch in np.split(order, range(size, len(order), size)):
            model.partial_fit(images[batch], labels[batch], classes=digits.target_names)
            log.add_scalar("train/loss", model.loss_, step)
            log.add_scalar("train/accuracy", model.score(images[batch], labels[batch]), step)
            log.add_scalar("weights/norm", float(np.linalg.norm(model.coefs_[0])), step)
            step += 1
        predicted = model.predict(test_images)
        accuracies = {"train": model.score(images, labels), "test": model.score(test_images, test_labels)}
        recalls = recall_score(test_labels, predicted, average=None)
        log.add_scalars("accuracy", accuracies, epoch)
        log.add_scalars("recall", {f"digit_{digit}": recall for digit, recall in enumerate(recalls)}, epoch)

    log.log_text("classification_report.txt", classification_report(test_labels, predicted, zero_division=0.0))
    file.write_bytes(pickle.dumps(model))
    log.log_artifact(file, "model/digits.pickle")
    return float(accuracies["test"])
