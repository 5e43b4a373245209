"""Changes since a mark: the moment from which they are fetched, and the worklogs that were created or updated since.

One rule for `Worklogs.changes`, for syncs, and for whatever else keeps a copy of the worklogs up to date:

* A mark is the server's time when a look began, or the newest created or updated date that the server had then,
  whichever is earlier (`ServerClock`). The Date header may come from another clock than the dates.
* A look begins `OVERLAP` before its mark (`changed_since`), for clocks that differ and writes that take time.
* Whether a new worklog has an updated date is not documented, so both dates are asked for.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from itertools import chain
from typing import Final, Literal

import attrs
import msgspec

from tracket_async._api.endpoints import ApiVersion, RowPage
from tracket_async._api.fast import columns_of
from tracket_async._http.limits import Clock
from tracket_async._tasks import Nested
from tracket_async._timestamps import write_moment
from tracket_async.errors import BadRequestError, GoneError, UnsupportedError, UsageError
from tracket_async.models import Page, Worklog, WorklogFilter, first_moment, is_moment
from tracket_async.pagination import OrderCheck, Position, ResumableIteration, Send, noting_failure

OVERLAP: Final = dt.timedelta(minutes=5)
"""How far before its mark a look begins."""

_logger: Final = logging.getLogger("tracket_async")
_SAME_CLOCK: Final = dt.timedelta(minutes=5)
"""Times that differ by no more may be of one clock."""
_NO_WORKLOG: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_EARLIEST: Final = dt.datetime.min.replace(tzinfo=dt.UTC)


@attrs.frozen(kw_only=True)
class ServerTime:
    """The times of a server.

    Attributes:
        now: by its ``Date`` header; without one, this machine's time.
        mark: the moment from which changes have to be fetched the next time: ``now``, or the newest created or updated
            date that the server has, whichever is earlier. A mark ahead of the dates would lose changes. 1970 where the
            server has no worklog, and where none has a date, this machine's time if that is earlier than ``now``.
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
        here, header, newest, is_empty = self._now(), None, None, True
        for sort_by in ("updated_date", "created_date"):
            page = await self._fetch(WorklogFilter(sort_by=sort_by, descending=True))
            header = header or page.server_date
            is_empty = is_empty and not page.items
            columns = columns_of(page.items, ("created_date", "updated_date"))
            newest = max((date for date in (*chain(*columns), newest) if date is not None), default=None)
        header = header or here
        self._compare(here, header, newest or header)
        return ServerTime(now=header, mark=_NO_WORKLOG if is_empty else min(header, newest or here))

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


def look_begins(mark: dt.datetime, overlap: dt.timedelta = OVERLAP) -> dt.datetime:
    """Return the moment from which a look asks for changes: the overlap before its mark."""
    return max(mark, _EARLIEST + overlap) - overlap


def changed_since(mark: dt.datetime, *, overlap: dt.timedelta = OVERLAP) -> tuple[WorklogFilter, WorklogFilter]:
    """Return the two lists of a look: what was updated since a mark, and what was created, each in ascending order."""
    since = look_begins(mark, overlap)
    return (
        WorklogFilter(updated_since=since, sort_by="updated_date"),
        WorklogFilter(created_since=since, sort_by="created_date"),
    )


@attrs.frozen(kw_only=True)
class Change:
    """A worklog that was created or updated.

    Attributes:
        kind: ``"created"`` when it was created since the mark and has not come before, else ``"updated"``.
        worklog: as the server has it now.
    """

    kind: Literal["created", "updated"]
    worklog: Worklog


@attrs.frozen(kw_only=True)
class ChangeBatch:
    """Some changes, and the mark with which to go on behind them.

    Attributes:
        changes: at most those of one page, each id once, in ascending order of the updated or of the created date.
        mark: JSON text: keep it as it is when the changes have been handled. It holds dates, and digests of the
            worklogs of the last minutes, at most `REMEMBERED` of them.
    """

    changes: tuple[Change, ...]
    mark: str


REMEMBERED: Final = 10_000
"""So many worklogs a mark remembers at most. Of more within `OVERLAP`, some come again after a restart."""


