"""Authorize requests: a token that is given, or client credentials that are exchanged for one (API 2.0).

A credential (`BearerToken`, `ClientCredentials`) is checked at once, shows no secret, and may serve several sessions.
The current access token belongs to one session and lives in its `Authorizer`.

`TokenCache` fetches a token once for all concurrent callers. The fetch is a task of its own: a caller that is cancelled
leaves it to the others. A 401 invalidates a token only if it is still the current one; a caller that comes late with an
older one finds the new one.

The request's keys are the vendor's own; the answer is read as RFC 6749, 5.1 and 5.2, as far as it follows them.
"""

from __future__ import annotations

import asyncio
import copy
import datetime as dt
import math
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import attrs
import msgspec

from tracket_async._http.limits import Clock
from tracket_async._http.messages import NO_AUTHORIZATION, Request, Response, Secret, header_text
from tracket_async._http.responses import error_for, request_id
from tracket_async._tasks import is_async
from tracket_async.errors import (
    AuthenticationError,
    ClientStateError,
    ConfigurationError,
    MalformedResponseError,
    NotFoundError,
    RequestError,
    UnreadableResponseError,
)

TOKEN_PATH: Final = "/api/2.0/oauth2/token"  # noqa: S105 - a path
DEFAULT_LIFETIME: Final = 3600.0
"""The lifetime of a token in seconds when the answer does not say it: that of the vendor's page."""

_LONGEST_LIFETIME: Final = 10 * 365 * 86_400.0
_REFUSALS: Final = frozenset({400, 401, 403})
_CODES: Final = frozenset(
    {
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
    }
)


@attrs.frozen
class Token:
    """An access token.

    Attributes:
        authorization: the header that carries it.
        expires_in: seconds as the server said, None if it did not, or not in a way that makes sense.
    """

    authorization: Secret
    expires_in: float | None

    @property
    def fresh_for(self) -> float:
        """Return the seconds after which to fetch a new one: a minute or a tenth before its end, whichever is more.

        Of a token that lives for less than two minutes half its life is used, as otherwise it would be stale at once.
        """
        margin = max(60.0, 0.1 * self.lifetime)
        return self.lifetime - min(margin, self.lifetime / 2)

    @property
    def lifetime(self) -> float:
        """Return its seconds, supposed where the server did not say them."""
        return DEFAULT_LIFETIME if self.expires_in is None else self.expires_in


def _header(value: str | Secret) -> Secret:
    text = header_text("The Authorization header", value.reveal() if isinstance(value, Secret) else value)
    scheme, space, token = text.rpartition(" ")
    return Secret(token, prefix=scheme + space)


@attrs.frozen
class AccessToken:
    """An access token on its way from one process to another.

    Attributes:
        authorization: the value of the header that carries it, ``Bearer abc`` say. Kept as a `Secret`; ``reveal()``
            returns the text.
        expires_in: seconds that are left of it; None: not known.
        serial: which one it is of those that its owner has handed out. Of a token that the server refuses, this is what
            tells its owner whether it is still the current one.

    Raises:
        ConfigurationError: the header is empty, or contains what no header may contain.
    """

    authorization: Secret = attrs.field(converter=_header, repr=False)
    expires_in: float | None = None
    serial: int = 0


def token_request(client_id: str, client_secret: Secret, account_id: str) -> Request:
    """Create the call that fetches a token."""
    body = {
        "grant-type": "client-credentials",
        "monday/account-id": account_id,
        "client-id": client_id,
        "client-secret": client_secret.reveal(),
    }
    return Request("POST", TOKEN_PATH, TOKEN_PATH, body=msgspec.json.encode(body))


def token_error(response: Response, *, now: dt.datetime) -> RequestError | None:
    """Return the error that an answer is, None of one with a token.

    Some servers refuse with a 200 and the body of RFC 6749, 5.2. The body is not kept: it may echo what was sent.
    """
    error = error_for(response.status, response.headers, b"", method="POST", path=TOKEN_PATH, now=now)
    if error is None:
        content = _content(response.body) or {}
        if not content.get("error") or content.get("access_token"):
            return None
    elif response.status not in _REFUSALS:
        if isinstance(error, NotFoundError):
            error.add(hint="Tracket's API is not at this address; check TRACKET_BASE_URL")
        return error
    code = _code(response.body)
    return AuthenticationError(
        "The client credentials are refused" + (f" ({code})" if code else ""),
        status=response.status,
        method="POST",
        path=TOKEN_PATH,
        request_id=request_id(response.headers),
        hint="Check TRACKET_CLIENT_ID, TRACKET_CLIENT_SECRET and TRACKET_ACCOUNT_ID",
    )


def read_token(response: Response) -> Token:
    """Read the token in an answer.

    Raises:
        UnreadableResponseError: the body is not JSON.
        MalformedResponseError: it has no usable ``access_token``.
    """
    content = _content(response.body)
    if content is None:
        raise UnreadableResponseError("The answer to the token call is not JSON", status=response.status)
    try:
        token = header_text("access_token", content.get("access_token"))
    except ConfigurationError:
        token = ""
    if not token:
        raise MalformedResponseError(
            "The answer to the token call has no usable access token",
            json_path="$.access_token",
            status=response.status,
        )
    return Token(Secret(token, prefix="Bearer "), _seconds(content.get("expires_in")))


