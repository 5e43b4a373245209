"""Partitions of a parallel scan: their states as values, and which items of a page belong to one.

A worklog belongs to a partition by its date. The pages of a partition ascend by date: a page that does not raises
`OutOfOrderError`, and what was taken before stands. A worklog that comes again with the same date (after a partition
began again, or because a row moved between pages) is left out: all ids at the date reached are remembered.
"""

from __future__ import annotations

import datetime as dt
import math
from bisect import bisect_left, bisect_right
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, Protocol, Self, TypeVar

import attrs

from tracket_async._http.messages import Response
from tracket_async.config import valid_concurrency
from tracket_async.errors import UsageError
from tracket_async.models import WorklogFilter
from tracket_async.pagination import CursorLoopGuard

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

MICROSECOND = dt.timedelta(microseconds=1)
DAY = dt.timedelta(days=1)


class PageLike(Protocol[T_co]):
    """What a partition reads: a `Page`, or a page of rows that are no `Worklog` (yet)."""

    @property
    def items(self) -> Sequence[T_co]:
        """In the server's order."""
        ...

    @property
    def next_cursor(self) -> str | None:
        """None on the last page."""
        ...

    @property
    def total(self) -> int | None:
        """How many match the query in all; None when the server does not say."""
        ...

    @property
    def server_date(self) -> dt.datetime | None:
        """The answer's Date header."""
        ...


class Fetch(Protocol[T_co]):
    """Asks for one page of the worklogs within the bounds (inclusive, None: unbounded), ascending by date.

    Bounds that the server cannot enforce may be ignored: the partition enforces them. A ``cursor`` of None asks for the
    first page.
    """

    def __call__(
        self, since: dt.datetime | None, until: dt.datetime | None, cursor: str | None, /
    ) -> Awaitable[PageLike[T_co]]:
        """The page."""
        ...


def _moment_to_json(value: dt.datetime | None) -> str | None:
    return None if value is None else value.isoformat()


def _moment_from_json(value: str | None) -> dt.datetime | None:
    return None if value is None else dt.datetime.fromisoformat(value)


@attrs.frozen(kw_only=True)
class PartitionState:
    """Where one partition stands. Bounds are inclusive aware datetimes, None means unbounded.

    Attributes:
        id: numbers the partitions of a run from 0; an id keeps its meaning when the run is resumed.
        since, until: what this partition has to cover. ``until`` shrinks when half of the partition is given away.
        asked_since, asked_until: the bounds of the query that ``cursor`` belongs to.
        cursor: asks for the next page; None: begin (again) with the query.
        reached: the date of the last worklog handed over; None before the first.
        seen: worklogs handed over.
        done: nothing is left to cover.
        whole: the one partition that covers everything in whatever order the server has, because the server turned out
            not to list in ascending order. It repeats worklogs that earlier partitions handed over (within one run
            they are left out).
    """

    id: int
    since: dt.datetime | None
    until: dt.datetime | None
    asked_since: dt.datetime | None
    asked_until: dt.datetime | None
    cursor: str | None = None
    reached: dt.datetime | None = None
    seen: int = 0
    done: bool = False
    whole: bool = False

    def to_json(self) -> dict[str, Any]:
        """The state as a dict that ``json.dumps`` takes."""
        return {
            name: _moment_to_json(value) if name in _MOMENTS else value
            for name, value in attrs.asdict(self, recurse=False).items()
        }

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> Self:
        """The state that `to_json` wrote."""
        read: dict[str, Any] = {
            name: _moment_from_json(value) if name in _MOMENTS else value for name, value in state.items()
        }
        return cls(**read)


_MOMENTS = ("since", "until", "asked_since", "asked_until", "reached")


@attrs.frozen(kw_only=True)
class ItemFormat(Generic[T]):
    """Functions that read a page and its items, for scans whose items need not be `Worklog` objects.

    Attributes:
        page: reads an answer; returns a page with ``items``, ``next_cursor``, ``total`` and ``server_date``.
        date_of, id_of: return the date (aware datetime) and the id of an item.
        matches: returns whether an item is within all bounds of a filter.
    """

    page: Callable[[Response], PageLike[T]]
    date_of: Callable[[T], dt.datetime]
    id_of: Callable[[T], str]
    matches: Callable[[WorklogFilter, T], bool]


