"""Changes since a mark: the moment from which they are fetched, and the worklogs that were created or updated since.

One rule for `Worklogs.changes`, for syncs, and for whatever else keeps a copy of the worklogs up to date:

* A mark is the server's time when a look began, or the newest created or updated date that the server had then,
  whichever is earlier (`ServerClock`). The Date header may come from another clock than the dates.
* A look begins `OVERLAP` before its mark (`changed_since`), for clocks that differ and writes that take time.
* Whether a new worklog has an updated date is not documented, so both dates are asked for.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Awaitable, Callable
from itertools import chain
from typing import Final

import attrs

from tracket_async._api.endpoints import RowPage
from tracket_async._api.fast import columns_of
from tracket_async._timestamps import write_moment
from tracket_async.models import WorklogFilter

OVERLAP: Final = dt.timedelta(minutes=5)
"""How far before its mark a look begins."""

_logger: Final = logging.getLogger("tracket_async")
_SAME_CLOCK: Final = dt.timedelta(minutes=5)
"""Times that differ by no more may be of one clock."""
_EARLIEST: Final = dt.datetime.min.replace(tzinfo=dt.UTC)


@attrs.frozen(kw_only=True)
class ServerTime:
    """The times of a server.

    Attributes:
        now: by its ``Date`` header; without one, this machine's time.
        mark: the moment from which changes have to be fetched the next time: ``now``, or the newest created or updated
            date that the server has, whichever is earlier. A mark ahead of the dates would lose changes.
    """

    now: dt.datetime
    mark: dt.datetime


class ServerClock:
    """Read the times of a server of API 2.0, with two requests each time.

    Args:
        fetch: returns the first page, of a single worklog, of what a filter asks for.
        now: returns this machine's time.
    """

    def __init__(self, fetch: Callable[[WorklogFilter], Awaitable[RowPage]], now: Callable[[], dt.datetime]) -> None:
        self._fetch = fetch
        self._now = now
        self._disagreed = False

    async def read(self) -> ServerTime:
        """Return the server's time, and the mark of a look that begins now."""
        here, header, newest = self._now(), None, None
        for sort_by in ("updated_date", "created_date"):
            page = await self._fetch(WorklogFilter(sort_by=sort_by, descending=True))
            header = header or page.server_date
            columns = columns_of(page.items, ("created_date", "updated_date"))
            newest = max((date for date in (*chain(*columns), newest) if date is not None), default=None)
        header = header or here
        self._compare(here, header, newest or header)
        return ServerTime(now=header, mark=min(header, newest or header))

    def _compare(self, here: dt.datetime, header: dt.datetime, newest: dt.datetime) -> None:
        """Say it, once, when the clock of the ``Date`` header cannot be that of the dates.

        A header that is later than the newest date says nothing by itself: perhaps nothing has changed since. It does
        when it is later than this machine's time as well.
        """
        disagree = newest - header > _SAME_CLOCK or (header - newest > _SAME_CLOCK and header - here > _SAME_CLOCK)
        if disagree and not self._disagreed:
            self._disagreed = True
            _logger.warning(
                "The server's clocks disagree: its Date header says %s, and its newest change is of %s (this machine's "
                "time is %s). Changes are fetched from the earlier of the two on",
                *(write_moment(moment) for moment in (header, newest, here)),
            )


def changed_since(mark: dt.datetime, *, overlap: dt.timedelta = OVERLAP) -> tuple[WorklogFilter, WorklogFilter]:
    """Return the two lists of a look: what was updated since a mark, and what was created, each in ascending order."""
    since = max(mark, _EARLIEST + overlap) - overlap
    return (
        WorklogFilter(updated_since=since, sort_by="updated_date"),
        WorklogFilter(created_since=since, sort_by="created_date"),
    )
