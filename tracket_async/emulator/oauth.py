"""The token call of 2.0, and the check of the bearer tokens that both versions accept.

Two tokens are fixed (one may only read); others come from the token call and expire by a monotonic clock that tests
can advance.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from typing import Any, Final

from tracket_async.emulator import json_fields
from tracket_async.emulator.json_fields import Field
from tracket_async.emulator.routes import ApiError, ApiResponse, json_response
from tracket_async.emulator.settings import Settings

GRANT: Final = "client-credentials"

_FIELDS: Final = (
    Field("grant-type", "grant", json_fields.name, required=True),
    Field("monday/account-id", "account", json_fields.name, required=True),
    Field("client-id", "client", json_fields.name, required=True),
    Field("client-secret", "secret", json_fields.name, required=True),
)
_CHALLENGE: Final = (("WWW-Authenticate", 'Bearer realm="tracket-emulator"'),)


class TokenIssuer:
    """Issue tokens, and check the token of a request.

    Args:
        settings: The fixed tokens, the credentials, and how long a token lives.
        clock: Monotonic seconds.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._expiry: dict[str, float] = {}
        self.requests = 0
        """Number of token calls, refused ones included."""

    def issue(self, body: bytes) -> ApiResponse:
        """Return the response of the token call.

        Raises:
            ApiError: 400 for a malformed call, 401 for wrong credentials.
        """
        self.requests += 1
        given = json_fields.read_object(json_fields.parse_object(body), _FIELDS)
        if given["grant"] != GRANT:
            raise ApiError(400, f"must be {GRANT}", "grant-type")
        expected = (self._settings.account_id, self._settings.client_id, self._settings.client_secret)
        pairs = zip((given["account"], given["client"], given["secret"]), expected, strict=True)
        if not all([_equal(one, other) for one, other in pairs]):  # noqa: C419 -- compares all, always
            raise ApiError(401, "account, client id and client secret do not belong together", headers=_CHALLENGE)
        token = f"issued-{secrets.token_hex(16)}"
        self._forget_expired()
        self._expiry[token] = self._clock() + self._settings.token_lifetime
        payload: dict[str, Any] = {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": int(self._settings.token_lifetime),
        }
        return json_response(payload, headers=(("Cache-Control", "no-store"),))

    def authorise(self, authorization: str | None, *, writes: bool) -> None:
        """Check the Authorization header of a request.

        Raises:
            ApiError: 401 for no, a wrong or an expired token; 403 for a write with the token that only reads.
        """
        if authorization is None:
            raise ApiError(401, "the Authorization header is missing", headers=_CHALLENGE)
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise ApiError(401, "the Authorization header must be: Bearer <token>", headers=_CHALLENGE)
        token = token.strip()
        if _equal(token, self._settings.read_only_token):
            if writes:
                raise ApiError(403, "this token may only read")
            return
        if _equal(token, self._settings.token):
            return
        expiry = self._expiry.get(token)
        if expiry is None or self._clock() >= expiry:
            raise ApiError(401, "the token is wrong or has expired", headers=_CHALLENGE)

    def expire(self) -> None:
        """Make every token from the token call invalid."""
        self._expiry.clear()

    def _forget_expired(self) -> None:
        now = self._clock()
        self._expiry = {token: expiry for token, expiry in self._expiry.items() if expiry > now}


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(errors="replace"), other.encode(errors="replace"))
