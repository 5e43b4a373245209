"""The one table from the exceptions of aiohttp, asyncio, ssl and the operating system to ours.

The order counts: the first row that fits decides. Nothing of a foreign exception is kept but a detail that is known to
be harmless: ``repr`` of aiohttp's ClientResponseError contains the request's headers, and with them the token.

Whoever uses it raises the result *outside* the ``except`` block: ``from None`` hides the foreign exception from a
traceback but leaves it in ``__context__``.
"""

from __future__ import annotations

from typing import Final

import aiohttp
from aiohttp import http_exceptions

from tracket_async.errors import (
    AttemptTimeoutError,
    CertificateError,
    ConnectError,
    ConnectionLostError,
    RedirectError,
    RequestError,
    TruncatedResponseError,
    UnreadableResponseError,
)
from tracket_async.net.silence import Silent

FOREIGN = (aiohttp.ClientError, http_exceptions.HttpProcessingError, OSError, EOFError)
"""Everything that aiohttp lets through on purpose. TimeoutError and ssl.SSLError are OSErrors."""


_TABLE: Final[tuple[tuple[type[BaseException], type[RequestError], str], ...]] = (
    (aiohttp.ClientConnectorDNSError, ConnectError, "The name of {origin} cannot be resolved"),
    (aiohttp.ClientProxyConnectionError, ConnectError, "The proxy on the way to {origin} cannot be reached"),
    (aiohttp.ClientHttpProxyError, ConnectError, "The proxy on the way to {origin} refuses"),
    (aiohttp.ClientConnectorCertificateError, CertificateError, "The certificate of {origin} is not trusted"),
    (aiohttp.ServerFingerprintMismatch, CertificateError, "The certificate of {origin} is not the expected one"),
    (aiohttp.ClientSSLError, ConnectError, "No TLS connection to {origin} can be made"),
    (aiohttp.ClientConnectorError, ConnectError, "No connection to {origin} can be made"),
    (aiohttp.ConnectionTimeoutError, ConnectError, "No connection to {origin} could be made in time"),
    (aiohttp.RedirectClientError, RedirectError, "The server redirects"),
    (aiohttp.TooManyRedirects, RedirectError, "The server redirects"),
    (aiohttp.InvalidURL, ConnectError, "No request can be sent to {origin}: the address is not valid"),
    (aiohttp.NonHttpUrlClientError, ConnectError, "No request can be sent to {origin}: it is not HTTP"),
    (Silent, AttemptTimeoutError, "{origin} was silent for too long"),
    (TimeoutError, AttemptTimeoutError, "{origin} did not answer in time"),
    (aiohttp.ClientPayloadError, TruncatedResponseError, "The answer of {origin} ended early"),
    (http_exceptions.PayloadEncodingError, TruncatedResponseError, "The answer of {origin} ended early"),
    (aiohttp.ClientResponseError, UnreadableResponseError, "The answer of {origin} is not HTTP"),
    (http_exceptions.HttpProcessingError, UnreadableResponseError, "The answer of {origin} is not HTTP"),
    (EOFError, TruncatedResponseError, "The answer of {origin} ended early"),
    (aiohttp.ClientError, ConnectionLostError, "The connection to {origin} broke"),
    (OSError, ConnectionLostError, "The connection to {origin} broke"),
)


def translate(error: BaseException, *, origin: str) -> RequestError:
    """Our exception for a foreign one. Pure.

    Args:
        error: one of `FOREIGN`.
        origin: of the server, for the message.
    """
    ours, message = next((ours, message) for foreign, ours, message in _TABLE if isinstance(error, foreign))
    return ours(message.format(origin=origin) + _detail(error))


def _detail(error: BaseException) -> str:
    """What the operating system or OpenSSL say: an errno's text or a certificate's fault, nothing of the request."""
    cause: object = error
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
    elif isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
    elif isinstance(error, aiohttp.ClientHttpProxyError):
        return f" (status {error.status})"
    text = getattr(cause, "verify_message", None) or getattr(cause, "strerror", None)
    return f" ({text})" if isinstance(text, str) and text else ""
