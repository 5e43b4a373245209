"""How many attempts are in progress at once.

The invariant: ``in_use`` is the number of callers between ``acquire`` and ``release``, whatever was cancelled; nobody
waits while ``in_use < limit``; who waits longest comes first.

The limit follows AIMD, as TCP's congestion window does (RFC 5681, 3.1): up by one for each round of successes while
the gate is full, down by half when the server says that it is too much, at most once a round trip: the answers to
what was sent before a cut say nothing about the lower limit.

Everything here but ``wait`` is synchronous and decides without a clock: the caller says when an attempt began.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

import attrs

from tracket_async.errors import ClientStateError


@attrs.frozen(kw_only=True)
class GateStatistics:
    """A gate at one moment.

    Attributes:
        limit: how many may be in progress now.
        ceiling: how many may ever be, ``Limits.concurrency``.
        in_use: how many are in progress. Above ``limit`` for a while after a cut.
        waiters: how many wait.
        cuts: how often the limit was cut.
    """

    limit: int
    ceiling: int
    in_use: int
    waiters: int
    cuts: int


class Gate:
    """A fair semaphore whose limit adapts. Of one event loop; not thread-safe."""

    def __init__(self, ceiling: int, *, adaptive: bool = True) -> None:
        self._ceiling = ceiling
        self._adaptive = adaptive
        self._limit = ceiling
        self._in_use = 0
        self._waiters: OrderedDict[asyncio.Future[None], None] = OrderedDict()
        self._successes = 0
        self._cuts = 0
        self._last_cut = float("-inf")
        self._closed = False

    def __repr__(self) -> str:
        return f"<Gate {self._in_use}/{self._limit} in use, {len(self._waiters)} waiting>"

    def statistics(self) -> GateStatistics:
        """The gate as it is now."""
        return GateStatistics(
            limit=self._limit,
            ceiling=self._ceiling,
            in_use=self._in_use,
            waiters=len(self._waiters),
            cuts=self._cuts,
        )

    def try_acquire(self) -> bool:
        """Take a place if one is free: then nobody waits for it."""
        if self._in_use >= self._limit or self._closed:
            return False
        self._in_use += 1
        return True

    async def acquire(self) -> None:
        """Take a place, after everybody who was here before.

        Raises:
            ClientStateError: the gate is, or was meanwhile, closed.
        """
        if self.try_acquire():
            return
        if self._closed:
            raise _closed()
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[place] = None
        try:
            await place
        except asyncio.CancelledError:
            # The place may have been given in the same turn of the loop in which the waiter was cancelled.
            if place.done() and not place.cancelled() and place.exception() is None:
                self.release()
            else:
                self._waiters.pop(place, None)
            raise

    def release(self) -> None:
        """Give a place back, to who waits longest."""
        self._in_use -= 1
        self._admit()

    def succeeded(self) -> None:
        """An attempt was answered well, and its place is still held."""
        if not self._adaptive or self._limit >= self._ceiling:
            return
        if self._in_use < self._limit:
            return  # a gate that is not full says nothing about whether more would be well
        self._successes += 1
        if self._successes >= self._limit:
            self._successes = 0
            self._limit += 1
            self._admit()

    def overloaded(self, *, began: float, now: float) -> None:
        """An attempt that ``began`` then is told ``now`` that it is too much: moments of one clock, in seconds."""
        if not self._adaptive or began < self._last_cut:
            return
        self._last_cut = now
        self._successes = 0
        self._cuts += 1
        self._limit = max(1, self._limit // 2)

    def close(self) -> None:
        """Send everybody away who waits; nobody comes in any more."""
        self._closed = True
        while self._waiters:
            place, _ = self._waiters.popitem(last=False)
            if not place.done():
                place.set_exception(_closed())

    def _admit(self) -> None:
        while self._waiters and self._in_use < self._limit:
            place, _ = self._waiters.popitem(last=False)
            # A cancelled waiter stays in the queue until its task runs again.
            if not place.done():
                self._in_use += 1
                place.set_result(None)


def _closed() -> ClientStateError:
    return ClientStateError("The client was closed while this call waited for its turn")
