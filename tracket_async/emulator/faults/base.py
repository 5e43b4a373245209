"""A connection taken from aiohttp, to write bytes on it that no honest server would.

aiohttp.web frames every answer correctly and closes politely. `Wire` steps between its protocol and the
transport: it writes what it is told, cuts or resets the connection, and knows when the other side has gone.

What a fault is: a frozen value with a kind, met by one exchange in place of, or around, the honest answer.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus
from typing import ClassVar, Final, Protocol, cast

from aiohttp import web

from tracket_async.emulator.request_log import ReceivedRequest
from tracket_async.emulator.routes import Answer

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # SO_LINGER on, for zero seconds: close() sends RST


class _Watch(asyncio.Protocol):
    """Stands where aiohttp's protocol stood: what arrives is dropped, the end is told to both."""

    def __init__(self, inner: asyncio.Protocol, over: asyncio.Event) -> None:
        self._inner = inner
        self._over = over
        self.writable = asyncio.Event()
        self.writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._over.set()
        self.writable.set()
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()


class Wire:
    """One connection, taken over for the rest of its life.

    Args:
        transport: The connection.
        sleep: Waits that many seconds.
    """

    def __init__(self, transport: asyncio.Transport, sleep: Callable[[float], Awaitable[None]]) -> None:
        self.over = asyncio.Event()
        """Set when the connection is gone, or the server stops."""
        self._transport = transport
        self._sleep = sleep
        self._watch = _Watch(cast("asyncio.Protocol", transport.get_protocol()), self.over)
        transport.set_protocol(self._watch)

    async def write(self, data: bytes) -> bool:
        """Write and wait until there is room again; False when there is nobody to write to any more."""
        self._transport.write(data)
        await self._watch.writable.wait()
        return not self.over.is_set()

    async def pause(self, seconds: float) -> bool:
        """Let `seconds` pass, or less if the connection ends; False when it has."""
        sleeper = asyncio.ensure_future(self._sleep(seconds))
        end = asyncio.ensure_future(self.over.wait())
        try:
            await asyncio.wait((sleeper, end), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeper.cancel()
            end.cancel()
        return not self.over.is_set()

    def stop_reading(self) -> None:
        """Read nothing more: the other side's upload fills the socket buffers and stalls."""
        self._transport.pause_reading()

    async def close(self) -> None:
        """End politely: what was written is sent, then FIN."""
        self._transport.close()
        await self.over.wait()

    async def reset(self) -> None:
        """End with RST: the other side sees "connection reset by peer"."""
        connection: socket.socket | None = self._transport.get_extra_info("socket")
        if connection is not None and not self._transport.is_closing():
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._transport.abort()
        await asyncio.sleep(0)


def head(status: int, headers: Iterable[tuple[str, str]]) -> bytes:
    """The bytes of an HTTP/1.1 response before its body."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1", "replace")


class Exchange(Protocol):
    """One request on its way to its answer, as a fault sees it."""

    @property
    def received(self) -> ReceivedRequest:
        """The request."""
        ...

    async def answer(self) -> Answer:
        """Do what was asked, and give the honest answer; it is not sent."""
        ...

    def respond(self, answer: Answer) -> web.StreamResponse:
        """The response that sends this answer."""
        ...

    def headers(self, answer: Answer) -> list[tuple[str, str]]:
        """The headers that go with this answer, without those of its framing."""
        ...

    def take_over(self) -> Wire:
        """Take the connection from aiohttp."""
        ...

    def gone(self, status: int | None) -> web.StreamResponse:
        """What a fault gives back when it has ended the connection itself, after sending this status or none."""
        ...

    async def pause(self, seconds: float) -> None:
        """Let seconds pass."""
        ...

    def skew_clock(self, seconds: float) -> None:
        """Shift the Date header of this answer."""
        ...

    def expire_tokens(self) -> None:
        """Make every token from the token call invalid."""
        ...


class Fault(ABC):
    """Something that goes wrong with one request.

    Attributes:
        kind: Its name in the request log and in fault files.
    """

    kind: ClassVar[str]


class Effect(Fault):
    """Happens before the request is worked on, which then goes its way; several can meet one request."""

    @abstractmethod
    async def prepare(self, exchange: Exchange) -> None:
        """Let it happen."""


class Disturbance(Fault):
    """Decides what the client gets; only one can meet a request."""

    @abstractmethod
    async def inflict(self, exchange: Exchange) -> web.StreamResponse:
        """Answer, or not."""
