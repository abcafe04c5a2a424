"""Of runs: opening, resuming, crashing, belonging to another, ending."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import msgspec
import pytest

import tracelet
from tracelet.backend import Idempotency, Outcome, ParentRun, Support
from tracelet.events import LANES, MetricsLogged, RunStarted
from tracelet.journal import RunDirectory, holder
from tracelet.status import read_status
from tracelet.testing.conformance._drive import TIME, Drive, Suite


class Runs(Suite):
    """The life of a run."""

    def test_importing_the_plugin_imports_no_sdk(self) -> None:
        """The module that holds the backend class can be imported without its SDK."""
        code = f"import sys, {self.backend.__module__}; print(*sys.modules)"
        loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert not set(self.sdks) & set(loaded.stdout.split())

    def test_options_are_resolved_once(self, options: msgspec.Struct) -> None:
        """Options that went to disk and back are the same options."""
        assert msgspec.convert(msgspec.to_builtins(options), type(options)) == options

    def test_it_declares_what_the_core_needs(self) -> None:
        """It handles only known event types, says how in a `Support` each if at all, and every option has a default."""
        handles = self.backend.handles
        assert set(handles) <= set(LANES)
        assert not isinstance(handles, Mapping) or all(isinstance(support, Support) for support in handles.values())
        assert isinstance(self.backend.idempotency, Idempotency)
        self.backend.Options()

    async def test_a_second_open_finds_the_run(self, drive: Drive) -> None:
        """Opening a run again, with its state, goes on with it."""
        first = await drive.start()
        await first.export(MetricsLogged(TIME, {"m": 1.0}, 1))
        second = await drive.start(before=first)
        await second.export(MetricsLogged(TIME, {"m": 2.0}, 2))
        found = await drive.read()
        assert found.runs == 1
        assert sorted(step for _, _, step in found.points) == [1, 2]

    async def test_a_crash_before_the_state_was_saved_makes_no_second_run(self, drive: Drive) -> None:
        """Opening a run again without its state finds it by its id."""
        await drive.start()
        await drive.start(state=False)
        assert (await drive.read()).runs == 1

    async def test_a_finished_run_can_go_on(self, drive: Drive) -> None:
        """A run that was finished is opened again, as by a requeued job, and ends again."""
        first = await drive.start()
        await first.export(MetricsLogged(TIME, {"m": 1.0}, 1))
        await first.backend.finish(Outcome.FAILED, TIME + 10)
        await first.backend.close()
        second = await drive.start(before=first)
        await second.export(MetricsLogged(TIME, {"m": 2.0}, 2))
        await second.backend.finish(Outcome.COMPLETED, TIME + 60)
        await second.backend.close()
        found = await drive.read()
        assert found.runs == 1
        assert sorted(step for _, _, step in found.points) == [1, 2]
        assert found.outcome is Outcome.COMPLETED

    @pytest.mark.parametrize("outcome", list(Outcome))
    async def test_it_finishes_with_each_outcome(self, drive: Drive, outcome: Outcome) -> None:
        """The outcome and its time are recorded; finishing again after a crash is fine."""
        session = await drive.start()
        await session.backend.finish(outcome, TIME + 60)
        await session.backend.close()
        again = await drive.start()
        await again.backend.finish(outcome, TIME + 60)
        await again.backend.close()
        found = await drive.read()
        assert found.outcome is outcome
        assert found.ended in (None, TIME + 60)
        assert found.runs == 1

    async def test_closing_twice_is_fine(self, drive: Drive) -> None:
        """`close` may come after a failure of `open`, and again."""
        session = await drive.start()
        await session.backend.close()
        await session.backend.close()

    async def test_a_child_is_shown_under_its_parent(self, options: Any, drive: Drive, tmp_path: Path) -> None:
        """A run with a parent can be found from there, if the backend declares so; in any case it arrives."""
        parent = Drive(self, options, str(uuid.uuid4()), tmp_path)
        opened = await parent.start()
        child = await drive.start(parent=ParentRun(parent.run_id, "parent", opened.state))
        await child.export(MetricsLogged(TIME, {"m": 1.0}, 1))
        await child.backend.finish(Outcome.COMPLETED, TIME + 60)
        await child.backend.close()
        await parent.close()
        found = await drive.read()
        assert ("m", 1.0, 1) in found.points
        if RunStarted in self.backend.handles:
            assert found.parent in {parent.run_id, *opened.state.values()}

    async def test_a_parent_that_is_not_there_costs_nothing(self, drive: Drive) -> None:
        """A run whose parent isn't delivered to this backend arrives."""
        child = await drive.start(parent=ParentRun(str(uuid.uuid4()), "parent", None))
        await child.export(MetricsLogged(TIME, {"m": 1.0}, 1))
        await child.backend.finish(Outcome.COMPLETED, TIME + 60)
        await child.backend.close()
        assert ("m", 1.0, 1) in (await drive.read()).points

    async def test_a_killed_delivery_loses_nothing(self, options: Any, tmp_path: Path) -> None:
        """SIGKILL of training and delivery under way, and of delivery again in the process that goes on with the run:
        every point arrives, once if declared, in one run, which ends as the last process does."""
        backend = f"{self.backend.__module__}:{self.backend.__qualname__}"
        if "<locals>" in backend:
            pytest.skip("a class in a function can't be named to a delivery process")
        run_id = await anyio.to_thread.run_sync(_log_and_kill, backend, msgspec.to_builtins(options), tmp_path)
        found = await self.read(options, run_id)
        expected = {("m", step / 4, step) for step in range(_POINTS)}
        assert set(found.points) == expected
        if self.backend.idempotency is not Idempotency.APPENDS:
            assert len(found.points) == _POINTS
        assert (found.runs, found.outcome) == (1, Outcome.COMPLETED)


