"""Where a range of dates can be cut: arithmetic on moments, nothing else.

Which windows there are and what has been handed over: the books of a run, kept page by page.

A batch carries every state that changed since the batch before. With ``ordered`` it waits instead until all windows
before its own are done.

Which page is fetched next, and what becomes of one that arrived: pure decisions, no await, no clock.

How it decides. Every page is a decision of its own: a worker does not keep a window, it fetches the next page of the
chain with most left to take, so that no long chain is left over for the end (longest processing time first). If the
chain with most left is already being fetched and half of it is more than any other chain has, its later half becomes a
chain of its own. That needs estimates, and they need only be fair: where the server gives totals, they come from the
first page of each chain; elsewhere from how dense the dates lately were, averaged over a day, as people sleep at night.

With ``ordered``, what counts is the beginning: pieces of `CARVE_PAGES` pages are cut from the front of what is left,
and batches wait until all windows before theirs are done. How many wait is bounded by `HELD_PAGES` a worker.

A server that turns out not to list in ascending order leaves one way to miss nothing: everything is dropped but what
has been handed over, and one chain walks all of it, leaving out what was handed over (64-bit hashes of the ids).
Before a list has been seen to ascend, a chain that has passed its window's end is not done but *doubtful*: it waits,
and goes on if nobody else finds a proof. What no check can find is a list that is out of order only where nobody looks:
behind a page that ascends and passes the end of its window.
"""

from __future__ import annotations

import datetime as dt
from array import array
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final, Generic, TypeVar

import attrs

from tracket_async.errors import UnsupportedError
from tracket_async.scan.partition import (
    MICROSECOND,
    Batch,
    Chain,
    ChainStatistics,
    Keys,
    OutOfOrderError,
    Pace,
    PageLike,
    Span,
    Take,
    WindowState,
)

EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
EARLIEST: Final = dt.datetime.min.replace(tzinfo=dt.UTC)
LATEST: Final = dt.datetime.max.replace(tzinfo=dt.UTC)


