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
import random
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

import attrs

from tracket_async.config import SharedRate
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


INITIAL_CONCURRENCY: Final = 6
"""Attempts at once before the server has answered one."""


class ConcurrencyLimiter:
    """A fair semaphore whose limit adapts. Of one event loop; not thread-safe.

    Args:
        max_concurrency: the highest limit.
        adaptive: False keeps the limit as it is.
        initial: the first limit, which each success raises by 1 until it is the highest, so that a server that allows
            few requests refuses few ("slow start", RFC 5681, 3.1). None: the highest from the start.
    """

    def __init__(self, max_concurrency: int, *, adaptive: bool = True, initial: int | None = None) -> None:
        self._max_concurrency = max_concurrency
        self._adaptive = adaptive
        self._limit = max_concurrency if initial is None or not adaptive else min(initial, max_concurrency)
        self._is_starting = self._limit < max_concurrency
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
        if self._is_starting:
            self._limit = min(self._limit + 1, self._max_concurrency)
            self._admit()
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
        self._is_starting = False
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

    Nothing is limited until a rate is set or the first 429 comes. From then on the server is taken for a token bucket,
    whose size its first answers have shown, and the rate at which it fills is found in two phases:

    - *probe*: begin slowly and grow with each answer until the server refuses again; carefully, where a refusal stops
      everything for a while.
    - *follow*: every refusal says that the bucket was empty, so that what was accepted since the one before gives a
      lowest and a highest rate. Go on between the two, and try higher ones again: soon while they are far apart,
      rarely when they are not, or when a refusal costs much. The curve is CUBIC's (RFC 9438, 4.2), as in the adaptive
      mode of the AWS SDKs, but counts accepted attempts in place of seconds.

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
        self._first: deque[float] = deque(maxlen=_STARTS)  # starts of what was accepted before a refusal was known
        self._is_single = False  # whether the server's bucket seems to hold one request
        self._quickest = float("inf")  # seconds that an answer took
        self._probed: float | None = None  # the rate while probing
        self._grown_at = float("-inf")
        self._target: float | None = None  # the rate to return to; None: not following
        self._is_guess = False  # whether the target comes from before the first refusal
        self._low = 0.0  # the lowest rate that the server can have, by the latest refusals
        self._doubt = _DOUBT  # the share of it that the next refusal takes away if it comes at once
        self._known = _PROBE_START  # the rate that the server is known to have had, or else may have
        self._barren = 0  # refusals in a row with nothing accepted between them
        self._depth = _DEPTH  # the share of the target below it at which to begin again after a refusal
        self._patience: float = _CLEAN  # accepted attempts until the target is reached again
        self._streak = 0  # accepted since the latest refusal, while the rate was what held them back
        self._is_binding = True  # whether the latest attempt was held back by the rate
        self._refused_at = float("-inf")
        self._resumed_at: float | None = None  # the first start after it
        self._stall = 0.0  # seconds by which the latest refusal but one was followed by nothing
        self._excused_until = float("-inf")  # until then a pause holds for refused attempts alone
        self._is_for_all = True  # whether the latest pause was for the whole session
        self._starts: deque[float] = deque(maxlen=_STARTS)  # of attempts since the bucket was empty
        self._empty_at = float("-inf")  # when the latest attempt started that was refused
        self.last_success = float("-inf")

    def rate(self) -> float | None:
        """Return the rate, in requests a second; None while there is no limit that is known here."""
        learned = self._learned()
        if learned is None or self._ceiling is None:
            return self._ceiling if learned is None else learned
        return min(learned, self._ceiling)

    def start_at(self, now: float) -> float:
        """Return the moment at which the next attempt may start; ``now`` if at once."""
        rate = self.rate()
        due = self._next_start if rate is None else max(self._next_start, self._last_start + 1 / rate)
        return max(now, due)

    async def acquire(self) -> Any:
        """Wait until an attempt may start, after everybody who came before, and start it.

        Returns:
            Its permit, which `on_success` and `on_refusal` take as ``began``: the moment at which it was given.
        """
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
            return now

    def note_start(self, now: float) -> None:
        """Take note that an attempt starts."""
        if (rate := self._learned()) is not None:
            gap = 1 / rate
            self._is_binding = now < max(self._next_start, self._last_start + 2 * gap)
            if self._resumed_at is None:
                self._resumed_at = self._grown_at = now
                self._stall = max(0.0, now - self._refused_at - gap)
            elif (idle := now - self._last_start - gap) > _IDLE:
                self._resumed_at += idle  # nobody asked meanwhile, so that it shows nothing
        self._last_start = now
        self._starts.append(now)

    def hold(self, until: float) -> None:
        """Start no attempt before this moment."""
        self._next_start = max(self._next_start, until)

    def on_pause(self, seconds: float) -> None:
        """Take note of a pause of the session, which its calls keep by themselves."""

    def on_success(self, *, began: float, now: float) -> None:
        """Take note that the server accepted ``now`` an attempt that ``began`` then."""
        self.last_success = now
        if self._probed is None or (self._target is None and began <= self._refused_at):
            self._first.append(began)
        if self._probed is None:
            return
        self._quickest = min(self._quickest, now - began)
        if self._is_single:
            # As late as the answer is, the request may have arrived, and the next one must not follow it too closely.
            self._last_start = max(self._last_start, now - self._quickest)
        if began > self._refused_at:
            self._streak += self._is_binding
            if self._barren >= _FEW and self._known > _MUCH * (self._learned() or 0.0):
                self._probe_again(now)
            self._barren = 0
        if self._resumed_at is not None and began >= self._grown_at and now - self._grown_at >= _PROBE_STEP:
            accepted = self._streak / (began - self._resumed_at + 1 / self._probed)
            growth = _CAREFUL_GROWTH if self._stall > _PROBE_STALL else _PROBE_GROWTH
            self._probed = max(self._probed, min(growth * self._probed, _PROBE_LEAD * accepted))
            self._grown_at = now

    def on_refusal(self, *, began: float, now: float, pause: float = 0.0) -> bool:
        """Take note that the server answered ``now`` with 429 to an attempt that ``began`` then, and asks for a pause.

        What was sent before the latest refusal was known teaches nothing: it was sent at the old rate.

        A pause is for the whole session, with one exception: many servers round up to whole seconds what lasts a
        fraction of one. A pause of at most a second is for the refused attempt alone (RFC 9110, 10.2.3: its follow-up
        request), while the others go on slowly, unless the server then refuses the next one, too.

        Returns:
            Whether the pause is for the whole session.
        """
        if not self._learn:
            return True
        if began <= self._refused_at:
            self._note_empty(began)
            return self._is_for_all
        self.is_limiting = True
        self._is_for_all = not 0 < pause <= _ROUNDED or (began < self._excused_until and not self._streak)
        if self._probed is None or (self._is_guess and self._streak < _CLEAN):
            self._begin()
        else:
            self._follow(began)
        self._is_single = self._room(self._learned() or _PROBE_START) < 2  # noqa: PLR2004
        self._note_empty(began)
        self._streak = 0
        self._refused_at = now
        self._resumed_at = None
        self._last_start = max(self._last_start, now)
        if self._is_for_all:
            self.hold(now + pause)
        else:
            self._excused_until = now + pause
        return self._is_for_all

    def _note_empty(self, began: float) -> None:
        """Take note that the server's bucket was empty when the attempt arrived that began then."""
        if began > self._empty_at:
            self._empty_at = began
            while self._starts and self._starts[0] <= began:
                self._starts.popleft()

    def _learned(self) -> float | None:
        if self._target is None:
            return self._probed
        return self._target * (1 + self._depth * (self._streak / self._patience - 1) ** 3)

    def _begin(self) -> None:
        """Keep the rate that was accepted so far, where it is known; probe if that was the bucket's content."""
        self._probed = _PROBE_START
        self._is_guess = not self._is_guess and len(self._first) >= _CLEAN
        self._target = len(self._first) / max(self._first[-1] - self._first[0], 1e-6) if self._is_guess else None
        self._known = self._target or self._known

    def _probe_again(self, now: float) -> None:
        """Forget the rate to which an outage has led: after it, the server is likely to be as quick as before."""
        self._probed, self._target, self._known = min(_PROBE_START, self._known), None, 0.0
        self._resumed_at = self._grown_at = now

    def _follow(self, began: float) -> None:
        rate = self.rate() or _PROBE_START
        low, high = self._bounds(began, rate)
        if self._target is None:
            low = max(low, min(high, rate) / 2)  # that was accepted a moment ago
        if self._streak < _FEW:
            self._doubt = min(2 * self._doubt, 0.5)
            low = min(high, max(low, self._low * (1 - self._doubt)))
        else:
            self._doubt = _DOUBT
        self._barren = 0 if self._streak else self._barren + 1
        self._low, self._is_guess = low, False
        self._target = max(min(low + _TRUST * max(0.0, high - low), rate * (1 - _CUT)), _LOWEST)
        if self._streak >= _CLEAN:
            self._known = self._target
        width = (high - low) / 2 / self._target
        if width > _UNSURE + _UNSURE_PER_SECOND * self._stall:
            self._depth = min(_LARGEST_DEPTH, width)
            self._patience = min(_CLEAN, max(1.0, _SECONDS / 3 * self._target))
        else:
            self._depth = _DEPTH
            self._patience = (
                _CLEAN * (1 if self._streak < _CLEAN else 2) + _SECONDS * (self._stall + _LEAST_STALL) * self._target
            )

    def _bounds(self, began: float, rate: float) -> tuple[float, float]:
        """Return between which rates the server's bucket fills: it was empty, then accepted all attempts but this one.

        When it was last empty, it held less than one token.
        """
        starts = [start for start in self._starts if start <= began]
        low_accepted, high_accepted = low_refused, high_refused = 0.0, 2 * rate
        for _ in range(_HALVINGS):
            guess = (low_accepted + high_accepted) / 2
            if self._tokens(guess, starts, 1.0)[0] >= 1 - _TOLERANCE:
                high_accepted = guess
            else:
                low_accepted = guess
            guess = (low_refused + high_refused) / 2
            if self._tokens(guess, starts, 0.0)[1] < 1:
                low_refused = guess
            else:
                high_refused = guess
        return high_accepted, low_refused

    def _room(self, rate: float) -> float:
        """Return how many requests the server's bucket holds, as far as it has shown, if it fills at this rate."""
        room = level = 1.0
        before = float("-inf")
        for start in self._first:
            level = max(0.0, level - rate * (start - before)) + 1
            before = start
            room = max(room, level)
        return room

    def _tokens(self, rate: float, starts: list[float], left: float) -> tuple[float, float]:
        """Return the fewest tokens that an accepted attempt found, if this is the rate, and what the last one found."""
        room = self._room(rate)
        tokens, at = left, self._empty_at
        if len(self._starts) == _STARTS:  # the first ones are forgotten
            tokens, at, starts = room / 2, starts[0], starts[1:]
        fewest = found = 1.0
        for start in starts:
            fewest = min(fewest, found)
            found = min(room, tokens + rate * (start - at))
            tokens, at = found - 1, start
        return fewest, found


