"""The numbers and strings of a TensorProto, from its typed fields or its raw content; without NumPy."""

from __future__ import annotations

from array import array
from math import prod
from struct import pack, unpack
from typing import Any

_HALF, _BFLOAT16, _STRING = 19, 14, 7
_FLOAT_BITS = 0xFFFF  # half floats have no more bits

# By number in TensorFlow's DataType: the format of an element, and the fields that may hold it.
_TYPES: dict[int, tuple[str, tuple[str, ...]]] = {
    1: ("f", ("float_val",)),
    2: ("d", ("double_val",)),
    3: ("i", ("int_val",)),
    4: ("B", ("int_val", "uint32_val")),  # torch's writer has its bytes in the second
    5: ("h", ("int_val",)),
    6: ("b", ("int_val",)),
    9: ("q", ("int64_val",)),
    10: ("?", ("bool_val",)),
    17: ("H", ("int_val",)),
    22: ("I", ("uint32_val",)),
    23: ("Q", ("uint64_val",)),
}


def shape_of(tensor: Any) -> list[int]:
    """The sizes of the axes."""
    return [int(dim.size) for dim in tensor.tensor_shape.dim]


def numbers(tensor: Any) -> list[Any]:
    """The elements in order. Raises ValueError if they are no real numbers."""
    return _elements(tensor)[1]


def block(tensor: Any) -> Any:
    """The elements in their shape, in something that NumPy takes for an array. Raises as `numbers`."""
    code, elements = _elements(tensor)
    shape = shape_of(tensor)
    flat: Any = memoryview(array("B" if code == "?" else code, elements)).cast("B")
    return flat.cast(code, shape) if elements else flat.cast(code)


def strings(tensor: Any) -> list[bytes]:
    """The strings in order. Raises ValueError if they are none."""
    if tensor.dtype != _STRING:
        raise ValueError(f"strings were expected, found a tensor of the type {tensor.dtype}")
    return list(tensor.string_val)


def is_string(tensor: Any) -> bool:
    """Whether it holds strings."""
    return bool(tensor.dtype == _STRING)


def _elements(tensor: Any) -> tuple[str, list[Any]]:
    """The format of one element, and all of them, as many as the shape says: the last one may stand for the rest."""
    count = prod(shape_of(tensor))
    if tensor.dtype in (_HALF, _BFLOAT16):
        code, found = "f", _halves(tensor)
    elif tensor.dtype in _TYPES:
        code, fields = _TYPES[tensor.dtype]
        if tensor.tensor_content:
            content: Any = memoryview(tensor.tensor_content)
            found = content.cast(code).tolist()
        else:
            found = next((list(held) for field in fields if len(held := getattr(tensor, field, ()))), [])
    else:
        raise ValueError(f"tensors of the type {tensor.dtype} are not supported")
    if found and len(found) < count:
        found += [found[-1]] * (count - len(found))
    if len(found) != count:
        raise ValueError(f"a tensor of the shape {shape_of(tensor)} has {len(found)} elements")
    return code, found


def _halves(tensor: Any) -> list[float]:
    """Half floats and bfloat16 as floats. torch's writer has the bits of 32-bit floats where those of 16 belong."""
    if tensor.tensor_content:
        bits = memoryview(tensor.tensor_content).cast("H").tolist()
    else:
        bits = [value & 0xFFFFFFFF for value in tensor.half_val]
    if any(value > _FLOAT_BITS for value in bits):
        return list(unpack(f"<{len(bits)}f", pack(f"<{len(bits)}I", *bits)))
    if tensor.dtype == _BFLOAT16:
        return list(unpack(f"<{len(bits)}f", pack(f"<{len(bits)}I", *(value << 16 for value in bits))))
    return list(unpack(f"<{len(bits)}e", pack(f"<{len(bits)}H", *bits)))
