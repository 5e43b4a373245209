"""Cursor pages as an async generator: one page after the other, read ahead, checked to be all, never in a circle.

`Paginator` takes a function that fetches one page and knows no client. A reader task stays at most ``read_ahead`` pages
ahead of whoever iterates; it lives only while somebody iterates, and closing the iteration cancels and awaits it. An
async generator that is left in the middle without being closed (a ``break``) is closed by the event loop when it is
collected as garbage; who wants it closed at once says so:

    async with aclosing(paginator.items()) as worklogs:
        async for worklog in worklogs:
            ...
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import operator
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol, TypeVar

import attrs

from tracket_async._tasks import Nested, start
from tracket_async.errors import (
    BadRequestError,
    ClientStateError,
    CursorLoopError,
    GoneError,
    IncompleteExportError,
    MalformedResponseError,
    MismatchedResponseError,
    TracketError,
    UsageError,
)
from tracket_async.models import BadRow, OnBadRow, Page, Worklog, WorklogFilter, link

if TYPE_CHECKING:
    from tracket_async._api.endpoints import ApiVersion
    from tracket_async._http.messages import Request, Response

T = TypeVar("T")
R = TypeVar("R")

MAX_EMPTY_PAGES: Final = 1_000
"""So many pages in a row may be empty and still have a next cursor."""
_NOBODYS_TIME: Final = dt.datetime(9999, 12, 30, tzinfo=dt.UTC)
"""No worklog is there: what a server counts there, it counts against the filter."""
_DATE_HEADER_MARGIN: Final = dt.timedelta(seconds=2)
"""A Date header has whole seconds, and its answer was on its way for a while."""
MAX_DRIFT: Final = 100
"""So many worklogs more than the server counts may come because they were created and deleted meanwhile."""

Fetch = Callable[[str | None], Awaitable[Page]]
"""Fetches the page of a cursor; of None, the first page."""


class CursorLoopGuard:
    """Remember every cursor and page of a walk, so that a walk in a circle ends in an error instead of never.

    Only hashes are kept, of 64 bits: in a walk of a million pages, the chance that two that differ are taken for the
    same is one in fifteen million.
    """

    __slots__ = ("_cursors", "_empty", "_pages")

    def __init__(self, cursor: str | None) -> None:
        self._cursors: set[int] = set() if cursor is None else {hash(cursor)}
        self._pages: set[int] = set()
        self._empty = 0

    def check_page(self, ids: Sequence[str], next_cursor: str | None) -> None:
        """Check that the page has not come before: it is not to be used then.

        Args:
            ids: of its items, in their order.
            next_cursor: None on the last page, which ends the walk in any case.

        Raises:
            CursorLoopError: it has.
        """
        if not ids or next_cursor is None:
            return
        key = hash(tuple(ids))
        if key in self._pages:
            raise CursorLoopError(
                f"The server sent the same page again for another cursor, after {len(self._pages):,} pages"
            )
        self._pages.add(key)

    def check_cursor(self, items: int, next_cursor: str | None) -> None:
        """Check that the walk can go on: a page has so many items, and the cursor of the next.

        Raises:
            CursorLoopError: the next cursor was the cursor of a page before, or `MAX_EMPTY_PAGES` came in a row.
        """
        if next_cursor is None:
            return
        self._empty = 0 if items else self._empty + 1
        if self._empty >= MAX_EMPTY_PAGES:
            raise CursorLoopError(f"The server sent {MAX_EMPTY_PAGES:,} empty pages in a row, each with a next cursor")
        key = hash(next_cursor)
        if key in self._cursors:
            raise CursorLoopError(f"After {len(self._cursors) + 1:,} pages, the server's next cursor is an earlier one")
        self._cursors.add(key)


PROOF_STEPS: Final = 16
"""A list that does not ascend shows so many steps up and none down once in 65,000 times."""


class OrderCheck:
    """Check whether the dates of a list ascend, as far as it has been read.

    Attributes:
        last: the last date seen, None before the first.
        broken: a date came before an earlier one.
        steps: how often a date came after an earlier one.
    """

    __slots__ = ("broken", "last", "steps")

    def __init__(self) -> None:
        self.last: dt.datetime | None = None
        self.broken = False
        self.steps = 0

    @property
    def proven(self) -> bool:
        """Return whether the list was seen to ascend: `PROOF_STEPS` steps up, and none down.

        Without that, one that descends and whose dates so far are all equal would pass for one that ascends.
        """
        return not self.broken and self.steps >= PROOF_STEPS

    def see(self, dates: Sequence[dt.datetime]) -> None:
        """Take note of the dates of one page."""
        if not dates:
            return
        first = dates[0] if self.last is None else self.last
        if dates[0] < first or not is_ascending(dates):
            self.broken = True
        self.steps += len(set(dates)) - (first == dates[0])
        self.last = dates[-1]


def is_ascending(dates: Sequence[dt.datetime]) -> bool:
    """Return whether no date is before the one in front of it."""
    return all(map(operator.le, dates, dates[1:]))


class TotalCheck:
    """Compare the worklogs of all pages with the totals that the server gives.

    Counted are the worklogs that the server sent, before the client filters them.

    Attributes:
        seen: how many worklogs the pages held, without those that a page repeats of the page before.
    """

    __slots__ = ("_before", "_began", "_first", "_largest", "_pages", "seen")

    def __init__(self) -> None:
        self.seen = 0
        self._before: frozenset[str] = frozenset()
        self._began: dt.datetime | None = None
        self._pages = 0
        self._first: int | None = None
        self._largest = 0

    def add(self, ids: Sequence[str], total: int | None, server_date: dt.datetime | None) -> None:
        """Count a page."""
        if not self._pages:
            self._began = server_date
        self._pages += 1
        if total is not None:
            self._first = total if self._first is None else self._first
            self._largest = max(self._largest, total)
            here = frozenset(ids)
            self.seen += len(here) if here.isdisjoint(self._before) else len(here - self._before)
            self._before = here

    async def check(self, recount: Recount) -> None:
        """Compare at the end, and count once more if there are too few.

        Raises:
            IncompleteExportError: the server counts more worklogs than it sent.
        """
        if self._first is None:
            return
        if self.seen < self._first:
            await recount.check(self.seen, self._first, self._began)
        else:
            recount.warn_of_small_total(self.seen, self._largest)


P = TypeVar("P", bound="_PageLike")


class _PageLike(Protocol):
    @property
    def items(self) -> Sequence[Any]: ...
    @property
    def bad_rows(self) -> Sequence[BadRow]: ...
    @property
    def next_cursor(self) -> str | None: ...


def said_twice(
    read: Callable[[Response], P], belongs: Callable[[Any], bool] | None, *, may_be_empty: bool = False
) -> Callable[[Response], P]:
    """Return a reader for the response to one request of a page, which has an unlikely page sent once more.

    Over a kept connection may come an answer that nobody asked for, or that to another request. Where it ends a list
    and holds nothing of it, or is no page, it counts only when it is the first answer over its connection, or when the
    next answer is such a page, too.

    Args:
        read: reads a page.
        belongs: returns whether an item is what was asked for; None: every item is.
        may_be_empty: whether an empty page is likely.
    """
    asked_again = False

    def checked(response: Response) -> P:
        nonlocal asked_again
        if asked_again or not response.reused:
            return read(response)
        doubt: MalformedResponseError | None = None
        try:
            page = read(response)
        except MalformedResponseError as error:
            if "[" in error.json_path:  # it is a page, and an item of it is wrong
                raise
            doubt = error
        else:
            if page.next_cursor is not None or page.bad_rows:
                return page
            if any(belongs is None or belongs(item) for item in page.items) if page.items else may_be_empty:
                return page
        asked_again = True
        raise MismatchedResponseError("The page may be the answer to another request") from doubt

    return checked


class Send(Protocol):
    """A function that sends a request, as `TracketClient.send` does."""

    def __call__(self, request: Request, parse: Callable[[Response], R], /) -> Coroutine[Any, Any, R]:
        """Send a request and return what ``parse`` makes of its response."""
        ...


@attrs.define
class Recount:
    """Count the worklogs of a filter once more, when a list seems to have ended early.

    Attributes:
        send: sends each request.
        api_version: makes the requests; its pages have totals.
        wanted: the filter.
    """

    send: Send
    api_version: ApiVersion
    wanted: WorklogFilter

    async def total(self, **bounds: Any) -> int | None:
        """Return the server's total, with some bounds of the filter replaced; None: it does not say."""
        wanted = attrs.evolve(self.wanted, **bounds)
        request = self.api_version.list(wanted, size=self.api_version.smallest_page)
        return (await self.send(request, self.api_version.page)).total

    def warn_of_small_total(self, seen: int, total: int) -> None:
        """Warn if the server has sent so many more worklogs than it counts that no creation meanwhile explains it."""
        if seen > total + MAX_DRIFT:
            message = "The server counts %d worklogs and has sent %d: its totals are not relied upon"
            self.api_version.oddities.warn_once(message, total, seen)

    async def check(self, seen: int, total: int, began: dt.datetime | None) -> None:
        """Let one more look decide whether worklogs are missing.

        Worklogs may have been deleted and created meanwhile, in front of the place where the list was read. Those that
        existed from the beginning to the end are the ones that must have been sent.

        Args:
            seen: how many the server sent.
            total: the least that it counted.
            began: when the reading began, by the server's clock; None when unknown.

        Raises:
            IncompleteExportError: the server counts more worklogs than it sent.
        """
        now = await self.total()
        if now is None:
            return
        if await self._ignores_the_filter():
            self.api_version.oddities.warn_once(
                "The server's totals do not follow the filter: they are not compared with its worklogs"
            )
            return
        total = min(total, now - await self._created_since(began, now))
        if seen < total:
            raise IncompleteExportError(
                f"The server counts {total:,} worklogs and has sent only {seen:,} of them",
                seen=seen,
                total=total,
                hint="Its list ends early. Try again, and report it to the vendor if it stays so",
            )

    async def _ignores_the_filter(self) -> bool:
        for since, until in (
            ("since", "until"),
            ("created_since", "created_until"),
            ("updated_since", "updated_until"),
        ):
            if getattr(self.wanted, since) is None and getattr(self.wanted, until) is None:
                continue
            if await self.total(**{since: _NOBODYS_TIME, until: _NOBODYS_TIME}):
                return True
        return False

    async def _created_since(self, began: dt.datetime | None, total: int) -> int:
        wanted = self.wanted
        if began is None or (wanted.created_until is not None and wanted.created_until < began):
            return 0
        since = began - _DATE_HEADER_MARGIN
        created = await self.total(created_since=max(since, wanted.created_since or since))
        # A server that ignores this filter counts everything.
        return created if created is not None and created < total else 0


