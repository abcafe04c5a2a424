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
run = tracelet.start_logging(exp_name='e', directory=sys.argv[1], capture=sys.argv[2] == 'captured')
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
@pytest.mark.parametrize("capture", ["captured", "alone"])
def test_logging_does_no_system_call(tmp_path: Path, capture: str) -> None:
    """In the logging thread, ten thousand verbs are no more system calls than memory and thread switches need; nor is
    it otherwise while the surroundings are captured."""
    trace = tmp_path / "trace"
    # Only the main thread is traced: the keeper's own calls are off the caller's path.
    command = ["strace", "-o", str(trace), sys.executable, "-c", SCRIPT, str(tmp_path / "store"), capture]
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


BEGIN = """
import sys
asked = []
sys.addaudithook(lambda event, arguments: event in ("socket.connect", "socket.getaddrinfo") and asked.append(arguments))
import tracelet
away = "http://127.0.0.1:9"
backends = {
    "mlflow": {"tracking_uri": away},
    "wandb": {"base_url": away, "api_key": "0" * 40, "mode": "online"},
    "clearml": {"api_host": away, "access_key": "key", "secret_key": "secret"},
    "aim": {"repo": "aim://127.0.0.1:9"},
}
run = tracelet.start_logging(backends, exp_name="e", directory=sys.argv[1], capture=True)
run.log_metric("m", 1.0)
run.finish(timeout=0)
assert run.active is False and len(run.status().backends) == 4
assert asked == [], asked
loaded = {"mlflow", "wandb", "clearml", "aim", "httpx", "requests"} & set(sys.modules)
assert loaded == set(), loaded
"""


def test_a_run_begins_without_the_network(tmp_path: Path) -> None:
    """With all backends on servers that are away, and all surroundings captured, the training asks nobody for anything,
    and loads no tracker."""
    pytest.importorskip("aim")
    command = [sys.executable, "-c", BEGIN, str(tmp_path / "store")]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