class Mark(msgspec.Struct, frozen=True, omit_defaults=True):
    """The content of a mark: how far the two lists have been handled, and what has come since before that.

    Attributes:
        updated: everything that was updated before has been handled.
        created: everything that was created before has been handled.
        begun: where the list of what was updated began, of a look that was not at its end; None: at ``updated``.
        seen: digests of worklogs that have come and will be met again, by id.
    """

    updated: dt.datetime
    created: dt.datetime
    begun: dt.datetime | None = None
    seen: dict[str, str] = msgspec.field(default_factory=dict[str, str])

    def to_text(self) -> str:
        """Return the mark as JSON text."""
        return msgspec.json.encode(self).decode()


@attrs.frozen
class _Moment:
    mark: dt.datetime = attrs.field(converter=first_moment, validator=is_moment)


def read_mark(mark: str | dt.date | None) -> Mark | None:
    """Return a mark that a `ChangeBatch` had, or that of a moment; None: from now.

    Raises:
        UsageError: it is text, and no mark.
        TypeError, ValueError: it is neither text nor a date, or a naive datetime.
    """
    if mark is None:
        return None
    if not isinstance(mark, str):
        moment = _Moment(mark).mark
        return Mark(moment, moment)
    try:
        found = msgspec.json.decode(mark, type=Mark)
    except msgspec.DecodeError:
        found = None
    if found is None or None in {
        date.utcoffset() for date in (found.updated, found.created, found.begun or found.created)
    }:
        raise UsageError(
            f"{mark!r:.60} is no mark", hint="Give the mark of a batch as it was, or an aware datetime to begin with"
        )
    return found


def follow(
    pages: Callable[[WorklogFilter], AsyncGenerator[Page]],
    send: Send,
    api_version: ApiVersion,
    clock: Clock,
    *,
    mark: str | dt.date | None,
    every: float | None,
) -> AsyncGenerator[ChangeBatch]:
    """Iterate over changes: see `Worklogs.changes`.

    Args:
        pages: iterates over the pages of what a filter asks for.
        send: sends the requests for the server's time.
        api_version: makes them.
        clock: tells this machine's time, and waits between two looks.
        mark: where to begin.
        every: seconds between two looks; None: a single one.
    """
    if not api_version.has_total:
        raise UnsupportedError(
            f"API {api_version.version} does not tell what was created or updated since a moment",
            hint="Keep a store up to date with tracket sync or tracket watch: they compare worklog by worklog",
        )
    if every is not None and not every > 0:
        raise UsageError(f"every must be above 0 seconds, not {every!r}")

    def first(wanted: WorklogFilter) -> Awaitable[RowPage]:
        return send(api_version.list(wanted, size=api_version.smallest_page), api_version.rows)

    position = Position()
    feed = ChangeFeed(pages, ServerClock(first, clock.now), clock)
    return ResumableIteration(feed.batches(read_mark(mark), every=every, position=position), position)


