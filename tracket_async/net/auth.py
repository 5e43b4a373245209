"""Who is calling: what a caller gives, and the port behind which a session keeps it.

A value that is given (`BearerToken`, `ClientCredentials`) is checked at once and shows no secret; it may serve several
sessions. What changes, the current access token, belongs to one session and lives in its `Authorizer`.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Protocol

import attrs

from tracket_async.api.request import Request
from tracket_async.errors import ClientStateError, ConfigurationError
from tracket_async.net.refresh import TokenKeeper
from tracket_async.net.secret import Secret, header_text
from tracket_async.net.token import Token, token_request
from tracket_async.net.world import Clock

Exchange = Callable[[Request], Awaitable[Token]]
"""Makes a token call: past the gate, without a redirect, with the session's time-outs and repetitions."""


class Authorizer(Protocol):
    """What one session asks for its Authorization header."""

    def current(self, now: float, /) -> Secret | None:
        """The header if there is a good one. None: `renew` first. ``now`` is of the session's clock, in seconds."""
        ...

    async def renew(self) -> Secret:
        """A new header, fetched once for all who ask at the same time.

        Raises:
            RequestError: it cannot be had.
        """
        ...

    def refused(self, authorization: Secret, /) -> bool:
        """The server answered 401 to this header. Returns whether another one can be had."""
        ...

    def scrub(self, text: str, /) -> str:
        """The text without any secret in it."""
        ...

    async def close(self) -> None:
        """Give up what is in progress."""
        ...


class Auth(Protocol):
    """Credentials, as a caller gives them."""

    def authorizer(self, exchange: Exchange, /, *, clock: Clock) -> Authorizer:
        """What a session asks. ``clock`` is the session's: monotonic, in seconds."""
        ...


class FixedAuthorizer:
    """A header that never changes."""

    def __init__(self, authorization: Secret) -> None:
        self._authorization = authorization

    def current(self, _now: float, /) -> Secret:
        """The header."""
        return self._authorization

    async def renew(self) -> Secret:
        """There is no other, and nobody asks, since `current` always has one."""
        raise ClientStateError("A fixed token cannot be renewed")

    def refused(self, _authorization: Secret, /) -> bool:
        """There is no other."""
        return False

    def scrub(self, text: str, /) -> str:
        """The text without the token."""
        return self._authorization.scrub(text)

    async def close(self) -> None:
        """Nothing is in progress."""


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
    """A token that is valid as long as it is: sent with every request, never refreshed.

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
        """A header that never changes."""
        return FixedAuthorizer(Secret(self.token.reveal(), before=f"{self.scheme} " if self.scheme else ""))


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
        """One access token for the whole session."""
        request = token_request(self.client_id, self.client_secret, self.account_id)
        return TokenKeeper(lambda: exchange(request), secret=self.client_secret, clock=clock)
