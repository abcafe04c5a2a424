"""A fake of PyTorch on devices that do nothing until they are told to, and that note who waits for them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from types import ModuleType
from typing import Any

GARBAGE = -1.0  # what memory holds before a copy into it has been done


class Device:
    """A queue of work. `kind` is what torch calls it."""

    def __init__(self, kind: str) -> None:
        self.type = kind
        self.waits: list[threading.Thread] = []
        """The threads that waited for the device to have done everything."""
        self.asked = 0
        """How often somebody asked, without waiting, whether the device had come to an event."""
        self.broken: Exception | None = None
        self._work: deque[Callable[[], None]] = deque()
        self._lock = threading.RLock()

    def queue(self, work: Callable[[], None]) -> None:
        if self.broken is not None:
            raise self.broken
        with self._lock:
            self._work.append(work)

    def run(self, most: int = 10**9) -> None:
        """Do what is in the queue, or the oldest `most` pieces of it."""
        with self._lock:
            while self._work and most > 0:
                self._work.popleft()()
                most -= 1

    def wait(self) -> None:
        self.waits.append(threading.current_thread())
        if self.broken is not None:
            raise self.broken
        self.run()


class Host(Device):
    """What torch calls the device "cpu": it does everything at once."""

    def __init__(self) -> None:
        super().__init__("cpu")

    def queue(self, work: Callable[[], None]) -> None:
        work()


HOST = Host()


class Tensor:
    """A tensor, as far as it matters here. All reading that torch does on the host waits for the device."""

    def __init__(self, value: Any, device: Device = HOST, *, numel: int = 1, is_complex: bool = False) -> None:
        self.value = value
        self.device = device
        self._numel = numel
        self._is_complex = is_complex

    def numel(self) -> int:
        return self._numel

    def is_complex(self) -> bool:
        return self._is_complex

    def detach(self) -> Tensor:
        return self

    def fill_(self, value: Any) -> None:
        self.device.queue(lambda: setattr(self, "value", value))

    def to(self, place: str, non_blocking: bool) -> Tensor:
        assert (place, non_blocking) == ("cpu", True)
        return self._copy(HOST)

    def clone(self) -> Tensor:
        return self._copy(self.device)

    def _copy(self, device: Device) -> Tensor:
        copy = Tensor(GARBAGE, device)
        self.device.queue(lambda: setattr(copy, "value", self.value))
        return copy

    def item(self) -> Any:
        if self._numel != 1:
            raise RuntimeError(f"a Tensor with {self._numel} elements cannot be converted to Scalar")
        if self.device.type == "meta":
            raise RuntimeError("Tensor.item() cannot be called on meta tensors")
        if self.device is not HOST:
            self.device.wait()
        return self.value


class Event:
    """Is there once the device has come to it."""

    def __init__(self) -> None:
        self._device: Device | None = None
        self._reached = False

    def record(self, stream: Device) -> None:
        self._device = stream
        stream.queue(lambda: setattr(self, "_reached", True))

    def query(self) -> bool:
        assert self._device is not None
        self._device.asked += 1
        if self._device.broken is not None:
            raise self._device.broken
        return self._reached

    def synchronize(self) -> None:
        assert self._device is not None
        self._device.wait()


def module(device: Device) -> ModuleType:
    """A module "torch" for one device: "cuda" and "xpu" have streams, "mps" has only events, and others neither."""
    torch: Any = ModuleType("torch")
    torch.Tensor = Tensor
    accelerator: Any = ModuleType(f"torch.{device.type}")
    setattr(torch, device.type, accelerator)
    if device.type in ("cuda", "xpu"):
        accelerator.Event = Event

        def current_stream(of: Device) -> Device:
            assert of is device
            return device

        accelerator.current_stream = current_stream
    elif device.type == "mps":

        class OnlyStream(Event):
            def record(self, stream: Device = device) -> None:
                super().record(stream)

        accelerator.Event = OnlyStream
    return torch  # type: ignore[no-any-return]
