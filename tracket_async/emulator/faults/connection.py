"""Faults of the connection: bytes that are cut, reset, dripped or never come.

Each takes the connection from aiohttp and writes the head and the body itself. Where the honest answer is needed
the request has been carried out, so a write that is cut has happened: the client cannot know.

Faults that happen before a request is worked on, which then goes its way.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import ClassVar, Final, Literal, cast

from aiohttp import web
from attrs import field, frozen
from attrs.validators import ge, gt, in_

from tracket_async.emulator.faults.base import Disturbance, Effect, Exchange, head
from tracket_async.emulator.request_log import ReceivedRequest
from tracket_async.emulator.routes import Answer

Framing = Literal["length", "chunked", "gzip", "close"]
Headers = list[tuple[str, str]]

_CHUNK: Final = 64  # small, so that a cut at any byte meets chunk heads as well as data


def _by_length(body: bytes, at: int | None) -> tuple[Headers, bytes]:
    return [("Content-Length", str(len(body)))], body[: _place(body, at)]


def _chunked(body: bytes, at: int | None) -> tuple[Headers, bytes]:
    pieces = [body[start : start + _CHUNK] for start in range(0, len(body), _CHUNK)]
    stream = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    return [("Transfer-Encoding", "chunked")], stream[: _place(stream, at)]


def _gzipped(body: bytes, at: int | None) -> tuple[Headers, bytes]:
    stream = gzip.compress(body, mtime=0)
    sent = stream[: _place(stream, at)]
    # the length is true to what is sent: only the end of the gzip stream is missing
    return [("Content-Encoding", "gzip"), ("Content-Length", str(len(sent)))], sent


def _until_close(body: bytes, at: int | None) -> tuple[Headers, bytes]:
    return [("Connection", "close")], body[: _place(body, at)]


_FRAMINGS: Final[dict[Framing, Callable[[bytes, int | None], tuple[Headers, bytes]]]] = {
    "length": _by_length,
    "chunked": _chunked,
    "gzip": _gzipped,
    "close": _until_close,
}


def _place(stream: bytes, at: int | None) -> int:
    return len(stream) // 2 if at is None else at


def framed(answer: Answer, framing: Framing, at: int | None) -> tuple[Headers, bytes]:
    """The framing's headers, and the body's bytes on the wire up to `at`."""
    return _FRAMINGS[framing](answer.body, at)


@frozen
class Truncate(Disturbance):
    """The body ends too early, and the connection is closed.

    Attributes:
        at: How many bytes of the body are sent, as it is on the wire (chunk heads and compression included);
            negative counts from its end; None is half of it.
        framing: How the body's end is told: Content-Length, chunks, gzip with a Content-Length that matches what
            is sent, or by closing the connection. The last two look complete to a client that does not look.
    """

    kind: ClassVar[str] = "truncate"

    at: int | None = None
    framing: Framing = field(default="length", validator=in_(_FRAMINGS), kw_only=True)

    async def inflict(self, exchange: Exchange) -> web.StreamResponse:
        """Send a part, then close."""
        answer = await exchange.answer()
        headers, sent = framed(answer, self.framing, self.at)
        wire = exchange.take_over()
        await wire.write(head(answer.status, [*exchange.headers(answer), *headers]) + sent)
        await wire.close()
        return exchange.gone(answer.status)


@frozen
class Reset(Disturbance):
    """The connection is reset.

    Attributes:
        after: "request": no byte is sent; "headers": the headers are, and no byte of the body.
        commit: Whether the request is carried out before a reset that sends nothing; with "headers" it always is.
    """

    kind: ClassVar[str] = "reset"

    after: Literal["request", "headers"] = field(default="request", validator=in_(("request", "headers")))
    commit: bool = field(default=False, kw_only=True)

    async def inflict(self, exchange: Exchange) -> web.StreamResponse:
        """Send what is to be sent, then reset."""
        status = None
        sent = b""
        if self.commit or self.after == "headers":
            answer = await exchange.answer()
            if self.after == "headers":
                status = answer.status
                headers, _ = framed(answer, "length", 0)
                sent = head(status, [*exchange.headers(answer), *headers])
        wire = exchange.take_over()
        await wire.write(sent)
        await wire.reset()
        return exchange.gone(status)


@frozen
class CommitThenCut(Disturbance):
    """The request is carried out, and the connection closed without a byte of an answer."""

    kind: ClassVar[str] = "commit-then-cut"

    async def inflict(self, exchange: Exchange) -> web.StreamResponse:
        """Carry it out, then close."""
        await exchange.answer()
        await exchange.take_over().close()
        return exchange.gone(None)


@frozen
class Drip(Disturbance):
    """The body comes a few bytes at a time.

    Attributes:
        size: Bytes in each piece.
        interval: Seconds between two pieces.
    """

    kind: ClassVar[str] = "drip"

    size: int = field(default=1, validator=ge(1))
    interval: float = field(default=0.1, validator=gt(0))

    async def inflict(self, exchange: Exchange) -> web.StreamResponse:
        """Send it all, slowly."""
        answer = await exchange.answer()
        headers, body = framed(answer, "length", len(answer.body))
        wire = exchange.take_over()
        alive = await wire.write(head(answer.status, [*exchange.headers(answer), *headers]))
        for start in range(0, len(body), self.size):
            if not alive:
                break
            alive = await wire.pause(self.interval) and await wire.write(body[start : start + self.size])
        await wire.close()
        return exchange.gone(answer.status)


@frozen
class Hang(Disturbance):
    """Nothing comes, until the client goes or the server stops.

    Attributes:
        after: "request": no byte is sent; "headers": the headers are.
        commit: Whether the request is carried out first; with "headers" it always is.
    """

    kind: ClassVar[str] = "hang"

    after: Literal["request", "headers"] = field(default="request", validator=in_(("request", "headers")))
    commit: bool = field(default=False, kw_only=True)

    async def inflict(self, exchange: Exchange) -> web.StreamResponse:
        """Wait for the end."""
        answer = await exchange.answer() if self.commit or self.after == "headers" else None
        wire = exchange.take_over()
        status = None
        if self.after == "headers":
            answered = cast("Answer", answer)
            status = answered.status
            headers, _ = framed(answered, "length", 0)
            await wire.write(head(status, [*exchange.headers(answered), *headers]))
        await wire.over.wait()
        await wire.reset()
        return exchange.gone(status)


@frozen
class Stall(Disturbance):
    """The server stops reading in the middle of the upload, until it stops altogether.

    Attributes:
        seconds: After so many it resets the connection; None leaves that to the end of the server. While it does
            not read it cannot see that the client has gone.
    """

    kind: ClassVar[str] = "stall"

    seconds: float | None = None

    async def inflict(self, exchange: Exchange) -> web.StreamResponse:
        """Read no more."""
        wire = exchange.take_over()
        wire.stop_reading()
        if self.seconds is None:
            await wire.over.wait()
        else:
            await wire.pause(self.seconds)
        await wire.reset()
        return exchange.gone(None)


@frozen
class Delay(Effect):
    """The request waits.

    Attributes:
        seconds: How long; other requests go on meanwhile.
    """

    kind: ClassVar[str] = "delay"

    seconds: float

    async def prepare(self, exchange: Exchange) -> None:
        """Wait."""
        await exchange.pause(self.seconds)


@frozen
class ClockSkew(Effect):
    """The Date header is wrong.

    Attributes:
        seconds: Added to the server's time; negative for a clock that is behind.
    """

    kind: ClassVar[str] = "clock-skew"

    seconds: float

    async def prepare(self, exchange: Exchange) -> None:
        """Shift the header."""
        exchange.skew_clock(self.seconds)


@frozen
class ExpireToken(Effect):
    """Every token from the token call expires just before this request, which so gets a 401."""

    kind: ClassVar[str] = "expire-token"

    async def prepare(self, exchange: Exchange) -> None:
        """Expire them."""
        exchange.expire_tokens()


@frozen
class Call(Effect):
    """A function of yours is called: to change worklogs between two pages, or to note the time.

    Attributes:
        function: Given the request; called in the event loop, so it must not block.
    """

    kind: ClassVar[str] = "call"

    function: Callable[[ReceivedRequest], object]

    async def prepare(self, exchange: Exchange) -> None:
        """Call it."""
        self.function(exchange.received)