@attrs.define(eq=False)
class Position:
    """The position of an iteration.

    Attributes:
        cursor: of the first page that has not been handed over; None: the first page.
        failure: ended the iteration; None: nothing did.
        iteration: refuses any further step then.
    """

    cursor: str | None = None
    failure: BaseException | None = None
    iteration: Callable[[], ResumableIteration[Any] | None] = attrs.field(default=lambda: None, repr=False)

    def fail(self, failure: BaseException) -> None:
        """Take note of what ended the iteration."""
        self.failure = failure
        if (iteration := self.iteration()) is not None:
            iteration.__anext__ = iteration.refuse  # type: ignore[method-assign] # it is a slot


class ResumableIteration(AsyncGenerator[T]):
    """An async generator that does not pass for exhausted after it has failed or was cancelled.

    A generator that has raised is at its end, and the next step would say that nothing is left.

    Its next step is a slot with the generator's own, so that a loop calls nothing of ours for each worklog. A failure
    replaces it.

    Args:
        generator: takes note of its failure in ``position``.
        position: of the generator, and of this iteration alone.
    """

    __slots__ = ("__anext__", "__weakref__", "_generator", "_position")
    if TYPE_CHECKING:

        def __anext__(self) -> Coroutine[Any, Any, T]: ...

    def __init__(self, generator: AsyncGenerator[T], position: Position) -> None:
        self._generator = generator
        self._position = position
        self.__anext__ = generator.__anext__  # type: ignore[method-assign] # it is a slot
        position.iteration = weakref.ref(self)

    async def asend(self, value: None) -> T:
        """Return the next item.

        Raises:
            ClientStateError: the iteration has failed before, or was cancelled; its ``cursor`` is where to go on.
        """
        if self._position.failure is not None:
            self.refuse()
        return await self._generator.asend(value)

    async def athrow(self, *error: Any) -> T:
        """Raise an exception where the generator waits, as any async generator does."""
        return await self._generator.athrow(*error)

    async def aclose(self) -> None:
        """Close the generator: what it waits for is cancelled and awaited."""
        await self._generator.aclose()

    def refuse(self) -> NoReturn:
        """Raise the error for a step after the iteration has failed."""
        failure = self._position.failure
        why = f"ended with {type(failure).__name__}" if isinstance(failure, Exception) else "was cancelled"
        raise ClientStateError(
            f"This iteration {why} before its end, so it has no next item",
            cursor=self._position.cursor,
            hint="Begin again. A list can go on from the error's cursor: .items(cursor)",
        ) from failure


