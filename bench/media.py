"""What an image, a histogram or a figure costs the caller, as a multiple of writing the same bytes to a file."""

from __future__ import annotations

import importlib
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

import tracelet
import tracelet.tensorboard
from bench._harness import Report, Row, main, scratch

METHOD = (
    "Medians of alternating calls of one process. The floor writes the array's bytes to a new file beside the journal, "
    "with neither sync nor encoding. Beyond the original: a captured add_image whose original does nothing."
)

_SIZES = {"256 x 256": (256, 256), "1920 x 1080": (1080, 1920), "3840 x 2160": (2160, 3840)}


def measure(quick: bool) -> Report:
    rounds = 3 if quick else 25
    rows: list[Row] = []
    with scratch() as directory:
        run = tracelet.start_logging(exp_name="media", directory=directory / "runs")
        try:
            for what, (height, width) in _SIZES.items():
                if not (quick and width > 1000):
                    rows += _image(run, directory, what, _picture(height, width), rounds)
            rows += _values(run, directory, rounds)
        finally:
            run.finish()
    return Report(benchmark="media", method=METHOD, rows=rows)


def _picture(height: int, width: int) -> Any:
    return (np.arange(height * width * 3) * 7 % 251).astype(np.uint8).reshape(height, width, 3)


def _image(run: Any, directory: Path, what: str, pixels: Any, rounds: int) -> list[Row]:
    calls = {"floor": _written(directory, pixels), "log_image": lambda: run.log_image("image", pixels)}
    name, writer = _writer(directory / "log")
    if writer is not None:
        calls["plain"] = _uncaptured(lambda: writer.add_image("image", pixels, 1, dataformats="HWC"))
    found = _medians(calls, rounds)
    size = f"{what} RGB, {pixels.nbytes / 1e6:.1f} MB"
    rows = [
        Row(what=f"{size}: the floor", figure=1.0, unit="x floor", note=_milliseconds(found["floor"])),
        _over(f"{size}: log_image", found["log_image"], found["floor"]),
    ]
    if writer is not None:
        added = _beyond_nothing(writer, pixels, rounds)
        writer.close()
        rows.append(_over(f"{size}: captured add_image beyond {name}'s", added, found["floor"]))
        share = 100 * added / found["plain"]
        rows.append(Row(what="  of the original's time", figure=share, unit="%", note=_milliseconds(found["plain"])))
    return rows


def _beyond_nothing(writer: Any, pixels: Any, rounds: int) -> float:
    """What capture takes around an original that does nothing: the difference of two encoders says nothing of it."""
    kind = type(writer)
    tracelet.tensorboard.uninstall()
    original = kind.add_image
    kind.add_image = _nothing
    tracelet.tensorboard.install()
    try:
        call = lambda: writer.add_image("image", pixels, 1, dataformats="HWC")  # noqa: E731
        return _medians({"captured": call}, rounds)["captured"]
    finally:
        tracelet.tensorboard.uninstall()
        kind.add_image = original
        tracelet.tensorboard.install()


def _nothing(
    self: object,
    tag: str,
    img_tensor: object,
    global_step: object = None,
    walltime: object = None,
    dataformats: str = "CHW",
) -> None:
    """In place of a writer's own `add_image`."""


def _values(run: Any, directory: Path, rounds: int) -> list[Row]:
    values = np.linspace(-1, 1, 1_000_000, dtype=np.float32)
    found = _medians(
        {"floor": _written(directory, values), "log_histogram": lambda: run.log_histogram("values", values)}, rounds
    )
    return [_over("1,000,000 float32 values: log_histogram", found["log_histogram"], found["floor"])]


def _writer(folder: Path) -> tuple[str, Any]:
    for module in ("torch.utils.tensorboard", "tensorboardX"):
        with suppress(ImportError):
            return module.partition(".")[0], importlib.import_module(module).SummaryWriter(str(folder))
    return "", None


def _uncaptured(call: Callable[[], object]) -> Callable[[], object]:
    def plain() -> None:
        with tracelet.tensorboard.uncaptured():
            call()

    return plain


def _written(directory: Path, array: Any) -> Callable[[], object]:
    numbers = count()

    def write() -> None:
        with (directory / f"floor-{next(numbers)}").open("wb") as file:
            file.write(memoryview(array).cast("B"))

    return write


def _medians(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """How long each takes, in seconds; the first round is not counted."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - began)
    return {name: statistics.median(found[1:]) for name, found in times.items()}


def _over(what: str, seconds: float, floor: float) -> Row:
    return Row(what=what, figure=seconds / floor, unit="x floor", note=_milliseconds(seconds))


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.2f} ms"


if __name__ == "__main__":
    main(measure)
