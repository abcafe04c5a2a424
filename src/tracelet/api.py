"""start_logging, stop_logging, open_run: how a run begins and ends."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from tracelet import _settings
from tracelet._discovery import public_options
from tracelet._lifecycle import Host
from tracelet._notices import say
from tracelet._plan import HostName, Plan, Resume, make_plan
from tracelet._settings import Backends
from tracelet.backend import Outcome
from tracelet.errors import DeliveryFailed, JournalUnavailable
from tracelet.host.exits import ExitWatch
from tracelet.host.keeper import Keeper
from tracelet.host.process import ProcessHost
from tracelet.host.thread import ThreadHost
from tracelet.journal import Cursor, Recorder, RunRecord
from tracelet.run import CLOSE_TIMEOUT, AsyncRun, Run, active_run, context_run, outcome_of, set_process_run

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

R = TypeVar("R", Run, AsyncRun)

_HOSTS = ("process", "thread", "loop")

on_begin: list[Callable[[Run | AsyncRun], None]] = []
"""Called with each run that begins, once its configuration is stated. They must not raise."""


def start_logging(
    backend: Backends = None,
    exp_name: str | None = None,
    project: str | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    run_id: str | None = None,
    resume: Resume | None = None,
    host: Literal["process", "thread"] | None = None,
    directory: str | PathLike[str] | None = None,
    strict: bool = False,
    defer: bool | None = None,
) -> Run:
    """Begin a run and make it the process's active one. Returns at once: it does no network I/O.

    From here on every TensorBoard SummaryWriter of the process logs to the run, too. The run ends with
    `stop_logging()`, with the interpreter, or with the next `start_logging`.

    Args:
        backend: where to deliver: a name ("mlflow"), several names, or a mapping of names to options
            (`{"mlflow": {"tracking_uri": "http://…"}}`; the option "delivery" overrides fields of `Delivery`). A name
            of the form "package.module:Class" needs no installed plugin. None takes TRACELET_BACKEND; without that,
            events are only kept in the journal.
        exp_name: the run's name; None makes one from the time.
        project: the group of runs; None takes TRACELET_PROJECT, else "default".
        config: hyperparameters, as by `run.log_params`.
        tags: as by `run.set_tags`.
        run_id: the run's id, for going on with a run; None takes TRACELET_RUN_ID (with resume="allow"), else makes one.
        resume: what to do about `run_id`: "never" (default) wants a new run, "must" an earlier one, "allow" takes both.
        host: "process" (default) delivers from a process per backend, "thread" from a thread of this one.
        directory: where runs are kept; None takes TRACELET_DIR, else .tracelet.
        strict: raise where else a warning is given and training goes on: no journal, a backend that can't be loaded.
        defer: whether `log_metric` and `log_metrics` read a tensor on a device later, instead of waiting for it; None
            takes TRACELET_DEFER, else is False.

    Returns:
        The run. It is inert, and takes everything without recording it, with TRACELET_MODE=disabled, in ranks other
        than 0, in multiprocessing children, and where no journal can be written.

    Raises:
        TypeError: an argument has the wrong type.
        UnknownBackend, InvalidOptions, InvalidSetting, RunExists, RunNotFound: an argument has a wrong value.
        JournalUnavailable, BrokenBackend, DeliveryFailed: with `strict` only.
    """
    previous = active_run()
    if isinstance(previous, Run):
        if previous.active:
            say(f"a new run begins: finishing {previous.name!r}")
        previous.finish()
    hosts = {"process", "thread"}  # "loop" needs one to run in
    defers = _settings.defer(defer)
    plan = make_plan(backend, exp_name, project, run_id, resume, host or "process", hosts, directory, strict, defers)
    if plan is None:
        run = _inert(Run, exp_name, project, _settings.directory(directory), defers)
    else:
        run = _begin(Run, plan, None)
    set_process_run(run)
    _state_config(run, config, tags)
    return run


def stop_logging(outcome: str | Outcome | None = None, timeout: float | None = None) -> None:
    """Finish the process's run, see `Run.finish`. Does nothing if there is none."""
    run = active_run()
    if isinstance(run, Run):
        run.finish(outcome, timeout)


