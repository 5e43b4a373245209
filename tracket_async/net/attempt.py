"""One attempt of a call: its turn, its header, its answer, and what that answer means for the session.

    gate( pause -> pace -> auth -> transport ) -> status -> parse

A 401 is answered here, with one refresh and one replay that has a turn of its own: it is no failure yet, and costs no
budget.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from tracket_async.api.request import Response
from tracket_async.api.status import error_for, request_id
from tracket_async.errors import RequestError
from tracket_async.net.auth import Authorizer
from tracket_async.net.call import Call
from tracket_async.net.deadline import send_in_time, within
from tracket_async.net.gate import Gate
from tracket_async.net.pause import Pause
from tracket_async.net.repeatable import is_ambiguous
from tracket_async.net.secret import Secret
from tracket_async.net.settings import RetryPolicy
from tracket_async.net.transport import Transport
from tracket_async.net.turn import Turns
from tracket_async.net.world import Clock, World

if TYPE_CHECKING:
    from tracket_async.net.telling import Telling

T = TypeVar("T")

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
        world: the wall clock, for a Retry-After that is a date.
        clock: monotonic, seconds.
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
        world: World,
        clock: Clock,
    ) -> None:
        self._transport = transport
        self._authorizer = authorizer
        self._gate = gate
        self._pause = pause
        self._turns = turns
        self._longest_pause = policy.max_retry_after
        self._telling = telling
        self._world = world
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
            call.maybe_done = call.maybe_done or is_ambiguous(failure)
            self._scrub(failure, call.authorization)
            raise

    async def _exchange(self, call: Call) -> tuple[Response, RequestError | None]:
        queued = began = self._clock()
        if not self._turns.at_once(queued):
            await self._turns.take(call)
            began = self._clock()
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
            began = self._clock()
            response = await send_in_time(self._transport, call, authorization, clock=self._clock)
            return self._judged(call, response, began)
        finally:
            self._turns.give_back()

    def _judged(self, call: Call, response: Response, began: float) -> tuple[Response, RequestError | None]:
        """What an answer is, noted while the turn lasts, so that the next one already obeys it."""
        status = call.status = response.status
        if status in OVERLOADED:
            self._gate.overloaded(began=began, now=self._clock())
        elif status < 500:  # noqa: PLR2004
            self._gate.succeeded()
        if 200 <= status < 300:  # noqa: PLR2004
            return response, None
        request = call.request
        if status == NOT_FOUND and request.method == "DELETE" and call.maybe_done:
            return Response(204, response.headers, b""), None
        error = error_for(
            status, response.headers, response.body, method=request.method, path=request.path, now=self._world.now()
        )
        if error is not None and error.retry_after is not None and status in OVERLOADED:
            self._begin_pause(error.retry_after, status)
        return response, error

    def _begin_pause(self, seconds: float, status: int) -> None:
        # A longer one is for each call to fail on by itself: a nonsensical header must not close the session for a
        # year.
        if (
            seconds <= self._longest_pause
            and self._pause.begin(seconds, status=status, now=self._clock())
            and self._telling is not None
        ):
            self._telling.paused(seconds=seconds, status=status)

    async def _observed(self, call: Call, telling: Telling, *, waited: float) -> tuple[Response, RequestError | None]:
        attempt = call.attempts
        telling.attempt_started(call, waited=waited)
        began = self._clock()
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
            telling.attempt_ended(call, attempt=attempt, duration=self._clock() - began, status=status, error=problem)

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
