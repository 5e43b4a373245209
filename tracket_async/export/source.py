"""The requests of an export or a sync, which outlive an outage of some minutes.

A call that fails after its retries is made again, with longer and longer waits, until nothing has been answered for
`OutagePolicy.give_up_after` seconds. Before the first answer an error is final: the address or the token may be wrong.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable
from contextlib import aclosing
from typing import Any, TypeVar

import attrs

from tracket_async._api.endpoints import RowPage
from tracket_async._api.fast import Row, row_of
from tracket_async._http.limits import Clock
from tracket_async._http.messages import Request, Response
from tracket_async._timestamps import first_millisecond, last_millisecond, read_moment
from tracket_async.changes import ServerClock, ServerTime
from tracket_async.client import TracketClient
from tracket_async.errors import (
    BadRequestError,
    ExportError,
    GoneError,
    NotFoundError,
    PermissionDeniedError,
    RequestError,
    UnreadableResponseError,
)
from tracket_async.export.tables import id_of
from tracket_async.models import BadRow, Worklog, WorklogFilter
from tracket_async.pagination import CursorLoopGuard
from tracket_async.scan.parallel import ParallelScan, matches, row_format, scan
from tracket_async.scan.partition import PartitionState, ScanSettings
from tracket_async.worklogs import of_id

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class OutagePolicy:
    """The waits of an export for a server that does not answer. Durations are seconds.

    Attributes:
        first_wait: before a failed call is made once more; each further wait is twice as long.
        longest_wait: and at most this.
        give_up_after: without any answer for so long, the export ends with an error.
    """

    first_wait: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))
    longest_wait: float = attrs.field(default=30.0, validator=attrs.validators.gt(0))
    give_up_after: float = attrs.field(default=900.0, validator=attrs.validators.ge(0))


OnWaiting = Callable[[str | None], None]
"""Called with why an export waits for the server, a sentence, and with None when it goes on; must be quick."""


class Source:
    """The server of an export: requests that are made until they are answered.

    Attributes:
        client: sends the requests.
        counts: whether the server counts what matches, filters by change and sorts: API 2.0.
        waiting: why it waits for the server, None while it does not.
        api_version: of the client; it keeps bad rows if that was asked for.
    """

    def __init__(
        self,
        client: TracketClient,
        *,
        patience: OutagePolicy,
        clock: Clock,
        keep_bad_rows: bool = False,
        on_waiting: OnWaiting | None = None,
    ) -> None:
        self.client = client.with_options(wait_for_rate=True)
        self.api_version = client.api_version.keeping_bad_rows() if keep_bad_rows else client.api_version
        self.counts = client.api_version.has_total
        self.waiting: str | None = None
        self._patience = patience
        self._on_waiting = on_waiting
        self._clock = clock
        self._answered: float | None = None
        smallest = client.api_version.smallest_page
        self._server_clock = ServerClock(lambda wanted: self._page(wanted, None, smallest), clock.now)

    async def scan(
        self,
        wanted: WorklogFilter,
        *,
        concurrency: int,
        states: Iterable[PartitionState] = (),
        distinct: bool = True,
    ) -> ParallelScan[Row]:
        """Return the parallel scan of everything that matches, not begun yet; the arguments are `ScanSettings`."""
        api_version = self.api_version
        settings = ScanSettings(
            item_format=row_format(api_version), concurrency=concurrency, states=tuple(states), distinct=distinct
        )
        return await scan(self._send, api_version, wanted, settings, now=self._clock.now)

    async def count(self, wanted: WorklogFilter) -> int | None:
        """Return how many match; None when the server does not say: it knows bounds, and no choices of values."""
        if not self.counts or wanted.values:
            return None
        page = await self._page(wanted, None, self.client.api_version.smallest_page)
        return page.total and page.total - await self._count_beyond(wanted)

    async def _count_beyond(self, wanted: WorklogFilter) -> int:
        """Count what the server counts and the filter does not: its bounds are sent in whole milliseconds."""
        beyond = set[str]()
        for lower, upper in (("created_since", "created_until"), ("updated_since", "updated_until")):
            for name, as_sent in ((lower, first_millisecond), (upper, last_millisecond)):
                bound: dt.datetime | None = getattr(wanted, name)
                sent = bound and read_moment(as_sent(bound))
                if sent != bound:
                    bounds: dict[str, Any] = {lower: sent, upper: sent}
                    async with aclosing(self.pages(attrs.evolve(wanted, **bounds))) as pages:
                        async for rows in pages:
                            beyond.update(id_of(row) for row in rows if not matches(wanted, row))
        return len(beyond)

    async def times(self, wanted: WorklogFilter) -> ServerTime:
        """Return the server's time, and the mark of a check that begins now.

        On API 1.0, which tells no changes, the mark is its time: that of a page of ``wanted``.
        """
        if self.counts:
            return await self._server_clock.read()
        now = (await self._page(wanted, None, None)).server_date or self._clock.now()
        return ServerTime(now=now, mark=now)

    async def pages(self, wanted: WorklogFilter, bad_rows: list[BadRow] | None = None) -> AsyncGenerator[list[Row]]:
        """Yield all that match, page after page. A worklog may come twice: when a cursor was refused.

        Args:
            wanted: which.
            bad_rows: is given the rows that cannot be read, where those are kept.
        """
        cursor, guard, began_again = None, CursorLoopGuard(None), False
        while True:
            try:
                page = await self._page(wanted, cursor, None)
            except (BadRequestError, GoneError):
                # An expired cursor: begin again, once. What is asked here is never long.
                if cursor is None or began_again:
                    raise
                cursor, guard, began_again = None, CursorLoopGuard(None), True
                continue
            keys = [*map(id_of, page.items), *(bad.key for bad in page.bad_rows)]
            guard.check_page(keys, page.next_cursor)
            if bad_rows is not None:
                bad_rows += filter(wanted.may_match, page.bad_rows)
            yield page.items
            guard.check_cursor(len(page.items) + len(page.bad_rows), page.next_cursor)
            if page.next_cursor is None:
                return
            cursor = page.next_cursor

    async def row(self, id_: str) -> Row | BadRow | PermissionDeniedError | None:
        """Return the worklog as it is now; None: it is gone. The error of a 403, which does not say that it is gone."""
        version = self.api_version
        try:
            found = await self._send(version.get(id_), of_id(id_, version.worklog_or_bad_row))
            return row_of(found) if isinstance(found, Worklog) else found
        except NotFoundError:
            return None
        except PermissionDeniedError as error:
            return error

    async def call_until_answered(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Call until there is an answer, and return it.

        Broken JSON that comes twice alike is no outage: it comes again. (An HTML page may be that of a maintenance.)

        Raises:
            ExportError: nothing has arrived for too long; its cause is the last error.
            RequestError: the call failed in a way that waiting does not mend, or nothing has ever been answered.
        """
        wait, broken = self._patience.first_wait, None
        while True:
            try:
                answer = await ask()
            except RequestError as error:
                found = broken_json(error)
                if not error.is_passing or (found is not None and found == broken):
                    raise
                broken = found
                await self._clock.sleep(self._pause(error, wait))
                wait = min(2 * wait, self._patience.longest_wait)
            else:
                self._answered = self._clock.time()
                if self.waiting is not None:
                    self._set_waiting(None)
                return answer

    def _pause(self, error: RequestError, wait: float) -> float:
        """Return how many seconds to wait after the error; raise it when waiting does not help, or no longer."""
        if self._answered is None:
            raise error
        silent, asked = self._clock.time() - self._answered, error.retry_after or 0.0
        if max(silent, asked) >= self._patience.give_up_after:
            why = f"the server asks to wait {asked:.0f} s" if asked > silent else f"no answer for {silent:.0f} s"
            raise ExportError(
                f"the export gives up, {why}: {error.message}",
                fault=error.fault,
                hint="Run the same again: it goes on where it was",
            ) from error
        self._set_waiting(str(error))
        return max(asked, wait * (0.5 + 0.5 * self._clock.random()))

    def _set_waiting(self, why: str | None) -> None:
        changed, self.waiting = why != self.waiting, why
        if changed and self._on_waiting is not None:
            self._on_waiting(why)

    async def _page(self, wanted: WorklogFilter, cursor: str | None, size: int | None) -> RowPage:
        api_version = self.api_version
        return await self._send(api_version.list(wanted, cursor=cursor, size=size), api_version.rows)

    def _send(self, request: Request, parse: Callable[[Response], T]) -> Coroutine[Any, Any, T]:
        return self.call_until_answered(lambda: self.client.send(request, parse))


def broken_json(error: RequestError) -> str | None:
    """Return the beginning of a body that is JSON and broken, None after another error."""
    is_broken = isinstance(error, UnreadableResponseError) and error.excerpt and error.excerpt[0] in '{["'
    return error.excerpt if is_broken else None
