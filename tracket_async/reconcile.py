"""Whether a create whose answer was lost has happened after all: read back, more than once, and compare.

The API has no idempotency key, so the only evidence is a worklog that looks like what was sent and was created since.
Exactly one such worklog is the created one. None may still land; several cannot be told apart: both stay ambiguous,
and sending again is the caller's decision.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable
from contextlib import aclosing
from typing import Final

import attrs

from tracket_async.errors import AmbiguousWriteError, UsageError
from tracket_async.models import NewWorklog, Page, Worklog, WorklogFilter

CLOCK_MARGIN: Final = dt.timedelta(seconds=2)
"""A Date header has whole seconds, and its answer was on its way for a while."""
LARGEST_SKEW: Final = dt.timedelta(days=1)
"""By no more than this does this machine's clock differ from the server's, where the server itself has to filter."""
MILLISECOND: Final = dt.timedelta(milliseconds=1)

Pages = Callable[[WorklogFilter], AsyncGenerator[Page]]


@attrs.frozen(kw_only=True)
class Matcher:
    """What the created worklog looks like.

    Attributes:
        sent: the payload.
        by_day: the server keeps only the (UTC) day of a date.
        exclude: ids of worklogs that are known to be others.
    """

    sent: NewWorklog
    by_day: bool
    exclude: Collection[str] = ()

    def dates(self) -> WorklogFilter:
        """The dates that it can have."""
        if self.by_day:
            return WorklogFilter(since=self.sent.date.date(), until=self.sent.date.date())
        return WorklogFilter(since=self.sent.date - MILLISECOND, until=self.sent.date + MILLISECOND)

    def matches(self, worklog: Worklog, created_since: dt.datetime | None) -> bool:
        """Whether the worklog may be the created one.

        Args:
            worklog: one that the server has.
            created_since: by the server's clock; None when that is unknown. A worklog without a created date may have
                been created at any time.
        """
        sent = self.sent
        return (
            worklog.id not in self.exclude
            and worklog.user_id == sent.user_id
            and worklog.item_id == sent.item_id
            and self._same_date(worklog.date)
            and math.isclose(worklog.minutes, sent.minutes, abs_tol=1e-6)
            and (worklog.description or "") == (sent.description or "")
            and (created_since is None or worklog.created_date is None or worklog.created_date >= created_since)
        )

    def _same_date(self, date: dt.datetime) -> bool:
        return date.date() == self.sent.date.date() if self.by_day else abs(date - self.sent.date) < MILLISECOND


def sent_by_server_clock(
    sent_at: dt.datetime | None, *, now: dt.datetime, server_date: dt.datetime | None
) -> dt.datetime | None:
    """The moment before which the worklog was not created, by the server's clock; None when it cannot be told.

    Args:
        sent_at: when it was sent, by this machine's clock.
        now: this machine's time at which ``server_date`` arrived.
        server_date: an answer's Date header.
    """
    if sent_at is None or server_date is None:
        return None
    return sent_at + (server_date - now) - CLOCK_MARGIN


def decide(reads: Iterable[Iterable[Worklog]]) -> tuple[Worklog | None, tuple[Worklog, ...]]:
    """What several reads say.

    Args:
        reads: for each read, in their order, the worklogs that match.

    Returns:
        The created worklog: the only one that was ever found, and there at the last read. None otherwise. And all that
        were found, as last seen, in the order in which they were found.
    """
    found: dict[str, Worklog] = {}
    last: set[str] = set()
    for read in reads:
        matching = {worklog.id: worklog for worklog in read}
        found |= matching
        last = set(matching)
    candidates = tuple(found.values())
    sure = len(candidates) == 1 and candidates[0].id in last
    return (candidates[0] if sure else None), candidates


async def reconcile(
    error: AmbiguousWriteError,
    pages: Pages,
    *,
    by_day: bool,
    filters_created: bool,
    now: Callable[[], dt.datetime],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    reads: int = 2,
    wait: float = 2.0,
    exclude: Collection[str] = (),
) -> Worklog:
    """The worklog that an ambiguous create has created.

    Args:
        error: what the create raised.
        pages: the pages of a list.
        by_day: as in `Matcher`.
        filters_created: whether the list can be filtered by created date.
        now: this machine's time, aware UTC.
        sleep: waits so many seconds.
        reads: how often to look, at least 2.
        wait: seconds between two looks, at least 0: a request that is late has so much time to arrive.
        exclude: as in `Matcher`.

    Raises:
        AmbiguousWriteError: ``error`` itself, with the ``candidates`` that were found: none, or several.
        UsageError: the error carries no payload, or a setting is out of range.
        RequestError: reading back failed; nothing is decided.
    """
    if not isinstance(error.payload, NewWorklog):
        raise UsageError("The error carries no payload, so there is nothing to look for")
    if reads < 2 or not 0 <= wait < math.inf:  # noqa: PLR2004
        raise UsageError(f"reads must be at least 2 and wait at least 0 seconds, not {reads} and {wait}")
    matcher = Matcher(sent=error.payload, by_day=by_day, exclude=frozenset(exclude))
    wanted = matcher.dates()
    if filters_created and error.sent_at is not None:
        wanted = attrs.evolve(wanted, created_since=error.sent_at - LARGEST_SKEW)
    seen: list[list[Worklog]] = []
    for read in range(reads):
        if read:
            await sleep(wait)
        matching: list[Worklog] = []
        async with aclosing(pages(wanted)) as found:
            async for page in found:
                since = sent_by_server_clock(error.sent_at, now=now(), server_date=page.server_date)
                matching += [worklog for worklog in page.items if matcher.matches(worklog, since)]
        seen.append(matching)
    created, candidates = decide(seen)
    if created is None:
        raise error.add(candidates=candidates)
    return created
