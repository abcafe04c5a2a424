"""From a call of a SummaryWriter's method to the event it stands for: one converter for each method.

A converter takes the run, the writer and the context of its log directory, then the arguments exactly as the writer's
method takes them, so that Python itself binds them. Two flavours share a converter where they agree on the arguments
that matter; what a later version of theirs adds is let through. TensorBoard's words end here: tag becomes name,
global_step step, and walltime time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import Struct

from tracelet.tensorboard import _values as values

if TYPE_CHECKING:
    from tracelet.run import AsyncRun, Run
    from tracelet.tensorboard._logdirs import Context

Converter: TypeAlias = Callable[..., None]


class Flavour(Struct, frozen=True):
    """A SummaryWriter of somebody's.

    Attributes:
        module: where the class is defined.
        log_dir: the attribute with its log directory.
        converters: by the name of the method.
        direct: the methods of which a call with nothing but a name, a float and an int is `log_metric`'s own.
    """

    module: str
    log_dir: str
    converters: Mapping[str, Converter]
    direct: frozenset[str] = frozenset()


def add_scalar(
    run: Run | AsyncRun,
    writer: object,
    context: Context | None,
    /,
    tag: str,
    scalar_value: Any,
    global_step: Any = None,
    walltime: Any = None,
    *_: Any,
    **__: Any,
) -> None:
    """One metric. The usual types skip the conversion: this runs once per point."""
    run.log_metric(
        tag,
        scalar_value if type(scalar_value) is float else values.number(scalar_value),
        global_step if type(global_step) is int else values.step(global_step),
        context=context,
        time=walltime if walltime is None else values.time(walltime),
    )


def add_scalars(
    run: Run | AsyncRun,
    writer: object,
    context: Context | None,
    /,
    main_tag: str,
    tag_scalar_dict: Mapping[str, Any],
    global_step: Any = None,
    walltime: Any = None,
    *_: Any,
    **__: Any,
) -> None:
    """One event with a metric `main_tag/tag` for each entry; none for no entries."""
    metrics = {f"{main_tag}/{tag}": values.number(value) for tag, value in tag_scalar_dict.items()}
    if metrics:
        run.log_metrics(metrics, values.step(global_step), context=context, time=values.time(walltime))


def _add_scalar_x(
    run: Run | AsyncRun,
    writer: Any,
    context: Context | None,
    /,
    tag: str,
    scalar_value: Any,
    global_step: Any = None,
    walltime: Any = None,
    *_: Any,
    **__: Any,
) -> None:
    """tensorboardX's `use_metadata` says step and time for the calls inside it that say none themselves."""
    if global_step is None or walltime is None:
        metadata = getattr(writer.file_writer, "_default_metadata", None)
        if metadata:
            global_step = metadata.get("global_step") if global_step is None else global_step
            walltime = metadata.get("walltime") if walltime is None else walltime
    add_scalar(run, writer, context, tag, scalar_value, global_step, walltime)


def _hparam_metrics(
    run: Run | AsyncRun, context: Context | None, metric_dict: Mapping[str, Any], global_step: Any
) -> None:
    """The metrics of `add_hparams`, once and under their own names.

    The original adds them as scalars of a nested writer, in a log directory named after the second. Seen as such, each
    call would bring a context of its own.
    """
    if metric_dict:
        metrics = {name: values.number(value) for name, value in metric_dict.items()}
        run.log_metrics(metrics, values.step(global_step), context=context)


def _add_hparams(
    run: Run | AsyncRun,
    writer: object,
    context: Context | None,
    /,
    hparam_dict: Mapping[str, Any],
    metric_dict: Mapping[str, Any],
    hparam_domain_discrete: Any = None,
    run_name: str | None = None,
    global_step: Any = None,
    *_: Any,
    **__: Any,
) -> None:
    _hparam_metrics(run, context, metric_dict, global_step)


def _add_hparams_x(
    run: Run | AsyncRun,
    writer: object,
    context: Context | None,
    /,
    hparam_dict: Mapping[str, Any],
    metric_dict: Mapping[str, Any],
    name: str | None = None,
    global_step: Any = None,
    *_: Any,
    **__: Any,
) -> None:
    _hparam_metrics(run, context, metric_dict, global_step)


FLAVOURS = (
    Flavour(
        module="torch.utils.tensorboard.writer",
        log_dir="log_dir",
        converters={"add_scalar": add_scalar, "add_scalars": add_scalars, "add_hparams": _add_hparams},
        direct=frozenset({"add_scalar"}),
    ),
    Flavour(
        module="tensorboardX.writer",
        log_dir="logdir",
        converters={"add_scalar": _add_scalar_x, "add_scalars": add_scalars, "add_hparams": _add_hparams_x},
    ),
)
