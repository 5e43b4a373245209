"""Reconciliation of ambiguous creates: find out by reading back whether they have happened.

The API has no idempotency key. So the only evidence is a worklog that looks like what was sent and was created since.
There is one rule, for one create and for the many of an import, of which some may be alike:

* A worklog matches a row if user, item, date, minutes and description are the same. Text is compared trimmed and in
  Unicode's NFC, since a server may trim and normalize it.
* Rows that could be the same worklog form a group; so do the worklogs that match them. A worklog that is known to be
  another row's is not among these.
* As many worklogs as rows, or fewer: each is a row's. The rows that are left over stay ambiguous: none was found.
* More worklogs than rows, or one that was gone at the last look: all rows stay ambiguous, with these as candidates.
* Rows that differ in what is not compared (a category, say) first get the worklogs that are equal in that, too. What is
  left is given only to rows that all say the same.
* A worklog of unknown age is a candidate and never the answer, since it may be older than the create.

Several looks are taken, because a request that is late may land between them. None found is no proof, and sending
again is the caller's decision.
"""

from __future__ import annotations

import asyncio
import collections
import datetime as dt
import json
import math
import unicodedata
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Final

import attrs

from tracket_async._api.endpoints import ApiVersion
from tracket_async._http.limits import Clock
from tracket_async._tasks import gather, mark_cancellation
from tracket_async.errors import AmbiguousWriteError, IncompleteExportError, RequestError, UsageError
from tracket_async.models import NewWorklog, Page, Worklog, WorklogFilter

CLOCK_MARGIN: Final = dt.timedelta(seconds=2)
"""A Date header has whole seconds, and its answer was on its way for a while."""
WAIT: Final = 2.0
"""Seconds between two looks."""
LOOKUP_FAILURES: Final = (RequestError, IncompleteExportError)
"""What reading back fails with: it decides nothing then."""

_MILLISECOND: Final = dt.timedelta(milliseconds=1)
_DAY: Final = dt.timedelta(days=1)
_COMPARED: Final = frozenset({"item_id", "user_id", "date", "minutes", "description"})
_OTHERS: Final = tuple(each.name for each in attrs.fields(NewWorklog) if each.name not in _COMPARED)

_Similar = tuple[str, str, object]

Pages = Callable[[WorklogFilter], AsyncGenerator[Page]]


