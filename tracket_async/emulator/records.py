"""The worklog as the store holds it, and its instants: whole milliseconds since 1970-01-01T00:00Z.

Instants are read from RFC 3339 with a mandatory offset, because a server that guesses a time zone guesses wrong, and
are written in UTC with three digits of milliseconds, as on the vendor's page (``2024-10-22T18:45:31.370Z``).
"""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache
from typing import Final, NamedTuple

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
    """Return the first millisecond of the day ``YYYY-MM-DD``.

    Raises:
        ValueError: `text` is no such day.
    """
    match = _DAY_TEXT.fullmatch(text)
    if match is None:
        raise ValueError("must be a day, YYYY-MM-DD")
    return _day(match[1])


def parse_instant(text: str) -> int:
    """Return the millisecond of an RFC 3339 date-time with an offset; finer fractions are cut off.

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
    """Return ``YYYY-MM-DDTHH:MM:SS.mmmZ``."""
    day, rest = divmod(instant, DAY)
    minute, rest = divmod(rest, MINUTE)
    second, millisecond = divmod(rest, SECOND)
    return f"{_day_text(day)}{_MINUTES[minute]}{_SECONDS[second]}{_MILLISECONDS[millisecond]}"


def format_day(instant: int) -> str:
    """Return ``YYYY-MM-DD``, the UTC day of the instant."""
    return _day_text(instant // DAY)


def start_of_day(instant: int) -> int:
    """Return the first millisecond of the instant's UTC day."""
    return instant - instant % DAY


def _day(text: str) -> int:
    try:
        return (date.fromisoformat(text).toordinal() - _EPOCH) * DAY
    except ValueError as error:
        raise ValueError(f"must be a day of the calendar: {error}") from None


@lru_cache(maxsize=8192)
def _day_text(days: int) -> str:
    return date.fromordinal(days + _EPOCH).isoformat()


NEVER: Final = -(1 << 62)
"""The value of a missing `created` or `updated` instant.

A number and not NULL, because these columns are keys of the walks: a worklog without the date sorts as older
than every other, and row-value comparisons stay exact.
"""

APPROVAL_STATUSES: Final = ("open", "submitted", "approved", "rejected")


class Worklog(NamedTuple):
    """One row; instants are milliseconds since the epoch in UTC, durations are minutes.

    A named tuple, because it is SQLite's parameter row as well: the field names are the column names in the table's
    order, and a million rows are made when a large sample is loaded.

    Attributes:
        id: Unique, never empty.
        item: monday.com item; None is possible in old data.
        user: monday.com user.
        description: Free text or None.
        category: Id of a category or None.
        date: Instant of the work.
        minutes: Minutes worked.
        billable: Billable minutes or None.
        created: Instant of its creation, `NEVER` for worklogs from before that was recorded.
        updated: Instant of its last update, `NEVER` if there was none.
        approval: One of `APPROVAL_STATUSES`.
        approver: User who decided, or None.
        team: 2.0 only.
        board: 2.0 only.
        parent: 2.0 only: the item's parent item.
        project: 2.0 only.
        custom: 2.0 only: the other custom fields, as the text of a JSON object of strings.
    """

    id: str
    item: str | None
    user: str
    description: str | None
    category: str | None
    date: int
    minutes: float
    billable: float | None
    created: int = NEVER
    updated: int = NEVER
    approval: str = "open"
    approver: str | None = None
    team: str | None = None
    board: str | None = None
    parent: str | None = None
    project: str | None = None
    custom: str = "{}"
