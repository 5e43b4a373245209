"""Scheduling of a parallel scan: which page is fetched next, and what becomes of one that arrived. No await, no clock.

Every page is a decision of its own. A worker keeps no partition: it fetches the next page of the partition with the
most left to take, so that no long one remains at the end (longest processing time first). If that partition's page is
on its way already, and half of what it has left is more than any other partition has, its later half becomes a
partition of its own. The estimates that this needs come from the totals of first pages; on a server without totals,
from how dense the dates lately were, averaged over a day, as people sleep at night.

With ``ordered``, the beginning comes first: pieces of `CARVE_PAGES` pages are cut from the front of what is left, and
batches wait until all partitions before theirs are done. At most `HELD_PAGES` a worker wait.

A batch carries every state that changed since the batch before.

Every partition may cost a request that brings less than a page. So no more are made than `SPARE_REQUESTS` a worker
allow: a scan sends at most that many requests more than there are pages. With ``ordered``, where no more than some
pages may wait and the pieces are short, it is one more for each `SPARE_SHARE` pages.

If the server does not list in ascending order, every partition is dropped, and a single one reads everything, without
the worklogs that were handed over already (see `TakenIds`). Before a list has been seen to ascend, a partition that has
passed its end is not done but *doubtful*: it waits, and goes on if no other finds a proof. No check can find a list
that is out of order only where nobody looks: behind a page that ascends and passes the end of its partition.

If the server ignores the dates of the queries, one partition reads all that is left. If its days are not the instants
by which it filters, all partitions ask for a day more at both ends, and rows are judged by the scan's dates alone.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections import deque
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any, Final, Generic, TypeVar

import attrs

from tracket_async.errors import UnsupportedError
from tracket_async.models import BadRow
from tracket_async.pagination import PROOF_STEPS
from tracket_async.scan.cuts import cut_within, cuts, is_charted, seconds_ahead
from tracket_async.scan.partition import (
    EARLIEST,
    MICROSECOND,
    Batch,
    DateRange,
    DensityEstimate,
    FilterIgnoredError,
    HeldBatch,
    LastPage,
    OutOfOrderError,
    PageLike,
    PageResult,
    Partition,
    ScanSettings,
    ScanStatistics,
    TakenIds,
    late_error,
    within,
)

_logger: Final = logging.getLogger("tracket_async")

T = TypeVar("T")


class Partitions(Generic[T]):
    """The partitions of one scan, and what has been handed over.

    Attributes:
        open: the partitions that are not done, in the order of their dates; with ``ordered`` also those that are done
            and whose batches wait.
        out: the batches to be handed over, in this order.
        held: how many batches wait for the partitions before theirs.
        worklogs, duplicates: how many were handed over and left out.
        single: one partition reads everything that is left.
    """

    def __init__(self, settings: ScanSettings[T], dates: DateRange, keep: Callable[[T], bool] | None) -> None:
        self._dates = dates
        self._ordered = settings.ordered
        self._keep = keep
        self._convert = settings.convert
        states = settings.states
        going = [Partition[T].of(state) for state in states if not state.done]
        self.open = sorted(going, key=lambda partition: partition.since or EARLIEST)
        self.out: deque[Batch[T]] = deque()
        self.held = self.worklogs = self.duplicates = 0
        self.single = any(state.whole for state in states)
        self._done = [state for state in states if state.done]
        self._changed: dict[int, Partition[T]] = {}
        self._next_id = max((state.id for state in states), default=-1) + 1
        self._taken = TakenIds(remember=settings.distinct)
        self._outside: set[int] = set()  # of the ids outside of the scan's dates
        self._bad: set[int] = set()  # of the keys of rows that cannot be read
        if self.single or any(state.wide for state in states):
            self._taken.recall()

    @property
    def done(self) -> int:
        """Return how many partitions are done."""
        return len(self._done) + sum(partition.done for partition in self.open)

    @property
    def distinct(self) -> int:
        """Return how many worklogs the server has listed in this run, each counted once."""
        return len(self._outside) + len(self._bad) + len(self._taken)

    def add(
        self,
        since: dt.datetime | None,
        until: dt.datetime | None,
        *,
        behind: Partition[T] | None = None,
        whole: bool = False,
        wide: bool = False,
    ) -> Partition[T]:
        """Add a partition, at the end or behind another."""
        partition = Partition[T](
            id=self._next_id, since=since, until=until, asked_since=since, asked_until=until, whole=whole, wide=wide
        )
        partition.ask(since)
        self._next_id += 1
        self.open.insert(len(self.open) if behind is None else self.open.index(behind) + 1, partition)
        self.note(partition)
        return partition

    def reopen(self, partitions: Iterable[Partition[T]]) -> None:
        """Let partitions that were done go on, before any other is."""
        self.open = sorted(partitions, key=lambda partition: partition.since or EARLIEST)
        numbers = {partition.id for partition in self.open}
        self._done = [state for state in self._done if state.id not in numbers]
        for partition in self.open:
            self.note(partition)

    def note(self, partition: Partition[T]) -> None:
        """Let the next batch tell that the partition's state changed."""
        self._changed[partition.id] = partition

    def drop(self, partitions: Iterable[Partition[T]]) -> None:
        """Drop partitions, with what waits to be handed over: another partition will read it.

        All else that has been taken is left out by its id from now on.
        """
        self._taken.recall()
        for partition in partitions:
            partition.dropped = partition.done = True
            self.held -= len(partition.held)
            for held in partition.held:
                self.worklogs -= held.worklogs
                self._taken.forget(held.taken)
                self._bad.difference_update(hash(bad.key) for bad in held.batch.bad_rows)
            partition.held.clear()
            self.note(partition)
        self.open = [partition for partition in self.open if not partition.dropped]

    def leave_out_known(self) -> None:
        """Leave out by their ids, from now on, all worklogs that have been taken."""
        self._taken.recall()

    def deliver(self, partition: Partition[T], result: PageResult[T], page: PageLike[Any]) -> None:
        """Make the batch of a page."""
        items, taken = self._taken.take(result)
        duplicates = result.duplicates + len(result.items) - len(items)
        if result.outside:
            self._outside.update(map(hash, result.outside))
        partition.taken += len(items)
        if self._keep is not None:
            items = [item for item in items if self._keep(item)]
        worklogs = len(items)
        partition.seen += worklogs
        self.worklogs += worklogs
        self.duplicates += duplicates
        self.note(partition)
        changed, self._changed = self._changed.values(), {}
        states = () if self._ordered else tuple([one.state() for one in changed])
        some_done = any(one.done for one in changed)
        self._done += [one.state() for one in changed if one.dropped]
        bad_rows = self._fresh_bad_rows(page.bad_rows) if page.bad_rows else ()
        converted = None
        if self._convert is not None and items:
            converted, items = self._convert(items), []
        batch = Batch(
            partition=partition.id,
            items=items,
            converted=converted,
            states=states,
            server_date=page.server_date,
            bad_rows=bad_rows,
        )
        if self._ordered:
            if not partition.dropped:
                partition.held.append(HeldBatch(batch, worklogs, taken))
                self.held += 1
            self._release()
        else:
            self.out.append(batch)
            if some_done:
                self._done += [one.state() for one in self.open if one.done]
                self.open = [one for one in self.open if not one.done]

    def _fresh_bad_rows(self, rows: Iterable[BadRow]) -> tuple[BadRow, ...]:
        """Return those that have not come before and may be within the scan's dates. They belong to no partition."""
        fresh = {key: bad for bad in rows if (key := hash(bad.key)) not in self._bad}
        self._bad.update(fresh)
        return tuple(bad for bad in fresh.values() if bad.date is None or within(self._dates, bad.date))

    def _release(self) -> None:
        """Hand over the batches that wait for nothing any more."""
        while self.open:
            front = self.open[0]
            self.held -= len(front.held)
            self.out.extend([held.batch for held in front.held])
            front.held.clear()
            if not front.done:
                return
            self._done.append(front.state())
            del self.open[0]