_POINTS = 600
_DEADLINE = 100.0

_FIRST = """
import sys, time, msgspec, tracelet
backend, given, run_id, directory, points = msgspec.json.decode(sys.stdin.buffer.read())
sys.path[:0] = given.pop("path")
run = tracelet.start_logging(given, "killed", "conformance", directory=directory, run_id=run_id, capture=False)
for step in range(points):
    run.log_metric("m", step / 4, step)
print(flush=True)
time.sleep(600)
"""


def _log_and_kill(backend: str, options: dict[str, Any], directory: Path) -> str:
    """A real run, killed after its first third and resumed, whose delivery is killed after the next; returns its id."""
    given = {backend: {**options, "delivery": {"linger": 0.05, "batch_size": 50}}}
    run_id = str(uuid.uuid4())
    place = RunDirectory(directory / "runs" / run_id)
    _log_and_be_killed(given, place, backend)
    run = tracelet.start_logging(
        given, "killed", "conformance", directory=directory, run_id=run_id, resume="must", capture=False
    )
    try:
        for step in range(_POINTS // 3, _POINTS):
            run.log_metric("m", step / 4, step)
            if step == 2 * _POINTS // 3:
                _kill_delivery(place, backend, read_status(place).backends[backend].delivered)
        assert run.flush(timeout=_DEADLINE), run.status()
    finally:
        run.finish(timeout=_DEADLINE)
    account = run.status().backends[backend]
    assert account.pending == 0, account
    assert account.dead_lettered == 0, account
    return run.id


def _log_and_be_killed(given: dict[str, Any], place: RunDirectory, backend: str) -> None:
    """A training that logs the first third, and is killed with its delivery."""
    training = subprocess.Popen([sys.executable, "-c", _FIRST], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert training.stdin is not None
    assert training.stdout is not None
    try:
        directory = str(place.path.parent.parent)
        told = (backend, {**given, "path": sys.path}, place.id, directory, _POINTS // 3)
        training.stdin.write(msgspec.json.encode(told))
        training.stdin.close()
        assert training.stdout.readline()
    finally:
        training.kill()
        training.wait()
        training.stdout.close()
    _kill_delivery(place, backend, 0)


def _kill_delivery(place: RunDirectory, backend: str, before: int) -> None:
    """Kill the process once it has delivered more than `before`, if it is not done."""
    deadline = time.monotonic() + _DEADLINE
    while time.monotonic() < deadline:
        pid = holder(place.cursor(backend))
        if read_status(place).backends[backend].delivered > before:
            with suppress(ProcessLookupError):
                if pid:
                    os.kill(pid, signal.SIGKILL)
            return
        time.sleep(0.005)
    raise AssertionError(f"nothing was delivered: {read_status(place)}")
