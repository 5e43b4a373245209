"""Every exception that aiohttp, asyncio, ssl and the system raise has a row in the table, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import inspect
import socket
import ssl
from unittest.mock import Mock

import aiohttp
import pytest
from aiohttp import ClientConnectorError, http_exceptions
from aiohttp.client_exceptions import UnixClientConnectorError
from aiohttp.client_reqrep import ConnectionKey
from yarl import URL

from tracket_async._http import transport as failures
from tracket_async._http.streams import ReadTimedOut
from tracket_async._http.transport import FOREIGN, map_exception
from tracket_async.errors import (
    AttemptTimeoutError,
    CertificateError,
    ConnectError,
    ConnectionLostError,
    RedirectError,
    TruncatedResponseError,
    UnreadableResponseError,
)

CANARY = "canary-7f3a"
ORIGIN = "https://tracket.dev"
KEY = ConnectionKey("tracket.dev", 443, True, True, None, None, None)
REFUSED = OSError(111, "Connection refused")
INFO = aiohttp.RequestInfo(URL(f"{ORIGIN}/?after={CANARY}"), "GET", {"Authorization": CANARY}, URL(ORIGIN))


def certificate_error():
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate"
    return error


def subclasses(cls):
    found = set(cls.__subclasses__())
    return found.union(*map(subclasses, found))


MADE = {
    aiohttp.ClientConnectorDNSError: (KEY, socket.gaierror(-2, "Name or service not known")),
    aiohttp.ClientProxyConnectionError: (KEY, REFUSED),
    aiohttp.ClientHttpProxyError: (INFO, ()),
    aiohttp.ClientConnectorCertificateError: (KEY, certificate_error()),
    aiohttp.ServerFingerprintMismatch: (b"a", b"b", "tracket.dev", 443),
    aiohttp.ClientConnectorSSLError: (KEY, ssl.SSLError(1, "wrong version number")),
    aiohttp.ClientSSLError: (KEY, ssl.SSLError(1, "wrong version number")),
    aiohttp.ClientConnectorError: (KEY, REFUSED),
    UnixClientConnectorError: ("/a/path", KEY, REFUSED),
    aiohttp.InvalidURL: (f"{ORIGIN}/?{CANARY}",),
    aiohttp.InvalidUrlClientError: (f"{ORIGIN}/?{CANARY}",),
    aiohttp.InvalidUrlRedirectClientError: (f"{ORIGIN}/?{CANARY}",),
    aiohttp.NonHttpUrlClientError: (f"{ORIGIN}/?{CANARY}",),
    aiohttp.NonHttpUrlRedirectClientError: (f"{ORIGIN}/?{CANARY}",),
    aiohttp.ClientResponseError: (INFO, ()),
    aiohttp.ContentTypeError: (INFO, ()),
    aiohttp.WSServerHandshakeError: (INFO, ()),
    aiohttp.TooManyRedirects: (INFO, ()),
}

OURS = {
    aiohttp.ClientConnectorDNSError: ConnectError,
    aiohttp.ClientProxyConnectionError: ConnectError,
    aiohttp.ClientHttpProxyError: ConnectError,
    aiohttp.ClientConnectorCertificateError: CertificateError,
    aiohttp.ServerFingerprintMismatch: CertificateError,
    aiohttp.ClientConnectorSSLError: ConnectError,
    aiohttp.ClientSSLError: ConnectError,
    aiohttp.ClientConnectorError: ConnectError,
    UnixClientConnectorError: ConnectError,
    aiohttp.ConnectionTimeoutError: ConnectError,
    aiohttp.InvalidURL: ConnectError,
    aiohttp.InvalidUrlClientError: ConnectError,
    aiohttp.NonHttpUrlClientError: ConnectError,
    aiohttp.RedirectClientError: RedirectError,
    aiohttp.InvalidUrlRedirectClientError: RedirectError,
    aiohttp.NonHttpUrlRedirectClientError: RedirectError,
    aiohttp.TooManyRedirects: RedirectError,
    aiohttp.ServerTimeoutError: AttemptTimeoutError,
    aiohttp.SocketTimeoutError: AttemptTimeoutError,
    aiohttp.ClientPayloadError: TruncatedResponseError,
    aiohttp.ClientResponseError: UnreadableResponseError,
    aiohttp.ContentTypeError: UnreadableResponseError,
    aiohttp.WSServerHandshakeError: UnreadableResponseError,
    aiohttp.ClientError: ConnectionLostError,
    aiohttp.ClientConnectionError: ConnectionLostError,
    aiohttp.ClientConnectionResetError: ConnectionLostError,
    aiohttp.ClientOSError: ConnectionLostError,
    aiohttp.ServerConnectionError: ConnectionLostError,
    aiohttp.ServerDisconnectedError: ConnectionLostError,
}

SYSTEM = {
    ReadTimedOut: AttemptTimeoutError,
    TimeoutError: AttemptTimeoutError,
    asyncio.TimeoutError: AttemptTimeoutError,
    ConnectionResetError: ConnectionLostError,
    BrokenPipeError: ConnectionLostError,
    OSError: ConnectionLostError,
    ssl.SSLError: ConnectionLostError,
    EOFError: TruncatedResponseError,
    http_exceptions.BadStatusLine: UnreadableResponseError,
    http_exceptions.BadHttpMessage: UnreadableResponseError,
    http_exceptions.TransferEncodingError: TruncatedResponseError,
    http_exceptions.ContentLengthError: TruncatedResponseError,
}


def test_the_table_knows_every_client_error_that_this_aiohttp_has():
    """A new one must be looked at: which of ours is it, and was the request sent?"""
    public = {cls for _, cls in inspect.getmembers(aiohttp, inspect.isclass) if issubclass(cls, aiohttp.ClientError)}
    everything = public | subclasses(aiohttp.ClientError) | {aiohttp.ClientError}
    names = {cls.__name__ for cls in everything if cls.__module__.startswith("aiohttp")}
    assert names - {"UploadAbortedError"} == {cls.__name__ for cls in OURS} - {"UploadAbortedError"}  # 3.14.4 and later


@pytest.mark.parametrize(("foreign", "ours"), [*OURS.items(), *SYSTEM.items()])
def test_each_becomes_ours_without_what_is_secret(foreign, ours):
    error = foreign(*MADE.get(foreign, ("x",)))
    assert isinstance(error, FOREIGN)
    translated = map_exception(error, origin=ORIGIN)
    assert type(translated) is ours
    assert CANARY not in repr(translated) + str(translated)
    assert translated.maybe_sent is not issubclass(ours, ConnectError)


def test_each_row_is_reached():
    """No row stands behind one that takes everything from it."""
    reached = set()
    for foreign in [*OURS, *SYSTEM]:
        error = foreign(*MADE.get(foreign, ("x",)))
        reached.add(next(row for row in failures._TABLE if isinstance(error, row[0])))
    assert reached == set(failures._TABLE)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ClientConnectorError(KEY, REFUSED), "No connection to https://tracket.dev can be made (Connection refused)"),
        (
            aiohttp.ClientConnectorDNSError(KEY, socket.gaierror(-2, "Name or service not known")),
            "The name of https://tracket.dev cannot be resolved (Name or service not known)",
        ),
        (
            aiohttp.ClientConnectorCertificateError(KEY, certificate_error()),
            "The certificate of https://tracket.dev is not trusted (self-signed certificate)",
        ),
        (
            aiohttp.ClientHttpProxyError(INFO, (), status=407),
            "The proxy on the way to https://tracket.dev refuses (status 407)",
        ),
        (
            OSError(104, "Connection reset by peer"),
            "The connection to https://tracket.dev broke (Connection reset by peer)",
        ),
        (aiohttp.ServerDisconnectedError(Mock()), "The connection to https://tracket.dev broke"),
    ],
)
def test_the_message_says_what_the_system_said(error, text):
    assert map_exception(error, origin=ORIGIN).message == text