class Ruler:
    """The range of a run. A cut is the first moment of the later part, and a multiple of the grain."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def before(self, cut: dt.datetime) -> dt.datetime:
        """The upper bound of what lies in front of the cut."""
        return cut - MICROSECOND

    def within(self, moment: dt.datetime) -> bool:
        """Whether the moment is within the range of the run."""
        return (self._span.since or EARLIEST) <= moment <= (self._span.until or LATEST)

    def cuts(self, parts: int) -> list[dt.datetime]:
        """Cuts the range into as many as ``parts`` windows, or fewer; not at all where its ends are unknown."""
        low = self._span.since or self._span.first
        high = self._end(low)
        if low is None or high is None:
            return []
        found: list[dt.datetime] = []
        for part in range(1, parts):
            cut = self._cut(low, high, part / parts)
            if cut is not None and (not found or cut > found[-1]):
                found.append(cut)
        return found

    def cut(self, low: dt.datetime | None, until: dt.datetime | None, kept: float) -> dt.datetime | None:
        """A cut that keeps about ``kept`` (0 to 1) of the dates after ``low`` in front of it, and ``low`` itself.

        Returns:
            None where there is no room, or where it is not known how far the range goes.
        """
        low = low or self._span.first
        high = until or self._end(low)
        return None if low is None or high is None else self._cut(low, high, kept)

    def is_charted(self, since: dt.datetime | None, until: dt.datetime | None) -> bool:
        """Whether a window that nobody has asked yet lies where worklogs are expected, and so can be cut by guess.

        Behind the last date that is expected every guess would find room for another cut, for ever.
        """
        return until is not None or (self._span.last is not None and (since or EARLIEST) < self._span.last)

    def ahead(self, reached: dt.datetime, until: dt.datetime | None) -> float:
        """Seconds from ``reached`` to ``until``, or to where the range probably ends."""
        end = until or self._end(reached)
        return 0.0 if end is None else max((end - reached).total_seconds(), 0.0)

    def _end(self, low: dt.datetime | None) -> dt.datetime | None:
        """Where the range ends; where that is unknown, a place to look whether anything lies beyond."""
        if self._span.until is not None or self._span.last is None:
            return self._span.until
        if low is None or low < self._span.last:
            return self._span.last
        begin = self._span.since or self._span.first or self._span.last
        try:
            return low + max(low - begin, self._span.grain)
        except OverflowError:
            return LATEST

    def _cut(self, low: dt.datetime, high: dt.datetime, kept: float) -> dt.datetime | None:
        grain = self._span.grain
        try:
            cut = self._floor(low + (high - low) * kept)
            if cut <= low:
                cut = self._floor(low) + grain
        except OverflowError:
            return None
        return cut if low < cut <= high else None

    def _floor(self, moment: dt.datetime) -> dt.datetime:
        return moment - (moment - EPOCH) % self._span.grain


T = TypeVar("T")


class Ledger(Generic[T]):
    """The books of one run.

    Attributes:
        open: the chains that are not done, in the order of their dates; with ``ordered`` also those that are done and
            whose batches wait.
        out: the batches to be handed over, in this order.
        held: how many batches wait for the windows before theirs.
        worklogs, duplicates: how many were handed over and left out.
        single: one chain walks everything, whatever the order.
    """

    def __init__(
        self,
        keys: Keys[T],
        *,
        ordered: bool,
        keep: Callable[[T], bool] | None,
        states: Iterable[WindowState],
    ) -> None:
        self._keys = keys
        self._ordered = ordered
        self._keep = keep
        states = tuple(states)
        going = [Chain[T].of(state) for state in states if not state.done]
        self.open = sorted(going, key=lambda chain: chain.since or EARLIEST)
        self.out: deque[Batch[T]] = deque()
        self.held = self.worklogs = self.duplicates = 0
        self.single = any(state.whole for state in states)
        self._done = [state for state in states if state.done]
        self._changed: dict[int, Chain[T]] = {}
        self._next_id = max((state.id for state in states), default=-1) + 1
        self._given = array("q")  # hashes of the ids taken: 8 bytes each, however long the run
        self._known: set[int] = set()  # the same, from when a single chain has to leave them out

    @property
    def done(self) -> int:
        """How many windows are done."""
        return len(self._done) + sum(chain.done for chain in self.open)

    def states(self) -> tuple[WindowState, ...]:
        """Where every window stands, by id. Batches in `out` count as handed over."""
        return tuple(sorted([*self._done, *(chain.state() for chain in self.open)], key=lambda state: state.id))

    def add(self, since: dt.datetime | None, until: dt.datetime | None, *, behind: Chain[T] | None = None) -> Chain[T]:
        """A new window, at the end or behind another."""
        chain = Chain[T](id=self._next_id, since=since, until=until, asked_since=since, asked_until=until)
        self._next_id += 1
        self.open.insert(len(self.open) if behind is None else self.open.index(behind) + 1, chain)
        self.note(chain)
        return chain

    def note(self, chain: Chain[T]) -> None:
        """The chain's state changed: the next batch tells."""
        self._changed[chain.id] = chain

    def fall_back(self, since: dt.datetime | None, until: dt.datetime | None) -> Chain[T]:
        """Drops every window, and begins one chain that leaves out what was handed over."""
        for chain in self.open:
            chain.dropped = chain.done = True
            self.note(chain)
        self._known = set(self._given)
        self._given = array("q")
        self.single = True
        whole = self.add(since, until)
        whole.whole = True
        return whole

    def unknown(self, items: list[T]) -> list[T]:
        """Those of the items that the single chain has not met, and that were not handed over before it."""
        fresh: list[T] = []
        for item in items:
            key = hash(self._keys.id_of(item))
            if key not in self._known:
                self._known.add(key)
                fresh.append(item)
        return fresh

    def deliver(self, chain: Chain[T], take: Take[T], page: PageLike[Any]) -> None:
        """Makes the batch of a page."""
        items = take.fresh if self._keep is None else [item for item in take.fresh if self._keep(item)]
        if not self.single:
            self._given.fromlist([hash(key) for key in take.ids])
        chain.seen += len(items)
        self.worklogs += len(items)
        self.duplicates += take.duplicates
        self.note(chain)
        states = () if self._ordered else tuple(changed.state() for changed in self._changed.values())
        some_done = any(changed.done for changed in self._changed.values())
        self._changed.clear()
        batch = Batch(window=chain.id, items=items, states=states, server_date=page.server_date)
        if self._ordered:
            chain.held.append(batch)
            self.held += 1
            self._release()
        else:
            self.out.append(batch)
            if some_done:
                self._done += [one.state() for one in self.open if one.done]
                self.open = [one for one in self.open if not one.done]

    def _release(self) -> None:
        """Batches that wait for nothing any more go out."""
        while self.open:
            front = self.open[0]
            self.held -= len(front.held)
            self.out.extend(front.held)
            front.held.clear()
            if not front.done:
                return
            self._done.append(front.state())
            del self.open[0]


