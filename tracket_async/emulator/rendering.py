"""How one JSON value is written: the pieces that both versions' renderers are made of.

The renderers are format strings over these pieces. A general JSON encoder would do the same at three times the
price, and a large sample renders every worklog twice.
"""

from __future__ import annotations

from functools import lru_cache
from json.encoder import encode_basestring
from typing import Final

from tracket_async.emulator.times import format_instant
from tracket_async.emulator.worklog import NEVER

_EXACT: Final = 1e15  # below it, a whole number is written without a fraction and reads back the same


string: Final = encode_basestring
"""A JSON string, not escaped to ASCII: the C function under `json.dumps`, called millions of times here."""


def string_or_null(value: str | None) -> str:
    """A JSON string, or null."""
    return "null" if value is None else encode_basestring(value)


@lru_cache(maxsize=4096)  # people book quarters of an hour
def number(value: float) -> str:
    """A JSON number; whole numbers as the vendor's server writes them, without a fraction."""
    return str(int(value)) if value.is_integer() and value < _EXACT else repr(value)


def number_or_null(value: float | None) -> str:
    """A JSON number, or null."""
    return "null" if value is None else number(value)


def instant_or_null(value: int) -> str:
    """A date-time in quotes, or null for `NEVER`."""
    return "null" if value == NEVER else f'"{format_instant(value)}"'
