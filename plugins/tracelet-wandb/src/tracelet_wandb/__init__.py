"""Delivers Tracelet runs to Weights & Biases, online or into W&B's own offline files."""

from tracelet_wandb._backend import WandB
from tracelet_wandb._options import Options

__all__ = ["Options", "WandB"]
