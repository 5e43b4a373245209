"""Requests leave no memory behind: not in this package, nor in what it uses."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from tracket_async._http.auth import BearerToken
from tracket_async._http.messages import Request
from tracket_async._http.session import TracketSession

STATM = Path("/proc/self/statm")
PAGE_BYTES = 4096
MIB = 1024 * 1024
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"

pytestmark = pytest.mark.skipif(not STATM.exists(), reason="only Linux tells what is resident now")


class Answering(asyncio.Protocol):
    """Answers whatever comes, as it comes: requests without a body fit into one piece."""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, _data):
        self.transport.write(ANSWER)


def resident():
    return int(STATM.read_text().split()[1]) * PAGE_BYTES


@contextlib.asynccontextmanager
async def answering():
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await server.wait_closed()


async def growth(requests, *, warm_up):
    """How many MiB more are resident after so many requests, each of another address, by 16 workers."""
    numbers = iter(range(warm_up + requests))
    before = 0

    async def work(session):
        nonlocal before
        for number in numbers:
            if number == warm_up:
                before = resident()
            request = Request("GET", f"/things/{number}", "/things/{id}", (("after", str(number)),))
            await session.send(request, lambda response: response.body)

    async with answering() as url, TracketSession(url, auth=BearerToken("t-o-k-e-n")) as session:
        await asyncio.gather(*[work(session) for _ in range(16)])
        assert session.statistics().attempts == warm_up + requests
    return (resident() - before) / MIB


async def test_three_thousand_requests_leave_nothing_behind(no_leaks):
    assert await growth(2_000, warm_up=1_000) < 2


@pytest.mark.soak
@pytest.mark.timeout(3_600)
async def test_a_million_requests_leave_less_than_ten_mebibytes_behind(no_leaks):
    assert await growth(1_000_000, warm_up=20_000) < 10
