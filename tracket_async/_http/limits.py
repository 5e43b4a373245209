"""How much repeating a session can afford: a token bucket that successes refill, not time.

After the retry quota of the AWS SDKs: when everything fails, each call is tried once and no more, and the load on
a server in trouble stays what it was.

How many attempts are in progress at once.

The invariant: ``in_use`` is the number of callers between ``acquire`` and ``release``, whatever was cancelled; nobody
waits while ``in_use < limit``; who waits longest comes first.

The limit follows AIMD, as TCP's congestion window does (RFC 5681, 3.1): up by one for each round of successes while
the gate is full, down by half when the server says that it is too much, at most once a round trip: the answers to
what was sent before a cut say nothing about the lower limit.

Everything here but ``wait`` is synchronous and decides without a clock: the caller says when an attempt began.

At most so many attempts a second, evenly spaced. Made of aiolimiter, which the extra ``pace`` brings.

That the server asked the whole session to wait, and until when.

Moments are of the session's monotonic clock, in seconds.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import importlib
import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

import attrs

from tracket_async.errors import ClientStateError, MissingExtraError, RateLimitedError, ServerError, StatusError

COST = 5
COST_AFTER_TIMEOUT = 10
SUCCESS = 1


class RetryBudget:
    """The tokens of one session. ``capacity`` None: there is no limit."""

    def __init__(self, capacity: int | None) -> None:
        self._capacity = capacity
        self._tokens = capacity or 0

    def __repr__(self) -> str:
        return f"<RetryBudget {self.tokens} of {self._capacity}>"

    @property
    def tokens(self) -> int | None:
        """What is left; None without a limit."""
        return None if self._capacity is None else self._tokens

    def withdraw(self, *, timed_out: bool) -> int | None:
        """Pay for one repetition: its cost, or None when there is not enough left."""
        cost = COST_AFTER_TIMEOUT if timed_out else COST
        if self._capacity is None:
            return cost
        if self._tokens < cost:
            return None
        self._tokens -= cost
        return cost

    def deposit(self, tokens: int) -> None:
        """Put tokens in: `SUCCESS`, or what a repetition that succeeded had cost. Never above the capacity."""
        if self._capacity is not None and self._tokens < self._capacity:
            self._tokens = min(self._capacity, self._tokens + tokens)


@attrs.frozen(kw_only=True)
class GateStatistics:
    """A gate at one moment.

    Attributes:
        limit: how many may be in progress now.
        ceiling: how many may ever be, ``Limits.max_concurrency``.
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


Pace = Callable[[], Awaitable[None]]


def pace(requests_per_second: float) -> Pace:
    """What an attempt awaits before it goes out. Belongs to the event loop on which it is first awaited.

    One at a time each ``1 / requests_per_second`` seconds, and not a second's worth at once and then nothing: a server
    counts in windows of its own, and a burst on each side of a window's border would be twice what was asked for.

    Raises:
        MissingExtraError: aiolimiter is not installed.
    """
    try:
        aiolimiter = importlib.import_module("aiolimiter")
    except ImportError:
        aiolimiter = None
    if aiolimiter is None:
        raise MissingExtraError(
            "Limits.requests_per_second needs aiolimiter, which is not installed",
            hint='Install it with: pip install "tracket-async[pace]"',
        )
    limiter = aiolimiter.AsyncLimiter(max_rate=1, time_period=1 / requests_per_second)
    acquire: Pace = limiter.acquire
    return acquire


class Pause:
    """At most one pause at a time: a longer one takes the place of a shorter one, never the other way round."""

    def __init__(self) -> None:
        self._until = float("-inf")
        self._status = 429

    def begin(self, seconds: float, *, status: int, now: float) -> bool:
        """Pause for so long from now. Returns whether that is longer than what was already asked for."""
        if now + seconds <= self._until:
            return False
        self._until = now + seconds
        self._status = status
        return True

    def remaining(self, now: float) -> float:
        """Seconds until its end, 0 when there is none."""
        return max(0.0, self._until - now)

    def error(self, now: float) -> StatusError:
        """For a call that cannot wait so long: what it would be told if it were sent."""
        kind = RateLimitedError if self._status == 429 else ServerError  # noqa: PLR2004
        return kind(
            "The server has asked for a pause that is longer than this call may take, so it was not sent",
            status=self._status,
            retry_after=self.remaining(now),
            stopped_by="retry_after",
            maybe_sent=False,
        )


def _utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@attrs.frozen(kw_only=True)
class Clock:
    """Time, waiting and chance, as a session uses them: what a test replaces.

    Attributes:
        time: returns the time of a monotonic clock, in seconds.
        sleep: waits so many seconds.
        random: returns a number from 0 up to, not including, 1; for jitter.
        now: returns the time of the wall clock, aware UTC.
    """

    time: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = random.random
    now: Callable[[], dt.datetime] = _utc_now
