"""The base classes of all faults, and a connection taken from aiohttp to write raw bytes on it.

A fault is a frozen value with a kind. A `RequestFault` happens before the request is carried out; a `ResponseFault`
decides what the client gets.

aiohttp.web frames every response correctly and closes politely. `RawConnection` steps between its protocol and the
transport: it writes what it is told, cuts or resets the connection, and notices when the client has disconnected.
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

from tracket_async.emulator.handlers import ApiRequest
from tracket_async.emulator.request_log import ReceivedRequest
from tracket_async.emulator.routes import ApiResponse

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # SO_LINGER on, for zero seconds: close() sends RST


class _RawProtocol(asyncio.Protocol):
    """Takes the place of aiohttp's protocol: drops what arrives, and tells both of the connection's end."""

    def __init__(self, inner: asyncio.Protocol, ended: asyncio.Event) -> None:
        self._inner = inner
        self._ended = ended
        self.writable = asyncio.Event()
        self.writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended.set()
        self.writable.set()
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()


class RawConnection:
    """One connection, taken over for the rest of its life.

    Args:
        transport: The connection.
        sleep: Waits that many seconds.
    """

    def __init__(self, transport: asyncio.Transport, sleep: Callable[[float], Awaitable[None]]) -> None:
        self.ended = asyncio.Event()
        """Set when the connection is closed, or the server stops."""
        self._transport = transport
        self._sleep = sleep
        self._protocol = _RawProtocol(cast("asyncio.Protocol", transport.get_protocol()), self.ended)
        transport.set_protocol(self._protocol)

    async def write(self, data: bytes) -> bool:
        """Write and wait until there is room again; return False when the connection has ended."""
        self._transport.write(data)
        await self._protocol.writable.wait()
        return not self.ended.is_set()

    async def sleep(self, seconds: float) -> bool:
        """Wait `seconds`, or less if the connection ends; return False when it has."""
        sleeper = asyncio.ensure_future(self._sleep(seconds))
        end = asyncio.ensure_future(self.ended.wait())
        try:
            await asyncio.wait((sleeper, end), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeper.cancel()
            end.cancel()
        return not self.ended.is_set()

    def stop_reading(self) -> None:
        """Read nothing more: the client's upload fills the socket buffers and stalls."""
        self._transport.pause_reading()

    async def close(self) -> None:
        """Send what was written, then FIN."""
        self._transport.close()
        await self.ended.wait()

    async def reset(self) -> None:
        """Send RST: the client sees "connection reset by peer"."""
        connection: socket.socket | None = self._transport.get_extra_info("socket")
        if connection is not None and not self._transport.is_closing():
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._transport.abort()
        await asyncio.sleep(0)


def head(status: int, headers: Iterable[tuple[str, str]]) -> bytes:
    """Return the bytes of an HTTP/1.1 response before its body."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1", "replace")


class Exchange(Protocol):
    """One request on its way to its response, as a fault sees it."""

    @property
    def received(self) -> ReceivedRequest:
        """Return the request."""
        ...

    async def execute(self, change: Callable[[ApiRequest], ApiRequest] | None = None) -> ApiResponse:
        """Carry the request out, as it is or changed, and return its true response; nothing is sent."""
        ...

    def respond(self, response: ApiResponse, *, followed_by: bytes = b"") -> web.StreamResponse:
        """Return the response in the form that aiohttp sends; more bytes can follow it on the connection."""
        ...

    def headers(self, response: ApiResponse) -> list[tuple[str, str]]:
        """Return the headers that go with this response, without those of its framing."""
        ...

    def take_over_connection(self) -> RawConnection:
        """Take the connection from aiohttp."""
        ...

    def disconnected(self, status: int | None) -> web.StreamResponse:
        """Return what a fault gives back when it has ended the connection itself, after this status or none."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait that many seconds."""
        ...

    def skew_clock(self, seconds: float) -> None:
        """Shift the Date header of this response."""
        ...

    def omit_date(self) -> None:
        """Send this response without a Date header."""
        ...

    def mute_connections(self) -> None:
        """Let no connection that is open now answer another request."""
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


class RequestFault(Fault):
    """A fault before the request is carried out, which then goes its way; several can apply to one request."""

    @abstractmethod
    async def apply(self, exchange: Exchange) -> None:
        """Apply the fault."""


class ResponseFault(Fault):
    """A fault that decides what the client gets; only one applies to a request."""

    @abstractmethod
    async def apply(self, exchange: Exchange) -> web.StreamResponse:
        """Apply the fault and return the response, or what `Exchange.disconnected` gives."""
