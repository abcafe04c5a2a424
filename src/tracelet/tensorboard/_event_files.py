"""Writing TensorBoard's event files as well, by somebody's SummaryWriter: `write_tensorboard=True`."""

from __future__ import annotations

import inspect
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from tracelet.tensorboard._capture import uncaptured

_NAMES = {"run_name": "name", "prototxt": "onnx_model_file"}
"""What tensorboardX calls arguments of torch's."""


class EventFiles:
    """Another SummaryWriter, which is told the same and writes files of it.

    Args:
        options: of torch's constructor.

    Raises:
        ImportError: there is neither torch with tensorboard nor tensorboardX.
    """

    def __init__(self, **options: Any) -> None:
        self._writer = _writer_class()(**options)

    def tell(self, method: str, arguments: dict[str, Any]) -> None:
        """Call a method with the arguments of torch's. Those that this writer doesn't have are left out."""
        call = getattr(self._writer, method, None)
        if call is None:  # add_tensor is torch's alone, and add_openvino_graph tensorboardX's
            return
        known = inspect.signature(call).parameters
        named = {_NAMES.get(name, name) if name not in known else name: value for name, value in arguments.items()}
        with uncaptured():
            call(**{name: value for name, value in named.items() if name in known})

    def add_event(self, event: Any, step: Any, walltime: float | None) -> None:
        """Write an event, of whichever library's."""
        messages = sys.modules[type(self._writer).__module__].event_pb2
        with uncaptured():
            own = messages.Event.FromString(event.SerializeToString())
            self._writer._get_file_writer().add_event(own, step, walltime)

    def flush(self) -> None:
        """Write what is waiting."""
        self._writer.flush()

    def close(self) -> None:
        """Close the files; what is told afterwards begins new ones."""
        self._writer.close()


def _writer_class() -> Any:
    """Torch's where torch is at work already, else tensorboardX's, which is lighter, else torch's."""
    torch = find_spec("torch") is not None and find_spec("tensorboard") is not None
    if torch and "torch" in sys.modules:
        return import_module("torch.utils.tensorboard").SummaryWriter
    if find_spec("tensorboardX") is not None:
        return import_module("tensorboardX").SummaryWriter
    if torch:
        return import_module("torch.utils.tensorboard").SummaryWriter
    raise ImportError(
        "write_tensorboard=True needs something that writes event files: install tensorboardX, or torch and tensorboard"
    )
