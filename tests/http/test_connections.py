"""Kept connections: which are used again, by whom, and what an answer that nobody asked for can do."""

from __future__ import annotations

import asyncio
import contextlib
import select
import selectors

import pytest

from tests.http.conftest import DELETE, GET, POST, PUT, body, failing, reply, script
from tracket_async import TracketClient, WorklogChanges
from tracket_async._http.messages import NO_AUTHORIZATION
from tracket_async._http.session import TracketSession
from tracket_async._http.streams import ReadTimeout
from tracket_async._http.transport import Transport, _expiry, _Protocol
from tracket_async._http.urls import BaseURL
from tracket_async.config import Limits, RetryPolicy, Timeouts
from tracket_async.errors import (
    AttemptTimeoutError,
    ConnectError,
    ConnectionLostError,
    MismatchedResponseError,
    NetworkError,
)

OF_A, OF_B = b'{"of": "a"}', b'{"of": "b"}'
NO_WAIT = RetryPolicy(wait_initial=0)


@pytest.fixture
def later(monkeypatch):
    """``later(seconds)`` lets the time of the connections pass."""
    passed = [0.0]
    monkeypatch.setattr(ReadTimeout, "now", lambda self: self._loop.time() + passed[0])
    return lambda seconds: passed.append(passed.pop() + seconds)


@pytest.fixture
async def transport(server):
    made = Transport(
        BaseURL.parse(server.url),
        timeouts=Timeouts(read=0.1),
        limits=Limits(),
        user_agent="me",
        ssl=None,
    )
    yield made
    await made.close()


async def send(transport, request=GET):
    return (await transport.send(request, NO_AUTHORIZATION)).body


def idle(transport):
    """The connections that are kept and not in use."""
    return [protocol for kept in transport._connector._conns.values() for protocol, _ in kept]


async def until(condition):
    while not condition():  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0)


async def open_several(server, transport, http, number):
    """Open so many connections and leave them idle."""
    arrived = asyncio.Barrier(number)

    async def together(exchange):
        await arrived.wait()
        exchange.writer.write(http())
        return True

    server.answers = [together]
    await asyncio.gather(*(send(transport) for _ in range(number)))
    assert (server.connections, len(idle(transport))) == (number, number)


def mute_so_far(server, http):
    """Let the connections that are open now answer no more."""
    muted = {exchange.writer for exchange in server.received}

    async def answer(exchange):
        if exchange.writer in muted:
            await asyncio.Event().wait()
        exchange.writer.write(http(200, OF_B))
        return True

    server.answers = [answer]


def test_the_private_names_are_still_there():
    """What `_Connector` replaces, and what these tests look at."""
    connector = Transport.__init__.__globals__["_Connector"]
    assert {"_factory", "_conns"} <= set(connector.__mro__[2].__init__.__code__.co_names)


# -- an answer that nobody asked for (RFC 9112, 9.2) ----------------------------------------------------------------


@pytest.mark.parametrize("request_", [GET, POST, PUT, DELETE], ids=lambda request: request.method)
async def test_an_unasked_answer_is_not_taken_for_the_next(server, transport, http, request_):
    server.answers = [http(200, OF_A), http(200, OF_B)]
    assert await send(transport) == OF_A
    server.received[0].writer.write(http(200, OF_A))
    await until(lambda: idle(transport)[0].should_close)
    assert await send(transport, request_) == OF_B
    assert server.connections == 2


def wait_for_bytes(transport):
    """Wait until the idle connection has something to be read, without a turn of the loop, which would read it."""
    sock = idle(transport)[0].transport.get_extra_info("socket")
    with selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_READ)
        assert selector.select(5)


@pytest.mark.parametrize("request_", [GET, POST, PUT, DELETE], ids=lambda request: request.method)
async def test_an_unasked_answer_that_the_loop_has_not_read_yet_counts(server, transport, http, request_):
    server.answers = [http(200, OF_A), http(200, OF_B)]
    assert await send(transport) == OF_A
    server.received[0].writer.write(http(200, OF_A))
    wait_for_bytes(transport)
    assert not idle(transport)[0].should_close
    assert await send(transport, request_) == OF_B
    assert server.connections == 2


