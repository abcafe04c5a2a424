"""The demo's training: a classifier of handwritten digits, logged with a SummaryWriter as in any other script."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from tracelet.api import start_logging, stop_logging
from tracelet.cli._results import Result, log_results
from tracelet.cli._said import Clock, Log
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
        backend=backend,
        exp_name="digits",
        project=PROJECT,
        config=config,
        directory=directory / ".tracelet",
        capture=False,  # the demo counts what it says
    )
    writer = writer_class(str(folder / "tensorboard"))
    log = Log(writer, run)
    log.params(config)
    started = time.perf_counter()
    accuracy = _fit(log, hyperparameters, folder, track)
    ended = time.perf_counter()
    writer.close()
    log.finish_children(timeout)
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
        _fit(log, msgspec.structs.replace(hyperparameters, epochs=3), Path(folder), iter)
        writer.close()
        log.finish_children(0.0)
    return log.clocks["add_scalar"]


def _fit(
    log: Log, hyperparameters: Hyperparameters, folder: Path, track: Callable[[Iterable[int]], Iterable[int]]
) -> float:
    """Train, and log what comes of it; returns the accuracy on the test images."""
    import numpy as np
    from sklearn.datasets import load_digits
    from sklearn.metrics import recall_score
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
    log.use_dataset(digits.data, "digits", source="sklearn://load_digits", role="training")
    shuffle = np.random.default_rng(seed)
    step = 0
    frames = []
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
        log.show("histograms", "log_histogram", "weights/first layer", model.coefs_[0], step=epoch)
        log.log_console(f"epoch {epoch}: {accuracies['test']:.1%} of the test images recognised")
        frames.append(model.coefs_[0].copy())

    result = Result(model=model, images=test_images, labels=test_labels, frames=frames, step=step)
    log_results(log, result, folder)
    return float(accuracies["test"])
