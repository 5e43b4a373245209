"""One request over the wire and its whole answer back: the only room that knows aiohttp's session.

It sends what it is given, once: nothing is repeated, followed, remembered (cookies) or believed (lengths) behind its
back.
"""

from __future__ import annotations

import asyncio
import base64
import io
import ssl as ssl_module
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any, Final

import aiohttp
import attrs
from yarl import URL

from tracket_async.api.request import Request, Response
from tracket_async.errors import ClientStateError, ConfigurationError, RequestError
from tracket_async.net.address import Address
from tracket_async.net.body import ACCEPT_ENCODING, PlainBody, body_for
from tracket_async.net.failures import FOREIGN, translate
from tracket_async.net.secret import NO_SECRET, Secret
from tracket_async.net.settings import Limits, Timeouts
from tracket_async.net.silence import Silence

_ERROR_BODY_BYTES: Final = 16 * 1024
_LONG_BODY_BYTES: Final = 256 * 1024
_JSON: Final = "application/json"
_KEPT_BLOCK: Final = 512 * 1024
"""Bytes. asyncio receives each time into a fresh block of 256 KiB, which glibc would ask of the kernel and give back,
page faults and all: a tenth of what reading a page of worklogs takes. One block of this size, freed, teaches it to keep
blocks up to that size (mallopt(3), M_MMAP_THRESHOLD, "dynamic"). Elsewhere it does nothing."""


@attrs.frozen
class Proxy:
    """A proxy from the environment, and what it wants to be told."""

    url: URL
    headers: Mapping[str, str] | None = attrs.field(repr=False)


class _Connector(aiohttp.TCPConnector):
    """Tells when a connection is there, new or kept: before that, nobody is silent."""

    silence: Silence

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the name is aiohttp's
    ) -> aiohttp.connector.Connection:
        connection = await super().connect(req, traces, timeout)
        self.silence.connected()
        return connection


class _Pieces(io.BytesIO):
    """A body that is sent piece by piece; each that goes out is a sign of life of who takes it."""

    def __init__(self, body: bytes, heard: Callable[[], None]) -> None:
        super().__init__(body)
        self._heard = heard

    def read(self, size: int | None = -1, /) -> bytes:
        self._heard()
        return super().read(size)


