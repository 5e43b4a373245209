"""The token call as values: its request, and what its answer means. Pure.

API 2.0 exchanges a client id, a client secret and the monday.com account's id for an access token of about an hour. The
keys of the request are the vendor's own; the answer is read as RFC 6749, 5.1 and 5.2, as far as it follows them.
"""

from __future__ import annotations

import datetime as dt
import math
from typing import Any, Final

import attrs
import msgspec

from tracket_async.api.request import Request, Response
from tracket_async.api.status import error_for
from tracket_async.errors import (
    AuthenticationError,
    ConfigurationError,
    MalformedResponseError,
    RequestError,
    UnreadableResponseError,
)
from tracket_async.net.secret import Secret, header_text

PATH: Final = "/api/2.0/oauth2/token"
DEFAULT_LIFETIME: Final = 3600.0
"""Seconds that a token is taken to live for when the answer does not say: what the vendor's page says."""

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
        lifetime: seconds for which it is taken to be valid.
        told: seconds as the server said, None if it did not, or not in a way that makes sense.
    """

    authorization: Secret
    lifetime: float
    told: float | None

    @property
    def fresh_for(self) -> float:
        """Seconds after which to fetch a new one: a minute or a tenth before its end, whichever is more.

        Of a token that lives for less than two minutes half its life is used, as otherwise it would be stale at once.
        """
        margin = max(60.0, 0.1 * self.lifetime)
        return self.lifetime - min(margin, self.lifetime / 2)


def token_request(client_id: str, client_secret: Secret, account_id: str) -> Request:
    """The call that fetches a token."""
    body = {
        "grant-type": "client-credentials",
        "monday/account-id": account_id,
        "client-id": client_id,
        "client-secret": client_secret.reveal(),
    }
    return Request("POST", PATH, PATH, body=msgspec.json.encode(body))


def token_error(response: Response, *, now: dt.datetime) -> RequestError | None:
    """The error that an answer is, None of a 2xx. Its body is not kept: a server may echo what it was sent."""
    error = error_for(response.status, response.headers, b"", method="POST", path=PATH, now=now)
    if error is None or response.status not in _REFUSALS:
        return error
    code = _code(response.body)
    refusal = AuthenticationError(
        "The client credentials are refused" + (f" ({code})" if code else ""),
        status=response.status,
        method="POST",
        path=PATH,
        request_id=error.request_id,
    )
    refusal.hint = "Check TRACKET_CLIENT_ID, TRACKET_CLIENT_SECRET and TRACKET_ACCOUNT_ID"
    return refusal


def read_token(response: Response) -> Token:
    """The token in an answer.

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
    told = _seconds(content.get("expires_in"))
    return Token(Secret(token, before="Bearer "), DEFAULT_LIFETIME if told is None else told, told)


def _content(body: bytes) -> dict[str, Any] | None:
    """The object that a body is; an empty one for other JSON, None for what is not JSON."""
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.ValidationError:
        return {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _code(body: bytes) -> str:
    """The error code of RFC 6749, 5.2; only one that stands there, as anything else could be an echo."""
    code = (_content(body) or {}).get("error")
    return code if isinstance(code, str) and code in _CODES else ""


def _seconds(value: Any) -> float | None:
    """A lifetime in seconds: a number, or its text, as some servers write it."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    return min(seconds, _LONGEST_LIFETIME) if math.isfinite(seconds) and seconds > 0 else None
