"""Which windows there are and what has been handed over: the books of a run, kept page by page.

A batch carries every state that changed since the batch before. With ``ordered`` it waits instead until all windows
before its own are done.
"""

from __future__ import annotations

import datetime as dt
from array import array
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from tracket_async.windows.chain import Chain, Keys, Take
from tracket_async.windows.cuts import EARLIEST
from tracket_async.windows.state import Batch, PageLike, WindowState

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
