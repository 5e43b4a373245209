"""What is known of one call while it is made: the only mutable thing that travels through the onion.

A call's deadline, put around whatever waits. Nothing here sets a timer for what need not wait.

When an attempt may go out: it has a place in the gate, the server has asked for no pause, and its pace allows it.

In that order. Who waits for a pause gives its place back, so that a pause does not look like work; who waits for the
pace keeps it, so that attempts leave the queue as evenly as they are sent.

One attempt of a call: its turn, its header, its answer, and what that answer means for the session.

    gate( pause -> pace -> auth -> transport ) -> status -> parse

A 401 is answered here, with one refresh and one replay that has a turn of its own: it is no failure yet, and costs no
budget.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeVar

import attrs

from tracket_async._http.auth import Authorizer
from tracket_async._http.limits import Clock, Gate, Pace, Pause
from tracket_async._http.messages import NO_SECRET, Request, Response, Secret
from tracket_async._http.responses import error_for, request_id
from tracket_async._http.transport import Transport
from tracket_async.config import RetryPolicy
from tracket_async.errors import AttemptTimeoutError, ConnectError, DeadlineExceededError, RequestError

if TYPE_CHECKING:
    from tracket_async.events import Telling


@attrs.define(eq=False)
class Call:
    """One call.

    Attributes:
        request: what is to be sent.
        number: which call of the session it is, from 1.
        began: when it entered, a moment of the session's clock in seconds.
        deadline: the moment at which it must be over, None for no such moment.
        attempts_allowed: how often it may be tried.
        repeatable: whether sending it twice has the effect of sending it once.
        attempts: how often it was sent, a replay after a 401 included.
        maybe_done: whether an attempt that failed may have taken effect nevertheless.
        replayed: whether it was sent again after a 401.
        cost: what its latest repetition took from the retry budget.
        status: of the latest answer, None without one.
        authorization: the header that was sent last.
    """

    request: Request
    number: int
    began: float
    deadline: float | None
    attempts_allowed: int
    repeatable: bool
    attempts: int = 0
    maybe_done: bool = False
    replayed: bool = False
    cost: int = 0
    status: int | None = None
    authorization: Secret = NO_SECRET

    def remaining(self, now: float) -> float | None:
        """Seconds to its deadline, at least 0; None without one."""
        return None if self.deadline is None else max(0.0, self.deadline - now)

    def overdue(self, now: float) -> bool:
        """Whether its deadline has come; a millisecond early counts, as timers have that much slack."""
        return self.deadline is not None and now >= self.deadline - 0.001

    def too_late(self, doing: str, *, maybe_sent: bool) -> DeadlineExceededError:
        """The error for a deadline that has come while ``doing`` this."""
        seconds = (self.deadline or 0.0) - self.began
        return DeadlineExceededError(
            f"The call was not done within {seconds:g} s: its time ran out while {doing}", maybe_sent=maybe_sent
        )

    def explain(self, error: RequestError) -> None:
        """Fill into the error that ends the call what is known here and is not in it yet."""
        error.add(maybe_sent=error.maybe_sent or self.maybe_done, maybe_done=self.maybe_done)
        if not error.method:
            error.add(method=self.request.method, path=self.request.path)
        if not error.attempts:
            error.add(attempts=self.attempts)


T = TypeVar("T")


async def within(call: Call, waiting: Awaitable[T], *, clock: Clock, doing: str) -> T:
    """Wait, but not past the call's deadline.

    Raises:
        DeadlineExceededError: it has come, while ``doing`` this; nothing was sent meanwhile.
    """
    timeout = asyncio.timeout(call.remaining(clock.time()))
    try:
        async with timeout:
            return await waiting
    except TimeoutError:
        # What is awaited may raise a TimeoutError of its own.
        if not timeout.expired():
            raise
    raise call.too_late(doing, maybe_sent=False)


async def send_in_time(transport: Transport, call: Call, authorization: Secret, *, clock: Clock) -> Response:
    """Send the call's request once, with what is left of its time.

    Raises:
        DeadlineExceededError: there was nothing left, or not enough.
        RequestError: as `Transport.send` does.
    """
    seconds = call.remaining(clock.time())
    if seconds == 0:
        raise call.too_late("waiting for its turn", maybe_sent=False)
    try:
        return await transport.send(call.request, authorization, seconds=seconds)
    except (AttemptTimeoutError, ConnectError) as error:
        if not call.overdue(clock.time()):
            raise
        maybe_sent = error.maybe_sent
    raise call.too_late("waiting for the answer" if maybe_sent else "making a connection", maybe_sent=maybe_sent)


class Turns:
    """Gives out the turns of one session.

    Args:
        gate, pause: of the session.
        pace: what each attempt awaits, None for nothing.
        jitter: seconds; who has waited for a pause goes on up to so much later, at random, so that not all come at
            once.
        clock: time, waiting and chance.
    """

    def __init__(
        self,
        gate: Gate,
        pause: Pause,
        pace: Pace | None,
        *,
        jitter: float,
        clock: Clock,
    ) -> None:
        self._gate = gate
        self._pause = pause
        self._pace = pace
        self._jitter = jitter
        self._clock = clock

    def at_once(self, now: float) -> bool:
        """Take a turn if there is nothing to wait for; `give_back` ends it. Returns whether there was one."""
        return self._pace is None and not self._pause.remaining(now) and self._gate.try_acquire()

    async def take(self, call: Call) -> None:
        """Wait for a turn; `give_back` ends it.

        Raises:
            DeadlineExceededError: the call's time ran out in the queue.
            RateLimitedError, ServerError: the server has asked for a pause that is longer than the call may take.
            ClientStateError: the session was closed.
        """
        await within(call, self._wait(call), clock=self._clock, doing="waiting for its turn")

    def give_back(self) -> None:
        """End a turn."""
        self._gate.release()

    async def _wait(self, call: Call) -> None:
        while True:
            await self._wait_for_pause(call)
            await self._gate.acquire()
            # A pause may have begun while the call queued.
            if not self._pause.remaining(self._clock.time()):
                break
            self._gate.release()
        if self._pace is not None:
            try:
                await self._pace()
            except BaseException:
                self._gate.release()
                raise

    async def _wait_for_pause(self, call: Call) -> None:
        while pause := self._pause.remaining(now := self._clock.time()):
            if call.deadline is not None and now + pause > call.deadline:
                raise self._pause.error(now)
            await self._clock.sleep(pause + self._jitter * self._clock.random())


UNAUTHORIZED: Final = 401
NOT_FOUND: Final = 404
OVERLOADED: Final = frozenset({429, 503})


class Attempts:
    """Makes the attempts of one session.

    Args:
        transport: sends.
        authorizer: knows the Authorization header.
        gate, pause: of the session.
        turns: gives out turns of that gate.
        policy: which pauses are too long to be kept.
        telling: told of each attempt; None: nobody.
        clock: time.
    """

    def __init__(
        self,
        transport: Transport,
        authorizer: Authorizer,
        *,
        gate: Gate,
        pause: Pause,
        turns: Turns,
        policy: RetryPolicy,
        telling: Telling | None,
        clock: Clock,
    ) -> None:
        self._transport = transport
        self._authorizer = authorizer
        self._gate = gate
        self._pause = pause
        self._turns = turns
        self._longest_pause = policy.max_retry_after
        self._telling = telling
        self._clock = clock
        self.made = 0

    async def make(self, call: Call, parse: Callable[[Response], T]) -> T:
        """Make one attempt.

        Returns:
            What ``parse`` makes of a 2xx. A 404 on a DELETE, an earlier attempt of which may have taken effect, counts
            as 204.

        Raises:
            RequestError: it failed. No secret is in it.
        """
        try:
            response, error = await self._exchange(call)
            if response.status == UNAUTHORIZED and not call.replayed and self._authorizer.refused(call.authorization):
                call.replayed = True
                response, error = await self._exchange(call)
            if error is not None:
                raise error
            return self._parsed(response, parse)
        except RequestError as failure:
            call.maybe_done = call.maybe_done or failure.is_ambiguous
            self._scrub(failure, call.authorization)
            raise

    async def _exchange(self, call: Call) -> tuple[Response, RequestError | None]:
        queued = began = self._clock.time()
        if not self._turns.at_once(queued):
            await self._turns.take(call)
            began = self._clock.time()
        try:
            authorization = self._authorizer.current(began)
            if authorization is None:
                renewal = self._authorizer.renew()
                authorization = await within(call, renewal, clock=self._clock, doing="waiting for an access token")
            call.authorization = authorization
            call.attempts += 1
            self.made += 1
            if self._telling is not None:
                return await self._observed(call, self._telling, waited=began - queued)
            began = self._clock.time()
            response = await send_in_time(self._transport, call, authorization, clock=self._clock)
            return self._judged(call, response, began)
        finally:
            self._turns.give_back()

    def _judged(self, call: Call, response: Response, began: float) -> tuple[Response, RequestError | None]:
        """What an answer is, noted while the turn lasts, so that the next one already obeys it."""
        status = call.status = response.status
        if status in OVERLOADED:
            self._gate.overloaded(began=began, now=self._clock.time())
        elif status < 500:  # noqa: PLR2004
            self._gate.succeeded()
        if 200 <= status < 300:  # noqa: PLR2004
            return response, None
        request = call.request
        if status == NOT_FOUND and request.method == "DELETE" and call.maybe_done:
            return Response(204, response.headers, b""), None
        error = error_for(
            status, response.headers, response.body, method=request.method, path=request.path, now=self._clock.now()
        )
        if error is not None and error.retry_after is not None and status in OVERLOADED:
            self._begin_pause(error.retry_after, status)
        return response, error

    def _begin_pause(self, seconds: float, status: int) -> None:
        # A longer one is for each call to fail on by itself: a nonsensical header must not close the session for a
        # year.
        if (
            seconds <= self._longest_pause
            and self._pause.begin(seconds, status=status, now=self._clock.time())
            and self._telling is not None
        ):
            self._telling.paused(seconds=seconds, status=status)

    async def _observed(self, call: Call, telling: Telling, *, waited: float) -> tuple[Response, RequestError | None]:
        attempt = call.attempts
        telling.attempt_started(call, waited=waited)
        began = self._clock.time()
        status: int | None = None
        problem: str | None = None
        try:
            response = await send_in_time(self._transport, call, call.authorization, clock=self._clock)
            response, failure = self._judged(call, response, began)
            status, problem = response.status, None if failure is None else type(failure).__name__
        except BaseException as error:
            problem = type(error).__name__
            raise
        else:
            return response, failure
        finally:
            telling.attempt_ended(
                call, attempt=attempt, duration=self._clock.time() - began, status=status, error=problem
            )

    def _parsed(self, response: Response, parse: Callable[[Response], T]) -> T:
        try:
            return parse(response)
        except RequestError as error:
            if error.status is None:
                error.add(status=response.status)
            error.add(request_id=request_id(response.headers))
            raise

    def _scrub(self, error: RequestError, authorization: Secret) -> None:
        """Remove what a server may have echoed from every text of the error."""

        def clean(value: object) -> object:
            return self._authorizer.scrub(authorization.scrub(value)) if isinstance(value, str) else value

        error.args = tuple(clean(value) for value in error.args)
        error.__dict__.update({name: clean(value) for name, value in error.__dict__.items()})