@asynccontextmanager
async def open_run(
    backend: Backends = None,
    exp_name: str | None = None,
    project: str | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    run_id: str | None = None,
    resume: Resume | None = None,
    host: HostName | None = None,
    directory: str | PathLike[str] | None = None,
    strict: bool = False,
    defer: bool | None = None,
) -> AsyncIterator[AsyncRun]:
    """A run for the duration of an `async with` block, on asyncio or trio; the arguments are `start_logging`'s.

    It is the active run inside the block, and ends as failed if the block raises. Cancelling the block still gives the
    backends the close deadline; what they have not got by then is in the journal.

    Args:
        backend: besides names, backend objects.
        host: "loop" (default) delivers from tasks of this event loop, "process" and "thread" as in `start_logging`.
    """
    import anyio

    hosts, defers = set(_HOSTS), _settings.defer(defer)
    plan = make_plan(backend, exp_name, project, run_id, resume, host or "loop", hosts, directory, strict, defers)
    error: BaseException | None = None
    async with anyio.create_task_group() as tasks:
        if plan is None:
            run = _inert(AsyncRun, exp_name, project, _settings.directory(directory), defers)
        else:
            run = _begin(AsyncRun, plan, tasks)
        token = context_run().set(run)
        try:
            _state_config(run, config, tags)
            yield run
        except anyio.get_cancelled_exc_class() as cancelled:
            error = cancelled
            raise
        except BaseException as raised:  # noqa: BLE001 - raised again below, outside of the task group's wrapping
            error = raised
        finally:
            context_run().reset(token)
            with anyio.CancelScope(shield=True):
                deadline = anyio.current_time() + CLOSE_TIMEOUT
                for one in (*run.descendants(), run):  # what is delivered from this block's tasks ends with it
                    await one.finish(outcome_of(error), max(0.0, deadline - anyio.current_time()))
    if error is not None:
        raise error


def _host(plan: Plan, tasks: TaskGroup | None) -> Host | None:
    if plan.mode != "online" or not plan.targets:
        return None
    if plan.host == "loop":
        from tracelet.host.loop import LoopHost

        assert tasks is not None
        return LoopHost(plan.directory, plan.targets, tasks)
    return (ProcessHost if plan.host == "process" else ThreadHost)(plan.directory, plan.targets)


def _begin(kind: type[R], plan: Plan, tasks: TaskGroup | None) -> R:
    """A run with its journal, its keeper and its host at work; an inert one if there can be no journal."""
    from tracelet.tensorboard import install, uninstall  # `import tracelet` does without

    host = _host(plan, tasks)
    tell = say if plan.parent is None else lambda message: say(f"{plan.name}: {message}")
    keeper = Keeper(host.watch if host is not None else _nothing, plan.backends, tell)
    try:
        recorder = Recorder(plan.directory, keeper.nudge)
        _record(plan)
    except OSError as error:
        problem = JournalUnavailable(plan.directory.path, error.strerror or str(error))
        if plan.strict:
            raise problem from error
        say(str(problem))
        return _inert(kind, plan.name, plan.project, plan.directory.path, plan.defer, lossy=True)
    exits = ExitWatch(lambda outcome: _finish_at_exit(run, outcome))

    def close() -> None:
        keeper.stop()
        exits.remove()
        if plan.parent is None:
            uninstall()
        if active_run() is run:
            set_process_run(None)

    run: R = kind(
        run_id=plan.directory.id,
        name=plan.name,
        project=plan.project,
        directory=plan.directory.path,
        backends=plan.backends,
        recorder=recorder,
        host=host,
        on_close=close,
        tell=tell,
        begin_child=lambda name: _begin(kind, plan.child(name), tasks),
        strict=plan.strict,
        defers=plan.defer,
    )
    run.begin(resumed=plan.resumed)
    keeper.start(recorder)
    exits.install()
    if plan.parent is None:  # what is captured goes on to the parent
        install()
    if host is not None:
        try:
            host.start()
        except (OSError, DeliveryFailed) as error:
            if plan.strict:
                run.abandon()
                raise
            say(f"{error}; events are kept in the journal")
    return run


def _finish_at_exit(run: Run | AsyncRun, outcome: Outcome) -> None:
    # An AsyncRun ends with its block; one that is still open here was cut off with its event loop.
    if isinstance(run, Run):
        run.finish(outcome)


def _record(plan: Plan) -> None:
    """Write run.json, and what is known of the backends that can't be started."""
    backends = {target.name: public_options(target) for target in plan.targets} | {
        name: broken.options for name, broken in plan.broken.items()
    }
    created, parent = time.time(), plan.parent
    if plan.resumed:
        earlier = plan.directory.read_record()
        backends = earlier.backends | backends
        created, parent = earlier.created, earlier.parent
    plan.directory.write_record(
        RunRecord(
            id=plan.directory.id,
            name=plan.name,
            project=plan.project,
            created=created,
            backends=backends,
            version=version("tracelet"),
            parent=parent,
        )
    )
    for name, broken in plan.broken.items():
        cursor = Cursor.acquire(plan.directory.cursor(name))
        if cursor is not None:
            with cursor:
                cursor.fail(broken.problem)


def _inert(
    kind: type[R], name: str | None, project: str | None, directory: Path, defers: bool, *, lossy: bool = False
) -> R:
    def close() -> None:
        if active_run() is run:
            set_process_run(None)

    run: R = kind(
        run_id="",
        name=name or "inert",
        project=_settings.project(project),
        directory=directory,
        lossy=lossy,
        defers=defers,
        on_close=close,
    )
    return run


def _state_config(run: Run | AsyncRun, config: Mapping[str, Any] | None, tags: Mapping[str, str] | None) -> None:
    if config is not None:
        run.log_params(config)
    if tags is not None:
        run.set_tags(tags)
    for call in on_begin:
        call(run)


def _nothing() -> None:
    """What a keeper watches where nothing is delivered."""
