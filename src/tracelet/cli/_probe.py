"""Asking a backend whether it can be delivered to: in a process of its own, which may hang, crash, or take long."""

from __future__ import annotations

import inspect
import os
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Any

import msgspec

from tracelet._discovery import Target, find
from tracelet._redaction import redacted_text
from tracelet.checks import Check, ok, problem

_CODE = "from tracelet.cli._probe import answer; answer()"


class _Question(msgspec.Struct):
    """What the process is told on its standard input, where no other process can read it."""

    backend: str
    options: dict[str, Any]
    path: list[str]


class Probe:
    """A backend that is being asked."""

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        question = _Question(name, dict(options), [os.path.abspath(entry) for entry in sys.path])
        # Files and no pipes: a pipe ends only when the last process does that an SDK has started, such as a service.
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - `_end` closes them
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        # Not -c with the question in it: arguments are for everybody to see.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _CODE],
            stdin=subprocess.PIPE,
            stdout=self._said,
            stderr=self._errors,
            start_new_session=True,
        )
        self._end = weakref.finalize(self, _end, self._process, self._said, self._errors)  # also if nobody asks
        self._started = time.monotonic()
        assert self._process.stdin is not None
        with suppress(BrokenPipeError), self._process.stdin as stdin:  # if it died at once, `result` says so
            stdin.write(msgspec.json.encode(question))

    def result(self, timeout: float) -> list[Check]:
        """What it says; a problem if it says nothing in that many seconds from the beginning.

        Whatever it has started is ended with it.
        """
        left = max(0.1, self._started + timeout - time.monotonic())
        try:
            self._process.wait(left)
            return msgspec.json.decode(_content(self._said).rpartition(b"\n")[2], type=list[Check])
        except subprocess.TimeoutExpired:
            return [problem(f"no answer within {timeout:g} s", "see whether its server can be reached from here")]
        except msgspec.DecodeError:
            errors = _content(self._errors).decode(errors="replace")
            last = (errors.strip().splitlines() or ["it said nothing"])[-1]
            return [problem(f"its check died with exit code {self._process.returncode}: {redacted_text(last)}")]
        finally:
            self._end()


def _end(process: subprocess.Popen[bytes], *files: IO[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):  # the latter is what macOS says of one that has ended
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()
    for file in files:
        file.close()


def _content(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


def answer() -> None:
    """What the process does: asks the backend, and writes what that says, whatever its SDK prints before."""
    question = msgspec.json.decode(sys.stdin.buffer.read(), type=_Question)
    sys.path.extend(entry for entry in question.path if entry not in sys.path)
    output = os.dup(1)
    os.dup2(2, 1)  # what the SDK prints is no answer
    found = _ask(question)
    os.write(output, b"\n" + msgspec.json.encode(found))
    os._exit(0)  # without waiting for the threads of an SDK


def _ask(question: _Question) -> list[Check]:
    import anyio

    try:
        target: Target = find(question.backend, question.options)
        check = getattr(target.backend, "check", None)
        if check is None:
            return [ok("its options are valid; the plugin has no check of its own")]
        if not inspect.iscoroutinefunction(check):
            return [problem("the plugin's check is no coroutine function")]
        found = list(anyio.run(check, target.options))
        assert all(isinstance(one, Check) for one in found)
        return [msgspec.structs.replace(one, text=redacted_text(one.text)) for one in found]
    except (Exception, SystemExit) as error:  # noqa: BLE001 - of a plugin: whatever is wrong is the answer
        text = redacted_text(str(error)) or type(error).__name__
        return [problem(text if isinstance(error, ConnectionError) else f"{type(error).__name__}: {text}")]