@attrs.frozen(kw_only=True)
class ScanSettings(Generic[T]):
    """Settings of one scan.

    Attributes:
        item_format: how to read pages and items.
        concurrency: pages that are fetched at once, at least 1.
        ordered: hand batches over in ascending order of date (within the same date, in the server's order). A bounded
            number of pages waits for those before them; about as fast. Such a scan cannot be resumed.
        states: the states kept of an earlier scan of the same dates, to resume from; empty: begin.

    Raises:
        UsageError: ``concurrency`` is below 1, or ``states`` are given with ``ordered``.
    """

    item_format: ItemFormat[T]
    concurrency: int = attrs.field(default=16, validator=valid_concurrency)
    ordered: bool = False
    states: tuple[PartitionState, ...] = attrs.field(default=(), converter=tuple["PartitionState", ...])

    def __attrs_post_init__(self) -> None:
        if self.ordered and self.states:
            raise UsageError("A scan with ordered=True cannot be resumed: leave out ordered or states")


@attrs.frozen(kw_only=True)
class Batch(Generic[T]):
    """What one page brought.

    Attributes:
        partition: the id of the partition that it belongs to.
        items: each worklog of the run is in exactly one batch, and within a partition they come in the server's order;
            may be empty.
        states: the states that changed since the batch before, in no particular order; to be kept together with
            ``items``, in the order of the batches. Empty with ``ordered=True``: such a run cannot be resumed.
        server_date: the answer's Date header.
    """

    partition: int
    items: list[T]
    states: tuple[PartitionState, ...] = ()
    server_date: dt.datetime | None = None


@attrs.frozen(kw_only=True)
class DateRange:
    """The dates to be walked. Bounds are inclusive, None means unbounded.

    Attributes:
        since, until: the bounds that are kept to.
        first, last: where the first and the last worklog probably are, to cut the range well where it is unbounded;
            a guess that is wrong costs time and loses nothing. None: unknown.
        grain: the narrowest partition: its beginning is a multiple of this since 1970-01-01T00:00Z. One day where the
            server filters by day.
    """

    since: dt.datetime | None = None
    until: dt.datetime | None = None
    first: dt.datetime | None = None
    last: dt.datetime | None = None
    grain: dt.timedelta = attrs.field(default=DAY, validator=attrs.validators.ge(MICROSECOND))

    def __attrs_post_init__(self) -> None:
        if self.since is not None and self.until is not None and self.since > self.until:
            raise ValueError(f"since ({self.since}) is after until ({self.until}): no worklog can match")


@attrs.frozen(kw_only=True)
class ScanStatistics:
    """How a concurrent walk stands.

    Attributes:
        active: partitions whose page is on its way.
        partitions_open, partitions_done: partitions that have, and that have not, something left to cover.
        pages: pages that have arrived in this run.
        worklogs: worklogs handed over in this run.
        duplicates: worklogs that came again and were left out.
        refused_cursors: partitions that began again because the server refused their cursor.
        remaining: an estimate of the worklogs still to come; None while nothing is known.
        reached: every worklog before this date has been handed over; None while there is no such date.
        single_partition: the run fell back to one partition because the server does not list in ascending order.
    """

    active: int
    partitions_open: int
    partitions_done: int
    pages: int
    worklogs: int
    duplicates: int
    refused_cursors: int
    remaining: int | None
    reached: dt.datetime | None
    single_partition: bool


class OutOfOrderError(Exception):
    """A page of the partition does not ascend by date. Never leaves this package."""


@attrs.frozen
class PageResult(Generic[T]):
    """What a page brought to a partition.

    Attributes:
        fresh: the items that belong to its partition and were not taken before.
        ids: theirs.
        duplicates: how many belong to it and were.
        ascends: a date of this partition is after an earlier one.
        past: the page goes on beyond the partition's end.
    """

    fresh: list[T] = attrs.field(factory=list[Any])
    ids: list[str] = attrs.field(factory=list[str])
    duplicates: int = 0
    ascends: bool = False
    past: bool = False


def _no_ids() -> set[str]:
    return set()


@attrs.frozen
class DensityEstimate:
    """How dense items lately were: an average over dates, in which a date counts less the farther it lies behind."""

    per_second: float = 0.0

    def after(self, items: int, seconds: float, memory: float) -> DensityEstimate:
        """The pace after another page, which has so many items in so many seconds.

        Args:
            items: what the page has.
            seconds: the dates that it spans. Of one moment nothing can be told about the dates to come; there, a day is
                a fair guess.
            memory: so many seconds behind, a date counts 1/e of what it counted.
        """
        seconds = seconds or DAY.total_seconds()
        old = math.exp(-seconds / memory) if self.per_second else 0.0
        return DensityEstimate(self.per_second * old + items / seconds * (1 - old))


