"""Limit what a session does at once, how fast and how often it retries; pause it when the server asks for that.

`ConcurrencyLimiter` is the semaphore-bounded pool. ``in_use`` is the number of callers between ``acquire`` and
``release``, whatever was cancelled; nobody waits while ``in_use < limit``; the longest waiter comes first. Its limit
follows AIMD, as TCP's congestion window does (RFC 5681, 3.1): one more for each round of successes at full use, half
of it when the server answers that it is overloaded, at most once a round trip, as the answers to what was sent before
a decrease say nothing about the lower limit.

`RetryBudget` is a token bucket that successes refill, not time, as in the AWS SDKs: when everything fails, each call is
tried once and no more.

Everything but the two waits is synchronous. Moments are of the session's monotonic clock, in seconds.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import importlib
import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

import attrs

from tracket_async.errors import (
    LIMITED,
    ClientStateError,
    MissingExtraError,
    RateLimitedError,
    ServerError,
    StatusError,
    install_hint,
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


@attrs.frozen(kw_only=True)
class ConcurrencyStatistics:
    """A concurrency limiter at one moment.

    Attributes:
        limit: how many may be in progress now.
        max_concurrency: how many may ever be, ``Limits.max_concurrency``.
        in_use: how many are in progress. Above ``limit`` for a while after a decrease.
        waiters: how many wait.
        decreases: how often the limit was decreased.
    """

    limit: int
    max_concurrency: int
    in_use: int
    waiters: int
    decreases: int


class ConcurrencyLimiter:
    """A fair semaphore whose limit adapts. Of one event loop; not thread-safe.

    Args:
        max_concurrency: the highest limit, and the first.
        adaptive: False keeps the limit as it is.
    """

    def __init__(self, max_concurrency: int, *, adaptive: bool = True) -> None:
        self._max_concurrency = max_concurrency
        self._adaptive = adaptive
        self._limit = max_concurrency
        self._in_use = 0
        self._waiters: OrderedDict[asyncio.Future[None], None] = OrderedDict()
        self._successes = 0
        self._decreases = 0
        self._decreased_at = float("-inf")
        self._closed = False

    def __repr__(self) -> str:
        return f"<ConcurrencyLimiter {self._in_use}/{self._limit} in use, {len(self._waiters)} waiting>"

    def statistics(self) -> ConcurrencyStatistics:
        """Return the limiter's state as it is now."""
        return ConcurrencyStatistics(
            limit=self._limit,
            max_concurrency=self._max_concurrency,
            in_use=self._in_use,
            waiters=len(self._waiters),
            decreases=self._decreases,
        )

    def try_acquire(self) -> bool:
        """Take a slot if one is free: then nobody waits for it. Return whether there was one."""
        if self._in_use >= self._limit or self._closed:
            return False
        self._in_use += 1
        return True

    async def acquire(self) -> None:
        """Take a slot, after everybody who came before.

        Raises:
            ClientStateError: the limiter is, or was meanwhile, closed.
        """
        if self.try_acquire():
            return
        if self._closed:
            raise _closed()
        slot: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[slot] = None
        try:
            await slot
        except asyncio.CancelledError:
            # The slot may have been given in the same turn of the loop in which the waiter was cancelled.
            if slot.done() and not slot.cancelled() and slot.exception() is None:
                self.release()
            else:
                self._waiters.pop(slot, None)
            raise

    def release(self) -> None:
        """Give a slot back, to the longest waiter."""
        self._in_use -= 1
        self._admit()

    def on_success(self) -> None:
        """Take note that the server answered an attempt well; its slot is still held."""
        if not self._adaptive or self._limit >= self._max_concurrency:
            return
        if self._in_use < self._limit:
            return  # below full use nothing is learnt about a higher limit
        self._successes += 1
        if self._successes >= self._limit:
            self._successes = 0
            self._limit += 1
            self._admit()

    def on_overload(self, *, began: float, now: float) -> None:
        """Take note that the server is overloaded, as it answered ``now`` to an attempt that ``began`` then."""
        if not self._adaptive or began < self._decreased_at:
            return
        self._decreased_at = now
        self._successes = 0
        self._decreases += 1
        self._limit = max(1, self._limit // 2)

    def close(self) -> None:
        """Send everybody away who waits, and let nobody in any more."""
        self._closed = True
        while self._waiters:
            slot, _ = self._waiters.popitem(last=False)
            if not slot.done():
                slot.set_exception(_closed())

    def _admit(self) -> None:
        while self._waiters and self._in_use < self._limit:
            slot, _ = self._waiters.popitem(last=False)
            # A cancelled waiter stays in the queue until its task runs again.
            if not slot.done():
                self._in_use += 1
                slot.set_result(None)


def _closed() -> ClientStateError:
    return ClientStateError("The client was closed while this call waited for its turn")


class RateLimiter:
    """Space attempts evenly. Of the event loop on which it is first awaited.

    One each ``1 / requests_per_second`` seconds, and not a second's worth at once and then nothing: a server counts in
    windows of its own, and a burst on each side of a window's border would be twice what was asked for.

    Attributes:
        acquire: waits until the next attempt may go out.

    Raises:
        MissingExtraError: aiolimiter is not installed.
    """

    def __init__(self, requests_per_second: float) -> None:
        try:
            aiolimiter = importlib.import_module("aiolimiter")
        except ImportError:
            aiolimiter = None
        if aiolimiter is None:
            raise MissingExtraError(
                "Limits.requests_per_second needs aiolimiter, which is not installed",
                hint=install_hint("pace"),
            )
        limiter = aiolimiter.AsyncLimiter(max_rate=1, time_period=1 / requests_per_second)
        self.acquire: Callable[[], Awaitable[None]] = limiter.acquire


class ServerPause:
    """The pause of the whole session that the server asked for. A shorter one never replaces a longer one."""

    def __init__(self) -> None:
        self._until = float("-inf")
        self._status = LIMITED

    def begin(self, seconds: float, *, status: int, now: float) -> bool:
        """Pause for so many seconds from now. Return whether that is longer than what was already asked for."""
        if now + seconds <= self._until:
            return False
        self._until = now + seconds
        self._status = status
        return True

    def remaining(self, now: float) -> float:
        """Return the seconds until its end, 0 when there is no pause."""
        return max(0.0, self._until - now)

    def error(self, now: float) -> StatusError:
        """Create the error of a call that cannot wait so long: what it would be told if it were sent."""
        kind = RateLimitedError if self._status == LIMITED else ServerError
        return kind(
            "The server has asked for a pause that is longer than this call may take, so it was not sent",
            status=self._status,
            retry_after=self.remaining(now),
            stopped_by="retry_after",
            maybe_sent=False,
        )


RETRY_COST: Final = 5
RETRY_COST_AFTER_TIMEOUT: Final = 10
SUCCESS_REWARD: Final = 1


class RetryBudget:
    """The retry tokens of one session. ``capacity`` None: there is no limit."""

    def __init__(self, capacity: int | None) -> None:
        self._capacity = capacity
        self._tokens = capacity or 0

    def __repr__(self) -> str:
        return f"<RetryBudget {self.tokens} of {self._capacity}>"

    @property
    def tokens(self) -> int | None:
        """Return the tokens that are left; None without a limit."""
        return None if self._capacity is None else self._tokens

    def acquire(self, *, timed_out: bool) -> int | None:
        """Pay for one retry. Return its cost, or None when there is not enough left."""
        cost = RETRY_COST_AFTER_TIMEOUT if timed_out else RETRY_COST
        if self._capacity is None:
            return cost
        if self._tokens < cost:
            return None
        self._tokens -= cost
        return cost

    def release(self, tokens: int) -> None:
        """Give tokens back: the cost of a retry that succeeded, or `SUCCESS_REWARD`. Never above the capacity."""
        if self._capacity is not None and self._tokens < self._capacity:
            self._tokens = min(self._capacity, self._tokens + tokens)
