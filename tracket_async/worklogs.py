"""The operations on worklogs and categories: each makes a request of the API version and sends it over the session."""

from __future__ import annotations

import datetime as dt
import itertools
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Sequence,
)
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs

from tracket_async._http.limits import Clock
from tracket_async._http.messages import CallRecord, Request, Response, merge_headers
from tracket_async._http.session import TracketSession
from tracket_async._tasks import Nested, mark_cancellation
from tracket_async.config import CallOptions
from tracket_async.errors import (
    AmbiguousWriteError,
    ClientStateError,
    MalformedResponseError,
    MismatchedResponseError,
    RequestError,
)
from tracket_async.models import (
    BadRow,
    Category,
    NewWorklog,
    OnBadRow,
    Page,
    Worklog,
    WorklogChanges,
    WorklogFilter,
    a_day_wider,
    check_scan_order,
    client_side_check,
    combine_filter,
)
from tracket_async.pagination import Paginator, Position, Recount, ResumableIteration, noting_failure, said_twice

if TYPE_CHECKING:
    from tracket_async._api.endpoints import Acknowledged, ApiVersion
    from tracket_async._api.fast import Row
    from tracket_async.bulk import OnError, Outcomes
    from tracket_async.changes import ChangeBatch
    from tracket_async.frames import WorklogTable
    from tracket_async.reconcile import ServerLookup
    from tracket_async.scan.partition import ScanSettings
    from tracket_async.with_response import WorklogsWithResponse

T = TypeVar("T")
R = TypeVar("R")
W = TypeVar("W", bound="Worklog | BadRow | Acknowledged")


@attrs.frozen(kw_only=True, eq=False)
class CallContext:
    """The session, the API version and the options with which a client, or a view of it, makes its calls.

    Attributes:
        session: sends; shared by a client and its views.
        api_version: makes requests and reads responses.
        options: how calls differ from the session's settings.
        clock: time, for what is not the session's business.
        record: takes note of what the calls take; None: nobody does.
    """

    session: TracketSession
    api_version: ApiVersion
    options: CallOptions
    clock: Clock
    record: CallRecord | None = None

    def send(self, request: Request, parse: Callable[[Response], T]) -> Coroutine[Any, Any, T]:
        """Send a request with these options; see `TracketSession.send`."""
        options = self.options
        if options.headers or options.query:
            headers, query = merge_headers(request.headers, options.headers), (*request.query, *options.query)
            request = attrs.evolve(request, headers=headers, query=query)
        if self.api_version.offline_hint is None:
            return self.session.send(request, parse, options=options, record=self.record)
        return self._send_and_explain(request, parse)

    async def _send_and_explain(self, request: Request, parse: Callable[[Response], T]) -> T:
        try:
            return await self.session.send(request, parse, options=self.options, record=self.record)
        except RequestError as error:
            self.api_version.explain(error, request)
            raise

    def waiting_for_rate(self) -> CallContext:
        """Return this context for one of many calls, which wait for the server's rate in place of failing on a 429."""
        return attrs.evolve(self, options=attrs.evolve(self.options, wait_for_rate=True))


CategoryList = list[Category]

_RECENT: Final = 100_000
"""So many ids of created worklogs are remembered, to tell alike ones apart."""
"""For annotations in classes whose own method is called ``list``."""