@attrs.define(eq=False, kw_only=True)
class Partition(Generic[T]):
    """A partition while it is walked; `PartitionState` describes the attributes that have its names.

    Attributes:
        taken: items that belong to the partition and have been taken, handed over or not.
        busy: its page is on its way.
        dropped: what arrives for it is of no use any more.
        doubtful: it has passed its end, in a list not yet seen to ascend.
        remaining: an estimate of what it has still to take; None: unknown.
        guess: the estimate with which it was split off ``lender``; both are settled by the first total.
        lent: what was given away of the total of the query that it is asking.
        density: how dense its items lately were.
        edge: the ids taken at the date ``reached``.
        last: the last date that the server showed in this partition.
        retaken: ``taken`` when it last began again; None if it never did.
        held: batches that wait for the partitions before this one.
    """

    id: int
    since: dt.datetime | None
    until: dt.datetime | None
    asked_since: dt.datetime | None
    asked_until: dt.datetime | None
    cursor: str | None = None
    reached: dt.datetime | None = None
    seen: int = 0
    done: bool = False
    whole: bool = False

    taken: int = 0
    busy: bool = False
    dropped: bool = False
    doubtful: bool = False
    remaining: float | None = None
    guess: float = 0.0
    lender: Partition[T] | None = None
    lent: float = 0.0
    density: DensityEstimate = attrs.field(factory=DensityEstimate)
    edge: set[str] = attrs.field(factory=_no_ids)
    last: dt.datetime | None = None
    retaken: int | None = None
    guard: CursorLoopGuard = attrs.field(init=False)
    held: list[Batch[T]] = attrs.field(factory=list[Batch[Any]])

    def __attrs_post_init__(self) -> None:
        self.guard = CursorLoopGuard(self.cursor)

    @classmethod
    def of(cls, state: PartitionState) -> Partition[T]:
        """The partition that goes on from a state."""
        return cls(**attrs.asdict(state, recurse=False))

    def state(self) -> PartitionState:
        """Where it stands."""
        return PartitionState(**{name: getattr(self, name) for name in _STATE})

    def take(self, page: PageLike[T], item_format: ItemFormat[T]) -> PageResult[T]:
        """What of the page belongs to the partition; the partition has then reached the last of it.

        Raises:
            OutOfOrderError: the page does not ascend, or begins before the page before ended.
            CursorLoopError: the cursors go round in a circle.
        """
        items: Sequence[T] = page.items
        self.guard.check(len(items), page.next_cursor)
        if not items:
            return PageResult()
        ids = list(map(item_format.id_of, items))
        if len(set(ids)) < len(ids):
            # A row that a page repeats at its end would pass for one out of order.
            first_of: dict[str, T] = {}
            for key, item in zip(ids, items, strict=True):
                first_of.setdefault(key, item)
            ids, items = list(first_of), list(first_of.values())
        repeated = len(page.items) - len(items)
        dates = list(map(item_format.date_of, items))
        before = dates[0] if self.last is None else self.last
        # Sorting what is sorted already is the quickest way to see that it is.
        if dates[0] < before or dates != sorted(dates):
            raise OutOfOrderError
        self.last = dates[-1]
        low = self.reached or self.since
        first = 0 if low is None else bisect_left(dates, low)
        end = len(dates) if self.until is None else bisect_right(dates, self.until)
        fresh, ids = self._fresh(items[first:end], ids[first:end], dates[first:end])
        return PageResult(fresh, ids, end - first - len(fresh) + repeated, before < dates[-1], end < len(dates))

    def _fresh(self, items: Sequence[T], ids: list[str], dates: list[dt.datetime]) -> tuple[list[T], list[str]]:
        """Those that were not taken before, and their ids; the partition has then reached the last of them."""
        if not items:
            return [], []
        fresh, their_ids = list(items), ids
        if not self.edge.isdisjoint(ids):
            fresh = [item for item, key in zip(items, ids, strict=True) if key not in self.edge]
            their_ids = [key for key in ids if key not in self.edge]
        if dates[-1] != self.reached:
            self.edge.clear()
        self.edge.update(ids[bisect_left(dates, dates[-1]) :])
        self.reached = dates[-1]
        self.taken += len(fresh)
        return fresh, their_ids

    def begin_again(self) -> bool:
        """Drops the cursor and asks anew from the date reached.

        Returns:
            False when nothing was taken since it last began again: a partition that gets no further has to fail.
        """
        if self.retaken == self.taken:
            return False
        self.retaken = self.taken
        self.asked_since, self.asked_until = (self.since if self.whole else self.reached or self.since), self.until
        self.cursor = self.last = self.lender = None
        self.lent = 0.0
        self.guard = CursorLoopGuard(None)
        return True


_STATE = tuple(field.name for field in attrs.fields(PartitionState))