class Transport:
    """aiohttp's session with everything switched off that would act on its own. Made on the loop that it runs on."""

    def __init__(
        self,
        address: Address,
        *,
        timeouts: Timeouts,
        limits: Limits,
        user_agent: str,
        ssl: ssl_module.SSLContext | None,
        trust_env: bool,
    ) -> None:
        bytes(_KEPT_BLOCK)  # freed at once
        self._address = address
        self._cap = limits.max_response_bytes
        self._timeouts = timeouts
        self._timeout = self._client_timeout(timeouts.attempt)
        self._proxy = proxy_from_env(address) if trust_env else None
        # The gate's places, and one for the token call, which passes the gate by.
        places = limits.concurrency + 1
        self._silence = Silence(timeouts.between_bytes, asyncio.get_running_loop())
        connector = _Connector(
            limit=places,
            limit_per_host=places,
            keepalive_timeout=limits.keep_alive,
            ttl_dns_cache=max(1, round(limits.dns_cache)),
            ssl=ssl if ssl is not None else True,
        )
        connector.silence = self._silence
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=self._timeout,
            headers={"User-Agent": user_agent, "Accept": _JSON, "Accept-Encoding": ACCEPT_ENCODING},
            trust_env=False,
        )
        # aiohttp sends GET, PUT and DELETE again by itself when a kept connection drops (its issue 10790), which would
        # make our count of attempts a lie. There is no public switch; a test fails when this name goes.
        self._session._retry_connection = False  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    async def send(self, request: Request, authorization: Secret, *, seconds: float | None = None) -> Response:
        """Send a request, once, and read the answer, whatever its status.

        Args:
            request: what to send.
            authorization: the Authorization header, `NO_SECRET` for none.
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
            raise closed()
        try:
            with self._silence.listen(connected=False) as listener:
                answer = await self._session.request(
                    request.method,
                    self._address.url(request.path, request.query),
                    data=_data(request.body, listener.heard),
                    headers=_headers(request, authorization),
                    allow_redirects=False,
                    timeout=self._timeout_for(seconds),
                    proxy=None if self._proxy is None else self._proxy.url,
                    proxy_headers=None if self._proxy is None else self._proxy.headers,
                )
                listener.heard()
                status, headers = answer.status, answer.headers
                if 200 <= status < 300:  # noqa: PLR2004
                    try:
                        encoding, length = headers.get("Content-Encoding", ""), headers.get("Content-Length", "")
                        body, content = body_for(encoding, length, cap=self._cap), answer.content
                        while chunk := await content.readany():
                            listener.heard()
                            body.feed(chunk)
                        return Response(status, headers, body.finish())
                    except BaseException:
                        answer.close()
                        raise
            return Response(status, headers, await self._beginning(answer))
        except FOREIGN as error:
            failure: RequestError | ClientStateError = translate(error, origin=self._address.origin)
        except RuntimeError:
            # aiohttp has no better exception for a session that was closed while a request waited.
            if not self._is_closed():
                raise
            failure = closed()
        raise closed() if self._is_closed() else failure

    async def close(self) -> None:
        """Close every connection. Requests in progress fail."""
        self._silence.close()
        await self._session.close()

    def _is_closed(self) -> bool:
        return self._session.closed

    async def _beginning(self, answer: aiohttp.ClientResponse) -> bytes:
        """Of an error the status is what counts: its body is read as far as it is useful and can be read."""
        if answer.status < 400:  # noqa: PLR2004
            answer.close()
            return b""
        collected = b""
        try:
            body = body_for(answer.headers.get("Content-Encoding", ""), "", cap=_ERROR_BODY_BYTES)
            with self._silence.listen(connected=True) as listener:
                while chunk := await answer.content.readany():
                    listener.heard()
                    if isinstance(body, PlainBody):
                        collected += chunk
                        if len(collected) >= _ERROR_BODY_BYTES:
                            answer.close()
                            return collected[:_ERROR_BODY_BYTES]
                    else:
                        body.feed(chunk)
            return collected or body.finish()
        except (*FOREIGN, RequestError):
            answer.close()
            return collected
        except BaseException:
            answer.close()
            raise

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


def proxy_from_env(address: Address) -> Proxy | None:
    """The proxy that the environment names for this server.

    Asked here and not by aiohttp, whose ``trust_env`` would also look for credentials in ``~/.netrc``. None for
    http, as then the server is this machine.
    """
    parts = URL(address.origin)
    text = urllib.request.getproxies().get("https")
    if parts.scheme == "http" or not text or urllib.request.proxy_bypass(parts.host or ""):
        return None
    try:
        url = URL(text)
    except ValueError:
        url = URL()
    if url.scheme not in {"http", "https"} or not url.host:
        raise ConfigurationError("The environment names a proxy for https that is no http URL")
    headers: dict[str, str] | None = None
    if url.user is not None:
        pair = f"{url.user}:{url.password or ''}".encode()
        headers = {"Proxy-Authorization": f"Basic {base64.b64encode(pair).decode()}"}
    return Proxy(url.with_user(None), headers)


def closed() -> ClientStateError:
    """The error for what was in progress when the session was closed."""
    return ClientStateError("The client was closed while this call was in progress")


def _data(body: bytes | None, heard: Callable[[], None]) -> bytes | _Pieces | None:
    # A long one is sent piece by piece, as writing it at once would hold up the loop.
    return body if body is None or len(body) <= _LONG_BODY_BYTES else _Pieces(body, heard)


def _headers(request: Request, authorization: Secret) -> dict[str, str]:
    headers: dict[str, str] = {}
    if authorization is not NO_SECRET:
        headers["Authorization"] = authorization.reveal()
    if request.body is not None:
        headers["Content-Type"] = _JSON
    return headers