def _content(body: bytes) -> dict[str, Any] | None:
    """Return the object that a body is; an empty one for other JSON, None for what is not JSON."""
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.ValidationError:
        return {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _code(body: bytes) -> str:
    """Return the error code of RFC 6749, 5.2; only one that stands there, as anything else could be an echo."""
    code = (_content(body) or {}).get("error")
    return code if isinstance(code, str) and code in _CODES else ""


def _seconds(value: Any) -> float | None:
    """Read a lifetime in seconds: a number, or its text, as some servers write it."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    return min(seconds, _LONGEST_LIFETIME) if math.isfinite(seconds) and seconds > 0 else None


FetchToken = Callable[[int | None], Awaitable[AccessToken]]
"""Returns the current token of an owner, a new one if the one that was refused, by its serial, is the current one."""
Exchange = Callable[[Request], Awaitable[Token]]
"""Makes a token call: past the concurrency limiter, without redirects, with the session's time-outs and retries."""


class Authorizer:
    """The Authorization header of one session. This one never changes.

    Args:
        authorization: the header, `NO_AUTHORIZATION` for none.
    """

    def __init__(self, authorization: Secret = NO_AUTHORIZATION) -> None:
        self._authorization = authorization

    def get(self, _now: float, /) -> Secret | None:
        """Return the header, None when it has to be refreshed first. ``now`` is of the session's clock, in seconds."""
        return self._authorization

    async def refresh(self) -> Secret:
        """Return a new header, fetched once for all who ask at the same time.

        Raises:
            RequestError: it could not be fetched.
        """
        return self._authorization

    def invalidate(self, _authorization: Secret, /) -> bool:
        """Take note that the server answered 401 to this header. Return whether another one can be had."""
        return False

    async def share(self, refused: int | None, now: float, /) -> AccessToken:  # noqa: ARG002
        """Return the token of now; a new one if the current one, by its serial, was refused."""
        if self._authorization is NO_AUTHORIZATION:
            raise ConfigurationError("This client has no credentials, and so no access token")
        return AccessToken(self._authorization)

    def scrub(self, text: str, /) -> str:
        """Return the text with every secret masked in it."""
        return self._authorization.scrub(text)

    async def close(self) -> None:
        """Give up what is in progress."""


class TokenCache(Authorizer):
    """The current access token of one session. Of one event loop; not thread-safe.

    Args:
        fetch: makes the token call, with its retries.
        secret: the client secret, to be scrubbed from texts.
        clock: of the session.
    """

    def __init__(self, fetch: Callable[[], Awaitable[Token]], *, secret: Secret, clock: Clock) -> None:
        super().__init__()
        self._fetch = fetch
        self._secret = secret
        self._clock = clock
        self._stale_at = self._ends_at = float("-inf")
        self._serial = 0  # of the current token
        self._fetching: asyncio.Task[Secret] | None = None
        self._closed = False

    def get(self, now: float, /) -> Secret | None:
        """Return the header, None when there is none that is fresh."""
        return self._authorization if now < self._stale_at else None

    async def refresh(self) -> Secret:
        """Return a new header, fetched once for all who ask at the same time.

        Raises:
            RequestError: it could not be fetched; each caller gets an exception of its own.
            ClientStateError: the session was closed meanwhile.
        """
        if self._closed:
            raise _closed()
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._refresh(), name="tracket_async token refresh")
            self._fetching.add_done_callback(self._done)
        fetching, task = self._fetching, asyncio.current_task()
        cancelled = 0 if task is None else task.cancelling()
        failure: RequestError | ClientStateError
        try:
            return await asyncio.shield(fetching)
        except RequestError as error:
            failure = copy.copy(error)
        except asyncio.CancelledError:
            # `close` cancels the fetch. A caller that nobody has cancelled must not end as if somebody had.
            if (
                not fetching.cancelled()
                or not self._is_closed()
                or (task is not None and task.cancelling() > cancelled)
            ):
                raise
            failure = _closed()
        raise failure

    def invalidate(self, authorization: Secret, /) -> bool:
        """Take note that the server answered 401 to this header: it is not used again."""
        if authorization is self._authorization:
            self._stale_at = float("-inf")
        return True

    async def share(self, refused: int | None, now: float, /) -> AccessToken:
        """Return the token of now; a new one if the current one, by its serial, was refused, once for all who ask."""
        if refused == self._serial:
            self._stale_at = float("-inf")
        if self.get(now) is None:
            await self.refresh()
        return AccessToken(self._authorization, self._ends_at - self._clock.time(), self._serial)

    def scrub(self, text: str, /) -> str:
        """Return the text with the client secret and the current token masked in it."""
        return super().scrub(self._secret.scrub(text))

    async def close(self) -> None:
        """Give up a fetch in progress."""
        self._closed = True
        fetching = self._fetching
        if fetching is not None:
            fetching.cancel()
            await asyncio.wait([fetching])

    def _is_closed(self) -> bool:
        return self._closed

    async def _refresh(self) -> Secret:
        began = self._clock.time()  # a token's life begins, at the earliest, when it is asked for
        token = await self._fetch()
        self._authorization = token.authorization
        self._stale_at = began + token.fresh_for
        self._ends_at = began + token.lifetime
        self._serial += 1
        return token.authorization

    def _done(self, fetching: asyncio.Task[Secret]) -> None:
        self._fetching = None
        if not fetching.cancelled():
            fetching.exception()  # so that asyncio does not complain when every caller has gone