class SharedRateLimiter(RateLimiter):
    """Ask a rate that other sessions share, and tell it what the server answers; learn nothing here.

    Args:
        shared: the rate. It keeps the order of those who ask.
        clock: time.
    """

    def __init__(self, shared: SharedRate, *, clock: Clock) -> None:
        super().__init__(shared.acquire, learn=False, clock=clock)
        self._shared = shared

    async def acquire(self) -> Any:
        """Wait until an attempt may start. Return the permit that the shared rate gives."""
        return await self._shared.acquire()

    def on_pause(self, seconds: float) -> None:
        """Tell the others of a pause of the session."""
        self._shared.on_pause(seconds)

    def on_success(self, *, began: Any, now: float) -> None:
        """Tell the others that the server accepted the attempt whose permit is ``began``."""
        self.last_success = now
        self._shared.on_success(began)

    def on_refusal(self, *, began: Any, now: float, pause: float = 0.0) -> bool:  # noqa: ARG002 - they have their own
        """Tell the others of a 429. Its pause is for this attempt alone: theirs is for the shared rate to decide."""
        self._shared.on_refusal(began, pause)
        return False


class LearnedRate:
    """One rate for several sessions of one event loop, learned from the 429s of all of them; a `SharedRate`.

    Args:
        requests_per_second: the highest rate; None: as many as the server accepts.
        clock: time and waiting.

    Attributes:
        permits: how many attempts it has let start.
        refusals: how many of them the server answered with 429.
    """

    def __init__(self, requests_per_second: float | None = None, *, clock: Clock = Clock()) -> None:
        self._limiter = RateLimiter(requests_per_second, clock=clock)
        self._clock = clock
        self._paused_until = float("-inf")
        self.permits = 0
        self.refusals = 0

    @property
    def requests_per_second(self) -> float | None:
        """Return the rate at this moment, set or learned; None: there is no limit."""
        return self._limiter.rate()

    @property
    def paused_for(self) -> float:
        """Return the seconds until the end of a pause that the server asked for; 0 without one."""
        return max(0.0, self._paused_until - self._clock.time())

    async def acquire(self) -> float:
        """Wait until an attempt may start, after everybody who came before.

        Returns:
            Its permit: the moment at which it was given, in seconds of the clock of this rate.
        """
        permit: float = await self._limiter.acquire()
        self.permits += 1
        return permit

    def on_success(self, permit: float, /) -> None:
        """Take note that the server accepted the attempt of this permit."""
        self._limiter.on_success(began=permit, now=self._clock.time())

    def on_refusal(self, permit: float, pause: float, /) -> None:
        """Take note of a 429 to the attempt of this permit; ``pause``: the seconds of its Retry-After, 0 without."""
        now = self._clock.time()
        self.refusals += 1
        if self._limiter.on_refusal(began=permit, now=now, pause=pause):
            self._paused_until = max(self._paused_until, now + pause)

    def on_pause(self, seconds: float, /) -> None:
        """Start no attempt for so many seconds, because the server asked for it."""
        self._paused_until = max(self._paused_until, self._clock.time() + seconds)
        self._limiter.hold(self._paused_until)


