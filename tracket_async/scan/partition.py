"""Partitions of a parallel scan: their states as values, and which items of a page belong to one.

A worklog belongs to a partition by its date. The pages of a partition ascend by date: a page that does not raises
`OutOfOrderError`, and what was taken before stands. A worklog that comes again (after a partition began again, or
because a row moved between pages) is left out by its id: the ids at the date reached are remembered, and all ids while
the order is not proved.
"""

from __future__ import annotations

import datetime as dt
import math
from bisect import bisect_left, bisect_right
from collections.abc import Awaitable, Callable, Sequence
from operator import attrgetter
from typing import Any, Final, Generic, Protocol, Self, TypeVar

import attrs
import msgspec

from tracket_async._http.messages import Response
from tracket_async.config import valid_concurrency
from tracket_async.errors import IncompleteExportError, UsageError
from tracket_async.models import BadRow, WorklogFilter
from tracket_async.pagination import CursorLoopGuard

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

MICROSECOND = dt.timedelta(microseconds=1)
DAY = dt.timedelta(days=1)
EARLIEST = dt.datetime.min.replace(tzinfo=dt.UTC)
LATEST = dt.datetime.max.replace(tzinfo=dt.UTC)


class PageLike(Protocol[T_co]):
    """A page as a partition reads it: a `Page`, or a page of rows that are no `Worklog` (yet)."""

    @property
    def items(self) -> Sequence[T_co]:
        """Return the items in the server's order."""
        ...

    @property
    def next_cursor(self) -> str | None:
        """Return the cursor of the next page, None on the last."""
        ...

    @property
    def total(self) -> int | None:
        """Return how many match the query in all; None when the server does not say."""
        ...

    @property
    def server_date(self) -> dt.datetime | None:
        """Return the response's Date header."""
        ...

    @property
    def bad_rows(self) -> Sequence[BadRow]:
        """Return the rows that cannot be read, where those are kept."""
        ...


class Fetch(Protocol[T_co]):
    """Fetch one page of the worklogs within the bounds (inclusive, None: unbounded), ascending by date.

    Bounds that the server cannot enforce may be ignored: the partition enforces them. A ``cursor`` of None asks for the
    first page.
    """

    def __call__(
        self, since: dt.datetime | None, until: dt.datetime | None, cursor: str | None, /
    ) -> Awaitable[PageLike[T_co]]:
        """Return the page."""
        ...


def _moment_to_json(value: dt.datetime | None) -> str | None:
    return None if value is None else value.isoformat()


def _moment_from_json(value: str | None) -> dt.datetime | None:
    return None if value is None else dt.datetime.fromisoformat(value)


