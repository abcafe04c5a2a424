"""What the demo shows of a trained classifier: something of every kind, each for what it is good for."""

from __future__ import annotations

import pickle
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from tracelet.cli._said import Log

_SIDE = 8  # of a digit's image, in pixels
_ENLARGED = 8
_RATE = 8_000


class Result(msgspec.Struct, kw_only=True):
    """A trained classifier, and how it got there.

    Attributes:
        images: the test images, (n, 64), from 0 to 1.
        labels: (n,).
        frames: the first layer's weights (64, units) after each epoch.
        step: the number of training steps.
    """

    model: Any
    images: Any
    labels: Any
    frames: list[Any]
    step: int


def log_results(log: Log, result: Result, folder: Path) -> None:
    """Log them; files are put in the folder."""
    import numpy as np
    from sklearn.metrics import classification_report, confusion_matrix

    model, images, labels, step = result.model, result.images, result.labels, result.step
    predicted = model.predict(images)
    sure = model.predict_proba(images)
    report = classification_report(labels, predicted, zero_division=0.0)
    log.set_tags({"task": "classification", "data": "digits"})
    log.set_note(f"# Handwritten digits\n\n{np.mean(predicted == labels):.1%} of {len(labels)} test images recognised.")
    log.log_text("classification_report.txt", report)

    shown = np.argsort(sure.max(axis=1))[:8]
    captions = [f"{labels[at]} taken for {predicted[at]}" for at in shown]
    log.show(
        "images",
        "log_image",
        "test/least sure",
        images[shown].reshape(-1, _SIDE, _SIDE, 1),
        step=step,
        caption=captions,
    )
    sheet, boxes = _on_one_sheet(images[shown])
    wrong = [at for at, image in enumerate(shown) if labels[image] != predicted[image]]
    log.show(
        "images",
        "log_image",
        "test/mistaken",
        sheet,
        step=step,
        boxes=boxes[wrong],
        labels=[str(predicted[shown[at]]) for at in wrong],
    )
    log.show("figures", "log_figure", "confusion", _Confusion(confusion_matrix(labels, predicted)), step=step)
    rows = [[int(at), int(labels[at]), int(predicted[at]), float(sure[at].max())] for at in shown]
    log.show("tables", "log_table", "least sure", rows, step=step, columns=["image", "digit", "taken for", "sure"])
    log.show("curves", "log_pr_curve", "precision and recall of 8", labels == 8, sure[:, 8], step=step)
    hidden = np.maximum(images @ model.coefs_[0] + model.intercepts_[0], 0.0)[:200]
    log.show(
        "embeddings",
        "log_embedding",
        "hidden layer",
        hidden,
        step=step,
        labels=np.stack([labels, predicted], axis=1)[:200],
        columns=["digit", "taken for"],
        images=images[:200].reshape(-1, _SIDE, _SIDE),
    )
    log.show("tensors", "log_tensor", "weights/last layer", model.coefs_[-1], step=step)
    log.show("meshes", "log_mesh", "test images", _in_space(images), step=step, colors=_colors(labels))
    log.show("video", "log_video", "weights while training", _film(result.frames), step=step, fps=5)
    log.show("audio", "log_audio", "loss as a tone", _tone(model.loss_curve_), step=step, sample_rate=_RATE)
    log.show("graphs", "log_graph", "layers", _layers(model), step=step)

    log.log_hparams(
        {"hidden_units": len(model.coefs_[-1]), "optimizer": model.solver},
        {"trial/accuracy": float(np.mean(predicted == labels))},
        step,
        domains={"hidden_units": [16, 64, 256], "optimizer": ["adam", "sgd"]},
        name="demo",
    )
    log.set_layout(
        {
            "training": {"loss": ("Multiline", ["train/loss"]), "accuracy": ("Multiline", ["accuracy/.*"])},
            "recall": {"of each digit": ("Multiline", ["recall/digit_.*"])},
        }
    )

    place = folder / "model"
    place.mkdir(parents=True, exist_ok=True)
    (place / "digits.pickle").write_bytes(pickle.dumps(model))
    (place / "classes.json").write_bytes(msgspec.json.encode(model.classes_.tolist()))
    (folder / "first-layer.bin").write_bytes(model.coefs_[0].tobytes())
    log.log_artifact(folder / "first-layer.bin", "weights/first-layer.bin")
    log.log_model(place, "digits", framework="sklearn")
    log.register_model("tracelet-demo-digits", "newest")
    for half, part in (("first half", slice(None, None, 2)), ("second half", slice(1, None, 2))):
        log.child(half, {"accuracy": float(np.mean(predicted[part] == labels[part]))})