@attrs.frozen
class AmbiguousRow:
    """A create that was sent and may have happened.

    Attributes:
        line: its line in the file; any number that tells it from the others.
        new: what was sent.
        at: when it was sent first, by the clock of the machine that sent it; None when unknown.
        clock_offset: seconds that the server's clock was ahead of it then; None when unknown.
    """

    line: int
    new: NewWorklog
    at: dt.datetime | None
    clock_offset: float | None = None

    def since(self, clock_offset: float | None) -> dt.datetime | None:
        """Return the moment before which it was not created, by the server's clock; None when that cannot be told.

        Of what is known about the clocks, the earlier moment counts: too early a one finds too much, which is seen.

        Args:
            clock_offset: seconds that the server's clock is ahead of this machine's now.
        """
        known = [seconds for seconds in (self.clock_offset, clock_offset) if seconds is not None]
        if self.at is None or not known:
            return None
        return self.at + dt.timedelta(seconds=min(known)) - CLOCK_MARGIN

    def key(self, *, by_day: bool) -> tuple[object, ...]:
        """Return what is equal for the rows that could be the same worklog."""
        new = self.new
        date = new.date.date() if by_day else new.date.replace(microsecond=new.date.microsecond // 1000 * 1000)
        return new.user_id, new.item_id, date, round(new.minutes, 6), _text(new.description)

    def matches(self, worklog: Worklog, *, by_day: bool) -> bool:
        """Return whether the worklog looks like what was sent.

        Args:
            worklog: one that the server has.
            by_day: whether the server keeps only the day of a date.
        """
        new = self.new
        return (
            worklog.user_id == new.user_id
            and worklog.item_id == new.item_id
            and (worklog.date.date() == new.date.date() if by_day else abs(worklog.date - new.date) < _MILLISECOND)
            and math.isclose(worklog.minutes, new.minutes, abs_tol=1e-6)
            and _text(worklog.description) == _text(new.description)
        )


@attrs.frozen
class Snapshot:
    """The worklogs that one look at the server has found.

    Attributes:
        by_day: whether the server keeps only the day of a date.
        created_since: for each line, the worklogs that match and were created since.
        of_unknown_age: for each line, those that match and may be older.
    """

    by_day: bool
    created_since: dict[int, list[Worklog]] = attrs.field(factory=dict[int, list[Worklog]])
    of_unknown_age: dict[int, list[Worklog]] = attrs.field(factory=dict[int, list[Worklog]])

    @property
    def ids(self) -> set[str]:
        """Return the ids of all worklogs that were found."""
        found = [*self.created_since.values(), *self.of_unknown_age.values()]
        return {worklog.id for worklogs in found for worklog in worklogs}

    def add(self, rows: Iterable[AmbiguousRow], worklogs: Collection[Worklog], clock_offset: float | None) -> None:
        """Compare the rows with worklogs of the server.

        Args:
            rows: the rows.
            worklogs: what the server has.
            clock_offset: as in `AmbiguousRow.since`, at the time at which the worklogs were read.
        """
        for row in rows:
            since = row.since(clock_offset)
            for worklog in worklogs:
                if not row.matches(worklog, by_day=self.by_day):
                    continue
                if since is None or worklog.created_date is None:
                    self.of_unknown_age.setdefault(row.line, []).append(worklog)
                elif worklog.created_date >= since:
                    self.created_since.setdefault(row.line, []).append(worklog)


@attrs.frozen
class Verdict:
    """The state of a row after the looks.

    Attributes:
        line: its line.
        created: the worklog that it is; None: it stays ambiguous.
        candidates: while it is ambiguous, the worklogs that it could be, created since.
        of_unknown_age: those that it could be only if they are younger than they look.
    """

    line: int
    created: Worklog | None = None
    candidates: tuple[Worklog, ...] = ()
    of_unknown_age: tuple[Worklog, ...] = ()

    @property
    def is_absent(self) -> bool:
        """Return whether nothing was found that it could be."""
        return self.created is None and not self.candidates and not self.of_unknown_age


def resolve(
    rows: Iterable[AmbiguousRow], snapshots: Sequence[Snapshot], *, claimed: Collection[str] = ()
) -> list[Verdict]:
    """Return what the snapshots say about each row, in the order of their lines.

    Args:
        rows: the rows.
        snapshots: in their order; at least one.
        claimed: ids of the worklogs of other rows.
    """
    groups: dict[tuple[object, ...], list[AmbiguousRow]] = {}
    for row in rows:
        groups.setdefault(row.key(by_day=snapshots[0].by_day), []).append(row)
    taken = set(claimed)
    verdicts: dict[int, Verdict] = {}
    for group in groups.values():
        for verdict in _resolve(group, snapshots, taken):
            verdicts[verdict.line] = verdict
            if verdict.created is not None:
                taken.add(verdict.created.id)
    return [verdicts[line] for line in sorted(verdicts)]


def _resolve(group: Sequence[AmbiguousRow], snapshots: Sequence[Snapshot], taken: Collection[str]) -> list[Verdict]:
    since, last = _found([snapshot.created_since for snapshot in snapshots], group, taken)
    unknown, _ = _found([snapshot.of_unknown_age for snapshot in snapshots], group, {*taken, *since})
    of_unknown_age = tuple(unknown.values())
    if len(since) > len(group) or since.keys() != last:
        return [Verdict(row.line, candidates=tuple(since.values()), of_unknown_age=of_unknown_age) for row in group]
    return _assigned(group, list(since.values()), of_unknown_age)


def _found(
    looks: Iterable[Mapping[int, Sequence[Worklog]]], group: Sequence[AmbiguousRow], without: Collection[str]
) -> tuple[dict[str, Worklog], set[str]]:
    """Return all worklogs that were ever found for the group, as last seen, and the ids of the last look."""
    seen: dict[str, Worklog] = {}
    last: set[str] = set()
    for look in looks:
        found = {w.id: w for row in group for w in look.get(row.line, ()) if w.id not in without}
        seen |= found
        last = set(found)
    return seen, last


def _assigned(
    group: Sequence[AmbiguousRow], worklogs: list[Worklog], of_unknown_age: tuple[Worklog, ...]
) -> list[Verdict]:
    """Give a worklog to as many rows as there are worklogs, each at most once; there are no more worklogs than rows."""
    alike: dict[tuple[object, ...], collections.deque[Worklog]] = {}
    for worklog in worklogs:
        alike.setdefault(_others(worklog), collections.deque()).append(worklog)
    created: dict[int, Worklog] = {}
    open_rows: list[AmbiguousRow] = []
    for row in group:
        queue = alike.get(_others(row.new))
        if queue:
            created[row.line] = queue.popleft()
        else:
            open_rows.append(row)
    left = [worklog for queue in alike.values() for worklog in queue]
    # The server may have written something else than was sent. That is no reason to doubt, as long as the rows that
    # are left all say the same: then it does not matter which is whose.
    if len({_others(row.new) for row in open_rows}) == 1:
        for row in open_rows[: len(left)]:
            created[row.line] = left.pop(0)
    return [
        Verdict(row.line, created[row.line])
        if row.line in created
        else Verdict(row.line, candidates=tuple(left), of_unknown_age=of_unknown_age)
        for row in group
    ]


def _others(worklog: Worklog | NewWorklog) -> tuple[object, ...]:
    values = (getattr(worklog, name) for name in _OTHERS)
    return tuple(json.dumps(value, sort_keys=True) if isinstance(value, dict) else value for value in values)


def _text(text: str | None) -> str:
    return unicodedata.normalize("NFC", text or "").strip()


@attrs.frozen(kw_only=True)
class ServerLookup:
    """Look at the server for ambiguous rows: day by day, several days at once, and more than once altogether.

    Attributes:
        pages: lists the pages of a filter.
        api_version: says what the server keeps of a date, and what it filters.
        concurrency: days that are read at once.
        looks: how often to look, at least 2.
        wait: seconds between two looks, at least 0: a request that is late has so much time to arrive.
        clock: this machine's time, and waiting.

    Raises:
        UsageError: ``looks`` or ``wait`` is out of range.
    """

    pages: Pages
    api_version: ApiVersion
    concurrency: int = 1
    looks: int = 2
    wait: float = WAIT
    clock: Clock = attrs.field(factory=Clock)

    def __attrs_post_init__(self) -> None:
        if self.looks < 2 or not 0 <= self.wait < math.inf:  # noqa: PLR2004
            raise UsageError(f"Look at least 2 times, and wait at least 0 seconds, not {self.looks} and {self.wait}")

    async def snapshots(self, rows: Sequence[AmbiguousRow]) -> list[Snapshot]:
        """Return what each look has found for the rows. The first look is taken at once.

        Raises:
            RequestError, IncompleteExportError: reading failed; nothing can be decided.
        """
        found: list[Snapshot] = []
        for number in range(self.looks):
            if number:
                await self.clock.sleep(self.wait)
            found.append(await self._look(rows))
        return found

    async def _look(self, rows: Sequence[AmbiguousRow]) -> Snapshot:
        days: dict[dt.date, list[AmbiguousRow]] = {}
        for row in rows:
            days.setdefault(row.new.date.date(), []).append(row)
        snapshot = Snapshot(self.api_version.keeps_days)
        left = iter(days.values())
        await gather(*(self._read(left, snapshot) for _ in range(min(self.concurrency, len(days)))))
        return snapshot

    async def _read(self, days: Iterator[list[AmbiguousRow]], snapshot: Snapshot) -> None:
        for rows in days:
            async with aclosing(self.pages(self._filter(rows))) as pages:
                async for page in pages:
                    snapshot.add(rows, page.items, server_clock_offset(page, self.clock.now()))

    def _filter(self, rows: Sequence[AmbiguousRow]) -> WorklogFilter:
        """Return what to list for rows of one day."""
        dates: list[dt.date] = [row.new.date for row in rows]
        margin = _MILLISECOND
        if self.api_version.keeps_days:
            # A server that keeps days may still filter by instants, which differ from days by less than one.
            dates, margin = [row.new.date.date() for row in rows], _DAY
        # Not by created dates: a server may leave them null, and then it would show nothing.
        return WorklogFilter(since=min(dates) - margin, until=max(dates) + margin)


class Reconciler:
    """Reconcile ambiguous creates at once, while other creates go on.

    Creates of the same user, item and day could be taken for each other. So an ambiguous one is looked for when no such
    create is in progress, and none begins before the look is over. Creates that become ambiguous during a look share
    the next one.

    Args:
        lookup: looks at the server.
        claimed: returns those of some ids that are known to be other creates' worklogs.

    Attributes:
        unresolved: the ambiguous creates by their line: those that `reconcile` was asked about, and those that the
            caller adds. Those that are similar take part in a look. The caller removes what is resolved.
    """

    def __init__(self, lookup: ServerLookup, claimed: Callable[[set[str]], Awaitable[Collection[str]]]) -> None:
        self.unresolved: dict[int, AmbiguousRow] = {}
        self._lookup = lookup
        self._claimed = claimed
        self._sending: collections.Counter[_Similar] = collections.Counter()
        self._waiting: dict[int, _Similar] = {}
        self._results: dict[int, Verdict | RequestError | IncompleteExportError] = {}
        self._turn = asyncio.Lock()
        self._moved = asyncio.Event()

    @asynccontextmanager
    async def sending(self, new: NewWorklog) -> AsyncGenerator[None]:
        """Enclose a create, which begins when no similar one is being looked for."""
        similar = self._similar(new)
        with mark_cancellation(maybe_sent=False):
            while similar in self._waiting.values():
                await self._moved.wait()
        self._sending[similar] += 1
        try:
            yield
        finally:
            self._sending[similar] -= 1
            self._wake()

    async def reconcile(self, row: AmbiguousRow) -> Verdict:
        """Look for a create that has just become ambiguous, and return what is known about it then.

        Raises:
            RequestError, IncompleteExportError: reading failed; nothing is decided.
        """
        similar = self._waiting[row.line] = self._similar(row.new)
        self.unresolved[row.line] = row
        try:
            with mark_cancellation(maybe_sent=True):
                while self._sending[similar]:
                    await self._moved.wait()
                async with self._turn:
                    if row.line not in self._results:
                        await self._look()
                    result = self._results[row.line]
            if isinstance(result, LOOKUP_FAILURES):
                raise result
            return result
        finally:
            del self._waiting[row.line]
            self._results.pop(row.line, None)
            self._wake()

    async def verdicts(self, rows: Sequence[AmbiguousRow]) -> list[Verdict]:
        """Look for rows while none of them is being sent, and return what is known about each, by their lines.

        Raises:
            RequestError, IncompleteExportError: reading failed; nothing is decided.
        """
        snapshots = await self._lookup.snapshots(rows)
        ids = {worklog_id for snapshot in snapshots for worklog_id in snapshot.ids}
        return resolve(rows, snapshots, claimed=await self._claimed(ids))

    async def _look(self) -> None:
        ready = {line: similar for line, similar in self._waiting.items() if not self._sending[similar]}
        rows = [row for row in self.unresolved.values() if self._similar(row.new) in ready.values()]
        results: dict[int, Verdict | RequestError | IncompleteExportError]
        try:
            results = {verdict.line: verdict for verdict in await self.verdicts(rows)}
        except LOOKUP_FAILURES as error:
            results = dict.fromkeys(ready, error)
        self._results |= {line: results[line] for line in ready if line in self._waiting}

    def _similar(self, new: NewWorklog) -> _Similar:
        by_day = self._lookup.api_version.keeps_days
        day = new.date.date() if by_day else new.date.timestamp() // _DAY.total_seconds()
        return new.user_id, new.item_id, day

    def _wake(self) -> None:
        self._moved.set()
        self._moved.clear()


async def reconcile(error: AmbiguousWriteError, lookup: ServerLookup, *, exclude: Collection[str] = ()) -> Worklog:
    """Return the worklog that an ambiguous create has created.

    Args:
        error: what the create raised.
        lookup: looks at the server.
        exclude: ids of worklogs that are known to be others.

    Raises:
        AmbiguousWriteError: ``error`` itself, with the ``candidates`` that were found, those of unknown age last.
        UsageError: the error carries no payload.
        RequestError, IncompleteExportError: reading back failed; nothing is decided.
    """
    if not isinstance(error.payload, NewWorklog):
        raise UsageError("The error carries no payload, so there is nothing to look for")
    row = AmbiguousRow(0, error.payload, error.sent_at)
    (verdict,) = resolve([row], await lookup.snapshots([row]), claimed=exclude)
    if verdict.created is None:
        raise error.add(candidates=(*verdict.candidates, *verdict.of_unknown_age))
    return verdict.created


def server_clock_offset(page: Page, now: dt.datetime) -> float | None:
    """Return the seconds that the server's clock is ahead of this machine's; None for a page without a Date header.

    Args:
        page: just read.
        now: this machine's time.
    """
    return None if page.server_date is None else (page.server_date - now).total_seconds()
