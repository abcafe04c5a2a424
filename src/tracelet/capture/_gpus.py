"""The graphics cards of NVIDIA, through their library, if the machine has them."""

from __future__ import annotations

import os
from contextlib import suppress
from importlib import import_module
from typing import Any

from msgspec import Struct

from tracelet.capture._imports import importing


class Gpu(Struct, frozen=True):
    """One card, under the number that NVIDIA's tools give it."""

    index: int
    handle: Any
    name: str
    memory: int


class Gpus:
    """The cards that this process may use; none where there is no library, no driver or no card."""

    def __init__(self) -> None:
        self._library: Any = None
        self.cards: list[Gpu] = []
        self.driver = ""
        self.cuda = ""
        try:
            with importing():
                pynvml = import_module("pynvml")
            pynvml.nvmlInit()
        except Exception:  # noqa: BLE001 - no such module, no library, no driver: they all mean that there is nothing
            return
        self._library = pynvml
        with suppress(Exception):
            self.driver = _text(pynvml.nvmlSystemGetDriverVersion())
            version = int(pynvml.nvmlSystemGetCudaDriverVersion())
            self.cuda = f"{version // 1000}.{version % 1000 // 10}"
        with suppress(Exception):
            for index in range(int(pynvml.nvmlDeviceGetCount())):
                self._add(index)

    def close(self) -> None:
        """Let go of the library."""
        if self._library is not None:
            with suppress(Exception):
                self._library.nvmlShutdown()
            self._library = None

    def measure(self) -> dict[str, float]:
        """What each card does now; what one can't tell is left out."""
        found: dict[str, float] = {}
        nvml = self._library
        for card in self.cards if nvml is not None else ():
            name, handle = f"system/gpu_{card.index}", card.handle
            with suppress(Exception):
                found[f"{name}_percent"] = float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
            with suppress(Exception):
                memory = nvml.nvmlDeviceGetMemoryInfo(handle)
                found[f"{name}_memory_bytes"] = float(memory.used)
                found[f"{name}_memory_percent"] = 100.0 * memory.used / memory.total
            with suppress(Exception):
                found[f"{name}_celsius"] = float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
            with suppress(Exception):
                found[f"{name}_watts"] = nvml.nvmlDeviceGetPowerUsage(handle) / 1000.0
        return found

    def _add(self, index: int) -> None:
        nvml = self._library
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        identity = ""
        with suppress(Exception):
            identity = _text(nvml.nvmlDeviceGetUUID(handle))
        if _is_visible(index, identity):
            memory = 0
            with suppress(Exception):
                memory = int(nvml.nvmlDeviceGetMemoryInfo(handle).total)
            self.cards.append(Gpu(index, handle, _text(nvml.nvmlDeviceGetName(handle)), memory))


def _is_visible(index: int, identity: str) -> bool:
    """What CUDA_VISIBLE_DEVICES says: numbers, or beginnings of identities; up to the first that there can't be."""
    said = os.environ.get("CUDA_VISIBLE_DEVICES")
    if said is None:
        return True
    for one in (part.strip() for part in said.split(",")):
        if not one or one.startswith("-"):
            return False
        if one == str(index) or (identity and not one.isdigit() and identity.startswith(one)):
            return True
    return False


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
