"""The months of the benchmarks' worklogs: the parts in which the peers read them at the same time."""

from __future__ import annotations

import datetime as dt

from benchmarks.data import DAYS, FIRST_DAY


def months() -> list[tuple[str, str]]:
    """Return the first and the last day of each, as the API takes them."""
    last = FIRST_DAY + dt.timedelta(days=DAYS - 1)
    firsts = [dt.date(year, month, 1) for year in range(FIRST_DAY.year, last.year + 1) for month in range(1, 13)]
    begun = [day for day in firsts if FIRST_DAY.replace(day=1) <= day <= last]
    ends = [day - dt.timedelta(days=1) for day in begun[1:]]
    return [(first.isoformat(), end.isoformat()) for first, end in zip(begun, [*ends, last], strict=True)]