def _on_one_sheet(images: Any) -> tuple[Any, Any]:
    """Eight images on one, four in a row and each pixel enlarged; and the box around each."""
    import numpy as np

    size = _SIDE * _ENLARGED
    tiles = images.reshape(2, 4, _SIDE, _SIDE).transpose(0, 2, 1, 3).reshape(2 * _SIDE, 4 * _SIDE)
    corners = np.array([(column * size, row * size) for row in range(2) for column in range(4)])
    return tiles.repeat(_ENLARGED, axis=0).repeat(_ENLARGED, axis=1), np.hstack([corners, corners + size - 1])


class _Confusion:
    """A confusion matrix as a figure of plotly's, made without plotly."""

    def __init__(self, matrix: Any) -> None:
        self._matrix = matrix

    def to_plotly_json(self) -> dict[str, Any]:
        heatmap = {"type": "heatmap", "z": self._matrix.tolist(), "colorscale": "Blues"}
        axes = {"xaxis": {"title": {"text": "taken for"}}, "yaxis": {"title": {"text": "digit"}}}
        return {"data": [heatmap], "layout": {"title": {"text": "confusion"}, **axes}}

    def to_json(self) -> str:
        return msgspec.json.encode(self.to_plotly_json()).decode()


def _in_space(images: Any) -> Any:
    """The three directions in which the images differ most."""
    import numpy as np

    centred = images - images.mean(axis=0)
    return centred @ np.linalg.svd(centred, full_matrices=False)[2][:3].T


def _colors(labels: Any) -> Any:
    """One colour for each digit."""
    import numpy as np

    return np.stack([labels * 28, 255 - labels * 28, (labels * 97) % 256], axis=1).astype(np.uint8)


def _film(frames: list[Any]) -> Any:
    """Each epoch's weights of eight units by eight, as images side by side: (frames, height, width)."""
    import numpy as np

    units = np.stack(frames)[:, :, :64]
    count = units.shape[2] // _SIDE
    tiles = units.reshape(len(frames), _SIDE, _SIDE, count, _SIDE)[:, :, :, :count]
    film = tiles.transpose(0, 3, 1, 4, 2).reshape(len(frames), count * _SIDE, _SIDE * _SIDE)
    low, high = film.min(), film.max()
    return ((film - low) / ((high - low) or 1.0)).astype(np.float32)


def _tone(losses: list[float]) -> Any:
    """The loss as one second of a tone that falls with it."""
    import numpy as np

    pitch = 200 + 600 * np.interp(np.linspace(0, 1, _RATE), np.linspace(0, 1, len(losses)), losses) / max(losses)
    return (0.3 * np.sin(2 * np.pi * np.cumsum(pitch) / _RATE)).astype(np.float32)


def _layers(model: Any) -> dict[str, Any]:
    """The network's layers as a graph."""
    sizes = [layer.shape[0] for layer in model.coefs_] + [model.coefs_[-1].shape[1]]
    names = [f"layer {number}" for number in range(len(sizes))]
    nodes = [{"id": name, "op": "Dense", "label": f"{size} units"} for name, size in zip(names, sizes, strict=True)]
    return {"nodes": nodes, "edges": list(pairwise(names))}
