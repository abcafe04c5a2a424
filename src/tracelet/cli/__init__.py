"""The command line."""

from tracelet.cli._app import main

__all__ = ["main"]
