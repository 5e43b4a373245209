"""Workers of a parallel scan: they fetch the pages that the scheduler asks for, and hand over its batches."""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from operator import attrgetter
from typing import Final, Generic, Protocol, TypeVar

import attrs

from tracket_async._api.endpoints import ApiVersion
from tracket_async._http.messages import Request, Response
from tracket_async.errors import BadRequestError, ClientStateError, GoneError, TracketError
from tracket_async.models import Page, Worklog, WorklogFilter, check_scan_order
from tracket_async.scan.partition import DAY, Batch, DateRange, Fetch, Keys, PageLike, PartitionState, ScanStatistics
from tracket_async.scan.scheduler import PageRequest, Scheduler

T = TypeVar("T")
R = TypeVar("R")


class Notifier:
    """Wakes everybody who is waiting at this moment."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    async def wait(self) -> None:
        """Until the next `ring`."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    def ring(self) -> None:
        """Wakes those who wait now."""
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)


class ParallelScan(Generic[T]):
    """A walk by many partitions at once, over partitions of date.

    Args:
        fetch: fetches one page of a query.
        dates: the dates to be walked.
        date_of, id_of: how to tell the date (aware datetime) and the id of an item.
        concurrency: pages that are fetched at once, at least 1.
        ordered: hand batches over in ascending order of date (within the same date, in the server's order).
            A bounded number of pages waits for those before them; about as fast. Cannot be resumed from states.
        keep: whether an item belongs to the walk, for what the server cannot filter; None: all do.
        states: the states kept of an earlier run with the same ``dates``, to go on from; empty: begin.
        on_notice: is told, in a sentence, when the run has to fall back to one partition.

    Raises:
        ValueError: ``concurrency`` is below 1, or ``states`` are given with ``ordered``.
    """

    def __init__(
        self,
        fetch: Fetch[T],
        dates: DateRange,
        *,
        date_of: Callable[[T], dt.datetime],
        id_of: Callable[[T], str],
        concurrency: int = 16,
        ordered: bool = False,
        keep: Callable[[T], bool] | None = None,
        states: Iterable[PartitionState] = (),
        on_notice: Callable[[str], None] | None = None,
    ) -> None:
        states = tuple(states)
        if concurrency < 1:
            raise ValueError(f"concurrency must be at least 1, not {concurrency}")
        if ordered and states:
            raise ValueError("states cannot be resumed in order: leave out ordered=True")
        self._fetch = fetch
        self._concurrency = concurrency
        self._scheduler = Scheduler(
            dates,
            Keys(date_of, id_of),
            workers=concurrency,
            ordered=ordered,
            keep=keep,
            states=states,
            on_notice=on_notice,
        )
        self._news = Notifier()
        self._work_to_do = Notifier()
        self._error: BaseException | None = None
        self._running = False

    def statistics(self) -> ScanStatistics:
        """How the run stands."""
        return self._scheduler.statistics()

    def states(self) -> tuple[PartitionState, ...]:
        """Where every partition stands, by id. What `batches` has not handed over yet counts as handed over here."""
        return self._scheduler.partitions.states()

    async def batches(self) -> AsyncGenerator[Batch[T]]:
        """Every batch. Closing it (`contextlib.aclosing`) cancels and awaits what is on its way.

        After an error, or after closing it, calling it again goes on: nothing handed over comes again.

        Raises:
            TracketError: a page could not be fetched. All that had arrived before has been handed over.
            ClientStateError: it is already being iterated.
        """
        if self._running:
            raise ClientStateError("This walk is already being iterated")
        self._running = True
        self._error = None
        out = self._scheduler.partitions.out
        workers = [asyncio.create_task(self._work()) for _ in range(self._concurrency)]
        try:
            while True:
                while out:
                    yield out.popleft()
                    self._work_to_do.ring()
                if self._error is not None:
                    raise self._error
                if self._scheduler.finished:
                    return
                await self._news.wait()
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.wait(workers)
            self._running = False

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
                self._news.ring()
                self._work_to_do.ring()
        except BaseException as error:
            # Whoever iterates waits for news alone, so that even a cancellation has to reach it there.
            self._error = self._error or error
            self._news.ring()
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
            self._scheduler.arrived(request, page)


MINUTE: Final = dt.timedelta(minutes=1)

_logger = logging.getLogger("tracket_async")


