"""Running a command for what it prints: within a time, without a terminal, and never more of it than is wanted."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from msgspec import Struct

_POLL = 0.02
_MOST_OF_ERRORS = 4_096


class Output(Struct, frozen=True):
    """What a command printed.

    Attributes:
        code: its exit code; None if it was ended before.
        cut: whether there was more on standard output.
        late: whether it was ended because its time was up.
    """

    code: int | None
    out: bytes
    errors: str
    cut: bool = False
    late: bool = False


def output(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    most: int,
    deadline: float,
    cancelled: Callable[[], bool],
) -> Output:
    """Run a command in a session of its own, so that it has no terminal, and whatever it starts ends with it.

    Args:
        most: bytes of standard output; with more, the command is ended.
        deadline: on the monotonic clock; the command is ended then.
        cancelled: asked again and again; the command is ended once it says so.

    Raises:
        OSError: it can't be started.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,
        bufsize=0,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    out, errors = bytearray(), bytearray()
    streams = {process.stdout.fileno(): out, process.stderr.fileno(): errors}
    late = False
    try:
        poll = select.poll()
        for descriptor in streams:
            poll.register(descriptor, select.POLLIN)
        while streams and len(out) <= most and not cancelled():
            if time.monotonic() >= deadline:
                late = True
                break
            for descriptor, _ in poll.poll(_POLL * 1000):
                part = os.read(descriptor, 65_536)
                if not part:
                    poll.unregister(descriptor)
                    del streams[descriptor]
                elif streams[descriptor] is out or len(errors) < _MOST_OF_ERRORS:
                    streams[descriptor].extend(part)
        code = process.wait(max(0.0, deadline - time.monotonic())) if not streams else None
    except subprocess.TimeoutExpired:
        code, late = None, True
    finally:
        _end(process)
    text = errors[:_MOST_OF_ERRORS].decode("utf-8", "replace").strip()
    return Output(code, bytes(out[:most]), text, cut=len(out) > most, late=late)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what is left of it. One that the kernel holds, in a file system that hangs, is not waited for."""
    assert process.stdout is not None
    assert process.stderr is not None
    if process.poll() is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.2)
    process.stdout.close()
    process.stderr.close()
