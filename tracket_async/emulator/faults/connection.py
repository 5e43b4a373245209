"""Connection faults (cut, reset, slow or silent responses) and faults before a request is carried out.

A connection fault takes the connection from aiohttp and writes the head and the body itself. Where it needs the true
response the request has been carried out, so a write that is cut has happened: the client cannot know.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import ClassVar, Final, Literal

from aiohttp import web
from attrs import field, frozen
from attrs.validators import ge, gt, in_

from tracket_async.emulator.faults.base import Exchange, RequestFault, ResponseFault, head
from tracket_async.emulator.request_log import ReceivedRequest
from tracket_async.emulator.routes import ApiResponse

Framing = Literal["length", "chunked", "gzip", "close"]
Headers = list[tuple[str, str]]

_CHUNK: Final = 64  # small, so that a cut at any byte meets chunk heads as well as data


def _by_length(body: bytes, at: int | None) -> tuple[Headers, bytes]:
    return [("Content-Length", str(len(body)))], body[: _cut_position(body, at)]


def _chunked(body: bytes, at: int | None) -> tuple[Headers, bytes]:
    pieces = [body[start : start + _CHUNK] for start in range(0, len(body), _CHUNK)]
    stream = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    return [("Transfer-Encoding", "chunked")], stream[: _cut_position(stream, at)]


def _gzipped(body: bytes, at: int | None) -> tuple[Headers, bytes]:
    stream = gzip.compress(body, mtime=0)
    sent = stream[: _cut_position(stream, at)]
    # the length is true to what is sent: only the end of the gzip stream is missing
    return [("Content-Encoding", "gzip"), ("Content-Length", str(len(sent)))], sent


def _until_close(body: bytes, at: int | None) -> tuple[Headers, bytes]:
    return [("Connection", "close")], body[: _cut_position(body, at)]


_FRAMINGS: Final[dict[Framing, Callable[[bytes, int | None], tuple[Headers, bytes]]]] = {
    "length": _by_length,
    "chunked": _chunked,
    "gzip": _gzipped,
    "close": _until_close,
}


def _cut_position(stream: bytes, at: int | None) -> int:
    return len(stream) // 2 if at is None else at


def framed(response: ApiResponse, framing: Framing, at: int | None) -> tuple[Headers, bytes]:
    """Return the framing's headers, and the body's bytes as sent on the connection, up to `at`."""
    return _FRAMINGS[framing](response.body, at)


@frozen
class Truncate(ResponseFault):
    """A body that ends too early, with the connection closed.

    Attributes:
        at: How many bytes of the body are sent, as sent on the connection (chunk heads and compression included);
            negative counts from its end; None is half of it.
        framing: How the end of the body is marked: Content-Length, chunks, gzip with a Content-Length that matches
            what is sent, or closing the connection. The last two look complete to a client that does not check.
    """

    kind: ClassVar[str] = "truncate"

    at: int | None = None
    framing: Framing = field(default="length", validator=in_(_FRAMINGS), kw_only=True)

    async def apply(self, exchange: Exchange) -> web.StreamResponse:
        """Send a part of the body, then close."""
        response = await exchange.execute()
        headers, sent = framed(response, self.framing, self.at)
        connection = exchange.take_over_connection()
        await connection.write(head(response.status, [*exchange.headers(response), *headers]) + sent)
        await connection.close()
        return exchange.disconnected(response.status)


@frozen
class _WithoutBody(ResponseFault):
    after: Literal["request", "headers"] = field(default="request", validator=in_(("request", "headers")))
    commit: bool = field(default=False, kw_only=True)

    async def _until_body(self, exchange: Exchange) -> tuple[int | None, bytes]:
        """Carry the request out where that is wanted; return the status to send, if any, and the bytes of the head."""
        if not self.commit and self.after == "request":
            return None, b""
        response = await exchange.execute()
        if self.after == "request":
            return None, b""
        headers, _ = framed(response, "length", 0)
        return response.status, head(response.status, [*exchange.headers(response), *headers])


@frozen
class Reset(_WithoutBody):
    """A reset connection.

    Attributes:
        after: "request": no byte is sent; "headers": the headers are, and no byte of the body.
        commit: Whether the request is carried out before a reset that sends nothing; with "headers" it always is.
    """

    kind: ClassVar[str] = "reset"

    async def apply(self, exchange: Exchange) -> web.StreamResponse:
        """Send nothing or the headers, then reset."""
        status, sent = await self._until_body(exchange)
        connection = exchange.take_over_connection()
        await connection.write(sent)
        await connection.reset()
        return exchange.disconnected(status)


@frozen
class CommitThenCut(ResponseFault):
    """A request that is carried out, and a connection closed without a byte of a response."""

    kind: ClassVar[str] = "commit-then-cut"

    async def apply(self, exchange: Exchange) -> web.StreamResponse:
        """Carry the request out, then close."""
        await exchange.execute()
        await exchange.take_over_connection().close()
        return exchange.disconnected(None)


@frozen
class Drip(ResponseFault):
    """A body that comes a few bytes at a time.

    Attributes:
        size: Bytes in each piece.
        interval: Seconds between two pieces.
    """

    kind: ClassVar[str] = "drip"

    size: int = field(default=1, validator=ge(1))
    interval: float = field(default=0.1, validator=gt(0))

    async def apply(self, exchange: Exchange) -> web.StreamResponse:
        """Send the whole response slowly."""
        response = await exchange.execute()
        headers, body = framed(response, "length", len(response.body))
        connection = exchange.take_over_connection()
        alive = await connection.write(head(response.status, [*exchange.headers(response), *headers]))
        for start in range(0, len(body), self.size):
            if not alive:
                break
            alive = await connection.sleep(self.interval) and await connection.write(body[start : start + self.size])
        await connection.close()
        return exchange.disconnected(response.status)


@frozen
class Hang(_WithoutBody):
    """A response that never comes, until the client disconnects or the server stops.

    Attributes:
        after: "request": no byte is sent; "headers": the headers are.
        commit: Whether the request is carried out first; with "headers" it always is.
    """

    kind: ClassVar[str] = "hang"

    async def apply(self, exchange: Exchange) -> web.StreamResponse:
        """Send nothing or the headers, and wait until the connection ends."""
        status, sent = await self._until_body(exchange)
        connection = exchange.take_over_connection()
        await connection.write(sent)
        await connection.ended.wait()
        await connection.reset()
        return exchange.disconnected(status)


@frozen
class Stall(ResponseFault):
    """A server that stops reading in the middle of the upload.

    Attributes:
        seconds: After so many it resets the connection; None leaves that to the end of the server. While it does
            not read it cannot see that the client has disconnected.
    """

    kind: ClassVar[str] = "stall"

    seconds: float | None = None

    async def apply(self, exchange: Exchange) -> web.StreamResponse:
        """Stop reading, and reset the connection at last."""
        connection = exchange.take_over_connection()
        connection.stop_reading()
        if self.seconds is None:
            await connection.ended.wait()
        else:
            await connection.sleep(self.seconds)
        await connection.reset()
        return exchange.disconnected(None)


@frozen
class Delay(RequestFault):
    """A pause before the request is carried out.

    Attributes:
        seconds: Length of the pause; other requests go on meanwhile.
    """

    kind: ClassVar[str] = "delay"

    seconds: float

    async def apply(self, exchange: Exchange) -> None:
        """Wait that many seconds."""
        await exchange.sleep(self.seconds)


@frozen
class ClockSkew(RequestFault):
    """A wrong Date header.

    Attributes:
        seconds: Added to the server's time; negative for a clock that is behind.
    """

    kind: ClassVar[str] = "clock-skew"

    seconds: float

    async def apply(self, exchange: Exchange) -> None:
        """Shift the Date header."""
        exchange.skew_clock(self.seconds)


@frozen
class NoDate(RequestFault):
    """No Date header."""

    kind: ClassVar[str] = "no-date"

    async def apply(self, exchange: Exchange) -> None:
        """Leave it out."""
        exchange.omit_date()


@frozen
class ExpireToken(RequestFault):
    """Every token from the token call expires just before this request, which so gets a 401."""

    kind: ClassVar[str] = "expire-token"

    async def apply(self, exchange: Exchange) -> None:
        """Expire the tokens."""
        exchange.expire_tokens()


@frozen
class Call(RequestFault):
    """A call of your function: to change worklogs between two pages, or to note the time.

    Attributes:
        function: Given the request; called in the event loop, so it must not block.
    """

    kind: ClassVar[str] = "call"

    function: Callable[[ReceivedRequest], object]

    async def apply(self, exchange: Exchange) -> None:
        """Call the function."""
        self.function(exchange.received)
