"""TensorBoard's vocabulary for Tracelet: a SummaryWriter of its own, and capture of torch's and tensorboardX's."""

from __future__ import annotations

from tracelet.tensorboard._capture import install, missed, uncaptured, uninstall
from tracelet.tensorboard._writer import SummaryWriter

__all__ = ["SummaryWriter", "install", "missed", "uncaptured", "uninstall"]
