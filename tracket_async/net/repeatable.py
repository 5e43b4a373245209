"""What a failure means for sending the same again: may it have happened, and would repeating mend it without harm.

| call | is repeated after |
|---|---|
| GET, PUT, DELETE | a failure of the network, an unreadable answer, 408, 429, 500, 502, 503, 504 |
| POST | what provably did not reach the server, 429 |
| any | never after a certificate that is not trusted: it stays what it is |
"""

from __future__ import annotations

from typing import Final

from tracket_async.errors import (
    CertificateError,
    DeadlineExceededError,
    NetworkError,
    RequestError,
    StatusError,
    UnreadableResponseError,
)

RETRIED_STATUSES: Final = frozenset({408, 429, 500, 502, 503, 504})
LIMITED: Final = 429
REQUEST_TIMEOUT: Final = 408


def is_ambiguous(error: RequestError) -> bool:
    """Whether what was asked may have happened although the call failed.

    Of a call that is not idempotent this is what a caller must know before sending it again. A 4xx is the server's own
    word that it did nothing, except 408, which a proxy may say of a request that it has already passed on. What it did
    at an earlier attempt of the same call is another matter: ``maybe_done``.
    """
    if error.maybe_done:
        return True
    if isinstance(error, StatusError):
        refused = 400 <= (error.status or 0) < 500 and error.status != REQUEST_TIMEOUT  # noqa: PLR2004
        return error.maybe_sent and not refused
    return error.maybe_sent


def is_retryable(error: BaseException, *, repeatable: bool) -> bool:
    """Whether repeating a request could mend the failure, and does no harm. See the table at the top.

    Args:
        error: what it failed with.
        repeatable: whether sending the request twice has the effect of sending it once.
    """
    if not isinstance(error, RequestError) or error.stopped_by is not None:
        return False
    if isinstance(error, DeadlineExceededError | CertificateError):
        return False
    mendable = isinstance(error, NetworkError | UnreadableResponseError) or error.status in RETRIED_STATUSES
    return mendable and (repeatable or not error.maybe_sent or error.status == LIMITED)
