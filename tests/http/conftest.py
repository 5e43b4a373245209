"""A server that says exactly what a test wrote down, byte by byte, and remembers what it was told."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

import pytest

from tracket_async._http.messages import Request

GET = Request("GET", "/api/2.0/things", "/api/2.0/things")


class Exchange:
    """One request that the server received, and what it can do about it."""

    def __init__(self, head, body, reader, writer):
        self.head, self.body, self.reader, self.writer = head, body, reader, writer
        self.line = head.split("\r\n")[0]
        self.method, self.target, _ = self.line.split(" ")
        fields = (line.partition(":") for line in head.split("\r\n")[1:] if line)
        self.headers = {name.lower(): value.strip() for name, _, value in fields}

    def reset(self):
        """End the connection with a RST, as a crash does."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class ScriptedServer:
    """Answers the nth request with the nth answer; the last one serves for all that follow.

    An answer is the bytes to send, after which the connection stays open; or ``(bytes, "close")``; or an async
    function of the `Exchange`.
    """

    def __init__(self):
        self.answers = []
        self.received = []
        self.connections = 0
        self.read_body = True
        self._tasks = set()

    @property
    def url(self):
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"{self.scheme}://{host}:{port}"

    async def start(self, ssl=None):
        self.scheme = "https" if ssl else "http"
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=ssl)

    async def stop(self):
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader, writer):
        self.connections += 1
        task = asyncio.current_task()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            while await self._serve_one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _serve_one(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        exchange = Exchange(head, b"", reader, writer)
        self.received.append(exchange)
        answer = self.answers[min(len(self.received), len(self.answers)) - 1]
        if self.read_body and (length := int(exchange.headers.get("content-length", 0))):
            exchange.body = await reader.readexactly(length)
        if callable(answer):
            return await answer(exchange)
        content, then = answer if isinstance(answer, tuple) else (answer, "stay")
        writer.write(content)
        await writer.drain()
        return then == "stay"


@pytest.fixture
async def server():
    """A `ScriptedServer` on a free port of this machine."""
    scripted = ScriptedServer()
    await scripted.start()
    yield scripted
    await scripted.stop()


@pytest.fixture
def http():
    """Makes an answer: ``http(200, b"{}", **{"Retry-After": "3"})``, with a Content-Length unless told otherwise."""

    def make(status=200, body=b"{}", *, length=True, **headers):
        lines = [f"HTTP/1.1 {status} Whatever"]
        if length:
            lines.append(f"Content-Length: {len(body)}")
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + body

    return make


@pytest.fixture
def get():
    """A plain GET."""
    return GET
