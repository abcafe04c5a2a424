"""Trains a classifier on scikit-learn's digits and shows everything in TensorBoard.

As people write such scripts: it knows of nothing but its SummaryWriter.
"""

import os
import tempfile

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

try:
    from torch.utils.tensorboard import SummaryWriter
except ImportError:
    from tensorboardX import SummaryWriter

EPOCHS = 5


def main() -> None:
    digits = load_digits()
    images, labels = digits.images / 16.0, digits.target
    train, val = slice(0, 1200), slice(1200, None)
    params = {"hidden": 32, "lr": 0.01, "optimizer": "adam"}
    model = MLPClassifier((params["hidden"],), learning_rate_init=params["lr"], random_state=0)

    logs = os.path.join(tempfile.mkdtemp(), "digits")
    writer = SummaryWriter(logs)
    val_writer = SummaryWriter(os.path.join(logs, "val"))
    writer.add_custom_scalars({"training": {"loss": ["Multiline", ["loss", "accuracy/.*"]]}})
    writer.add_text("setup", "a *small* perceptron")
    for epoch in range(EPOCHS):
        model.partial_fit(images[train].reshape(1200, -1), labels[train], classes=np.arange(10))
        accuracies = {
            "train": model.score(images[train].reshape(1200, -1), labels[train]),
            "val": model.score(images[val].reshape(-1, 64), labels[val]),
        }
        writer.add_scalar("loss", model.loss_, epoch)
        val_writer.add_scalar("errors", 1 - accuracies["val"], epoch)
        writer.add_scalars("accuracy", accuracies, epoch)
        for number, weights in enumerate(model.coefs_):
            writer.add_histogram(f"weights/{number}", weights, epoch)

    sure = model.predict_proba(images[val].reshape(-1, 64))
    predicted = sure.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels[val])[:8]
    writer.add_images("wrong", images[val][wrong][:, None], EPOCHS)
    writer.add_image("first", images[0], EPOCHS, dataformats="HW")
    writer.add_image_with_boxes(
        "where",
        np.stack([images[0]] * 3),
        np.array([[1, 1, 6, 7]]),
        EPOCHS,
        labels=[str(labels[0])],
    )
    figure, axes = plt.subplots(figsize=(3, 2))
    axes.plot(model.loss_curve_)
    writer.add_figure("loss curve", figure, EPOCHS)
    writer.add_pr_curve("is it a 3", labels[val] == 3, sure[:, 3], EPOCHS)
    writer.add_embedding(images[val][:40].reshape(40, 64), metadata=list(labels[val][:40]), global_step=EPOCHS)
    corners = np.array([[[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]], dtype=np.float32)
    writer.add_mesh("tetrahedron", corners, faces=np.array([[[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]]]))
    writer.add_hparams(params, {"final/accuracy": accuracies["val"]})
    writer.close()
    val_writer.close()


if __name__ == "__main__":
    main()
