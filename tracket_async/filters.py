"""What of a caller's filter is asked of the server, and what is left to the client. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import attrs

from tracket_async.errors import UsageError
from tracket_async.models import Worklog, WorklogFilter


def combined(wanted: WorklogFilter | None, since: dt.date | None, until: dt.date | None) -> WorklogFilter:
    """The filter with its dates, whichever way they were given.

    Raises:
        UsageError: a bound is given in both ways.
        TypeError, ValueError: a bound is no date, naive, or after its upper bound.
    """
    wanted = WorklogFilter() if wanted is None else wanted
    for name, value in (("since", since), ("until", until)):
        if value is not None and getattr(wanted, name) is not None:
            raise UsageError(f"{name} is given twice: by itself and in the filter")
    return attrs.evolve(
        wanted,
        since=wanted.since if since is None else since,
        until=wanted.until if until is None else until,
    )


def has_timestamps(wanted: WorklogFilter) -> bool:
    """Whether it bounds created or updated dates. Servers keep milliseconds, and these bounds have microseconds."""
    bounds = (wanted.created_since, wanted.created_until, wanted.updated_since, wanted.updated_until)
    return any(bound is not None for bound in bounds)


def left_to_client(wanted: WorklogFilter, *, filters_dates: bool) -> Callable[[Worklog], bool] | None:
    """What a list has to check itself, None for nothing.

    Args:
        wanted: the filter.
        filters_dates: whether the server keeps to both ends of a range of dates.
    """
    has_dates = wanted.since is not None or wanted.until is not None
    return wanted.matches if has_timestamps(wanted) or (has_dates and not filters_dates) else None


def check_export(wanted: WorklogFilter, *, concurrency: int) -> None:
    """Whether the filter can be walked in windows of dates, by so many chains at once.

    Raises:
        UsageError: the filter asks for an order, or the concurrency is below 1.
    """
    if wanted.sort_by != "date" or wanted.descending:
        raise UsageError("An export walks by ascending date: leave sort_by and descending out of the filter")
    if concurrency < 1:
        raise UsageError(f"concurrency must be at least 1, not {concurrency}")
