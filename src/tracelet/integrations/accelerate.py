"""A tracker for Hugging Face's Accelerate: `Accelerator(log_with=TraceletTracker(backend="mlflow"))`.

Importing this module also makes the tracker known by its name, where Accelerate can do that:
`Accelerator(log_with="tracelet")`, with `init_trackers(…, init_kwargs={"tracelet": {"backend": "mlflow"}})`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, Unpack

from accelerate import PartialState, tracking
from accelerate.tracking import GeneralTracker, TensorBoardTracker, on_main_process

from tracelet._settings import Backends
from tracelet.integrations._muted import Muted
from tracelet.integrations._said import declare, log_values
from tracelet.integrations._session import Session, StartOptions, inert
from tracelet.run import AsyncRun, Run

F = TypeVar("F", bound=Callable[..., Any])
_main_process_only: Callable[[F], F] = on_main_process

_board = Muted(TensorBoardTracker, ("store_init_configuration", "log"))


class TraceletTracker(GeneralTracker):  # type: ignore[misc]
    """Logs what the Accelerator logs to the active run; without one, to a run of its own.

    A run of its own begins with `init_trackers` and is finished by `end_training`. A script that ends with an exception
    before that leaves it failed.

    Accelerate's TensorBoardTracker beside this one writes as ever, and what the Accelerator gives to both arrives once.

    Args:
        project, backend, exp_name, and the others: of `tracelet.start_logging`, for a run of its own. The project comes
            first because that is what Accelerate passes to a tracker that is named.
    """

    name = "tracelet"
    requires_logging_directory = False

    def __init__(
        self,
        project: str | None = None,
        *,
        backend: Backends = None,
        exp_name: str | None = None,
        **more: Unpack[StartOptions],
    ) -> None:
        super().__init__()
        self._session = Session(backend, exp_name, project, **more)
        self._unmute: Callable[[], object] | None = None

    @property
    def tracker(self) -> Run | AsyncRun:
        """The run, for what the Accelerator doesn't log; an inert one in processes other than the main one."""
        return self._session.run if PartialState().is_main_process else inert()

    @_main_process_only
    def start(self) -> None:
        """Begin."""
        self._session.begin()
        if self._unmute is None:
            self._unmute = _board.mute(self)

    @_main_process_only
    def store_init_configuration(self, values: Mapping[str, Any]) -> None:
        """State hyperparameters; what is called a secret or token is redacted."""
        declare(self._session.run, values)

    @_main_process_only
    def log(self, values: Mapping[str, Any], step: int | None = None, **_: Any) -> None:
        """Log numbers as metrics and strings as texts; nested mappings are flattened with "/"."""
        log_values(self._session.run, values, step)

    @_main_process_only
    def log_images(self, values: Mapping[str, Any], step: int | None = None, **options: Any) -> None:
        """Show images, those of each name at once; the options are those of `Run.log_image`."""
        for name, images in values.items():
            self._session.run.log_image(name, images, step, **options)

    @_main_process_only
    def log_table(
        self,
        table_name: str,
        columns: Sequence[str] | None = None,
        data: Sequence[Sequence[Any]] | None = None,
        dataframe: Any = None,
        step: int | None = None,
        **_: Any,
    ) -> None:
        """Show a table: rows in `data`, or a frame.

        Raises:
            ValueError: there is neither.
        """
        if data is None and dataframe is None:
            raise ValueError("log_table needs the rows, as data=, or a frame, as dataframe=")
        self._session.run.log_table(table_name, data if dataframe is None else dataframe, step, columns=columns)

    @_main_process_only
    def finish(self) -> None:
        """Finish the run, if it is the tracker's own."""
        if self._unmute is not None:
            self._unmute()
            self._unmute = None
        self._session.finish()


if hasattr(tracking, "register_tracker_class") and TraceletTracker.name not in tracking.LOGGER_TYPE_TO_CLASS:
    tracking.register_tracker_class(TraceletTracker)
