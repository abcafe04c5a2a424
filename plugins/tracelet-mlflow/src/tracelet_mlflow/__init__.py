"""Delivers Tracelet runs to MLflow: over HTTP to a tracking server, or straight into an SQL store."""

from tracelet_mlflow._backend import MLflow
from tracelet_mlflow._options import Options

__all__ = ["MLflow", "Options"]
