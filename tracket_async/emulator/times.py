"""Instants are whole milliseconds since 1970-01-01T00:00Z: read from text, written as text, nothing else.

RFC 3339 with a mandatory offset comes in, because a server that guesses a time zone guesses wrong; what goes
out is always UTC with three digits of milliseconds, as on the vendor's page (``2024-10-22T18:45:31.370Z``).
"""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache
from typing import Final

SECOND: Final = 1_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

_EPOCH: Final = date(1970, 1, 1).toordinal()
_FIRST: Final = (date.min.toordinal() - _EPOCH) * DAY
_LAST: Final = (date.max.toordinal() - _EPOCH + 1) * DAY - 1

# looked up, because formatting numbers is what rendering a large sample would mostly do
_MINUTES: Final = tuple(f"T{minute // 60:02d}:{minute % 60:02d}:" for minute in range(DAY // MINUTE))
_SECONDS: Final = tuple(f"{second:02d}." for second in range(60))
_MILLISECONDS: Final = tuple(f"{millisecond:03d}Z" for millisecond in range(1000))

_DAY_TEXT: Final = re.compile(r"(\d{4}-\d{2}-\d{2})", re.ASCII)
_INSTANT_TEXT: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt ]([01]\d|2[0-3]):([0-5]\d):([0-5]\d)(?:\.(\d+))?"
    r"(?:[Zz]|([+-])([01]\d|2[0-3]):([0-5]\d))",
    re.ASCII,
)


def parse_day(text: str) -> int:
    """The first millisecond of the day ``YYYY-MM-DD``.

    Raises:
        ValueError: `text` is no such day.
    """
    match = _DAY_TEXT.fullmatch(text)
    if match is None:
        raise ValueError("must be a day, YYYY-MM-DD")
    return _day(match[1])


def parse_instant(text: str) -> int:
    """The millisecond of an RFC 3339 date-time with an offset; finer fractions are cut off.

    Raises:
        ValueError: `text` is no such date-time, or lies outside the years 1 to 9999 in UTC.
    """
    match = _INSTANT_TEXT.fullmatch(text)
    if match is None:
        raise ValueError("must be an RFC 3339 date-time with an offset, such as 2024-10-22T18:45:31.370Z")
    day, hours, minutes, seconds, fraction, sign, offset_hours, offset_minutes = match.groups()
    instant = _day(day) + int(hours) * HOUR + int(minutes) * MINUTE + int(seconds) * SECOND
    if fraction:
        instant += int(fraction[:3].ljust(3, "0"))
    if sign:
        offset = int(offset_hours) * HOUR + int(offset_minutes) * MINUTE
        instant += offset if sign == "-" else -offset
    if not _FIRST <= instant <= _LAST:
        raise ValueError("must lie in the years 1 to 9999 when it is taken to UTC")
    return instant


@lru_cache(maxsize=64)  # a worklog's instants are written once for each version, one after the other
def format_instant(instant: int) -> str:
    """``YYYY-MM-DDTHH:MM:SS.mmmZ``."""
    day, rest = divmod(instant, DAY)
    minute, rest = divmod(rest, MINUTE)
    second, millisecond = divmod(rest, SECOND)
    return f"{_day_text(day)}{_MINUTES[minute]}{_SECONDS[second]}{_MILLISECONDS[millisecond]}"


def format_day(instant: int) -> str:
    """``YYYY-MM-DD``, the UTC day of the instant."""
    return _day_text(instant // DAY)


def start_of_day(instant: int) -> int:
    """The first millisecond of the instant's UTC day."""
    return instant - instant % DAY


def _day(text: str) -> int:
    try:
        return (date.fromisoformat(text).toordinal() - _EPOCH) * DAY
    except ValueError as error:
        raise ValueError(f"must be a day of the calendar: {error}") from None


@lru_cache(maxsize=8192)
def _day_text(days: int) -> str:
    return date.fromordinal(days + _EPOCH).isoformat()
