"""Dates as people type them: a day, a date-time, and words such as ``today``, ``30d``, ``2026-10`` and ``last-month``.

A word is a period of whole days. As a lower bound it means its first day, as an upper bound its last.
"""

from __future__ import annotations

import calendar
import datetime as dt
import re
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import attrs
from cyclopts import Token

from tracket_async._timestamps import parse_date
from tracket_async.errors import UsageError
from tracket_async.export.text import time_zone

_AGO: Final = re.compile(r"(\d{1,5})d", re.ASCII)
_MONTH: Final = re.compile(r"(\d{4})-(\d\d)", re.ASCII)
_WEEK: Final = re.compile(r"(\d{4})-W(\d\d)", re.ASCII | re.IGNORECASE)
_DAY: Final = dt.timedelta(days=1)
WORDS: Final = "today, yesterday, 30d (ago), 2026-10, 2026-W45, and this- or last- before week, month and year"


@attrs.frozen
class Period:
    """Whole days, the first and the last of them included."""

    first: dt.date
    last: dt.date


Typed: TypeAlias = str | dt.date
"""A date that was typed: text that `read` understands, or a date already."""


def today(tz: str | None) -> dt.date:
    """Return the day that it is in a time zone.

    Args:
        tz: its IANA name; None: that of this machine.

    Raises:
        UsageError: there is no such time zone.
    """
    now = _now()
    return now.astimezone(None if tz is None else time_zone(tz)).date()


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def read(text: str, today: dt.date) -> Period | dt.date:
    """Return what a text means on a day: a period, or one date or aware datetime.

    Raises:
        ValueError: it means nothing, or a day outside of the years 1 to 9999.
    """
    word = text.lower()
    try:
        found = _day(word, today) or _month(word, today) or _other_period(word, today)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r:.40} is no date: there is no such day, week or month") from None
    if found is not None:
        return found
    try:
        return parse_date(text)
    except ValueError as error:
        if "Give" not in str(error):  # it has the form of a date, and the message says what is wrong with it
            raise
        raise ValueError(
            f"{text!r:.40} is no date. Give YYYY-MM-DD, a date-time such as 2024-05-20T09:30Z, or one of {WORDS}"
        ) from None


def _day(word: str, today: dt.date) -> dt.date | None:
    ago = _AGO.fullmatch(word)
    days = int(ago[1]) if ago else {"today": 0, "yesterday": 1}.get(word)
    return None if days is None else today - days * _DAY


def _month(word: str, today: dt.date) -> Period | None:
    if found := _MONTH.fullmatch(word):
        first = dt.date(int(found[1]), int(found[2]), 1)
    elif word in {"this-month", "last-month"}:
        first = today.replace(day=1)
        first = first if word == "this-month" else (first - _DAY).replace(day=1)
    else:
        return None
    return Period(first, first.replace(day=calendar.monthrange(first.year, first.month)[1]))


def _other_period(word: str, today: dt.date) -> Period | None:
    if found := _WEEK.fullmatch(word):
        monday = dt.date.fromisocalendar(int(found[1]), int(found[2]), 1)
    elif word in {"this-week", "last-week"}:
        monday = today - (today.weekday() + (7 if word == "last-week" else 0)) * _DAY
    elif word in {"this-year", "last-year"}:
        year = today.year - (word == "last-year")
        return Period(dt.date(year, 1, 1), dt.date(year, 12, 31))
    else:
        return None
    return Period(monday, monday + 6 * _DAY)


def lower(typed: Typed | None, tz: str | None) -> dt.date | None:
    """Return a lower bound: of a period, its first day."""
    found = _resolved(typed, tz)
    return found.first if isinstance(found, Period) else found


def upper(typed: Typed | None, tz: str | None) -> dt.date | None:
    """Return an upper bound: of a period, its last day."""
    found = _resolved(typed, tz)
    return found.last if isinstance(found, Period) else found


def _resolved(typed: Typed | None, tz: str | None) -> Period | dt.date | None:
    return read(typed, today(tz)) if isinstance(typed, str) else typed


def month(text: str, tz: str | None) -> Period:
    """Return the month of ``2026-10``, ``this-month`` or ``last-month``.

    Raises:
        UsageError: it is another text, or there is no such month.
    """
    try:
        found = _month(text.lower(), today(tz))
    except ValueError:
        found = None
    if found is None:
        raise UsageError(f"--month {text!r:.40} is no month. Give 2026-10, this-month or last-month")
    return found


_ANY_DAY: Final = dt.date(2000, 1, 1)


def convert(_type: Any, tokens: Sequence[Token]) -> str:
    """Return the text of an option, once it is sure that it means something. Whose today it is comes later."""
    text = tokens[0].value
    read(text, _ANY_DAY)
    return text


def convert_day(_type: Any, tokens: Sequence[Token]) -> dt.date:
    """Return a day or date-time; ``today``, ``yesterday`` and ``30d`` are of this machine's time zone.

    Raises:
        ValueError: it is neither.
    """
    text = tokens[0].value
    return _day(text.lower(), today(None)) or parse_date(text)
