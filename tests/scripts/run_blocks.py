"""Runs scripts, each as the main module of a fresh copy of this process, which has imported what most of them need.

Requests are lines of JSON on standard input, answers on standard output. A copy ends as an interpreter does, with its
exit hooks, since it is this module's code that ends.
"""

from __future__ import annotations

import json
import os
import sys
import types
from typing import Any

import anyio._backends._asyncio
import anyio.to_thread  # noqa: F401


def serve() -> dict[str, Any]:
    """Answer requests; in a copy, return the one that it is for."""
    for line in sys.stdin.buffer:
        request: dict[str, Any] = json.loads(line)
        process = os.fork()
        if not process:
            return request
        _, status = os.waitpid(process, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()
    sys.exit()


asked = serve()
output = os.open(asked["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
nothing = os.open(os.devnull, os.O_RDONLY)
for target, source in ((0, nothing), (1, output), (2, output)):
    os.dup2(source, target)
os.chdir(asked["folder"])
os.environ.clear()
os.environ.update(asked["environment"])
sys.path[0] = asked["folder"]
sys.argv = [asked["script"]]
main = types.ModuleType("__main__")
main.__file__ = asked["script"]
sys.modules["__main__"] = main
with open(asked["script"], encoding="utf-8") as file:
    code = compile(file.read(), asked["script"], "exec")
exec(code, main.__dict__)
