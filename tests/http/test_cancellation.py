"""Cancelled or not, a call leaves nothing behind: no task, no socket, no slot, no memory."""

from __future__ import annotations

import asyncio
import contextlib
import random
from pathlib import Path

import pytest

from tracket_async._http.auth import BearerToken, ClientCredentials
from tracket_async._http.messages import Request
from tracket_async._http.session import TracketSession
from tracket_async.config import Limits, RetryPolicy

TOKEN_ANSWER = b'{"access_token": "token-1", "expires_in": 3600}'


class CancelledAt:
    """Awaits a coroutine, and cancels the task in which it does when that suspends for the nth time."""

    def __init__(self, coroutine, nth):
        self.coroutine, self.nth, self.suspensions = coroutine, nth, 0

    def __await__(self):
        task = asyncio.current_task()
        steps = self.coroutine.__await__()
        waiting = next(steps)
        while True:
            self.suspensions += 1
            if self.suspensions == self.nth:
                asyncio.get_running_loop().call_soon(task.cancel)
            try:
                value = yield waiting
            except BaseException as error:  # noqa: BLE001 - passed on as it is
                step = (steps.throw, error)
            else:
                step = (steps.send, value)
            try:
                waiting = step[0](step[1])
            except StopIteration as stop:
                return stop.value


def body(response):
    return response.body


async def cancel_at(session, get, nth):
    """Returns whether the call was still going on at its nth suspension."""

    async def run():
        return await CancelledAt(session.send(get, body), nth)

    task = asyncio.create_task(run())
    try:
        await task
    except asyncio.CancelledError:
        return True
    return False


def nothing_is_held(session):
    concurrency = session.statistics().concurrency
    connector = session._transport._session.connector
    return (concurrency.in_use, concurrency.waiters, len(connector._acquired)) == (0, 0, 0)


async def by_route(exchange):
    await asyncio.sleep(0)
    content = TOKEN_ANSWER if exchange.target.endswith("token") else b"{}"
    exchange.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content))
    return True


SITUATIONS = {
    "the first call of a session": {"auth": ClientCredentials("i", "s-e-c-r-e-t", "5")},
    "a fixed token": {"auth": BearerToken("t-o-k-e-n")},
    "paced": {"auth": BearerToken("t-o-k-e-n"), "limits": Limits(requests_per_second=1_000)},
}


@pytest.mark.parametrize("situation", SITUATIONS)
async def test_at_every_await_of_a_call(no_leaks, server, get, situation):
    server.answers = [by_route]
    nth, going_on = 0, True
    while going_on:
        nth += 1
        async with TracketSession(server.url, **SITUATIONS[situation]) as session:
            going_on = await cancel_at(session, get, nth)
            if flight := getattr(session._authorizer, "_fetching", None):
                await asyncio.wait([flight])  # a token is on its way for whoever comes next
            assert nothing_is_held(session)
            assert await session.send(get, body) == b"{}"
            assert nothing_is_held(session)
    assert nth > 2


async def test_at_every_await_of_a_call_on_a_kept_connection(no_leaks, server, get):
    server.answers = [by_route]
    nth, going_on = 0, True
    async with TracketSession(server.url, auth=BearerToken("t-o-k-e-n")) as session:
        while going_on:
            nth += 1
            await session.send(get, body)
            going_on = await cancel_at(session, get, nth)
            assert nothing_is_held(session)
    assert nth > 1


async def test_at_every_await_of_a_call_that_fails_at_first(no_leaks, server, get, http):
    nth, going_on = 0, True
    async with TracketSession(server.url, auth=None, retry=RetryPolicy(wait_initial=0.001)) as session:
        while going_on:
            nth += 1
            server.answers, server.received = [http(503, b""), by_route], []
            going_on = await cancel_at(session, get, nth)
            assert nothing_is_held(session)
    assert nth > 4


async def test_while_queueing(no_leaks, server, get):
    hold = asyncio.Event()

    async def held(exchange):
        await hold.wait()
        return await by_route(exchange)

    server.answers = [held]
    async with TracketSession(server.url, auth=None, limits=Limits(max_concurrency=1)) as session:
        first = asyncio.create_task(session.send(get, body))
        assert await cancel_at(session, get, 1)
        assert session.statistics().concurrency.waiters == 0
        hold.set()
        await first
        assert nothing_is_held(session)


async def cancel_at_random(server, get, http, count):
    """Many calls at once through a low limit, with failures among the answers; most are cancelled at some moment."""
    rng = random.Random(3)

    async def moody(exchange):
        if rng.random() < 0.2:
            exchange.writer.write(http(503, b""))
            return True
        return await by_route(exchange)

    server.answers = [moody]
    retry = RetryPolicy(wait_initial=0.001, budget=None)
    limits = Limits(max_concurrency=4, adaptive=False)
    done = cancelled = 0
    async with TracketSession(server.url, auth=BearerToken("t"), retry=retry, limits=limits) as session:
        while cancelled < count:
            tasks = [asyncio.create_task(session.send(get, body)) for _ in range(50)]
            for task in rng.sample(tasks, 40):
                for _ in range(rng.randrange(4)):
                    await asyncio.sleep(0)
                task.cancel()
            for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                cancelled += isinstance(outcome, asyncio.CancelledError)
                done += outcome == b"{}"
            assert nothing_is_held(session)
    return done


async def test_at_random(no_leaks, server, get, http):
    assert await cancel_at_random(server, get, http, 400) > 0


@pytest.mark.soak
async def test_ten_thousand_times_at_random(no_leaks, server, get, http):
    assert await cancel_at_random(server, get, http, 10_000) > 0


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