class ChangeFeed:
    """Fetch changes, look after look.

    Args:
        pages: iterates over the pages of what a filter asks for.
        server_clock: tells the mark of each look.
        clock: waits between two looks.
    """

    def __init__(
        self, pages: Callable[[WorklogFilter], AsyncGenerator[Page]], server_clock: ServerClock, clock: Clock
    ) -> None:
        self._pages = pages
        self._server_clock = server_clock
        self._clock = clock
        self._seen: dict[str, tuple[dt.datetime, str]] = {}

    async def batches(
        self, mark: Mark | None, *, every: float | None, position: Position
    ) -> AsyncGenerator[ChangeBatch]:
        """Yield the changes since a mark; None: since now. Take note in ``position`` of a failure.

        Args:
            mark: where to begin.
            every: seconds between two looks; None: end after the first.
            position: shared with the iteration.
        """
        with noting_failure(position):
            async with Nested(self._looks(mark, every)) as batches:
                async for batch in batches:
                    yield batch

    async def _looks(self, mark: Mark | None, every: float | None) -> AsyncGenerator[ChangeBatch]:
        saved = None if mark is None else mark.to_text()
        while True:
            times = await self._server_clock.read()
            held: ChangeBatch | None = None
            start = Mark(times.mark, times.mark) if mark is None else mark
            async with Nested(self._look(start, times.mark)) as batches:
                async for batch in batches:
                    if mark is None:  # what was there before now: it is only remembered
                        continue
                    if held is not None:
                        yield held
                    held = batch
            mark = Mark(times.mark, times.mark, seen=self._remembered(times.mark))
            text = mark.to_text()
            if held is not None or text != saved:
                saved = text
                yield ChangeBatch(changes=() if held is None else held.changes, mark=text)
            if every is None:
                return
            await self._clock.sleep(every)

    async def _look(self, mark: Mark, until: dt.datetime) -> AsyncGenerator[ChangeBatch]:
        """Yield what was updated since the mark, then what was created.

        It begins at ``until``, the mark of this look, where the mark is later than that: one that was not the server's,
        or whose worklog was deleted. What is met before the mark then is remembered, for the looks after this one.

        The second list leaves out what the first one has passed.
        """
        begun = mark.begun or mark.updated
        start = Mark(min(mark.updated, until), min(mark.created, until))
        begins, passed = look_begins(min(begun, until)), _EARLIEST
        async with Nested(self._list("updated_date", start.updated, until)) as lists:
            async for worklogs, position in lists:
                passed = max([passed, *(_date(one.updated_date) for one in worklogs)])
                if changes := self._changes(worklogs, mark, until):
                    yield ChangeBatch(changes=changes, mark=Mark(position, start.created, begun).to_text())
        async with Nested(self._list("created_date", start.created, until)) as lists:
            async for worklogs, position in lists:
                others = [one for one in worklogs if not _is_between(one.updated_date, begins, passed)]
                if changes := self._changes(others, mark, until):
                    yield ChangeBatch(changes=changes, mark=Mark(until, position, begun).to_text())

    def _changes(self, worklogs: Sequence[Worklog], mark: Mark, until: dt.datetime) -> tuple[Change, ...]:
        """Return the worklogs that have not come as they are now; remember those that the next look will meet."""
        updated, created = look_begins(mark.updated), look_begins(mark.created)
        changes: dict[str, Change] = {}
        for worklog in worklogs:
            id_, digest = worklog.id, _digest(worklog)
            before = self._seen[id_][1] if id_ in self._seen else mark.seen.get(id_)
            is_new = _date(worklog.created_date) >= created
            if digest != before and (is_new or _date(worklog.updated_date) >= updated):
                kind: Literal["created", "updated"] = "created" if is_new and before is None else "updated"
                changes[id_] = Change(kind=kind, worklog=worklog)
            self._remember(worklog, digest, until)
        return tuple(changes.values())

    def _remember(self, worklog: Worklog, digest: str, until: dt.datetime) -> None:
        changed = max(_date(worklog.created_date), _date(worklog.updated_date))
        if changed >= look_begins(until):
            self._seen[worklog.id] = changed, digest

    def _remembered(self, mark: dt.datetime) -> dict[str, str]:
        """Forget what the next look will not meet. Return the digests of the rest, the newest `REMEMBERED` of them."""
        begins = look_begins(mark)
        self._seen = {id_: seen for id_, seen in self._seen.items() if seen[0] >= begins}
        newest = sorted(self._seen, key=lambda id_: self._seen[id_][0])[-REMEMBERED:]
        return {id_: self._seen[id_][1] for id_ in newest}

    async def _list(
        self, sort_by: Literal["updated_date", "created_date"], mark: dt.datetime, until: dt.datetime
    ) -> AsyncGenerator[tuple[Sequence[Worklog], dt.datetime]]:
        """Yield the pages of one list, each with how far the list has been handled behind it.

        That advances only while the list is seen to ascend, and never beyond ``until``. Where a cursor is refused, the
        list begins again from there, unless it has advanced no further than the time before.
        """
        position, begun = mark, None
        while True:
            wanted, order = changed_since(position)[sort_by == "created_date"], OrderCheck()
            try:
                async with Nested(self._pages(wanted)) as pages:
                    async for page in pages:
                        dates: list[dt.datetime] = [getattr(worklog, sort_by) for worklog in page.items]
                        order.see(dates)
                        if order.proven and order.last is not None:
                            position = max(position, min(order.last, until))
                        yield page.items, position
            except (BadRequestError, GoneError) as error:
                if error.cursor is None or position == begun:
                    raise
                begun = position
            else:
                return


def _date(date: dt.datetime | None) -> dt.datetime:
    """Return a date, or for none one that is before all others."""
    return _EARLIEST if date is None else date


def _is_between(date: dt.datetime | None, first: dt.datetime, end: dt.datetime) -> bool:
    return date is not None and first <= date < end


def _digest(worklog: Worklog) -> str:
    return hashlib.blake2b(repr(worklog).encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