CARVE_PAGES: Final = 12
"""With ``ordered``: about so many pages make one window."""
HELD_PAGES: Final = 24
"""With ``ordered``: so many pages a worker may be fetched ahead of those before them."""
PACE_MEMORY: Final = 86_400.0
"""Where the server gives no totals: seconds of dates over which a chain's pace is averaged. People sleep at night."""
RUN_PACE_MEMORY: Final = 7 * 86_400.0
"""The same for all chains together."""

WORTH_BUSY: Final = 2.0
"""A chain that has less than so many pages left, the one on its way included, is not halved for a free worker."""
WORTH: Final = 1.0
"""The same when nothing else is left for that worker to fetch."""
WORTH_ROUGHLY: Final = 0.5
"""The same, where the server gives no totals: a request in vain costs less time than a chain of unexpected length."""

OUT_OF_ORDER: Final = (
    "The server does not list worklogs in ascending order of date, so they cannot be walked in windows: "
    "one chain walks all of them, without concurrency"
)


@attrs.frozen
class Ask(Generic[T]):
    """A page to be fetched: that of ``chain.cursor``, or the first from ``chain.asked_since`` on."""

    chain: Chain[T]


class Plan(Generic[T]):
    """All chains of one run. Give each `Ask` back once: to `arrived`, `refused` or `returned`.

    Attributes:
        ledger: the windows, and the batches to be handed over.
    """

    def __init__(
        self,
        span: Span,
        keys: Keys[T],
        *,
        workers: int,
        ordered: bool = False,
        keep: Callable[[T], bool] | None = None,
        states: Iterable[WindowState] = (),
        on_notice: Callable[[str], None] | None = None,
    ) -> None:
        states = tuple(states)
        self.ledger = Ledger(keys, ordered=ordered, keep=keep, states=states)
        self._span = span
        self._ruler = Ruler(span)
        self._keys = keys
        self._workers = workers
        self._ordered = ordered
        self._on_notice = on_notice
        self._proven = False
        self._page_size = 1
        self._paced = Pace()
        self._pages = self._refused = 0
        if not states:
            self._begin()

    @property
    def finished(self) -> bool:
        """Whether nothing is left to fetch. Something may still be left to hand over."""
        return not self.ledger.open

    def statistics(self) -> ChainStatistics:
        """How the run stands."""
        going = [chain for chain in self.ledger.open if not chain.done]
        estimates = [chain.remaining for chain in going if chain.remaining is not None]
        positions = [position for chain in going if (position := chain.reached or chain.since) is not None]
        return ChainStatistics(
            active=sum(chain.busy for chain in going),
            windows_open=len(going),
            windows_done=self.ledger.done,
            pages=self._pages,
            worklogs=self.ledger.worklogs,
            duplicates=self.ledger.duplicates,
            refused_cursors=self._refused,
            remaining=round(sum(estimates)) if len(estimates) == len(going) else None,
            reached=min(positions) if positions and len(positions) == len(going) and not self.ledger.single else None,
            single_chain=self.ledger.single,
        )

    # -- what to fetch --------------------------------------------------------------------------------------------

    def next(self) -> Ask[T] | None:
        """The page to fetch now; None while there is nothing to do before another page arrives or is handed over."""
        chain = self._next_in_order() if self._ordered else self._next_by_weight()
        if chain is None:
            return None
        chain.busy = True
        return Ask(chain)

    def _next_by_weight(self) -> Chain[T] | None:
        chains = self.ledger.open
        free = max((chain for chain in chains if not chain.busy and not chain.doubtful), key=_weight, default=None)
        chosen = self._steal(0.0 if free is None else _weight(free)) or free
        if chosen is None and not any(chain.busy for chain in chains):
            # Only doubtful chains are left. The one that began earliest will see whatever the others would.
            return min(chains, key=lambda chain: chain.asked_since or EARLIEST, default=None)
        return chosen

    def _next_in_order(self) -> Chain[T] | None:
        chains = self.ledger.open
        front = chains[0] if chains else None
        if front is not None and not front.busy:
            return self._carve(front)
        busy = sum(chain.busy for chain in chains)
        if self.ledger.held + busy >= HELD_PAGES * self._workers:
            return None
        for chain in chains:
            if not (chain.busy or chain.done or chain.doubtful):
                return self._carve(chain)
        return self._steal(0.0)

    def _carve(self, chain: Chain[T]) -> Chain[T]:
        if chain.reached is None and not self._ruler.is_charted(chain.since, chain.until):
            return chain
        piece = CARVE_PAGES * self._page_size
        if self._paced.per_second and chain.reached is None and chain.since is not None:
            # Nobody has asked it, and since it was cut off more has been learnt.
            chain.remaining = self._paced.per_second * self._ruler.ahead(chain.since, chain.until)
        if chain.remaining is not None and chain.remaining > 1.5 * piece and not chain.doubtful:
            self._split(chain, chain.remaining, piece / chain.remaining)
        return chain

    def _steal(self, weight: float) -> Chain[T] | None:
        """Half of the busiest chain, if that is more than ``weight`` and worth a request."""
        pages = WORTH_BUSY if weight else WORTH_ROUGHLY if self._paced.per_second else WORTH
        least = max(2 * weight, pages * self._page_size)
        for chain in sorted((chain for chain in self.ledger.open if chain.busy), key=_weight, reverse=True):
            if chain.remaining is None or chain.doubtful:
                continue
            if chain.remaining < least:
                return None
            if (part := self._split(chain, chain.remaining, 0.5)) is not None:
                return part
        return None

    def _split(self, chain: Chain[T], remaining: float, kept: float) -> Chain[T] | None:
        """Makes what lies behind the first ``kept`` (0 to 1) of the chain's dates a chain of its own, if it can."""
        cut = None if self.ledger.single else self._ruler.cut(chain.reached or chain.since, chain.until, kept)
        if cut is None:
            return None
        part = self.ledger.add(cut, chain.until, behind=chain)
        part.remaining = part.guess = remaining * (1 - kept)
        part.lender = chain
        part.paced = chain.paced
        chain.lent += part.guess
        chain.remaining = remaining - part.guess
        chain.until = self._ruler.before(cut)
        self.ledger.note(chain)
        return part

    # -- what became of it ----------------------------------------------------------------------------------------

    def arrived(self, ask: Ask[T], page: PageLike[T]) -> None:
        """Takes what the page brought; its batch goes to the ledger.

        Raises:
            CursorLoopError: the cursors go round in a circle.
            UnsupportedError: ``ordered`` was asked for, and the server's order is another.
        """
        chain = ask.chain
        chain.busy = False
        self._pages += 1
        if chain.dropped:
            return
        self._page_size = max(self._page_size, len(page.items))
        if chain.whole:
            self.ledger.deliver(chain, self._take_whole(chain, page), page)
            return
        before = chain.reached
        try:
            take = chain.take(page, self._keys)
        except OutOfOrderError:
            self._fall_back(page)
            return
        self._estimate(chain, page, since=before, first=chain.cursor is None)
        self._settle(chain, page, take)
        self.ledger.deliver(chain, take, page)

    def refused(self, ask: Ask[T]) -> bool:
        """The server refused the cursor: the chain begins again where it stands.

        Returns:
            False when there was no cursor, or no progress since it last began again: the refusal is an error.
        """
        chain = ask.chain
        chain.busy = False
        if chain.dropped:
            return True
        if chain.cursor is None or not chain.begin_again():
            return False
        self._refused += 1
        self.ledger.note(chain)
        return True

    def returned(self, ask: Ask[T]) -> None:
        """The page was not fetched; it is still to be."""
        ask.chain.busy = False

    def _settle(self, chain: Chain[T], page: PageLike[T], take: Take[T]) -> None:
        """Whether the chain is done, goes on, or has to wait for a proof."""
        # A doubtful chain goes on only when there is no other: at its end, nothing can be hidden any more.
        last = page.next_cursor is None
        self._proven = self._proven or take.ascends or (last and chain.doubtful)
        chain.cursor = page.next_cursor
        chain.done = last or (take.past and self._proven)
        chain.doubtful = take.past and not self._proven
        if self._proven:
            for other in self.ledger.open:
                if other.doubtful and not other.busy:
                    other.doubtful, other.done = False, True
                    self.ledger.note(other)

    def _take_whole(self, chain: Chain[T], page: PageLike[T]) -> Take[T]:
        chain.guard.check(len(page.items), page.next_cursor)
        if page.total is not None:
            left = page.total if chain.remaining is None else chain.remaining
            chain.remaining = max(left - len(page.items), 0.0)
        chain.cursor = page.next_cursor
        chain.done = page.next_cursor is None
        within = [item for item in page.items if self._ruler.within(self._keys.date_of(item))]
        fresh = self.ledger.unknown(within)
        chain.taken += len(fresh)
        return Take(fresh, duplicates=len(within) - len(fresh))

    def _fall_back(self, page: PageLike[T]) -> None:
        if self._ordered:
            raise UnsupportedError(
                "The server does not list worklogs in ascending order of date, so they cannot be handed over in that "
                "order: leave out ordered=True, or export to a store, whose files are sorted"
            )
        whole = self.ledger.fall_back(self._span.since, self._span.until)
        self.ledger.deliver(whole, Take(), page)
        if self._on_notice is not None:
            self._on_notice(OUT_OF_ORDER)

    def _estimate(self, chain: Chain[T], page: PageLike[Any], *, since: dt.datetime | None, first: bool) -> None:
        """What the chain has still to take after this page, which began behind ``since``."""
        if page.total is not None and first:
            chain.remaining = max(page.total - len(page.items) - chain.lent, 0.0)
            if (lender := chain.lender) is not None:
                error = page.total - chain.guess
                lender.lent += error
                lender.remaining = max((lender.remaining or 0.0) - error, 0.0)
                chain.lender = None
        elif chain.reached is None or (page.total is not None and chain.remaining is not None):
            chain.remaining = max((chain.remaining or 0.0) - len(page.items), 0.0)
        else:
            begin = since or self._keys.date_of(page.items[0])
            seconds = (chain.reached - begin).total_seconds()
            chain.paced = chain.paced.after(len(page.items), seconds, PACE_MEMORY)
            self._paced = self._paced.after(len(page.items), seconds, RUN_PACE_MEMORY)
            chain.remaining = chain.paced.per_second * self._ruler.ahead(chain.reached, chain.until)

    def _begin(self) -> None:
        since = self._span.since
        for cut in self._ruler.cuts(1 if self._ordered else self._workers):
            self.ledger.add(since, self._ruler.before(cut))
            since = cut
        self.ledger.add(since, self._span.until)


def _weight(chain: Chain[Any]) -> float:
    """What the chain has to take; one that nobody has asked yet may have everything."""
    return float("inf") if chain.remaining is None else chain.remaining
