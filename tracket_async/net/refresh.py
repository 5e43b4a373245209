"""One access token for many callers: fetched by whoever needs it first, once, and by nobody twice.

The fetch is a task of its own: a caller that is cancelled leaves it to the others. A 401 makes a token stale only
if it is still the current one; who comes late with an older one finds the new one.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable

from tracket_async.errors import ClientStateError, RequestError
from tracket_async.net.secret import Secret
from tracket_async.net.token import Token


class TokenKeeper:
    """Keeps the current token of one session. Of one event loop; not thread-safe.

    Args:
        fetch: makes the token call, with whatever repeating it needs.
        secret: the client secret, to be scrubbed from texts.
        clock: monotonic, seconds.
    """

    def __init__(self, fetch: Callable[[], Awaitable[Token]], *, secret: Secret, clock: Callable[[], float]) -> None:
        self._fetch = fetch
        self._secret = secret
        self._clock = clock
        self._authorization: Secret | None = None
        self._stale_at = float("-inf")
        self._flight: asyncio.Task[Secret] | None = None
        self._closed = False

    def current(self, now: float) -> Secret | None:
        """The header, None when there is none that is fresh."""
        return self._authorization if now < self._stale_at else None

    async def renew(self) -> Secret:
        """A new header.

        Raises:
            RequestError: it cannot be had; each caller gets an exception of its own.
            ClientStateError: the session was closed meanwhile.
        """
        if self._closed:
            raise _closed()
        if self._flight is None:
            self._flight = asyncio.create_task(self._fly(), name="tracket_async token refresh")
            self._flight.add_done_callback(self._landed)
        flight = self._flight
        failure: RequestError | ClientStateError
        try:
            return await asyncio.shield(flight)
        except RequestError as error:
            failure = copy.copy(error)
        except asyncio.CancelledError:
            # `close` cancels the flight. Nobody has cancelled its callers, so they must not end as if somebody had.
            if not flight.cancelled() or not self._is_closed():
                raise
            failure = _closed()
        raise failure

    def refused(self, authorization: Secret) -> bool:
        """Take note that the server does not accept this header (any more)."""
        if authorization is self._authorization:
            self._stale_at = float("-inf")
        return True

    def scrub(self, text: str) -> str:
        """The text without the client secret and the current token."""
        text = self._secret.scrub(text)
        return text if self._authorization is None else self._authorization.scrub(text)

    async def close(self) -> None:
        """Give up a fetch in progress."""
        self._closed = True
        flight = self._flight
        if flight is not None:
            flight.cancel()
            await asyncio.wait([flight])

    def _is_closed(self) -> bool:
        return self._closed

    async def _fly(self) -> Secret:
        began = self._clock()  # a token's life begins, at the earliest, when it is asked for
        token = await self._fetch()
        self._authorization = token.authorization
        self._stale_at = began + token.fresh_for
        return token.authorization

    def _landed(self, flight: asyncio.Task[Secret]) -> None:
        self._flight = None
        if not flight.cancelled():
            flight.exception()  # so that asyncio does not complain when every caller has gone


def _closed() -> ClientStateError:
    return ClientStateError("The client was closed while this call was in progress")
