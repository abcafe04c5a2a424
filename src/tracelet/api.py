"""start_logging, stop_logging, open_run: how a run begins and ends."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

import msgspec

from tracelet import _ranks, _values
from tracelet._discovery import public_options
from tracelet._following import Following
from tracelet._inert import InertAsyncRun, InertRun, silence_in_forked_children
from tracelet._lifecycle import Host
from tracelet._notices import Voice, say
from tracelet._plan import Plan, make_plan, tell_unused
from tracelet._ranked import ranked
from tracelet._setting_values import text
from tracelet._settings import Backends, RunSettings, Settings, resolve
from tracelet._version import own_version
from tracelet.backend import Outcome
from tracelet.errors import DeliveryFailed, JournalUnavailable, RunExists
from tracelet.host.exits import Ending, ExitWatch
from tracelet.host.keeper import Keeper
from tracelet.host.process import ProcessHost
from tracelet.host.thread import ThreadHost
from tracelet.journal import Cursor, Recorder, RunRecord, make_store
from tracelet.run import AsyncRun, Run, context_run, forget_process_run, outcome_of, process_run, set_process_run

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from tracelet.capture import Surroundings

R = TypeVar("R", Run, AsyncRun)

on_begin: list[Callable[[Run | AsyncRun], None]] = []
"""Called with each run that begins, once its configuration is stated. They must not raise."""


def start_logging(
    backend: Backends = None,
    exp_name: str | None = None,
    project: str | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    **settings: Unpack[RunSettings],
) -> Run:
    """Begin a run and make it the process's active one. Returns at once: it does no network I/O.

    From here on every TensorBoard SummaryWriter of the process logs to the run, too. The run ends with
    `stop_logging()`, with the interpreter, or with the next `start_logging`.

    What is not given comes from the variables TRACELET_*, else from [tool.tracelet] in pyproject.toml.

    Args:
        backend: where to deliver: a name ("mlflow"), several names, or a mapping of names to options
            (`{"mlflow": {"tracking_uri": "http://…"}}`; the option "delivery" overrides fields of `Delivery`). A name
            of the form "package.module:Class" needs no installed plugin. Without any, events are only kept in the
            journal.
        exp_name: the run's name; None makes one from the time.
        project: the group of runs; "default" by default.
        config: hyperparameters, as by `run.log_params`.
        tags: as by `run.set_tags`.
        settings: see `RunSettings`.

    Returns:
        The run. It is inert, and takes everything without looking at it, with mode="disabled", in ranks other than 0
        (unless `all_ranks`), in multiprocessing children, and where no journal can be written.

    Raises:
        TypeError: an argument has the wrong type, or there is no such setting.
        UnknownBackend, InvalidOptions, InvalidSetting, UnknownSetting, RunExists, RunNotFound: a wrong value.
        JournalUnavailable, BrokenBackend, DeliveryFailed: with `strict` only.
    """
    _check_config(config, tags)
    resolved = resolve(backend=backend, exp_name=exp_name, project=project, **settings)
    plan = make_plan(resolved, ("process", "thread"))  # "loop" needs one to run in
    previous = process_run()
    if previous is not None:
        if previous.active:
            say(f"a new run begins: finishing {previous.name!r}")
        previous.finish()
    run = _inert(InertRun, resolved) if plan is None else _begin(Run, plan, None)
    set_process_run(run)
    _state_config(run, config, tags)
    return run


def stop_logging(outcome: str | Outcome | None = None, timeout: float | None = None) -> None:
    """Finish the process's run, see `Run.finish`. Does nothing if there is none.

    In a running event loop: `await asyncio.to_thread(tracelet.stop_logging)`, or the loop waits, too.
    """
    run = process_run()
    if run is not None:
        run.finish(outcome, timeout)


@asynccontextmanager
async def open_run(
    backend: Backends = None,
    exp_name: str | None = None,
    project: str | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    **settings: Unpack[RunSettings],
) -> AsyncIterator[AsyncRun]:
    """A run for the duration of an `async with` block, on asyncio or trio; the arguments are `start_logging`'s.

    It is the active run inside the block, and ends as failed if the block raises. Cancelling the block still gives the
    backends the close deadline; what they have not got by then is in the journal.

    Args:
        backend: besides names, backend objects.
        settings: `host` is "loop" by default: delivery runs in tasks of this event loop.
    """
    import anyio

    _check_config(config, tags)
    resolved = resolve(backend=backend, exp_name=exp_name, project=project, **settings)
    plan = make_plan(resolved, ("loop", "process", "thread"))
    error: BaseException | None = None
    async with anyio.create_task_group() as tasks:
        try:
            run = _inert(InertAsyncRun, resolved) if plan is None else _begin(AsyncRun, plan, tasks)
            async with _active(run, resolved.close_timeout):
                _state_config(run, config, tags)
                yield run
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as raised:  # noqa: BLE001 - raised again below, outside of the task group's wrapping
            error = raised
    if error is not None:
        raise error


@asynccontextmanager
async def _active(run: AsyncRun, timeout: float) -> AsyncIterator[None]:
    """Have the run be the active one inside the block, and end it, with its children, as the block ends."""
    import anyio

    error: BaseException | None = None
    token = context_run().set(run)
    try:
        yield
    except BaseException as raised:
        error = raised
        raise
    finally:
        context_run().reset(token)
        with anyio.CancelScope(shield=True):
            deadline = anyio.current_time() + timeout
            for one in (*run.descendants(), run):  # what is delivered from this block's tasks ends with it
                await one.finish(outcome_of(error), max(0.0, deadline - anyio.current_time()))


def _host(plan: Plan, tasks: TaskGroup | None) -> Host | None:
    if plan.settings.mode != "online" or not plan.targets:
        return None
    if plan.host == "loop":
        from tracelet.host.loop import LoopHost

        assert tasks is not None
        return LoopHost(plan.directory, plan.targets, tasks)
    return (ProcessHost if plan.host == "process" else ThreadHost)(plan.directory, plan.targets)


def _begin(kind: type[R], plan: Plan, tasks: TaskGroup | None) -> R:
    """A run with its journal, its keeper and its host at work; an inert one if there can be no journal."""
    from tracelet.tensorboard import install, uninstall  # `import tracelet` does without

    settings = plan.settings
    try:
        make_store(settings.directory)
        plan = _record(plan) if plan.rank == 0 else plan
    except OSError as error:
        return _unavailable(kind, plan, error)
    host = _host(plan, tasks)
    tell = Voice(plan.name, named=plan.parent is not None)
    keeper = Keeper(host.watch if host is not None else _nothing, plan.backends, tell)
    try:
        recorder = Recorder(
            plan.directory,
            keeper.nudge,
            plan.rank,
            plan.ranks,
            quota=settings.quota,
            min_free=settings.min_free,
            patient=settings.on_full == "block",
        )
    except OSError as error:
        tell.end()
        _take_back(plan)
        return _unavailable(kind, plan, error)
    _ranks.note_begun(plan.directory.id)
    surroundings: Surroundings | None = None

    def leave() -> None:
        if surroundings is not None:
            surroundings.stop()

    exits = ExitWatch(lambda ending: _finish_at_exit(run, ending, settings.close_timeout, tell))

    def close() -> None:
        leave()
        keeper.stop()
        exits.remove()
        tell.end()
        if plan.parent is None:
            uninstall()
        forget_process_run(run)

    run: R = (kind if plan.speaker == 0 else ranked(kind, plan.speaker))(
        run_id=plan.directory.id,
        name=plan.name,
        project=plan.project,
        directory=plan.directory.path,
        backends=plan.backends,
        recorder=recorder,
        host=host,
        following=Following(recorder, online=settings.mode == "online") if plan.rank > 0 else None,
        ranks=plan.ranks,
        on_finish=leave if settings.capture and plan.parent is None else None,
        settle=keeper.settle,
        on_close=close,
        tell=tell,
        begin_child=lambda name: _begin(kind, plan.child(text(name, "name")), tasks),
        strict=settings.strict,
        defers=settings.defer,
        close_timeout=settings.close_timeout,
    )
    if settings.capture and plan.parent is None:
        from tracelet.capture import Surroundings

        surroundings = Surroundings(run, settings.capture, settings.capture_interval, tell)
    silence_in_forked_children(run)
    run.begin(resumed=plan.resumed)
    keeper.start(recorder)
    exits.install()
    if plan.parent is None:  # what is captured goes on to the parent
        install()
    if host is not None:
        try:
            host.start()
        except (OSError, DeliveryFailed) as error:
            if settings.strict:
                run.abandon()
                raise
            say(f"{error}; events are kept in the journal")
    if surroundings is not None:
        surroundings.start()
    return run


def _finish_at_exit(run: Run | AsyncRun, ending: Ending, timeout: float, tell: Callable[[str], None]) -> None:
    if isinstance(run, AsyncRun):  # it ends with its block: this one was cut off with its event loop
        run.cut_off()
        return
    if ending.reason and run.active:  # which a forked child's copy is not
        tell(f"the run ends as {ending.outcome}: {ending.reason}")
    run.finish(ending.outcome, max(0.0, timeout - ending.waited))


def _record(plan: Plan) -> Plan:
    """Write run.json, and what is known of the backends that can't be started.

    Returns:
        The plan; where another process has begun the run just now, that of a run that goes on.

    Raises:
        RunExists: another process has begun it, and it was to be a new one.
        OSError: it can't be written.
    """
    backends = {target.name: public_options(target) for target in plan.targets} | {
        name: broken.options for name, broken in plan.broken.items()
    }
    begun = RunRecord(
        id=plan.directory.id,
        name=plan.name,
        project=plan.project,
        created=time.time(),
        backends=backends,
        version=own_version(),
        parent=plan.parent,
    )

    def merged(earlier: RunRecord | None) -> RunRecord:
        if earlier is None:
            return begun
        if not plan.resumed and plan.settings.resume == "never":
            raise RunExists(plan.directory.id, plan.directory.path.parent)
        return msgspec.structs.replace(earlier, backends=earlier.backends | backends, version=begun.version)

    earlier = plan.directory.make_record(merged)
    if earlier is not None:
        left = [name for name in earlier.backends if name not in backends]
        if left and plan.settings.mode == "online":
            say(f"{', '.join(left)} had the run before, and now gets what is said only with `tracelet sync`")
        if not plan.resumed:
            tell_unused(earlier, plan.settings)
            plan = msgspec.structs.replace(plan, name=earlier.name, project=earlier.project, resumed=True)
    for name, broken in plan.broken.items():
        cursor = Cursor.acquire(plan.directory.cursor(name))
        if cursor is not None:
            with cursor:
                cursor.fail(broken.problem)
    return plan


def _take_back(plan: Plan) -> None:
    """Leave no record of a run that can't begin."""
    if plan.rank == 0 and not plan.resumed and not plan.directory.writers():
        with suppress(OSError):  # what stays is the record of a run without events
            (plan.directory.path / "run.json").unlink()


