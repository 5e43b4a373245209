"""Make one attempt of a call: slot -> pause -> rate -> authorization -> transport -> status -> parse.

- A call that waits for a pause gives its slot back, so that a pause does not look like work. A call that waits for the
  rate keeps it, so that attempts leave the queue as evenly as they are sent.
- Every attempt is paced with its slot and not before: what has queued there would otherwise leave it in one burst.
- A 429 slows the whole session down to the rate that the server accepts; a 429 or 503 with Retry-After pauses it, or
  the refused call alone (`RateLimiter.on_refusal`).
- An answer with ``RateLimit-Remaining: 0`` pauses the session until the Reset. No call fails because of it: deadlines
  move by as much.
- A 429 is answered here, too, where the call may wait for the rate: it waits for its turn and is sent again.
- A 401 is answered here, with one refresh and one replay that takes a slot of its own: it is no failure yet, and costs
  no retry budget. A second 401 raises.
- An answer to another request, which a server or proxy has sent unasked, is answered by one replay over a connection
  that was not idle (RFC 9112, 9.2).
- The deadline is a moment that bounds every wait, and no timer: a call that waits for nothing sets none.
- No event is made when nobody listens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import attrs

from tracket_async._http.auth import Authorizer
from tracket_async._http.limits import Clock, ConcurrencyLimiter, RateLimiter, ServerPause
from tracket_async._http.messages import NO_AUTHORIZATION, Request, Response, Secret
from tracket_async._http.responses import REMAINING_HEADERS, error_for, excerpt, is_broken_json, request_id, reset_in
from tracket_async._http.transport import Transport
from tracket_async.config import RetryPolicy
from tracket_async.errors import (
    LIMITED,
    AttemptTimeoutError,
    ConnectError,
    DeadlineExceededError,
    MismatchedResponseError,
    NotFoundError,
    RequestError,
    UnreadableResponseError,
)
from tracket_async.events import AttemptEnded, AttemptStarted, EventDispatcher, SessionPaused

T = TypeVar("T")

UNAUTHORIZED: Final = 401
NOT_FOUND: Final = 404
_BEGINNING: Final = 200
"""So many bytes, and the length, tell whether two answers that are broken JSON are the same."""
OVERLOADED: Final = 503

_LONGEST_ADVISORY_PAUSE: Final = 60.0  # seconds


@attrs.define(eq=False)
class Call:
    """The state of one call: the only mutable object that travels with it.

    Attributes:
        request: what is to be sent.
        number: which call of the session it is, from 1.
        began: when it entered, a moment of the session's clock in seconds.
        timeout: seconds that it may take in all, None for no limit.
        max_attempts: how many attempts it may take.
        idempotent: whether sending it twice has the effect of sending it once.
        attempts: how many attempts there were, a replay after a 401 included.
        maybe_done: whether an attempt that failed may have taken effect nevertheless.
        replayed: whether it was sent again after a 401.
        broken: length and beginning of the latest answer that was broken JSON; None: there was none.
        mismatched: whether it was sent again after the answer to another request.
        retry_cost: the tokens that its latest retry took from the retry budget.
        status: of the latest answer, None without one.
        authorization: the header that was sent last.
        wait_for_rate: see ``CallOptions.wait_for_rate``.
        resume_at: the moment from which the server wants to see this call again; other calls may go on.
    """

    request: Request
    number: int
    began: float
    timeout: float | None
    max_attempts: int
    idempotent: bool
    attempts: int = 0
    maybe_done: bool = False
    replayed: bool = False
    broken: tuple[int, bytes] | None = None
    mismatched: bool = False
    retry_cost: int = 0
    status: int | None = None
    authorization: Secret = NO_AUTHORIZATION
    wait_for_rate: bool = False
    resume_at: float = float("-inf")
    deadline: float | None = attrs.field(init=False)  # the moment at which it must be over
    _waiting: asyncio.Timeout | None = attrs.field(init=False, default=None)  # while it is `within` something

    def __attrs_post_init__(self) -> None:
        self.deadline = None if self.timeout is None else self.began + self.timeout

    @property
    def labels(self) -> dict[str, Any]:
        """Return what every event of the call has."""
        return {"request": self.number, "method": self.request.method, "route": self.request.route}

    def time_left(self, now: float) -> float | None:
        """Return the seconds to its deadline, None without one.

        Raises:
            DeadlineExceededError: there are none.
        """
        if self.deadline is None:
            return None
        if now >= self.deadline:
            raise self.deadline_error("waiting for its turn", maybe_sent=False)
        return self.deadline - now

    async def within(self, waiting: Awaitable[T], *, clock: Clock, doing: str) -> T:
        """Wait, but not past its deadline.

        Raises:
            DeadlineExceededError: it has come, while ``doing`` this; nothing was sent meanwhile.
        """
        if self.deadline is None:
            return await waiting
        timeout = self._waiting = asyncio.timeout(max(0.0, self.deadline - clock.time()))
        try:
            async with timeout:
                return await waiting
        except TimeoutError:
            # What is awaited may raise a TimeoutError of its own.
            if not timeout.expired():
                raise
        finally:
            self._waiting = None
        raise self.deadline_error(doing, maybe_sent=False)

    def extend(self, seconds: float) -> None:
        """Move its deadline: it waits, or has waited, for the server's rate, which is not its fault."""
        if self.deadline is not None:
            self.deadline += seconds
            if self._waiting is not None and (when := self._waiting.when()) is not None:
                self._waiting.reschedule(when + seconds)

    def in_time(self, error: RequestError, now: float) -> RequestError:
        """Return the error of an attempt, or that of the deadline if that is what ended the attempt.

        A millisecond early counts, as timers have that much slack.
        """
        if self.deadline is None or now < self.deadline - 0.001:
            return error
        doing = "waiting for the answer" if error.maybe_sent else "making a connection"
        return self.deadline_error(doing, maybe_sent=error.maybe_sent)

    def deadline_error(self, doing: str, *, maybe_sent: bool) -> DeadlineExceededError:
        """Create the error for a deadline that has come while ``doing`` this."""
        return DeadlineExceededError(
            f"The call was not done within {self.timeout:g} s: its time ran out while {doing}", maybe_sent=maybe_sent
        )

    def explain(self, error: RequestError) -> None:
        """Add to the error that ends the call what is known here and is not in it yet."""
        error.add(maybe_sent=error.maybe_sent or self.maybe_done, maybe_done=self.maybe_done)
        if not error.method:
            error.add(method=self.request.method, path=self.request.path)
        if not error.attempts:
            error.add(attempts=self.attempts)


