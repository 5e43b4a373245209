"""A list walked by many chains at once: the windows of one version of the API over one session."""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import logging
from collections.abc import Awaitable, Callable, Iterable
from operator import attrgetter
from typing import Final, Generic, TypeVar

import attrs

from tracket_async.api.request import Response
from tracket_async.api.wire import Wire
from tracket_async.filters import check_export, has_timestamps
from tracket_async.line import Line
from tracket_async.models import Page, Worklog, WorklogFilter
from tracket_async.windows.run import WindowRun
from tracket_async.windows.state import DAY, PageLike, Span, WindowState

T = TypeVar("T")

MINUTE: Final = dt.timedelta(minutes=1)

_logger = logging.getLogger("tracket_async")


@attrs.frozen(kw_only=True)
class Form(Generic[T]):
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


def as_worklogs(wire: Wire) -> Form[Worklog]:
    """Every item is a `Worklog`."""
    return Form(page=wire.page, date_of=attrgetter("date"), id_of=attrgetter("id"), matches=WorklogFilter.matches)


async def windows(
    line: Line,
    wanted: WorklogFilter,
    form: Form[T],
    *,
    concurrency: int = 16,
    ordered: bool = False,
    states: Iterable[WindowState] = (),
    on_notice: Callable[[str], None] | None = None,
    around: Callable[[Callable[[], Awaitable[PageLike[T]]]], Awaitable[PageLike[T]]] | None = None,
) -> WindowRun[T]:
    """The run that walks what the filter wants; the arguments are those of ``client.worklogs.windows``."""
    check_export(wanted, concurrency=concurrency)

    @functools.lru_cache(maxsize=4 * concurrency)  # the pages of a chain differ in their cursors alone
    def bounded(since: dt.datetime | None, until: dt.datetime | None) -> WorklogFilter:
        return attrs.evolve(wanted, since=since, until=until)

    def fetch(since: dt.datetime | None, until: dt.datetime | None, cursor: str | None) -> Awaitable[PageLike[T]]:
        request = line.wire.list(bounded(since, until), cursor=cursor, size=line.page_size)
        if around is None:
            return line.send(request, form.page)
        return around(lambda: line.send(request, form.page))

    return WindowRun(
        fetch,
        await _span(line, wanted),
        date_of=form.date_of,
        id_of=form.id_of,
        concurrency=concurrency,
        ordered=ordered,
        keep=(lambda item: form.matches(wanted, item)) if has_timestamps(wanted) else None,
        states=states,
        on_notice=_logger.warning if on_notice is None else on_notice,
    )


async def _span(line: Line, wanted: WorklogFilter) -> Span:
    """The dates to be walked, and where within them the worklogs are."""
    if not line.filters_dates:
        return Span(since=wanted.since, until=wanted.until, last=line.world.now(), grain=MINUTE)
    first = last = None
    if wanted.since is None or wanted.until is None:
        first, last = await _both(_edge(line, wanted), _edge(line, attrs.evolve(wanted, descending=True)))
    return Span(since=wanted.since, until=wanted.until, first=first, last=last, grain=DAY)


async def _edge(line: Line, wanted: WorklogFilter) -> dt.datetime | None:
    page: Page = await line.send(line.wire.list(wanted, cursor=None, size=1), line.wire.page)
    return page.items[0].date if page.items else None


async def _both(first: Awaitable[T], second: Awaitable[T]) -> tuple[T, T]:
    """Both results, awaited together; when one fails, the other is cancelled and awaited."""
    tasks = [asyncio.ensure_future(first), asyncio.ensure_future(second)]
    try:
        return await tasks[0], await tasks[1]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
