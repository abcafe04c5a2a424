"""A SummaryWriter that writes to the active run: for code that needs neither torch nor TensorBoard."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any

import tracelet.run
from tracelet.tensorboard import _converters as convert
from tracelet.tensorboard import _rules as rules
from tracelet.tensorboard._file_writer import FileWriter
from tracelet.tensorboard._logdirs import context_of
from tracelet.tensorboard._media_methods import MediaMethods

if TYPE_CHECKING:
    from typing import Self

    from tracelet.tensorboard._converters import Converter
    from tracelet.tensorboard._event_files import EventFiles

_logger = logging.getLogger("tracelet")


class SummaryWriter(MediaMethods):
    """Logs to the active run through the methods of torch's and tensorboardX's SummaryWriter.

    Takes the arguments of both constructors, and of torch's methods in torch's order, with tensorboardX's names for
    them as keywords. No directory and no file is made, but with `write_tensorboard`: the log directory only tells the
    points of several writers apart, by their context. Misuse raises what torch's writer raises; without an active run
    the calls have no effect, and the first one logs a warning. What is written after `close()` is logged as before it.

    In all methods:

    - `tag` is the name.
    - `global_step` is anything that `int()` takes; None counts the calls of each tag.
    - `walltime` is in seconds since the epoch; None is now.
    - Arrays are NumPy's, or tensors on any device, which are waited for. They may change after the call.
    - RunClosed is raised when the active run was finished.

    Args:
        log_dir: `logdir` is the same; by default runs/<date>_<time>_<host>, followed by `comment`.
        purge_step, max_queue, flush_secs, filename_suffix, write_to_disk, comet_config: about event files; without
            `write_tensorboard` they have no effect.
        write_tensorboard: also write event files for TensorBoard, by torch's or tensorboardX's own writer.

    Raises:
        ImportError: with `write_tensorboard`, there is neither torch with tensorboard nor tensorboardX.
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
        write_tensorboard: bool = False,
    ) -> None:
        self.log_dir = log_dir or logdir or _default_log_dir(comment)
        self.file_writer: FileWriter | None = None
        self.all_writers: dict[str, FileWriter] | None = None
        self._warned = False
        self._files: EventFiles | None = None
        self._direct = not write_tensorboard  # whether a scalar is nothing but a metric
        if write_tensorboard:
            from tracelet.tensorboard._event_files import EventFiles

            self._files = EventFiles(
                log_dir=os.fspath(self.log_dir),
                purge_step=purge_step,
                max_queue=max_queue,
                flush_secs=flush_secs,
                filename_suffix=filename_suffix,
            )
        self._get_file_writer()

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
        """Log a metric.

        Args:
            scalar_value: a number, or an array or tensor with one element.
            new_style, double_precision, display_name, summary_description: about event files.

        Raises:
            NotImplementedError, AssertionError, ValueError, TypeError: for a value that isn't one number (None; an
                array with more elements; a string that doesn't spell a number; a complex number).
        """
        # The usual call is the one that has to be fast.
        if (
            type(scalar_value) is float
            and type(global_step) is int
            and type(tag) is str
            and walltime is None
            and self._direct
        ):
            run = tracelet.run.active_run()
            if run is not None and context_of(run, self.log_dir) is None:
                run._log_point(tag, scalar_value, global_step)
                return
        rules.scalar(scalar_value)
        self._say(
            convert.add_scalar,
            tag=tag,
            scalar_value=scalar_value,
            global_step=global_step,
            walltime=walltime,
            new_style=new_style,
            double_precision=double_precision,
            display_name=display_name,
            summary_description=summary_description,
        )

    def add_scalars(
        self,
        main_tag: str,
        tag_scalar_dict: Mapping[str, Any],
        global_step: Any = None,
        walltime: float | None = None,
    ) -> None:
        """Log several metrics at one step, named `main_tag/tag`; values and errors as in `add_scalar`."""
        for value in tag_scalar_dict.values():
            rules.scalar(value)
        self._say(
            convert.add_scalars,
            main_tag=main_tag,
            tag_scalar_dict=tag_scalar_dict,
            global_step=global_step,
            walltime=walltime,
        )

    def add_hparams(
        self,
        hparam_dict: dict[str, Any],
        metric_dict: dict[str, Any],
        hparam_domain_discrete: dict[str, list[Any]] | None = None,
        run_name: str | None = None,
        global_step: Any = None,
        *,
        name: str | None = None,
    ) -> None:
        """State a trial: hyperparameters, and the metrics that measure its success.

        Args:
            hparam_dict: bools, numbers, strings, None, or tensors with one element.
            metric_dict: numbers; logged as metrics of these names.
            hparam_domain_discrete: what a hyperparameter could have been.
            run_name: of the trial; `name` is the same.

        Raises:
            TypeError: no dicts, or a domain that doesn't fit its hyperparameter.
            ValueError: a hyperparameter of another type.
        """
        rules.hparams(hparam_dict, metric_dict, hparam_domain_discrete)
        for value in metric_dict.values():
            rules.scalar(value)
        self._say(
            convert.add_hparams,
            hparam_dict=hparam_dict,
            metric_dict=metric_dict,
            hparam_domain_discrete=hparam_domain_discrete,
            run_name=run_name or name,
            global_step=global_step,
        )

    def add_text(
        self,
        tag: str,
        text_string: str,
        global_step: Any = None,
        walltime: float | None = None,
    ) -> None:
        """Write a text.

        Raises:
            AttributeError: no text.
        """
        rules.text(text_string)
        self._say(convert.add_text, tag=tag, text_string=text_string, global_step=global_step, walltime=walltime)

    def add_custom_scalars(
        self,
        layout: Mapping[str, Mapping[str, Sequence[Any]]],
    ) -> None:
        """Arrange charts: by category and title `["Multiline", tags]` or `["Margin", [value, lower, upper]]`.

        Raises:
            AttributeError: no mapping of mappings.
            AssertionError: a margin chart without three tags.
        """
        rules.custom_scalars(layout)
        self._say(convert.add_custom_scalars, layout=layout)

    def add_custom_scalars_multilinechart(
        self,
        tags: Sequence[str],
        category: str = "default",
        title: str = "untitled",
    ) -> None:
        """Arrange one chart of several metrics."""
        self._say(convert.add_custom_scalars_multilinechart, tags=tags, category=category, title=title)

    def add_custom_scalars_marginchart(
        self,
        tags: Sequence[str],
        category: str = "default",
        title: str = "untitled",
    ) -> None:
        """Arrange one chart of a value, its lower and its upper bound.

        Raises:
            AssertionError: not three tags.
        """
        rules.margin(tags)
        self._say(convert.add_custom_scalars_marginchart, tags=tags, category=category, title=title)

    @contextmanager
    def use_metadata(self, *, global_step: Any = None, walltime: float | None = None) -> Iterator[Self]:
        """Step and time of the calls inside of the block that say none themselves, as tensorboardX has it.

        Raises:
            AssertionError: neither is given, or there is such a block around this one.
        """
        writer = self._get_file_writer()
        if writer._default_metadata or (global_step is None and walltime is None):
            raise AssertionError("use_metadata needs global_step or walltime, and can't be nested")
        writer._default_metadata = {"global_step": global_step, "walltime": walltime}
        self._direct = False
        try:
            yield self
        finally:
            writer._default_metadata = {}
            self._direct = self._files is None

    def flush(self) -> None:
        """Write event files, if there are any. What was logged is in the run's journal already; `Run.flush` waits for
        the backends."""
        if self._files is not None:
            self._files.flush()

    def close(self) -> None:
        """Close event files, if there are any. The run goes on, and so may the writer."""
        if self._files is not None:
            self._files.close()
        self.file_writer = self.all_writers = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _get_file_writer(self) -> FileWriter:
        """What takes TensorBoard's own events, as in torch and tensorboardX."""
        if self.file_writer is None:
            self.file_writer = FileWriter(os.fspath(self.log_dir), self._files)
            self.all_writers = {self.file_writer.get_logdir(): self.file_writer}
        return self.file_writer

    def _say(self, converter: Converter, **arguments: Any) -> None:
        if self._files is not None:
            metadata = {} if self.file_writer is None else self.file_writer._default_metadata
            given = {name: value for name, value in metadata.items() if arguments.get(name, value) is None}
            self._files.tell(converter.__name__, arguments | given)
        run = tracelet.run.active_run()
        if run is not None:
            converter(run, self, context_of(run, self.log_dir), **arguments)
        elif not self._warned:
            self._warned = True
            _logger.warning(
                "there is no active run: what SummaryWriter(%r) is given is not recorded. "
                "Call tracelet.start_logging() before",
                os.fspath(self.log_dir),
            )


def _default_log_dir(comment: str) -> str:
    now = datetime.now().strftime("%b%d_%H-%M-%S")  # noqa: DTZ005  (local time, as in TensorBoard's own)
    return os.path.join("runs", f"{now}_{socket.gethostname()}{comment}")