CARVE_PAGES: Final = 12
"""With ``ordered``: about so many pages make one partition."""
HELD_PAGES: Final = 24
"""With ``ordered``: so many pages a worker may be fetched ahead of those before them."""
DENSITY_MEMORY: Final = 86_400.0
"""Seconds of dates over which a partition's density is averaged. People sleep at night."""
SCAN_DENSITY_MEMORY: Final = 7 * 86_400.0
"""The same for all partitions together."""

WORTH_BUSY: Final = 2.0
"""A partition that has less than so many pages left, the one on its way included, is not halved for a free worker."""
WORTH: Final = 1.0
"""The same when nothing else is left for that worker to fetch."""
WORTH_ROUGHLY: Final = 0.5
"""The same without totals: a request in vain costs less time than a partition of unexpected length."""

SPARE_REQUESTS: Final = 2
"""So many requests a worker may be made beyond the pages that hold the worklogs."""
SPARE_SHARE: Final = 16
"""And with ``ordered`` one more for each so many pages."""

_EVERYTHING: Final = float("inf")
_remaining: Final = attrgetter("remaining")

FILTER_IGNORED: Final = (
    "The server ignores the dates that it is asked for, so worklogs cannot be fetched in parallel: "
    "all pages are fetched one after the other"
)
OUT_OF_ORDER: Final = (
    "The server does not list worklogs in ascending order of date, so they cannot be fetched in parallel: "
    "all pages are fetched one after the other"
)


