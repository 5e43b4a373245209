"""Whether a create whose answer was lost has happened after all: read back, more than once, and compare.

The API has no idempotency key, so the only evidence is a worklog that looks like what was sent and was created since.
Exactly one such worklog is the created one. None may still land; several cannot be told apart: both stay ambiguous,
and sending again is the caller's decision.

Which rows in doubt were created after all, from what several looks at the server have found. Pure.

The rule is that of ``reconcile.py`` (same user, item, date, minutes and description, created since), for many rows at
once, of which some may be alike. Rows that could be the same worklog form a group; so do the worklogs that could be
one of them. What is the worklog of another row of the journal is not among these.

* As many worklogs as rows, or fewer: each is a row's. The rows that are left over stay in doubt: none was found.
* More worklogs than rows, or one that was gone at the last look: all stay in doubt, with these as candidates.
* Rows that differ in what is not compared (a category, say) first get the worklogs that are equal in that, too; what is
  left is only given to rows that all say the same.
* A worklog of which nobody knows when it was created is a candidate, and never the answer: it may be older.

Looks at the server for rows in doubt: day by day, several days at once, and more than once altogether.
"""

from __future__ import annotations

import asyncio
import collections
import datetime as dt
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Final

import attrs

from tracket_async._http.limits import Clock
from tracket_async.client import TracketClient
from tracket_async.errors import AmbiguousWriteError, UsageError
from tracket_async.export.text import json_text
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


_COMPARED: Final = frozenset({"item_id", "user_id", "date", "minutes", "description"})
_OTHERS: Final = tuple(each.name for each in attrs.fields(NewWorklog) if each.name not in _COMPARED)


