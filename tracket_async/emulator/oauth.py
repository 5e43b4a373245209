"""Who may do what: the token call of 2.0, and the bearer tokens that both versions accept.

Two tokens are fixed (one may only read); others come from the token call and live for a while by a monotonic
clock that tests can turn.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from typing import Any, Final

from tracket_async.emulator import json_fields as fields
from tracket_async.emulator.json_fields import Field
from tracket_async.emulator.routes import Answer, Refusal, json_answer
from tracket_async.emulator.settings import Settings

GRANT: Final = "client-credentials"

_FIELDS: Final = (
    Field("grant-type", "grant", fields.name, required=True),
    Field("monday/account-id", "account", fields.name, required=True),
    Field("client-id", "client", fields.name, required=True),
    Field("client-secret", "secret", fields.name, required=True),
)
_CHALLENGE: Final = (("WWW-Authenticate", 'Bearer realm="tracket-emulator"'),)


class Tokens:
    """Gives out tokens and says what a token may do.

    Args:
        settings: The fixed tokens, the credentials, and how long a token lives.
        clock: Monotonic seconds.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._expiry: dict[str, float] = {}
        self.requests = 0
        """How many token calls came in, refused ones included."""

    def issue(self, body: bytes) -> Answer:
        """Answer the token call.

        Raises:
            Refusal: 400 for a malformed call, 401 for wrong credentials.
        """
        self.requests += 1
        given = fields.read_object(fields.parse_object(body), _FIELDS)
        if given["grant"] != GRANT:
            raise Refusal(400, f"must be {GRANT}", "grant-type")
        expected = (self._settings.account_id, self._settings.client_id, self._settings.client_secret)
        pairs = zip((given["account"], given["client"], given["secret"]), expected, strict=True)
        if not all([_same(one, other) for one, other in pairs]):  # noqa: C419 -- compares all, always
            raise Refusal(401, "account, client id and client secret do not belong together", headers=_CHALLENGE)
        token = f"issued-{secrets.token_hex(16)}"
        self._forget_expired()
        self._expiry[token] = self._clock() + self._settings.token_lifetime
        payload: dict[str, Any] = {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": int(self._settings.token_lifetime),
        }
        return json_answer(payload, headers=(("Cache-Control", "no-store"),))

    def authorise(self, authorization: str | None, *, writes: bool) -> None:
        """Let the request pass if its Authorization header allows it.

        Raises:
            Refusal: 401 for no, a wrong or an expired token; 403 for a write with the token that only reads.
        """
        if authorization is None:
            raise Refusal(401, "the Authorization header is missing", headers=_CHALLENGE)
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise Refusal(401, "the Authorization header must be: Bearer <token>", headers=_CHALLENGE)
        token = token.strip()
        if _same(token, self._settings.read_only_token):
            if writes:
                raise Refusal(403, "this token may only read")
            return
        if _same(token, self._settings.token):
            return
        expiry = self._expiry.get(token)
        if expiry is None or self._clock() >= expiry:
            raise Refusal(401, "the token is wrong or has expired", headers=_CHALLENGE)

    def expire(self) -> None:
        """Every token that the token call has given out is invalid from now on."""
        self._expiry.clear()

    def _forget_expired(self) -> None:
        now = self._clock()
        self._expiry = {token: expiry for token, expiry in self._expiry.items() if expiry > now}


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(errors="replace"), other.encode(errors="replace"))
