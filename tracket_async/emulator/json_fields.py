"""Checkers of JSON values and query parameters, and the functions that render one JSON value.

A checker takes a value from the client and returns the value for the store, or raises ValueError with the end of a
sentence ("must be ..."). `read_object` runs a table of them over a JSON object and names the field at fault.

The renderers of both versions are format strings over the functions here. A general JSON encoder takes three times as
long, and a large sample renders every worklog twice.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Any, Final, cast

from attrs import frozen

from tracket_async.emulator.records import APPROVAL_STATUSES, NEVER, format_instant, parse_day, parse_instant
from tracket_async.emulator.routes import ApiError

Checker = Callable[[Any], Any]


@frozen
class Field:
    """One field of a JSON object.

    Attributes:
        name: Its name in the JSON.
        column: The column of `Worklog` that it fills.
        check: Turns the JSON value into the column's value.
        required: Whether it must be there when a worklog is created.
    """

    name: str
    column: str
    check: Checker
    required: bool = False


def text(value: Any) -> str:
    """Check a string that can be stored: no lone surrogates, which UTF-8 cannot carry."""
    if not isinstance(value, str):
        raise ValueError("must be a string")  # noqa: TRY004 -- a checker raises one kind of error
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("must not contain a lone surrogate") from None
    return value


def name(value: Any) -> str:
    """Check a string that is not empty."""
    given = text(value)
    if not given:
        raise ValueError("must not be empty")
    return given


def minutes(value: Any) -> float:
    """Check a finite number of minutes, which the vendor's page does not bound; true and false are no numbers."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number of minutes")  # noqa: TRY004 -- as above
    try:
        number = float(value)
    except OverflowError:
        raise ValueError("must be finite") from None
    if not math.isfinite(number):
        raise ValueError("must be finite")
    return number


def mapping(value: Any) -> dict[str, Any]:
    """Check a JSON object."""
    if not isinstance(value, dict):
        raise ValueError("must be an object")  # noqa: TRY004 -- as above
    return cast("dict[str, Any]", value)


def instant(value: Any) -> int:
    """Check an RFC 3339 date-time and return milliseconds since the epoch."""
    return parse_instant(text(value))


def day(value: Any) -> int:
    """Check a day ``YYYY-MM-DD`` and return its first millisecond."""
    return parse_day(text(value))


def instant_or_never(value: Any) -> int:
    """Check an RFC 3339 date-time, or null for `NEVER`."""
    return NEVER if value is None else instant(value)


def approval(value: Any) -> str:
    """Check one of the four approval statuses."""
    if value not in APPROVAL_STATUSES:
        raise ValueError(f"must be one of {', '.join(APPROVAL_STATUSES)}")
    return cast("str", value)


def or_null(check: Checker) -> Checker:
    """Return the same checker, but null passes as None."""

    def checked(value: Any) -> Any:
        return None if value is None else check(value)

    return checked


def parse_object(body: bytes) -> dict[str, Any]:
    """Parse the JSON object in a request body.

    Raises:
        ApiError: 400; it is no UTF-8, no JSON, or no object.
    """
    try:
        payload = json.loads(body.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"the body is not JSON: {str(error)[:200]}") from None
    if not isinstance(payload, dict):
        raise ApiError(400, "the body must be a JSON object")
    return cast("dict[str, Any]", payload)


def read_object(payload: Mapping[str, Any], fields: Iterable[Field], *, partial: bool = False) -> dict[str, Any]:
    """Read the columns in `payload` by the table `fields`; keys outside the table are ignored.

    Args:
        payload: A JSON object.
        fields: The table.
        partial: True for an update: nothing is required, and what is absent is left out.

    Raises:
        ApiError: 400, naming the first field of the table that is missing or wrong.
    """
    columns: dict[str, Any] = {}
    for each in fields:
        if each.name not in payload:
            if each.required and not partial:
                raise ApiError(400, "is required", each.name)
            continue
        columns[each.column] = checked(each.check, payload[each.name], each.name)
    return columns


def checked(check: Checker, value: Any, field: str) -> Any:
    """Return `check(value)`, or raise an ApiError of status 400 that names `field`."""
    try:
        return check(value)
    except ValueError as error:
        raise ApiError(400, str(error), field) from None


def _no_constant(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON number")


_EXACT: Final = 1e15  # below it, a whole number is written without a fraction and reads back the same


string: Final = encode_basestring
"""A JSON string, not escaped to ASCII: the C function under `json.dumps`, called millions of times here."""


def string_or_null(value: str | None) -> str:
    """Render a JSON string, or null."""
    return "null" if value is None else encode_basestring(value)


@lru_cache(maxsize=4096)  # people book quarters of an hour
def number(value: float) -> str:
    """Render a JSON number; whole numbers as the vendor's server writes them, without a fraction."""
    return str(int(value)) if value.is_integer() and value < _EXACT else repr(value)


def number_or_null(value: float | None) -> str:
    """Render a JSON number, or null."""
    return "null" if value is None else number(value)


def instant_or_null(value: int) -> str:
    """Render a date-time in quotes, or null for `NEVER`."""
    return "null" if value == NEVER else f'"{format_instant(value)}"'
