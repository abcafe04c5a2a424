"""The SummaryWriters that are captured: where they are, and which converter each of their methods has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from tracelet.tensorboard import _converters as convert
from tracelet.tensorboard._converters import Converter

if TYPE_CHECKING:
    from tracelet.tensorboard._converters import Logger
    from tracelet.tensorboard._logdirs import Context


class Flavour(Struct, frozen=True):
    """A SummaryWriter of somebody's.

    Attributes:
        module: where the class is defined, and those that write its events to files.
        log_dir: the attribute with its log directory.
        converters: by the name of the method.
        has_metadata: whether its writers have `use_metadata`.
    """

    module: str
    log_dir: str
    converters: Mapping[str, Converter]
    has_metadata: bool = False


def _hparams_of_tensorboardx(
    run: Logger,
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
    convert.add_hparams(run, writer, context, hparam_dict, metric_dict, None, name, global_step)


def _boxes_of_tensorboardx(
    run: Logger,
    writer: object,
    context: Context | None,
    /,
    tag: str,
    img_tensor: Any,
    box_tensor: Any,
    global_step: Any = None,
    walltime: Any = None,
    dataformats: str = "CHW",
    labels: Any = None,
    **_: Any,
) -> None:
    convert.add_image_with_boxes(
        run, writer, context, tag, img_tensor, box_tensor, global_step, walltime, 1, dataformats, labels
    )


def _onnx_of_tensorboardx(
    run: Logger, writer: object, context: Context | None, /, onnx_model_file: Any, *_: Any, **__: Any
) -> None:
    convert.add_onnx_graph(run, writer, context, onnx_model_file)


FLAVOURS = (
    Flavour(module="torch.utils.tensorboard.writer", log_dir="log_dir", converters=convert.METHODS),
    Flavour(
        module="tensorboardX.writer",
        log_dir="logdir",
        converters={
            **convert.METHODS,
            "add_hparams": _hparams_of_tensorboardx,
            "add_image_with_boxes": _boxes_of_tensorboardx,
            "add_onnx_graph": _onnx_of_tensorboardx,
            "add_openvino_graph": convert.add_openvino_graph,
        },
        has_metadata=True,
    ),
)
