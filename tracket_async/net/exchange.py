"""The token call: made past the gate, repeated when the network or the server fails, its failure told to whoever waits.

It is a POST that may be repeated: a token that was made and never seen harms nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from tracket_async.api.request import Request
from tracket_async.errors import RequestError
from tracket_async.net.call import Call
from tracket_async.net.deadline import send_in_time
from tracket_async.net.secret import NO_SECRET
from tracket_async.net.token import Token, read_token, token_error
from tracket_async.net.transport import Transport
from tracket_async.net.world import World

if TYPE_CHECKING:
    from tracket_async.net.retry import Repeater
    from tracket_async.net.telling import Telling


@attrs.define(eq=False)
class TokenExchange:
    """Makes the token calls of one session.

    Attributes:
        transport: sends.
        repeater: repeats, from a budget of its own, so that an outage of the API does not keep a token from being
            fetched.
        deadline: seconds for a token call with its repetitions, None for no end; its callers have their own.
        telling: told of each new token; None: nobody.
        world: the wall clock, for a Retry-After that is a date.
        fetched: how many tokens there were so far.
    """

    transport: Transport
    repeater: Repeater
    deadline: float | None
    telling: Telling | None
    world: World
    fetched: int = 0

    async def __call__(self, request: Request) -> Token:
        """Fetch a token.

        Raises:
            RequestError: of the last attempt; ``maybe_sent`` is False, as it is about the call that needed the token.
        """
        clock = self.repeater.clock
        began = clock()
        call = Call(
            request=request,
            number=0,
            began=began,
            deadline=None if self.deadline is None else began + self.deadline,
            attempts_allowed=self.repeater.policy.attempts,
            repeatable=True,
        )
        try:
            token = await self._fetch(call)
        except RequestError as error:
            call.explain(error)
            error.add(maybe_sent=False)
            raise
        self.fetched += 1
        if self.telling is not None:
            self.telling.token_refreshed(duration=clock() - began, expires_in=token.told)
        return token

    async def _fetch(self, call: Call) -> Token:
        try:
            return await self._attempt(call)
        except RequestError as error:
            first = error
        return await self.repeater.go_on(call, first, lambda: self._attempt(call), scheduled=_ignore)

    async def _attempt(self, call: Call) -> Token:
        call.attempts += 1
        response = await send_in_time(self.transport, call, NO_SECRET, clock=self.repeater.clock)
        error = token_error(response, now=self.world.now())
        if error is not None:
            raise error
        return read_token(response)


def _ignore(_error: RequestError, _delay: float) -> None:
    """The repetitions of the token call are no events: they belong to no call."""
