"""Inert runs: they take everything, look at nothing, and leave nothing behind."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tracelet
from tracelet._inert import InertAsyncRun, InertRun, Silent
from tracelet._lifecycle import Lifecycle
from tracelet.errors import InvalidSetting, RunClosed
from tracelet.run import AsyncRun, Run


class Explosive:
    """Raises whatever is done with it."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"looked at: {name}")


def verbs(kind: type[Lifecycle]) -> set[str]:
    """The public methods of a run that say something, and the fast one of the integrations."""
    methods = {name for name, _ in inspect.getmembers(kind, callable) if not name.startswith("_")}
    waiting = {name for name, _ in inspect.getmembers(Lifecycle, callable)} | {
        "flush",
        "finish",
        "child",
        "descendants",
    }
    return (methods - waiting) | {"_log_point"}


@pytest.mark.parametrize("kind", [Run, AsyncRun])
def test_every_verb_is_silent(kind: type[Lifecycle]) -> None:
    """There is no verb that an inert run passes on."""
    assert verbs(kind) == {name for name in vars(Silent) if not name.startswith("__")} - {"_nothing"}


def test_nothing_is_looked_at(tmp_path: Path) -> None:
    """Not even the type of an argument: reading a tensor would wait for its device, in every rank."""
    run = tracelet.start_logging(mode="disabled", directory=tmp_path / "store")
    for name in verbs(Run) - {"_log_point"}:
        getattr(run, name)(Explosive(), Explosive())
    with run.child("fold") as child:
        child.log_metric("loss", Explosive())  # type: ignore[arg-type]
        assert isinstance(child, InertRun)
    assert run.flush()
    assert run.status().emitted == 0
    run.finish()
    assert not list(tmp_path.iterdir())


@pytest.mark.anyio
async def test_an_asynchronous_run_is_silent_too(tmp_path: Path) -> None:
    """open_run gives an inert run in the same cases."""
    async with tracelet.open_run(mode="disabled", directory=tmp_path / "store") as run:
        assert isinstance(run, InertAsyncRun)
        run.log_metric("loss", Explosive())  # type: ignore[arg-type]
        async with run.child("fold") as child:
            child.log_metric("loss", Explosive())  # type: ignore[arg-type]
        assert await run.flush()
    with pytest.raises(RunClosed):
        run.log_metric("loss", 1.0)
    assert not list(tmp_path.iterdir())


def test_a_finished_inert_run_answers_as_any(tmp_path: Path) -> None:
    """Logging after the end is misuse also where nothing is recorded, so that it shows on the laptop already."""
    run = tracelet.start_logging(mode="disabled", directory=tmp_path)
    with pytest.raises(InvalidSetting):
        run.finish("done")
    run.finish()
    run.finish()
    with pytest.raises(RunClosed):
        run.log_metric("loss", 1.0)
    with pytest.raises(RunClosed):
        run.child("fold")


def in_a_child(body: Callable[[], object]) -> int:
    """The exit code of a forked child: 0 if the body returned."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            body()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_is_silent(tmp_path: Path) -> None:
    """In the child the parent's run is inert, whatever is done with it; the parent's goes on, and a child may begin
    one of its own."""
    run = tracelet.start_logging(exp_name="parent", directory=tmp_path)

    def body() -> None:
        assert isinstance(run, InertRun)
        assert not run.active
        run.log_metric("loss", Explosive())  # type: ignore[arg-type]
        run.finish()
        with tracelet.start_logging(exp_name="child", directory=tmp_path) as own:
            own.log_metric("loss", 1.0)
            assert own.status().emitted == 2

    assert in_a_child(body) == 0
    assert type(run) is Run
    run.log_metric("loss", 1.0)
    run.finish()
    assert run.status().emitted == 3
    assert len(list((tmp_path / "runs").iterdir())) == 2