async def test_an_unasked_answer_counts_on_a_system_without_poll(server, transport, http, monkeypatch):
    monkeypatch.delattr(select, "poll")
    server.answers = [http(200, OF_A), http(200, OF_A), http(200, OF_B)]
    assert [await send(transport), await send(transport)] == [OF_A, OF_A]
    assert server.connections == 1
    server.received[0].writer.write(http(200, OF_A))
    wait_for_bytes(transport)
    assert await send(transport) == OF_B
    assert server.connections == 2


@pytest.mark.parametrize("request_", [POST, PUT], ids=lambda request: request.method)
async def test_no_body_is_sent_behind_an_unasked_answer(server, transport, http, request_, monkeypatch):
    """It comes when the connection is taken already; up to Python 3.11 a body is written a turn of the loop later."""
    server.answers = [http(200, OF_A), http(200, OF_B)]
    assert await send(transport) == OF_A
    (protocol,), connected = idle(transport), ReadTimeout.connected

    def taken(self, use, **more):
        connected(self, use, **more)
        monkeypatch.undo()
        server.received[0].writer.write(http(200, OF_A))
        while protocol.is_clean():
            pass

    monkeypatch.setattr(ReadTimeout, "connected", taken)
    with pytest.raises(ConnectionLostError) as caught:
        await send(transport, request_)
    assert not caught.value.maybe_sent
    assert len(server.received) == 1
    assert await send(transport, request_) == OF_B


async def test_half_an_unasked_answer_is_enough(server, transport, http):
    server.answers = [http(200, OF_A), http(200, OF_B)]
    assert await send(transport) == OF_A
    server.received[0].writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
    await until(lambda: idle(transport)[0].should_close)
    assert await send(transport) == OF_B


async def test_of_several_connections_each_with_an_unasked_answer_none_is_used(server, transport, http):
    await open_several(server, transport, http, 3)
    for exchange in server.received:
        exchange.writer.write(http(200, OF_A))
    await until(lambda: all(protocol.should_close for protocol in idle(transport)))
    server.answers = [http(200, OF_B)]
    assert await send(transport) == OF_B
    assert server.connections == 4
    assert len(idle(transport)) == 1


def of(wanted):
    def parse(response):
        if response.body != wanted:
            raise MismatchedResponseError("another one")
        return response.body

    return parse


def test_an_answer_to_another_request_is_asked_for_once_more(run_session):
    async def scenario(session, transport):
        assert await session.send(GET, of(OF_B)) == OF_B
        assert transport.dropped == 1
        statistics = session.statistics()
        assert (statistics.attempts, statistics.retries, statistics.retry_tokens) == (2, 0, 500)

    run_session(scenario, script(reply(200, OF_A), reply(200, OF_B)))


def test_a_second_answer_to_another_request_is_final(run_session):
    async def scenario(session, transport):
        error = await failing(session, GET, of(OF_B))
        assert type(error) is MismatchedResponseError
        assert (error.status, len(transport.sent)) == (200, 2)

    run_session(scenario, lambda sent: reply(200, OF_A))


def test_a_create_is_not_sent_again_for_the_answer_to_another_request(run_session):
    async def scenario(session, transport):
        error = await failing(session, POST, of(OF_B))
        assert (type(error), error.is_ambiguous, len(transport.sent)) == (MismatchedResponseError, True, 1)

    run_session(scenario, lambda sent: reply(200, OF_A))


@pytest.mark.parametrize("api", ["1.0", "2.0"])
async def test_a_worklog_of_another_id_is_not_taken(hostile, api):
    hostile.add(*hostile.make_rows(2))
    async with TracketClient.from_env(hostile.env(api), retry=NO_WAIT) as client:
        hostile.wrong_id = "wl-0000"
        assert (await client.worklogs.get("wl-0000")).id == "wl-0000"
        with pytest.raises(MismatchedResponseError, match="another worklog than 'wl-0001'"):
            await client.worklogs.get("wl-0001")
        assert hostile.count() == 3
        hostile.wrong_id = None
        assert (await client.worklogs.get("wl-0001")).id == "wl-0001"
        assert (await client.worklogs.update("wl-0001", WorklogChanges(minutes=7))).minutes == 7


