"""Two servers that say what a test wrote down: one over sockets, byte by byte, and one without, on virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct

import pytest

from tracket_async._http.auth import BearerToken, ClientCredentials
from tracket_async._http.limits import Clock
from tracket_async._http.messages import Request, Response
from tracket_async._http.session import TracketSession
from tracket_async.config import CallOptions
from tracket_async.errors import (
    AttemptTimeoutError,
    RequestError,
)

THINGS = Request("GET", "/api/2.0/things", "/api/2.0/things")


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
        # asyncio leaves open what it has accepted when the server closes: `Server._attach` asserts, unheard.
        asyncio.get_running_loop().remove_reader(self._server.sockets[0].fileno())
        for _ in range(5):
            await asyncio.sleep(0)
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
    return THINGS


URL = "https://tracket.dev"
CANARY = "canary-7f3a"
TOKEN = BearerToken(CANARY)
GET = Request("GET", "/api/2.0/things/1", "/api/2.0/things/{id}")
PUT = Request("PUT", "/api/2.0/things/1", "/api/2.0/things/{id}", body=b"{}")
POST = Request("POST", "/api/2.0/things", "/api/2.0/things", body=b"{}")
DELETE = Request("DELETE", "/api/2.0/things/1", "/api/2.0/things/{id}")
CREDENTIALS = ClientCredentials("id", CANARY, "5")


class Sent:
    """One request that reached the transport."""

    def __init__(self, request, authorization, seconds):
        self.request, self.header, self.seconds = request, authorization.reveal(), seconds
        self.at = asyncio.get_running_loop().time()
        self.is_token = request.path.endswith("/oauth2/token")


class FakeTransport:
    """Takes ``latency`` seconds, then answers as ``behave(sent)`` says: a status, a Response, or an exception."""

    def __init__(self, latency):
        self.latency = latency
        self.sent = []
        self.in_progress = self.most = 0
        self.closed = False
        self.dropped = 0

    async def send(self, request, authorization, *, seconds=None):
        sent = Sent(request, authorization, seconds)
        self.sent.append(sent)
        self.in_progress += 1
        self.most = max(self.most, self.in_progress)
        try:
            latency = self.latency(sent) if callable(self.latency) else self.latency
            if seconds is not None and seconds < latency:
                await asyncio.sleep(seconds)
                raise AttemptTimeoutError("late")
            await asyncio.sleep(latency)
            answer = self.behave(sent)
        except asyncio.CancelledError as error:
            error.maybe_sent = True
            raise
        finally:
            self.in_progress -= 1
        if isinstance(answer, BaseException):
            raise answer
        return answer if isinstance(answer, Response) else reply(answer)

    def drop_idle(self):
        self.dropped += 1

    async def close(self):
        self.closed = True

    @property
    def calls(self):
        return [sent for sent in self.sent if not sent.is_token]


def reply(status, body=b"{}", **headers):
    return Response(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def token(number, **more):
    return reply(200, b'{"access_token": "token-%d", "expires_in": 3600}' % number)


@pytest.fixture
def run_session(monkeypatch, virtually):
    """Run ``scenario(session, transport)`` on a virtual loop, with answers from ``behave``."""

    def run(scenario, behave=lambda sent: 200, *, latency=0.1, auth=TOKEN, seed=1, **settings):
        transport = FakeTransport(latency)
        transport.behave = behave
        monkeypatch.setattr("tracket_async._http.session.Transport", lambda *args, **kwargs: transport)
        chance = random.Random(seed).random

        async def main():
            clock = Clock(time=asyncio.get_running_loop().time, random=chance)
            async with TracketSession(URL, auth=auth, clock=clock, **settings) as session:
                result = await scenario(session, transport)
                statistics = session.statistics()
                assert (statistics.concurrency.in_use, statistics.concurrency.waiters) == (0, 0)
            assert transport.closed
            return result

        return virtually(main())

    return run


class Bucket:
    """A server that accepts ``rate`` requests a second and ``burst`` at once: a token bucket."""

    def __init__(self, rate, burst):
        self.rate, self.burst, self.tokens, self.at = rate, burst, float(burst), 0.0

    def accepts(self, now):
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate)
        self.at = now
        accepted = self.tokens >= 1 - 1e-9
        self.tokens -= accepted
        return accepted


def script(*answers):
    """The nth request gets the nth answer, all others the last."""
    left = list(answers)
    return lambda sent: left.pop(0) if len(left) > 1 else left[0]


def body(response):
    return response.body


async def failing(session, request=GET, parse=body, **options):
    with pytest.raises(RequestError) as caught:
        await session.send(request, parse, options=CallOptions(**options))
    return caught.value


class Tokens:
    """A server that accepts the token that it gave out last, for as long as ``lifetime`` says."""

    def __init__(self, lifetime=1e9, api=lambda sent: 200, refuse=False):
        self.issued, self.lifetime, self.api, self.refuse = [], lifetime, api, refuse

    def __call__(self, sent):
        now = asyncio.get_running_loop().time()
        if sent.is_token:
            self.issued.append(now)
            return token(len(self.issued))
        valid = not self.refuse and sent.header == f"Bearer token-{len(self.issued)}"
        return self.api(sent) if valid and now < self.issued[-1] + self.lifetime else 401
