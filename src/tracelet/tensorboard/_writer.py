"""A SummaryWriter that writes to the active run alone: for code that needs neither torch nor TensorBoard."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any

import tracelet.run
from tracelet.tensorboard import _convert as convert
from tracelet.tensorboard._logdirs import context_of

if TYPE_CHECKING:
    from typing import Self

_logger = logging.getLogger("tracelet")


class SummaryWriter:
    """Logs to the active run through the methods of torch's and tensorboardX's SummaryWriter.

    Takes the arguments of both constructors. No directory and no file is made: the log directory only tells the points
    of several writers apart, by their context. The arguments about event files have no effect. Misuse raises what
    torch's writer raises; without an active run the calls have no effect, and the first one logs a warning.

    Args:
        log_dir: `logdir` is the same; by default runs/<date>_<time>_<host>, followed by `comment`.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] | None = None,
        comment: str = "",
        purge_step: int | None = None,
        max_queue: int = 10,
        flush_secs: float = 120,
        filename_suffix: str = "",
        write_to_disk: bool = True,
        *,
        logdir: str | os.PathLike[str] | None = None,
        comet_config: Mapping[str, Any] | None = None,
    ) -> None:
        self.log_dir = log_dir or logdir or _default_log_dir(comment)
        self._warned = False

    @property
    def logdir(self) -> str | os.PathLike[str]:
        """The log directory, by tensorboardX's name."""
        return self.log_dir

    def get_logdir(self) -> str | os.PathLike[str]:
        """The log directory, by torch's name."""
        return self.log_dir

    def add_scalar(
        self,
        tag: str,
        scalar_value: Any,
        global_step: Any = None,
        walltime: float | None = None,
        new_style: bool = False,
        double_precision: bool = False,
        display_name: str | None = None,
        summary_description: str | None = None,
    ) -> None:
        """Logs a metric.

        Args:
            tag: its name.
            scalar_value: a number, or an array or tensor with one element.
            global_step: anything that `int()` takes; None counts the points of each tag.
            walltime: seconds since the epoch; None is now.

        Raises:
            NotImplementedError, AssertionError, ValueError, TypeError: for a value that isn't one number (None; an
                array with more elements; a string that doesn't spell a number; a complex number), as in torch.
            RunClosed: the active run was finished.
        """
        run = tracelet.run.active_run()
        if run is None:
            self._warn_once()
        else:
            context = context_of(run, self.log_dir)
            convert.add_scalar(run, self, context, tag, scalar_value, global_step, walltime)

    def add_scalars(
        self,
        main_tag: str,
        tag_scalar_dict: Mapping[str, Any],
        global_step: Any = None,
        walltime: float | None = None,
    ) -> None:
        """Logs several metrics at one step, named `main_tag/tag`; values, step, time and errors as in `add_scalar`."""
        run = tracelet.run.active_run()
        if run is None:
            self._warn_once()
        else:
            context = context_of(run, self.log_dir)
            convert.add_scalars(run, self, context, main_tag, tag_scalar_dict, global_step, walltime)

    def flush(self) -> None:
        """Does nothing: what was logged is in the run's journal already. `Run.flush` waits for the backends."""

    def close(self) -> None:
        """Does nothing: the run goes on, and, as in torch, so may the writer."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _warn_once(self) -> None:
        if not self._warned:
            self._warned = True
            _logger.warning(
                "there is no active run: what SummaryWriter(%r) is given is not recorded. "
                "Call tracelet.start_logging() before",
                os.fspath(self.log_dir),
            )


def _default_log_dir(comment: str) -> str:
    now = datetime.now().strftime("%b%d_%H-%M-%S")  # noqa: DTZ005  (local time, as in TensorBoard's own)
    return os.path.join("runs", f"{now}_{socket.gethostname()}{comment}")