@pytest.mark.parametrize("api", ["1.0", "2.0"])
async def test_a_get_survives_unasked_answers_of_any_shape_and_time(server, http, api, hostile):
    """The unasked answer to the first request comes when the second has been sent already."""
    hostile.add(*hostile.make_rows(1))
    async with TracketClient.from_env(hostile.env(api)) as client:
        row = await client.send(client.api_version.get("wl-0000"), lambda response: response.body)
    for unasked in (b"{}", b"[]", b'{"items": []}', b'{"worklogs": []}', b"null"):
        server.answers = [http(200, row), http(200, unasked) + http(200, row), http(200, row)]
        server.received = []
        environment = hostile.env(api) | {"TRACKET_BASE_URL": server.url}
        async with TracketClient.from_env(environment, retry=NO_WAIT) as client:
            for _ in range(2):
                assert (await client.worklogs.get("wl-0000")).id == "wl-0000"
            assert client.statistics().attempts == 3


# -- mute and broken connections -------------------------------------------------------------------------------------


async def test_after_a_timeout_on_a_kept_connection_no_other_idle_one_is_used(server, http, transport):
    await open_several(server, transport, http, 8)
    mute_so_far(server, http)
    with pytest.raises(AttemptTimeoutError):
        await send(transport)
    assert await send(transport) == OF_B
    assert server.connections == 9


async def test_a_get_survives_any_number_of_mute_connections(server, http):
    async with TracketSession(server.url, auth=None, retry=NO_WAIT, timeouts=Timeouts(read=0.1)) as session:
        await open_several(server, session._transport, http, 8)
        mute_so_far(server, http)
        assert await session.send(GET, body) == OF_B
        assert session.statistics().retries == 1


async def test_after_a_reset_of_a_kept_connection_no_other_idle_one_is_used(server, http, transport):
    await open_several(server, transport, http, 3)
    kept = {exchange.writer for exchange in server.received}

    async def answer(exchange):
        if exchange.writer in kept:
            exchange.reset()
            return False
        exchange.writer.write(http(200, OF_B))
        return True

    server.answers = [answer]
    with pytest.raises(NetworkError):
        await send(transport)
    assert await send(transport) == OF_B


async def test_a_connection_that_has_answered_since_is_used_again(server, http, transport):
    await open_several(server, transport, http, 1)
    transport.drop_idle()
    assert await send(transport) == b"{}"
    assert await send(transport) == b"{}"
    assert server.connections == 2


async def test_a_failure_of_a_new_connection_says_nothing_about_the_others(server, http, transport):
    go_on, fail = asyncio.Event(), asyncio.Event()

    async def answer(exchange):
        if exchange is server.received[0]:
            await go_on.wait()
        elif exchange is server.received[1]:
            await fail.wait()
            exchange.reset()
            return False
        exchange.writer.write(http(200, OF_B))
        return True

    server.answers = [answer]
    first, second = asyncio.create_task(send(transport)), asyncio.create_task(send(transport))
    await until(lambda: len(server.received) == 2)
    go_on.set()
    assert await first == OF_B
    fail.set()
    with pytest.raises(ConnectionLostError):
        await second
    assert await send(transport) == OF_B
    assert server.connections == 2


@pytest.mark.parametrize(("silence", "connections"), [(1.9, 2), (2.1, 3)])
async def test_a_cancellation_after_a_long_silence_counts_as_a_timeout(
    server, http, transport, later, silence, connections
):
    await open_several(server, transport, http, 2)
    mute_so_far(server, http)
    sending = asyncio.create_task(send(transport))
    await until(lambda: len(server.received) == 3)
    later(silence)
    sending.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await sending
    with contextlib.suppress(AttemptTimeoutError):
        await send(transport)
    assert server.connections == connections


async def test_a_name_is_resolved_again_after_a_connection_that_failed(monkeypatch, transport):
    asked = []
    monkeypatch.setattr(transport._connector, "clear_dns_cache", lambda: asked.append("cleared"))

    async def fail(*_args, **_settings):
        raise OSError(111, "Connection refused")

    monkeypatch.setattr(transport._connector, "connect", fail)
    monkeypatch.setattr("tracket_async._http.transport.map_exception", lambda _error, *, origin: ConnectError(origin))
    with pytest.raises(ConnectError):
        await send(transport)
    assert asked == ["cleared"]


# -- for how long a connection is kept -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "seconds", "connections"),
    [("timeout=5, max=9", 3.9, 1), ("timeout=5, max=9", 4.0, 2), ("max=9", 14.0, 1)],
)
async def test_a_connection_is_left_before_the_server_closes_it(
    server, transport, http, later, header, seconds, connections
):
    server.answers = [http(200, OF_A, **{"Keep-Alive": header})]
    await send(transport)
    later(seconds)
    await send(transport)
    assert server.connections == connections


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("timeout=5", 4),
        ("TIMEOUT = 60", 59),
        ('timeout="7"', 6),
        ("timeout=1", 0),
        ("timeout=0", 0),
        ("max=5", float("inf")),
        ("timeout=soon", float("inf")),
    ],
)
def test_the_keep_alive_header_is_read_tolerantly(header, seconds):
    assert _expiry(header) == seconds


