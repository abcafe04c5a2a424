"""Delivers Tracelet runs to ClearML: to a server over its REST API, or into a folder for `import_offline_session`."""

from tracelet_clearml._backend import ClearML
from tracelet_clearml._options import Options

__all__ = ["ClearML", "Options"]
