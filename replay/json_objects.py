"""One line as a JSON object, for formats that look into it."""

from __future__ import annotations

import json

import orjson

_DIGITS = bytes(0x30 if 0x30 <= byte <= 0x39 else 0x20 for byte in range(256))
"""Makes each digit a 0, and whatever is none a blank."""
_LONG_NUMBER = b"0" * 19
"""A whole number of so many digits may not fit 64 bits: orjson would make a float of it."""
_DEEP = 900
"""Levels of nesting that the standard library may refuse, and orjson not yet."""


def object_in(line: bytes) -> dict[str, object] | None:
    """The JSON object that a line is, as the standard library reads it; None where it is none."""
    usual = _LONG_NUMBER not in line.translate(_DIGITS) and (
        len(line) < _DEEP or line.count(b"{") + line.count(b"[") < _DEEP
    )
    try:
        value: object = orjson.loads(line) if usual else _read(line)
    except orjson.JSONDecodeError:  # with NaN, half a surrogate pair or a byte-order mark it is one nevertheless
        value = _read(line)
    return value if isinstance(value, dict) else None


def _read(line: bytes) -> object:
    """What the standard library reads; None where it reads nothing."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
