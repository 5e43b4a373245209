"""Send one request over the wire and read its whole answer: the only module that knows aiohttp's session.

It sends what it is given, once: nothing is retried, followed (redirects), remembered (cookies) or believed (lengths)
without being asked.

`map_exception` maps the exceptions of aiohttp, asyncio, ssl and the operating system to ours. Nothing of a foreign
exception is kept but a detail that is known to be harmless: ``repr`` of aiohttp's ClientResponseError contains the
request's headers, and with them the token. Raise its result *outside* the ``except`` block: ``from None`` hides the
foreign exception from a traceback but leaves it in ``__context__``.
"""

from __future__ import annotations

import asyncio
import functools
import io
import math
import re
import select
import selectors
import socket
import ssl as ssl_module
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, TypeAlias

import aiohttp
from aiohttp import http_exceptions
from aiohttp.abc import AbstractResolver
from aiohttp.client_proto import ResponseHandler

from tracket_async._http.messages import Request, Response, Secret, own_headers
from tracket_async._http.streams import (
    ACCEPT_ENCODING,
    Body,
    ConnectionUse,
    PlainBody,
    ReadTimedOut,
    ReadTimeout,
    ReadWatch,
    body_for,
    nothing_came,
)
from tracket_async._http.urls import BaseURL, Proxy
from tracket_async.config import Limits, Timeouts
from tracket_async.errors import (
    AttemptTimeoutError,
    CertificateError,
    ClientStateError,
    ConnectError,
    ConnectionLostError,
    RedirectError,
    RequestError,
    TracketError,
    TruncatedResponseError,
    UnreadableResponseError,
)

Resolver: TypeAlias = AbstractResolver
"""Finds the addresses of a host."""

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
    (ReadTimedOut, AttemptTimeoutError, "{origin} was silent for too long"),
    (TimeoutError, AttemptTimeoutError, "{origin} did not answer in time"),
    (aiohttp.ClientPayloadError, TruncatedResponseError, "The answer of {origin} ended early"),
    (http_exceptions.PayloadEncodingError, TruncatedResponseError, "The answer of {origin} ended early"),
    (aiohttp.ClientResponseError, UnreadableResponseError, "The answer of {origin} is not HTTP"),
    (http_exceptions.HttpProcessingError, UnreadableResponseError, "The answer of {origin} is not HTTP"),
    (EOFError, TruncatedResponseError, "The answer of {origin} ended early"),
    (aiohttp.ClientError, ConnectionLostError, "The connection to {origin} broke"),
    (OSError, ConnectionLostError, "The connection to {origin} broke"),
)


def map_exception(error: BaseException, *, origin: str) -> RequestError:
    """Return our exception for a foreign one. The first row of the table that fits decides.

    Args:
        error: one of `FOREIGN`.
        origin: of the server, for the message.
    """
    ours, message = next((ours, message) for foreign, ours, message in _TABLE if isinstance(error, foreign))
    failure = ours(message.format(origin=origin) + _detail(error))
    if isinstance(error, aiohttp.ClientHttpProxyError):
        refusal: Any = error  # the type of its status is not complete
        hint = "Check the proxy (HTTPS_PROXY or proxy=), with the user and password that it expects"
        failure.add(status=refusal.status, hint=hint)
    return failure


def _detail(error: BaseException) -> str:
    """Return what the system or OpenSSL says: an errno's text or a certificate's fault, nothing of the request."""
    cause: object = error
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
    elif isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
    elif isinstance(error, aiohttp.ClientHttpProxyError):
        return f" (status {error.status})"
    text = getattr(cause, "verify_message", None) or getattr(cause, "strerror", None)
    return f" ({text})" if isinstance(text, str) and text else ""