class Attempt:
    """Make the attempts of one session, one for each `run`.

    Args:
        transport: sends.
        authorizer: knows the Authorization header.
        limiter: gives out slots.
        pause: of the session, when the server has asked for one.
        rate_limiter: what each attempt awaits with its slot while a rate is set or learned.
        policy: which pauses are too long, and the jitter after a pause, so that not all calls go on at once.
        dispatcher: of the session's events; None: nobody listens.
        clock: time, waiting and chance.

    Attributes:
        made: how many attempts there were.
    """

    def __init__(
        self,
        transport: Transport,
        authorizer: Authorizer,
        *,
        limiter: ConcurrencyLimiter,
        pause: ServerPause,
        rate_limiter: RateLimiter,
        policy: RetryPolicy,
        dispatcher: EventDispatcher | None,
        clock: Clock,
    ) -> None:
        self._transport = transport
        self._authorizer = authorizer
        self._limiter = limiter
        self._pause = pause
        self._rate_limiter = rate_limiter
        self._policy = policy
        self._dispatcher = dispatcher
        self._clock = clock
        self.made = 0

    async def run(self, call: Call, parse: Callable[[Response], T]) -> T:
        """Make one attempt.

        Returns:
            What ``parse`` makes of a 2xx. A 404 on a DELETE, an earlier attempt of which may have taken effect, counts
            as 204.

        Raises:
            RequestError: it failed. No secret is in it.
        """
        parsed: Response | None = None
        try:
            while True:
                response, error = await self._send(call)
                if error is not None:
                    if self._is_sent_again(call, error):
                        continue
                    raise error
                try:
                    parsed = response
                    return parse(response)
                except UnreadableResponseError as unreadable:
                    if is_broken_json(response.body):
                        # An HTML page may be that of a maintenance, which passes. Cursors may be fresh each time.
                        before, call.broken = call.broken, (len(response.body), response.body[:_BEGINNING])
                        unreadable.add(came_twice=before == call.broken)
                    raise
                except MismatchedResponseError:
                    if call.mismatched or not call.idempotent:
                        raise
                    call.mismatched, parsed = True, None
                    self._transport.drop_idle()
        except RequestError as failure:
            call.maybe_done = call.maybe_done or failure.is_ambiguous
            self._clean(failure, call, parsed)
            raise

    async def _send(self, call: Call) -> tuple[Response, RequestError | None]:
        clock, dispatcher = self._clock, self._dispatcher
        queued = began = clock.time()
        permit: Any = None
        if self._rate_limiter.is_limiting or self._pause.remaining(queued) or not self._limiter.try_acquire():
            if call.wait_for_rate:
                permit = await self._wait_for_slot(call)
                began = clock.time()
                call.extend(began - queued)
            else:
                permit = await call.within(self._wait_for_slot(call), clock=clock, doing="waiting for its turn")
                began = clock.time()
        waited = began - queued
        try:
            authorization = self._authorizer.get(began)
            if authorization is None:
                refresh = self._authorizer.refresh()
                authorization = await call.within(refresh, clock=clock, doing="waiting for an access token")
                began = clock.time()
            seconds = call.time_left(began)
            call.authorization = authorization
            call.attempts += 1
            self.made += 1
            if dispatcher is not None:
                dispatcher.dispatch(AttemptStarted(**call.labels, attempt=call.attempts, waited=waited))
            status: int | None = None
            problem: type[BaseException] | None = None
            try:
                try:
                    response = await self._transport.send(call.request, authorization, seconds=seconds)
                except (AttemptTimeoutError, ConnectError) as error:
                    raise call.in_time(error, clock.time()) from None
                response, failure = self._classify(call, response, began, began if permit is None else permit)
                status, problem = response.status, None if failure is None else type(failure)
            except BaseException as error:
                problem = type(error)
                raise
            finally:
                if dispatcher is not None:
                    duration, named = clock.time() - began, None if problem is None else problem.__name__
                    dispatcher.dispatch(
                        AttemptEnded(
                            **call.labels, attempt=call.attempts, duration=duration, status=status, error=named
                        )
                    )
            return response, failure
        finally:
            self._limiter.release()

    async def _wait_for_slot(self, call: Call) -> Any:
        """Wait for a slot, while there is no pause, and for the rate. Return the permit of the rate; None without one.

        Raises:
            RateLimitedError, ServerError: the server has asked for a pause that is longer than the call may take.
            ClientStateError: the session was closed.
        """
        if (pause := call.resume_at - self._clock.time()) > 0:
            await self._clock.sleep(pause)
        permit = None
        while True:
            await self._wait_for_pause(call)
            await self._limiter.acquire()
            # A pause may have begun while the call queued, and while it waited for the rate.
            if not self._pause.remaining(self._clock.time()):
                if self._rate_limiter.is_limiting:
                    try:
                        permit = await self._rate_limiter.acquire()
                    except BaseException:
                        self._limiter.release()
                        raise
                if not self._pause.remaining(self._clock.time()):
                    return permit
            self._limiter.release()

    async def _wait_for_pause(self, call: Call) -> None:
        clock = self._clock
        while pause := self._pause.remaining(now := clock.time()):
            seconds = pause + self._policy.jitter(pause) * clock.random()
            if call.deadline is not None and not call.wait_for_rate:
                if self._pause.is_advisory:
                    call.extend(seconds)
                elif now + pause > call.deadline:
                    raise self._pause.error(now)
            await clock.sleep(seconds)

    def _classify(
        self, call: Call, response: Response, began: float, permit: Any
    ) -> tuple[Response, RequestError | None]:
        """Return the answer and the error that it is, noted with the slot still held: the next attempt obeys it."""
        status = call.status = response.status
        now = self._clock.time()
        if status < 500 and status != LIMITED:  # noqa: PLR2004
            self._limiter.on_success()
            self._rate_limiter.on_success(began=permit, now=now)
            for name in REMAINING_HEADERS:
                if name in response.headers:
                    self._wait_for_reset(response, now)
                    break
        elif status == OVERLOADED:
            self._limiter.on_overload(began=began, now=now)
        if 200 <= status < 300:  # noqa: PLR2004
            return response, None
        request = call.request
        if status == NOT_FOUND and request.method == "DELETE" and call.maybe_done:
            return Response(204, response.headers, b""), None
        shown = response.scrubbed(self._scrubber(call))
        error = error_for(
            status, shown.headers, shown.body, method=request.method, path=request.path, now=self._clock.now()
        )
        if isinstance(error, NotFoundError) and (request.path == request.route or error.excerpt.startswith("<")):
            # Not an id is unknown, but the path: of a list, or to a proxy that answers with a page.
            error.add(hint="Tracket's API is not at this address; check TRACKET_BASE_URL")
        if status in (LIMITED, OVERLOADED) and error is not None:
            self._slow_down(call, error, status, permit=permit, now=now)
        return response, error

    def _slow_down(self, call: Call, error: RequestError, status: int, *, permit: Any, now: float) -> None:
        # A longer pause is for each call to fail on by itself: a nonsensical header must not close the session for a
        # year.
        pause = error.retry_after or 0.0
        if pause > self._policy.max_retry_after:
            pause = 0.0
        if status == LIMITED and not self._rate_limiter.on_refusal(began=permit, now=now, pause=pause):
            call.resume_at = now + pause + self._policy.jitter(pause) * self._clock.random()
            return
        if pause:
            self._rate_limiter.hold(now + pause)
            self._begin_pause(pause, status, now)

    def _wait_for_reset(self, response: Response, now: float) -> None:
        pause = reset_in(response.headers, now=self._clock.now()) or 0.0
        pause = min(pause, self._policy.max_retry_after, _LONGEST_ADVISORY_PAUSE)
        remaining = self._pause.remaining(now)
        # Several answers say the same in whole seconds: they do not move its end by the time between them.
        if pause > remaining + (1.0 if remaining else 0.0):
            self._begin_pause(pause, response.status, now)

    def _begin_pause(self, seconds: float, status: int, now: float) -> None:
        if self._pause.begin(seconds, status=status, now=now):
            self._rate_limiter.on_pause(seconds)
            if self._dispatcher is not None:
                self._dispatcher.dispatch(SessionPaused(seconds=seconds, status=status))

    def _is_sent_again(self, call: Call, error: RequestError) -> bool:
        """Return whether the call may be sent again at once, or when the rate allows it: it is no failure yet."""
        if error.status == UNAUTHORIZED and not call.replayed:
            call.replayed = self._authorizer.invalidate(call.authorization)
            return call.replayed
        if error.status != LIMITED or not call.wait_for_rate or not self._rate_limiter.is_limiting:
            return False
        if error.retry_after is not None and error.retry_after > self._policy.max_retry_after:
            return False
        idle = self._clock.time() - max(call.began, self._rate_limiter.last_success)
        return call.timeout is None or idle < call.timeout

    def _scrubber(self, call: Call) -> Callable[[str], str]:
        """Return what masks every secret that the call may have sent."""
        own = [Secret(value) for _, value in call.request.headers]

        def scrub(text: str) -> str:
            for secret in (*own, call.authorization):
                text = secret.scrub(text)
            return self._authorizer.scrub(text)

        return scrub

    def _clean(self, error: RequestError, call: Call, parsed: Response | None) -> None:
        """Remove what a server may have echoed from every text of the error, and name the answer that was parsed."""
        scrub = self._scrubber(call)
        if parsed is not None:
            shown = parsed.scrubbed(scrub)
            error.add(status=error.status or parsed.status, request_id=request_id(shown.headers))
            if error.excerpt:
                error.add(excerpt=excerpt(shown.body))

        def clean(value: object) -> object:
            return scrub(value) if isinstance(value, str) else value

        error.args = tuple(clean(value) for value in error.args)
        error.__dict__.update({name: clean(value) for name, value in error.__dict__.items()})
