"""How the program was started."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from tracelet._redaction import REDACTED, redacted_arguments
from tracelet._secrets import unknown

_LONGEST = 2_000


def command() -> str:
    """The command line as one would type it again, without secrets; "notebook …" in a notebook."""
    if in_notebook():
        name = _notebook()
        return f"notebook {name}".rstrip()
    given = list(getattr(sys, "orig_argv", ())) or ["python", *sys.argv]
    given[0] = os.path.basename(given[0])
    text = " ".join(one if one.endswith(REDACTED) else shlex.quote(one) for one in _without_secrets(given))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} … ({len(text) - _LONGEST:,} more characters)"


def invocation() -> dict[str, Any]:
    """What there is to know of it, for `environment.json`."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    module = "" if spec is None or spec.name == "__main__" else spec.name  # an archive's, or a folder's
    script = _script()
    found: dict[str, Any] = {
        "command": command(),
        "arguments": [] if in_notebook() else _without_secrets(sys.argv[1:]),
        "kind": "notebook" if in_notebook() else "module" if module else "script" if script else "console",
    }
    if module:
        found["module"] = module
    if script:
        found["script"] = script
    with suppress(OSError):  # it was deleted
        found["directory"] = os.getcwd()
    return found


def in_notebook() -> bool:
    """Whether the program is a kernel of Jupyter's, whose command line says nothing of the notebook."""
    kernel = sys.modules.get("ipykernel.kernelapp")
    application = getattr(kernel, "IPKernelApp", None)
    return application is not None and bool(application.initialized())


def _notebook() -> str:
    main = vars(sys.modules["__main__"])
    path = main.get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME") or ""
    return os.path.basename(str(path))


def _script() -> str:
    """The path of the script; of an archive or a folder that is run, its own."""
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    if not isinstance(path, str):
        return ""
    with suppress(OSError, ValueError):
        if os.path.isfile(path):
            return os.path.abspath(path)
        if sys.argv and os.path.isfile(sys.argv[0]):
            return os.path.abspath(sys.argv[0])
    return ""


def _without_secrets(arguments: Sequence[str]) -> list[str]:
    return redacted_arguments(map(unknown, arguments))
