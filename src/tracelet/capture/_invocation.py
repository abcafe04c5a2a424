"""How the program was started."""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import suppress
from typing import Any

from tracelet._redaction import REDACTED, redacted_arguments

_LONGEST = 2_000


def command() -> str:
    """The command line as one would type it again, without secrets; "notebook …" in a notebook."""
    if in_notebook():
        name = _notebook()
        return f"notebook {name}".rstrip()
    given = list(getattr(sys, "orig_argv", ())) or ["python", *sys.argv]
    given[0] = os.path.basename(given[0])
    text = " ".join(one if one.endswith(REDACTED) else shlex.quote(one) for one in redacted_arguments(given))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} … ({len(text) - _LONGEST:,} more characters)"


def invocation() -> dict[str, Any]:
    """What there is to know of it, for `environment.json`."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    found: dict[str, Any] = {
        "command": command(),
        "arguments": [] if in_notebook() else redacted_arguments(sys.argv[1:]),
        "kind": "notebook" if in_notebook() else "module" if spec is not None else "script" if _script() else "console",
    }
    if spec is not None:
        found["module"] = spec.name
    if _script():
        found["script"] = _script()
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
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    return os.path.abspath(path) if isinstance(path, str) else ""
