"""Moments and days as text and back: RFC 3339 in JSON, HTTP-dates in headers, dates that people type.

A moment is an aware datetime in UTC. A day has no time zone.
"""

from __future__ import annotations

import datetime as dt
import re
from email.utils import parsedate_to_datetime
from functools import lru_cache

import msgspec

_MILLISECOND = dt.timedelta(milliseconds=1)
_HTTP_DATE = re.compile(r"[A-Z][a-z]{2,8},? [ -~]{1,40}", re.ASCII)
_LEAP_SECOND = re.compile(r"([Tt ]\d\d:\d\d):60", re.ASCII)
_MIDNIGHT = re.compile(r"[Tt ]24:00(?=$|Z|z|[+-]|:00(?:[.,]0+)?(?:$|Z|z|[+-]))", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d.*)?", re.ASCII | re.IGNORECASE)


def read_moment(text: str) -> dt.datetime:
    """Return an RFC 3339 date-time, with any offset or none, or another ISO 8601 form, as a moment.

    Kept to the microsecond; further digits are rounded. Text without an offset is taken to be UTC, and a day to be its
    00:00 UTC (inferred: the API's pages show only ``Z``). A leap second (RFC 3339, 5.7) is the second before it, and
    24:00 is 00:00 of the next day (ISO 8601).

    Raises:
        ValueError: it is none, or its moment in UTC is outside of the years 1 to 9999.
    """
    return in_utc(_read(text))


def _read(text: str) -> dt.datetime:
    try:
        return msgspec.convert(text, dt.datetime)
    except msgspec.ValidationError:
        pass
    usual, midnights = _MIDNIGHT.subn("T00:00", _LEAP_SECOND.sub(r"\1:59", text))
    moment = dt.datetime.fromisoformat(usual)
    try:
        return moment + midnights * dt.timedelta(days=1)
    except OverflowError:
        raise ValueError("outside of the years 1 to 9999") from None


def in_utc(moment: dt.datetime) -> dt.datetime:
    """Return a datetime of any offset in UTC; one without is taken to be in UTC.

    Raises:
        ValueError: in UTC it is outside of the years 1 to 9999.
    """
    if moment.tzinfo is None:
        return moment.replace(tzinfo=dt.UTC)
    try:
        return moment.astimezone(dt.UTC)
    except OverflowError:
        raise ValueError("outside of the years 1 to 9999") from None


@lru_cache(maxsize=4096)
def read_day(text: str) -> dt.datetime:
    """Return a calendar day, as it is written, at 00:00 UTC. A time and an offset may follow it; they move nothing.

    Raises:
        ValueError: it is neither a day nor a date-time.
    """
    written = _read(text)
    return dt.datetime(written.year, written.month, written.day, tzinfo=dt.UTC)


def write_moment(moment: dt.datetime) -> str:
    """Return a moment as ``YYYY-MM-DDTHH:MM:SS.mmmZ``, with six digits when it is no whole number of milliseconds."""
    precision = "microseconds" if moment.microsecond % 1000 else "milliseconds"
    return f"{moment.astimezone(dt.UTC).replace(tzinfo=None).isoformat(timespec=precision)}Z"


def write_day(moment: dt.datetime) -> str:
    """Return the day of a datetime as it is written, in its own offset: ``YYYY-MM-DD``."""
    return moment.date().isoformat()


def first_millisecond(moment: dt.datetime) -> str:
    """Return the last whole millisecond that is not after the moment: as a lower bound it loses nothing."""
    return write_moment(moment - dt.timedelta(microseconds=moment.microsecond % 1000))


def last_millisecond(moment: dt.datetime) -> str:
    """Return the first whole millisecond that is not before the moment: as an upper bound it loses nothing."""
    beyond = moment.microsecond % 1000
    if not beyond:
        return write_moment(moment)
    try:
        return write_moment(moment - dt.timedelta(microseconds=beyond) + _MILLISECOND)
    except OverflowError:
        return write_moment(moment)


def parse_date(text: str, *, offset_needed: bool = True) -> dt.date:
    """Return a date that a person wrote: ``YYYY-MM-DD``, or an ISO 8601 date-time with an offset.

    Stricter than `read_moment`, which reads what servers send.

    Args:
        text: the date.
        offset_needed: refuse a date-time without an offset; False: return it as a naive datetime.

    Returns:
        A date, or (a datetime is a date to Python) an aware datetime that keeps its offset.

    Raises:
        ValueError: it is neither; it is no date of the calendar; or it has no offset, so that nobody knows which moment
            it is. The message shows the first 40 characters of the text.
    """
    refusal = ValueError(f"{text!r:.40} is no date. Give YYYY-MM-DD, or a date-time such as 2024-05-20T09:30Z")
    if not _DATE.fullmatch(text):  # Python reads more forms of ISO 8601 than people do: 20240520, 2024-W21-1
        raise refusal
    day_only = len(text) == len("YYYY-MM-DD")
    try:
        found = dt.date.fromisoformat(text) if day_only else dt.datetime.fromisoformat(text.upper())
    except ValueError:
        raise (ValueError(f"{text!r} is no date: there is no such day") if day_only else refusal) from None
    if offset_needed and isinstance(found, dt.datetime) and found.utcoffset() is None:
        raise ValueError(f"{text!r:.40} has no offset, so nobody knows which moment it is. Append Z for UTC, or +02:00")
    return found


@lru_cache(maxsize=64)
def parse_http_date(value: str) -> dt.datetime | None:
    """Return an HTTP-date, in any of the three forms of RFC 9110, 5.6.7, as a moment; None for anything else."""
    text = value.strip()
    if not _HTTP_DATE.fullmatch(text):
        return None
    try:
        moment = parsedate_to_datetime(text)
        return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