@pytest.mark.parametrize(
    ("request_", "seconds", "connections"), [(POST, 1.9, 1), (POST, 2.0, 2), (PUT, 14.0, 1), (GET, 14.0, 1)], ids=str
)
async def test_a_create_goes_over_a_connection_that_is_new_or_was_just_used(
    server, transport, http, later, request_, seconds, connections
):
    server.answers = [http(200, OF_A)]
    await send(transport)
    later(seconds)
    await send(transport, request_)
    assert server.connections == connections


# -- a 204 ends with its headers (RFC 9110, 15.3.5) ------------------------------------------------------------------


NO_CONTENT = b"HTTP/1.1 204 No Content\r\nX-Other: 1\r\n"
SURPLUS = {
    "with its length": b"Content-Length: 2\r\n\r\n{}",
    "in chunks": b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "of no length": b"\r\n{}",
}


@pytest.mark.parametrize("surplus", SURPLUS)
@pytest.mark.parametrize("request_", [DELETE, PUT, POST], ids=lambda request: request.method)
async def test_a_body_behind_a_204_is_ignored(server, transport, http, request_, surplus):
    server.answers = [NO_CONTENT + SURPLUS[surplus], http(200, OF_B)]
    response = await transport.send(request_, NO_AUTHORIZATION)
    assert (response.status, response.body) == (204, b"")
    assert await send(transport) == OF_B
    assert server.connections == 2


@pytest.mark.parametrize("split", range(1, 80))
async def test_a_204_may_come_in_pieces(server, transport, http, split):
    answer = b"HTTP/1.1 100 Continue\r\n\r\n" + NO_CONTENT + SURPLUS["with its length"]
    pieces = asyncio.Queue()

    async def in_pieces(exchange):
        exchange.writer.write(answer[:split])
        await pieces.get()
        exchange.writer.write(answer[split:])
        return True

    server.answers = [in_pieces, http(200, OF_B)]
    sending = asyncio.create_task(transport.send(DELETE, NO_AUTHORIZATION))
    await until(lambda: server.received)
    for _ in range(3):
        await asyncio.sleep(0)
    pieces.put_nowait(None)
    response = await sending
    assert (response.status, response.body) == (204, b"")
    assert await send(transport) == OF_B


async def test_a_204_without_a_body_keeps_its_connection(server, transport):
    server.answers = [b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"]
    for _ in range(3):
        assert (await transport.send(DELETE, NO_AUTHORIZATION)).status == 204
    assert server.connections == 1


async def test_other_answers_to_a_delete_are_read_whole(server, transport, http):
    long = b"x" * 100_000
    server.answers = [http(200, OF_A), http(200, long), http(404, b"not there")]
    assert [await send(transport, DELETE) for _ in range(3)] == [OF_A, long, b"not there"]


async def test_a_body_that_a_204_announces_and_that_is_yet_to_come_harms_nobody(server, transport, http):
    server.answers = [NO_CONTENT + b"Content-Length: 2\r\n\r\n", http(200, OF_B)]
    assert (await transport.send(DELETE, NO_AUTHORIZATION)).status == 204
    assert await send(transport) == OF_B
    assert server.connections == 2


@pytest.mark.parametrize(("size", "kept"), [(128 * 1024, True), (128 * 1024 + 1, False)])
async def test_a_head_that_never_ends_is_not_collected_for_ever(size, kept):
    protocol = _Protocol(asyncio.get_running_loop())
    protocol.head = b""
    protocol.data_received(b"x" * size)
    assert (protocol.head is not None) is kept


@pytest.mark.parametrize("api", ["1.0", "2.0"])
async def test_a_deletion_that_is_answered_by_a_204_with_a_body_is_sent_once(hostile, api):
    hostile.add(*hostile.make_rows(1))
    hostile.delete_status, hostile.body_on_204 = 204, True
    async with TracketClient.from_env(hostile.env(api), retry=NO_WAIT) as client:
        await client.worklogs.delete("wl-0000")
    assert (hostile.count("DELETE"), hostile.rows) == (1, {})