_LARGEST_OFFSET: Final = dt.timedelta(days=1, hours=14)
"""So much may lie between a moment and the day that a server makes of it."""

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
    """The operations on the worklogs of an account; a token sees what its owner may see.

    API 1.0: ``/worklogs``. API 2.0: ``/timeEntries``.

    Every method raises `RequestError` when the call fails, and `ClientStateError` outside of ``async with``.
    """

    def __init__(self, context: CallContext) -> None:
        self._context = context
        self._days_have_offsets: bool | None = None
        """True: the server writes days with an offset from UTC; None: no worklog has been seen."""

    @property
    def with_response(self) -> WorklogsWithResponse:
        """Return `get`, `create`, `update` and `delete` that give the server's response beside the model."""
        from tracket_async.with_response import WorklogsWithResponse

        return WorklogsWithResponse(lambda record: Worklogs(attrs.evolve(self._context, record=record)))

    def list(
        self,
        *,
        since: dt.date | None = None,
        until: dt.date | None = None,
        filter: WorklogFilter | None = None,
        size: int | None = None,
        read_ahead: int = 1,
        on_bad_row: OnBadRow | None = None,
    ) -> Paginator:
        """List the worklogs that match: await it for the first page, iterate it for all, ``.pages()`` for page by page.

        Order: ascending by date, unless ``filter`` says otherwise; on API 1.0, the server's.

        Args:
            since: the first date, inclusive; an aware datetime, or a ``datetime.date``. API 2.0 keeps days: there a
                datetime means its day as written, and a notice is logged where a time of day is dropped. None:
                unbounded.
            until: the last date, inclusive; as ``since``.
            filter: more bounds, and the order. None: every worklog.
            size: worklogs on a page, API 2.0 only: 1 to 100. None: the client's ``page_size``.
            read_ahead: pages that may be fetched ahead of the one in use; 0: none.
            on_bad_row: called with each row whose id, date or minutes cannot be read, as the server sent it (bytes of
                JSON), and with the error; the list goes on. None: such a row is an error, `MalformedResponseError`.

        Raises:
            UsageError: a bound is given twice, or ``size`` is out of range.
            UnsupportedError: this version of the API has no such filter or order.
            TypeError, ValueError: a bound is no date, naive, or after its upper bound.
        """
        context = _with_bad_rows(self._context.waiting_for_rate(), on_bad_row)
        api_version = context.api_version
        wanted = api_version.resolve(combine_filter(filter, since, until))
        request_for = api_version.pages(wanted, size=size)  # a mistake is told here, and not at the first page
        recount, keep = Recount(context.send, api_version, wanted), client_side_check(wanted)
        belongs = client_side_check(wanted.bounds_only())

        async def fetch(cursor: str | None) -> Page:
            if not (wanted.bounds_dates and api_version.keeps_days):
                return await context.send(request_for(cursor), said_twice(api_version.page, belongs))
            page = await self._page_of_days(context, wanted, cursor, size)
            if self._days_have_offsets:
                recount.wanted = a_day_wider(wanted)
            return page

        return Paginator(
            fetch,
            read_ahead=read_ahead,
            keep=keep,
            until=None if api_version.filters_ranges else wanted.until,
            recount=recount if api_version.has_total else None,
            on_bad_row=on_bad_row,
            keep_bad_row=wanted.may_match,
            confirm_end=not api_version.has_total,
        )

    async def _page_of_days(
        self, context: CallContext, wanted: WorklogFilter, cursor: str | None, size: int | None
    ) -> Page:
        """Return a page, asked for with a day more at both ends where the server's filter may compare instants.

        A server may write a day as midnight of an offset and filter by instants. The first or the last day is then out
        of its bounds. What comes too much, the client leaves out.
        """
        api_version = context.api_version

        def page_of(response: Response) -> Page:
            page = api_version.page(response)
            if self._days_have_offsets is None and page.items:
                self._days_have_offsets = api_version.has_offsets(response)
            return page

        known = self._days_have_offsets
        asked = a_day_wider(wanted) if known else wanted
        checked = said_twice(page_of, asked.bounds_only().matches)
        page = await context.send(api_version.list(asked, cursor=cursor, size=size), checked)
        if self._days_have_offsets is None:
            await context.send(api_version.list(a_day_wider(wanted), size=api_version.smallest_page), page_of)
        if self._days_have_offsets and not known:
            return await self._page_of_days(context, wanted, cursor, size)
        return page

    async def get(self, id: str) -> Worklog:
        """Return the worklog with this id.

        Raises:
            NotFoundError: there is none.
            MismatchedResponseError: the server answered with a worklog of another id, twice.
            UsageError: no id looks like that; nothing was sent.
        """
        context = self._context
        return await context.send(context.api_version.get(id), of_id(id, context.api_version.worklog))

    async def create(self, new: NewWorklog) -> Worklog:
        """Create a worklog and return it as the server has it.

        The request is sent again only after a failure that proves that the server did nothing. Where the server
        confirms it without showing the worklog, that is read back: by its id, or by `reconcile`, which takes 2 seconds.

        Raises:
            AmbiguousWriteError: sent, and the response was lost: it may or may not have happened; see `reconcile`.
            UnsupportedError: a field is not offered by this version of the API; nothing was sent.
        """
        context, api_version = self._context, self._context.api_version
        request = api_version.create(new)
        session, sent_at = context.session, context.clock.now()

        def created(response: Response) -> Worklog | Acknowledged:
            found = api_version.created(response, base_url=session.base_url)
            if isinstance(found, Worklog) and _contradicts(found, new):
                raise MismatchedResponseError(f"the server answers with another worklog, {found.id!r}")
            return found

        try:
            found = await context.send(request, created)
        except RequestError as error:
            if not error.is_ambiguous:
                raise
            details = {name: getattr(error, name) for name in _DETAILS}
            raise _ambiguous(new, error.message, sent_at=sent_at, **details) from error
        except ClientStateError as error:
            if not error.maybe_sent:
                raise
            raise _ambiguous(new, error.message, sent_at=sent_at, method=request.method, path=request.path) from error
        if isinstance(found, Worklog):
            return found
        with mark_cancellation(maybe_sent=True):
            return await self._read_back(found, request, new, sent_at)

    async def _read_back(
        self, created: Acknowledged, request: Request, new: NewWorklog, sent_at: dt.datetime
    ) -> Worklog:
        """Return the worklog of a create whose response does not show it."""
        details: dict[str, Any] = {"sent_at": sent_at, "method": request.method, "path": request.path, "attempts": 1}
        if created.id is None:
            return await self.reconcile(
                _ambiguous(new, "the server says that it was, and not under which id", **details)
            )
        try:
            return await self.get(created.id)
        except (RequestError, ClientStateError) as error:
            raise AmbiguousWriteError(
                f"The worklog was created as {created.id!r}, and could not be read back: {error.message}",
                payload=new,
                hint="Read it by its id; do not send it again",
                **details,
            ) from error

    async def update(self, id: str, changes: WorklogChanges) -> Worklog:
        """Change what ``changes`` names, and return the worklog (on API 1.0 without its approval status).

        Raises:
            NotFoundError: there is no such worklog.
            UnsupportedError: a field is not offered by this version of the API; nothing was sent.
            UsageError: no id looks like that; nothing was sent.
        """
        context = self._context
        found = await context.send(context.api_version.update(id, changes), of_id(id, context.api_version.updated))
        if isinstance(found, Worklog):
            return found
        with mark_cancellation(maybe_sent=True):
            return await self.get(id)

    async def delete(self, id: str) -> str | None:
        """Delete a worklog. It is a success, too, that an earlier attempt of the same call has deleted it already.

        Returns:
            The ``message`` with which the server confirms it; None when it sent none.

        Raises:
            NotFoundError: there is no such worklog.
            UsageError: no id looks like that; nothing was sent.
        """
        context = self._context
        return await context.send(context.api_version.delete(id), context.api_version.deleted)

    async def reconcile(
        self, error: AmbiguousWriteError, *, reads: int = 2, wait: float = 2.0, exclude: Collection[str] = ()
    ) -> Worklog:
        """Find the worklog that an ambiguous `create` has created, by reading back, and return it.

        It has the user, item, date, minutes and description that were sent, and was created since. Exactly one such
        worklog is taken for it. One of which the server does not say when it was created is a candidate only.

        Args:
            error: raised by `create`, or an outcome's.
            reads: how often to look, at least 2: a late request may still land.
            wait: seconds between two looks.
            exclude: ids of worklogs that are known to be others: those created by other calls of the same payload.

        Raises:
            AmbiguousWriteError: ``error`` itself, with the ``candidates`` that were found: none, several, or those of
                unknown age.
            UsageError: the error carries no payload, or ``reads`` or ``wait`` is out of range.
        """
        from tracket_async.reconcile import reconcile

        return await reconcile(error, self._lookup(looks=reads, wait=wait), exclude=exclude)

    def _lookup(self, **settings: Any) -> ServerLookup:
        from tracket_async.reconcile import ServerLookup

        return ServerLookup(
            pages=lambda wanted: self.list(filter=wanted).pages(),
            api_version=self._context.api_version,
            clock=self._context.clock,
            **settings,
        )

    def create_many(
        self,
        items: Iterable[NewWorklog] | AsyncIterable[NewWorklog],
        *,
        concurrency: int = 16,
        on_error: OnError = "stop",
        reconcile: bool = False,
    ) -> Outcomes[NewWorklog, Worklog]:
        """Create many worklogs; iterate over one `Outcome` for each, in the order of the items. See `Outcomes`.

        Args:
            items: consumed as needed: a generator of a million is no problem.
            concurrency: creates in progress at once; the session's ``Limits.max_concurrency`` bounds it, too.
            on_error: ``"stop"`` begins no other after the first that is not ok, ``"collect"`` tries all, as long as one
                can succeed.
            reconcile: look at once for a create whose response was lost (see `reconcile`, which takes 2 seconds). If it
                is found, it is ok. If not, it stays ambiguous, and does not stop the run.

        Raises:
            ClientStateError: the client is not open.
            UsageError: ``concurrency`` is below 1.
        """
        worklogs = self._patient()
        if not reconcile:
            return self._outcomes(items, worklogs.create, concurrency, on_error)
        from tracket_async.reconcile import LOOKUP_FAILURES, AmbiguousRow, Reconciler

        recent: deque[str] = deque(maxlen=_RECENT)

        async def created_here(ids: set[str]) -> set[str]:
            return ids.intersection(recent)

        reconciler, numbers = Reconciler(self._lookup(), created_here), itertools.count()

        async def create(new: NewWorklog) -> Worklog:
            async with reconciler.sending(new):
                try:
                    worklog = await worklogs.create(new)
                except AmbiguousWriteError as error:
                    ambiguous = error
                else:
                    recent.append(worklog.id)
                    return worklog
            row = AmbiguousRow(next(numbers), new, ambiguous.sent_at)
            try:
                verdict = await reconciler.reconcile(row)
            except LOOKUP_FAILURES as failure:
                raise ambiguous from failure
            if verdict.created is None:
                raise ambiguous.add(candidates=(*verdict.candidates, *verdict.of_unknown_age))
            del reconciler.unresolved[row.line]
            recent.append(verdict.created.id)
            return verdict.created

        return self._outcomes(items, create, concurrency, on_error, go_on_after_ambiguous=True)

    def update_many(
        self,
        items: Iterable[tuple[str, WorklogChanges]] | AsyncIterable[tuple[str, WorklogChanges]],
        *,
        concurrency: int = 16,
        on_error: OnError = "stop",
    ) -> Outcomes[tuple[str, WorklogChanges], Worklog]:
        """Change many worklogs, given as pairs of id and changes. As `create_many`.

        Changes of the same worklog are made one after the other, in the order of the items.
        """
        worklogs = self._patient()

        async def update(item: tuple[str, WorklogChanges]) -> Worklog:
            return await worklogs.update(*item)

        return self._outcomes(items, update, concurrency, on_error, key=itemgetter(0))

    def delete_many(
        self, items: Iterable[str] | AsyncIterable[str], *, concurrency: int = 16, on_error: OnError = "stop"
    ) -> Outcomes[str, None]:
        """Delete many worklogs, given by id. As `create_many`."""
        return self._outcomes(items, self._patient().delete, concurrency, on_error)

    def export(
        self,
        *,
        since: dt.date | None = None,
        until: dt.date | None = None,
        filter: WorklogFilter | None = None,
        concurrency: int = 16,
        ordered: bool = False,
        on_bad_row: OnBadRow | None = None,
    ) -> AsyncGenerator[Worklog]:
        """Iterate over every worklog that matches, exactly once, by a parallel scan of partitions of the dates.

        A worklog whose date is changed meanwhile may be met at both dates or at neither, as in any walk. Close it
        (`contextlib.aclosing`) to leave in the middle. When the server turns out not to list in ascending order, all
        pages are fetched one after the other, and the logger ``tracket_async`` warns.

        Args:
            since: as in `list`.
            until: as in `list`.
            filter: as in `list`; the order cannot be chosen.
            concurrency: pages fetched at once; the session's ``Limits.max_concurrency`` bounds it, too.
            ordered: True: ascending by date, and within a date in the server's order; some pages wait for those before
                them. False: in no order.
            on_bad_row: as in `list`; called with each such row once.

        Raises:
            UsageError: a bound is given twice, ``filter`` asks for an order, or ``concurrency`` is below 1.
            UnsupportedError: this version of the API has no such filter; or, while iterating, ``ordered`` and the
                server's order is not ascending.
            IncompleteExportError: while iterating, after the last worklog: the server counts more than it has sent.
            TypeError, ValueError: a bound is no date, naive, or after its upper bound.
        """
        from tracket_async.scan import ScanSettings, worklog_format

        context, wanted = self._to_scan(since, until, filter, on_bad_row)
        item_format = worklog_format(context.api_version)
        settings = ScanSettings(item_format=item_format, concurrency=concurrency, ordered=ordered)
        position = Position()
        return ResumableIteration(self._export(_pages(context, wanted, settings, on_bad_row), position), position)

    def arrow(
        self,
        *,
        since: dt.date | None = None,
        until: dt.date | None = None,
        filter: WorklogFilter | None = None,
        concurrency: int = 16,
        ordered: bool = False,
        on_bad_row: OnBadRow | None = None,
    ) -> AsyncGenerator[Any]:
        """Iterate over every worklog that matches as ``pyarrow.RecordBatch`` objects: `export` without models.

        The columns are those of exported files, ``day`` (in UTC) and ``extra`` among them, and typed as in Parquet
        files. A batch has 2,000 worklogs or a few more; the last one has what is left. Needs the extra ``export``.

        Args:
            since: as in `export`.
            until: as in `export`.
            filter: as in `export`.
            concurrency: as in `export`.
            ordered: as in `export`.
            on_bad_row: as in `export`.

        Raises:
            MissingExtraError: while iterating: pyarrow is not installed.
            UsageError, UnsupportedError, IncompleteExportError, TypeError, ValueError: as `export`.
        """
        from tracket_async.scan import ScanSettings, row_format

        context, wanted = self._to_scan(since, until, filter, on_bad_row)
        item_format = row_format(context.api_version)
        settings = ScanSettings(item_format=item_format, concurrency=concurrency, ordered=ordered)
        position = Position()
        return ResumableIteration(self._arrow(_pages(context, wanted, settings, on_bad_row), position), position)

    async def table(
        self,
        *,
        since: dt.date | None = None,
        until: dt.date | None = None,
        filter: WorklogFilter | None = None,
        concurrency: int = 16,
        on_bad_row: OnBadRow | None = None,
    ) -> WorklogTable:
        """Return every worklog that matches as a table for pandas, polars or DuckDB, ordered by date and id.

        It is in memory: about 300 bytes for each worklog. For more, see `arrow`, or export to a file.

        Args:
            since: as in `export`.
            until: as in `export`.
            filter: as in `export`.
            concurrency: as in `export`.
            on_bad_row: as in `export`.

        Raises:
            MissingExtraError, UsageError, UnsupportedError, IncompleteExportError, TypeError, ValueError: as `arrow`.
        """
        from tracket_async.frames import WorklogTable

        return await WorklogTable.collect(
            self.arrow(since=since, until=until, filter=filter, concurrency=concurrency, on_bad_row=on_bad_row)
        )

    def changes(
        self, mark: str | dt.date | None = None, *, every: float | None = None, on_bad_row: OnBadRow | None = None
    ) -> AsyncGenerator[ChangeBatch]:
        """Iterate over the worklogs that were created or updated since a mark (API 2.0), in batches.

        Each `ChangeBatch` has a mark. Keep it when the changes of the batch are handled, and begin with it the next
        time: then every change comes at least once, in the state that the worklog has by then. Some of the last minutes
        before a mark may come again. What was deleted is not told: for that, sync a store.

        Args:
            mark: of the last batch that was handled; or an aware datetime, by the server's clock, or a date, to begin
                with. None: from now; the first batch has no changes then, only the mark.
            every: seconds between two looks. None: it ends when it has caught up.
            on_bad_row: as in `list`; called with such a row each time that it is met.

        Raises:
            UnsupportedError: API 1.0 has neither of the two dates as a filter.
            UsageError: the text is no mark, or ``every`` is not above 0.
            TypeError, ValueError: the mark is no date, or naive.
        """
        from tracket_async.changes import follow

        context = _with_bad_rows(self._context.waiting_for_rate(), on_bad_row)

        def pages(wanted: WorklogFilter) -> AsyncGenerator[Page]:
            return self.list(filter=wanted, on_bad_row=on_bad_row).pages()

        return follow(pages, context.send, context.api_version, context.clock, mark=mark, every=every)

    def _to_scan(
        self,
        since: dt.date | None,
        until: dt.date | None,
        filter: WorklogFilter | None,
        on_bad_row: OnBadRow | None,
    ) -> tuple[CallContext, WorklogFilter]:
        """Return the context and the filter of a parallel scan; a mistake is told here, and not at the first page."""
        context = _with_bad_rows(self._context.waiting_for_rate(), on_bad_row)
        wanted = context.api_version.resolve(combine_filter(filter, since, until))
        check_scan_order(wanted)
        context.api_version.list(wanted)
        return context, wanted

    @staticmethod
    async def _export(pages: AsyncGenerator[Sequence[Worklog]], position: Position) -> AsyncGenerator[Worklog]:
        with noting_failure(position):
            async with Nested(pages) as each:
                async for page in each:
                    for worklog in page:
                        yield worklog

    @staticmethod
    async def _arrow(pages: AsyncGenerator[Sequence[Row]], position: Position) -> AsyncGenerator[Any]:
        from tracket_async.frames import record_batches, warm_up

        with noting_failure(position):
            await warm_up()
            async with Nested(record_batches(pages)) as batches:
                async for batch in batches:
                    yield batch

    def _patient(self) -> Worklogs:
        return Worklogs(self._context.waiting_for_rate())

    def _outcomes(
        self,
        items: Iterable[T] | AsyncIterable[T],
        write: Callable[[T], Awaitable[R | str | None]],
        concurrency: int,
        on_error: OnError,
        **settings: Any,
    ) -> Outcomes[T, R]:
        from tracket_async.bulk import Outcomes

        session = self._context.session
        if not session.is_open:
            raise ClientStateError("Open the client with `async with` first")
        return Outcomes(
            items, write, concurrency=concurrency, on_error=on_error, usable=lambda: session.is_open, **settings
        )