@attrs.frozen
class PartitionState:
    """State of one partition, to be kept. Bounds are inclusive aware datetimes, None means unbounded.

    Attributes:
        id: numbers the partitions of a scan from 0; an id keeps its meaning when the scan is resumed.
        since, until: what this partition has to cover. ``until`` shrinks when half of the partition is given away.
        asked_since, asked_until: the bounds of the query that ``cursor`` belongs to.
        cursor: asks for the next page; None: begin (again) with the query.
        reached: the largest date of what was handed over; None before the first. Where the order has not been proved
            (see ``steps``), smaller dates may be missing.
        last: the last date that the server listed for this query; None before the first.
        steps: how often a date of the partition was seen to come after an earlier one since it began (again). No other
            partition has seen these, so that all together are the proof that the server lists in ascending order.
        seen: worklogs handed over.
        done: nothing is left to cover.
        doubtful: it has passed its end, in a list that was not yet proved to ascend.
        whole: the one partition that covers everything in whatever order the server has, because the server turned out
            not to list in ascending order. It repeats worklogs that earlier partitions handed over (within one scan
            they are left out).
        wide: its queries ask for a day more at both ends, because the server's days are not its instants.
    """

    id: int
    since: dt.datetime | None
    until: dt.datetime | None
    asked_since: dt.datetime | None
    asked_until: dt.datetime | None
    cursor: str | None = None
    reached: dt.datetime | None = None
    last: dt.datetime | None = None
    steps: int = 0
    seen: int = 0
    done: bool = False
    doubtful: bool = False
    whole: bool = False
    wide: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the state as a dict that ``json.dumps`` takes."""
        return {
            name: _moment_to_json(value) if name in _MOMENTS else value
            for name, value in attrs.asdict(self, recurse=False).items()
        }

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> Self:
        """Return the state that `to_json` wrote."""
        read: dict[str, Any] = {
            name: _moment_from_json(value) if name in _MOMENTS else value for name, value in state.items()
        }
        return cls(**read)


_MOMENTS = ("since", "until", "asked_since", "asked_until", "reached", "last")


@attrs.frozen(kw_only=True)
class ItemFormat(Generic[T]):
    """Functions that read a page and its items, for scans whose items need not be `Worklog` objects.

    Attributes:
        page: reads a response; returns a page with ``items``, ``next_cursor``, ``total`` and ``server_date``.
        date_of, id_of: return the date (aware datetime) and the id of an item.
        matches: returns whether an item matches a filter.
        dates_of, ids_of: return those of all items, in their order. By default, they ask for each.
    """

    page: Callable[[Response], PageLike[T]]
    date_of: Callable[[T], dt.datetime]
    id_of: Callable[[T], str]
    matches: Callable[[WorklogFilter, T], bool]
    dates_of: Callable[[Sequence[T]], list[dt.datetime]] = attrs.field(
        default=attrs.Factory(lambda self: lambda items: list(map(self.date_of, items)), takes_self=True)
    )
    ids_of: Callable[[Sequence[T]], list[str]] = attrs.field(
        default=attrs.Factory(lambda self: lambda items: list(map(self.id_of, items)), takes_self=True)
    )


@attrs.frozen(kw_only=True)
class ScanSettings(Generic[T]):
    """Settings of one scan.

    Attributes:
        item_format: how to read pages and items.
        concurrency: pages that are fetched at once, at least 1.
        ordered: hand batches over in ascending order of date (within the same date, in the server's order). A bounded
            number of pages waits for those before them; about as fast. Such a scan cannot be resumed.
        states: the states kept of an earlier scan of the same dates, to resume from; empty: begin.
        distinct: leave out what another partition reads again, for which 8 bytes of each worklog are kept. False: that
            comes twice, which happens only where the server turns out not to do what the scan relies on.
        convert: makes what is handed over of the items of a batch, at least one, as soon as they have arrived. What it
            makes waits in their place, so that they are freed while they are in the processor's cache. None: nothing.

    Raises:
        UsageError: ``concurrency`` is below 1, or ``states`` are given with ``ordered``.
    """

    item_format: ItemFormat[T]
    concurrency: int = attrs.field(default=16, validator=valid_concurrency)
    ordered: bool = False
    states: tuple[PartitionState, ...] = attrs.field(default=(), converter=tuple["PartitionState", ...])
    distinct: bool = True
    convert: Callable[[list[T]], Any] | None = None

    def __attrs_post_init__(self) -> None:
        if self.ordered and self.states:
            raise UsageError("A scan with ordered=True cannot be resumed: leave out ordered or states")


@attrs.frozen(kw_only=True)
class Batch(Generic[T]):
    """The worklogs of one page.

    Attributes:
        partition: the id of the partition that it belongs to.
        items: each worklog of the scan is in exactly one batch, and within a partition they come in the server's order;
            may be empty.
        converted: what `ScanSettings.convert` has made of the items, which are gone then; None where it was not called.
        states: the states that changed since the batch before, in no particular order; to be kept together with
            ``items``, in the order of the batches. Empty with ``ordered=True``: such a scan cannot be resumed.
        server_date: the response's Date header.
        bad_rows: rows of the page that cannot be read, where those are kept; each is in exactly one batch.
    """

    partition: int
    items: list[T]
    converted: Any = None
    states: tuple[PartitionState, ...] = ()
    server_date: dt.datetime | None = None
    bad_rows: tuple[BadRow, ...] = ()


@attrs.frozen(kw_only=True)
class DateRange:
    """The dates of a scan. Bounds are inclusive, None means unbounded.

    Attributes:
        since, until: the bounds that are kept to.
        first, last: where the first and the last worklog probably are, to cut the range well where it is unbounded;
            a guess that is wrong costs time and loses nothing. None: unknown.
        grain: the narrowest partition: its beginning is a multiple of this since 1970-01-01T00:00Z. One day where the
            server filters by day.
        enforced: whether the server ends a list at the upper bound that it is asked for, and not only begins it at the
            lower one.
    """

    since: dt.datetime | None = None
    until: dt.datetime | None = None
    first: dt.datetime | None = None
    last: dt.datetime | None = None
    grain: dt.timedelta = attrs.field(default=DAY, validator=attrs.validators.ge(MICROSECOND))
    enforced: bool = False

    def __attrs_post_init__(self) -> None:
        if self.since is not None and self.until is not None and self.since > self.until:
            raise ValueError(f"since ({self.since}) is after until ({self.until}): no worklog can match")


@attrs.frozen(kw_only=True)
class ScanStatistics:
    """The state of a parallel scan.

    Attributes:
        active: partitions whose page is on its way.
        partitions_open, partitions_done: partitions that have, and that have not, something left to cover.
        pages: pages that have arrived.
        worklogs: worklogs handed over.
        duplicates: worklogs that came again and were left out.
        refused_cursors: partitions that began again because the server refused their cursor.
        remaining: an estimate of the worklogs still to come; None while nothing is known.
        reached: every worklog before this date has been handed over; None while there is no such date.
        single_partition: one partition reads everything, because the server does not list in ascending order, or
            ignores the dates that it is asked for.
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


def within(dates: DateRange, moment: dt.datetime) -> bool:
    """Return whether the moment is within the range."""
    return (dates.since is None or dates.since <= moment) and (dates.until is None or moment <= dates.until)


class OutOfOrderError(Exception):
    """A page of the partition does not ascend by date. Never leaves this package."""


class FilterIgnoredError(Exception):
    """A page has dates that its query excluded. Never leaves this package."""


@attrs.frozen
class PageResult(Generic[T]):
    """The part of a page that belongs to a partition.

    Attributes:
        items: those that belong to the partition and that it has not taken before.
        ids: theirs.
        duplicates: how many of the page belong to the partition and were taken before.
        outside: the ids of those that are outside of the whole scan's dates.
        past: the page goes on beyond the partition's end.
    """

    items: list[T] = attrs.field(factory=list[Any])
    ids: list[str] = attrs.field(factory=list[str])
    duplicates: int = 0
    outside: list[str] = attrs.field(factory=list[str])
    past: bool = False

    def unknown(self, known: set[int]) -> tuple[list[T], list[int]]:
        """Return the items whose ids, as hashes, are not among those known, and these hashes, which are known now."""
        fresh, keys = list[T](), list[int]()
        for item, identifier in zip(self.items, self.ids, strict=True):
            key = hash(identifier)
            if key not in known:
                known.add(key)
                fresh.append(item)
                keys.append(key)
        return fresh, keys


@attrs.frozen
class HeldBatch(Generic[T]):
    """A batch that waits for the partitions before its own.

    Attributes:
        batch: the batch.
        worklogs: how many it has.
        taken: the hashes of the ids that were taken for it, as `TakenIds.take` returns them.
    """

    batch: Batch[T]
    worklogs: int
    taken: bytes


_HASHES: Final = msgspec.msgpack.Encoder()


class TakenIds:
    """The ids of the worklogs that were taken, as 64-bit hashes: 9 bytes each, until some of them may come again.

    They are kept as MessagePack, page by page, which takes a tenth of what filling an array of them takes.

    Args:
        remember: False: they are only counted, and whatever comes again is taken again.

    Attributes:
        known: the hashes, from when they may come again in another partition; None before, or if not remembered.
    """

    def __init__(self, *, remember: bool) -> None:
        self._remember = remember
        self._pages: list[bytes] = []
        self._count = 0
        self.known: set[int] | None = None

    def __len__(self) -> int:
        return self._count if self.known is None else len(self.known)

    def take(self, result: PageResult[T]) -> tuple[list[T], bytes]:
        """Add what belongs to a partition; return its items without those that are known, and what `forget` takes."""
        if self.known is not None:
            items, keys = result.unknown(self.known)
            return items, _HASHES.encode(keys)
        self._count += len(result.ids)
        if not self._remember:
            return result.items, b""
        hashes = _HASHES.encode([*map(hash, result.ids)])
        self._pages.append(hashes)
        return result.items, hashes

    def recall(self) -> None:
        """Leave out all that was taken, from now on, if it is remembered."""
        if self.known is None and self._remember:
            self.known = {key for page in self._pages for key in msgspec.msgpack.decode(page)}
            self._pages.clear()

    def forget(self, hashes: bytes) -> None:
        """Do as if it had not been taken: it comes again. Call `recall` before."""
        if self.known is not None:
            self.known.difference_update(msgspec.msgpack.decode(hashes))


def late_error(date: dt.datetime) -> IncompleteExportError:
    """Create the error for worklogs from a date on that come after later ones have been handed over in order."""
    return IncompleteExportError(
        f"The server ended a list before its worklogs of {date.date()}, and later ones have been handed over",
        hint="Begin again: a proxy may have mixed its answers up",
    )


def _no_ids() -> set[str]:
    return set()


def shifted(moment: dt.datetime | None, by: dt.timedelta) -> dt.datetime | None:
    """Return the moment, so much later; the first or the last of the calendar where there is none; None for None."""
    if moment is None:
        return None
    try:
        return moment + by
    except OverflowError:
        return EARLIEST if by < dt.timedelta(0) else LATEST


@attrs.frozen
class DensityEstimate:
    """An estimate of how dense the items are: an average over dates, in which recent dates count more."""

    per_second: float = 0.0

    def after(self, items: int, seconds: float, memory: float) -> DensityEstimate:
        """Return the estimate after another page, which has so many items in so many seconds.

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
    """A partition while it is read; `PartitionState` describes the attributes that have its names.

    Invariant: everything that the server lists for ``asked_since`` to ``asked_until``, and that belongs to the
    partition, was taken or comes on the page of ``cursor`` or a later one. Only a list that was proved to ascend may be
    left before its end, or begun again at the date reached: otherwise at ``since``, and what comes again is left out by
    its id.

    Attributes:
        taken: items that belong to the partition and have been taken, handed over or not.
        pages: pages that have arrived for it.
        busy: its page is on its way.
        dropped: what arrives for it is of no use any more.
        confirmed: its list had ended, and is asked for its end once more.
        unordered: the order of its pages does not matter, and nothing follows from their dates.
        remaining: an estimate of what it has still to take; None: unknown.
        counted: ``remaining`` is no estimate, but follows from the total of its first page.
        guess: the estimate with which it was split off ``lender``; both are settled by the first total.
        lent: what was given away of the total of the query that it is asking.
        density: how dense its items lately were.
        edge: the ids that may come again: those taken at the date ``reached``; all, while the order is not proved.
        depth: pages that have arrived since it last began.
        deepest: the largest ``depth`` at which it had to begin again.
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
    last: dt.datetime | None = None
    steps: int = 0
    seen: int = 0
    done: bool = False
    doubtful: bool = False
    whole: bool = False
    wide: bool = False

    taken: int = 0
    pages: int = 0
    busy: bool = False
    dropped: bool = False
    confirmed: bool = False
    unordered: bool = False
    remaining: float | None = None
    counted: bool = False
    guess: float = 0.0
    lender: Partition[T] | None = None
    lent: float = 0.0
    density: DensityEstimate = attrs.field(factory=DensityEstimate)
    edge: set[str] = attrs.field(factory=_no_ids)
    depth: int = 0
    deepest: int = 0
    retaken: int | None = None
    guard: CursorLoopGuard = attrs.field(init=False)
    held: list[HeldBatch[T]] = attrs.field(factory=list[HeldBatch[Any]])

    def __attrs_post_init__(self) -> None:
        self.guard = CursorLoopGuard(self.cursor)
        self.unordered = self.whole

    def weight(self) -> float:
        """Return what it has to take; one that nobody has read yet may have everything."""
        return float("inf") if self.remaining is None else self.remaining

    def most_spent(self, size: int) -> float:
        """Return the most that it asks for, in pages of ``size``, beyond what it brings: a part of its last page."""
        if not self.counted or self.remaining is None:
            return 1.0
        return min(self.pages - self.taken / size + self.remaining // size + 1 - self.remaining / size, 1.0)

    @classmethod
    def of(cls, state: PartitionState) -> Partition[T]:
        """Return the partition that goes on from a state."""
        return cls(**attrs.asdict(state, recurse=False))

    def state(self) -> PartitionState:
        """Return its state now."""
        return PartitionState(*_state_of(self))

    def take(
        self,
        page: PageLike[T],
        ids: list[str],
        item_format: ItemFormat[T],
        dates: DateRange,
        *,
        proven: bool,
        filtered: bool = True,
    ) -> PageResult[T]:
        """Return what of the page belongs to the partition, which has then reached the last of it.

        Args:
            page: not empty.
            ids: of its items.
            item_format: reads the dates of the items.
            dates: of the whole scan.
            proven: whether the server has been proved to list in ascending order.
            filtered: whether the server is expected to keep to the query's bounds.

        Raises:
            OutOfOrderError: the page does not ascend, or begins before the page before ended. Nothing was taken.
            FilterIgnoredError: the first page of the query goes far beyond its bounds. Nothing was taken.
        """
        items: Sequence[T] = page.items
        if len(set(ids)) < len(ids):
            # A row that a page repeats at its end would pass for one out of order.
            first_of: dict[str, T] = {}
            for key, item in zip(ids, items, strict=True):
                first_of.setdefault(key, item)
            ids, items = list(first_of), list(first_of.values())
        repeated = len(page.items) - len(items)
        moments = item_format.dates_of(items)
        before = moments[0] if self.last is None else self.last
        # Sorting what is sorted already is the quickest way to see that it is.
        if not self.unordered and (moments[0] < before or moments != sorted(moments)):
            raise OutOfOrderError
        if filtered and self.last is None and self._strays(moments, dates):
            raise FilterIgnoredError
        self.last = moments[-1]
        outside: list[str] = []
        if self.unordered or not within(dates, moments[0]) or not within(dates, moments[-1]):
            outside = _outside(moments, ids, dates)
        if self.unordered:
            inside = [place for place, moment in enumerate(moments) if within(dates, moment)]
            return PageResult([items[place] for place in inside], [ids[place] for place in inside], repeated, outside)
        if self.wide:
            low, high = dates.since, dates.until
        else:
            low, high = (self.reached if proven and self.reached is not None else self.since), self.until
        first = 0 if low is None or low <= moments[0] else bisect_left(moments, low)
        end = len(moments) if high is None or moments[-1] <= high else bisect_right(moments, high)
        end_of_own = shifted(self.until, DAY) if self.wide else self.until
        past = end_of_own is not None and moments[-1] > end_of_own
        if not proven and first < end:
            self.steps += len(set(moments[first:end])) - (self.reached is None or self.reached == moments[first])
        if end - first < len(moments):
            items, ids, moments = items[first:end], ids[first:end], moments[first:end]
        fresh, their_ids = self._fresh(items, ids, moments, proven=proven)
        return PageResult(fresh, their_ids, len(items) - len(fresh) + repeated, outside, past)

    def _strays(self, moments: Sequence[dt.datetime], dates: DateRange) -> bool:
        """Return whether the page goes so far beyond the query's bounds that no time zone explains it."""
        first, last = shifted(self.asked_since, -DAY), shifted(self.asked_until, DAY)
        return (first is not None and moments[0] < first) or (
            dates.enforced and last is not None and moments[-1] > last
        )

    def _fresh(
        self, items: Sequence[T], ids: list[str], moments: list[dt.datetime], *, proven: bool
    ) -> tuple[list[T], list[str]]:
        """Return those that were not taken before, and their ids; the partition has then reached the last of them."""
        if not items:
            return [], []
        fresh, their_ids = list(items), ids
        if not self.edge.isdisjoint(ids):
            fresh = [item for item, key in zip(items, ids, strict=True) if key not in self.edge]
            their_ids = [key for key in ids if key not in self.edge]
        if not proven:
            self.edge.update(ids)
        else:
            if moments[-1] != self.reached:
                self.edge.clear()
            self.edge.update(ids[bisect_left(moments, moments[-1]) :])
        self.reached = moments[-1] if self.reached is None else max(self.reached, moments[-1])
        return fresh, their_ids

    def begin_again(self, *, proven: bool) -> bool:
        """Drop the cursor and ask anew: from the date reached if the order is proved, else from the beginning.

        Returns:
            False when it got no further since it last began again, and took nothing: it has to fail.
        """
        if self.retaken == self.taken and self.depth <= self.deepest:
            return False
        self.retaken, self.deepest, self.depth = self.taken, max(self.deepest, self.depth), 0
        start = self.reached if proven and not self.unordered and self.reached is not None else self.since
        self.ask(start)
        self.cursor = self.last = self.lender = None
        self.lent = 0.0
        self.steps = 0
        self.doubtful = False
        self.guard = CursorLoopGuard(None)
        return True

    def ask(self, since: dt.datetime | None) -> None:
        """Set the bounds of its next query, from a date on."""
        margin = DAY if self.wide else dt.timedelta(0)
        self.asked_since, self.asked_until = shifted(since, -margin), shifted(self.until, margin)


@attrs.frozen
class LastPage(Generic[T]):
    """The last page of a partition, and the state of the partition before it."""

    partition: Partition[T]
    ids: list[str]
    cursor: str | None
    reached: dt.datetime | None
    last: dt.datetime | None
    edge: frozenset[str]

    @classmethod
    def before(cls, partition: Partition[T], ids: list[str]) -> LastPage[T]:
        """Return it, before the partition has taken it; ``ids`` are those of its items."""
        return cls(partition, ids, partition.cursor, partition.reached, partition.last, frozenset(partition.edge))

    def take_back(self) -> None:
        """Let the partition ask for the page once more, and leave out what it had."""
        partition = self.partition
        partition.cursor, partition.reached, partition.last = self.cursor, self.reached, self.last
        partition.edge = {*self.edge, *self.ids}
        partition.guard = CursorLoopGuard(None)
        partition.done, partition.confirmed = False, True


def _outside(moments: list[dt.datetime], ids: list[str], dates: DateRange) -> list[str]:
    """Return the ids of what is outside of the dates."""
    return [key for key, moment in zip(ids, moments, strict=True) if not within(dates, moment)]


_state_of: Final = attrgetter(*(field.name for field in attrs.fields(PartitionState)))