@attrs.frozen
class AmbiguousRow:
    """A row that was sent and may have been created.

    Attributes:
        line: of the file.
        new: what was sent.
        at: when it was sent first, by the clock of the machine that sent it.
        clock: seconds that the server's clock was ahead of it then; None when unknown.
    """

    line: int
    new: NewWorklog
    at: dt.datetime
    clock: float | None

    def since(self, clock: float | None) -> dt.datetime | None:
        """The moment before which it was not created, by the server's clock; None when that cannot be told.

        Of what is known about the clocks, the earlier moment counts: too early a one finds too much, which is seen.

        Args:
            clock: seconds that the server's clock is ahead of this machine's now.
        """
        known = [seconds for seconds in (self.clock, clock) if seconds is not None]
        return self.at + dt.timedelta(seconds=min(known)) - CLOCK_MARGIN if known else None

    def key(self, *, by_day: bool) -> tuple[object, ...]:
        """Equal for the rows that could be the same worklog."""
        new = self.new
        date = new.date.date() if by_day else new.date.replace(microsecond=new.date.microsecond // 1000 * 1000)
        return new.user_id, new.item_id, date, round(new.minutes, 6), new.description or ""


@attrs.frozen
class Snapshot:
    """What one look has found.

    Attributes:
        by_day: as in `Matcher`.
        sure: for each line, the worklogs that match and were created since.
        unsure: for each line, those that match and may be older.
    """

    by_day: bool
    sure: dict[int, list[Worklog]] = attrs.field(factory=dict[int, list[Worklog]])
    unsure: dict[int, list[Worklog]] = attrs.field(factory=dict[int, list[Worklog]])

    def see(self, doubts: Iterable[AmbiguousRow], worklogs: Collection[Worklog], clock: float | None) -> None:
        """Compare the rows with worklogs of the server.

        Args:
            doubts: the rows.
            worklogs: what the server has.
            clock: as in `AmbiguousRow.since`, at the time at which the worklogs were read.
        """
        for doubt in doubts:
            since = doubt.since(clock)
            matcher = Matcher(sent=doubt.new, by_day=self.by_day)
            for worklog in worklogs:
                if matcher.matches(worklog, since):
                    found = self.unsure if since is None or worklog.created_date is None else self.sure
                    found.setdefault(doubt.line, []).append(worklog)


@attrs.frozen
class Verdict:
    """What is known about a row now.

    Attributes:
        line: of the file.
        created: the worklog that it is; None: it stays in doubt.
        candidates: while it is in doubt, the worklogs that it could be, created since.
        older: those that it could be only if they are younger than they look.
    """

    line: int
    created: Worklog | None = None
    candidates: tuple[Worklog, ...] = ()
    older: tuple[Worklog, ...] = ()


def resolve(
    doubts: Iterable[AmbiguousRow], looks: Sequence[Snapshot], *, claimed: Collection[str] = ()
) -> list[Verdict]:
    """What the looks say about each row.

    Args:
        doubts: the rows.
        looks: in their order; at least one.
        claimed: ids of the worklogs of other rows.

    Returns:
        A verdict for each row, in their order.
    """
    groups: dict[tuple[object, ...], list[AmbiguousRow]] = {}
    for doubt in doubts:
        groups.setdefault(doubt.key(by_day=looks[0].by_day), []).append(doubt)
    taken = set(claimed)
    verdicts: dict[int, Verdict] = {}
    for group in groups.values():
        for verdict in _resolve(group, looks, taken):
            verdicts[verdict.line] = verdict
            if verdict.created is not None:
                taken.add(verdict.created.id)
    return [verdicts[line] for line in sorted(verdicts)]


def _resolve(group: Sequence[AmbiguousRow], looks: Sequence[Snapshot], taken: Collection[str]) -> list[Verdict]:
    sure, last = _seen([look.sure for look in looks], group, taken)
    unsure, _ = _seen([look.unsure for look in looks], group, {*taken, *sure})
    older = tuple(unsure.values())
    if len(sure) > len(group) or sure.keys() != last:
        return [Verdict(doubt.line, candidates=tuple(sure.values()), older=older) for doubt in group]
    return _assigned(group, list(sure.values()), older)


def _seen(
    looks: Iterable[Mapping[int, Sequence[Worklog]]], group: Sequence[AmbiguousRow], without: Collection[str]
) -> tuple[dict[str, Worklog], set[str]]:
    """All worklogs that were ever found for the group, as last seen, and the ids of the last look."""
    seen: dict[str, Worklog] = {}
    last: set[str] = set()
    for look in looks:
        found = {w.id: w for doubt in group for w in look.get(doubt.line, ()) if w.id not in without}
        seen |= found
        last = set(found)
    return seen, last


def _assigned(group: Sequence[AmbiguousRow], worklogs: list[Worklog], older: tuple[Worklog, ...]) -> list[Verdict]:
    """A worklog for as many rows as there are worklogs, each at most once; no more worklogs than rows are given."""
    alike: dict[tuple[object, ...], collections.deque[Worklog]] = {}
    for worklog in worklogs:
        alike.setdefault(_others(worklog), collections.deque()).append(worklog)
    created: dict[int, Worklog] = {}
    open_rows: list[AmbiguousRow] = []
    for doubt in group:
        queue = alike.get(_others(doubt.new))
        if queue:
            created[doubt.line] = queue.popleft()
        else:
            open_rows.append(doubt)
    left = [worklog for queue in alike.values() for worklog in queue]
    # The server may have written something else than was sent. That is no reason to doubt, as long as the rows that
    # are left all say the same: then it does not matter which is whose.
    if len({_others(doubt.new) for doubt in open_rows}) == 1:
        for doubt in open_rows[: len(left)]:
            created[doubt.line] = left.pop(0)
    return [
        Verdict(doubt.line, created[doubt.line])
        if doubt.line in created
        else Verdict(doubt.line, candidates=tuple(left), older=older)
        for doubt in group
    ]


def _others(worklog: Worklog | NewWorklog) -> tuple[object, ...]:
    values = (getattr(worklog, name) for name in _OTHERS)
    return tuple(json_text(value) if isinstance(value, dict) else value for value in values)


LOOKS: Final = 2
"""A request that is late may have landed between two looks."""
WAIT: Final = 2.0
"""Seconds between two looks."""


@attrs.frozen(kw_only=True)
class ServerLookup:
    """Where looks are taken from.

    Attributes:
        client: open.
        concurrency: days that are looked at together.
        wait: seconds between two looks.
        clock: this machine's time, and waiting.
    """

    client: TracketClient
    concurrency: int
    wait: float = WAIT
    clock: Clock = attrs.field(factory=Clock)

    @property
    def by_day(self) -> bool:
        """Whether the server keeps only the day of a date: API 2.0."""
        return self.client.api_version.keeps_days

    async def looks(self, doubts: Sequence[AmbiguousRow]) -> list[Snapshot]:
        """`LOOKS` looks for the rows, the first at once.

        Raises:
            RequestError: reading failed; nothing can be decided.
        """
        found: list[Snapshot] = []
        for number in range(LOOKS):
            if number:
                await self.clock.sleep(self.wait)
            found.append(await self._look(doubts))
        return found

    async def _look(self, doubts: Sequence[AmbiguousRow]) -> Snapshot:
        days: dict[dt.date, list[AmbiguousRow]] = {}
        for doubt in doubts:
            days.setdefault(doubt.new.date.date(), []).append(doubt)
        look = Snapshot(self.by_day)
        todo = iter(days.items())
        tasks = [
            asyncio.create_task(self._see_days(todo, look)) for _ in range(min(max(self.concurrency, 1), len(days)))
        ]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return look

    async def _see_days(self, days: Iterator[tuple[dt.date, list[AmbiguousRow]]], look: Snapshot) -> None:
        for day, doubts in days:
            walk = self.client.worklogs.list(filter=self._filter(day, doubts))
            async with aclosing(walk.pages()) as pages:
                async for page in pages:
                    look.see(doubts, page.items, clock_of(page, self.clock.now()))

    def _filter(self, day: dt.date, doubts: Sequence[AmbiguousRow]) -> WorklogFilter:
        created_since = min(doubt.at for doubt in doubts) - LARGEST_SKEW if self.by_day else None
        return WorklogFilter(since=day, until=day, created_since=created_since)


def clock_of(page: Page, now: dt.datetime) -> float | None:
    """Seconds that the server's clock is ahead of this machine's, by the page's Date header; None without one.

    Args:
        page: just read.
        now: this machine's time.
    """
    return None if page.server_date is None else (page.server_date - now).total_seconds()
