"""One session of a run in wandb-core: opened, written to, and ended. Everything here blocks."""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import wandb
import wandb.errors
from wandb.proto import wandb_internal_pb2 as pb
from wandb.proto import wandb_server_pb2 as spb
from wandb.sdk import wandb_setup
from wandb.sdk.interface.interface_sock import InterfaceSock
from wandb.sdk.mailbox.mailbox_handle import ServerResponseError

from tracelet_wandb._errors import CORE_IS_GONE, StreamDied, core_errors, opening_failure
from tracelet_wandb._names import STEP
from tracelet_wandb._options import Options

_ANSWER = 60.0  # seconds for wandb-core to take what was sent to it
_LEAVE = 4.0  # of the five that `close` has
_ABANDON = 1.0
_MOST_AXES = 1_000  # wandb-core takes longer for each than for the one before
_INHERITED_CORE = re.compile(r"-(\d+)-(?:unix|tcp)-")


class Session:
    """The run in wandb-core.

    Attributes:
        run: the SDK's run.
        directory: the session's own, which `wandb sync` takes.
        next_row: the number (`_step`) of the next row; at first, of the first that the server does not have.
    """

    def __init__(self, run: Any) -> None:
        self.run = run
        self.directory = Path(run.sync_dir)
        self.next_row = int(run.starting_step)
        self._defined: set[str] = set()
        self._log_read = 0

    @classmethod
    def open(cls, options: Options, directory: str, **arguments: Any) -> Session:
        """Start or resume a run in W&B.

        Args:
            options, directory: where.
            arguments: `wandb.init`'s own; an `id` among them.

        Raises:
            Transient, Denied: it could not be opened.
        """
        _leave_foreign_core()
        end_open(arguments["id"])
        Path(directory).mkdir(parents=True, exist_ok=True)
        try:
            try:
                return cls(_init(options, directory, arguments))
            except CORE_IS_GONE:  # it died, perhaps long ago: start another
                with suppress(Exception):
                    wandb.teardown()
                with core_errors():
                    return cls(_init(options, directory, arguments))
        except (wandb.errors.Error, ServerResponseError) as error:
            _abandon(arguments["id"])
            raise opening_failure(error) from error

    def axes(self, names: Iterable[str]) -> list[Any]:
        """Records that give names their x axis; none for a name that has it, or where there are too many names."""
        new = [name for name in names if name not in self._defined][: _MOST_AXES - len(self._defined)]
        self._defined.update(new)
        options = pb.MetricOptions(defined=True)
        return [pb.Record(metric=pb.MetricRecord(name=name, step_metric=STEP, options=options)) for name in new]

    def send(self, records: Sequence[Any]) -> None:
        """Hand records to wandb-core; returns when it has them. Raises SessionLost."""
        interface = self.run._interface
        requests = []
        for record in records:
            interface._assign(record)
            requests.append(spb.ServerRequest(record_publish=record))

        async def publish() -> None:
            for request in requests:
                await interface._client.publish(request)

        with core_errors():  # in one go: a switch of threads for each record would take five times as long
            interface._asyncer.run(publish)
            interface.deliver_history_step().wait_or(timeout=_ANSWER)  # answered after what came before

    def check(self) -> None:
        """Raises StreamDied if the server refused the stream: wandb-core then drops the rest, and only logs it."""
        with suppress(FileNotFoundError), (self.directory / "logs" / "debug-internal.log").open("rb") as file:
            file.seek(self._log_read)
            new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._log_read += len(whole)
            for line in whole.splitlines():
                if b"fatal error" in line:
                    raise StreamDied(_said(line))

    def finish(self, exit_code: int) -> None:
        """End the run. Raises SessionLost if the uploads take too long, and what `check` raises."""
        with core_errors():
            self.run.finish(exit_code=exit_code)
        self.check()

    def leave(self) -> None:
        """Let go of the run, which goes on elsewhere."""
        if not self.run._is_finished:
            with suppress(Exception):
                left = pb.RunExitRecord(not_complete=True)
                self.run._interface._deliver_exit(left).wait_or(timeout=_LEAVE)
            _forget(self.run)


def _init(options: Options, directory: str, arguments: dict[str, Any]) -> Any:
    settings = wandb.Settings(
        console="off",
        silent=True,
        disable_git=True,
        save_code=False,
        disable_job_creation=True,
        x_save_requirements=False,
        x_disable_meta=True,
        x_disable_stats=True,
        x_disable_machine_info=True,
        # Two sessions of one second would share a folder, and the second be lost; so the names sort by time, too.
        x_sync_dir_suffix=f"{time.time_ns() // 1_000_000}{secrets.token_hex(2)}",
        init_timeout=options.init_timeout,
        finish_timeout=options.finish_timeout,
        finish_timeout_raises=True,
    )
    if options.api_key:
        settings.api_key = options.api_key
    if options.base_url:
        settings.base_url = options.base_url
    return wandb.init(
        mode=options.mode,
        entity=options.entity,
        dir=directory,
        resume="allow",
        reinit="create_new",
        settings=settings,
        **arguments,
    )


def _leave_foreign_core() -> None:
    """The training process's own wandb-core, whose address is in the environment, would end with that process."""
    address = _INHERITED_CORE.search(os.environ.get("WANDB_SERVICE", ""))
    if address and int(address[1]) != os.getpid():
        del os.environ["WANDB_SERVICE"]


def end_open(run_id: str) -> None:
    """Let go of what earlier sessions of this process left open: wandb-core takes a run once."""
    current = wandb_setup._singleton
    if current is not None:
        for run in [run for run in current._active_runs if run.id == run_id]:
            Session(run).leave()


def _abandon(run_id: str) -> None:
    """A run that could not be opened is open in wandb-core all the same."""
    current = wandb_setup._singleton
    with suppress(Exception):
        assert current is not None
        service = current.assert_service()
        interface = InterfaceSock(service._asyncer, service._client, stream_id=run_id)
        with suppress(Exception):
            interface._deliver_exit(pb.RunExitRecord(not_complete=True)).wait_or(timeout=_ABANDON)
        service.inform_finish(run_id=run_id)


def _forget(run: Any) -> None:
    """What `Run.finish` does after the exit record."""
    run._is_finished = True
    library = run._wl
    library.remove_active_run(run)
    with suppress(Exception):
        if run._run_status_checker is not None:
            run._run_status_checker.stop()
        if run._run_messages is not None:
            run._run_messages.stop(timeout=_LEAVE)
        run._interface.join()
        library.assert_service().inform_finish(run_id=run.id)


def _said(line: bytes) -> str:
    """The message in a line of wandb-core's log, which is JSON."""
    try:
        entry = json.loads(line)
    except ValueError:
        return line.decode(errors="replace")[:500]
    return str(entry.get("error") or entry.get("msg"))[:500]
