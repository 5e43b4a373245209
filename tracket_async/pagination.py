"""Cursor pages as an async generator: one page after the other, read ahead, never in a circle.

`Paginator` takes a callable that fetches one page and knows no client. A reader task stays at most ``read_ahead`` pages
ahead of whoever iterates; it lives only while somebody iterates, and closing the iteration cancels and awaits it. An
async generator that is left in the middle without being closed (a ``break``) is closed by the event loop when it is
collected as garbage; who wants it closed at once says so::

    async with aclosing(walk.items()) as worklogs:
        async for worklog in worklogs:
            ...
"""

from __future__ import annotations

import asyncio
import datetime as dt
import operator
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import aclosing
from typing import Final

import attrs

from tracket_async.errors import CursorLoopError, TracketError
from tracket_async.models import Page, Worklog

MAX_EMPTY_PAGES: Final = 1_000
"""So many pages in a row may be empty and still have a next cursor."""

Fetch = Callable[[str | None], Awaitable[Page]]
"""Fetches the page of a cursor; of None, the first page."""


class CursorLoopGuard:
    """Remembers every cursor of a walk, so that a walk in a circle ends in an error instead of never.

    Only hashes are kept, of 64 bits: in a walk of a million pages, the chance that two cursors that differ are taken
    for the same is one in thirty million.
    """

    __slots__ = ("_empty", "_seen")

    def __init__(self, cursor: str | None) -> None:
        self._seen: set[int] = set() if cursor is None else {hash(cursor)}
        self._empty = 0

    def check(self, items: int, next_cursor: str | None) -> None:
        """Takes note of a page: how many items it has and the cursor of the next.

        Raises:
            CursorLoopError: the next cursor was the cursor of a page before, or `MAX_EMPTY_PAGES` came in a row.
        """
        if next_cursor is None:
            return
        self._empty = 0 if items else self._empty + 1
        if self._empty >= MAX_EMPTY_PAGES:
            raise CursorLoopError(f"The server sent {MAX_EMPTY_PAGES:,} empty pages in a row, each with a next cursor")
        key = hash(next_cursor)
        if key in self._seen:
            raise CursorLoopError(f"After {len(self._seen) + 1:,} pages, the server's next cursor is an earlier one")
        self._seen.add(key)


class OrderCheck:
    """Whether the dates of a chain of pages ascend, as far as it has been seen.

    Attributes:
        last: the last date seen, None before the first.
        broken: a date came before an earlier one.
        proven: a date came after an earlier one and none before: without that, a list that descends and whose dates so
            far are all equal would pass for one that ascends.
    """

    __slots__ = ("broken", "last", "proven")

    def __init__(self) -> None:
        self.last: dt.datetime | None = None
        self.broken = False
        self.proven = False

    def see(self, dates: Sequence[dt.datetime]) -> None:
        """Takes note of the dates of one page."""
        if not dates:
            return
        first = dates[0] if self.last is None else self.last
        if dates[0] < first or not is_ascending(dates):
            self.broken = True
        self.last = dates[-1]
        self.proven = not self.broken and (self.proven or first < dates[-1])


def is_ascending(dates: Sequence[dt.datetime]) -> bool:
    """Whether no date is before the one in front of it."""
    return all(map(operator.le, dates, dates[1:]))


