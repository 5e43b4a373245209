"""Cuts of a range of dates into partitions. A cut is the first moment of the later one, and a multiple of the grain."""

from __future__ import annotations

import datetime as dt
from typing import Final

from tracket_async.scan.partition import EARLIEST, LATEST, DateRange

EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def cuts(dates: DateRange, parts: int) -> list[dt.datetime]:
    """Return where to cut the range into ``parts`` partitions, or fewer; nothing where its ends are unknown."""
    low = dates.since or dates.first
    high = _end(dates, low)
    if low is None or high is None:
        return []
    found: list[dt.datetime] = []
    for part in range(1, parts):
        cut = _cut_between(low, high, part / parts, dates.grain)
        if cut is not None and (not found or cut > found[-1]):
            found.append(cut)
    return found


def cut_within(dates: DateRange, low: dt.datetime | None, until: dt.datetime | None, kept: float) -> dt.datetime | None:
    """Return a cut that keeps about ``kept`` (0 to 1) of the dates after ``low`` in front of it, and ``low`` itself.

    Returns:
        None where there is no room, or where it is not known how far the range goes.
    """
    low = low or dates.first
    high = until or _end(dates, low)
    return None if low is None or high is None else _cut_between(low, high, kept, dates.grain)


def is_charted(dates: DateRange, since: dt.datetime | None, until: dt.datetime | None) -> bool:
    """Return whether a partition that nobody has read yet lies where worklogs are expected, so that it can be cut.

    Behind the last date that is expected, every guess would find room for another cut, for ever.
    """
    return until is not None or (dates.last is not None and (since or EARLIEST) < dates.last)


def seconds_ahead(dates: DateRange, reached: dt.datetime, until: dt.datetime | None) -> float:
    """Return the seconds from ``reached`` to ``until``, or to where the range probably ends; at least 0."""
    end = until or _end(dates, reached)
    return 0.0 if end is None else max((end - reached).total_seconds(), 0.0)


def _end(dates: DateRange, low: dt.datetime | None) -> dt.datetime | None:
    """Return where the range ends; where that is unknown, a place to look whether anything lies beyond."""
    if dates.until is not None or dates.last is None:
        return dates.until
    if low is None or low < dates.last:
        return dates.last
    begin = dates.since or dates.first or dates.last
    try:
        return low + max(low - begin, dates.grain)
    except OverflowError:
        return LATEST


def _cut_between(low: dt.datetime, high: dt.datetime, kept: float, grain: dt.timedelta) -> dt.datetime | None:
    try:
        cut = _floor(low + (high - low) * kept, grain)
        if cut <= low:
            cut = _floor(low, grain) + grain
    except OverflowError:
        return None
    return cut if low < cut <= high else None


def _floor(moment: dt.datetime, grain: dt.timedelta) -> dt.datetime:
    return moment - (moment - EPOCH) % grain