class Categories:
    """The operations on the categories that a worklog can have (API 2.0)."""

    def __init__(self, context: CallContext) -> None:
        self._context = context

    async def list(self) -> CategoryList:
        """Return all categories, in the server's order.

        Raises:
            UnsupportedError: on API 1.0, which does not list them.
        """
        context = self._context
        return await context.send(context.api_version.categories(), context.api_version.category_list)


async def _pages(
    context: CallContext, wanted: WorklogFilter, settings: ScanSettings[T], on_bad_row: OnBadRow | None
) -> AsyncGenerator[Sequence[T]]:
    """Yield the items of each page of a parallel scan; hand over the rows that cannot be read."""
    from tracket_async.scan import scan

    found = await scan(context.send, context.api_version, wanted, settings, compare_total=True, now=context.clock.now)
    async with Nested(found.batches()) as batches:
        async for batch in batches:
            if on_bad_row is not None:
                for bad in batch.bad_rows:
                    on_bad_row(bad.row, bad.error)
            yield batch.items


def _with_bad_rows(context: CallContext, on_bad_row: OnBadRow | None) -> CallContext:
    """Return the context for a list that keeps the rows that cannot be read, if somebody is to be given them."""
    return context if on_bad_row is None else attrs.evolve(context, api_version=context.api_version.keeping_bad_rows())


def _contradicts(found: Worklog, new: NewWorklog) -> bool:
    """Return whether the worklog is not the one that was sent, whatever a server does to texts, times and fractions."""
    return (
        found.item_id not in (None, new.item_id)
        or abs(found.minutes - new.minutes) >= 1
        or abs(found.date - new.date) > _LARGEST_OFFSET
    )


def of_id(id: str, read: Callable[[Response], W]) -> Callable[[Response], W]:
    """Return a reader that refuses a worklog of another id: the answer to another request."""

    def checked(response: Response) -> W:
        try:
            found = read(response)
        except MalformedResponseError as error:
            if error.worklog_id == id:
                raise
            raise MismatchedResponseError(f"The server's answer is not worklog {id!r}: {error.message}") from error
        if found.id is not None and found.id != id:
            raise MismatchedResponseError(f"The server answers with another worklog than {id!r}")
        return found

    return checked


def _ambiguous(new: NewWorklog, message: str, **details: Any) -> AmbiguousWriteError:
    return AmbiguousWriteError(f"The worklog may or may not have been created: {message}", payload=new, **details)
