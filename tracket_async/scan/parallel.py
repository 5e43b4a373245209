"""Workers of a parallel scan: they fetch the pages that the scheduler asks for, and hand over its batches."""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from operator import attrgetter
from typing import Any, Final, Generic, TypeVar, cast

import attrs

from tracket_async._api.endpoints import ApiVersion
from tracket_async._api.fast import Row
from tracket_async._http.messages import Request, Response
from tracket_async._tasks import gather, start
from tracket_async.errors import BadRequestError, ClientStateError, GoneError, TracketError
from tracket_async.models import Page, Worklog, WorklogFilter, a_day_wider, check_scan_order
from tracket_async.pagination import Recount, Send, said_twice
from tracket_async.scan.partition import (
    DAY,
    Batch,
    DateRange,
    Fetch,
    ItemFormat,
    PageLike,
    ScanSettings,
    ScanStatistics,
)
from tracket_async.scan.scheduler import PageRequest, Scheduler

T = TypeVar("T")

_logger: Final = logging.getLogger("tracket_async")


class Notifier:
    """Wake the tasks that are waiting at this moment."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    async def wait(self) -> None:
        """Wait until the next `notify`."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    def notify(self) -> None:
        """Wake those that wait now."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)


class ParallelScan(Generic[T]):
    """A scan that reads many partitions of the dates at once.

    Args:
        fetch: fetches one page of a query.
        dates: the dates to be read. With ``settings.states``, those of the scan that they come from.
        settings: how to read them.
        keep: returns whether an item belongs to the scan, for what the server cannot filter; None: all do.
        recount: counts the worklogs once more at the end; None: nothing is compared. Not for a scan that is resumed.
        look_wider: awaited when there was nothing at all; it calls `read_wide` if there may be something. None: there
            is nothing then.
        warn: says how the server deviates.
    """

    def __init__(
        self,
        fetch: Fetch[T],
        dates: DateRange,
        settings: ScanSettings[T],
        *,
        keep: Callable[[T], bool] | None = None,
        recount: Recount | None = None,
        look_wider: Callable[[], Awaitable[None]] | None = None,
        warn: Callable[[str], None] = _logger.warning,
    ) -> None:
        self._fetch = fetch
        self._recount = recount
        self._look_wider = look_wider
        self._began: dt.datetime | None = None
        self._concurrency = settings.concurrency
        self._scheduler = Scheduler(dates, settings, keep=keep, warn=warn)
        self._news = Notifier()
        self._work_to_do = Notifier()
        self._error: BaseException | None = None
        self._running = False

    def read_wide(self) -> None:
        """Call `Scheduler.read_wide`."""
        self._scheduler.read_wide()

    def statistics(self) -> ScanStatistics:
        """Return how far the scan is."""
        return self._scheduler.statistics()

    async def batches(self) -> AsyncGenerator[Batch[T]]:
        """Yield every batch. Closing it (`contextlib.aclosing`) cancels and awaits what is on its way.

        After an error, or after closing it, calling it again goes on: nothing handed over comes again.

        Raises:
            TracketError: a page could not be fetched. All that had arrived before has been handed over.
            IncompleteExportError: the server counts more worklogs than it has sent.
            ClientStateError: it is already being iterated.
        """
        if self._running:
            raise ClientStateError("This scan is already being iterated")
        self._running = True
        self._error = None
        out = self._scheduler.partitions.out
        workers = self._workers()
        try:
            while True:
                while out:
                    yield out.popleft()
                    self._work_to_do.notify()
                if self._error is not None:
                    raise self._error
                if self._scheduler.finished:
                    if not await self._found_more():
                        break
                    workers += self._workers()
                await self._news.wait()
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.wait(workers)
            self._running = False
        if self._recount is not None:
            await self._compare(self._recount)

    def _workers(self) -> list[asyncio.Task[None]]:
        return [start(self._work()) for _ in range(self._concurrency)]

    async def _found_more(self) -> bool:
        """Look once whether what came out empty, or has ended, is so; return whether there is something to read."""
        if self._look_wider is not None and not self._scheduler.partitions.distinct:
            look_wider, self._look_wider = self._look_wider, None
            await look_wider()
        if self._scheduler.finished:
            self._scheduler.confirm_ends()
        return not self._scheduler.finished

    async def _compare(self, recount: Recount) -> None:
        """Compare what the server has sent with its total."""
        seen, total = self._scheduler.partitions.distinct, await recount.total()
        if total is None:
            return
        recount.warn_of_small_total(seen, total)
        at_start = self._scheduler.total_at_start
        if seen < (total if at_start is None else min(total, at_start)):
            await recount.check(seen, total if at_start is None else at_start, self._began)

    async def _work(self) -> None:
        scheduler = self._scheduler
        try:
            while not scheduler.finished and self._error is None:
                # What is handed over more slowly than it arrives must not pile up.
                request = scheduler.next() if len(scheduler.partitions.out) < self._concurrency else None
                if request is None:
                    await self._work_to_do.wait()
                    continue
                await self._step(request)
                self._news.notify()
                self._work_to_do.notify()
        except BaseException as error:
            # Whoever iterates waits for news alone, so that even a cancellation has to reach it there.
            self._error = self._error or error
            self._news.notify()
            if not isinstance(error, Exception):
                raise

    async def _step(self, request: PageRequest[T]) -> None:
        partition = request.partition
        try:
            page = await self._fetch(partition.asked_since, partition.asked_until, partition.cursor)
        except (BadRequestError, GoneError) as error:
            if not self._scheduler.refused(request):
                error.cursor = partition.cursor
                raise
        except BaseException as error:
            if isinstance(error, TracketError):
                error.cursor = partition.cursor
            self._scheduler.returned(request)
            raise
        else:
            self._began = self._began or page.server_date
            self._scheduler.arrived(request, page)


MINUTE: Final = dt.timedelta(minutes=1)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


_date_of: Final = attrgetter("date")
_id_of: Final = attrgetter("id")


# Of a whole page, a comprehension takes two thirds of the time of an attrgetter.


def _dates_of(items: Sequence[Any]) -> list[dt.datetime]:
    return [item.date for item in items]


def _ids_of(items: Sequence[Any]) -> list[str]:
    return [item.id for item in items]


def worklog_format(api_version: ApiVersion) -> ItemFormat[Worklog]:
    """Return the format of a scan whose items are `Worklog` objects."""
    return ItemFormat(
        page=api_version.page,
        date_of=_date_of,
        id_of=_id_of,
        matches=WorklogFilter.matches,
        dates_of=_dates_of,
        ids_of=_ids_of,
    )


def row_format(api_version: ApiVersion) -> ItemFormat[Row]:
    """Return the format of a scan whose items are rows."""
    return ItemFormat(
        page=api_version.rows, date_of=_date_of, id_of=_id_of, matches=matches, dates_of=_dates_of, ids_of=_ids_of
    )


def matches(wanted: WorklogFilter, row: Row) -> bool:
    """Return whether the row matches the filter."""
    # A row has all attributes of a worklog.
    return wanted.matches(cast("Worklog", row))


async def scan(
    send: Send,
    api_version: ApiVersion,
    wanted: WorklogFilter,
    settings: ScanSettings[T],
    *,
    compare_total: bool = False,
    now: Callable[[], dt.datetime] = _now,
) -> ParallelScan[T]:
    """Return the scan of all worklogs that match, not begun yet: ``client.worklogs.export`` runs on it.

    Args:
        send: sends a request; ``client.send``, or something around it that waits, retries or counts.
        api_version: ``client.api_version``.
        wanted: which worklogs; the order cannot be chosen.
        settings: how to read them.
        compare_total: compare what was read with the server's total at the end, where it gives one.
        now: returns this machine's time, aware UTC.

    Raises:
        UsageError: ``wanted`` asks for an order.
        UnsupportedError: this version of the API has no such filter.
    """
    wanted = api_version.resolve(wanted)
    check_scan_order(wanted)
    api_version.list(wanted)  # what this version cannot filter is told here, and not at the first page

    bounds, matches = wanted.bounds_only(), settings.item_format.matches

    @functools.lru_cache(maxsize=4 * settings.concurrency)  # the pages of a partition differ in their cursors alone
    def query(
        since: dt.datetime | None, until: dt.datetime | None
    ) -> tuple[Callable[[str | None], Request], Callable[[T], bool], Callable[[T], bool]]:
        """Return what makes the requests, and what belongs to the answer: to that of the first, and of the others."""
        asked = attrs.evolve(bounds, since=since, until=until)
        # On API 1.0, the worklogs behind a partition may be on its first page as well.
        first = asked if dates.enforced else attrs.evolve(bounds, since=since, until=None)
        return api_version.pages(asked), functools.partial(matches, first), functools.partial(matches, asked)

    def fetch(
        since: dt.datetime | None, until: dt.datetime | None, cursor: str | None
    ) -> Coroutine[Any, Any, PageLike[T]]:
        request_for, belongs_to_first, belongs = query(since, until)
        if cursor is None:  # it may be empty: the scan asks for the end once more, or compares totals
            return send(request_for(None), said_twice(page_of, belongs_to_first, may_be_empty=True))
        return send(request_for(cursor), said_twice(page_of, belongs))

    looked = not api_version.keeps_days

    def page_of(response: Response) -> PageLike[T]:
        nonlocal looked
        page = settings.item_format.page(response)
        if not looked and page.items:
            looked = True
            if api_version.has_offsets(response):
                found.read_wide()
                if recount is not None:
                    recount.wanted = a_day_wider(wanted)
        return page

    async def look_wider() -> None:
        if not looked:
            await send(api_version.list(a_day_wider(wanted), size=1), page_of)

    dates = await _date_range(send, api_version, wanted, now)
    recount = Recount(send, api_version, wanted) if compare_total and api_version.has_total else None
    found = ParallelScan(
        fetch,
        dates,
        settings,
        keep=(lambda item: matches(wanted, item)) if wanted.bounds_changes or wanted.values else None,
        recount=recount,
        look_wider=look_wider if wanted.bounds_dates and not settings.states else None,
        warn=api_version.oddities.warn_once,
    )
    return found


async def _date_range(
    send: Send, api_version: ApiVersion, wanted: WorklogFilter, now: Callable[[], dt.datetime]
) -> DateRange:
    """Return the dates of the filter, and where within them the worklogs probably are."""

    async def edge(wanted: WorklogFilter) -> dt.datetime | None:
        page: Page = await send(api_version.list(wanted, size=1), api_version.page)
        return page.items[0].date if page.items else None

    if not api_version.filters_ranges:
        return DateRange(since=wanted.since, until=wanted.until, last=now(), grain=MINUTE)
    first = last = None
    if wanted.since is None or wanted.until is None:
        first, last = await gather(edge(wanted), edge(attrs.evolve(wanted, descending=True)))
    return DateRange(since=wanted.since, until=wanted.until, first=first, last=last, grain=DAY, enforced=True)