@attrs.frozen
class PageRequest(Generic[T]):
    """A page to be fetched: that of ``partition.cursor``, or the first from ``partition.asked_since`` on."""

    partition: Partition[T]


class Scheduler(Generic[T]):
    """Schedule the pages of one scan. Give each `PageRequest` back once: to `arrived`, `refused` or `returned`.

    Args:
        dates: those of the scan.
        settings: how to read them.
        keep: returns whether an item belongs to the scan, for what the server cannot filter; None: all do.
        warn: says how the server deviates.

    Attributes:
        partitions: the partitions, and the batches to be handed over.
    """

    def __init__(
        self,
        dates: DateRange,
        settings: ScanSettings[T],
        *,
        keep: Callable[[T], bool] | None = None,
        warn: Callable[[str], None] = _logger.warning,
    ) -> None:
        self._warn = warn
        self.partitions = Partitions(settings, dates, keep)
        self._dates = dates
        self._format = settings.item_format
        self._workers = settings.concurrency
        self._ordered = settings.ordered
        self._wide = any(state.wide for state in settings.states)
        self._steps = sum(state.steps for state in settings.states)
        self._page_size = 1
        self._density = DensityEstimate()
        self._pages = self._refused = 0
        self._first_totals: dict[int, int | None] = {}
        self._ended: list[LastPage[T]] = []
        self._latest: dt.datetime | None = None  # of all dates that were listed
        if not settings.states:
            self._begin()

    @property
    def total_at_start(self) -> int | None:
        """Return how many worklogs the server counted at first; None where that is not known.

        The partitions of the beginning are disjoint, so it is the sum of what their first pages say.
        """
        totals = [total for total in self._first_totals.values() if total is not None]
        return sum(totals) if totals and len(totals) == len(self._first_totals) and not self._wide else None

    @property
    def proven(self) -> bool:
        """Return whether the server has been seen to list in ascending order: `PROOF_STEPS` times up and never down."""
        return self._steps >= PROOF_STEPS

    @property
    def finished(self) -> bool:
        """Return whether nothing is left to fetch. Something may still be left to hand over."""
        return not self.partitions.open

    def statistics(self) -> ScanStatistics:
        """Return how the scan stands."""
        going = [partition for partition in self.partitions.open if not partition.done]
        estimates = [partition.remaining for partition in going if partition.remaining is not None]
        positions = [position for partition in going if (position := self._position(partition)) is not None]
        return ScanStatistics(
            active=sum(partition.busy for partition in going),
            partitions_open=len(going),
            partitions_done=self.partitions.done,
            pages=self._pages,
            worklogs=self.partitions.worklogs,
            duplicates=self.partitions.duplicates,
            refused_cursors=self._refused,
            remaining=round(sum(estimates)) if len(estimates) == len(going) else None,
            reached=min(positions)
            if positions and len(positions) == len(going) and not self.partitions.single
            else None,
            single_partition=self.partitions.single,
        )

    # -- what to fetch --------------------------------------------------------------------------------------------

    def next(self) -> PageRequest[T] | None:
        """Return the page to fetch now; None while another page has to arrive, or to be handed over, before it."""
        partition = self._next_in_order() if self._ordered else self._next_by_weight()
        if partition is None:
            return None
        partition.busy = True
        return PageRequest(partition)

    def _next_by_weight(self) -> Partition[T] | None:
        partitions = self.partitions.open
        free: Partition[T] | None = None
        heaviest = busiest = -1.0
        for one in partitions:  # for each page: in one pass, with no call
            remaining = one.remaining
            if one.busy:
                if remaining is not None and remaining > busiest and not one.doubtful:
                    busiest = remaining
            elif not one.doubtful and (weight := _EVERYTHING if remaining is None else remaining) > heaviest:
                free, heaviest = one, weight
        least = self._least_to_split(max(heaviest, 0.0))
        chosen = (self._steal(least) if busiest >= least else None) or free
        if chosen is None and not any(partition.busy for partition in partitions):
            # Only doubtful partitions are left. The one that began earliest will see whatever the others would.
            return min(partitions, key=lambda partition: partition.asked_since or EARLIEST, default=None)
        return chosen

    def _next_in_order(self) -> Partition[T] | None:
        partitions = self.partitions.open
        front = partitions[0] if partitions else None
        if front is not None and not front.busy:
            return self._carve(front)
        busy = sum(partition.busy for partition in partitions)
        if self.partitions.held + busy >= HELD_PAGES * self._workers:
            return None
        for partition in partitions:
            if not (partition.busy or partition.done or partition.doubtful):
                return self._carve(partition)
        return self._steal(self._least_to_split(0.0))

    def _carve(self, partition: Partition[T]) -> Partition[T]:
        if partition.reached is None and not is_charted(self._dates, partition.since, partition.until):
            return partition
        piece = CARVE_PAGES * self._page_size
        if self._density.per_second and partition.reached is None and partition.since is not None:
            # Nobody has asked it, and since it was cut off more has been learnt.
            partition.remaining = self._density.per_second * seconds_ahead(
                self._dates, partition.since, partition.until
            )
        if partition.remaining is not None and partition.remaining > 1.5 * piece and not partition.doubtful:
            self._split(partition, partition.remaining, piece / partition.remaining)
        return partition

    def _least_to_split(self, weight: float) -> float:
        """Return what a partition has to take so that its half is more than ``weight`` and worth a request."""
        pages = WORTH_BUSY if weight else WORTH_ROUGHLY if self._density.per_second else WORTH
        return max(2 * weight, pages * self._page_size)

    def _steal(self, least: float) -> Partition[T] | None:
        """Return half of the busiest partition that can be split and has ``least`` to take."""
        busy = [one for one in self.partitions.open if one.busy and one.remaining is not None and not one.doubtful]
        while busy:
            partition = max(busy, key=_remaining)
            if (weight := partition.weight()) < least:
                return None
            if (part := self._split(partition, weight, 0.5)) is not None:
                return part
            busy.remove(partition)
        return None

    def _split(self, partition: Partition[T], remaining: float, kept: float) -> Partition[T] | None:
        """Make a partition of the dates behind the first ``kept`` (0 to 1) of another, where there is room."""
        if self.partitions.single or partition.confirmed or not self._may_split(partition):
            return None
        # Behind everything that has been taken, so that nothing is taken twice.
        cut = cut_within(self._dates, partition.reached or partition.since, partition.until, kept)
        if cut is None:
            return None
        part = self.partitions.add(cut, partition.until, behind=partition, wide=self._wide)
        part.remaining = part.guess = remaining * (1 - kept)
        part.lender = partition
        part.density = partition.density
        partition.lent += part.guess
        partition.remaining = remaining - part.guess
        partition.until = cut - MICROSECOND
        self.partitions.note(partition)
        return part

    def _may_split(self, split: Partition[T]) -> bool:
        """Return whether another partition is worth it: each may cost a request that brings less than a page."""
        going, size = self.partitions.open, self._page_size
        spent = self._pages - self.partitions.distinct / size
        spent_by_others = spent - sum(partition.pages - partition.taken / size for partition in going)
        lenders = [partition.lender for partition in going]
        costs = sum(1.0 if one is split or one in lenders else one.most_spent(size) for one in going)
        end = 0 if self._dates.enforced else 1  # see `confirm_ends`
        if self._ordered:
            allowed = SPARE_REQUESTS * (self._workers - 1) + max(self._pages / SPARE_SHARE - end, 0.0)
        else:
            allowed = SPARE_REQUESTS * self._workers - end
        return spent_by_others + costs + 1 <= allowed

    def _position(self, partition: Partition[T]) -> dt.datetime | None:
        """Return the date before which everything of the partition has been taken."""
        return partition.reached if self.proven and partition.reached is not None else partition.since

    # -- what became of it ----------------------------------------------------------------------------------------

    def arrived(self, request: PageRequest[T], page: PageLike[T]) -> None:
        """Take what the page brought; its batch goes to the partitions.

        Raises:
            CursorLoopError: the cursors, or the pages, go round in a circle.
            UnsupportedError: ``ordered`` was asked for, and the server's order is another.
        IncompleteExportError: with ``ordered``, a list had ended too early, and later worklogs were handed over.
        """
        partition = request.partition
        partition.busy = False
        partition.pages += 1
        partition.depth += 1
        self._pages += 1
        if partition.dropped:
            return
        self._page_size = max(self._page_size, len(page.items))
        if self._first_totals.get(partition.id, 0) is None:
            # None of nothing: it may be the answer to another request.
            self._first_totals[partition.id] = page.total or None
        ids = self._format.ids_of(page.items)
        keys = [*ids, *(bad.key for bad in page.bad_rows)] if page.bad_rows else ids
        partition.guard.check_page(keys, page.next_cursor)
        partition.guard.check_cursor(len(keys), page.next_cursor)
        before, latest = partition.reached, self._latest
        end = LastPage[T].before(partition, ids) if page.next_cursor is None and not self._dates.enforced else None
        if ids:
            listed = self._format.date_of(page.items[-1])
            self._latest = listed if latest is None else max(latest, listed)
        try:
            result = self._take(partition, page, ids) if ids else PageResult[T]()
        except OutOfOrderError:
            self._fall_back(page)
            return
        if result is None:
            self.partitions.deliver(partition, PageResult(), page)
            return
        if partition.unordered:
            self._count_down(partition, page)
        else:
            self._estimate(partition, page, since=before, first=partition.cursor is None)
        if partition.confirmed and result.items:  # others have been handed over before them
            self.partitions.leave_out_known()
            if self._ordered and latest is not None and (date := self._format.date_of(result.items[0])) < latest:
                raise late_error(date)
        self._settle(partition, page, result)
        if end is not None and not (result.past or partition.confirmed):
            self._ended.append(end)
        self.partitions.deliver(partition, result, page)

    def confirm_ends(self) -> None:
        """Ask once more, without totals, for the page that ends last, and for those that end before other worklogs."""
        ended, self._ended = self._ended, []
        if not ended or self.partitions.single:
            return
        latest = self._latest or min(end.partition.asked_since or EARLIEST for end in ended)
        early = [end for end in ended if (end.partition.last or end.partition.asked_since or EARLIEST) <= latest]
        for end in early:
            end.take_back()
        self.partitions.reopen(end.partition for end in early)

    def _take(self, partition: Partition[T], page: PageLike[T], ids: list[str]) -> PageResult[T] | None:
        """Return what of the page belongs to the partition; None if another partition reads everything from now on."""
        steps = partition.steps
        try:
            result = partition.take(
                page, ids, self._format, self._dates, proven=self.proven, filtered=not self.partitions.single
            )
        except FilterIgnoredError:
            self._merge()
            if partition.dropped:
                return None
            result = partition.take(page, ids, self._format, self._dates, proven=self.proven, filtered=False)
        self._steps += partition.steps - steps
        return result

    def read_wide(self) -> None:
        """Ask for a day more at both ends of every partition, from the beginning: the server's days are no instants.

        A server may write a day as midnight of an offset, and filter by instants. A worklog then belongs to a day, and
        is listed under the day before.
        """
        if self._wide or self.partitions.single:
            return
        self._wide = True
        self._steps = 0
        self.partitions.drop([*self.partitions.open])
        # The partitions overlap now, so that the batches of many would not be in order.
        self.partitions.single = self._ordered
        self._begin()

    def refused(self, request: PageRequest[T]) -> bool:
        """Begin the partition again, after the server has refused its cursor.

        Returns:
            False when there was no cursor, or no progress since it last began again: the refusal is an error.
        """
        partition = request.partition
        partition.busy = False
        if partition.dropped:
            return True
        steps, proven = partition.steps, self.proven
        if partition.cursor is None or not partition.begin_again(proven=proven):
            return False
        if not proven:  # what it reads again is no further proof
            self._steps = max(self._steps - steps, 0)
        self._refused += 1
        self.partitions.note(partition)
        return True

    def returned(self, request: PageRequest[T]) -> None:
        """Take note that the page was not fetched: it is still to be."""
        request.partition.busy = False

    def _settle(self, partition: Partition[T], page: PageLike[T], result: PageResult[T]) -> None:
        """Decide whether the partition is done, goes on, or has to wait for a proof."""
        last = page.next_cursor is None
        if last and partition.doubtful:
            # It goes on only when there is no other. At the list's end, nothing can be hidden any more.
            self._steps += PROOF_STEPS
        partition.cursor = page.next_cursor
        partition.done = last or (result.past and self.proven)
        partition.doubtful = result.past and not self.proven and not last
        if self.proven:
            for other in self.partitions.open:
                if other.doubtful and not other.busy:
                    other.doubtful, other.done = False, True
                    self.partitions.note(other)

    def _fall_back(self, page: PageLike[T]) -> None:
        """Read everything in one partition, whatever its order."""
        if self._ordered:
            raise UnsupportedError(
                "The server does not list worklogs in ascending order of date, so they cannot be handed over in that "
                "order: leave out ordered=True, or export to a store, whose files are sorted"
            )
        self.partitions.drop([*self.partitions.open])
        self.partitions.single = True
        whole = self.partitions.add(self._dates.since, self._dates.until, whole=True, wide=self._wide)
        self.partitions.deliver(whole, PageResult(), page)
        self._warn(OUT_OF_ORDER)

    def _merge(self) -> None:
        """Let one partition read all that is left: the server lists the same whatever dates it is asked for.

        It is the first that has left out nothing beyond its end.
        """
        going = self.partitions.open
        place = next(place for place, one in enumerate(going) if not (one.done or one.doubtful))
        self.partitions.drop(going[place + 1 :])
        self.partitions.single = True
        self._steps = going[place].steps  # it reads again what the others have seen
        going[place].until = self._dates.until
        self.partitions.note(going[place])
        self._warn(FILTER_IGNORED)

    def _count_down(self, partition: Partition[T], page: PageLike[Any]) -> None:
        if page.total is not None:
            left = page.total if partition.remaining is None else partition.remaining
            partition.remaining = max(left - len(page.items), 0.0)

    def _estimate(
        self, partition: Partition[T], page: PageLike[Any], *, since: dt.datetime | None, first: bool
    ) -> None:
        """Estimate what the partition has still to take after this page, which began behind ``since``."""
        if page.total is not None and first:
            partition.remaining = max(page.total - len(page.items) - partition.lent, 0.0)
            partition.counted = True
            if (lender := partition.lender) is not None:
                error = page.total - partition.guess
                lender.lent += error
                lender.remaining = max((lender.remaining or 0.0) - error, 0.0)
                partition.lender = None
        elif partition.reached is None or (page.total is not None and partition.remaining is not None):
            partition.remaining = max((partition.remaining or 0.0) - len(page.items), 0.0)
        else:
            begin = since or self._format.date_of(page.items[0])
            seconds = (partition.reached - begin).total_seconds()
            partition.density = partition.density.after(len(page.items), seconds, DENSITY_MEMORY)
            self._density = self._density.after(len(page.items), seconds, SCAN_DENSITY_MEMORY)
            partition.remaining = partition.density.per_second * seconds_ahead(
                self._dates, partition.reached, partition.until
            )

    def _begin(self) -> None:
        """Cut the dates into the first partitions."""
        since = self._dates.since
        for cut in cuts(self._dates, 1 if self._ordered else self._workers):
            self.partitions.add(since, cut - MICROSECOND, wide=self._wide)
            since = cut
        self.partitions.add(since, self._dates.until, wide=self._wide)
        self._first_totals = {partition.id: None for partition in self.partitions.open}