_PROBE_START: Final = 8.0  # requests a second
_PROBE_GROWTH: Final = 2.0
_CAREFUL_GROWTH: Final = 1.25
_PROBE_STALL: Final = 0.5  # seconds, from which on the growth is careful
_PROBE_STEP: Final = 0.05  # seconds
_IDLE: Final = 0.2  # seconds without an attempt, although one was allowed
_PROBE_LEAD: Final = 2.5  # times the rate that was accepted so far
_ROUNDED: Final = 1.0  # seconds
_DEPTH: Final = 0.02
_LARGEST_DEPTH: Final = 0.3
_UNSURE: Final = 0.05  # half the distance of the bounds, as a share of the rate
_UNSURE_PER_SECOND: Final = 0.03
_SECONDS: Final = 30.0  # of patience for each second that a refusal stops everything
_LEAST_STALL: Final = 0.06
_CUT: Final = 0.01
_FEW: Final = 3  # accepted attempts, which tell little
_DOUBT: Final = 0.02
_MUCH: Final = 3  # times as quick
_CLEAN: Final = 30  # accepted attempts since the latest refusal
_STARTS: Final = 512
_HALVINGS: Final = 10
_TOLERANCE: Final = 0.05  # tokens; answers do not take equally long
_TRUST: Final = 0.4
_LOWEST: Final = 1 / 30  # requests a second


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
