"""Events to bytes and back: MessagePack, and ways round the two things it can't say (huge integers, lone surrogates).

A frame's *word* is the kind of its event in the low byte and flags in the next one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from tracelet.events import AnyEvent, Event, kind_of

HUGE_NUMBERS = 1 << 8
"""Flag: integers beyond 64 bits travel as a MessagePack extension that holds their decimal digits."""

REPAIRED = 1 << 9
"""Flag: a string had lone surrogates, which no UTF-8 can hold; they were written out, as in \\ud800."""

_DECIMAL = 1  # the extension type of a huge integer

encode = msgspec.msgpack.Encoder().encode
"""An event's bytes. Raises OverflowError or UnicodeEncodeError where `encode_unusual` is called for."""

decode_plain: Callable[[bytes], Event] = msgspec.msgpack.Decoder(AnyEvent).decode
"""The event of a payload whose word has no flags."""


def encode_unusual(event: Event) -> tuple[int, bytes]:
    """The flags and bytes of an event that `encode` refused."""
    flags = 0

    def mend(value: Any) -> Any:
        nonlocal flags
        if isinstance(value, str) and not value.isascii():
            mended = value.encode("utf-8", "backslashreplace").decode()
            if mended != value:
                flags |= REPAIRED
            return mended
        if isinstance(value, int) and not -(2**63) <= value < 2**64:
            flags |= HUGE_NUMBERS
            return msgspec.msgpack.Ext(_DECIMAL, _digits(value).encode())
        if isinstance(value, dict):
            return {mend(key): mend(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [mend(item) for item in value]
        return value

    fields = [mend(getattr(event, name)) for name in event.__struct_fields__]
    payload = encode([kind_of(type(event)), *fields])
    return flags, payload


def decode(word: int, payload: bytes) -> Event:
    """The event of a frame. Raises `msgspec.DecodeError` if the payload is not one of the kind the word names."""
    if not word & HUGE_NUMBERS:
        return decode_plain(payload)
    event: Event = msgspec.convert(msgspec.msgpack.decode(payload, ext_hook=_restore), AnyEvent)
    return event


def _restore(code: int, data: memoryview) -> Any:
    if code != _DECIMAL:
        raise msgspec.DecodeError(f"unknown extension type {code}")
    return _number(bytes(data).decode())


def _digits(value: int) -> str:
    # hexadecimal where the interpreter limits decimal conversion (4,300 digits by default)
    try:
        return str(value)
    except ValueError:
        return hex(value)


def _number(text: str) -> int:
    return int(text, 16) if "x" in text else int(text)