def without_foreign_frames(error: BaseException) -> BaseException:
    """Return an exception without the frames of aiohttp: their locals hold the headers, and crash reports show locals.

    Of a cancellation, and of an exception of ours, which says what happened, no frame below is needed.
    """
    while error.__context__ is not None and _is_foreign(error.__context__.__traceback__):
        error.__context__ = error.__context__.__context__
    if isinstance(error, asyncio.CancelledError | TracketError):
        return error.with_traceback(None)
    link = error.__traceback__
    while link is not None:
        if _is_foreign(link.tb_next):
            link.tb_next = None
        link = link.tb_next
    return error


def _is_foreign(link: TracebackType | None) -> bool:
    return link is not None and str(link.tb_frame.f_globals.get("__name__", "")).startswith("aiohttp")


NO_CONTENT: Final = 204
_POST_REUSE_SECONDS: Final = 2.0
"""A request that is not idempotent goes only over a connection that was used so short a time ago, or a new one."""
_MUTE_SECONDS: Final = 2.0
"""A request that is cancelled after so long a silence says that its connection may be mute."""
_EXPIRY_MARGIN: Final = 1.0
"""Seconds before the end of ``Keep-Alive: timeout`` from which a connection is not used: a request takes its time."""
_HEADER_BYTES: Final = 64 * 1024
"""The longest line of an answer's header section: some proxies add a policy of many KiB."""
_HEAD_BYTES: Final = 2 * _HEADER_BYTES
_HEADERS: Final = re.compile(
    rb"(?:\r\n)*(?:HTTP/1\.[01] 1\d\d[^\r\n]*\r\n(?:[^\r\n]+\r\n)*\r\n)*"  # interim answers, RFC 9110, 15.2
    rb"HTTP/1\.[01] (?P<status>[2-9]\d\d)[^\r\n]*\r\n(?:[^\r\n]+\r\n)*\r\n"
)
_MOST_DIGITS: Final = 12
"""Of a Content-Length that is looked at here."""
_ERROR_BODY_BYTES: Final = 64 * 1024
"""As much of an error's body as is read: its message may stand behind a long stack trace."""
_JSON: Final = "application/json"
_KEPT_BLOCK: Final = 512 * 1024
"""Bytes. asyncio receives each time into a fresh block of 256 KiB, which glibc would ask of the kernel and give back,
page faults and all: a tenth of what reading a page of worklogs takes. One block of this size, freed, teaches it to keep
blocks up to that size (mallopt(3), M_MMAP_THRESHOLD, "dynamic"). Elsewhere it does nothing."""


def _reader_of(sock: socket.socket) -> Callable[[], object]:
    """Return a function that asks the system whether something can be read: then what it returns is true.

    It opens no file of its own, as epoll would. `selectors.PollSelector` takes three times as long.
    """
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return functools.partial(poll.poll, 0)
    selector = selectors.SelectSelector()
    selector.register(sock, selectors.EVENT_READ)
    return functools.partial(selector.select, 0)


class _Protocol(ResponseHandler):
    """A connection that knows when it was used, whether anything came unasked, and where a 204 ends."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.use = ConnectionUse()
        self.head: bytes | None = None
        """The beginning of the answer, until its header section has ended; None: not looked at."""
        self._has_come: Callable[[], object] = bool

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._has_come = _reader_of(transport.get_extra_info("socket"))

    def is_clean(self) -> bool:
        """Return whether nothing has come that nobody asked for, the end of the connection included.

        What the event loop has not read yet counts: the system is asked, as httpcore does it.
        """
        return not (self.should_close or self._has_come())

    def data_received(self, data: bytes) -> None:
        """Pass the data on to aiohttp's parser, but nothing that follows the headers of a 204 (RFC 9110, 15.3.5)."""
        if self.head is not None:
            self.head += data
            head = _HEADERS.match(self.head)
            if head is not None:
                surplus = len(self.head) - head.end()
                self.head = None
                if surplus and head["status"] == b"204":
                    self.force_close()
                    data = data[:-surplus]
            elif len(self.head) > _HEAD_BYTES:
                self.head = None
        super().data_received(data)


