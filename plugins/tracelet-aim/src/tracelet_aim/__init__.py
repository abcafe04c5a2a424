"""Delivers Tracelet runs to Aim: into a repository on this machine, or to an Aim tracking server."""

from tracelet_aim._backend import Aim
from tracelet_aim._options import Options

__all__ = ["Aim", "Options"]