class _PageQueue:
    """Between the reader and whoever iterates: pages, in their order, and then how the reading ended.

    A page that is already being waited for is in use the moment it comes. So the next one is asked for before its loop
    body runs, which may well keep the event loop to itself.

    Args:
        capacity: so many pages may lie here; with them, there is no `room`.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._lying: deque[Page | BaseException | None] = deque()
        self._taker: asyncio.Future[Page | BaseException | None] | None = None
        self._giver: asyncio.Future[None] | None = None

    def give(self, came: Page | BaseException | None) -> None:
        """A page, or the error or None that there is no other."""
        if self._taker is None or self._taker.done():
            self._lying.append(came)
        else:
            self._taker.set_result(came)

    async def room(self) -> None:
        """Until another page may be asked for."""
        if len(self._lying) >= self._capacity:
            self._giver = asyncio.get_running_loop().create_future()
            await self._giver

    async def take(self) -> Page | BaseException | None:
        """What comes next."""
        if not self._lying:
            self._taker = asyncio.get_running_loop().create_future()
            return await self._taker
        if self._giver is not None and not self._giver.done():
            self._giver.set_result(None)
        return self._lying.popleft()


class Paginator:
    """A list of worklogs, page by page: await it for its first page, iterate it for every worklog.

    Every ``async for`` begins a walk of its own, so a `Paginator` can be iterated again and by several tasks. A worklog
    comes in the server's order; within one walk none is missed that exists from its beginning to its end.

    Args:
        fetch: fetches one page.
        read_ahead: pages that may be fetched ahead of the one in use; 0: none.
        keep: whether a worklog belongs to the list, for what the server cannot filter; None: all do. `Page.total` and
            `Page.next_cursor` stay as the server gave them.
        until: the last date of the list, for a server that cannot end it there. The walk ends after the first page that
            passes it, provided that the dates were seen to ascend; in any other order it reads every page. Does
            not filter (``keep`` does).

    Raises:
        ValueError: ``read_ahead`` is negative.
    """

    def __init__(
        self,
        fetch: Fetch,
        *,
        read_ahead: int = 1,
        keep: Callable[[Worklog], bool] | None = None,
        until: dt.datetime | None = None,
    ) -> None:
        if read_ahead < 0:
            raise ValueError(f"read_ahead must be at least 0 pages, not {read_ahead}")
        self._fetch = fetch
        self._read_ahead = read_ahead
        self._keep = keep
        self._until = until

    def __await__(self) -> Generator[None, None, Page]:
        return self._first().__await__()

    def __aiter__(self) -> AsyncGenerator[Worklog]:
        return self.items()

    async def items(self, cursor: str | None = None) -> AsyncGenerator[Worklog]:
        """Every worklog, from the page of ``cursor`` on (None: from the first page).

        Raises:
            TracketError: a page could not be fetched; its ``cursor`` is where to go on: nothing that was yielded comes
                again, nothing is missed. None means from the first page.
            CursorLoopError: the cursors go round in a circle.
        """
        async with aclosing(self.pages(cursor)) as pages:
            async for page in pages:
                for worklog in page.items:
                    yield worklog

    async def pages(self, cursor: str | None = None) -> AsyncGenerator[Page]:
        """Every page, from that of ``cursor`` on (None: from the first page). Raises as `items` does."""
        if not self._read_ahead:
            async with aclosing(self._read(cursor)) as read:
                async for page in read:
                    yield page
            return
        handover = _PageQueue(self._read_ahead)
        reader = asyncio.create_task(self._read_into(handover, cursor))
        try:
            while (came := await handover.take()) is not None:
                if isinstance(came, BaseException):
                    raise came
                yield came
        finally:
            reader.cancel()
            await asyncio.wait([reader])

    async def _first(self) -> Page:
        return self._kept(await self._fetch(None))

    async def _read_into(self, handover: _PageQueue, cursor: str | None) -> None:
        """The reader task: its pages, then how it ended, are handed over."""
        try:
            async with aclosing(self._read(cursor)) as read:
                async for page in read:
                    handover.give(page)
                    await handover.room()
        except BaseException as error:
            # Whoever iterates waits for the handover alone, so even a cancellation has to reach it there.
            handover.give(error)
            if not isinstance(error, Exception):
                raise
        else:
            handover.give(None)

    async def _read(self, cursor: str | None) -> AsyncGenerator[Page]:
        guard = CursorLoopGuard(cursor)
        ascent = OrderCheck()
        while True:
            try:
                page = await self._fetch(cursor)
            except TracketError as error:
                error.cursor = cursor
                raise
            yield self._kept(page)
            guard.check(len(page.items), page.next_cursor)
            if page.next_cursor is None or self._has_passed(ascent, page):
                return
            cursor = page.next_cursor

    def _kept(self, page: Page) -> Page:
        if self._keep is None:
            return page
        return attrs.evolve(page, items=[worklog for worklog in page.items if self._keep(worklog)])

    def _has_passed(self, ascent: OrderCheck, page: Page) -> bool:
        if self._until is None:
            return False
        ascent.see([worklog.date for worklog in page.items])
        return ascent.proven and ascent.last is not None and ascent.last > self._until
