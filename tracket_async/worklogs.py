"""What of a caller's filter is asked of the server, and what is left to the client. Pure.

What every operation needs: a version of the API, a session, and the choices that were made.

What can be done with worklogs and categories: each operation is a request of the API version, sent over the session.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Collection, Coroutine, Iterable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs

from tracket_async._http.limits import Clock
from tracket_async._http.messages import Request, Response
from tracket_async._http.session import TracketSession
from tracket_async.config import CallOptions
from tracket_async.errors import AmbiguousWriteError, ClientStateError, RequestError, UsageError
from tracket_async.models import Category, NewWorklog, Worklog, WorklogChanges, WorklogFilter
from tracket_async.pagination import Paginator

if TYPE_CHECKING:
    from tracket_async._api.endpoints import ApiVersion
    from tracket_async.bulk import OnError, Outcomes
    from tracket_async.scan.parallel import ItemFormat, ParallelScan
    from tracket_async.scan.partition import PageLike, PartitionState


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


T = TypeVar("T")


@attrs.define(eq=False)
class Life:
    """Whether a client is open; shared with all its views."""

    is_open: bool = False


@attrs.frozen(kw_only=True, eq=False)
class Line:
    """One version of the API over one session, with one set of options: what every operation needs.

    Attributes:
        session: sends.
        api_version: makes requests and reads answers.
        options: what calls do differently from the session.
        page_size: worklogs that a page of a list has; None leaves it to the server.
        life: whether the client is open.
        clock: time, for what is not the session's business.
        account: the id of the account that the credentials name, None where they name none.
    """

    session: TracketSession
    api_version: ApiVersion
    options: CallOptions
    page_size: int | None
    life: Life
    clock: Clock
    account: str | None = None

    def send(self, request: Request, parse: Callable[[Response], T]) -> Coroutine[Any, Any, T]:
        """As `TracketSession.send`."""
        return self.session.send(request, parse, options=self.options)

    @property
    def filters_dates(self) -> bool:
        """Whether the server keeps to both ends of a range of dates, by days, and sorts: API 1.0 does neither."""
        return self.api_version.filters_ranges


CategoryList = list[Category]

_DETAILS: Final = (
    "method",
    "path",
    "status",
    "attempts",
    "retry_after",
    "request_id",
    "excerpt",
    "maybe_sent",
    "maybe_done",
    "stopped_by",
)


class Worklogs:
    """The worklogs of an account; which of them can be seen depends on who the credentials belong to.

    Every method raises `RequestError` when the call fails and `ClientStateError` outside of ``async with``.
    """

    def __init__(self, line: Line) -> None:
        self._line = line

    def list(
        self,
        *,
        since: dt.date | None = None,
        until: dt.date | None = None,
        filter: WorklogFilter | None = None,  # noqa: A002 - it is what the API calls it
        size: int | None = None,
        read_ahead: int = 1,
    ) -> Paginator:
        """The worklogs that match: await it for the first page, iterate it for all, ``.pages()`` for page by page.

        API 1.0: https://tracket.dev, GET /worklogs. API 2.0: GET /timeEntries.

        Args:
            since: the first date, inclusive; an aware datetime, or a day. None: unbounded.
            until: the last date, inclusive; as ``since``.
            filter: more bounds, and the order: ascending by date by default (API 1.0: the server's).
            size: worklogs on a page, API 2.0 only: 1 to 100. None: the client's ``page_size``.
            read_ahead: pages that may be fetched ahead of the one in use; 0: none.

        Raises:
            UsageError: a bound is given twice, or ``size`` is out of range.
            UnsupportedError: this version of the API has no such filter or order.
            TypeError, ValueError: a bound is no date, naive, or after its upper bound.
        """
        wanted = combined(filter, since, until)
        line = self._line
        size = line.page_size if size is None else size
        line.api_version.list(wanted, cursor=None, size=size)  # a mistake is told here, and not at the first page
        return Paginator(
            lambda cursor: line.send(line.api_version.list(wanted, cursor=cursor, size=size), line.api_version.page),
            read_ahead=read_ahead,
            keep=left_to_client(wanted, filters_dates=line.filters_dates),
            until=None if line.filters_dates else wanted.until,
        )

    async def get(self, id: str) -> Worklog:  # noqa: A002 - it is what the API calls it
        """The worklog of an id.

        Raises:
            NotFoundError: there is none.
            UsageError: the id cannot be one.
        """
        api_version = self._line.api_version
        return await self._line.send(api_version.get(id), api_version.worklog)

    async def create(self, new: NewWorklog) -> Worklog:
        """Creates a worklog and returns it as the server has it.

        It is sent again only where the server provably did nothing.

        Raises:
            AmbiguousWriteError: it was sent and its answer was lost: it may or may not have happened; see `reconcile`.
            UnsupportedError: a field is not offered by this version of the API.
        """
        line = self._line
        request = line.api_version.create(new)
        was_open, sent_at = line.life.is_open, line.clock.now()
        try:
            return await line.send(request, line.api_version.worklog)
        except RequestError as error:
            if not error.is_ambiguous:
                raise
            details = {name: getattr(error, name) for name in _DETAILS}
            raise _ambiguous(new, error.message, sent_at=sent_at, **details) from error
        except ClientStateError as error:
            if not was_open:
                raise
            raise _ambiguous(new, error.message, sent_at=sent_at, method=request.method, path=request.path) from error

    async def update(self, id: str, changes: WorklogChanges) -> Worklog:  # noqa: A002
        """Changes what ``changes`` names, and returns the worklog (API 1.0: without its approval status).

        Raises:
            NotFoundError: there is no such worklog.
            UnsupportedError: a field is not offered by this version of the API.
        """
        api_version = self._line.api_version
        return await self._line.send(api_version.update(id, changes), api_version.worklog)

    async def delete(self, id: str) -> None:  # noqa: A002
        """Deletes a worklog. That an earlier attempt of the same call has deleted it already is a success.

        Raises:
            NotFoundError: there is no such worklog.
        """
        api_version = self._line.api_version
        await self._line.send(api_version.delete(id), api_version.deleted)

    async def reconcile(
        self, error: AmbiguousWriteError, *, reads: int = 2, wait: float = 2.0, exclude: Collection[str] = ()
    ) -> Worklog:
        """The worklog that an ambiguous `create` has created, found by reading back.

        It has the user, item, date, minutes and description that were sent, and was created since (as far as the
        server says when). Exactly one such worklog is taken for it.

        Args:
            error: what `create` raised, or an outcome's.
            reads: how often to look, at least 2: a request that is late may still land.
            wait: seconds between two looks.
            exclude: ids of worklogs that are known to be others: those created by other calls of the same payload.

        Raises:
            AmbiguousWriteError: ``error`` itself: none was found, or several, which are its ``candidates``.
        """
        from tracket_async import reconcile  # noqa: PLC0415

        line = self._line
        return await reconcile.reconcile(
            error,
            lambda wanted: self.list(filter=wanted).pages(),
            by_day=line.filters_dates,
            filters_created=line.filters_dates,
            now=line.clock.now,
            sleep=line.clock.sleep,
            reads=reads,
            wait=wait,
            exclude=exclude,
        )

    def create_many(
        self,
        items: Iterable[NewWorklog] | AsyncIterable[NewWorklog],
        *,
        concurrency: int = 16,
        on_error: OnError = "stop",
    ) -> Outcomes[NewWorklog]:
        """Creates many worklogs; one `Outcome` for each, in their order. See `Outcomes`.

        Args:
            items: consumed as needed: a generator of a million is no problem.
            concurrency: creates in progress at once; the session's ``Limits.max_concurrency`` bounds it, too.
            on_error: ``"stop"`` begins no other after the first that is not ok, ``"collect"`` tries all.

        Raises:
            ClientStateError: the client is not open.
        """
        return self._outcomes(items, self.create, concurrency, on_error)

    def update_many(
        self,
        items: Iterable[tuple[str, WorklogChanges]] | AsyncIterable[tuple[str, WorklogChanges]],
        *,
        concurrency: int = 16,
        on_error: OnError = "stop",
    ) -> Outcomes[tuple[str, WorklogChanges]]:
        """Changes many worklogs, given as pairs of id and changes. As `create_many`."""

        async def update(item: tuple[str, WorklogChanges]) -> Worklog:
            return await self.update(*item)

        return self._outcomes(items, update, concurrency, on_error)

    def delete_many(
        self, items: Iterable[str] | AsyncIterable[str], *, concurrency: int = 16, on_error: OnError = "stop"
    ) -> Outcomes[str]:
        """Deletes many worklogs, given by id. As `create_many`."""
        return self._outcomes(items, self.delete, concurrency, on_error)

    def export(
        self,
        *,
        since: dt.date | None = None,
        until: dt.date | None = None,
        filter: WorklogFilter | None = None,  # noqa: A002
        concurrency: int = 16,
        ordered: bool = False,
        on_notice: Callable[[str], None] | None = None,
    ) -> AsyncGenerator[Worklog]:
        """Every worklog that matches, exactly once, over many chains of pages at the same time.

        A worklog whose date is changed meanwhile may be met at both dates or at neither, as in any walk. Close it
        (`contextlib.aclosing`) to leave in the middle.

        Args:
            since: as in `list`.
            until: as in `list`.
            filter: as in `list`; the order cannot be chosen.
            concurrency: pages fetched at once; the session's ``Limits.max_concurrency`` bounds it, too.
            ordered: True: ascending by date, and within a date in the server's order; some pages wait for those before
                them. False: in no order.
            on_notice: is told in a sentence when the server turns out not to list in ascending order, so that one
                chain has to walk everything; None: a warning of the logger ``tracket_async``.

        Raises:
            UsageError: a bound is given twice, ``filter`` asks for an order, or ``concurrency`` is below 1.
            UnsupportedError: this version of the API has no such filter; or, while iterating, ``ordered`` and the
                server's order is not ascending.
        """
        wanted = combined(filter, since, until)
        check_export(wanted, concurrency=concurrency)
        self._line.api_version.list(wanted, cursor=None, size=self._line.page_size)
        return self._export(wanted, concurrency=concurrency, ordered=ordered, on_notice=on_notice)

    async def scan(
        self,
        filter: WorklogFilter,  # noqa: A002
        item_format: ItemFormat[T],
        *,
        concurrency: int = 16,
        ordered: bool = False,
        states: Iterable[PartitionState] = (),
        on_notice: Callable[[str], None] | None = None,
        around: Callable[[Callable[[], Awaitable[PageLike[T]]]], Awaitable[PageLike[T]]] | None = None,
    ) -> ParallelScan[T]:
        """What `export` runs on: batches and states from which it can be resumed, of items in a format of your own.

        Args:
            filter: as in `export`, with its dates.
            item_format: what to make of each page; `tracket_async.scan.parallel.worklog_format` for worklogs.
            concurrency: as in `export`.
            ordered: as in `export`.
            states: those of an earlier run with the same filter, to go on from; empty: begin.
            on_notice: as in `export`.
            around: called with what fetches a page and returns the page: a place to wait, repeat or count. None: it is
                simply awaited.

        Raises:
            UsageError: as in `export`.
            ValueError: there are ``states``, and ``ordered``.
        """
        from tracket_async.scan import parallel  # noqa: PLC0415

        return await parallel.scan(
            self._line,
            filter,
            item_format,
            concurrency=concurrency,
            ordered=ordered,
            states=states,
            on_notice=on_notice,
            around=around,
        )

    async def _export(self, wanted: WorklogFilter, **settings: Any) -> AsyncGenerator[Worklog]:
        from tracket_async.scan import parallel  # noqa: PLC0415

        run = await parallel.scan(self._line, wanted, parallel.worklog_format(self._line.api_version), **settings)
        async with aclosing(run.batches()) as batches:
            async for batch in batches:
                for worklog in batch.items:
                    yield worklog

    def _outcomes(
        self,
        items: Iterable[T] | AsyncIterable[T],
        write: Callable[[T], Awaitable[Worklog | None]],
        concurrency: int,
        on_error: OnError,
    ) -> Outcomes[T]:
        from tracket_async.bulk import Outcomes  # noqa: PLC0415

        life = self._line.life
        if not life.is_open:
            raise ClientStateError("Open the client with `async with` first")
        return Outcomes(items, write, concurrency=concurrency, on_error=on_error, usable=lambda: life.is_open)


class Categories:
    """The categories that a worklog can have (API 2.0)."""

    def __init__(self, line: Line) -> None:
        self._line = line

    async def list(self) -> CategoryList:
        """All categories, in the server's order.

        Raises:
            UnsupportedError: on API 1.0, which does not list them.
        """
        api_version = self._line.api_version
        return await self._line.send(api_version.categories(), api_version.category_list)


def _ambiguous(new: NewWorklog, message: str, **details: Any) -> AmbiguousWriteError:
    return AmbiguousWriteError(f"The worklog may or may not have been created: {message}", payload=new, **details)
