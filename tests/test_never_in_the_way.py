"""Guarantee 1: logging does no system call and starts nothing."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import os, sys, tracelet
run = tracelet.start_logging(exp_name='e', directory=sys.argv[1])
for i in range(100):
    run.log_metric('warm', 1.0, i)
os.write(2, b'BEGIN')
for i in range(2_000):
    run.log_metric('m', 0.5, i)
    run.log_metrics({'a': 1.0, 'b': 2}, i)
    run.log_params({'p': i})
    run.set_tags({'t': 'x'})
    run.log_text('t', 'text', i)
os.write(2, b'END')
os._exit(0)
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_logging_does_no_system_call(tmp_path: Path) -> None:
    """In the logging thread, ten thousand verbs are no more system calls than memory and thread switches need."""
    trace = tmp_path / "trace"
    # Only the main thread is traced: the keeper's own calls are off the caller's path.
    command = ["strace", "-o", str(trace), sys.executable, "-c", SCRIPT, str(tmp_path / "store")]
    result = subprocess.run(command, capture_output=True, text=True)
    if "ptrace" in result.stderr:
        pytest.skip("processes can't be traced here")
    assert result.returncode == 0, result.stderr
    calls = trace.read_text()
    inside = calls[calls.index('"BEGIN"') : calls.index('"END"')].splitlines()[1:-1]
    names = [match[1] for line in inside if (match := re.match(r"(\w+)\(", line))]
    # Waiting for the GIL (futex), the allocator (brk, mmap, munmap, madvise), and one change to the next segment.
    allowed = {"futex", "brk", "mmap", "munmap", "madvise", "mremap"}
    others = [name for name in names if name not in allowed]
    assert others == []
    assert len(names) < 500