class _SourcedToken(TokenCache):
    """The current token of a `TokenSource`, asked for once for all who need it."""

    def __init__(self, fetch: FetchToken, *, clock: Clock) -> None:
        super().__init__(self._ask, secret=NO_AUTHORIZATION, clock=clock)
        self._source = fetch
        self._given: int | None = None
        self._refused: int | None = None

    def invalidate(self, authorization: Secret, /) -> bool:
        """Take note that the server answered 401 to this header, so that the source is told of it."""
        if authorization is self._authorization:
            self._refused = self._given
        return super().invalidate(authorization)

    async def _ask(self) -> Token:
        token = await self._source(self._refused)
        self._given = token.serial
        return Token(token.authorization, token.expires_in)


def _closed() -> ClientStateError:
    return ClientStateError("The client was closed while this call was in progress")


class Auth(Protocol):
    """Credentials, as a caller gives them."""

    def authorizer(self, exchange: Exchange, /, *, clock: Clock) -> Authorizer:
        """Create the authorizer of one session, whose clock this is."""
        ...


def _secret(setting: str, value: object) -> Secret:
    return value if isinstance(value, Secret) else Secret(header_text(setting, value))


def _token(value: str | Secret) -> Secret:
    return _secret("The token", value)


def _client_secret(value: str | Secret) -> Secret:
    return _secret("The client secret", value)


def _client_id(value: str) -> str:
    return header_text("The client id", value)


def _account_id(value: str | int) -> str:
    number = isinstance(value, int) and not isinstance(value, bool)
    return header_text("The account id", str(value) if number else value)


def _is_scheme(_instance: object, _attribute: attrs.Attribute[str], value: object) -> None:
    # RFC 9110, 5.6.2 and 11.1
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]*", value):
        raise ConfigurationError("The scheme must be one word such as Bearer, or empty")


@attrs.frozen
class BearerToken:
    """A token that is sent with every request and never refreshed.

    Attributes:
        token: visible ASCII. Kept as a `Secret`.
        scheme: the word before the token in the Authorization header; ``""`` for none. API 1.0's page does not name
            it; ``Bearer`` is what 2.0 uses.

    Raises:
        ConfigurationError: the token is empty, or contains what no header may contain.
    """

    token: Secret = attrs.field(converter=_token, repr=False)
    scheme: str = attrs.field(default="Bearer", validator=_is_scheme)

    def authorizer(self, _exchange: Exchange, /, *, clock: Clock) -> Authorizer:  # noqa: ARG002
        """Create an authorizer whose header never changes."""
        return Authorizer(Secret(self.token.reveal(), prefix=f"{self.scheme} " if self.scheme else ""))


@attrs.frozen
class ClientCredentials:
    """Credentials that are exchanged for an access token whenever one is needed (API 2.0).

    Made in Tracket under Preferences, API tokens.

    Attributes:
        client_id: as Tracket shows it.
        client_secret: as Tracket shows it. Kept as a `Secret`.
        account_id: the monday.com account's id; an int is taken as its text.

    Raises:
        ConfigurationError: one of them is empty, or contains a line end.
    """

    client_id: str = attrs.field(converter=_client_id)
    client_secret: Secret = attrs.field(converter=_client_secret, repr=False)
    account_id: str = attrs.field(converter=_account_id)

    def authorizer(self, exchange: Exchange, /, *, clock: Clock) -> Authorizer:
        """Create an authorizer that fetches access tokens by ``exchange``."""
        request = token_request(self.client_id, self.client_secret, self.account_id)
        return TokenCache(lambda: exchange(request), secret=self.client_secret, clock=clock)


def _is_async(_instance: object, _attribute: attrs.Attribute[Any], value: object) -> None:
    if not (callable(value) and is_async(value)):
        raise ConfigurationError("TokenSource needs an async callable: what is called is awaited")


@attrs.frozen
class TokenSource:
    """Access tokens that somebody else keeps: another process, another client, a vault.

    Attributes:
        fetch: an async callable, called when a token is needed, once for all calls that wait for it. It is given the
            serial of the `AccessToken` that the server refused last, None if it refused none, and returns the current
            one: a new one only if the refused one is still the current one. `TracketClient.access_token` is such a
            callable. A `RequestError` that it raises is that of the call.

    Raises:
        ConfigurationError: it is no async callable.
    """

    fetch: FetchToken = attrs.field(validator=_is_async, repr=False)

    def authorizer(self, _exchange: Exchange, /, *, clock: Clock) -> Authorizer:
        """Create an authorizer that asks the source, when it has no token or when the server refused it."""
        return _SourcedToken(self.fetch, clock=clock)
