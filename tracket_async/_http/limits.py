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
import math
import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

import attrs

from tracket_async.errors import (
    LIMITED,
    ClientStateError,
    RateLimitedError,
    ServerError,
    StatusError,
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
    """Space attempts evenly: by a rate that is set, by a callable of the user's, and by what the server's 429s teach.

    Nothing is limited until a rate is set or the first 429 comes. From then on the rate is found in two phases:

    - *probe*: begin slowly and grow by half about ten times a second, until the server refuses again: its rate lies
      between the last one that it accepted and the one that it refused.
    - *follow*: after each refusal go down a little, return to just below the refused rate within some seconds, wait
      there, and only then try a higher one; the longer nothing was refused, the rarer the next try. The curve is
      CUBIC's (RFC 9438, 4.2), as in the adaptive mode of the AWS SDKs. Between two refusals a server's token bucket
      went from empty to empty, so what it accepted meanwhile, divided by that time, bounds its rate on both sides.

    A rate that is set is never exceeded. The decisions are synchronous; `acquire` waits for them, in the order of
    arrival. Moments are of the session's clock, in seconds. Of one event loop; not thread-safe.

    Args:
        requests_per_second: the highest rate; an async callable that is awaited before each attempt (several processes
            may share one rate by it); None for neither.
        learn: False takes no notice of 429s.
        clock: time and waiting.

    Attributes:
        is_limiting: whether an attempt must `acquire` before it starts.
        last_success: when the server last accepted an attempt.
    """

    def __init__(
        self,
        requests_per_second: float | Callable[[], Awaitable[object]] | None = None,
        *,
        learn: bool = True,
        clock: Clock,
    ) -> None:
        self._learn = learn
        self.is_limiting = requests_per_second is not None
        self._permit = requests_per_second if callable(requests_per_second) else None
        self._ceiling = None if callable(requests_per_second) else requests_per_second
        self._clock = clock
        self._turn: asyncio.Lock | None = None
        self._next_start = float("-inf")  # no attempt starts before
        self._last_start = float("-inf")
        self._probed: float | None = None  # the rate while probing
        self._accepted_rate: float | None = None  # the latest rate that was accepted while probing
        self._grown_at = float("-inf")
        self._target: float | None = None  # the rate to return to; None: not following
        self._depth = _DEPTH  # the share of the target at which to begin again after a refusal
        self._plateau = _PLATEAU  # seconds from a refusal until the target is reached again
        self._resumed_at = float("-inf")
        self._refused_at = float("-inf")
        self._streak = 0  # accepted since the latest refusal
        self._evidence = 0  # accepted since `_evidence_from`
        self._evidence_from = float("-inf")
        self._evidence_paused = 0.0
        self.last_success = float("-inf")

    def rate(self, now: float) -> float | None:
        """Return the rate at this moment, in requests a second; None while there is no limit that is known here."""
        learned = self._learned(now)
        if learned is None or self._ceiling is None:
            return self._ceiling if learned is None else learned
        return min(learned, self._ceiling)

    def start_at(self, now: float) -> float:
        """Return the moment at which the next attempt may start; ``now`` if at once."""
        rate = self.rate(now)
        due = self._next_start if rate is None else max(self._next_start, self._last_start + 1 / rate)
        return max(now, due)

    async def acquire(self) -> None:
        """Wait until an attempt may start, after everybody who came before, and start it."""
        if self._turn is None:
            self._turn = asyncio.Lock()
        clock = self._clock
        async with self._turn:
            while (wait := self.start_at(now := clock.time()) - now) > 0:
                await clock.sleep(wait)
            if self._permit is not None:
                await self._permit()
                now = clock.time()
            self.note_start(now)

    def note_start(self, now: float) -> None:
        """Take note that an attempt starts."""
        self._last_start = now

    def hold(self, until: float) -> None:
        """Start no attempt before this moment."""
        self._next_start = max(self._next_start, until)

    def on_success(self, *, began: float, now: float) -> None:
        """Take note that the server accepted ``now`` an attempt that ``began`` then."""
        self.last_success = now
        self._streak += 1
        if not self._evidence and not self.is_limiting:
            self._evidence_from = began
        self._evidence += 1
        if self._probed is not None and began >= self._grown_at and now - self._grown_at >= _PROBE_STEP:
            self._accepted_rate = self._probed
            self._probed *= _PROBE_GROWTH
            self._grown_at = now

    def on_refusal(self, *, began: float, now: float, pause: float = 0.0) -> None:
        """Take note that the server answered ``now`` with 429 to an attempt that ``began`` then, and asks for a pause.

        What was sent before the latest refusal was known teaches nothing: it was sent at the old rate.
        """
        if not self._learn or began <= self._refused_at:
            return
        self.is_limiting = True
        if self._target is not None:
            self._follow_on(now, pause)
        elif self._probed is not None:
            self._follow(now, self._accepted_rate or self._probed / 2)
        elif self._evidence >= _CLEAN:
            self._follow(now, self._evidence / max(now - self._evidence_from, 1e-6))
        else:
            self._begin_probe(now)
        self._evidence_paused += pause
        self._streak = 0
        self._refused_at = now
        self._resumed_at = self._grown_at = now + pause
        self.hold(now + pause)
        self._last_start = max(self._last_start, now)

    def _learned(self, now: float) -> float | None:
        if self._target is None:
            return self._probed
        x = max(0.0, now - self._resumed_at) / self._plateau
        if x < 1:
            return self._target * (1 - (1 - self._depth) * (1 - x) ** 3)
        return self._target * (1 + _CURIOSITY * (x - 1) ** 2)

    def _begin_probe(self, now: float) -> None:
        self._probed = _PROBE_START
        self._evidence, self._evidence_from, self._evidence_paused = 0, now, 0.0

    def _follow(self, now: float, target: float) -> None:
        self._probed, self._target = None, max(target, self._bounds(now)[0])
        self._plateau = _PLATEAU / 4  # a guess is worth testing soon
        self._evidence, self._evidence_from, self._evidence_paused = 0, now, 0.0

    def _follow_on(self, now: float, pause: float) -> None:
        rate = self._learned(now) or _PROBE_START
        lowest, highest = self._bounds(now)
        is_clean = self._streak >= _CLEAN
        is_early = self._streak < _EARLY or (not is_clean and now - self._resumed_at < _EARLY_SECONDS)
        likely = math.sqrt(lowest * highest) if lowest else highest
        # One refusal in k attempts says that the rate is too high by 1 / k.
        target = min(rate * _EARLY_CUT, likely) if is_early else rate * (1 - min(_LATE_CUT, 1 / self._streak))
        self._depth = 1 - min(1 - _DEPTH, 3 / max(self._streak, 1))
        # A refusal that costs a pause is worth avoiding.
        plateau = _PLATEAU / 4 if is_early else _PLATEAU * (1 + pause)
        self._plateau = min(_LONGEST_PLATEAU, max(self._plateau, plateau) * _PATIENCE) if is_clean else plateau
        self._target = max(target, lowest, _LOWEST)
        if not is_early:
            self._evidence, self._evidence_from, self._evidence_paused = 0, now, 0.0

    def _bounds(self, now: float) -> tuple[float, float]:
        """Return between which rates the server's lies, by what it accepted since the refusal that began the count."""
        seconds = max(now - self._evidence_from, 1e-6)
        lowest = (self._evidence - 1) / seconds if self._evidence >= _FEW else 0.0
        return lowest, (self._evidence + 1) / max(seconds - self._evidence_paused, 1e-6)


_PROBE_START: Final = 6.0  # requests a second
_PROBE_GROWTH: Final = 1.5
_PROBE_STEP: Final = 0.1  # seconds
_DEPTH: Final = 0.85
_PLATEAU: Final = 8.0  # seconds
_LONGEST_PLATEAU: Final = 40.0
_PATIENCE: Final = 1.5
_CURIOSITY: Final = 0.25
_EARLY: Final = 6  # accepted attempts since the latest refusal
_EARLY_SECONDS: Final = 1.0
_EARLY_CUT: Final = 0.7
_LATE_CUT: Final = 0.02
_CLEAN: Final = 30
_FEW: Final = 4
_LOWEST: Final = 1 / 60  # requests a second


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

    @property
    def is_advisory(self) -> bool:
        """Return whether it was asked for beside an answer that is no failure: then no call fails because of it."""
        return self._status < 500 and self._status != LIMITED  # noqa: PLR2004

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