@attrs.frozen(kw_only=True)
class ItemFormat(Generic[T]):
    """What a concurrent walk makes of a page, for those who need no `Worklog`.

    Attributes:
        page: reads an answer; a page with ``items``, ``next_cursor``, ``total`` and ``server_date``.
        date_of, id_of: the date (aware datetime) and the id of an item.
        matches: whether an item is within all bounds of a filter; asked only for bounds of created and updated dates.
    """

    page: Callable[[Response], PageLike[T]]
    date_of: Callable[[T], dt.datetime]
    id_of: Callable[[T], str]
    matches: Callable[[WorklogFilter, T], bool]


def worklog_format(api_version: ApiVersion) -> ItemFormat[Worklog]:
    """Every item is a `Worklog`."""
    return ItemFormat(
        page=api_version.page, date_of=attrgetter("date"), id_of=attrgetter("id"), matches=WorklogFilter.matches
    )


class Send(Protocol):
    """A function that sends a request, as `TracketClient.send` does."""

    def __call__(self, request: Request, parse: Callable[[Response], R], /) -> Awaitable[R]:
        """Send a request and return what ``parse`` makes of its response."""
        ...


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


async def scan(
    send: Send,
    api_version: ApiVersion,
    wanted: WorklogFilter,
    item_format: ItemFormat[T],
    *,
    concurrency: int = 16,
    ordered: bool = False,
    states: Iterable[PartitionState] = (),
    on_notice: Callable[[str], None] | None = None,
    now: Callable[[], dt.datetime] = _now,
) -> ParallelScan[T]:
    """Return a scan of what the filter wants: what ``client.worklogs.export`` runs on, for items of any format.

    Args:
        send: sends a request; ``client.send``, or something around it that waits, retries or counts.
        api_version: ``client.api_version``.
        wanted: which worklogs; the order cannot be chosen.
        item_format: what to make of each page; `worklog_format` for worklogs.
        concurrency: pages fetched at once, at least 1.
        ordered: as in ``client.worklogs.export``.
        states: those of an earlier run with the same filter, to go on from; empty: begin.
        on_notice: as in ``client.worklogs.export``.
        now: returns the time, aware UTC.

    Raises:
        UsageError: ``wanted`` asks for an order.
        ValueError: ``concurrency`` is below 1; or there are ``states``, and ``ordered``.
    """
    check_scan_order(wanted)

    @functools.lru_cache(maxsize=4 * concurrency)  # the pages of a partition differ in their cursors alone
    def bounded(since: dt.datetime | None, until: dt.datetime | None) -> WorklogFilter:
        return attrs.evolve(wanted, since=since, until=until)

    def fetch(since: dt.datetime | None, until: dt.datetime | None, cursor: str | None) -> Awaitable[PageLike[T]]:
        return send(api_version.list(bounded(since, until), cursor=cursor), item_format.page)

    return ParallelScan(
        fetch,
        await _dates(send, api_version, wanted, now),
        date_of=item_format.date_of,
        id_of=item_format.id_of,
        concurrency=concurrency,
        ordered=ordered,
        keep=(lambda item: item_format.matches(wanted, item)) if wanted.bounds_changes else None,
        states=states,
        on_notice=_logger.warning if on_notice is None else on_notice,
    )


async def _dates(
    send: Send, api_version: ApiVersion, wanted: WorklogFilter, now: Callable[[], dt.datetime]
) -> DateRange:
    """The dates to be walked, and where within them the worklogs are."""

    async def edge(wanted: WorklogFilter) -> dt.datetime | None:
        page: Page = await send(api_version.list(wanted, size=1), api_version.page)
        return page.items[0].date if page.items else None

    if not api_version.filters_ranges:
        return DateRange(since=wanted.since, until=wanted.until, last=now(), grain=MINUTE)
    first = last = None
    if wanted.since is None or wanted.until is None:
        first, last = await _both(edge(wanted), edge(attrs.evolve(wanted, descending=True)))
    return DateRange(since=wanted.since, until=wanted.until, first=first, last=last, grain=DAY)


async def _both(first: Awaitable[T], second: Awaitable[T]) -> tuple[T, T]:
    """Both results, awaited together; when one fails, the other is cancelled and awaited."""
    tasks = [asyncio.ensure_future(first), asyncio.ensure_future(second)]
    try:
        return await tasks[0], await tasks[1]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