class _Connector(aiohttp.TCPConnector):
    """A pool that gives out no connection which cannot be trusted, and starts the read timeout when one is there.

    aiohttp looks whether a connection should close when it is given back, and not when it is taken (its issue 13656):
    what a server sends in between would be taken for the answer to the next request (RFC 9112, 9.2). A request without
    a body is written in the same turn of the loop in which its connection is taken. Before a body is written, `_Pieces`
    looks again.
    """

    def __init__(self, read_timeout: ReadTimeout, **settings: Any) -> None:
        super().__init__(**settings)  # pyright: ignore[reportUnknownMemberType] - of aiohttp
        self._read_timeout = read_timeout
        self._trusted_since = float("-inf")
        # There is no public way to make connections of another class; a test fails when this name goes.
        make_protocol: type[ResponseHandler] = _Protocol
        self._factory = functools.partial(make_protocol, loop=asyncio.get_running_loop())

    def drop_idle(self) -> None:
        """Give out no connection that is idle now: those beside one that went mute or broke may have done the same."""
        self._trusted_since = self._read_timeout.now()

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the name is aiohttp's
    ) -> aiohttp.connector.Connection:
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol: Any = connection.protocol
            use: ConnectionUse = protocol.use
            if use.last is None or (protocol.is_clean() and not self._is_stale(use, req.method)):
                break
            connection.close()
        use.reused = use.last is not None
        protocol.head = None if req.method == "GET" else b""
        # A new one may have been sent session tickets of TLS 1.3 at once.
        self._read_timeout.connected(use, is_clean=protocol.is_clean if use.reused else nothing_came)
        return connection

    def _is_stale(self, use: ConnectionUse, method: str) -> bool:
        last = use.last or 0.0
        longest = use.expires_after if method != "POST" else min(use.expires_after, _POST_REUSE_SECONDS)
        return last <= self._trusted_since or self._read_timeout.now() - last >= longest


class _Pieces(io.BytesIO):
    """A body that is sent piece by piece; each that goes out is a sign of life of the server.

    The first goes out together with the headers. Up to Python 3.11, that is a turn of the loop after the connection was
    taken.
    """

    def __init__(self, body: bytes, watch: ReadWatch) -> None:
        super().__init__(body)
        self._watch = watch

    def read(self, size: int | None = -1, /) -> bytes:
        if not self.tell():
            self._watch.begin_body()
        self._watch.received()
        return super().read(size)

    def __reduce__(self) -> tuple[type[io.BytesIO], tuple[bytes]]:
        # aioresponses keeps deep copies of what it was asked: not of the event loop, please.
        return io.BytesIO, (self.getvalue(),)