def _unavailable(kind: type[R], plan: Plan, error: OSError) -> R:
    """An inert run, where there can be no journal. Raises JournalUnavailable with `strict`."""
    place, why = plan.directory.path, error.strerror or str(error)
    problem = JournalUnavailable(place, why if place.is_absolute() else "the working directory was deleted")
    if plan.settings.strict:
        raise problem from error
    _ranks.note_begun(plan.directory.id)
    say(str(problem))
    return _inert(kind, plan.settings, lossy=True)


def _inert(kind: type[R], settings: Settings, *, lossy: bool = False) -> R:
    def close() -> None:
        forget_process_run(run)

    run: R = kind(
        run_id="",
        name=settings.exp_name or "inert",
        project=settings.project,
        directory=settings.directory,
        lossy=lossy,
        defers=settings.defer,
        on_close=close,
    )
    return run


def _check_config(config: Mapping[str, Any] | None, tags: Mapping[str, str] | None) -> None:
    """Before a run begins. Raises TypeError."""
    if config is not None:
        _values.mapping(config, "config")
    if tags is not None:
        for name in _values.mapping(tags, "tags"):
            _values.string(name, "a name in tags")


def _state_config(run: Run | AsyncRun, config: Mapping[str, Any] | None, tags: Mapping[str, str] | None) -> None:
    if config is not None:
        run.log_params(config)
    if tags is not None:
        run.set_tags(tags)
    for call in on_begin:
        call(run)


def _nothing() -> None:
    """What a keeper watches where nothing is delivered."""