@contextlib.contextmanager
def noting_failure(position: Position) -> Generator[None]:
    """Take note of what ends a generator, unless it is closed."""
    try:
        yield
    except GeneratorExit:
        raise
    except BaseException as error:
        position.fail(error)
        raise


class _PageQueue:
    """Pages between the reader and the iteration, in their order, and then how the reading ended.

    A page that is already being waited for is in use the moment it comes. So the next one is asked for before its loop
    body runs, which may well keep the event loop to itself.

    Args:
        capacity: so many pages may wait here; with them, there is no `room`.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._waiting: deque[Page | BaseException | None] = deque()
        self._taker: asyncio.Future[Page | BaseException | None] | None = None
        self._giver: asyncio.Future[None] | None = None

    def put(self, came: Page | BaseException | None) -> None:
        """Put a page, or the error or None that there is no other."""
        if self._taker is None or self._taker.done():
            self._waiting.append(came)
        else:
            self._taker.set_result(came)

    async def room(self) -> None:
        """Wait until another page may be asked for."""
        if len(self._waiting) >= self._capacity:
            self._giver = asyncio.get_running_loop().create_future()
            await self._giver

    async def get(self) -> Page | BaseException | None:
        """Return what comes next."""
        if not self._waiting:
            self._taker = asyncio.get_running_loop().create_future()
            try:
                return await self._taker
            finally:
                self._taker = None
        if self._giver is not None and not self._giver.done():
            self._giver.set_result(None)
        return self._waiting.popleft()


_id_of: Final = operator.attrgetter("id")


@attrs.define(eq=False)
class _Reading:
    """One reading of a list, from a cursor on.

    Attributes:
        cursor: of the page that is fetched next.
        count: compares with totals; None: nothing does.
        size: how many rows the latest page had; None before the first.
        next_cursor: of the latest page.
        confirmed: the last page was asked for once more.
        passed: the latest page passes the last date of the list.
    """

    cursor: str | None
    count: TotalCheck | None
    guard: CursorLoopGuard
    order: OrderCheck = attrs.field(factory=OrderCheck)
    size: int | None = None
    next_cursor: str | None = None
    confirmed: bool = False
    passed: bool = False


class Paginator:
    """A list of worklogs, page by page: await it for its first page, iterate it for every worklog.

    Every ``async for`` begins at the first page, so a `Paginator` can be iterated again and by several tasks. A worklog
    comes in the server's order; within one iteration none is missed that exists from its beginning to its end.

    An iteration from the first page on is compared with the total of a server that gives one: when the pages held fewer
    worklogs, it raises after the last of them.

    Args:
        fetch: fetches one page.
        read_ahead: pages that may be fetched ahead of the one in use; 0: none.
        keep: returns whether a worklog belongs to the list, for what the server cannot filter; None: all do.
            `Page.total` and `Page.next_cursor` stay as the server gave them.
        until: the last date of the list, for a server that cannot end it there. The iteration ends after the first page
            that passes it, provided that the dates were seen to ascend; in any other order it reads every page. Does
            not filter (``keep`` does).
        recount: counts once more when worklogs are missing; None: totals are not compared.
        on_bad_row: called with each row that cannot be read, just before its page is handed over; None: nobody is.
        keep_bad_row: as ``keep``, for rows that cannot be read.
        confirm_end: fetch the last page, where it is not the first one, once more, and go on if it has changed. For a
            server without totals, where the answer to another request would end the list in silence.

    Raises:
        UsageError: ``read_ahead`` is negative.
    """

    def __init__(
        self,
        fetch: Fetch,
        *,
        read_ahead: int = 1,
        keep: Callable[[Worklog], bool] | None = None,
        until: dt.datetime | None = None,
        recount: Recount | None = None,
        on_bad_row: OnBadRow | None = None,
        keep_bad_row: Callable[[BadRow], bool] | None = None,
        confirm_end: bool = False,
    ) -> None:
        if read_ahead < 0:
            raise UsageError(f"read_ahead must be at least 0 pages, not {read_ahead}")
        self._fetch = fetch
        self._read_ahead = read_ahead
        self._keep = keep
        self._until = until
        self._recount = recount
        self._on_bad_row = on_bad_row
        self._keep_bad_row = keep_bad_row
        self._confirm_end = confirm_end

    def __await__(self) -> Generator[None, None, Page]:
        return self._page().__await__()

    def __aiter__(self) -> AsyncGenerator[Worklog]:
        return self.items()

    def items(self, cursor: str | None = None) -> AsyncGenerator[Worklog]:
        """Iterate over every worklog, from the page of ``cursor`` on (None: from the first page).

        Raises:
            TracketError: a page could not be fetched; its ``cursor`` is where to go on: nothing that was yielded comes
                again, nothing is missed. None means from the first page.
            CursorLoopError: the cursors, or the pages, go round in a circle.
            IncompleteExportError: the server counts more worklogs than its pages held.
            ClientStateError: the step before has failed or was cancelled; ``cursor`` as above.
        """
        position = Position(cursor)
        return ResumableIteration(self._items(position), position)

    def pages(self, cursor: str | None = None) -> AsyncGenerator[Page]:
        """Iterate over every page, from that of ``cursor`` on (None: from the first page). Raises as `items` does."""
        position = Position(cursor)
        return ResumableIteration(self._pages(position), position)

    async def _items(self, position: Position) -> AsyncGenerator[Worklog]:
        async with Nested(self._pages(position)) as pages:
            async for page in pages:
                for worklog in page.items:
                    yield worklog
                del page  # its memory serves the next one

    async def _pages(self, position: Position) -> AsyncGenerator[Page]:
        with noting_failure(position):
            count = TotalCheck() if position.cursor is None and self._recount is not None else None
            reading = _Reading(position.cursor, count, CursorLoopGuard(position.cursor))
            if not self._read_ahead:
                while (page := await self._next(reading)) is not None:
                    self._tell_bad_rows(page)
                    position.cursor = page.next_cursor
                    yield link(page, self._page)
                    del page
                return
            queue = _PageQueue(self._read_ahead)
            reader = start(self._read_into(queue, reading))
            try:
                while (came := await queue.get()) is not None:
                    if isinstance(came, BaseException):
                        raise came
                    self._tell_bad_rows(came)
                    position.cursor = came.next_cursor
                    yield link(came, self._page)
                    del came
            finally:
                reader.cancel()
                await asyncio.wait([reader])

    async def _page(self, cursor: str | None = None) -> Page:
        """Return one page by itself: the first, or that of `Page.next`."""
        guard = CursorLoopGuard(cursor)
        try:
            page = await self._fetch(cursor)
            if self._confirm_end and page.next_cursor is None and cursor is not None:
                page = await self._confirmed(page, cursor)
            guard.check_cursor(len(page.items), page.next_cursor)
        except TracketError as error:
            error.cursor = cursor
            raise
        page = self._kept(page)
        self._tell_bad_rows(page)
        return link(page, self._page)

    def _tell_bad_rows(self, page: Page) -> None:
        if self._on_bad_row is not None:
            for bad in page.bad_rows:
                self._on_bad_row(bad.row, bad.error)

    async def _read_into(self, queue: _PageQueue, reading: _Reading) -> None:
        """Put the pages into the queue, then how it ended: the reader task."""
        try:
            while (page := await self._next(reading)) is not None:
                queue.put(page)
                del page
                await queue.room()
        except BaseException as error:
            # Whoever iterates waits for the queue alone, so even a cancellation has to reach it there.
            queue.put(error)
            if not isinstance(error, Exception):
                raise
        else:
            queue.put(None)

    async def _next(self, reading: _Reading) -> Page | None:
        """Fetch and return the next page; None when there is no other.

        Raises:
            TracketError: of this page; or the list is not complete, or the page before leads round in a circle.
        """
        if reading.size is not None:
            reading.guard.check_cursor(reading.size, reading.next_cursor)
            if reading.passed:
                return None
            if reading.next_cursor is None:
                if reading.count is not None and self._recount is not None:
                    await reading.count.check(self._recount)
                return None
            reading.cursor = reading.next_cursor
        cursor = reading.cursor
        try:
            page = await self._fetch(cursor)
            if self._confirm_end and page.next_cursor is None and cursor is not None and not reading.confirmed:
                page, reading.confirmed = await self._confirmed(page, cursor), True
            ids = list(map(_id_of, page.items))
            if page.bad_rows:
                ids += [bad.key for bad in page.bad_rows]
            reading.guard.check_page(ids, page.next_cursor)
        except TracketError as error:
            error.cursor = cursor
            raise
        if reading.count is not None:
            reading.count.add(ids, page.total, page.server_date)
        reading.size, reading.next_cursor = len(ids), page.next_cursor
        reading.passed = page.next_cursor is not None and self._has_passed(reading.order, page)
        return self._kept(page)

    async def _confirmed(self, page: Page, cursor: str) -> Page:
        """Return the last page, fetched once more, together with what it had before."""
        try:
            again = await self._fetch(cursor)
        except (BadRequestError, GoneError):
            return page  # the cursor was good for one request
        ids = {worklog.id for worklog in again.items}
        bad = {bad.key: bad for bad in (*page.bad_rows, *again.bad_rows)}
        items = [*(worklog for worklog in page.items if worklog.id not in ids), *again.items]
        return attrs.evolve(again, items=items, bad_rows=tuple(bad.values()))

    def _kept(self, page: Page) -> Page:
        if self._keep is None:
            return page
        items = [worklog for worklog in page.items if self._keep(worklog)]
        return attrs.evolve(page, items=items, bad_rows=tuple(filter(self._keep_bad_row, page.bad_rows)))

    def _has_passed(self, order: OrderCheck, page: Page) -> bool:
        if self._until is None:
            return False
        order.see([worklog.date for worklog in page.items])
        return order.proven and order.last is not None and order.last > self._until