class Transport:
    """aiohttp's session with everything switched off that would act on its own. Made on the loop that it runs on."""

    def __init__(
        self,
        base_url: BaseURL,
        *,
        timeouts: Timeouts,
        limits: Limits,
        user_agent: str,
        ssl: ssl_module.SSLContext | None,
        proxy: Proxy | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        bytes(_KEPT_BLOCK)  # freed at once
        self._base_url = base_url
        self._cap = limits.max_response_bytes
        self._timeouts = timeouts
        self._timeout = self._client_timeout(timeouts.attempt)
        self._proxy = proxy
        # A slot for each concurrent attempt, and one for the token call, which has no slot.
        connections = limits.max_concurrency + 1
        self._read_timeout = ReadTimeout(timeouts.read, asyncio.get_running_loop())
        self._connector = _Connector(
            self._read_timeout,
            limit=connections,
            limit_per_host=connections,
            keepalive_timeout=limits.keepalive_expiry,
            ttl_dns_cache=max(1, round(limits.dns_cache_ttl)),
            ssl=ssl if ssl is not None else True,
            resolver=resolver,
        )
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=self._timeout,
            headers={"User-Agent": user_agent, "Accept": _JSON, "Accept-Encoding": ACCEPT_ENCODING},
            trust_env=False,
            max_line_size=_HEADER_BYTES,
            max_field_size=_HEADER_BYTES,
        )
        # aiohttp sends GET, PUT and DELETE again by itself when a kept connection drops (its issue 10790), which would
        # make our count of attempts a lie. There is no public switch; a test fails when this name goes.
        self._session._retry_connection = False  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    async def send(self, request: Request, authorization: Secret, *, seconds: float | None = None) -> Response:
        """Send a request, once, and read the answer, whatever its status.

        Args:
            request: what to send.
            authorization: the Authorization header, `NO_AUTHORIZATION` for none.
            seconds: the most that it may take; None, or more than ``Timeouts.attempt``: that.

        Returns:
            The answer. Of an error's body only the beginning, and ``b""`` when it cannot be read; of a redirect's,
            which is not followed, nothing.

        Raises:
            NetworkError: it was not sent, or the whole answer did not come.
            ResponseError: the answer is too long, or in an encoding that cannot be read.
            ClientStateError: the transport is closed.
        """
        if self._is_closed():
            raise closed(maybe_sent=False)
        watch = self._read_timeout.watch(connected=False)
        failure: BaseException
        try:
            with watch:
                # The answer is no local variable here, nor are headers: a crash report may show what a frame holds.
                return await self._read(
                    await self._session.request(
                        request.method,
                        self._base_url.url(request.path, request.query),
                        data=None if request.body is None else _Pieces(request.body, watch),
                        headers=self._headers(request, authorization),
                        allow_redirects=False,
                        timeout=self._timeout_for(seconds),
                        proxy=None if self._proxy is None else self._proxy.url,
                        proxy_headers=None if self._proxy is None else self._proxy.headers(),
                    ),
                    watch,
                )
        except BaseException as error:  # noqa: BLE001 - raised below, without what must not be seen
            failure = self._failure(error, watch)
        try:
            raise failure
        finally:
            del failure  # which would hold this frame, and this frame it

    def drop_idle(self) -> None:
        """Send the requests to come over no connection that is idle now."""
        self._connector.drop_idle()

    async def close(self) -> None:
        """Close every connection. Requests in progress fail."""
        self._read_timeout.close()
        await self._session.close()

    def _headers(self, request: Request, authorization: Secret) -> dict[str, str]:
        headers: dict[str, str] = {}
        if request.headers:
            headers.update(own_headers(dict(request.headers)))
        if value := authorization.reveal():
            headers["Authorization"] = value
        if request.body is not None:
            headers["Content-Type"] = _JSON
        if self._proxy is not None and self._base_url.is_plain:
            headers |= self._proxy.headers()  # there is no CONNECT whose headers they would be
        return headers

    def _is_closed(self) -> bool:
        return self._session.closed

    async def _read(self, answer: aiohttp.ClientResponse, watch: ReadWatch) -> Response:
        """Read the answer. Of an error only the beginning: its status is what counts."""
        watch.received()
        status, headers = answer.status, answer.headers
        if (keep_alive := headers.get("Keep-Alive")) is not None and watch.use is not None:
            watch.use.expires_after = _expiry(keep_alive)
        try:
            if 200 <= status < 300:  # noqa: PLR2004
                encoding, length = headers.get("Content-Encoding", ""), headers.get("Content-Length", "")
                if status == NO_CONTENT:
                    if watch.use is not None and (length.strip("0") or "Transfer-Encoding" in headers):
                        watch.use.expires_after = 0.0  # its body, which nobody reads, may still be on its way
                    return Response(status, headers, b"")
                return Response(
                    status,
                    headers,
                    await self._body(answer.content, encoding, length, watch),
                    watch.use is not None and watch.use.reused,
                )
            if status >= 400:  # noqa: PLR2004
                return Response(status, headers, await self._beginning(answer, watch))
        except BaseException:
            answer.close()
            raise
        answer.close()
        return Response(status, headers, b"")

    async def _body(self, content: aiohttp.StreamReader, encoding: str, length: str, watch: ReadWatch) -> bytes:
        """Read a body to its end, and decompress it."""
        body: Body | None = None
        if encoding or not length.isdecimal() or len(length) > _MOST_DIGITS or int(length) > self._cap:
            body = body_for(encoding, length, cap=self._cap)
        while chunk := await content.readany():
            watch.received()
            if body is None:
                if content.at_eof() and content.exception() is None:
                    return chunk  # all of it has come at once, as nearly always: there is nothing to collect
                body = body_for(encoding, length, cap=self._cap)
            body.feed(chunk)
        return b"" if body is None else body.finish()

    async def _beginning(self, answer: aiohttp.ClientResponse, watch: ReadWatch) -> bytes:
        """Read the beginning of an error's body, as far as it is useful and can be read."""
        collected = b""
        try:
            body = body_for(answer.headers.get("Content-Encoding", ""), "", cap=_ERROR_BODY_BYTES)
            while chunk := await answer.content.readany():
                watch.received()
                if isinstance(body, PlainBody):
                    collected += chunk
                    if len(collected) >= _ERROR_BODY_BYTES:
                        answer.close()
                        return collected[:_ERROR_BODY_BYTES]
                else:
                    body.feed(chunk)
            return collected or body.finish()
        except (*FOREIGN, RequestError):
            pass
        except asyncio.CancelledError:
            if self._is_closed() or not watch.timed_out():
                raise
        answer.close()
        return collected

    def _failure(self, error: BaseException, watch: ReadWatch) -> BaseException:
        """Return what to raise for an exception, and draw from it what it says about the connections."""
        use = watch.use
        if isinstance(error, FOREIGN) or (isinstance(error, RuntimeError) and self._is_closed()):
            # aiohttp has no better exception than RuntimeError for a session that was closed while a request waited.
            if self._is_closed():
                return closed(maybe_sent=use is not None)
            failure = map_exception(error, origin=self._base_url.origin)
            if use is None or watch.unsent:
                failure.add(maybe_sent=False)
            if isinstance(failure, ConnectError):
                self._connector.clear_dns_cache()
            elif use is not None and use.reused:
                self._connector.drop_idle()
            return failure
        if isinstance(error, asyncio.CancelledError):
            # It may be the time-out of an application: nothing speaks for the other connections if this one is mute.
            if use is not None and use.reused and self._read_timeout.now() - watch.since > _MUTE_SECONDS:
                self._connector.drop_idle()
            error.__dict__["maybe_sent"] = use is not None
        return without_foreign_frames(error)

    def _timeout_for(self, seconds: float | None) -> aiohttp.ClientTimeout:
        attempt = self._timeouts.attempt
        if seconds is None or (attempt is not None and attempt <= seconds):
            return self._timeout
        return self._client_timeout(seconds)

    def _client_timeout(self, seconds: float | None) -> aiohttp.ClientTimeout:
        return aiohttp.ClientTimeout(
            total=seconds,
            connect=self._timeouts.connect,
            sock_connect=self._timeouts.connect,
            # aiohttp would put the end of a longer time-out off to the next whole second.
            ceil_threshold=float("inf"),
        )


def closed(*, maybe_sent: bool) -> ClientStateError:
    """Create the error for what was in progress when the session was closed."""
    return ClientStateError("The client was closed while this call was in progress", maybe_sent=maybe_sent)


@functools.lru_cache(maxsize=16)
def _expiry(keep_alive: str) -> float:
    """Return the seconds for which a connection may be idle, by the server's Keep-Alive header."""
    found = re.search(r"\btimeout\s*=\s*\"?(\d{1,9})", keep_alive, re.IGNORECASE)
    return math.inf if found is None else max(0.0, int(found[1]) - _EXPIRY_MARGIN)
